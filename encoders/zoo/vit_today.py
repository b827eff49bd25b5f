"""Today's vision transformers: those whose files timm itself converts, and three pretrained for robots.

Source: the cards in `encoders.cards.today` and `encoders.cards.robot_learning`; timm 1.0.31.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar

import timm
from torch import Tensor, nn

from ..base import IMAGE_SIZE
from ..weights.checkpoint import Layout
from .network import without_numbers
from .timm_encoder import TimmEncoder

_AT_224: Mapping[str, Any] = {"global_pool": "token", "img_size": IMAGE_SIZE}
_HEAD = "head."
_MAE = Layout("MAE", unused=("decoder", "mask_token"), container="model")
_UPSAMPLER = ("decoder_embed.", "mask_token", "readout_project.", "upsample.")
_SPA = Layout("SPA", "model.img_backbone.", unused=_UPSAMPLER, rest=True)


def by_timm(make: Callable[[], nn.Module], state: dict[str, Tensor], _: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert a file to a network as timm does when it downloads one: names, positions, registers; heads are left out.

    Args:
        make: makes the network.
        state: what the file holds, under timm's names or its authors'.
    """
    network = without_numbers(make)
    convert = sys.modules[type(network).__module__].checkpoint_filter_fn
    converted: dict[str, Tensor] = convert(dict(state), network)
    return {name: tensor for name, tensor in converted.items() if not name.startswith(_HEAD)}


class ConvertedByTimm(TimmEncoder):
    """A network whose file timm converts: its own, or its authors'."""

    options = _AT_224

    def __init_subclass__(cls, *, name: str | None = None, **options: Any) -> None:
        """Let the layout convert to this class's network."""
        super().__init_subclass__(name=name, **options)
        cls.layouts = (Layout("timm or its authors", unused=(_HEAD,), convert=partial(by_timm, cls.empty_trunk)),)


class DINOv2SmallRegisters(ConvertedByTimm, name="dinov2_small_reg"):
    """DINOv2 with a ViT-S/14 and 4 registers."""

    model = "vit_small_patch14_reg4_dinov2.lvd142m"


class DINOv2BaseRegisters(ConvertedByTimm, name="dinov2_base_reg"):
    """DINOv2 with a ViT-B/14 and 4 registers."""

    model = "vit_base_patch14_reg4_dinov2.lvd142m"


class PESpatialSmall(ConvertedByTimm, name="pe_spatial_small"):
    """Perception Encoder, tuned for dense tasks, with a ViT-S/16: the mean of its patch tokens."""

    model = "vit_pe_spatial_small_patch16_512.fb"
    fan = "residual"
    options: ClassVar[Mapping[str, Any]] = {"img_size": IMAGE_SIZE}


class PESpatialBase(PESpatialSmall, name="pe_spatial_base"):
    """Perception Encoder, tuned for dense tasks, with a ViT-B/16."""

    model = "vit_pe_spatial_base_patch16_512.fb"


class PECoreBase(ConvertedByTimm, name="pe_core_base"):
    """Perception Encoder, trained with text, with a ViT-B/16 and its own attention pooling, before the projection."""

    model = "vit_pe_core_base_patch16_224.fb"
    options: ClassVar[Mapping[str, Any]] = {}


class CRADIOv3Base(ConvertedByTimm, name="c_radio_v3_base"):
    """C-RADIOv3 with a ViT-B/16, distilled from several vision models: its first class token."""

    model = "vit_base_patch16_radio_v3.c_radio"
    fan = "residual"


class TIPSv2Base(ConvertedByTimm, name="tipsv2_base"):
    """TIPSv2 with a ViT-B/14, trained with text."""

    model = "vit_base_patch14_reg1_tipsv2.webli"


class EUPESmall(ConvertedByTimm, name="eupe_small"):
    """EUPE with a ViT-S/16, distilled from several vision models."""

    model = "vit_small_patch16_dinov3_qkvb.eupe_lvd1689m"
    options: ClassVar[Mapping[str, Any]] = {"global_pool": "token"}


class EUPEBase(EUPESmall, name="eupe_base"):
    """EUPE with a ViT-B/16."""

    model = "vit_base_patch16_dinov3_qkvb.eupe_lvd1689m"


class SPABase(TimmEncoder, name="spa_base"):
    """SPA with a ViT-B/16, pretrained by rendering scenes from several views."""

    model = "vit_base_patch16_224"
    layouts = (_SPA, Layout("SPA", _SPA.prefix, unused=_UPSAMPLER, container="state_dict", rest=True))


class SPALarge(SPABase, name="spa_large"):
    """SPA with a ViT-L/16."""

    model = "vit_large_patch16_224"


class STPBase(TimmEncoder, name="stp_base"):
    """STP with a ViT-B/16, pretrained to predict masked and future frames of egocentric videos."""

    model = "vit_base_patch16_224"
    layouts = (_MAE, Layout("timm", unused=("decoder", "mask_token", _HEAD)))


class Keys(nn.Module):
    """A transformer block that ends at the keys of its attention."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.norm1 = block.norm1
        self.attn = nn.ModuleDict({"qkv": block.attn.qkv})
        self.heads: int = block.attn.num_heads

    def forward(self, tokens: Tensor) -> Tensor:
        """Map ``(N, tokens, width)`` to the keys, of the same shape: for each number of a key, the heads."""
        keys = self.attn["qkv"](self.norm1(tokens)).chunk(3, -1)[1]
        by_number: Tensor = keys.unflatten(-1, (self.heads, -1)).transpose(-1, -2).flatten(-2)
        return by_number


class MAPLE(TimmEncoder, name="maple"):
    """MAPLE: DINO's ViT-B/16 trained on contacts of hands in egocentric videos; its last keys of the class token."""

    model = "vit_base_patch16_224.dino"
    layouts = (
        Layout(
            "MAPLE",
            "encoder.",
            container="model",
            renames=((r"^model\.", ""), (r"^extractor\.", "")),
            unused=tuple(
                f"{before}extractor.{after}"
                for before in ("", "model.")
                for after in ("blocks.11.attn.proj.", "blocks.11.norm2.", "blocks.11.mlp.", "norm.", _HEAD)
            ),
            rest=True,
        ),
    )

    @classmethod
    def empty_trunk(cls) -> nn.Module:
        """Make the network; its numbers have no meaning."""
        trunk: Any = timm.create_model(cls.model, num_classes=0, **cls.options)
        trunk.blocks[-1] = Keys(trunk.blocks[-1])
        trunk.norm = nn.Identity()
        whole: nn.Module = trunk
        return whole
