"""Finished runs in packs of results: they count as done, without their folders."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..store import pack
from ..store.identity import same_identity
from ..store.pack import PackedRun
from ..store.paths import user_path
from ..store.run_folder import IDENTITY, Status

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class PackedFolder:
    """A run in a pack, read as a run folder is.

    Attributes:
        run: as the pack holds it.
    """

    run: PackedRun
    status: Status = "finished"

    @property
    def identity(self) -> dict[str, Any]:
        """Fields that determine the run's results."""
        return self.run.files[IDENTITY]

    def metrics(self) -> list[dict[str, Any]]:
        """Return the metrics, one dict per line."""
        return self.run.metrics

    def episodes(self) -> pandas.DataFrame:
        """Return the evaluation episodes, one row each."""
        return self.run.episodes.to_pandas()

    def is_of(self, identity: dict[str, Any]) -> bool:
        """Return whether it is the run of this identity."""
        return same_identity(self.identity, identity)


def find_packed(out: Path | str, cell: Path) -> PackedFolder | None:
    """Return the run of a cell in the packs that lie in the folder of all runs; None where they have none.

    Args:
        out: the folder of all runs.
        cell: the folder that the run would have.

    Raises:
        PackError: a pack is damaged.
    """
    for path in sorted(user_path(out).glob(f"*{pack.SUFFIX}")):
        found = path.stat()
        run = _runs(path, found.st_mtime_ns, found.st_size).get(cell.parts[-4:])
        if run is not None:
            return PackedFolder(run)
    return None


@lru_cache(maxsize=8)
def _runs(path: Path, changed: int, size: int) -> dict[tuple[str, ...], PackedRun]:
    """Return the runs of a pack by their place; read again when the file has changed."""
    return {run.place: run for run in pack.read(path)}
