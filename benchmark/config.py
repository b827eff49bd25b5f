"""The configuration of a run: every setting, what it determines, and its default.

Numbers that differ between tasks stand in the task cards; what is left out here (None) is taken from there.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, Field, model_validator

import encoders
import tasks
from encoders.errors import EncoderError
from encoders.registration import is_file
from tasks.cards import CARDS, Pack, TaskCard
from tasks.errors import TaskError
from tasks.rendering.qualities import Quality

from . import task_files
from .bounded import (
    Batch,
    DeviceNumber,
    Episodes,
    Hidden,
    Horizon,
    Iterations,
    Processes,
    Repeats,
    Seed,
    Slots,
    Steps,
    Threads,
    Videos,
)
from .device_names import device_name
from .errors import ConfigError
from .limits import MOST_EPISODES
from .marks import COMPARED, IDENTITY, NEWER, OPTION, OUTCOME, SPEED, Configuration, Part
from .overrides import parse
from .presets import PresetName, preset_settings

Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]

NAMED_SOURCES = ("expert", "imported")
"""Sources of demonstrations that are no path."""

FusionName = Literal["none", "concat", "flare"]

TrackerName = Literal["tensorboard", "wandb", "mlflow", "trackio"]

HELD_OUT_SEED = 1_000_000_000
JUDGED_SEED = 1_500_000_000
DEMONSTRATION_SEED = 2_000_000_000
"""First reset seeds: of evaluations, of the episodes that judge policies after the last iteration, of experts."""


def usable_cores() -> int:
    """Cores that this process may use: those of a cluster's allotment, not of the whole node."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


PartT = TypeVar("PartT", bound=Part)


class LearnerSettings(Part):
    """The learner's numbers; the defaults are the paper's.

    ``exploration`` scales the noise that cloning sets, the demonstrated actions' standard deviation; the policy keeps
    it above exp(-3).
    ``step_size`` is twice the KL divergence aimed at. ``demonstration_weight = 0`` makes the update NPG,
    ``iterations = 0`` leaves the cloned policy.

    ``algorithm = bc`` clones alone: its iterations are the epochs of cloning, ``bc_epochs`` of them, and the policy is
    evaluated between them. An epoch is ``bc_steps_per_epoch`` minibatches; 0 stands for a pass over the demonstrations.
    ``bc_minibatches`` draws their pairs with ``replacement``, as DAPG's release does, or takes them ``shuffled``, each
    once per pass, the last minibatch being smaller.

    Source: released H-InDex training configuration; for ``bc`` CortexBench and R3M's evaluation.
    """

    algorithm: Annotated[Literal["dapg", "bc"], IDENTITY, COMPARED, NEWER] = "dapg"
    iterations: Iterations | None = None
    trajectories_per_iteration: Episodes | None = None
    policy_hidden: Annotated[Hidden, Field(min_length=1)] = (256, 256)
    bc_epochs: Iterations = 5
    bc_batch_size: Batch = 32
    bc_learning_rate: Positive = 1e-3
    bc_minibatches: Annotated[Literal["replacement", "shuffled"], IDENTITY, COMPARED, NEWER] = "replacement"
    bc_steps_per_epoch: Annotated[Iterations, IDENTITY, COMPARED, NEWER] = 0
    exploration: Positive = 1.0

    gamma: Fraction = 0.995
    gae_lambda: Fraction = 0.97
    step_size: Positive = 0.05
    demonstration_weight: Annotated[float, Field(ge=0)] = 1e-2
    demonstration_decay: Fraction = 0.95
    fisher_damping: Annotated[float, Field(ge=0)] = 1e-4
    conjugate_gradient_iterations: Repeats = 10
    conjugate_gradient_tolerance: Annotated[float, Field(ge=0)] = 1e-10

    value_hidden: Hidden = (128, 128)
    value_epochs: Repeats = 2
    value_batch_size: Batch = 64
    value_learning_rate: Positive = 1e-3
    value_weight_decay: Annotated[float, Field(ge=0)] = 1e-3


