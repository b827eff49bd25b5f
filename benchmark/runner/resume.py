"""Resume an unfinished run from its last committed state, if everything that was committed is still there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import FolderError
from ..progress import Progress
from ..store import atomic, episodes
from ..store import metrics as metric_lines
from ..store.episodes import REMEDY
from ..store.run_folder import CHECKPOINT, CHECKPOINT_META, EPISODES, METRICS, RunFolder, Tensors

if TYPE_CHECKING:
    import pyarrow

Pair = tuple[int, int]


class Committed(NamedTuple):
    """The last committed state of a run.

    Attributes:
        tensors: see `benchmark.runner.checkpoint`.
        iteration: the last one that is complete.
        steps: environment steps of training so far.
        guard: counters of skipped updates.
    """

    tensors: Tensors
    iteration: int
    steps: int
    guard: dict[str, int]


def resume(folder: RunFolder, due: Sequence[int], seeds: Sequence[int], progress: Progress) -> Committed | None:
    """Read the last committed state of a run, check its rows, and drop the rows after it.

    Args:
        folder: held.
        due: iterations that the run evaluates, in order, such as -1 (untrained), 0 (cloned), 2, 4.
        seeds: of an evaluation's episodes, in order.
        progress: receives a line where rows are dropped that this run did not write.

    Returns:
        The state; None for a run that has committed nothing yet.

    Raises:
        FolderError: the checkpoint is damaged or of another run; committed rows are missing, doubled, exchanged or
            changed. Runs from before rows had digests are held to the number and order of their rows alone.
    """
    loaded = folder.load_checkpoint()
    if loaded is None:
        _require_no_progress(folder)
        folder.rewind(min([*due, 0]) - 1)
        return None
    tensors, meta = loaded
    state = _state(folder, tensors, meta)
    digests = _digests(meta)
    _check_metrics(folder, metric_lines.read(folder.path / METRICS), state.iteration, digests.get("metrics"))
    table = episodes.read(folder.path / EPISODES)
    expected = [(iteration, seed) for iteration in due if iteration <= state.iteration for seed in seeds]
    _check_episodes(folder, table, state.iteration, expected, digests.get("episodes"))
    if others := len(table) - len(_own_pairs(table)):
        progress.say(f"dropped {others} episodes that are not of the run's evaluations: they will be run again")
    folder.rewind(state.iteration)
    return state


def inspect(folder: RunFolder) -> None:
    """Make sure that a run's checkpoint and rows can be read and belong together, without changing anything.

    Raises:
        FolderError: they cannot, or do not.
    """
    lines, table = metric_lines.read(folder.path / METRICS), episodes.read(folder.path / EPISODES)
    loaded = folder.load_checkpoint()
    if loaded is None:
        _require_no_progress(folder)
        return
    state, digests = _state(folder, *loaded), _digests(loaded[1])
    _check_metrics(folder, lines, state.iteration, digests.get("metrics"))
    own = [pair for pair in _own_pairs(table) if pair[0] <= state.iteration]
    _check_episodes(folder, table, state.iteration, own, digests.get("episodes"))


def _state(folder: RunFolder, tensors: Tensors, meta: dict[str, Any]) -> Committed:
    try:
        iteration, steps = (_count(meta[name]) for name in ("iteration", "steps"))
        guard = {name: _count(meta["guard"][name]) for name in ("in_a_row", "total")}
    except (KeyError, TypeError, ValueError) as error:
        raise FolderError(f"{folder.path / CHECKPOINT} does not say how far the run is; {REMEDY}") from error
    if "identity" not in meta:
        raise FolderError(f"{folder.path / CHECKPOINT} does not say whose it is; {REMEDY}")
    return Committed(tensors, iteration, steps, guard)


def _count(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} is no count")
    return value


def _require_no_progress(folder: RunFolder) -> None:
    """Refuse a run whose checkpoint is lost: iteration 1 begins only once that of iteration 0 is committed."""
    last = max((row["iteration"] for row in folder.metrics()), default=0)
    if last > 0:
        raise FolderError(
            f"{folder.path / CHECKPOINT} is missing, although {METRICS} reaches iteration {last}; {REMEDY}"
        )


def _digests(meta: dict[str, Any]) -> dict[str, Any]:
    """Return the digests of committed rows; none in checkpoints from before there were any."""
    rows = meta.get("rows")
    return rows if isinstance(rows, dict) else {}


def _own_pairs(table: pyarrow.Table) -> list[Pair]:
    """Return (iteration, seed) of the scheduled episodes on the run's own background."""
    own = episodes.own_rows(table)
    return list(zip(own["iteration"].to_pylist(), own["seed"].to_pylist(), strict=True))


def _check_metrics(folder: RunFolder, lines: list[metric_lines.Line], done: int, digest: str | None) -> None:
    path, committed = folder.path / METRICS, list(range(done + 1))
    iterations = [line.row["iteration"] for line in lines]
    if iterations[: done + 1] != committed or any(iteration <= done for iteration in iterations[done + 1 :]):
        raise FolderError(f"{path} is damaged: {_difference(committed, iterations, 'iteration')}; {REMEDY}")
    if digest is not None and metric_lines.Digest(lines[: done + 1]).repeatable != digest:
        raise FolderError(f"{path} is damaged: committed lines have changed; {REMEDY}")
    _check_costs(folder, lines, done)


def _check_costs(folder: RunFolder, lines: list[metric_lines.Line], done: int) -> None:
    """Hold time and memory in the metrics to ``checkpoint.json``, which may be one iteration behind, old or absent."""
    try:
        noted = atomic.read_json(folder.path / CHECKPOINT_META)
    except FolderError:
        return
    reached, digest = noted.get("iteration"), noted.get("metrics")
    if type(reached) is not int or not 0 <= reached <= done or digest is None:
        return
    if metric_lines.Digest(lines[: reached + 1]).whole != digest:
        raise FolderError(
            f"{folder.path / METRICS} is damaged: committed lines do not belong to {CHECKPOINT_META}; {REMEDY}"
        )


def _check_episodes(
    folder: RunFolder, table: pyarrow.Table, done: int, expected: list[Pair], digest: str | None
) -> None:
    """Hold the committed episodes to (iteration, seed) as evaluations write them, and to their digest."""
    path, pairs = folder.path / EPISODES, _own_pairs(table)
    committed = len(expected)
    if pairs[:committed] != expected or any(iteration <= done for iteration, _ in pairs[committed:]):
        raise FolderError(f"{path} is damaged: {_difference(expected, pairs, '(iteration, seed)')}; {REMEDY}")
    own = episodes.own_rows(table)
    if digest is not None and episodes.digest(own.slice(0, committed)) != digest:
        raise FolderError(f"{path} is damaged: committed episodes have changed; {REMEDY}")


def _difference(expected: Sequence[Any], entries: Sequence[Any], what: str) -> str:
    for entry in expected:
        if (count := entries.count(entry)) != 1:
            return f"{what} {entry} is {'missing' if count == 0 else f'there {count} times'}"
    return f"the rows are not in order of {what}, or there are too many"
