"""Probe an encoder in minutes: ridge regression from its frozen features to physical quantities of task frames.

One encoder on one task is one cell, in two files; the JSON is written last and marks the cell as done::

    OUT/probe/<title>/<task>.json           title: the encoder's name as in every table, such as "rrl (random)"
    OUT/probe/<title>/<task>.safetensors    <quantity>/residual and <quantity>/total, (E, d) float64

The JSON object holds ``task``, ``title``, ``identity`` (fields that determine the results, ``identity.encoder`` and
``identity.seed`` among it), ``frames`` (``training``, ``held_out``, ``held_out_episodes``: counts, ``sha256``, and how
they were drawn), ``rows`` and ``made_with`` (versions and machine). A row is `probe_score.Row`: ``quantity`` (one of
`probe_quantities.QUANTITIES`), ``dimensions`` (names), ``r2``, ``low``, ``high`` (null where ``constant`` is true),
``r2_by_dimension``, ``penalty``, ``clock_r2``, ``balanced_accuracy``. A quantity that a task lacks has no row.

The arrays have a row for each held-out episode and a column for each number that varies: squared errors of the
regression and of predicting the training mean, summed over the episode's frames. R² is ``1 - residual.sum() /
total.sum()``, and the margin between two cells of the same frames comes from their arrays alone: `read` and `compare`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch

import encoders
import tasks
from encoders import Encoder
from encoders.tokens import token_view
from tasks.cards import Pack
from tasks.rendering.qualities import version_entry
from tasks.rendering.render import CROP

from .. import memory, task_files
from ..config import RunConfig, configure
from ..device import choose_device
from ..errors import ConfigError, FolderError
from ..limits import MOST_EPISODES
from ..progress import Progress, Silent
from ..runner.encoder import Plan, hashed_plan, prepare, title_parts
from ..runner.identity import expected_encoder
from ..store import atomic
from ..store import provenance as versions
from ..store.identity import differences
from ..store.paths import user_path
from ..store.run_folder import check_writable
from ..store.titles import TitleParts
from . import folder as probe_folder
from .features import encode
from .folder import cell_path
from .frames import QUALITY, ProbeFrames, collect
from .score import Row, Scores, bootstrap_generator, compare, plain, score

__all__ = ["Cell", "ProbeSettings", "asked", "compare", "probe", "read"]

PROBE_VERSION = 1
"""Raised when the numbers of a probe change."""

MIN_EPISODES = 6

Pooling = Literal["pooled", "mean", "spatial_softmax"]


@dataclass(frozen=True)
class ProbeSettings:
    """The settings that all cells of a probe share.

    Attributes:
        episodes: of the task's expert; the last third is held out.
        frames: of each episode.
        seed: of resets, noise, moments and bootstrap.
        objects: ``builtin`` shapes or official ``ycb`` meshes in the DexMV scenes.
    """

    episodes: int = 60
    frames: int = 12
    seed: int = 0
    objects: Pack = "builtin"


@dataclass(frozen=True)
class Cell:
    """One encoder on one task.

    Attributes:
        path: its JSON file.
        title: the encoder's name as every table shows it.
        task: the task.
        scores: rows, and the arrays that margins need.
        found: whether it was finished before.
    """

    path: Path
    title: str
    task: str
    scores: Scores
    found: bool = True


def asked(name: str, task: str, *, weights: str = "auto", adapt: str = "auto", objects: str = "builtin") -> RunConfig:
    """Return an encoder on a task as a run's configuration, under a preset that refuses missing weights.

    Args:
        name: a registered one, or ``file.py:Class``.
        task: the task.
        weights: as on the command line; without meaning for an encoder that has none by definition (``random``).
        adapt: Stage 2, as on the command line.
        objects: as in `ProbeSettings`.
    """
    card = encoders.card(name)
    chosen = "auto" if card is not None and not card.sources else weights
    return configure("small", encoder=name, task=task, weights=chosen, adapt=adapt, objects=objects)


@memory.advising("lower --episodes or --frames, or use another --device")
def probe(
    names: Sequence[str],
    task_names: Sequence[str],
    out: Path | str,
    *,
    weights: str = "auto",
    adapt: str = "auto",
    pooling: Pooling = "pooled",
    settings: ProbeSettings | None = None,
    device: str = "auto",
    overwrite: bool = False,
    progress: Progress | None = None,
) -> list[Cell]:
    """Probe encoders on tasks; cells that are done are read, so a killed probe loses at most the cell it was at.

    Args:
        names: encoders.
        task_names: tasks; names, or ``path/to/file.py:Class``.
        out: folder of all runs.
        weights: ``auto``, ``official``, ``builtin``, ``random`` or a file; those that are not here are refused, never
            replaced by random ones, since a probe is a measurement.
        adapt: Stage 2, ``auto``, ``none``, ``affine`` or ``all``, as in `benchmark.config.RunConfig`.
        pooling: what the regression sees: the encoder's feature, or the ``mean`` or the ``spatial_softmax`` of its
            tokens, which then stands in the titles.
        settings: of all cells.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        overwrite: repeat the cells that are finished.
        progress: receives progress updates.

    Returns:
        The cells, by task and then by encoder.

    Raises:
        ConfigError: too few episodes, or an encoder that sees no images.
        EncoderError, TaskError: what is asked for is not there.
        FolderError: there is a cell with another identity, or a damaged or altered one.
        OutputError: the folder cannot be written.
    """
    settings, progress, where = settings or ProbeSettings(), progress or Silent(), choose_device(device)
    _check(names, settings)
    task_names = [task_files.name_of(task) for task in task_names]
    for task in task_names:
        task_files.check(task)
    configs = {
        (task, name): asked(name, task, weights=weights, adapt=adapt, objects=settings.objects)
        for task in task_names
        for name in names
    }
    plans = {asked_for: hashed_plan(config) for asked_for, config in configs.items()}
    check_writable(out)
    cells = []
    for task in task_names:
        frames: ProbeFrames | None = None
        for name in names:
            config, chosen = configs[task, name], plans[task, name]
            title = _title(title_parts(config, chosen), pooling)
            path = cell_path(out, title, task)
            cell = None if overwrite else _finished(path, chosen, task, settings, where)
            if cell is None:
                config = config.model_copy(update={"device": device})
                encoder = prepare(config, chosen, user_path(out), where, progress).encoder
                encoders.check_encoder(encoder)
                if pooling != "pooled":
                    encoder = token_view(encoder, pooling)
                identity = _identity(encoder.describe(), task, settings, where)
                progress.begin(f"{title} · {task}", settings.episodes * settings.frames * (2 if frames is None else 1))
                frames = frames or _draw(task, settings, progress)
                cell = _measure(path, title, identity, encoder, frames, progress)
                progress.end()
            cells.append(cell)
    return cells


def read(path: Path) -> Cell:
    """Return a cell that was written before.

    Raises:
        FolderError: it is not there, damaged or altered.
    """
    content, arrays = probe_folder.read(path)
    try:
        rows = [
            Row(**row | {name: tuple(row[name]) for name in ("dimensions", "r2_by_dimension")})
            for row in content["rows"]
        ]
        varying = [row.quantity for row in rows if not row.constant]
        residual, total = ({name: arrays[f"{name}/{kind}"] for name in varying} for kind in ("residual", "total"))
        return Cell(path, content["title"], content["task"], Scores(rows, residual, total))
    except (KeyError, TypeError) as error:
        raise FolderError(f"{path} is no whole probe ({error}); {probe_folder.REMEDY}") from error


def _check(names: Sequence[str], settings: ProbeSettings) -> None:
    """Refuse, before any work, a probe that cannot be finished."""
    if settings.episodes < MIN_EPISODES or settings.frames < 1 or settings.seed < 0:
        raise ConfigError(f"a probe needs at least {MIN_EPISODES} episodes, a frame of each, and a seed of 0 or more")
    for name, value in (("episodes", settings.episodes), ("frames", settings.frames)):
        if value > MOST_EPISODES:
            raise ConfigError(f"--{name} {value}: expected {MOST_EPISODES:,} at most")
    memory.require({"--episodes": settings.episodes * settings.frames * CROP**2 * 3})
    for name in names:
        if not encoders.get(name).uses_images:
            raise ConfigError(f"encoder '{name}' sees no images and cannot be probed; leave it out")


def _title(parts: TitleParts, pooling: Pooling) -> str:
    variant = "+".join(filter(None, (parts.variant, "" if pooling == "pooled" else pooling)))
    return str(parts._replace(variant=variant))


def _identity(encoder: dict[str, Any], task: str, settings: ProbeSettings, device: torch.device) -> dict[str, Any]:
    """Return everything that determines a cell's results; for ``encoder`` see `encoders.Encoder.describe`."""
    return {
        "probe_version": PROBE_VERSION,
        "task": task,
        "task_results_version": tasks.card(task).results_version_with(settings.objects),
        **version_entry(QUALITY),
        **task_files.identity(task),
        "encoder": encoder,
        "device": device.type,
        **asdict(settings),
    }