class PolicySettings(Part):
    """The policy's network; its widths are ``learner.policy_hidden``.

    Attributes:
        head: ``tanh_mlp`` is DAPG's, which standardises its input by the demonstrations; ``batchnorm_mlp`` begins with
            a BatchNorm over the whole input and has rectifiers, and can be cloned, but not improved by DAPG.
        pooling: what the policy sees of a frame, with ``learner.algorithm=bc``: ``pooled`` is the encoder's feature;
            the others are made of its tokens: their ``mean``; ``spatial_softmax``, where each channel lies on a square
            map; or ``attentive``, a learned query that attends to them and is trained with a ``batchnorm_mlp``.

    Source: Rajeswaran et al. 2018; CortexBench, R3M; attentive feature aggregation, arXiv 2511.10762.
    """

    head: Literal["tanh_mlp", "batchnorm_mlp"] = "tanh_mlp"
    pooling: Annotated[Literal["pooled", "mean", "attentive", "spatial_softmax"], IDENTITY, COMPARED, NEWER] = "pooled"


class ObservationSettings(Part):
    """What the policy sees at a step, besides the proprioception.

    Attributes:
        history: frames, the newest and those before it; at the start of an episode the first one counts several times.
        fusion: how their features become one vector: ``none`` of one frame, ``concat`` from the oldest to the newest,
            or ``flare``, the differences between neighbours and then the newest.
        camera: the camera that draws them; the task's by default.

    Source: FLARE (Shang et al. 2021) as CortexBench uses it.
    """

    history: Annotated[int, Field(ge=1, le=16)] = 1
    fusion: FusionName = "none"
    camera: str | None = None

    @model_validator(mode="after")
    def _fuse_what_there_is(self) -> ObservationSettings:
        if (self.history > 1) != (self.fusion != "none"):
            raise ValueError("fusion 'concat' or 'flare' takes a history of 2 frames or more, 'none' of 1")
        return self


class DemonstrationSettings(Part):
    """Which demonstrations are cloned.

    Attributes:
        source: ``expert`` rolls out the shipped expert, ``imported`` takes what ``bench demos import`` stored, anything
            else is the path of a demonstrations file.
        episodes: how many; the paper's number by default.
        successful_only: whether failed episodes of the expert are left out.
        first_seed: reset seed of the expert's first episode.
        scene: ``matched`` demonstrates in the scene and horizon of the rollouts, ``released`` in those of the paper's
            demonstrations (a lower tank, a smaller mug, 200 steps of relocate).
        until: whether the expert acts to the ``horizon`` or only until the step that meets the ``success`` rule.
    """

    source: Annotated[str, OUTCOME, COMPARED] = "expert"
    episodes: Episodes | None = None
    successful_only: bool = True
    first_seed: Seed = DEMONSTRATION_SEED
    scene: Literal["matched", "released"] = "matched"
    until: Literal["horizon", "success"] = "horizon"


class RolloutSettings(Part):
    """How episodes are rolled out.

    Attributes:
        horizon: control steps per episode; the task's by default.
        slots: environments that run beside each other.
        group: environments that take their steps together and whose frames are encoded as one batch.
        quality: of the frames: ``paper``, ``shadows`` or ``fast``, see `tasks.rendering.qualities`.
    """

    horizon: Horizon | None = None
    slots: Slots = 8
    group: Slots = 4
    quality: Quality = "fast"


class EvaluationSettings(Part):
    """How the policy's mean action is evaluated.

    Attributes:
        episodes: episodes per evaluation.
        every: iterations between evaluations; the cloned and the final policy are always evaluated. Where iterations
            are epochs of cloning, they count from 0, and only the last one is always evaluated.
        untrained: whether the untrained policy is evaluated too.
        seeds: ``held_out`` from the training resets; ``training``, the first training resets, as released; or
            ``demonstrations``, the initial states of the first demonstrations.
        held_out_episodes: where more than 0, the last policy of ``bc``, and the one that the evaluations found best,
            are judged by so many held-out episodes after the last epoch.
        video: whether the last evaluation's first episode is kept as a film.
    """

    episodes: Episodes = 25
    every: Repeats = 1
    untrained: bool = False
    seeds: Literal["held_out", "training", "demonstrations"] = "held_out"
    held_out_episodes: Annotated[int, Field(ge=0, le=MOST_EPISODES), IDENTITY, COMPARED, NEWER] = 0
    video: Annotated[bool, SPEED] = True


