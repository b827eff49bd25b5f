"""An encoder's title, such as ``timm:resnet18 (random)``, as the name of a folder, and back.

Registered names hold neither dot nor colon (`encoders.registry`), so ``timm.`` at the start can only be ``timm:``.
"""

from __future__ import annotations

TITLE_PREFIX, FOLDER_PREFIX = "timm:", "timm."


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
