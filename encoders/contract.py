"""The check that every encoder passes once before a run, so that a mistake shows at once and not as a strange curve."""

from __future__ import annotations

import torch
from torch import Tensor

from .base import IMAGE_SIZE, Encoder
from .errors import EncoderContract
from .memory import is_out_of_memory
from .precision import FLOAT32, computing

_IMAGES = 3
_TOLERANCE = 1e-3


def check_encoder(encoder: Encoder) -> None:
    """Hold an encoder to its contract, on its own device, with three images of noise.

    It must be frozen; give ``(N, feature_dim)`` finite floating point numbers; give the same bits twice; treat every
    image by itself, whatever its place and company in the batch; and leave its input as it was. An encoder with moving
    statistics (Stage 3) is to be checked before they move.

    Raises:
        EncoderContract: it does not; the message says what to change.
    """
    _check_feature_dim(encoder)
    if not encoder.uses_images:
        return
    _check_frozen(encoder)
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(_IMAGES, 3, IMAGE_SIZE, IMAGE_SIZE, generator=generator).to(encoder.device)
    images = images.contiguous(memory_format=encoder.memory_format)
    untouched = images.clone()
    with torch.inference_mode(), computing(FLOAT32, encoder.device):
        first = _forward(encoder, images)
        if not torch.equal(images, untouched):
            raise _broken(encoder, "forward changed its input", "work on a copy, as in images = images - mean")
        second = _forward(encoder, images)
        if not torch.equal(first, second):
            raise _broken(
                encoder,
                "the same images gave different features the second time",
                "remove dropout and random numbers from forward",
            )
        some = [2, 0]
        alone = _forward(encoder, images[some].contiguous(memory_format=encoder.memory_format))
    scale = float(first.float().abs().max()) or 1.0
    error = float((first[some].float() - alone.float()).abs().max()) / scale
    if error > _TOLERANCE:
        raise _broken(
            encoder,
            f"an image's feature depends on the other images of its batch or their order (relative change {error:.2g})",
            "do not compute statistics over the batch",
        )


def _check_feature_dim(encoder: Encoder) -> None:
    size = getattr(encoder, "feature_dim", None)
    least = 1 if encoder.uses_images else 0
    if not isinstance(size, int) or size < least or (size > 0 and not encoder.uses_images):
        expected = "a whole number above 0" if encoder.uses_images else "0, since uses_images is False"
        raise _broken(encoder, f"feature_dim is {size!r}", f"expected {expected}, as in feature_dim = 512")


def _check_frozen(encoder: Encoder) -> None:
    trainable = [name for name, parameter in encoder.named_parameters() if parameter.requires_grad]
    if trainable:
        raise _broken(
            encoder,
            f"{len(trainable)} trainable parameters (first: {trainable[0]})",
            "an encoder is frozen: encoder.requires_grad_(False)",
        )
    training = [name or "itself" for name, module in encoder.named_modules() if module.training]
    if training:
        raise _broken(
            encoder, f"{len(training)} modules in training mode (first: {training[0]})", "call encoder.eval()"
        )


def _forward(encoder: Encoder, images: Tensor) -> Tensor:
    try:
        features = encoder(images)
    except Exception as error:  # the encoder's author may raise anything
        if is_out_of_memory(error):
            raise
        what = f"forward failed on images {tuple(images.shape)}: {type(error).__name__}: {error}"
        raise _broken(encoder, what, "it must take (N, 3, 224, 224) float32 in [0, 1]") from error
    if not isinstance(features, Tensor):
        raise _broken(encoder, f"forward returned a {type(features).__name__}", "return one tensor")
    expected = (len(images), encoder.feature_dim)
    if features.shape != expected:
        raise _broken(
            encoder,
            f"forward returned shape {tuple(features.shape)} for {len(images)} images, not {expected}",
            f"set feature_dim = {features.shape[-1]} or change forward" if features.ndim == 2 else "flatten or pool it",
        )
    if not features.is_floating_point():
        raise _broken(encoder, f"forward returned {features.dtype}", "return floating point features")
    bad = int((~torch.isfinite(features)).sum())
    if bad:
        raise _broken(
            encoder,
            f"{bad} of {features.numel()} feature values are NaN or infinite",
            "check weights and normalisation",
        )
    return features


def _broken(encoder: Encoder, what: str, remedy: str) -> EncoderContract:
    return EncoderContract(f"encoder '{encoder.name or type(encoder).__name__}': {what}; {remedy}")
