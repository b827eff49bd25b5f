"""Finished policies under other backgrounds: the same initial states, another table. Rows are added to the run folder.

Source: H-InDex, Figure 12 and Table 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import ValidationError

import tasks
from encoders import EncoderError
from encoders.backend import TORCH
from encoders.precision_check import set_precision
from tasks.rendering.qualities import DRAWINGS, VERSION_KEY

from .. import memory
from ..cloning import Policy
from ..config import RunConfig
from ..demonstrations import sources
from ..errors import ConfigError, FolderError, OutputError
from ..progress import Progress, Silent
from ..rollout.slots import Start
from ..store.episodes import OWN_BACKGROUND, REMEDY, scheduled
from ..store.identity import same_identity
from ..store.paths import user_path
from ..store.run_folder import CHECKPOINT, CONFIG, EPISODES, IDENTITY, PICTURES, RunFolder, Tensors
from ..store.runs import run_paths
from ..store.titles import title_of
from ..store.video import png
from .checkpoint import stored_policy
from .context import RunContext, ready_encoder
from .encoder import plan
from .moving_statistics import attach_statistics

if TYPE_CHECKING:
    import pandas

BACKGROUNDS = range(11)


class Shift(NamedTuple):
    """The scores of a policy under one background.

    Attributes:
        background: 0 to 10.
        episodes: how many.
        mean_return: of them.
        success: rate.
        own: whether it is the background that the policy was trained on.
        found: whether the folder had these episodes before.
    """

    background: int
    episodes: int
    mean_return: float
    success: float
    own: bool
    found: bool


def run_folders(path: Path | str) -> list[Path]:
    """Return the finished runs in a folder, itself included; alterations show when they are opened.

    Raises:
        OutputError: there are none.
    """
    root = user_path(path)
    if not root.is_dir():
        raise OutputError(f"{root} is no folder; give a run's folder, seed-N, or one above it")
    folders = [path for path in run_paths(root) if RunFolder(path).status == "finished"]
    if not folders:
        raise OutputError(f"{root} holds no finished run; give a run's folder, seed-N, or one above it")
    return folders


@memory.advising("lower --episodes, or use --device cpu")
def evaluate_backgrounds(
    folder: Path | str,
    backgrounds: Sequence[int],
    *,
    episodes: int | None = None,
    workers: int | None = None,
    device: str | None = None,
    progress: Progress | None = None,
) -> list[Shift]:
    """Run a finished run's policy, mean action, under backgrounds, from the initial states of its last evaluation.

    Episodes go to the run's ``episodes.parquet``, where those that are there already are not run again, and the first
    frame under each background to ``frames/background-NN.png``. Killed, it loses at most one background.

    Args:
        folder: ``OUT/<suite>/<task>/<encoder>/seed-<n>`` of a finished run.
        backgrounds: 0 to 10; the run's own is looked up, unless more episodes are asked for than it has.
        episodes: a background; by default as many as the run's evaluations have.
        workers: simulation processes; by default the run's.
        device: torch's; by default the run's.
        progress: receives progress updates.

    Raises:
        OutputError: there is no finished run.
        ConfigError: no such background, the encoder's weights are not those of the run, or the task has changed since.
        EncoderError: the weights are not here.
    """
    store = RunFolder(folder)
    wrong = [number for number in backgrounds if number not in BACKGROUNDS]
    if wrong:
        raise ConfigError(f"background {wrong[0]}: expected 0 to {BACKGROUNDS[-1]}")
    machine = {name: value for name, value in (("workers", workers), ("device", device)) if value is not None}
    with store:
        store.reopen()
        config = _config(store).model_copy(update=machine)
        evaluated = _Evaluated(store, config, episodes or config.evaluation.episodes, _last_evaluation(store))
        numbers = list(dict.fromkeys(backgrounds))
        left = [number for number in numbers if not evaluated.has(number)]
        if left:
            _evaluate(evaluated, left, progress or Silent())
        return [evaluated.shift(number, found=number not in left) for number in numbers]


def _last_evaluation(store: RunFolder) -> pandas.DataFrame:
    """Return the episodes of a run's last evaluation, under all backgrounds.

    Raises:
        FolderError: there are none.
    """
    rows = scheduled(store.episodes())
    if rows.empty:
        raise FolderError(f"{store.path / EPISODES} holds no evaluation; {REMEDY}")
    return rows[rows["iteration"] == rows["iteration"].max()]


@dataclass(frozen=True)
class _Evaluated:
    """A finished run and the episodes of its last evaluation.

    Attributes:
        store: the folder, held.
        config: of the run, with the device and workers that are asked for now.
        episodes: how many are asked for per background.
        rows: of the last evaluation.
    """

    store: RunFolder
    config: RunConfig
    episodes: int
    rows: pandas.DataFrame

    @property
    def iteration(self) -> int:
        """The iteration of the finished policy."""
        return int(self.rows["iteration"].max())

    def has(self, number: int) -> bool:
        """Return whether there are enough episodes under a background."""
        return int((self.rows["background"] == self._name(number)).sum()) >= self.episodes

    def shift(self, number: int, found: bool) -> Shift:
        """Return what the folder now has under a background."""
        table = scheduled(self.store.episodes())
        table = table[(table["iteration"] == self.iteration) & (table["background"] == self._name(number))]
        means = float(table["return"].mean()), float(table["success"].mean())
        return Shift(number, len(table), *means, own=number == self.config.background, found=found)

    def _name(self, number: int) -> str:
        """The run's own evaluation stands for its background, if it has enough episodes."""
        enough = int((self.rows["background"] == OWN_BACKGROUND).sum()) >= self.episodes
        return OWN_BACKGROUND if number == self.config.background and enough else str(number)


