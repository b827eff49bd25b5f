"""Today's encoders for images of all kinds, which a researcher would compare beside those of the paper.

Source: encoders.md, section 7; the works cited below; timm 1.0.31.
"""

from __future__ import annotations

from .paper import CLASS_TOKEN, MAE_UNUSED, POOLED, RESNET50, RESNET50_PARAMETERS, VIT_BASE, VIT_SMALL_12
from .record import CLIP, HALF, IMAGENET, UNIT, Card, Normalisation, Source

_MOCO_UNUSED = ("module.momentum_encoder.", "module.predictor.", "all beside 'state_dict'")
_MOCO_V3 = "Chen et al., MoCo v3, ICCV 2021, arXiv 2104.02057"
_DINOV2 = "Oquab et al., DINOv2, TMLR 2024, arXiv 2304.07193"
_DINOV3 = "Simeoni et al., DINOv3, 2025, arXiv 2508.10104"
_PE = "Bolya et al., Perception Encoder, NeurIPS 2025, arXiv 2504.13181"
_PE_DATA = "images, videos and texts of the web"
_RESIZED = "trained at {} pixels; at 224 its positions are resized as timm does (bicubic, antialiased)"
_MOCO_FILES = "https://dl.fbaipublicfiles.com/moco-v3/"
_DINOV3_FIXED = (
    "rope_embed.periods (as the network has them)",
    "blocks.*.attn.qkv.{bias,bias_mask} (zero where it is not masked, or the file is refused)",
)


def _timm(model: str) -> Source:
    return Source(f"{model}.safetensors", f"https://huggingface.co/timm/{model}/resolve/main/model.safetensors")


def _dinov2(
    name: str, letter: str, feature_dim: int, parameters: int, size: int | None = None, sha256: str | None = None
) -> Card:
    model = f"dinov2_vit{letter}14"
    return Card(
        name=name,
        architecture=f"ViT-{letter.upper()}/14",
        feature_dim=feature_dim,
        feature=CLASS_TOKEN,
        normalisation=IMAGENET,
        parameters=parameters,
        sources=(
            Source(
                f"{model}_pretrain.pth",
                f"https://dl.fbaipublicfiles.com/dinov2/{model}/{model}_pretrain.pth",
                sha256=sha256,
                size=size,
            ),
        ),
        licence="Apache-2.0",
        commercial_use=True,
        trained_on="LVD-142M, images of the web",
        citation=_DINOV2,
        deviations=(
            "trained at 518 pixels; at 224 its positions are resized as timm does (bicubic, antialiased), where the "
            "official code leaves out the antialiasing and adds 0.1 to the grid: the features differ slightly",
        ),
        unused=("mask_token",),
    )


def _dinov3(
    name: str, architecture: str, feature_dim: int, parameters: int, model: str, official: str, sha256_prefix: str
) -> Card:
    """Meta's own file comes to those who ask for it; timm's holds the same numbers and asks nobody."""
    convnext = model.startswith("convnext")
    fixed = ("norms. (the final norm once more)",) if convnext else ("mask_token", *_DINOV3_FIXED)
    return Card(
        name=name,
        architecture=architecture,
        feature_dim=feature_dim,
        feature="mean over the 7 x 7 positions, normalised" if convnext else CLASS_TOKEN,
        normalisation=IMAGENET,
        parameters=parameters,
        sources=(
            _timm(f"{model}.{'dinov3_' if convnext else ''}lvd1689m"),
            Source(
                f"dinov3_{official}_pretrain_lvd1689m-{sha256_prefix}.pth",
                "https://ai.meta.com/resources/models-and-libraries/dinov3-downloads/",
                direct=False,
                sha256_prefix=sha256_prefix,
            ),
        ),
        licence="DINOv3 License",
        commercial_use=True,
        trained_on="LVD-1689M, images of the web",
        citation=_DINOV3,
        deviations=("either file will do: timm's, which is fetched, or Meta's own, which has to be asked for",),
        unused=fixed,
    )


def _moco_v3(name: str, architecture: str, feature: str, feature_dim: int, parameters: int, model: str) -> Card:
    head = "fc." if model.startswith("r-") else "head."
    return Card(
        name=name,
        architecture=architecture,
        feature_dim=feature_dim,
        feature=feature,
        normalisation=IMAGENET,
        parameters=parameters,
        sources=(Source(f"{model}.pth.tar", f"{_MOCO_FILES}{model}/{model}.pth.tar"),),
        licence="CC BY-NC 4.0",
        commercial_use=False,
        trained_on="ImageNet-1k",
        saw_benchmark=False,
        citation=_MOCO_V3,
        unused=(f"module.base_encoder.{head}", *_MOCO_UNUSED),
    )


def _of_timm(
    name: str,
    model: str,
    *,
    architecture: str,
    feature_dim: int,
    parameters: int,
    licence: str,
    citation: str,
    positions: str = "",
    feature: str = CLASS_TOKEN,
    normalisation: Normalisation = IMAGENET,
    commercial_use: bool = True,
    trained_on: str = "",
    others: tuple[Source, ...] = (),
) -> Card:
    return Card(
        name=name,
        architecture=architecture,
        feature_dim=feature_dim,
        feature=feature,
        normalisation=normalisation,
        parameters=parameters,
        sources=(_timm(model), *others),
        licence=licence,
        commercial_use=commercial_use,
        trained_on=trained_on,
        citation=citation,
        deviations=(positions,) if positions else (),
        unused=("head. (projection)", "what timm leaves out of its authors' file"),
    )


