"""Names of devices as users write them; importing this needs no torch."""

from __future__ import annotations

import re


def device_name(name: str) -> str:
    """Return the name of a device.

    Raises:
        ValueError: it is none.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        raise ValueError("should be auto, cpu, cuda or cuda:N, where N is the number of a GPU from 0")
    return name
