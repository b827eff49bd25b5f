"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..store.paths import user_path

OBJECTS = "Objects of the DexMV scenes: builtin shapes or ycb meshes."

Out = Annotated[Path, typer.Option(parser=user_path, metavar="PATH", help="Folder of all runs.")]
ObjectsPack = Annotated[str | None, typer.Option(help=OBJECTS)]
BackgroundNumber = Annotated[int | None, typer.Option(help="0 for the training scene, 1 to 10 for shifted ones.")]
