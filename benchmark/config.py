"""The configuration of a run: one frozen tree, three presets, dotted overrides.

Numbers that differ between tasks stand in the task cards; what is left out here (None) is taken from there.
"""

from __future__ import annotations

import copy
import difflib
import json
import os
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

import encoders
from encoders.errors import EncoderError
from tasks.cards import Pack, TaskCard

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

Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
PresetName = Literal["quickstart", "small", "paper"]

RANDOM_ALLOWED = ("quickstart",)
"""Presets under which an encoder without weights runs on random ones, and is called so everywhere."""

BUILTIN_REFUSED = ("paper",)
"""Presets under which the weights that ship with the package are taken only if they are asked for."""

OPTIONS = (
    *("preset", "task", "encoder", "seed", "weights", "normalise", "adapt", "adapted"),
    *("device", "precision", "workers", "objects", "background"),
)
"""Settings that are options of their own on the command line."""

NAMED_SOURCES = ("expert", "imported")
"""Sources of demonstrations that are no path."""

HELD_OUT_SEED = 1_000_000_000
DEMONSTRATION_SEED = 2_000_000_000


def usable_cores() -> int:
    """Cores that this process may use: those of a cluster's allotment, not of the whole node."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Part(BaseModel):
    """A part of the configuration: frozen, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)


PartT = TypeVar("PartT", bound=Part)


class LearnerSettings(Part):
    """The learner's numbers; the defaults are the paper's.

    ``exploration`` scales the noise that cloning sets, the demonstrated actions' standard deviation; the policy keeps
    it above exp(-3).
    ``step_size`` is twice the KL divergence aimed at. ``demonstration_weight = 0`` makes the update NPG,
    ``iterations = 0`` leaves the cloned policy.

    Source: released H-InDex training configuration.
    """

    iterations: Iterations | None = None
    trajectories_per_iteration: Episodes | None = None
    policy_hidden: Annotated[Hidden, Field(min_length=1)] = (256, 256)
    bc_epochs: Iterations = 5
    bc_batch_size: Batch = 32
    bc_learning_rate: Positive = 1e-3
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

    source: str = "expert"
    episodes: Episodes | None = None
    successful_only: bool = True
    first_seed: Seed = DEMONSTRATION_SEED
    scene: Literal["matched", "released"] = "matched"
    until: Literal["horizon", "success"] = "horizon"


class RolloutSettings(Part):
    """How episodes are run.

    Attributes:
        horizon: control steps an episode; the task's by default.
        slots: environments in lockstep, which is also the batch that the encoder sees.
        quality: rendering quality.
    """

    horizon: Horizon | None = None
    slots: Slots = 4
    quality: Literal["paper", "fast"] = "fast"


class EvaluationSettings(Part):
    """How the policy's mean action is judged.

    Attributes:
        episodes: episodes an evaluation.
        every: iterations between evaluations; the cloned and the final policy are always evaluated.
        untrained: whether the untrained policy is evaluated too.
        seeds: ``held_out`` from the training resets, or ``training``, the first training resets, as released.
        video: whether the last evaluation's first episode is kept as a film.
    """

    episodes: Episodes = 25
    every: Repeats = 1
    untrained: bool = False
    seeds: Literal["held_out", "training"] = "held_out"
    video: bool = True


class AdaptationSettings(Part):
    """Stage 2 settings, used when a run must adapt its encoder itself; see `benchmark.adapt.config.AdaptConfig`.

    Attributes:
        size: height and width of the frames in pixels; the network sees 224 afterwards.
        steps: updates.
        batch: pairs of frames a step.
        learning_rate: Adam's.
        cool_down: share of the steps, at the end, in which the learning rate falls linearly to 0.
        camera: through which the frames are seen: the ``task``'s, or the ``released`` Stage 2's.
        videos: episodes of the expert that the frames are taken from.
        shortcuts: whether the BatchNorms in the shortcuts are trained too, as released; without them it is the paper's
            0.18 % of the parameters.

    Source: H-InDex, section 3.2, and its released configuration.
    """

    size: Annotated[int, Field(ge=64, le=224, multiple_of=32)] = 128
    steps: Steps = 300
    batch: Batch = 4
    learning_rate: Positive = 5e-4
    cool_down: Fraction = 0.5
    camera: Literal["task", "released"] = "task"
    videos: Videos = 50
    shortcuts: bool = True


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


