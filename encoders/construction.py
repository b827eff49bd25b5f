"""Turn an encoder's class into a frozen network."""

from __future__ import annotations

from pathlib import Path

import torch

from . import registry
from .base import Encoder
from .errors import EncoderError
from .memory import is_out_of_memory


def construct(name: str, weights: Path | None) -> Encoder:
    """Make the encoder, frozen and in evaluation mode, and leave the global random state as it was.

    Whatever an ``__init__`` draws from torch's global generator, it draws from seed 0: so weights that were not loaded
    are the same every time.

    Raises:
        EncoderError: the encoder is unknown, or its ``__init__`` fails.
    """
    encoder_class = registry.get(name)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        try:
            encoder = encoder_class(weights=weights)
        except EncoderError:
            raise
        except Exception as error:  # the encoder's author may raise anything
            if is_out_of_memory(error):
                raise
            raise EncoderError(
                f"encoder '{name}': __init__(weights={'None' if weights is None else weights}) failed: "
                f"{type(error).__name__}: {error}"
            ) from error
    return encoder.eval().requires_grad_(False)
