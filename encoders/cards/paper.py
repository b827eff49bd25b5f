"""The encoders that the paper compares, and the controls of this benchmark.

Source: H-InDex (NeurIPS 2023, arXiv 2310.01404), its released code and its first commit; the works cited below.
"""

from __future__ import annotations

from dataclasses import replace

from .record import IMAGENET, UNIT, Card, Normalisation, Source

RESNET50 = "torchvision ResNet-50 trunk"
POOLED = "mean over the 7 x 7 positions after layer4"
RESNET50_PARAMETERS = 23_508_032
VIT_SMALL_12 = "ViT-S/16 with 12 heads of 32"
VIT_BASE = "ViT-B/16"
CLASS_TOKEN = "class token after the final norm"
VC1_DATA = "Ego4D and other videos of people, videos of navigation, ImageNet"
MAE_UNUSED = ("decoder*", "mask_token", "all beside 'model'")
STAGE1 = "stage1"

_ADAPTED_ARCHIVE = "https://drive.google.com/file/d/1TPCAnZMOcgErMruZ45R8MAg7b4iWu5DT"
_ADAPTED_FILES = {
    "hammer": "hammer-v0.pth",
    "door": "door-v0.pth",
    "pen": "pen-v0.pth",
    "pour": "pour.pth",
    "place_inside": "place_inside.pth",
    "relocate-mug": "relocate-mug.pth",
    "relocate-foam_brick": "relocate-foam_brick.pth",
    "relocate-large_clamp": "relocate-large_clamp.pth",
    "relocate-mustard_bottle": "relocate-mustard_bottle.pth",
    "relocate-potted_meat_can": "relocate-potted_meat_can.pth",
    "relocate-sugar_box": "relocate-sugar_box.pth",
    "relocate-tomato_soup_can": "relocate-tomato_soup_can.pth",
}
_FRANKMOCAP = "Rong et al., FrankMocap, ICCV Workshops 2021, arXiv 2008.08324"
_ALPHAPOSE = Card(
    name="alphapose",
    architecture=f"{RESNET50}; AlphaPose's squeeze-excitation layers left out",
    feature_dim=2048,
    feature=POOLED,
    normalisation=IMAGENET,
    native=Normalisation("native", (0.406, 0.457, 0.480)),
    parameters=RESNET50_PARAMETERS,
    sources=(
        Source(
            "fast_res50_256x192.pth",
            "https://drive.google.com/file/d/1kQhnMRURFiy7NsdS8EFL-8vtqEXOgECn",
        ),
    ),
    licence="AlphaPose's own: academic and non-commercial, no redistribution",
    commercial_use=False,
    trained_on="COCO, photographs of people with keypoints",
    saw_benchmark=False,
    citation="Fang et al., AlphaPose, TPAMI 2022, arXiv 2211.03375",
    deviations=(
        "as H-InDex computes it: AlphaPose's network is an SE-ResNet-50, whose 16 squeeze-excitation tensors H-InDex "
        "loses in silence, so that this network is one that AlphaPose never trained; alphapose_se keeps them",
        "the file knows the 17 COCO keypoints of the body and none of the hand, unlike what the paper says",
        "trained on 256 x 192 crops of people, RGB minus (0.406, 0.457, 0.480), undivided",
    ),
    unused=("preact.layer{1,2,3,4}.0.se. (squeeze-excitation)", "duc1.", "duc2.", "conv_out."),
)

