"""A ready encoder from its name."""

from __future__ import annotations

import os
from dataclasses import replace

import torch

from .base import Encoder
from .cards import IMAGENET, UNIT, Normalisation
from .construction import construct
from .errors import EncoderError
from .find import resolve
from .memory import is_out_of_memory
from .weights.checkpoint import state_sha256
from .weights.origin import WeightsOrigin


def build(
    name: str,
    *,
    weights: str | os.PathLike[str] = "auto",
    allow_random: bool = False,
    allow_builtin: bool = True,
    task: str | None = None,
    device: str | torch.device = "cpu",
    normalise: str = "auto",
) -> tuple[Encoder, WeightsOrigin]:
    """Build a frozen encoder in evaluation mode, and say where its weights came from.

    Args:
        name: the encoder's name, or ``file.py:Class``.
        weights: as in `encoders.resolve`.
        allow_random: as in `encoders.resolve`.
        allow_builtin: as in `encoders.resolve`.
        task: the task, for encoders with one weights file each.
        device: where the encoder goes.
        normalise: ``auto`` (what the card says), ``imagenet``, ``unit``, or ``native`` (what the weights were trained
            with).

    Raises:
        EncoderError: the encoder is unknown, its weights are missing or invalid, or it cannot be built.
    """
    origin = resolve(name, weights, allow_random=allow_random, allow_builtin=allow_builtin, task=task)
    return assemble(name, origin, device=device, normalise=normalise)


def assemble(
    name: str, origin: WeightsOrigin, *, device: str | torch.device = "cpu", normalise: str = "auto"
) -> tuple[Encoder, WeightsOrigin]:
    """Build a frozen encoder from weights that `encoders.resolve` found; arguments as in `build`.

    Raises:
        EncoderError: it cannot be built, or the device cannot be used.
    """
    encoder = construct(name, origin.path)
    origin = _hashed(origin, encoder)
    if normalise != "auto":
        encoder.normalisation = _normalisation(encoder, normalise)
    encoder.origin = origin
    try:
        encoder.to(device)
    except (RuntimeError, AssertionError) as error:
        if is_out_of_memory(error):
            raise
        reason = str(error).strip().split("\n")[0]
        raise EncoderError(
            f"encoder '{name}': device '{device}' cannot be used ({reason}); use --device cpu"
        ) from error
    return encoder, origin


def hashed_origin(name: str, origin: WeightsOrigin) -> WeightsOrigin:
    """Return an origin with the weights' hash; only an encoder that loads weights of its own is built for it.

    Raises:
        EncoderError: it cannot be built.
    """
    return _hashed(origin, construct(name, origin.path)) if origin.kind == "own" else origin


def _hashed(origin: WeightsOrigin, encoder: Encoder) -> WeightsOrigin:
    if origin.kind != "own":
        return origin
    digest = state_sha256(encoder.state_dict())
    if encoder.random_weights:
        return replace(origin, kind="random", label="(random)", sha256=digest)
    return replace(origin, sha256=digest)


def _normalisation(encoder: Encoder, how: str) -> Normalisation:
    card = encoder.card
    native = (card.native or card.normalisation) if card else None
    known = {"imagenet": IMAGENET, "unit": UNIT, "native": native}
    if encoder.normalisation is None:
        raise EncoderError(f"encoder '{encoder.name}': normalises in its own forward; use --normalise auto")
    chosen = known.get(how)
    if chosen is None:
        raise EncoderError(f"encoder '{encoder.name}': unknown --normalise '{how}'; expected auto, {', '.join(known)}")
    return chosen
