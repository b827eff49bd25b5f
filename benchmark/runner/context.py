"""A run's parts on one device, and the two things that are done with them: roll out a policy, and evaluate it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

import tasks
from encoders import Choice, Encoder, check_encoder
from encoders.backend import TORCH
from encoders.precision import FLOAT32
from encoders.tokens import token_view
from tasks.cards import TaskCard
from tasks.demonstrations.dataset import Demonstrations
from tasks.rendering.render import Device

from .. import memory
from ..adapt.unfolding import unfold_for_run
from ..cloning import FramesPolicy, Policy
from ..cloning.trained_parts import HEADS, part_features
from ..config import HELD_OUT_SEED, JUDGED_SEED, RunConfig
from ..device import choose_device, peak_memory
from ..doctor import require_gl
from ..errors import ConfigError
from ..progress import Progress
from ..rollout.episodes import NOTHING, WHOLE, Array, Clock, Encode, EpisodeRule, GroupThreads, rollout
from ..rollout.fusion import Fusion
from ..rollout.simulators import Simulators
from ..rollout.slots import Frames, SceneSettings, Start
from ..rollout.trajectory import Trajectory
from ..store.episodes import HELD_OUT, OWN_BACKGROUND, SCHEDULE
from .encoder import Plan, Prepared, prepare
from .moving_statistics import MovingStatistics, Role, attach_statistics
from .policy_actor import PolicyActor, exploration_noise
from .precision import computing_threads, settle_precision


class Evaluation(NamedTuple):
    """What the mean action did.

    Attributes:
        rows: One per episode, with the columns of `benchmark.store.episodes`.
        trajectories: The episodes.
        frames: Those of the first episode, if they were asked for.
    """

    rows: list[dict[str, Any]]
    trajectories: list[Trajectory]
    frames: list[Frames]

    def mean_scores(self) -> tuple[float, float]:
        """Return the mean return and the success rate."""
        mean_return = np.mean([row["return"] for row in self.rows])
        return float(mean_return), float(np.mean([row["success"] for row in self.rows]))


class ReadyEncoder(NamedTuple):
    """A run's encoder, checked, and what was settled together with it.

    Attributes:
        config: The configuration with every number filled in.
        card: The task's.
        device: Where the encoder is.
        prepared: The encoder, its title and its record.
    """

    config: RunConfig
    card: TaskCard
    device: torch.device
    prepared: Prepared


def ready_encoder(config: RunConfig, chosen: Plan, out: Path, progress: Progress) -> ReadyEncoder:
    """Load a run's encoder, make it ready for Stages 2 and 3 where they are the run's own, and hold it to its contract.

    Args:
        config: What to run.
        chosen: Its encoder's plan.
        out: The folder of all runs; an adaptation of the run's own is kept there.
        progress: Receives progress updates.

    Raises:
        ConfigError: The settings contradict each other, or the run cannot fit into memory.
        EncoderError: The encoder cannot be loaded or breaks its contract.
        GraphicsError: The encoder needs images, and nothing can be rendered here.
    """
    card, device = tasks.card(config.task), choose_device(config.device)
    torch.set_num_threads(config.torch_threads)
    prepared = prepare(config, chosen, out, device, progress)
    encoder = prepared.encoder
    config = settled_config(config, chosen)
    unfold_for_run(encoder, config, out, progress)
    if encoder.uses_images:
        require_gl()
    check_encoder(encoder)
    if config.policy.pooling != "pooled":
        encoder = token_view(encoder, "none" if config.policy.pooling == "attentive" else config.policy.pooling)
        prepared = replace(prepared, encoder=encoder)
    _check_trained_part(config, encoder)
    seen = encoder.feature_dim if encoder.uses_images else 0
    if encoder.raw_shape is not None:
        seen = part_features(encoder.raw_shape)
    memory.require_run(config, card, seen, encoder.raw_shape or ())
    return ReadyEncoder(config, card, device, prepared)


def _check_trained_part(config: RunConfig, encoder: Encoder) -> None:
    """Refuse settings that do not go with what is trained on frames."""
    shape = encoder.raw_shape
    if shape is None:
        return
    if config.learner.algorithm != "bc" or config.policy.head != "batchnorm_mlp":
        raise ConfigError(
            f"encoder '{encoder.name}': a part of the policy is trained on its frames, which only cloning does: use "
            "--preset imitation, cortexbench or r3m"
        )
    if len(shape) == 2 and shape[1] % HEADS:
        raise ConfigError(
            f"encoder '{encoder.name}': its tokens have {shape[1]} numbers, which the {HEADS} heads of "
            "policy.pooling=attentive do not divide; use policy.pooling=mean"
        )


def settle(
    ready: ReadyEncoder, demonstrations: Demonstrations, *, precision: str | None = None, backend: str | None = None
) -> Choice:
    """Set the precision and the backend of a run's encoder, in place.

    Args:
        ready: The encoder; its moving statistics are not attached yet.
        demonstrations: The run's, on whose frames its features are held to those of PyTorch in float32.
        precision: Such as ``auto``; the configured one by default.
        backend: Likewise.

    Raises:
        ConfigError, PrecisionRefused, BackendRefused: As for `settle_precision`.
    """
    config, encoder = ready.config, ready.prepared.encoder
    precision, backend = precision or config.precision, backend or config.backend
    if encoder.raw_shape is not None and next(encoder.parameters(), None) is None:  # there is no network to speed up
        precision = FLOAT32 if precision == "auto" else precision
        backend = TORCH if backend == "auto" else backend
    return settle_precision(
        encoder,
        precision,
        demonstrations,
        scene_settings(config, encoder, ready.device, config.demonstration_options(ready.card)),
        backend=backend,
        compiled=config.compiled,
        momentum=config.ema.momentum or 0.0,
        scope=config.ema.scope,
        workers=config.workers,
    )


def run_context(ready: ReadyEncoder, demonstrations: Demonstrations, progress: Progress) -> RunContext:
    """Attach the moving statistics to a run's encoder, which is settled, and return all that rollouts need."""
    config, encoder = ready.config, ready.prepared.encoder
    statistics = attach_statistics(encoder, config.ema, config.slots)
    states = [episode.initial_state for episode in demonstrations.episodes]
    return RunContext(config, ready.card, ready.device, encoder, statistics, progress, states)


