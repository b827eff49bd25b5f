"""Finished policies under other backgrounds: the same initial states, another table. Rows are added to the run folder.

Source: H-InDex, Figure 12 and Table 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import imageio.v3 as imageio
import torch
from pydantic import ValidationError

import tasks
from encoders import EncoderError
from encoders.precision_check import set_precision
from tasks.rendering.qualities import DRAWINGS, VERSION_KEY

from .. import memory
from ..config import RunConfig
from ..dapg import GaussianPolicy
from ..errors import ConfigError, FolderError, OutputError
from ..progress import Progress, Silent
from ..store.episodes import OWN_BACKGROUND, REMEDY
from ..store.identity import same_identity
from ..store.paths import user_path
from ..store.run_folder import CHECKPOINT, CONFIG, EPISODES, IDENTITY, PICTURES, RunFolder, Tensors
from ..store.runs import run_paths
from ..store.titles import title_of
from .checkpoint import unpack_policy
from .context import Session, mean_scores

BACKGROUNDS = range(11)


class Shift(NamedTuple):
    """What a policy did under a background.

    Attributes:
        background: 0 to 10.
        episodes: how many.
        mean_return: of them.
        success: rate.
        own: whether it is the background that the policy was trained on.
        found: whether the folder had these episodes already.
    """

    background: int
    episodes: int
    mean_return: float
    success: float
    own: bool
    found: bool


def run_folders(path: Path | str) -> list[Path]:
    """Return the finished runs in a folder, itself included; whether they were altered is seen when they are opened.

    Raises:
        OutputError: there is none.
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
        progress: told how it goes.

    Raises:
        OutputError: there is no finished run.
        ConfigError: no such background, the encoder's weights are not those of the run, or the task has changed since.
        EncoderError: the weights are not here.
    """
    store = RunFolder(folder)
    wrong = [number for number in backgrounds if number not in BACKGROUNDS]
    if wrong:
        raise ConfigError(f"background {wrong[0]}: there are 0 to {BACKGROUNDS[-1]}")
    progress = progress or Silent()
    with store:
        store.reopen()
        evaluator = _Evaluator(store, episodes, {"workers": workers, "device": device}, progress)
        return evaluator.execute(list(dict.fromkeys(backgrounds)))


class _Evaluator:
    """A finished policy, looked at again."""

    def __init__(self, store: RunFolder, episodes: int | None, machine: dict[str, Any], progress: Progress) -> None:
        self.store, self.progress = store, progress
        self.config = _config(store).model_copy(
            update={name: value for name, value in machine.items() if value is not None}
        )
        self.episodes = episodes or self.config.evaluation.episodes
        rows = store.episodes()
        if rows.empty:
            raise FolderError(f"{store.path / EPISODES} holds no evaluation; {REMEDY}")
        self.rows = rows[rows["iteration"] == rows["iteration"].max()]
        self.iteration = int(self.rows["iteration"].max())

    def execute(self, backgrounds: list[int]) -> list[Shift]:
        left = [number for number in backgrounds if not self._have(number)]
        if left:
            self._run(left)
        return [self._shift(number, found=number not in left) for number in backgrounds]

    def _run(self, backgrounds: list[int]) -> None:
        config, store = self.config, self.store
        self._check_versions()
        out = store.path.absolute().parents[3]
        session = Session(config, out, self.progress)
        recorded = self._recorded_encoder()
        set_precision(session.encoder, recorded["precision"], compiled=recorded["compiled"])
        session.attach_statistics()
        if not same_identity(session.encoder.describe(), recorded):
            raise ConfigError(
                f"{store.path}: the encoder that would run now is not the run's (weights "
                f"{str(session.encoder.describe()['weights_sha256'])[:12]}, the run had "
                f"{str(recorded['weights_sha256'])[:12]}); give back the weights of the run"
            )
        checkpoint = self._checkpoint()
        policy = self._policy(session, checkpoint)
        horizon = int(config.rollout.horizon or 0)
        self.progress.begin(
            f"{title_of(store.path.absolute().parent.name)} · {config.task} · seed {config.seed} · backgrounds",
            horizon * self.episodes * len(backgrounds),
        )
        for number in backgrounds:
            self.progress.stage(f"background {number}")
            self._load_statistics(session, checkpoint)  # so that backgrounds do not depend on those before them
            with session.simulators(config.task_options() | {"background": number}) as simulators:
                found = session.evaluate(
                    simulators,
                    policy,
                    self.iteration,
                    background=str(number),
                    episodes=self.episodes,
                    film=session.encoder.uses_images,
                )
            first = {f"{PICTURES}/background-{number:02d}.png": frame for frame in found.frames[:1]}
            pictures = {name: imageio.imwrite("<bytes>", frame, extension=".png") for name, frame in first.items()}
            store.add_evaluation(found.rows, pictures)
            mean_return, success = mean_scores(found)
            self.progress.say(f"background {number}: return {mean_return:.1f}, success {success:.0%}")
        self.progress.end()

    def _check_versions(self) -> None:
        """Refuse to mix episodes of two versions of the task, or of its frames, in one run."""
        task, objects, quality = self.config.task, self.config.objects, self.config.rollout.quality
        versions = {
            f"{task} with {objects} objects": ("task_results_version", tasks.card(task).results_version_with(objects))
        }
        if self._recorded_encoder().get("uses_images", True):
            versions[f"the quality '{quality}'"] = (VERSION_KEY, DRAWINGS[quality].results_version)
        for what, (key, current) in versions.items():
            recorded = self.store.identity.get(key, 1)
            if recorded != current:
                raise ConfigError(
                    f"{self.store.path}: {what} has results version {current}, the run had {recorded}; what is "
                    "recorded still counts, new episodes need a new run"
                )

    def _recorded_encoder(self) -> dict[str, Any]:
        encoder = self.store.identity.get("encoder")
        if not isinstance(encoder, dict) or not {"precision", "compiled", "weights_sha256"} <= encoder.keys():
            raise FolderError(f"{self.store.path / IDENTITY} does not describe the run's encoder; {REMEDY}")
        return encoder

    def _checkpoint(self) -> Tensors:
        checkpoint = self.store.load_checkpoint()
        if checkpoint is None:
            raise FolderError(f"{self.store.path / CHECKPOINT} is missing; {REMEDY}")
        return checkpoint[0]

    def _load_statistics(self, session: Session, checkpoint: Tensors) -> None:
        try:
            session.streams.load(checkpoint)
        except EncoderError as error:
            raise FolderError(f"{self.store.path / CHECKPOINT} does not fit this run ({error}); {REMEDY}") from error

    def _policy(self, session: Session, checkpoint: Tensors) -> GaussianPolicy:
        path = self.store.path / CHECKPOINT
        try:
            observations = int(checkpoint["policy.observation_shift"].shape[0])
            policy = GaussianPolicy(
                observations, session.card.action_dim, self.config.learner.policy_hidden, generator=torch.Generator()
            )
            unpack_policy(checkpoint, policy)
        except (LookupError, ValueError) as error:
            raise FolderError(f"{path} does not fit this run ({error}); {REMEDY}") from error
        return policy.to(session.device)

    def _name(self, number: int) -> str:
        """The run's own evaluation stands for its background, if it has enough episodes."""
        enough = int((self.rows["background"] == OWN_BACKGROUND).sum()) >= self.episodes
        return OWN_BACKGROUND if number == self.config.background and enough else str(number)

    def _have(self, number: int) -> bool:
        return int((self.rows["background"] == self._name(number)).sum()) >= self.episodes

    def _shift(self, number: int, found: bool) -> Shift:
        table = self.store.episodes()
        table = table[(table["iteration"] == self.iteration) & (table["background"] == self._name(number))]
        return Shift(
            number,
            len(table),
            float(table["return"].mean()),
            float(table["success"].mean()),
            number == self.config.background,
            found,
        )


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
