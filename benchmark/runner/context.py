"""A configuration made ready to roll out: the encoder with its stages, the scene, and the clock that they run on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

import tasks
from encoders import check_encoder
from tasks.cards import TaskCard
from tasks.rendering.qualities import version_entry
from tasks.rendering.render import Device

from .. import memory
from ..config import HELD_OUT_SEED, RunConfig
from ..dapg import GaussianPolicy
from ..device import choose_device, peak_memory
from ..doctor import require_gl
from ..progress import Progress
from ..rollout.episodes import Array, Clock, Encode, EpisodeRule, rollout
from ..rollout.simulators import Frames, SceneSettings, Simulators
from ..rollout.trajectory import Trajectory
from ..store.episodes import OWN_BACKGROUND
from ..store.run_folder import cell_path, check_writable
from .encoder import prepare
from .moving_statistics import Role, Streams
from .policy_actor import PolicyActor, exploration_noise
from .suite import suite_name


class Evaluation(NamedTuple):
    """What the mean action did.

    Attributes:
        rows: one per episode, with the columns of `benchmark.store.episodes`.
        trajectories: the episodes.
        frames: the first episode's, if they were asked for.
    """

    rows: list[dict[str, Any]]
    trajectories: list[Trajectory]
    frames: list[Frames]


class Session:
    """What running episodes of a configuration needs, on one device.

    Args:
        config: what to run.
        out: the folder of all runs.
        progress: told how it goes.

    Attributes:
        asked: the configuration as given.
        config: the same with every number filled in.
        card: the task's.
        device: torch's.
        encoder: after Stages 1 and 2, held to its contract.
        title: the encoder's name as every table shows it.
        record: what the run folder keeps about it.
        path: the run folder.
        streams: the moving statistics of Stage 3, once they are attached.
        rule: when episodes end and succeed.
        clock: where the time went since it was last replaced.

    Raises:
        BenchError, EncoderError, TaskError: something the user can mend.
    """

    def __init__(self, config: RunConfig, out: Path, progress: Progress) -> None:
        check_writable(out)
        self.card: TaskCard = tasks.card(config.task)
        self.asked, self.progress = config, progress
        self.device = choose_device(config.device)
        torch.set_num_threads(config.torch_threads)
        prepared = prepare(config, out, self.device, progress)
        self.encoder, self.title = prepared.encoder, prepared.title
        self.config = config.model_copy(update={"adapt": prepared.plan.mode}).resolve(self.card)
        if self.encoder.uses_images:
            require_gl()
        check_encoder(self.encoder)
        memory.require_run(self.config, self.card, self.encoder.feature_dim if self.encoder.uses_images else 0)
        self.record = prepared.record | {"ema": self.config.ema.model_dump(mode="json")}
        self.path = cell_path(out, suite_name(config), config.task, self.title, config.seed)
        self.rule = EpisodeRule(self.card.goal_steps, self.card.time_limit_is_terminal)
        self.clock = Clock()

    def use_threads(self, count: int) -> None:
        """Compute with so many threads of torch, whatever the configuration said."""
        self.config = self.config.model_copy(update={"torch_threads": count})
        torch.set_num_threads(count)

    def evaluation_seeds(self, episodes: int | None = None) -> list[int]:
        """Return the reset seeds of an evaluation's episodes, as many as configured by default."""
        evaluation = self.config.evaluation
        first = HELD_OUT_SEED if evaluation.seeds == "held_out" else self.config.seed
        return [first + k for k in range(episodes or evaluation.episodes)]

    def attach_statistics(self) -> None:
        """Let BatchNorm's statistics move as the configuration says; to be called once the precision is settled."""
        self.streams = Streams(self.encoder, self.config.ema, self.config.slots)

    def scene(self, options: dict[str, Any]) -> SceneSettings:
        """What the simulation workers build, with these options of the task."""
        config = self.config
        return SceneSettings(
            task=config.task,
            options=options,
            slots=config.slots,
            images=self.encoder.uses_images,
            quality=config.rollout.quality,
            device=config.egl_device if config.egl_device is not None else self.device.index,
        )

    @property
    def frames_version(self) -> dict[str, int]:
        """What the identity says of the version of the frames; nothing where the policy sees the state."""
        return version_entry(self.config.rollout.quality) if self.encoder.uses_images else {}

    def simulators(self, options: dict[str, Any]) -> Simulators:
        """The slots in a scene with these options, to be closed by the caller."""
        return Simulators(self.scene(options), self.config.workers)

    def say_renderer(self, drawn_by: Device) -> None:
        """Say what draws, above all when it is not what was asked for."""
        asked = self.scene({}).device
        kind = "software rendering on the CPU" if drawn_by.software else "GPU rendering"
        instead = f" (EGL device {asked} cannot be used)" if asked not in (None, drawn_by.number) else ""
        self.progress.say(f"{kind}: {drawn_by.name}, EGL device {drawn_by.number}{instead}")

    @property
    def encode(self) -> Encode | None:
        """From frames and their slots to features; None where the policy sees the state."""
        return self._features if self.encoder.uses_images else None

    def _features(self, frames: Frames, slots: Sequence[int]) -> Array:
        self.streams.select(slots)
        return self.encoder.encode(frames).cpu().numpy()

    def roll(
        self,
        simulators: Simulators,
        policy: GaussianPolicy,
        seeds: Sequence[int],
        *,
        noise_of: int | None,
        on_frame: Callable[[int, Frames], None] | None = None,
    ) -> list[Trajectory]:
        """Episodes of a policy.

        Args:
            simulators: the slots.
            policy: what acts.
            seeds: reset seeds, one per episode.
            noise_of: the iteration whose exploration noise is added; None for the mean action, an evaluation.
            on_frame: as in `rollout`.
        """
        horizon = int(self.config.rollout.horizon or self.card.horizon)
        noise = None
        if noise_of is not None:
            noise = exploration_noise(self.config.seed, noise_of, len(seeds), (horizon, self.card.action_dim))
        self.streams.begin(Role.EVALUATION if noise_of is None else Role.TRAINING)
        trajectories = rollout(
            simulators,
            seeds,
            PolicyActor(policy, noise),
            horizons=[horizon] * len(seeds),
            rule=self.rule,
            encode=self.encode,
            clock=self.clock,
            on_steps=self.progress.advance,
            on_frame=on_frame,
        )
        self.progress.advance(horizon * len(seeds) - sum(len(trajectory) for trajectory in trajectories))
        return trajectories

    def evaluate(
        self,
        simulators: Simulators,
        policy: GaussianPolicy,
        iteration: int,
        *,
        background: str = OWN_BACKGROUND,
        episodes: int | None = None,
        film: bool = False,
    ) -> Evaluation:
        """Run the mean action on the evaluation's seeds.

        Args:
            simulators: the slots.
            policy: what acts.
            iteration: which the rows name.
            background: which the rows name.
            episodes: how many; the configuration's by default.
            film: whether the first episode's frames are kept.
        """
        seeds = self.evaluation_seeds(episodes)
        frames: list[Frames] = []

        def keep(episode: int, frame: Frames) -> None:
            if episode == 0:
                frames.append(frame.copy())

        trajectories = self.roll(simulators, policy, seeds, noise_of=None, on_frame=keep if film else None)
        rows = [
            {
                "iteration": iteration,
                "background": background,
                "seed": trajectory.seed,
                "return": float(trajectory.rewards.sum()),
                "success": trajectory.success,
                "length": len(trajectory),
            }
            for trajectory in trajectories
        ]
        return Evaluation(rows, trajectories, frames)

    def costs(self, seconds: dict[str, float]) -> dict[str, Any]:
        """Time by stage since the last call, speed and peak memory."""
        clock, self.clock = self.clock, Clock()
        rolling = sum(clock.seconds.values())
        speed = clock.steps / rolling if rolling else None
        return {"seconds": clock.seconds | seconds, "steps_per_second": speed} | peak_memory(self.device)


def mean_scores(evaluation: Evaluation) -> tuple[float, float]:
    """Mean return and success rate of an evaluation's episodes."""
    return (
        float(np.mean([row["return"] for row in evaluation.rows])),
        float(np.mean([row["success"] for row in evaluation.rows])),
    )
