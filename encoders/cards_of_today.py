"""The encoders that a researcher would compare today, beside those of the paper.

Source: encoders.md, section 7; the works cited below; timm 1.0.31.
"""

from __future__ import annotations

from .cards_of_the_paper import CLASS_TOKEN, POOLED, RESNET50, RESNET50_PARAMETERS, VIT_BASE, VIT_SMALL_12
from .record import CLIP, HALF, IMAGENET, Card, Source

_MAE_UNUSED = ("decoder*", "mask_token", "all beside 'model'")
_MOCO_UNUSED = ("module.momentum_encoder.", "module.predictor.", "all beside 'state_dict'")
_VC1 = "Majumdar et al., VC-1, NeurIPS 2023, arXiv 2303.18240"
_MOCO_V3 = "Chen et al., MoCo v3, ICCV 2021, arXiv 2104.02057"
_DINOV2 = "Oquab et al., DINOv2, TMLR 2024, arXiv 2304.07193"
_DINOV3 = "Simeoni et al., DINOv3, 2025, arXiv 2508.10104"
_THEIA = "Shang et al., Theia, CoRL 2024, arXiv 2407.20179"
_MOCO_FILES = "https://dl.fbaipublicfiles.com/moco-v3/"
_TIMM_FILE = "read in timm's own layout, as the file of timm's repository on the Hugging Face hub has it"
_GATED = "the official files of Meta are gated and named otherwise; " + _TIMM_FILE


def _timm(model: str) -> Source:
    return Source(f"{model}.safetensors", f"https://huggingface.co/timm/{model}/resolve/main/model.safetensors")


def _dinov2(name: str, letter: str, feature_dim: int, parameters: int, size: int, sha256: str) -> Card:
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
        citation=_DINOV2,
        deviations=(
            "trained at 518 pixels; at 224 its positions are resized as timm does (bicubic, antialiased), where the "
            "official code leaves out the antialiasing and adds 0.1 to the grid: the features differ slightly",
        ),
        unused=("mask_token",),
    )


def _dinov3(name: str, architecture: str, feature: str, feature_dim: int, parameters: int, model: str) -> Card:
    return Card(
        name=name,
        architecture=architecture,
        feature_dim=feature_dim,
        feature=feature,
        normalisation=IMAGENET,
        parameters=parameters,
        sources=(_timm(model),),
        licence="DINOv3 License",
        commercial_use=True,
        citation=_DINOV3,
        deviations=(_GATED,),
    )


def _theia(name: str, size: str, feature_dim: int, parameters: int) -> Card:
    model = f"theia-{size}-patch16-224-cdiv"
    return Card(
        name=name,
        architecture=f"DeiT-{size[0].upper()}/16",
        feature_dim=feature_dim,
        feature="mean of the patch tokens after the final norm",
        normalisation=IMAGENET,
        parameters=parameters,
        sources=(
            Source(
                f"{model}.safetensors",
                f"https://huggingface.co/theaiinstitute/{model}/resolve/main/model.safetensors",
            ),
        ),
        licence="Theia's own: non-commercial research only",
        commercial_use=False,
        citation=_THEIA,
        deviations=("Theia gives all 196 patch tokens; here their mean is the feature",),
        unused=("translator.", "backbone.model.pooler."),
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
        citation=_MOCO_V3,
        unused=(f"module.base_encoder.{head}", *_MOCO_UNUSED),
    )


def _vc1(name: str, architecture: str, feature_dim: int, parameters: int, source: Source, licence: str) -> Card:
    return Card(
        name=name,
        architecture=architecture,
        feature_dim=feature_dim,
        feature=CLASS_TOKEN,
        normalisation=IMAGENET,
        parameters=parameters,
        sources=(source,),
        licence=licence,
        commercial_use=False if "NC" in licence else None,
        citation=_VC1,
        unused=_MAE_UNUSED,
    )


