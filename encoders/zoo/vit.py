"""The encoders whose network is one of timm's, with their official checkpoints: mostly vision transformers.

Source: encoders.md, sections 5 to 7 and 9.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from ..base import IMAGE_SIZE
from ..weights.checkpoint import Layout
from .timm_encoder import TIMM, TimmEncoder, resize_positions
from .today_layouts import CLIP_OPENAI, CLIP_TRANSFORMERS, DINOV3, DINOV3_CONVNEXT, SIGLIP_TRANSFORMERS, join_attention

_MAE = Layout("MAE", unused=("decoder", "mask_token"), container="model")
_MAE_FLAT = Layout("timm", unused=("decoder", "mask_token", "head."))
_MOCO_V3 = Layout(
    "MoCo v3",
    "module.base_encoder.",
    unused=("head.",),
    others=("module.momentum_encoder.", "module.predictor."),
    container="state_dict",
)
_TWELVE_HEADS: Mapping[str, Any] = {"global_pool": "token", "num_heads": 12}


class MVP(TimmEncoder, name="mvp"):
    """MVP's ViT-S, pretrained on images of hands and objects: 12 heads, where timm's has 6 and the same shapes."""

    model = "vit_small_patch16_224"
    options = _TWELVE_HEADS
    layouts = (_MAE, _MAE_FLAT)


class MVPBase(TimmEncoder, name="mvp_base"):
    """MVP's ViT-B, pretrained on egocentric and other videos; 12 heads, as in timm."""

    model = "vit_base_patch16_224"
    layouts = (_MAE, _MAE_FLAT)


class MVPLarge(TimmEncoder, name="mvp_large"):
    """MVP's ViT-L, which sees 256 x 256 pixels."""

    model = "vit_large_patch16_224"
    options: ClassVar[Mapping[str, Any]] = {"global_pool": "token", "img_size": 256}
    layouts = (_MAE, _MAE_FLAT)

    def prepared(self, images: Tensor) -> Tensor:
        """Map ``(N, 3, 224, 224) float32 in [0, 1]`` to normalised ``(N, 3, 256, 256)``."""
        return super().prepared(F.interpolate(images, size=(256, 256), mode="bilinear", align_corners=False))


class VC1(TimmEncoder, name="vc1"):
    """VC-1 with a ViT-B, pretrained on egocentric videos and ImageNet."""

    model = "vit_base_patch16_224"
    layouts = (_MAE, _MAE_FLAT)


class VC1Permissive(VC1, name="vc1_permissive"):
    """VC-1 pretrained on permissively licensed data only."""


class VC1Large(TimmEncoder, name="vc1_large"):
    """VC-1 with a ViT-L."""

    model = "vit_large_patch16_224"
    layouts = (_MAE, _MAE_FLAT)


class MAE(TimmEncoder, name="mae_base"):
    """MAE's ViT-B, pretrained on ImageNet without labels."""

    model = "vit_base_patch16_224.mae"
    layouts = (_MAE, _MAE_FLAT)


class SOUP(TimmEncoder, name="soup"):
    """data4robotics' ViT-B, pretrained by MAE on a mixture of image and robot data."""

    model = "vit_base_patch16_224"
    layouts = (Layout("data4robotics", unused=_MAE.unused, container="features"), _MAE, _MAE_FLAT)


class MoCoV3Small(TimmEncoder, name="mocov3_small"):
    """MoCo v3's ViT-S, which has 12 heads."""

    model = "vit_small_patch16_224"
    options = _TWELVE_HEADS
    layouts = (_MOCO_V3, TIMM)


class MoCoV3Base(TimmEncoder, name="mocov3_base"):
    """MoCo v3's ViT-B."""

    model = "vit_base_patch16_224"
    layouts = (_MOCO_V3, TIMM)


class DINOv2(TimmEncoder):
    """DINOv2 at 224 pixels: its grid of positions is resized from 37 x 37 to 16 x 16 when the file is loaded."""

    options = {"global_pool": "token", "img_size": IMAGE_SIZE}  # noqa: RUF012 -- a class variable of the base
    layouts = (Layout("DINOv2", unused=("mask_token", "head."), convert=resize_positions),)


class DINOv2Small(DINOv2, name="dinov2_small"):
    """DINOv2 with a ViT-S/14."""

    model = "vit_small_patch14_dinov2.lvd142m"


class DINOv2Base(DINOv2, name="dinov2_base"):
    """DINOv2 with a ViT-B/14."""

    model = "vit_base_patch14_dinov2.lvd142m"


class DINOv2Large(DINOv2, name="dinov2_large"):
    """DINOv2 with a ViT-L/14."""

    model = "vit_large_patch14_dinov2.lvd142m"


class DINOv3(TimmEncoder):
    """DINOv3: the class token, where timm would pool patches."""

    layouts = (DINOV3,)


class DINOv3Small(DINOv3, name="dinov3_small"):
    """DINOv3 with a ViT-S/16."""

    model = "vit_small_patch16_dinov3.lvd1689m"