class RunConfig(Part):
    """One run: an encoder on a task with a seed.

    Attributes:
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
        compiled: whether the encoder's network is compiled, too.
        torch_threads: torch's threads on the CPU; part of what makes the numbers.
        workers: simulation processes; they change the speed, never the numbers.
        egl_device: index of the EGL device that draws; chosen from ``device`` by default.
        objects: ``builtin`` shapes or official ``ycb`` meshes in the DexMV scenes.
        background: 0 for the training scene, 1 to 10 for the shifted ones; for demonstrations and rollouts alike.
        scene: the scene's own options, such as ``scene.tank_height``; the released rollouts' by default.
    """

    preset: PresetName = "quickstart"
    task: str
    encoder: str
    seed: Annotated[int, Field(ge=0, lt=HELD_OUT_SEED)] = 0
    weights: str = "auto"
    normalise: Literal["auto", "imagenet", "unit", "native"] = "auto"
    adapt: Literal["auto", "none", "affine", "all"] = "auto"
    adapted: Literal["auto", "official", "own"] = "auto"
    adaptation: AdaptationSettings = AdaptationSettings()
    physics: Literal["paper", "native"] = "paper"
    reward: Literal["paper", "dense"] = "paper"
    objects: Pack = "builtin"
    background: Annotated[int, Field(ge=0, le=10)] = 0
    scene: dict[str, float] = {}
    device: Annotated[str, AfterValidator(device_name)] = "auto"
    precision: Literal["auto", "float32", "tf32", "bfloat16", "float16"] = "auto"
    compiled: bool = False
    torch_threads: Threads = Field(default_factory=usable_cores)
    workers: Processes = Field(default_factory=lambda: min(usable_cores(), 16))
    egl_device: DeviceNumber | None = None
    demonstrations: DemonstrationSettings = DemonstrationSettings()
    rollout: RolloutSettings = RolloutSettings()
    learner: LearnerSettings = LearnerSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    ema: EMASettings = EMASettings()

    @property
    def slots(self) -> int:
        """Environments in lockstep: as many as there are streams of moving statistics, where there are any."""
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
                    iterations=card.iterations,
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


PRESETS: dict[str, dict[str, Any]] = {
    "quickstart": {
        "demonstrations": {"episodes": 3, "until": "success"},
        "rollout": {"horizon": 25, "slots": 4},
        "learner": {"iterations": 2, "trajectories_per_iteration": 4, "value_batch_size": 16},
        "evaluation": {"episodes": 4, "every": 2},
    },
    "small": {
        "rollout": {"slots": 10},
        "learner": {"iterations": 20, "trajectories_per_iteration": 20},
        "adaptation": {"steps": 3000, "batch": 8},
        "evaluation": {"episodes": 10, "every": 5, "untrained": True},
    },
    "paper": {
        "objects": "ycb",
        "precision": "float32",
        "demonstrations": {"source": "imported", "successful_only": False, "scene": "released"},
        "adaptation": {
            **{"size": 224, "steps": 100_000, "batch": 8, "learning_rate": 1e-4, "cool_down": 0.0},
            "camera": "released",
        },
        "rollout": {"slots": 25, "quality": "paper"},
        "evaluation": {"seeds": "training"},
    },
}