class AdaptationSettings(Part):
    """The numbers of Stage 2, for a run that adapts its encoder itself and for ``bench adapt`` alike.

    The defaults are for minutes on a CPU; the paper's are 100,000 steps of 8 pairs at 224 pixels.

    Attributes:
        size: height and width of the frames in pixels; the network sees 224 afterwards.
        steps: updates.
        batch: pairs of frames per step.
        learning_rate: Adam's.
        warm_up: steps in which the keypoints stay as they are, see `encoders.adapt.trainer`; by default a tenth of all
            where heads are drawn, else 0.
        map_rate: learning rate of the layers between encoder and keypoints, as a part of ``learning_rate``; by default
            0.02 where heads are drawn, 0.1 for those that ship, else 1.
        cool_down: share of the steps, at the end, in which the learning rate falls linearly to 0.
        shortcuts: whether the BatchNorms in the shortcuts are trained too, as released; without them it is the paper's
            0.18 % of the parameters.
        perceptual: network of the perceptual loss; ``auto`` is VGG-16 where its weights lie in the cache, else the
            encoder's own frozen features; ``none`` for pixels alone, which teaches drawn heads much faster.
        precision: of the training; evaluation is in float32.
        heads: ``auto`` takes heads trained on Penn Action where they lie in the cache, else those that ship where they
            were trained on this encoder's weights, else they are drawn; ``shipped``; ``renderer``: what draws of those
            that ship, and the layers between encoder and keypoints drawn, for any encoder; ``drawn``; or a file, see
            `encoders.adapt.files.load_heads`.
        videos: episodes of the expert that the frames are taken from.
        held_out: the last so many of them are for evaluation.
        camera: through which the frames are seen: the ``task``'s, or the ``released`` Stage 2's.

    Source: H-InDex, section 3.2, and its released configuration.
    Differs: the authors' heads come trained; 100,000 steps at 1e-4, all layers alike from the first one to the last.
    """

    size: Annotated[int, Field(ge=64, le=224, multiple_of=32)] = 128
    steps: Steps = 300
    batch: Batch = 4
    learning_rate: Positive = 5e-4
    warm_up: Iterations | None = None
    map_rate: Positive | None = None
    cool_down: Fraction = 0.5
    shortcuts: bool = True
    perceptual: Literal["auto", "vgg16", "stage1", "none"] = "auto"
    precision: Literal["float32", "tf32", "bfloat16"] = "float32"
    heads: Annotated[str, OUTCOME, COMPARED, OPTION] = "auto"
    videos: Videos = 50
    held_out: Episodes = 10
    camera: Literal["task", "released"] = "task"


class EMASettings(Part):
    """Stage 3: how BatchNorm's statistics follow what the encoder sees.

    Attributes:
        momentum: weight of the newest observation; 0 leaves the network as it is. By default the task's for an
            encoder whose card asks for it (``hindex``), 0 for all others.
        scope: the ``stem``'s BatchNorm alone, as released, or ``all`` of them, as the paper says.
        reset: ``iteration`` begins anew from the checkpoint at every sampling and every evaluation, as released;
            ``never`` lets training's statistics and evaluation's go on to the end of the run, as the paper says.
        streams: sets of statistics, one an environment; so where set, there are as many environments, whatever
            ``rollout.slots`` says. By default the slots', but under ``paper`` the released run's sampling processes.
    """

    momentum: Fraction | None = None
    scope: Literal["stem", "all"] = "stem"
    reset: Literal["iteration", "never"] = "iteration"
    streams: Slots | None = None


