"""Networks that timm knows: a base for our own encoders, and ``timm:NAME`` for any of them.

Source: timm (Wightman, PyTorch Image Models); encoders.md, sections 5 to 7 and 9.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, ClassVar

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..base import IMAGE_SIZE
from ..cards.record import Card, Normalisation, Source
from ..errors import UnknownEncoder
from ..weights.checkpoint import Layout
from .network import TrunkEncoder, positions, without_numbers

PREFIX = "timm:"
TIMM = Layout("timm")
_PERMISSIVE = {"apache-2.0", "mit", "bsd", "bsd-2-clause", "bsd-3-clause", "cc-by-4.0", "cc0-1.0", "dinov3-license"}
_REPOSITORY = "https://github.com/huggingface/pytorch-image-models"


class TimmEncoder(TrunkEncoder):
    """A network of timm without classifier; a ViT's feature is its class token after the final norm unless said.

    Attributes:
        model: its name in timm.
        options: further arguments of `timm.create_model`.
    """

    model: ClassVar[str]
    options: ClassVar[Mapping[str, Any]] = {"global_pool": "token"}
    layouts: ClassVar[tuple[Layout, ...]] = (TIMM,)

    def __init_subclass__(cls, *, name: str | None = None, **options: Any) -> None:
        """Take the length of the feature from the card, and the words for the network from timm's name."""
        super().__init_subclass__(name=name, **options)
        if "model" in cls.__dict__:
            cls.network = f"timm's {cls.model}"
        if cls.card is not None:
            cls.feature_dim = cls.card.feature_dim

    @classmethod
    def empty_trunk(cls) -> nn.Module:
        """Make the network; its numbers have no meaning."""
        trunk: nn.Module = timm.create_model(cls.model, **{"num_classes": 0, **cls.options})
        return trunk

    def tokens(self, images: Tensor) -> Tensor:
        """Map ``(N, 3, 224, 224) float32 in [0, 1]`` to patch tokens or the positions of the last map."""
        trunk: Any = self.trunk
        maps: Tensor = trunk.forward_features(self.prepared(images))
        if maps.ndim == 3:
            return maps[:, getattr(trunk, "num_prefix_tokens", 0) :]
        return maps.flatten(1, 2) if getattr(trunk, "output_fmt", "") == "NHWC" else positions(maps)


def resize_positions(state: dict[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Bring a square grid of position embeddings to the expected one: bicubic, antialiased, as timm does.

    Positions of class and register tokens, which stand first, stay as they are.
    """
    have, want = state.get("pos_embed"), expected.get("pos_embed")
    if have is None or want is None or have.ndim != 3 or want.ndim != 3 or have.shape == want.shape:
        return state
    new_side = math.isqrt(want.shape[1])
    firsts = want.shape[1] - new_side**2
    old_side = math.isqrt(max(0, have.shape[1] - firsts))
    if old_side**2 + firsts != have.shape[1] or have.shape[2] != want.shape[2]:
        return state
    grid = have[:, firsts:].float().reshape(1, old_side, old_side, -1).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, size=(new_side, new_side), mode="bicubic", antialias=True)
    resized = grid.permute(0, 2, 3, 1).reshape(1, new_side**2, -1)
    return {**state, "pos_embed": torch.cat([have[:, :firsts].float(), resized], 1)}


@lru_cache(maxsize=32)
def named(name: str) -> type[TimmEncoder]:
    """Return the encoder ``timm:NAME``, with timm's own pooling, mean and standard deviation.

    Raises:
        UnknownEncoder: timm knows no such model.
    """
    model = name.removeprefix(PREFIX)
    configuration = _configuration(name, model)
    size = tuple(configuration.input_size[1:])
    resized = bool(configuration.fixed_input_size) and size != (IMAGE_SIZE, IMAGE_SIZE)
    options = {"img_size": IMAGE_SIZE} if resized else {}
    card = _card(name, model, configuration, options)

    class Named(TimmEncoder):
        pass

    Named.__doc__ = f"timm's {model}."
    Named.__qualname__ = f"Named[{model}]"
    Named.name = name.replace(":", "-")  # part of the identity of adaptations and of cached features: it stays
    Named.model, Named.options, Named.network = model, options, f"timm's {model}"
    Named.layouts = (Layout("timm", unused=card.unused, convert=resize_positions),)
    Named.card, Named.normalisation, Named.feature_dim = card, card.normalisation, card.feature_dim
    return Named


def _configuration(name: str, model: str) -> Any:
    if ":" in model or "/" in model:
        raise UnknownEncoder(
            f"encoder '{name}': only models that timm itself names, without a hub's address; download the weights and "
            f"give them with --encoder {PREFIX}NAME --weights PATH"
        )
    architecture, _, tag = model.partition(".")
    known = timm.list_models()
    if architecture in known and tag:
        known = timm.list_models(f"{architecture}.*", pretrained=True)
    if model not in known:
        near = difflib.get_close_matches(model, known, n=1)
        hint = f"did you mean '{PREFIX}{near[0]}'?" if near else "timm.list_models() names them all"
        raise UnknownEncoder(f"unknown encoder '{name}': timm {timm.__version__} has no model '{model}'; {hint}")
    return timm.get_pretrained_cfg(model)


def _card(name: str, model: str, configuration: Any, options: Mapping[str, Any]) -> Card:
    network: Any = without_numbers(partial(timm.create_model, model, num_classes=0, **options))
    classifier = configuration.classifier
    classifiers = (classifier,) if isinstance(classifier, str) else tuple(classifier or ())
    size = configuration.input_size[1]
    mean, std = ((one[0], one[1], one[2]) for one in (configuration.mean, configuration.std))
    return Card(
        name=name,
        architecture=f"timm {model}",
        feature_dim=int(getattr(network, "head_hidden_size", 0) or network.num_features),
        feature=f"timm's own pooling{_pooling(network)}, no classifier",
        normalisation=Normalisation("timm", mean, std),
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        sources=(_source(configuration),),
        licence=configuration.license or "not stated by timm",
        commercial_use=_commercial_use(configuration.license),
        citation=f"timm {timm.__version__}",
        deviations=() if size == IMAGE_SIZE else (f"made for {size} pixels, sees {IMAGE_SIZE}",),
        unused=tuple(f"{one}." for one in classifiers),
    )


def _commercial_use(licence: str | None) -> bool | None:
    """Return whether a licence's short name permits commercial use; None where it is unclear."""
    short = (licence or "").lower()
    if "-nc" in short or "noncommercial" in short:
        return False
    return True if short in _PERMISSIVE else None


def _source(configuration: Any) -> Source:
    if configuration.hf_hub_id:
        return Source(
            "model.safetensors", f"https://huggingface.co/{configuration.hf_hub_id}/resolve/main/model.safetensors"
        )
    if configuration.url:
        return Source(Path(configuration.url).name, configuration.url)
    return Source("model.safetensors", _REPOSITORY, direct=False)  # nobody published any


def _pooling(network: Any) -> str:
    """Return the kind of pooling in words; empty where the network does not name it."""
    for where in (network, getattr(network, "head", None)):
        pool = getattr(where, "global_pool", None)
        kind = getattr(pool, "pool_type", pool)
        if isinstance(kind, str) and kind:
            return f" ({kind})"
    return ""
