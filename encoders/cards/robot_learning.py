"""Today's encoders made for robots, for hands, or from videos of people at work.

Source: encoders.md, section 7; the works cited below.
"""

from __future__ import annotations

from .paper import CLASS_TOKEN, MAE_UNUSED, POOLED, RESNET50, RESNET50_PARAMETERS, VC1_DATA, VIT_BASE
from .record import CLIP, IMAGENET, Card, Source

_VC1 = "Majumdar et al., VC-1, NeurIPS 2023, arXiv 2303.18240"
_THEIA = "Shang et al., Theia, CoRL 2024, arXiv 2407.20179"


def _mvp(name: str, architecture: str, feature_dim: int, parameters: int, filename: str, box: str, md5: str) -> Card:
    large = name == "mvp_large"
    return Card(
        name=name,
        architecture=f"{architecture}, 256 x 256 pixels" if large else architecture,
        feature_dim=feature_dim,
        feature=CLASS_TOKEN,
        normalisation=IMAGENET,
        parameters=parameters,
        sources=(Source(filename, f"https://berkeley.box.com/shared/static/{box}.pth", md5=md5),),
        licence="not stated",
        commercial_use=None,
        trained_on="Ego4D and other videos of people, ImageNet",
        saw_benchmark=False,
        citation="Radosavovic et al., Real-world robot learning with masked visual pre-training, CoRL 2022, "
        "arXiv 2210.03109",
        deviations=("the frame of 224 pixels is resized to 256 bilinearly",) if large else (),
        unused=MAE_UNUSED,
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
        trained_on="ImageNet-1k, with other networks as teachers",
        saw_benchmark=False,
        citation=_THEIA,
        deviations=("Theia gives all 196 patch tokens; here their mean is the feature",),
        unused=("translator.", "backbone.model.pooler."),
    )


def _vc1(
    name: str,
    architecture: str,
    feature_dim: int,
    parameters: int,
    source: Source,
    licence: str,
    trained_on: str = "",
) -> Card:
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
        trained_on=trained_on,
        saw_benchmark=False if trained_on else None,
        citation=_VC1,
        unused=MAE_UNUSED,
    )


def _hand(
    name: str, parameters: int, source: Source, licence: str, trained_on: str, citation: str, unused: str
) -> Card:
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
        trained_on=f"photographs of hands with 3D poses ({trained_on})",
        saw_benchmark=False,
        citation=citation,
        deviations=(
            "made for a crop around a right hand; here it sees the middle of the whole frame",
            "the frame of 224 pixels is resized to 256 bilinearly, and its 32 outermost columns on each side cut off",
        ),
        unused=("all outside 'backbone.'", unused, "all beside 'state_dict'"),
    )


def _spa(name: str, architecture: str, feature_dim: int, parameters: int) -> Card:
    file = f"spa-{architecture[4].lower()}.safetensors"
    return Card(
        name=name,
        architecture=architecture,
        feature_dim=feature_dim,
        feature=CLASS_TOKEN,
        normalisation=IMAGENET,
        parameters=parameters,
        sources=(Source(file, f"https://huggingface.co/HaoyiZhu/SPA/resolve/main/{file}"),),
        licence="MIT",
        commercial_use=True,
        trained_on="scenes seen from several views (ScanNet, Hypersim, DROID and others)",
        saw_benchmark=False,
        citation="Zhu et al., SPA, ICLR 2025, arXiv 2410.08208",
        unused=(
            "model.img_backbone.{decoder_embed,mask_token,readout_project,upsample}",
            "all outside 'model.img_backbone.'",
        ),
    )


CARDS = (
    _mvp("mvp_base", VIT_BASE, 768, 85_798_656, "vitb-mae-egosoup.pth", "0ckepd2ja3pi570z89ogd899cn387yut", "526093"),
    _mvp(
        "mvp_large",
        "ViT-L/16",
        1024,
        303_363_072,
        "vitl-256-mae-egosoup.pth",
        "6p0pc47mlpp4hhwlin2hf035lxlgddxr",
        "5352b0",
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
        VC1_DATA,
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
        trained_on="Ego4D, videos of people at work",
        saw_benchmark=False,
        citation="Ma et al., VIP, ICLR 2023, arXiv 2210.00030",
        deviations=("always divided by 255; VIP's own class does so only where the largest value exceeds 2",),
        unused=("all beside 'vip'",),
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
        trained_on="CLIP's images and texts of the web, then EPIC-KITCHENS",
        citation="Ma et al., LIV, ICML 2023, arXiv 2306.00958",
        deviations=("computed in single precision; LIV itself uses half precision on a GPU",),
        unused=("all outside 'module.model.visual.' (the text network)", "all beside 'liv'"),
    ),
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
        trained_on="DROID, videos of robot arms",
        saw_benchmark=False,
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
        citation="Dasari et al., An unbiased look at datasets for visuo-motor pre-training, CoRL 2023, "
        "arXiv 2310.09289",
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
        "WHIM, FreiHAND, HO-3D and others",
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
        "FreiHAND, HO-3D and others",
        "Pavlakos et al., HaMeR, CVPR 2024, arXiv 2312.05251",
        "nothing inside",
    ),
    _spa("spa_base", VIT_BASE, 768, 85_798_656),
    _spa("spa_large", "ViT-L/16", 1024, 303_301_632),
    Card(
        name="stp_base",
        architecture=VIT_BASE,
        feature_dim=768,
        feature=CLASS_TOKEN,
        normalisation=IMAGENET,
        parameters=85_798_656,
        sources=(Source("lang_0.95_aug0.8_no_lang.pth", "https://github.com/MCG-NJU/STP", direct=False),),
        licence="Apache-2.0",
        commercial_use=True,
        trained_on="Ego4D, videos of people at work",
        saw_benchmark=False,
        citation="Yang et al., STP, IJCV 2026, arXiv 2403.05304",
        deviations=("its authors' repository says where the weights are; their exported encoder will do, too",),
        unused=MAE_UNUSED,
    ),
    Card(
        name="maple",
        architecture=f"{VIT_BASE} of DINO",
        feature_dim=768,
        feature="keys of the class token in the attention of block 11, counted from 0",
        normalisation=IMAGENET,
        parameters=80_482_560,
        sources=(Source("maple_ln.pt", "https://algvr.com/files/maple_ln.pt"),),
        licence="not stated",
        commercial_use=None,
        trained_on="ImageNet-1k (DINO), then videos of people's hands (Ego4D)",
        saw_benchmark=False,
        citation="Gavryushin et al., MAPLE, 2025, arXiv 2504.06084",
        deviations=(
            "its authors' code takes the first number of every token's keys (2,364 in all), where its comments ask for "
            "one vector: here the feature is the keys of the class token, 64 numbers of the 12 heads",
            "its authors offer maple_ap.pt, too, of the same layout",
        ),
        unused=(
            "encoder.extractor.{blocks.11.attn.proj.,blocks.11.norm2.,blocks.11.mlp.,norm.,head.}",
            "encoder.model.extractor.{blocks.11.attn.proj.,blocks.11.norm2.,blocks.11.mlp.,norm.,head.}",
            "all outside 'encoder.'",
            "all beside 'model'",
        ),
    ),
)