class DINOv3SmallPlus(DINOv3, name="dinov3_small_plus"):
    """DINOv3 with a ViT-S+/16."""

    model = "vit_small_plus_patch16_dinov3.lvd1689m"


class DINOv3Base(DINOv3, name="dinov3_base"):
    """DINOv3 with a ViT-B/16."""

    model = "vit_base_patch16_dinov3.lvd1689m"


class DINOv3Large(DINOv3, name="dinov3_large"):
    """DINOv3 with a ViT-L/16."""

    model = "vit_large_patch16_dinov3.lvd1689m"


class DINOv3ConvNeXt(TimmEncoder, name="dinov3_convnext_tiny"):
    """DINOv3 with a ConvNeXt-T: the mean over positions, normalised."""

    model = "convnext_tiny.dinov3_lvd1689m"
    options: ClassVar[Mapping[str, Any]] = {}
    layouts = (DINOV3_CONVNEXT,)


class SigLIP2(TimmEncoder, name="siglip2_base"):
    """SigLIP 2 with a ViT-B/16, its own attention pooling and the approximate GELU that it was trained with."""

    model = "vit_base_patch16_siglip_224.v2_webli"
    options: ClassVar[Mapping[str, Any]] = {"act_layer": "gelu_tanh"}  # timm's own has the exact one here
    layouts = (SIGLIP_TRANSFORMERS, TIMM)


class CLIP(TimmEncoder, name="clip_base"):
    """OpenAI's CLIP with a ViT-B/16, before the projection; with the fast GELU that it was trained with."""

    model = "vit_base_patch16_clip_quickgelu_224.openai"
    layouts = (CLIP_TRANSFORMERS, CLIP_OPENAI, Layout("timm", unused=("head.",)))


class Theia(TimmEncoder):
    """Theia, distilled from several vision models into a DeiT: the mean of its patch tokens after the final norm."""

    feature_is_mean = True

    options = {  # noqa: RUF012 -- a class variable of the base
        "global_pool": "avg",
        "fc_norm": False,
        "norm_layer": partial(nn.LayerNorm, eps=1e-12),
    }
    layouts = (
        Layout(
            "Theia",
            "backbone.model.",
            unused=("pooler.",),
            others=("translator.",),
            renames=(
                (r"^embeddings\.cls_token", "cls_token"),
                (r"^embeddings\.position_embeddings", "pos_embed"),
                (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
                (r"^encoder\.layer\.(\d+)\.", r"blocks.\1."),
                (r"attention\.attention\.", "attn."),
                (r"attention\.output\.dense\.", "attn.proj."),
                (r"intermediate\.dense\.", "mlp.fc1."),
                (r"output\.dense\.", "mlp.fc2."),
                (r"layernorm_before\.", "norm1."),
                (r"layernorm_after\.", "norm2."),
                (r"^layernorm\.", "norm."),
            ),
            convert=join_attention,
        ),
    )


class TheiaTiny(Theia, name="theia_tiny"):
    """Theia with a DeiT-T."""

    model = "deit_tiny_patch16_224"


class TheiaSmall(Theia, name="theia_small"):
    """Theia with a DeiT-S."""

    model = "deit_small_patch16_224"


class TheiaBase(Theia, name="theia_base"):
    """Theia with a DeiT-B."""

    model = "deit_base_patch16_224"


def _stages_from_zero(state: dict[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Count a ResNet's stages from 0, as timm does, where CLIP counts from 1."""
    renamed = {}
    for name, tensor in state.items():
        if name.startswith("layer"):
            name = f"stages.{int(name[5]) - 1}{name[6:]}"
        renamed[name] = tensor
    return renamed


class LIV(TimmEncoder, name="liv"):
    """LIV: CLIP's ResNet-50 adapted to videos of people; the image embedding, attention pooling and all."""

    model = "resnet50_clip.openai"
    options = {"num_classes": 1024}  # noqa: RUF012 -- a class variable of the base
    layouts = (
        Layout(
            "LIV",
            "module.model.visual.",
            container="liv",
            renames=(
                (r"^attnpool\.positional_embedding", "head.pos_embed"),
                (r"^attnpool\.c_proj\.", "head.proj."),
                (r"^attnpool\.([qkv])_proj\.", r"head.\1."),
                (r"^(conv|bn)(\d)\.", r"stem.conv\2.\1."),
                (r"downsample\.0\.", "shortcut.conv.conv."),
                (r"downsample\.1\.", "shortcut.conv.bn."),
                (r"^(layer\d\.\d+)\.(conv|bn)1\.", r"\1.conv1_1x1.\2."),
                (r"^(layer\d\.\d+)\.(conv|bn)2\.", r"\1.conv2_kxk.\2."),
                (r"^(layer\d\.\d+)\.(conv|bn)3\.", r"\1.conv3_1x1.\2."),
            ),
            convert=_stages_from_zero,
            rest=True,
        ),
        TIMM,
    )