def _registers(name: str, letter: str, feature_dim: int, parameters: int) -> Card:
    size = {"s": "small", "b": "base"}[letter]
    official = f"dinov2_vit{letter}14"
    return _of_timm(
        name,
        f"vit_{size}_patch14_reg4_dinov2.lvd142m",
        architecture=f"ViT-{letter.upper()}/14 with 4 registers",
        feature_dim=feature_dim,
        parameters=parameters,
        licence="Apache-2.0",
        trained_on="LVD-142M, images of the web",
        citation="Darcet et al., Vision transformers need registers, ICLR 2024, arXiv 2309.16588",
        positions=_RESIZED.format(518),
        others=(
            Source(
                f"{official}_reg4_pretrain.pth",
                f"https://dl.fbaipublicfiles.com/dinov2/{official}/{official}_reg4_pretrain.pth",
            ),
        ),
    )


def _pe_spatial(name: str, size: str, feature_dim: int, parameters: int) -> Card:
    return _of_timm(
        name,
        f"vit_pe_spatial_{size}_patch16_512.fb",
        architecture=f"ViT-{size[0].upper()}/16 with rotary positions (Perception Encoder, spatial)",
        feature_dim=feature_dim,
        feature="mean of the patch tokens; there is no final norm",
        normalisation=HALF,
        parameters=parameters,
        licence="Apache-2.0",
        trained_on=_PE_DATA,
        citation=_PE,
        positions=_RESIZED.format(512),
    )


def _eupe(name: str, size: str, feature_dim: int, parameters: int) -> Card:
    return _of_timm(
        name,
        f"vit_{size}_patch16_dinov3_qkvb.eupe_lvd1689m",
        architecture=f"ViT-{size[0].upper()}/16 as DINOv3's, with rotary positions and 4 registers",
        feature_dim=feature_dim,
        parameters=parameters,
        licence="FAIR Noncommercial Research License",
        commercial_use=False,
        trained_on="LVD-1689M, images of the web, with other networks as teachers",
        citation="Efficient Universal Perception Encoder, 2026, arXiv 2603.22387",
        positions="made for 256 pixels, sees 224; rotary positions need no resizing",
    )