def settled_config(config: RunConfig, chosen: Plan) -> RunConfig:
    """Return the configuration as a run records it: Stage 2 decided, and every number filled in.

    Raises:
        ConfigError: A scene option that the task does not have.
    """
    return config.model_copy(update={"adapt": chosen.mode}).resolve(tasks.card(config.task))


def scene_settings(config: RunConfig, encoder: Encoder, device: torch.device, options: dict[str, Any]) -> SceneSettings:
    """Return what the simulation workers of a run build, with these options of the task."""
    return SceneSettings(
        task=config.task,
        options=options,
        slots=config.slots,
        group=config.rollout.group,
        images=encoder.uses_images,
        quality=config.rollout.quality,
        device=egl_device(config, device),
        camera=config.observation.camera,
    )


def require_states(episodes: int, demonstrations: int) -> None:
    """Check that there are enough demonstrations for episodes that begin as they do.

    Raises:
        ConfigError: there are not.
    """
    if demonstrations < episodes:
        raise ConfigError(
            f"evaluation.episodes={episodes} begin as demonstrations do, but there are {demonstrations} of them; lower "
            "it, or raise demonstrations.episodes"
        )


def egl_device(config: RunConfig, device: torch.device) -> int | None:
    """Return the EGL device that a run draws with: the one asked for, else the one that computes; None for any."""
    return config.egl_device if config.egl_device is not None else device.index