CARDS = (
    Card(
        name="hindex",
        architecture=RESNET50,
        feature_dim=2048,
        feature=POOLED,
        normalisation=UNIT,
        parameters=RESNET50_PARAMETERS,
        sources=tuple(
            Source(filename, _ADAPTED_ARCHIVE, task=task, direct=False) for task, filename in _ADAPTED_FILES.items()
        ),
        licence="not stated; repository MIT, derived from FrankMocap (CC BY-NC 4.0)",
        commercial_use=False,
        trained_on="photographs of hands (FrankMocap), then frames of the task (Stage 2)",
        saw_benchmark=True,
        citation="Ze et al., H-InDex, NeurIPS 2023, arXiv 2310.01404",
        deviations=("the moving-average BatchNorm of Stage 3 is a setting of the run, not of this encoder",),
        unused=(
            "module.pose_net.{deconv_layers,final_layer_unsup,sup_query,mh_attn,sup_weight}.",
            "module.image_encoder.",
            "module.pose_encoder.",
            "module.image_renderer.",
        ),
        builtin=STAGE1,
        adapts="frankmocap_hand",
        moving_average=True,
    ),
    Card(
        name="frankmocap_hand",
        architecture=RESNET50,
        feature_dim=2048,
        feature=POOLED,
        normalisation=IMAGENET,
        native=Normalisation("native", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), bgr=True),
        parameters=RESNET50_PARAMETERS,
        sources=(
            Source(
                "frankmocap_hand.pth",
                "https://dl.fbaipublicfiles.com/eft/fairmocap_data/hand_module/checkpoints_best/pose_shape_best.pth",
            ),
        ),
        licence="CC BY-NC 4.0",
        commercial_use=False,
        trained_on="photographs and videos of hands with 3D poses (FreiHAND, HO-3D and others)",
        saw_benchmark=False,
        citation=_FRANKMOCAP,
        deviations=("trained on BGR in [-1, 1]; H-InDex feeds ImageNet-normalised RGB",),
        unused=("main_encoder.fc1.", "feat_encoder.", "regressor."),
        builtin=STAGE1,
    ),
    Card(
        name="frankmocap_body",
        architecture=RESNET50,
        feature_dim=2048,
        feature=POOLED,
        normalisation=IMAGENET,
        parameters=RESNET50_PARAMETERS,
        sources=(
            Source(
                "frankmocap_body.pt",
                "https://dl.fbaipublicfiles.com/eft/2020_05_31-00_50_43-best-51.749683916568756.pt",
            ),
        ),
        licence="CC BY-NC 4.0",
        commercial_use=False,
        trained_on="photographs of people with fitted body models (COCO, MPII and others)",
        saw_benchmark=False,
        citation=_FRANKMOCAP,
        deviations=(
            "FrankMocap's SMPL file; whether the paper used this one or the SMPL-X one of the same network "
            "(fairmocap_data/body_module/smplx-03-28-46060-w_spin_mlc3d_46582-2089_2020_03_28-21_56_16.pt) is unknown",
        ),
        unused=("fc1.", "fc2.", "decpose.", "decshape.", "deccam.", "init_{pose,shape,cam}", "all beside 'model'"),
    ),
    _ALPHAPOSE,
    Card(
        name="alphapose_se",
        architecture="SE-ResNet-50 of AlphaPose: squeeze-excitation in the first block of each stage",
        feature_dim=2048,
        feature=POOLED,
        normalisation=IMAGENET,
        native=_ALPHAPOSE.native,
        parameters=34_656_832,
        sources=_ALPHAPOSE.sources,
        licence=_ALPHAPOSE.licence,
        commercial_use=False,
        trained_on=_ALPHAPOSE.trained_on,
        saw_benchmark=False,
        citation=_ALPHAPOSE.citation,
        deviations=("AlphaPose's network whole, which the paper does not use", *_ALPHAPOSE.deviations[1:]),
        unused=_ALPHAPOSE.unused[1:],
    ),
    Card(
        name="r3m",
        architecture=RESNET50,
        feature_dim=2048,
        feature=POOLED,
        normalisation=IMAGENET,
        parameters=RESNET50_PARAMETERS,
        sources=(
            Source(
                "r3m_50.pt",
                "https://drive.google.com/file/d/1Xu0ssuG0N1zjZS54wmWzJ7-nb0-7XzbA",
                md5="aa8e41a52670aaacbafe8e4532052d15",
            ),
        ),
        licence="MIT",
        commercial_use=True,
        trained_on="Ego4D, videos of people at work",
        saw_benchmark=False,
        citation="Nair et al., R3M, CoRL 2022, arXiv 2203.12601",
        deviations=("normalised once, by this encoder; R3M's own class divides by 255 and normalises inside",),
        unused=("module.lang_rew.", "module.lang_enc.", "all beside 'r3m'"),
    ),
    Card(
        name="mvp",
        architecture=VIT_SMALL_12,
        feature_dim=384,
        feature=CLASS_TOKEN,
        normalisation=IMAGENET,
        parameters=21_665_664,
        sources=(
            Source(
                "mae_pretrain_hoi_vit_small.pth",
                "https://berkeley.box.com/shared/static/m93ynem558jo8vltlads5rcmnahgsyzr.pth",
                mirrors=("https://www.dropbox.com/s/51fasmar8hjfpeh/mae_pretrain_hoi_vit_small.pth?dl=1",),
                md5="fe6e30eb4256fae298ea0a6c6b4c1ae7",
            ),
        ),
        licence="not stated",
        commercial_use=None,
        trained_on="videos of hands and objects (EPIC-KITCHENS, Something-Something, 100 Days of Hands)",
        saw_benchmark=False,
        citation="Xiao et al., Masked visual pre-training for motor control, 2022, arXiv 2203.06173",
        deviations=(
            "timm's ViT-S has 6 heads and the same tensor shapes; this one has the 12 it was trained with",
            "its authors' link (berkeley.box.com) has been dead since September 2024 (ir413/mvp, issue 18)",
        ),
        unused=MAE_UNUSED,
    ),
    Card(
        name="vc1",
        architecture=VIT_BASE,
        feature_dim=768,
        feature=CLASS_TOKEN,
        normalisation=IMAGENET,
        parameters=85_798_656,
        sources=(
            Source(
                "vc1_vitb.pth",
                "https://dl.fbaipublicfiles.com/eai-vc/vc1_vitb.pth",
                mirrors=("https://huggingface.co/facebook/vc1-base/resolve/main/pytorch_model.bin",),
            ),
        ),
        licence="CC BY-NC 4.0",
        commercial_use=False,
        trained_on=VC1_DATA,
        saw_benchmark=False,
        citation="Majumdar et al., VC-1, NeurIPS 2023, arXiv 2303.18240",
        unused=MAE_UNUSED,
    ),
    Card(
        name="rrl",
        architecture=RESNET50,
        feature_dim=2048,
        feature=POOLED,
        normalisation=IMAGENET,
        parameters=RESNET50_PARAMETERS,
        sources=(
            Source(
                "resnet50-0676ba61.pth",
                "https://download.pytorch.org/models/resnet50-0676ba61.pth",
                sha256="0676ba61b6795bbe1773cffd859882e5e297624d384b6993f7c9e683e722fb8a",
                size=102_530_333,
            ),
        ),
        licence="BSD-3-Clause",
        commercial_use=True,
        trained_on="ImageNet-1k",
        saw_benchmark=False,
        citation="Shah and Kumar, RRL: ResNet as representation for RL, ICML 2021, arXiv 2107.03380",
        deviations=(
            "IMAGENET1K_V1 weights of a ResNet-50, as in H-InDex, and not V2, today's default",
            "RRL itself used a ResNet-34",
        ),
        unused=("fc.",),
    ),
)