def configure(preset: str, overrides: Sequence[str] = (), **values: Any) -> RunConfig:
    """A run's configuration from a preset, ``key.subkey=value`` overrides and the command line's options.

    Args:
        preset: quickstart, small or paper.
        overrides: dotted keys with JSON values; a value that is no JSON is a string.
        **values: fields of `RunConfig`.

    Raises:
        ConfigError: an unknown preset or key, or a value of the wrong type or range.
    """
    if preset not in PRESETS:
        raise ConfigError(f"unknown preset '{preset}': {_nearest(preset, PRESETS)}")
    tree: dict[str, Any] = copy.deepcopy(PRESETS[preset])
    tree |= values | {"preset": preset}
    for override in overrides:
        _apply(tree, override)
    try:
        return RunConfig.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(_explain(error)) from None


def _apply(tree: dict[str, Any], override: str) -> None:
    dotted, separator, text = override.partition("=")
    if not separator or not dotted:
        raise ConfigError(f"--set {override}: expected KEY=VALUE, for example --set learner.step_size=0.02")
    if dotted.strip() in OPTIONS:
        raise ConfigError(f"--set {override}: give --{dotted.strip()} {text} instead")
    *path, last = dotted.strip().split(".")
    node = tree
    for key in path:
        branch = node.setdefault(key, {})
        if not isinstance(branch, dict):
            raise ConfigError(f"--set {override}: '{key}' is a value, not a group of settings")
        node = branch
    try:
        node[last] = json.loads(text)
    except RecursionError:
        raise ConfigError(f"--set {override[:40]}...: nested too deep; expected KEY=VALUE") from None
    except ValueError:  # no JSON, or a number of thousands of digits
        node[last] = text


def _explain(error: ValidationError) -> str:
    """The first complaint in one line, with the nearest key where the key is unknown."""
    first, *others = error.errors()
    dotted = ".".join(str(part) for part in first["loc"])
    more = f" (and {len(others)} more)" if others else ""
    if first["type"] == "extra_forbidden":
        *path, wrong = [str(part) for part in first["loc"]]
        return f"there is no setting '{_short(dotted)}': {_nearest(wrong, _keys(path), '.'.join(path))}{more}"
    words = _in_words(first["type"], first.get("ctx", {}), dotted) or first["msg"].removeprefix("Value error, ")
    return f"setting '{dotted}': {words[0].lower()}{words[1:]}, got {_short(repr(first['input']))}{more}"


def _in_words(kind: str, bounds: Mapping[str, Any], dotted: str) -> str:
    """Return what a setting should be, for the kinds of complaint whose own words are Python's; else nothing."""
    for start, words in {
        "int_": "should be a whole number",
        "float_": "should be a number",
        "finite_number": "should be a number",
        "bool_": "should be true or false",
        "tuple_type": "should be a list, such as [256, 256]",
        "model_": f"is a group of settings; give one of them, as {dotted}.NAME=VALUE",
        "dict_": f"is a group of settings; give one of them, as {dotted}.NAME=VALUE",
        "string_type": "should be a text",
    }.items():
        if kind.startswith(start):
            return words
    limits = {"greater_than": "gt", "greater_than_equal": "ge", "less_than": "lt", "less_than_equal": "le"}
    if kind in limits:
        relation = {"gt": "greater than", "ge": "at least", "lt": "less than", "le": "at most"}[limits[kind]]
        return f"should be {relation} {bounds[limits[kind]]}"
    return f"should be {bounds['expected']}" if kind == "literal_error" else ""


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:60]}... ({len(text):,} characters)"


def _keys(path: Sequence[str]) -> list[str]:
    model: type[BaseModel] = RunConfig
    for key in path:
        annotation = model.model_fields[key].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        model = annotation
    return list(model.model_fields)


def _nearest(wrong: str, right: Mapping[str, Any] | Sequence[str], prefix: str = "") -> str:
    near = difflib.get_close_matches(wrong, list(right), n=1)
    if near:
        return f"did you mean '{prefix}.{near[0]}'?" if prefix else f"did you mean '{near[0]}'?"
    return f"available: {', '.join(right)}"


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