class RunConfig(Configuration):
    """One run: an encoder on a task with a seed.

    Settings that are not COMPARED show in the runs' titles or in the plain part of the suite's name.

    Attributes:
        task: a task's name, or ``path/to/file.py:Class``, which becomes the name of that task.
        task_file: the file and class that the task came from, ``/path/to/file.py:Class``; found from ``task``.
        encoder: a registered name, or ``path/to/file.py:Class``.
        weights: ``auto``, ``official``, ``builtin``, ``random`` or a file.
        normalise: the encoder's input: ``auto`` (its card's), ``imagenet``, ``unit`` or ``native``.
        adapt: Stage 2: ``none``, ``affine`` (BatchNorm's scales and offsets), ``all`` parameters, or ``auto``: what the
            encoder's card asks for.
        adapted: where Stage 2 comes from: the authors' ``official`` files, ``own`` training, or ``auto``: official
            where they are cached.
        adaptation: how Stage 2 trains, where it has to.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: in which format the encoder computes; ``auto`` takes what is fast here and keeps its features.
        backend: what computes the encoder: ``torch``, ``openvino`` (on CPUs) or ``auto``: OpenVINO on a CPU, where its
            features are held to those of PyTorch, else PyTorch.
        compiled: whether the encoder's network is compiled by torch, too.
        torch_threads: torch's threads for the update on a CPU; each group of environments is encoded on one thread.
            Part of the identity, so it does not depend on the machine.
        workers: simulation processes; they change the speed, never the numbers.
        egl_device: index of the EGL device that draws; chosen from ``device`` by default.
        track: trackers that the metrics are passed on to, see `benchmark.runner.tracking`.
        objects: ``builtin`` shapes or official ``ycb`` meshes in the DexMV scenes.
        background: 0 for the training scene, 1 to 10 for the shifted ones; for demonstrations and rollouts alike.
        scene: the scene's own options, such as ``scene.tank_height``; the released rollouts' by default.
    """

    preset: Annotated[PresetName, IDENTITY, OPTION] = "quickstart"
    task: Annotated[str, IDENTITY, OPTION]
    task_file: Annotated[str | None, OUTCOME] = None
    encoder: Annotated[str, OUTCOME, OPTION]
    seed: Annotated[int, Field(ge=0, lt=HELD_OUT_SEED), IDENTITY, OPTION] = 0
    weights: Annotated[str, OUTCOME, OPTION] = "auto"
    normalise: Annotated[Literal["auto", "imagenet", "unit", "native"], IDENTITY, OPTION] = "auto"
    adapt: Annotated[Literal["auto", "none", "affine", "all"], IDENTITY, OPTION] = "auto"
    adapted: Annotated[Literal["auto", "official", "own"], OUTCOME, OPTION] = "auto"
    adaptation: Annotated[AdaptationSettings, OUTCOME, COMPARED] = AdaptationSettings()
    physics: Annotated[Literal["paper", "native"], IDENTITY] = "paper"
    reward: Annotated[Literal["paper", "dense", "sparse"], IDENTITY, COMPARED] = "paper"
    objects: Annotated[Pack, IDENTITY, OPTION] = "builtin"
    background: Annotated[int, Field(ge=0, le=10), IDENTITY, COMPARED, OPTION] = 0
    scene: Annotated[dict[str, float], Field(default_factory=dict), IDENTITY, COMPARED]
    device: Annotated[str, AfterValidator(device_name), OUTCOME, OPTION] = "auto"
    precision: Annotated[Literal["auto", "float32", "tf32", "bfloat16", "float16"], OUTCOME, COMPARED, OPTION] = "auto"
    backend: Annotated[Literal["auto", "torch", "openvino"], OUTCOME, COMPARED, OPTION] = "auto"
    compiled: Annotated[bool, OUTCOME, COMPARED] = False
    torch_threads: Annotated[Threads, IDENTITY] = 2
    workers: Annotated[Processes, Field(default_factory=lambda: min(usable_cores(), 16)), SPEED, OPTION]
    egl_device: Annotated[DeviceNumber | None, SPEED] = None
    track: Annotated[tuple[TrackerName, ...], SPEED, OPTION] = ()
    demonstrations: Annotated[DemonstrationSettings, IDENTITY, COMPARED] = DemonstrationSettings()
    rollout: Annotated[RolloutSettings, IDENTITY, COMPARED] = RolloutSettings()
    observation: Annotated[ObservationSettings, IDENTITY, COMPARED, NEWER] = ObservationSettings()
    policy: Annotated[PolicySettings, IDENTITY, COMPARED, NEWER] = PolicySettings()
    learner: Annotated[LearnerSettings, IDENTITY, COMPARED] = LearnerSettings()
    evaluation: Annotated[EvaluationSettings, IDENTITY, COMPARED] = EvaluationSettings()
    ema: Annotated[EMASettings, IDENTITY] = EMASettings()

    @model_validator(mode="before")
    @classmethod
    def _import_task(cls, values: Any) -> Any:
        """Import the file of a task from outside, so that the task is known by its name."""
        if not isinstance(values, dict):
            return values
        task, file = values.get("task"), values.get("task_file")
        try:
            if isinstance(task, str) and is_file(task):
                task = task_files.name_of(task)
            elif isinstance(file, str) and task in CARDS:
                raise ConfigError("task_file is found from --task path/to/file.py:Class; leave it out")
            elif isinstance(file, str) and task not in tasks.names():
                task_files.load(file)
            found = task_files.source(task) if task in tasks.names() else task_files.Source("", None, None)
        except TaskError as error:  # a ValueError, which pydantic would report as one of many
            raise ConfigError(str(error)) from error
        return {**values, "task": task, "task_file": found.file}

    @model_validator(mode="after")
    def _clone_or_improve(self) -> RunConfig:
        """Refuse settings that contradict each other."""
        learner = self.learner
        if learner.algorithm == "bc":
            if learner.iterations:
                raise ValueError("learner.iterations is of DAPG: leave it out with learner.algorithm=bc")
            if learner.bc_epochs == 0:
                raise ValueError("learner.algorithm=bc needs learner.bc_epochs of at least 1")
            if self.policy.pooling == "attentive" and self.policy.head != "batchnorm_mlp":
                raise ValueError("policy.pooling=attentive: set policy.head=batchnorm_mlp with it")
        elif learner.bc_minibatches != "replacement" or learner.bc_steps_per_epoch:
            raise ValueError("learner.bc_minibatches and bc_steps_per_epoch: set learner.algorithm=bc with them")
        elif self.policy.head != "tanh_mlp":
            raise ValueError(f"policy.head={self.policy.head} can only be cloned: set learner.algorithm=bc with it")
        elif self.policy.pooling != "pooled":
            raise ValueError(
                f"policy.pooling={self.policy.pooling} can only be cloned: set learner.algorithm=bc with it"
            )
        elif self.evaluation.held_out_episodes:
            raise ValueError("evaluation.held_out_episodes judges cloned policies: set learner.algorithm=bc with it")
        return self

    @property
    def slots(self) -> int:
        """Environments: as many as there are streams of moving statistics, where there are any."""
        return self.ema.streams or self.rollout.slots

    def task_options(self) -> dict[str, Any]:
        """Options of the rollouts' task, of a resolved configuration."""
        scene = {"objects": self.objects, "background": self.background, **self.scene}
        return {"physics": self.physics, "reward": self.reward, **scene}

    def demonstration_options(self, card: TaskCard) -> dict[str, Any]:
        """Options of the task that demonstrations are made and replayed in."""
        released = card.demonstration_scene if self.demonstrations.scene == "released" else {}
        return {**self.task_options(), **released}

    def resolve(self, card: TaskCard) -> RunConfig:
        """The same with every number filled in from the task's card.

        Raises:
            ConfigError: a scene option that the task does not have.
        """
        for option in self.scene:
            if option not in card.scene:
                there = ", ".join(card.scene) or "none"
                raise ConfigError(f"{card.name} has no scene option '{option}'; it has {there}")
        ema = self._resolved_ema(card)
        return self.model_copy(
            update={
                "scene": {**card.scene, **self.scene},
                "demonstrations": _filled(self.demonstrations, episodes=card.demonstrations),
                "rollout": _filled(self.rollout, horizon=card.horizon),
                "ema": ema,
                "learner": _filled(
                    self.learner,
                    iterations=0 if self.learner.algorithm == "bc" else card.iterations,
                    trajectories_per_iteration=card.trajectories_per_iteration,
                ),
            }
        )

    def _resolved_ema(self, card: TaskCard) -> EMASettings:
        """The same settings with a momentum and, where statistics move, a number of streams."""
        ema = _filled(self.ema, momentum=card.ema_momentum if _moves_statistics(self.encoder) else 0.0)
        if ema.momentum == 0:
            return ema
        return _filled(ema, streams=card.ema_streams if self.preset == "paper" else self.rollout.slots)


def configure(preset: str, overrides: Sequence[str] = (), **values: Any) -> RunConfig:
    """A run's configuration from a preset, ``key.subkey=value`` overrides and the command line's options.

    Args:
        preset: quickstart, small or paper.
        overrides: dotted keys with JSON values; a value that is no JSON is a string.
        **values: fields of `RunConfig`.

    Raises:
        ConfigError: an unknown preset or key, or a value of the wrong type or range.
    """
    return parse(RunConfig, {**preset_settings(preset), **values, "preset": preset}, overrides)


def _moves_statistics(encoder: str) -> bool:
    """Whether an encoder's card asks for Stage 3; a class in a file has no card."""
    if ":" in encoder or encoder.endswith(".py"):
        return False
    try:
        card = encoders.card(encoder)
    except EncoderError:  # whoever builds the encoder says what is wrong with it
        return False
    return card is not None and card.moving_average


def _filled(part: PartT, **defaults: Any) -> PartT:
    missing = {key: value for key, value in defaults.items() if getattr(part, key) is None}
    return part.model_copy(update=missing)
