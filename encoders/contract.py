"""The check that every encoder passes once before a run, so that a mistake shows at once and not as a strange curve."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .base import IMAGE_SIZE, Encoder
from .errors import EncoderContract, EncoderError
from .memory import is_out_of_memory
from .precision import FLOAT32, computing

_IMAGES = 3
_TOLERANCE = 1e-3
_NUMBERS = {"forward": "features", "tokens": "tokens"}


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
    with torch.inference_mode(), computing(FLOAT32, encoder.device):
        _check_repeatable(encoder, _noise(encoder), _forward, "forward")


def check_tokens(encoder: Encoder) -> None:
    """Hold an encoder's `tokens` to the same as `check_encoder` its features, as ``(N, T, D)``.

    Where ``feature_is_mean``, the mean of an image's tokens has to be its feature.

    Raises:
        EncoderContract: they do not fit; the message says what to change.
        EncoderError: the encoder has none.
    """
    images = _noise(encoder)
    with torch.inference_mode(), computing(FLOAT32, encoder.device):
        tokens = _check_repeatable(encoder, images, _tokens, "tokens")
        if encoder.feature_is_mean and (error := _change(_forward(encoder, images), tokens.mean(1))) > _TOLERANCE:
            raise _broken(
                encoder,
                f"the feature is not the mean of its tokens (relative change {error:.2g})",
                "leave out tokens that stand for no place, or set feature_is_mean = False",
            )


def has_tokens(encoder: Encoder) -> bool:
    """Return whether an encoder's class defines `Encoder.tokens`."""
    return type(encoder).tokens is not Encoder.tokens


def _noise(encoder: Encoder) -> Tensor:
    images = torch.rand(_IMAGES, 3, IMAGE_SIZE, IMAGE_SIZE, generator=torch.Generator().manual_seed(0))
    return images.to(encoder.device).contiguous(memory_format=encoder.memory_format)


def _check_repeatable(
    encoder: Encoder, images: Tensor, compute: Callable[[Encoder, Tensor], Tensor], name: str
) -> Tensor:
    """Check that a function gives each image the same numbers twice, alone too, and leaves its input as it was."""
    untouched = images.clone()
    first = compute(encoder, images)
    if not torch.equal(images, untouched):
        raise _broken(encoder, f"{name} changed its input", "work on a copy, as in images = images - mean")
    if not torch.equal(first, compute(encoder, images)):
        raise _broken(
            encoder,
            f"the same images gave different {_NUMBERS[name]} the second time",
            f"remove dropout and random numbers from {name}",
        )
    some = [2, 0]
    alone = compute(encoder, images[some].contiguous(memory_format=encoder.memory_format))
    if (error := _change(first[some], alone)) > _TOLERANCE:
        raise _broken(
            encoder,
            f"an image's {_NUMBERS[name].removesuffix('s')} depends on the other images of its batch or their order "
            f"(relative change {error:.2g})",
            "do not compute statistics over the batch",
        )
    return first


def _change(one: Tensor, other: Tensor) -> float:
    """Return the largest difference as a share of the largest number."""
    return float((one.float() - other.float()).abs().max()) / (float(one.float().abs().max()) or 1.0)


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
    features = _called(encoder, encoder, "forward", images)
    expected = (len(images), encoder.feature_dim)
    if features.shape != expected:
        raise _broken(
            encoder,
            f"forward returned shape {tuple(features.shape)} for {len(images)} images, not {expected}",
            f"set feature_dim = {features.shape[-1]} or change forward" if features.ndim == 2 else "flatten or pool it",
        )
    _check_numbers(encoder, features, "forward")
    return features


def _tokens(encoder: Encoder, images: Tensor) -> Tensor:
    tokens = _called(encoder, encoder.tokens, "tokens", images)
    if tokens.ndim != 3 or len(tokens) != len(images) or 0 in tokens.shape:
        raise _broken(
            encoder,
            f"tokens returned shape {tuple(tokens.shape)} for {len(images)} images",
            f"expected ({len(images)}, T, D), as in maps.flatten(2).transpose(1, 2)",
        )
    _check_numbers(encoder, tokens, "tokens")
    return tokens


def _called(encoder: Encoder, function: Callable[[Tensor], Any], name: str, images: Tensor) -> Tensor:
    """Return what one of the encoder's functions gives, if that is a tensor."""
    try:
        returned = function(images)
    except EncoderError:
        raise
    except Exception as error:  # the encoder's author may raise anything
        if is_out_of_memory(error):
            raise
        what = f"{name} failed on images {tuple(images.shape)}: {type(error).__name__}: {error}"
        raise _broken(encoder, what, "it must take (N, 3, 224, 224) float32 in [0, 1]") from error
    if not isinstance(returned, Tensor):
        raise _broken(encoder, f"{name} returned a {type(returned).__name__}", "return one tensor")
    return returned


def _check_numbers(encoder: Encoder, returned: Tensor, name: str) -> None:
    if not returned.is_floating_point():
        raise _broken(encoder, f"{name} returned {returned.dtype}", f"return floating point {_NUMBERS[name]}")
    bad = int((~torch.isfinite(returned)).sum())
    if bad:
        raise _broken(
            encoder,
            f"{bad} of {returned.numel()} {_NUMBERS[name].removesuffix('s')} values are NaN or infinite",
            "check weights and normalisation",
        )


def _broken(encoder: Encoder, what: str, remedy: str) -> EncoderContract:
    return EncoderContract(f"encoder '{encoder.name or type(encoder).__name__}': {what}; {remedy}")