CARDS = (
    _dinov2(
        "dinov2_small",
        "s",
        384,
        21_628_800,
        88_283_115,
        "b938bf1bc15cd2ec0feacfe3a1bb553fe8ea9ca46a7e1d8d00217f29aef60cd9",
    ),
    _dinov2(
        "dinov2_base",
        "b",
        768,
        85_724_928,
        346_378_731,
        "0b8b82f85de91b424aded121c7e1dcc2b7bc6d0adeea651bf73a13307fad8c73",
    ),
    _dinov2("dinov2_large", "l", 1024, 303_227_904),
    _registers("dinov2_small_reg", "s", 384, 21_629_952),
    _registers("dinov2_base_reg", "b", 768, 85_727_232),
    _dinov3("dinov3_small", "ViT-S/16", 384, 21_586_944, "vit_small_patch16_dinov3", "vits16", "08c60483"),
    _dinov3(
        "dinov3_small_plus", "ViT-S+/16", 384, 28_683_264, "vit_small_plus_patch16_dinov3", "vits16plus", "4057cbaa"
    ),
    _dinov3("dinov3_base", VIT_BASE, 768, 85_641_216, "vit_base_patch16_dinov3", "vitb16", "73cec8be"),
    _dinov3("dinov3_large", "ViT-L/16", 1024, 303_079_424, "vit_large_patch16_dinov3", "vitl16", "8aa4cbdd"),
    _dinov3("dinov3_convnext_tiny", "ConvNeXt-T", 768, 27_820_128, "convnext_tiny", "convnext_tiny", "21b726bb"),
    Card(
        name="siglip2_base",
        architecture=VIT_BASE,
        feature_dim=768,
        feature="attention pooling over the patch tokens; there is no class token",
        normalisation=HALF,
        parameters=92_884_224,
        sources=(
            _timm("vit_base_patch16_siglip_224.v2_webli"),
            Source(
                "siglip2-base-patch16-224.safetensors",
                "https://huggingface.co/google/siglip2-base-patch16-224/resolve/main/model.safetensors",
            ),
        ),
        licence="Apache-2.0",
        commercial_use=True,
        trained_on="WebLI, images and texts of the web",
        citation="Tschannen et al., SigLIP 2, 2025, arXiv 2502.14786",
        deviations=(
            "either file will do: timm's, which is fetched, or Google's in transformers' names, with the text network",
            "the approximate GELU that it was trained with; timm's own network of this size has the exact one",
        ),
        results_version=2,
        unused=("text_model.", "logit_scale", "logit_bias", "vision_model.embeddings.position_ids"),
    ),
    _pe_spatial("pe_spatial_small", "small", 384, 21_665_280),
    _pe_spatial("pe_spatial_base", "base", 768, 85_797_888),
    _of_timm(
        "pe_core_base",
        "vit_pe_core_base_patch16_224.fb",
        architecture=f"{VIT_BASE} with rotary positions (Perception Encoder, core)",
        feature_dim=768,
        feature="attention pooling over all tokens, before the projection",
        normalisation=HALF,
        parameters=92_886_528,
        licence="Apache-2.0",
        trained_on=_PE_DATA,
        citation=_PE,
    ),
    _of_timm(
        "c_radio_v3_base",
        "vit_base_patch16_radio_v3.c_radio",
        architecture=f"{VIT_BASE} with 8 class and register tokens",
        feature_dim=768,
        feature="first class token; there is no final norm",
        normalisation=CLIP,
        parameters=85_820_160,
        licence="NVIDIA Open Model License",
        trained_on="images of the web, with other networks as teachers",
        citation="Heinrich et al., RADIOv2.5, CVPR 2025, arXiv 2412.07679",
        positions="its 128 x 128 positions are resized to 224 pixels as timm does; RADIO's own summary has the class "
        "tokens for its other teachers, too",
    ),
    _of_timm(
        "tipsv2_base",
        "vit_base_patch14_reg1_tipsv2.webli",
        architecture="ViT-B/14 with 1 register",
        feature_dim=768,
        normalisation=UNIT,
        parameters=85_724_928,
        licence="Apache-2.0",
        trained_on="WebLI, images and texts of the web",
        citation="TIPSv2, 2026, arXiv 2604.12012",
        positions=_RESIZED.format(448),
    ),
    _eupe("eupe_small", "small", 384, 21_596_160),
    _eupe("eupe_base", "base", 768, 85_659_648),
    Card(
        name="mae_base",
        architecture=VIT_BASE,
        feature_dim=768,
        feature=CLASS_TOKEN,
        normalisation=IMAGENET,
        parameters=85_798_656,
        sources=(
            Source(
                "mae_pretrain_vit_base.pth",
                "https://dl.fbaipublicfiles.com/mae/pretrain/mae_pretrain_vit_base.pth",
            ),
        ),
        licence="CC BY-NC 4.0",
        commercial_use=False,
        trained_on="ImageNet-1k",
        saw_benchmark=False,
        citation="He et al., Masked autoencoders, CVPR 2022, arXiv 2111.06377",
        unused=MAE_UNUSED,
    ),
    Card(
        name="clip_base",
        architecture=f"{VIT_BASE} with the fast GELU that CLIP was trained with",
        feature_dim=768,
        feature=f"{CLASS_TOKEN}, before the projection",
        normalisation=CLIP,
        parameters=85_799_424,
        sources=(
            _timm("vit_base_patch16_clip_224.openai"),
            Source(
                "clip-vit-base-patch16.bin",
                "https://huggingface.co/openai/clip-vit-base-patch16/resolve/main/pytorch_model.bin",
            ),
        ),
        licence="MIT (OpenAI); Apache-2.0 says timm",
        commercial_use=True,
        trained_on="400 million images and texts of the web",
        citation="Radford et al., CLIP, ICML 2021, arXiv 2103.00020",
        deviations=(
            "either file will do: timm's, which is fetched, or OpenAI's in transformers' names; --weights takes "
            "open_clip's and OpenAI's own names, too, but no TorchScript, in which OpenAI's first file is",
        ),
        unused=(
            "head. (the projection)",
            *("text_model.", "visual_projection.", "text_projection.", "logit_scale"),
            "vision_model.embeddings.position_ids",
        ),
    ),
    _moco_v3("mocov3_resnet50", RESNET50, POOLED, 2048, RESNET50_PARAMETERS, "r-50-1000ep"),
    _moco_v3("mocov3_small", VIT_SMALL_12, CLASS_TOKEN, 384, 21_665_664, "vit-s-300ep"),
    _moco_v3("mocov3_base", VIT_BASE, CLASS_TOKEN, 768, 85_798_656, "vit-b-300ep"),
    Card(
        name="pvr",
        architecture=RESNET50,
        feature_dim=2048,
        feature=POOLED,
        normalisation=IMAGENET,
        parameters=RESNET50_PARAMETERS,
        sources=(
            Source(
                "moco_v2_800ep_pretrain.pth.tar",
                "https://dl.fbaipublicfiles.com/moco/moco_checkpoints/moco_v2_800ep/moco_v2_800ep_pretrain.pth.tar",
                md5="a04e12f8",
            ),
        ),
        licence="CC BY-NC 4.0",
        commercial_use=False,
        trained_on="ImageNet-1k",
        saw_benchmark=False,
        citation="Parisi et al., PVR, ICML 2022, arXiv 2203.03580; Chen et al., MoCo v2, arXiv 2003.04297",
        deviations=("MoCo v2 trained for 800 epochs, as H-InDex's first commit names pvr",),
        unused=("module.encoder_q.fc.", "module.encoder_k.", "module.queue*", "all beside 'state_dict'"),
    ),
)