def _finished(path: Path, chosen: Plan, task: str, settings: ProbeSettings, device: torch.device) -> Cell | None:
    """Return a cell that is done, recognised without its encoder; None where there is none.

    Raises:
        FolderError: another probe is there, or the cell is damaged or altered.
    """
    if not path.exists():
        return None
    cell = read(path)
    recorded = atomic.read_json(path, probe_folder.REMEDY).get("identity")
    recorded = recorded if isinstance(recorded, dict) else {}
    expected = _identity(expected_encoder(chosen, recorded.get("encoder")), task, settings, device)
    if changes := differences(recorded, expected):
        raise FolderError(f"{path} holds another probe ({changes}); use another --out, or --overwrite")
    return cell


def _draw(task: str, settings: ProbeSettings, progress: Progress) -> ProbeFrames:
    progress.stage("draw frames")
    return collect(
        task,
        episodes=settings.episodes,
        frames=settings.frames,
        seed=settings.seed,
        options={"objects": settings.objects},
        on_frames=progress.advance,
    )


def _measure(
    path: Path, title: str, identity: dict[str, Any], encoder: Encoder, frames: ProbeFrames, progress: Progress
) -> Cell:
    progress.stage("encode")
    features = encode(encoder, frames, progress)
    progress.stage("regress")
    scores = score(frames, features, bootstrap_generator(identity["seed"]))
    training = int(frames.training.sum())
    content = {
        "task": identity["task"],
        "title": title,
        "identity": identity,
        "frames": {
            "training": training,
            "held_out": len(frames.images) - training,
            "held_out_episodes": len(frames.held_out),
            "sha256": frames.sha256,
            **frames.record,
        },
        "rows": [plain(row) for row in scores.rows],
        "made_with": versions.record(),
    }
    by_kind = {"residual": scores.residual, "total": scores.total}
    arrays = {f"{name}/{kind}": values for kind, of in by_kind.items() for name, values in of.items()}
    probe_folder.write(path, content, arrays)
    return Cell(path, title, identity["task"], scores, found=False)