def _evaluate(evaluated: _Evaluated, backgrounds: Sequence[int], progress: Progress) -> None:
    """Run the finished policy under backgrounds, and add the episodes to its folder."""
    store, config = evaluated.store, evaluated.config
    _check_versions(store, config)
    context = _context(store, config, progress)
    checkpoint = _checkpoint(store)
    policy = _policy(context, checkpoint, store.path / CHECKPOINT)
    progress.begin(
        f"{title_of(store.path.absolute().parent.name)} · {config.task} · seed {config.seed} · backgrounds",
        int(config.rollout.horizon or 0) * evaluated.episodes * len(backgrounds),
    )
    for number in backgrounds:
        progress.stage(f"background {number}")
        # Anew for each, so that no background depends on those before it.
        _load_statistics(context, checkpoint, store.path / CHECKPOINT)
        with context.simulators(config.task_options() | {"background": number}) as simulators:
            evaluation = context.evaluate(
                simulators,
                policy,
                evaluated.iteration,
                background=str(number),
                episodes=evaluated.episodes,
                film=context.encoder.uses_images,
            )
        pictures = {f"{PICTURES}/background-{number:02d}.png": png(frame) for frame in evaluation.frames[:1]}
        store.add_evaluation(evaluation.rows, pictures)
        mean_return, success = evaluation.mean_scores()
        progress.say(f"background {number}: return {mean_return:.1f}, success {success:.0%}")
    progress.end()


def _context(store: RunFolder, config: RunConfig, progress: Progress) -> RunContext:
    """Load the run's encoder as it computed then.

    Raises:
        ConfigError: the encoder that is here now is another one.
    """
    recorded = _recorded_encoder(store)
    config, card, device, prepared = ready_encoder(config, plan(config), store.path.absolute().parents[3], progress)
    encoder = prepared.encoder
    set_precision(
        encoder,
        recorded["precision"],
        compiled=recorded["compiled"],
        backend=recorded.get("backend", TORCH),
        moving=config.ema.scope if config.ema.momentum else None,
    )
    statistics = attach_statistics(encoder, config.ema, config.slots)
    if not same_identity(encoder.describe(), recorded):
        raise ConfigError(
            f"{store.path}: the encoder that would run now is not the run's (weights "
            f"{str(encoder.describe()['weights_sha256'])[:12]}, the run had "
            f"{str(recorded['weights_sha256'])[:12]}); give back the weights of the run"
        )
    states: list[Start] = []
    if config.evaluation.seeds == "demonstrations":
        shown = sources.gather(config.task, config.demonstrations, config.demonstration_options(card))
        states = [episode.initial_state for episode in shown.episodes]
    return RunContext(config, card, device, encoder, statistics, progress, states)


def _check_versions(store: RunFolder, config: RunConfig) -> None:
    """Refuse to mix episodes of two versions of the task, or of its frames, in one run."""
    if store.identity.get("task_plugin_sha256") != tasks.plugin_sha256(config.task):
        raise ConfigError(
            f"{store.path}: the file of task '{config.task}' has changed since the run ({config.task_file}); restore "
            "it, or give it with --task path/to/file.py:Class"
        )
    quality = config.rollout.quality
    versions = {
        f"{config.task} with {config.objects} objects": (
            "task_results_version",
            tasks.card(config.task).results_version_with(config.objects),
        )
    }
    if _recorded_encoder(store).get("uses_images", True):
        versions[f"the quality '{quality}'"] = (VERSION_KEY, DRAWINGS[quality].results_version)
    for what, (key, current) in versions.items():
        recorded = store.identity.get(key, 1)
        if recorded != current:
            raise ConfigError(
                f"{store.path}: {what} has results version {current}, the run had {recorded}; what is recorded still "
                "counts, new episodes need a new run"
            )


def _recorded_encoder(store: RunFolder) -> dict[str, Any]:
    encoder = store.identity.get("encoder")
    if not isinstance(encoder, dict) or not {"precision", "compiled", "weights_sha256"} <= encoder.keys():
        raise FolderError(f"{store.path / IDENTITY} does not describe the run's encoder; {REMEDY}")
    return encoder


def _checkpoint(store: RunFolder) -> Tensors:
    checkpoint = store.load_checkpoint()
    if checkpoint is None:
        raise FolderError(f"{store.path / CHECKPOINT} is missing; {REMEDY}")
    return checkpoint[0]


def _load_statistics(context: RunContext, checkpoint: Tensors, path: Path) -> None:
    try:
        context.statistics.load(checkpoint)
    except EncoderError as error:
        raise FolderError(f"{path} does not fit this run ({error}); {REMEDY}") from error


def _policy(context: RunContext, checkpoint: Tensors, path: Path) -> Policy:
    try:
        policy = stored_policy(checkpoint, context.config, context.card.action_dim, context.encoder.raw_shape)
    except (LookupError, ValueError) as error:
        raise FolderError(f"{path} does not fit this run ({error}); {REMEDY}") from error
    return policy.to(context.device)


def _config(store: RunFolder) -> RunConfig:
    """Return the configuration of a run folder.

    Raises:
        FolderError: it is none of this version's.
    """
    try:
        return RunConfig.model_validate(store.config)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise FolderError(f"{store.path / CONFIG} is damaged ({place}: {first['msg']}); {REMEDY}") from error