_STATE = Card(
    name="state",
    architecture="none",
    feature_dim=0,
    feature="no image; the policy sees the task's privileged state",
    normalisation=UNIT,
    parameters=0,
    licence="none needed",
    commercial_use=True,
    trained_on="nothing",
    saw_benchmark=False,
    citation="control of this benchmark",
)

CONTROLS = (
    Card(
        name="random",
        architecture=RESNET50,
        feature_dim=2048,
        feature=POOLED,
        normalisation=IMAGENET,
        parameters=RESNET50_PARAMETERS,
        licence="none needed",
        commercial_use=True,
        trained_on="nothing",
        saw_benchmark=False,
        citation="control of this benchmark",
        deviations=("never trained: seeded random weights",),
    ),
    _STATE,
    replace(_STATE, name="blind", feature="no image; the policy feels its own joints alone"),
    Card(
        name="scratch",
        architecture="none; the policy trains four 3 x 3 convolutions of 32 channels, the first with stride 2",
        feature_dim=3 * 84 * 84,
        feature="the frame at 84 x 84 pixels, shifted at random in training (up to 4 pixels); cloning only",
        normalisation=UNIT,
        parameters=0,
        licence="none needed",
        commercial_use=True,
        trained_on="nothing before the run",
        saw_benchmark=False,
        citation="control of this benchmark, after Hansen et al., On Pre-Training for Visuo-Motor Control, arXiv "
        "2212.05749, with the shifts and the projection to 50 numbers of DrQ, arXiv 2004.13649",
        deviations=("84 x 84 pixels, the size that this network is usually given, reduced from 224 x 224",),
    ),
)