@dataclass
class RunContext:
    """The parts of a run that rollouts need.

    Attributes:
        config: The configuration with every number filled in.
        card: The task's.
        device: Torch's.
        encoder: After Stages 1 and 2, in its final precision.
        statistics: The moving statistics of Stage 3, attached to the encoder.
        progress: Receives progress updates.
        initial_states: Of the demonstrations, for evaluations that begin there.
        clock: Where the time went since the last call of `costs`.
    """

    config: RunConfig
    card: TaskCard
    device: torch.device
    encoder: Encoder
    statistics: MovingStatistics
    progress: Progress
    initial_states: Sequence[Start] = ()
    clock: Clock = field(default_factory=Clock)

    @property
    def rule(self) -> EpisodeRule:
        """When episodes end and succeed."""
        return EpisodeRule(self.card.goal_steps, self.card.time_limit_is_terminal)

    @contextmanager
    def group_threads(self) -> Iterator[GroupThreads]:
        """How groups of slots share this process: on a CPU each computes on one thread, on a GPU they take turns.

        So what a group computes depends neither on the machine's cores nor on the number of workers. Afterwards torch
        computes with the configured number of threads again.
        """
        if self.device.type != "cpu":
            yield GroupThreads()
            return
        try:
            yield GroupThreads(computing_threads(self.config.workers), lambda: torch.set_num_threads(1))
        finally:
            torch.set_num_threads(self.config.torch_threads)

    def encode(self, policy: Policy | None = None) -> Encode | None:
        """Return what turns frames (n, 224, 224, 3) uint8 and their slots into features (n, F), or None without images.

        It moves the statistics of the slots.

        Args:
            policy: whose trained part makes the features, if it has one; without it, they are what the encoder gives.
        """
        if not self.encoder.uses_images:
            return None

        def features(frames: Frames, slots: Sequence[int]) -> Array:
            self.statistics.select(slots)
            encoded = self.encoder.encode(frames)
            if isinstance(policy, FramesPolicy):
                encoded = policy.features(encoded)
            return encoded.cpu().numpy()

        return features

    def simulators(self, options: dict[str, Any]) -> Simulators:
        """Open the slots in a scene with these options; the caller closes them."""
        scene = scene_settings(self.config, self.encoder, self.device, options)
        return Simulators(scene, self.config.workers, self.progress.say)

    @property
    def privileged(self) -> bool:
        """Whether a policy that gets no images gets the task's state."""
        return self.encoder.without_images == "state"

    @property
    def features_in_observation(self) -> int:
        """Features of one frame at the front of an observation; 0 where the policy sees no frame."""
        return self.encoder.feature_dim if self.encoder.uses_images else 0

    @property
    def fusion(self) -> Fusion:
        """How the features of neighbouring frames become one vector."""
        return Fusion(self.config.observation.fusion, self.config.observation.history)

    def evaluation_seeds(self, episodes: int | None = None, split: str = SCHEDULE) -> list[int]:
        """Return the reset seeds of an evaluation's episodes, as many as configured by default.

        Where evaluations begin at the initial states of demonstrations, these are their numbers.
        """
        evaluation = self.config.evaluation
        first = {"held_out": HELD_OUT_SEED, "training": self.config.seed, "demonstrations": 0}[evaluation.seeds]
        if split == HELD_OUT:
            first = JUDGED_SEED
        return [first + k for k in range(episodes or evaluation.episodes)]

    def say_renderer(self, drawn_by: Device) -> None:
        """Name the renderer, above all when it is not the one that was asked for."""
        asked = egl_device(self.config, self.device)
        kind = "software rendering on the CPU" if drawn_by.software else "GPU rendering"
        instead = f" (EGL device {asked} cannot be used)" if asked not in (None, drawn_by.number) else ""
        self.progress.say(f"{kind}: {drawn_by.name}, EGL device {drawn_by.number}{instead}")

    def roll(
        self,
        simulators: Simulators,
        policy: Policy,
        starts: Sequence[Start],
        *,
        noise_of: int | None,
        on_frame: Callable[[int, Frames], None] | None = None,
    ) -> list[Trajectory]:
        """Run episodes of a policy; those of the mean action come without observations.

        Args:
            simulators: The slots.
            policy: Chooses the actions.
            starts: Reset seeds or initial states, one per episode.
            noise_of: The iteration whose exploration noise is added; None for the mean action, an evaluation.
            on_frame: As in `rollout`.
        """
        horizon = int(self.config.rollout.horizon or self.card.horizon)
        noise = None
        if noise_of is not None:
            noise = exploration_noise(self.config.seed, noise_of, len(starts), (horizon, self.card.action_dim))
        self.statistics.begin(Role.EVALUATION if noise_of is None else Role.TRAINING)
        with self.group_threads() as threads:
            trajectories = rollout(
                simulators,
                starts,
                PolicyActor(policy, noise),
                horizons=[horizon] * len(starts),
                rule=self.rule,
                encode=self.encode(policy),
                privileged=self.privileged,
                fusion=self.fusion,
                kept=NOTHING if noise_of is None else WHOLE,
                threads=threads,
                clock=self.clock,
                on_steps=self.progress.advance,
                on_frame=on_frame,
            )
        self.progress.advance(horizon * len(starts) - sum(len(trajectory) for trajectory in trajectories))
        memory.give_back()
        return trajectories

    def evaluate(
        self,
        simulators: Simulators,
        policy: Policy,
        iteration: int,
        *,
        background: str = OWN_BACKGROUND,
        split: str = SCHEDULE,
        episodes: int | None = None,
        film: bool = False,
    ) -> Evaluation:
        """Run the mean action on the evaluation's seeds.

        Args:
            simulators: The slots.
            policy: Chooses the actions.
            iteration: Recorded in the rows.
            background: Recorded in the rows.
            split: Likewise; held-out episodes have seeds of their own.
            episodes: How many; the configuration's by default.
            film: Whether the first episode's frames are kept.
        """
        frames: list[Frames] = []

        def keep(episode: int, frame: Frames) -> None:
            if episode == 0:
                frames.append(frame.copy())

        seeds = self.evaluation_seeds(episodes, split)
        demonstrated = self.config.evaluation.seeds == "demonstrations" and split == SCHEDULE
        if demonstrated:
            require_states(len(seeds), len(self.initial_states))
        starts = [self.initial_states[number] for number in seeds] if demonstrated else seeds
        trajectories = self.roll(simulators, policy, starts, noise_of=None, on_frame=keep if film else None)
        rows = [
            {
                "iteration": iteration,
                "background": background,
                "seed": seed,
                "return": float(trajectory.rewards.sum()),
                "success": trajectory.success,
                "length": len(trajectory),
                "goal_steps": int(trajectory.goals.sum()),
                "goal_at_end": bool(trajectory.goals[-1]),
                "split": split,
            }
            for seed, trajectory in zip(seeds, trajectories, strict=True)
        ]
        return Evaluation(rows, trajectories, frames)

    def costs(self, seconds: dict[str, float]) -> dict[str, Any]:
        """Return time by stage since the last call, speed and peak memory."""
        clock, self.clock = self.clock, Clock()
        rolling = sum(clock.seconds.values())
        speed = clock.steps / rolling if rolling else None
        return {"seconds": clock.seconds | seconds, "steps_per_second": speed} | peak_memory(self.device)
