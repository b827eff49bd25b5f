"""The vectorised task over ``mujoco.batch``: many simulations of one scene, rewards as numpy over all of them.

A control step sets the controls once and takes five substeps of 2 ms. As in the released code nothing is recomputed
afterwards, so positions of bodies and sites lag the joint positions by one substep; rewards, observations and frames
all use these lagging poses.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from . import experts, registration
from .cards import PACKS, Pack, TaskCard
from .engine import Batch, mujoco
from .errors import TaskError
from .experts import Actor
from .forks import keep_in_children, require_process
from .scene.hand import Physics
from .subject import Subject

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
Slots = Sequence[int] | npt.NDArray[np.integer] | None
Reward = Literal["paper", "dense", "sparse"]

FRAME_SKIP = 5
INTEGRATION = mujoco.mjtState.mjSTATE_INTEGRATION


class Reading(NamedTuple):
    """What a control step gives, one row a slot.

    Attributes:
        observation: (n, observation_dim) float64, the privileged state.
        proprioception: (n, proprioception_dim) float64, joint positions in radians or metres.
        reward: (n,) float64.
        goal_measurement: (n,) float64, the quantity that the goal flag tests (metres, radians or a cosine).
        goal: (n,) bool, whether this step counts towards success.
        terminated: (n,) bool, whether the episode is over for good; time limits are the caller's.
        unstable: (n,) bool, whether the physics broke down in this step. The slot then stands where it stood before
            the step, the reward is 0 and the episode terminated.
    """

    observation: FloatArray
    proprioception: FloatArray
    reward: FloatArray
    goal_measurement: FloatArray
    goal: BoolArray
    terminated: BoolArray
    unstable: BoolArray


class Start(NamedTuple):
    """What a reset draws.

    Attributes:
        field: (k,) the randomised model field, a position in metres or a quaternion; (0,) where there is none, and one
            after the other where there are several.
        qpos: (nq,) joint positions; None for those of the model.
    """

    field: FloatArray
    qpos: FloatArray | None = None


class Placed(NamedTuple):
    """A field of the model that a reset sets, for each slot its own.

    Attributes:
        key: its name in initial states and demonstration files.
        field: ``body_pos`` (metres), ``body_quat`` or ``site_pos`` (metres).
        of: name of the body or site.
    """

    key: str
    field: Literal["body_pos", "body_quat", "site_pos"]
    of: str


class TaskState(NamedTuple):
    """Everything a simulation's future depends on, one row a slot.

    Attributes:
        rows: (n, nstate) float64, the integration states before the last substep (or after a reset).
        stepped: (n,) bool, whether the last substep has to be replayed to get to the present.
        field: (n, k) float64, the model field that the reset randomised.
    """

    rows: FloatArray
    stepped: BoolArray
    field: FloatArray


class Task(ABC):
    """Many simulations of one scene.

    Subclasses have a card and a subject (what the scene is about), and say how to build the scene, what a reset draws,
    and what is observed and rewarded.

    Args:
        slots: number of simulations.
        threads: threads that step them.
        physics: ``paper`` or ``native``, see `tasks.scene.hand.load_scene`.
        reward: one of `rewards`: ``paper``, which the paper's code trains on (sparse for hammer, door and pen, dense
            for the others), or ``dense``, which the code of those three computes and overwrites.
        objects: ``builtin`` shapes or the official ``ycb`` meshes; the Adroit scenes have their own objects.
        background: 0 for the training scene, 1 to 10 for the shifted ones; it changes nothing but the picture.

    Attributes:
        card: every number of the task; a class with a card of its own is registered under the card's name.
        subject: what the scene is about.
        rewards: the rewards to choose from.
        data_files: files beside the class's own that it reads, such as ``scene.xml`` and ``meshes/*.stl``; part of the
            hash of a task from a file.
        plugin_file: the file the class came from, if loaded as ``file.py:Class``.
        plugin_sha256: the hash of that file, of the modules beside it that it imports, and of its data files.
    """

    card: ClassVar[TaskCard]
    subject: ClassVar[Subject]
    rewards: ClassVar[tuple[Reward, ...]] = ("paper", "dense")
    data_files: ClassVar[tuple[str, ...]] = ()
    plugin_file: ClassVar[str | None] = None
    plugin_sha256: ClassVar[str | None] = None
    field_name: ClassVar[Literal["body_pos", "body_quat"] | None] = None
    field_body: ClassVar[str] = "world"

    def __init_subclass__(cls, **options: Any) -> None:
        """Register a class with a card of its own.

        Raises:
            TaskError: card or subject are missing or malformed, or the name belongs to another class.
        """
        super().__init_subclass__(**options)
        cls.plugin_file = cls.plugin_sha256 = None
        if "card" in cls.__dict__:
            registration.declare(cls)

    def __init__(
        self,
        *,
        slots: int = 1,
        threads: int = 1,
        physics: Physics = "paper",
        reward: Reward = "paper",
        objects: Pack = "builtin",
        background: int = 0,
    ) -> None:
        if slots < 1 or threads < 1:
            raise TaskError(f"{self.card.name}: slots and threads must be at least 1, got {slots} and {threads}")
        if physics not in ("paper", "native"):
            raise TaskError(f"{self.card.name}: physics is 'paper' or 'native', got {physics!r}")
        if reward not in self.rewards:
            known = " or ".join(map(repr, self.rewards))
            raise TaskError(f"{self.card.name}: reward is {known}, got {reward!r}")
        if objects not in PACKS:
            raise TaskError(f"{self.card.name}: objects are 'builtin' or 'ycb', got {objects!r}")
        self.slots = slots
        self.physics: Physics = physics
        self.reward_mode: Reward = reward
        self.objects: Pack = objects
        self.background = background
        self.model: mujoco.MjModel = self.build().compile()
        self.batch = Batch(self.model, slots, threads, persistent=True)
        self._threads, self._process = threads, os.getpid()
        keep_in_children(self)
        self._placed = {placed.key: self._expanded(placed) for placed in self.placed()}
        self._before = self.batch.state.copy()
        self._stepped = np.zeros(slots, bool)
        low, high = self.model.actuator_ctrlrange.T
        self._control_middle, self._control_half = (high + low) / 2, (high - low) / 2
        self._control = self.batch.bind("ctrl")
        self.bind_readings()
        self.reset(range(slots))

    # What a task defines.

    @abstractmethod
    def build(self) -> mujoco.MjSpec:
        """The scene, with the options of this task."""

    @abstractmethod
    def draw(self, generator: np.random.Generator) -> Start:
        """What one reset randomises."""

    @abstractmethod
    def bind_readings(self) -> None:
        """Bind the derived fields that `read` uses; they are refreshed by every step."""

    @abstractmethod
    def read(self, slots: npt.NDArray[np.integer] | slice) -> Reading:
        """Observation, reward and flags of the present, for these slots."""

    # What they share.

    @classmethod
    def expert(cls) -> Actor | None:
        """The policy that demonstrates this task: by default the one that ships under its name, None without one."""
        name = cls.card.name
        return experts.shipped(name) if name in experts.shipped_names() else None

    @classmethod
    def placed(cls) -> tuple[Placed, ...]:
        """What a reset sets in the model, in the order of `Start.field`: by default the class's field, if any."""
        key = cls.card.initial_state_field
        return (Placed(key, cls.field_name, cls.field_body),) if key and cls.field_name else ()

    @property
    def scene(self) -> dict[str, Any]:
        """What the physics depends on: the engine's mode, the pack of objects, the scene's own options."""
        return {
            "physics": self.physics,
            "objects": self.objects,
            **{name: getattr(self, name) for name in self.card.scene},
        }

    @property
    def results_version(self) -> int:
        """The results version of the card with this pack of objects."""
        return self.card.results_version_with(self.objects)

    def reset(self, seeds: Sequence[int], slots: Slots = None) -> Reading:
        """Start new episodes.

        Args:
            seeds: one seed a slot; the same seed gives the same initial state in any slot.
            slots: the slots to reset; all of them by default.
        """
        ids = self._ids(slots)
        if len(seeds) != len(ids):
            raise TaskError(f"{self.card.name}: {len(seeds)} seeds for {len(ids)} slots")
        starts = [self.draw(np.random.default_rng(int(seed))) for seed in seeds]
        fields = np.stack([start.field for start in starts])
        qpos = np.stack([self.model.qpos0 if start.qpos is None else start.qpos for start in starts])
        return self._begin(ids, fields, qpos)

    def initial_state(self, slot: int) -> dict[str, FloatArray]:
        """The joint state and the randomised field of a slot, in the keys of the DAPG demonstration files."""
        state = {name: self.batch.bind(name)[slot].copy() for name in ("qpos", "qvel")}
        return state | {key: values[slot].copy() for key, values in self._placed.items()}

    def restore(self, states: Sequence[Mapping[str, npt.ArrayLike]], slots: Slots = None) -> Reading:
        """Start episodes from given initial states, as `initial_state` returns them or demonstrations hold them.

        Raises:
            TaskError: a state lacks a key, has another size, or holds something else than finite numbers.
        """
        ids = self._ids(slots)
        if len(states) != len(ids):
            raise TaskError(f"{self.card.name}: {len(states)} initial states for {len(ids)} slots")
        sizes = {"qpos": self.model.nq, "qvel": self.model.nv}
        sizes |= {key: values.shape[-1] for key, values in self._placed.items()}
        stacked = {}
        for name, size in sizes.items():
            rows = [self._entry(state, name) for state in states]
            wrong = [row.size for row in rows if row.size != size]
            if wrong:
                raise TaskError(f"{self.card.name}: initial state needs {name!r} with {size} numbers, got {wrong[0]}")
            stacked[name] = np.stack(rows)
        qpos, qvel, *fields = stacked.values()
        return self._begin(ids, _side_by_side(fields, len(ids)), qpos, qvel)

    def step(self, actions: npt.ArrayLike, slots: Slots = None) -> Reading:
        """One control step of 0.01 s.

        Args:
            actions: (n, action_dim), clipped to [-1, 1] and mapped linearly onto each actuator's control range.
            slots: the slots to step; all of them by default.

        Raises:
            TaskError: an action is not a number, or the slots do not ascend.
        """
        self._require_threads()
        ids = None if slots is None else self._ids(slots)
        chosen = slice(None) if ids is None else ids
        if np.isnan(actions).any():
            raise TaskError(f"{self.card.name}: an action is not a number")
        self._control[chosen] = self._control_middle + self._control_half * np.clip(actions, -1.0, 1.0)
        began = self.batch.state[chosen, 0].copy()
        substeps = self.batch.rollout(FRAME_SKIP, record=[INTEGRATION], ids=ids)[INTEGRATION]
        broken = self._broken(began, substeps[:, -1])
        if broken.any():
            return self._step_back(np.arange(self.slots)[chosen], broken, substeps)
        self._before[chosen] = substeps[:, -2]
        self._stepped[chosen] = True
        return self.read(chosen)

    def get_state(self, slots: Slots = None) -> TaskState:
        """A copy of the full state, from which `set_state` continues bit for bit."""
        ids = self._ids(slots)
        fields = _side_by_side([values[ids] for values in self._placed.values()], len(ids))
        return TaskState(self._before[ids], self._stepped[ids], fields)

    def set_state(self, state: TaskState, slots: Slots = None) -> Reading:
        """Return to a state: its observation, its frame and all later steps are bit-equal to the original's."""
        self._require_threads()
        ids = self._ids(slots)
        self._write_field(ids, state.field)
        self.batch.reset(ids, stage=mujoco.mjtStage.mjSTAGE_NONE.value)
        self.batch.state[ids] = state.rows
        self._before[ids] = state.rows
        self._stepped[ids] = state.stepped
        for chosen, advance in ((ids[~state.stepped], self.batch.forward), (ids[state.stepped], self.batch.step)):
            if len(chosen):
                advance(chosen)
        return self.read(ids)

    def _broken(self, began: FloatArray, rows: FloatArray) -> BoolArray:
        """Whether simulations broke down since the times ``began`` (n,): a bad number, or MuJoCo reset or stopped."""
        lag = np.abs(rows[:, 0] - began - FRAME_SKIP * self.model.opt.timestep)
        broken: BoolArray = ~((lag < self.model.opt.timestep / 2) & np.isfinite(rows).all(axis=1))
        return broken

    def _step_back(self, ids: npt.NDArray[np.integer], broken: BoolArray, substeps: FloatArray) -> Reading:
        """Keep the good slots' steps, and return the broken ones to the state that their last step began with."""
        good = ids[~broken]
        self._before[good] = substeps[~broken, -2]
        self._stepped[good] = True
        self.set_state(self.get_state(ids[broken]), ids[broken])
        reading = self.read(ids)
        return reading._replace(
            reward=np.where(broken, 0.0, reading.reward),
            goal=reading.goal & ~broken,
            terminated=reading.terminated | broken,
            unstable=broken,
        )

    def load_data(self, slot: int, data: mujoco.MjData) -> None:
        """Copy a slot's simulation into ``data``, to render it."""
        self.batch.get_data(slot, data)

    def _begin(
        self,
        ids: npt.NDArray[np.integer],
        fields: FloatArray,
        qpos: FloatArray,
        qvel: FloatArray | None = None,
    ) -> Reading:
        self._require_threads()
        self._write_field(ids, fields)
        self.batch.reset(ids, stage=mujoco.mjtStage.mjSTAGE_NONE.value)
        self.batch.bind("qpos")[ids] = qpos
        if qvel is not None:
            self.batch.bind("qvel")[ids] = qvel
        self._before[ids] = self.batch.state[ids]
        self._stepped[ids] = False
        self.batch.forward(ids)
        return self.read(ids)

    def _expanded(self, placed: Placed) -> FloatArray:
        """Give each slot its own field: (slots, k), live."""
        element = self.model.site(placed.of) if placed.field == "site_pos" else self.model.body(placed.of)
        values: FloatArray = self.batch.expand(placed.field)[:, element.id]
        return values

    def _write_field(self, ids: npt.NDArray[np.integer], fields: FloatArray) -> None:
        first = 0
        for values in self._placed.values():
            last = first + values.shape[-1]
            values[ids] = fields[:, first:last]
            first = last
        if self._placed:
            self.batch.set_const(ids)

    def _entry(self, state: Mapping[str, npt.ArrayLike], name: str) -> FloatArray:
        """One array of an initial state, flat; empty where it has none of that name."""
        try:
            entry: FloatArray = np.asarray(state.get(name, ()), float).ravel()
        except (TypeError, ValueError):
            raise TaskError(f"{self.card.name}: {name!r} of an initial state is no array of numbers") from None
        if not np.isfinite(entry).all():
            raise TaskError(f"{self.card.name}: {name!r} of an initial state is not finite")
        return entry

    def _require_threads(self) -> None:
        if self._threads > 1:
            require_process(self._process, f"{self.card.name}: the simulation's threads stayed")

    def _ids(self, slots: Slots) -> npt.NDArray[np.integer]:
        if slots is None:
            return np.arange(self.slots)
        ids = np.asarray(slots, dtype=np.intp)
        if len(ids) and (ids[0] < 0 or ids[-1] >= self.slots or (ids[1:] <= ids[:-1]).any()):
            raise TaskError(f"{self.card.name}: slots must ascend within 0 to {self.slots - 1}, got {ids.tolist()}")
        return ids

    def _site(self, name: str) -> int:
        return cast(int, self.model.site(name).id)


def _side_by_side(fields: Sequence[FloatArray], count: int) -> FloatArray:
    """(count, k): several fields of as many slots, one after the other; k is 0 without any."""
    return np.concatenate([np.empty((count, 0)), *fields], axis=1)


def norm(vectors: FloatArray) -> FloatArray:
    """Euclidean length over the last axis: (n, k) -> (n,)."""
    lengths: FloatArray = np.sqrt(np.einsum("...i,...i->...", vectors, vectors))
    return lengths