def _hand(name: str, parameters: int, source: Source, licence: str, citation: str, unused: str) -> Card:
    return Card(
        name=name,
        architecture="ViT-H/16 of ViTPose, 256 x 192 pixels",
        feature_dim=1280,
        feature="mean of the 192 image tokens after the last norm",
        normalisation=IMAGENET,
        parameters=parameters,
        sources=(source,),
        licence=licence,
        commercial_use=False if "NC" in licence else None,
        citation=citation,
        deviations=(
            "made for a crop around a right hand; here it sees the middle of the whole frame",
            "the frame of 224 pixels is resized to 256 bilinearly, and its 32 outermost columns on each side cut off",
        ),
        unused=("all outside 'backbone.'", unused, "all beside 'state_dict'"),
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
    _dinov3("dinov3_small", "ViT-S/16", CLASS_TOKEN, 384, 21_586_944, "vit_small_patch16_dinov3.lvd1689m"),
    _dinov3("dinov3_small_plus", "ViT-S+/16", CLASS_TOKEN, 384, 28_683_264, "vit_small_plus_patch16_dinov3.lvd1689m"),
    _dinov3("dinov3_base", VIT_BASE, CLASS_TOKEN, 768, 85_641_216, "vit_base_patch16_dinov3.lvd1689m"),
    _dinov3(
        "dinov3_convnext_tiny",
        "ConvNeXt-T",
        "mean over the 7 x 7 positions, normalised",
        768,
        27_820_128,
        "convnext_tiny.dinov3_lvd1689m",
    ),
    Card(
        name="siglip2_base",
        architecture=VIT_BASE,
        feature_dim=768,
        feature="attention pooling over the patch tokens; there is no class token",
        normalisation=HALF,
        parameters=92_884_224,
        sources=(_timm("vit_base_patch16_siglip_224.v2_webli"),),
        licence="Apache-2.0",
        commercial_use=True,
        citation="Tschannen et al., SigLIP 2, 2025, arXiv 2502.14786",
        deviations=(_TIMM_FILE,),
    ),
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
        citation="He et al., Masked autoencoders, CVPR 2022, arXiv 2111.06377",
        unused=_MAE_UNUSED,
    ),
    _theia("theia_tiny", "tiny", 192, 5_524_416),
    _theia("theia_small", "small", 384, 21_665_664),
    _theia("theia_base", "base", 768, 85_798_656),
    Card(
        name="vip",
        architecture="torchvision ResNet-50 with a linear layer to 1024",
        feature_dim=1024,
        feature="output of the linear layer after pooling",
        normalisation=IMAGENET,
        parameters=RESNET50_PARAMETERS + 2048 * 1024 + 1024,
        sources=(
            Source(
                "vip.pt",
                "https://pytorch.s3.amazonaws.com/models/rl/vip/model.pt",
                mirrors=("https://drive.google.com/file/d/1LuCFIV44xTZ0GLmLwk36BRsr9KjCW_yj",),
            ),
        ),
        licence="CC BY-NC 4.0",
        commercial_use=False,
        citation="Ma et al., VIP, ICLR 2023, arXiv 2210.00030",
        deviations=("always divided by 255; VIP's own class does so only where the largest value exceeds 2",),
        unused=("all beside 'vip'",),
    ),
    Card(
        name="clip_base",
        architecture=f"{VIT_BASE} with the fast GELU that CLIP was trained with",
        feature_dim=768,
        feature=f"{CLASS_TOKEN}, before the projection",
        normalisation=CLIP,
        parameters=85_799_424,
        sources=(_timm("vit_base_patch16_clip_224.openai"),),
        licence="MIT (OpenAI); Apache-2.0 says timm",
        commercial_use=True,
        citation="Radford et al., CLIP, ICML 2021, arXiv 2103.00020",
        deviations=(_TIMM_FILE,),
        unused=("head. (the projection)",),
    ),
    Card(
        name="liv",
        architecture="CLIP's ResNet-50 with attention pooling",
        feature_dim=1024,
        feature="CLIP's image embedding",
        normalisation=CLIP,
        parameters=38_316_896,
        sources=(
            Source(
                "liv.pt",
                "https://huggingface.co/jasonyma/LIV/resolve/main/model.pt",
                mirrors=("https://drive.google.com/file/d/1l1ufzVLxpE5BK7JY6ZnVBljVzmK5c4P3",),
            ),
        ),
        licence="MIT",
        commercial_use=True,
        citation="Ma et al., LIV, ICML 2023, arXiv 2306.00958",
        deviations=("computed in single precision; LIV itself uses half precision on a GPU",),
        unused=("all outside 'module.model.visual.' (the text network)", "all beside 'liv'"),
    ),
    _moco_v3("mocov3_resnet50", RESNET50, POOLED, 2048, RESNET50_PARAMETERS, "r-50-1000ep"),
    _moco_v3("mocov3_small", VIT_SMALL_12, CLASS_TOKEN, 384, 21_665_664, "vit-s-300ep"),
    _moco_v3("mocov3_base", VIT_BASE, CLASS_TOKEN, 768, 85_798_656, "vit-b-300ep"),
    Card(
        name="mcr",
        architecture=RESNET50,
        feature_dim=2048,
        feature=POOLED,
        normalisation=IMAGENET,
        parameters=RESNET50_PARAMETERS,
        sources=(
            Source(
                "mcr_resnet50.pth",
                "https://huggingface.co/GqJiang/robots-pretrain-robots/resolve/main/mcr_resnet50.pth",
                sha256="21560db9e795384a7b73b0626d33d6525f9d4c5de11fca6ded52089aab14f97c",
                size=94_345_861,
            ),
        ),
        licence="MIT",
        commercial_use=True,
        citation="Jiang et al., Robots pre-train robots, ICLR 2025, arXiv 2410.22325",
        deviations=("ImageNet-normalised, as it was trained; its authors' example leaves mean and std out",),
    ),
    Card(
        name="soup",
        architecture=VIT_BASE,
        feature_dim=768,
        feature=CLASS_TOKEN,
        normalisation=IMAGENET,
        parameters=85_798_656,
        sources=(
            Source(
                "SOUP_1M_DH.pth",
                "https://www.cs.cmu.edu/~data4robotics/release/features.zip",
                direct=False,
                mirrors=("https://cmu.box.com/shared/static/rrlrp5g6ynk03io4rj9uzf6nik5urfl6",),
            ),
        ),
        licence="not stated; code MIT",
        commercial_use=None,
        citation="Dasari et al., Datasets for visuo-motor pre-training, CoRL 2023, arXiv 2310.09289",
        unused=("decoder*", "mask_token", "all beside 'features' or 'model'"),
    ),
    _hand(
        "wilor",
        630_940_160,
        Source(
            "wilor_final.ckpt",
            "https://huggingface.co/spaces/rolpotamias/WiLoR/resolve/main/pretrained_models/wilor_final.ckpt",
            sha256="3e97aafc7dd08d883a4cc5a027df61fdb6fda6136dbd1319405413862ada6bb2",
        ),
        "CC BY-NC-ND 4.0",
        "Potamias et al., WiLoR, CVPR 2025, arXiv 2409.12259",
        "backbone.{decpose,decshape,deccam}.",
    ),
    _hand(
        "hamer",
        630_912_000,
        Source(
            "hamer.ckpt",
            "https://www.cs.utexas.edu/~pavlakos/hamer/data/hamer_demo_data.tar.gz",
            direct=False,
            mirrors=("https://drive.google.com/file/d/1mv7CUAnm73oKsEEG1xE3xH2C_oqcFSzT",),
        ),
        "MIT; MANO, which the feature does not need, is non-commercial",
        "Pavlakos et al., HaMeR, CVPR 2024, arXiv 2312.05251",
        "nothing inside",
    ),
    _vc1(
        "vc1_permissive",
        VIT_BASE,
        768,
        85_798_656,
        Source(
            "vc1_base_permissive.bin",
            "https://huggingface.co/facebook/vc1-base-permissive/resolve/main/pytorch_model.bin",
            sha256="5e6e203d6502a69e8b08c3c460487fcaeda17cba483e93b6211bc1ede57304cb",
        ),
        "not established (MIT is listed for its larger sibling)",
    ),
    _vc1(
        "vc1_large",
        "ViT-L/16",
        1024,
        303_301_632,
        Source(
            "vc1_vitl.pth",
            "https://dl.fbaipublicfiles.com/eai-vc/vc1_vitl.pth",
            mirrors=("https://huggingface.co/facebook/vc1-large/resolve/main/pytorch_model.bin",),
        ),
        "CC BY-NC 4.0",
    ),
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
        citation="Parisi et al., PVR, ICML 2022, arXiv 2203.03580; Chen et al., MoCo v2, arXiv 2003.04297",
        deviations=("MoCo v2 trained for 800 epochs, as H-InDex's first commit names pvr",),
        unused=("module.encoder_q.fc.", "module.encoder_k.", "module.queue*", "all beside 'state_dict'"),
    ),
)
