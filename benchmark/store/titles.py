"""Titles: an encoder's name for people, such as ``hindex+ema-0 (builtin)``, and the folders named after it."""

from __future__ import annotations

import re
from typing import NamedTuple

TITLE_PREFIX, FOLDER_PREFIX = "timm:", "timm."
"""Registered names hold neither dot nor colon (`encoders.registry`), so a folder ``timm.`` can only be of ``timm:``."""


class TitleParts(NamedTuple):
    """What a title is built from; run folders record it, so that nothing has to take a title apart.

    Attributes:
        encoder: the name alone.
        variant: changed stage settings, such as ``ema-0`` or ``adapt-all+ema-0``; empty for none.
        label: of weights that are not official, such as ``(random)``; empty for official ones.
    """

    encoder: str
    variant: str = ""
    label: str = ""

    def __str__(self) -> str:
        """Return the title."""
        return f"{'+'.join(filter(None, (self.encoder, self.variant)))} {self.label}".rstrip()


def parts_of_folder(folder: str) -> TitleParts:
    """Return the parts of the title that a folder is named after, for what was written before folders kept them.

    >>> parts_of_folder("hindex+ema-0 (builtin)")
    TitleParts(encoder='hindex', variant='ema-0', label='(builtin)')
    """
    name, label = re.fullmatch(r"(.*?)\s*(\([^()]*\))?", title_of(folder)).groups()  # type: ignore[union-attr]
    encoder, _, variant = name.partition("+")
    return TitleParts(encoder, variant, label or "")


def folder_name(title: str) -> str:
    """Return the name of the folder of an encoder's runs.

    A colon is kept out of it: ``rsync`` and ``scp`` take what stands before one for a host, other systems refuse it.

    >>> folder_name("timm:resnet10t (random)")
    'timm.resnet10t (random)'
    """
    return FOLDER_PREFIX + title.removeprefix(TITLE_PREFIX) if title.startswith(TITLE_PREFIX) else title


def title_of(folder: str) -> str:
    """Return the title that a folder was named after by `folder_name`.

    >>> title_of("timm.resnet10t (random)")
    'timm:resnet10t (random)'
    """
    return TITLE_PREFIX + folder.removeprefix(FOLDER_PREFIX) if folder.startswith(FOLDER_PREFIX) else folder
