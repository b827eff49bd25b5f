"""One record a task: every number of the paper that differs between tasks, in one place; and the groups of tasks.

Source: H-InDex, appendix tables; the released training configurations.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Pack = Literal["builtin", "ycb"]
PACKS: tuple[Pack, ...] = ("builtin", "ycb")


@dataclass(frozen=True, kw_only=True)
class TaskCard:
    """What a task is, apart from its scene.

    Attributes:
        name: the name on the command line.
        paper_name: the name in the paper's tables and in the released code; empty for a task that the paper lacks.
        summary: one line for a reader.
        source: the suite the scene comes from, for people.
        action_dim: number of actuators; actions lie in [-1, 1].
        observation_dim: length of the privileged state observation.
        proprioception: the slice ``qpos[start:stop]`` (radians, metres) that joins the image feature.
        camera: the camera that the policy sees through.
        horizon: control steps of an episode (0.01 s each) in training and evaluation.
        goal_steps: an episode succeeds when its goal flag is on in at least this many steps.
        success_rule: the same in words.
        time_limit_is_terminal: whether reaching the horizon bootstraps with zero (released code: Adroit yes).
        iterations: DAPG iterations of the paper's run.
        trajectories_per_iteration: trajectories sampled for each of them.
        demonstrations: demonstrations of the paper's run.
        ema_momentum: momentum of Stage 3 (paper table 4).
        ema_streams: sampling processes of the released run, each with its own running statistics.
        initial_state_field: the key under which a demonstration stores the model field that the reset randomised;
            None where it randomises joint positions only.
        scene: options of the scene and their values in the released rollouts and evaluations.
        demonstration_scene: the same in the released demonstrations, where they differ.
        demonstration_horizon: control steps of a released demonstration; None where they are recordings.
        recorded_state: names and sizes of the initial states in published recordings (DAPG, D4RL, Minari); empty where
            nobody published any.
        packs: the packs of objects that the scene can have.
        adaptation_frames: the most frames of a video in the released Stage 2; None for whole episodes.
        adaptation_camera: the camera of the released Stage 2, if it is not the policy's.
        training_background: what background 0 shows, in words; None for the table arena's.
        in_words: the title, where the name in words could be taken for another task's.
        short_title: the title for narrow figures; by default the title.
        module: the module in `tasks` of a built-in task, if it is not its family's name.
        results_version: raised when the numbers that this task gives with the built-in objects change.
        ycb_results_version: the same with the official meshes.
    """

    name: str
    paper_name: str = ""
    summary: str
    source: str = "outside"
    action_dim: int
    observation_dim: int
    proprioception: tuple[int, int]
    camera: str
    horizon: int
    goal_steps: int
    success_rule: str
    time_limit_is_terminal: bool = False
    iterations: int = 100
    trajectories_per_iteration: int = 100
    demonstrations: int = 25
    ema_momentum: float = 0.0
    ema_streams: int = 8
    initial_state_field: str | None = None
    scene: Mapping[str, float] = field(default_factory=dict, hash=False)
    demonstration_scene: Mapping[str, float] = field(default_factory=dict, hash=False)
    demonstration_horizon: int | None = None
    recorded_state: Mapping[str, int] = field(default_factory=dict, hash=False)
    packs: tuple[Pack, ...] = ("builtin",)
    adaptation_frames: int | None = None
    adaptation_camera: str | None = None
    training_background: str | None = "own table"
    in_words: str = ""
    short_title: str = ""
    module: str = ""
    results_version: int = 1
    ycb_results_version: int = 1

    def results_version_with(self, objects: Pack) -> int:
        """The results version of this task with a pack of objects; part of the identity of whatever it gives."""
        return self.ycb_results_version if objects == "ycb" else self.results_version

    @property
    def title(self) -> str:
        """The name in words, for figures."""
        return self.in_words or self.name.replace("-", " ").replace("_", " ")

    @property
    def family(self) -> str:
        """What tasks that differ in their object alone have in common: the name up to the first hyphen."""
        return self.name.partition("-")[0]

    @property
    def released_objects(self) -> Pack:
        """The pack of objects of the paper's scenes."""
        return self.packs[-1]

    @property
    def has_one_scene(self) -> bool:
        """Whether neither objects nor options change the scene, so that any demonstration of the task fits it."""
        return len(self.packs) == 1 and not self.scene

    @property
    def proprioception_dim(self) -> int:
        """Length of the proprioception."""
        start, stop = self.proprioception
        return stop - start


HAMMER = TaskCard(
    name="hammer",
    paper_name="hammer-v0",
    summary="grasp a hammer and drive a nail into a board",
    source="Adroit",
    action_dim=26,
    observation_dim=46,
    proprioception=(2, 26),
    camera="top",
    horizon=200,
    goal_steps=26,
    success_rule="nail within 0.01 m of its goal on more than 25 steps",
    time_limit_is_terminal=True,
    iterations=100,
    trajectories_per_iteration=100,
    demonstrations=25,
    ema_momentum=0.1,
    ema_streams=4,
    initial_state_field="board_pos",
    recorded_state={"qpos": 33, "qvel": 33, "board_pos": 3},
    adaptation_frames=150,
)

DOOR = TaskCard(
    name="door",
    paper_name="door-v0",
    summary="turn a latch and swing a door open",
    source="Adroit",
    action_dim=28,
    observation_dim=39,
    proprioception=(4, 28),
    camera="top",
    horizon=200,
    goal_steps=26,
    success_rule="hinge beyond 1.4 rad on more than 25 steps",
    time_limit_is_terminal=True,
    iterations=200,
    trajectories_per_iteration=100,
    demonstrations=25,
    ema_momentum=0.0,
    ema_streams=4,
    initial_state_field="door_body_pos",
    recorded_state={"qpos": 30, "qvel": 30, "door_body_pos": 3},
    adaptation_frames=150,
)

PEN = TaskCard(
    name="pen",
    paper_name="pen-v0",
    summary="turn a pen in the hand to a wanted orientation",
    source="Adroit",
    action_dim=24,
    observation_dim=45,
    proprioception=(0, 24),
    camera="vil_camera",
    horizon=100,
    goal_steps=21,
    success_rule="cosine between pen and target axes above 0.95 on more than 20 steps",
    time_limit_is_terminal=True,
    iterations=400,
    trajectories_per_iteration=200,
    demonstrations=25,
    ema_momentum=0.0,
    ema_streams=4,
    initial_state_field="desired_orien",
    recorded_state={"qpos": 30, "qvel": 30, "desired_orien": 4},
    adaptation_frames=100,
)

POUR = TaskCard(
    name="pour",
    paper_name="pour",
    summary="pour a mug's particles into a tank",
    source="DexMV",
    action_dim=30,
    observation_dim=43,
    proprioception=(0, 30),
    camera="backview",
    horizon=100,
    goal_steps=10,
    success_rule="at least 0.3 of the particles in the tank on 10 steps",
    time_limit_is_terminal=False,
    iterations=400,
    trajectories_per_iteration=200,
    demonstrations=50,
    ema_momentum=0.0,
    ema_streams=8,
    initial_state_field=None,
    scene={"tank_height": 0.12},
    demonstration_scene={"tank_height": 0.08},
    demonstration_horizon=100,
    packs=PACKS,
    adaptation_frames=200,
    adaptation_camera="backview",
    training_background=None,
    ycb_results_version=2,  # 2: the mug's pieces in the released order
)

PLACE_INSIDE = TaskCard(
    name="place_inside",
    paper_name="place_inside",
    summary="put a banana into a large mug",
    source="DexMV",
    action_dim=30,
    observation_dim=43,
    proprioception=(0, 30),
    camera="backview",
    horizon=100,
    goal_steps=10,
    success_rule="banana within 0.1 m of the mug's axis on 10 steps",
    time_limit_is_terminal=False,
    iterations=300,
    trajectories_per_iteration=200,
    demonstrations=50,
    ema_momentum=0.001,
    ema_streams=8,
    initial_state_field=None,
    scene={"mug_scale": 1.7, "goal_distance": 0.1},
    demonstration_scene={"mug_scale": 1.5},
    demonstration_horizon=200,
    packs=PACKS,
    adaptation_frames=200,
    adaptation_camera="backview",
    training_background=None,
)


def _relocate(
    thing: str, camera: str, iterations: int, demonstrations: int, ema_momentum: float, ycb_results_version: int = 1
) -> TaskCard:
    return TaskCard(
        name=f"relocate-{thing}",
        paper_name=f"relocate-{thing}",
        summary=f"carry a {thing.replace('_', ' ')} to a point in the air",
        source="DexMV",
        action_dim=30,
        observation_dim=39,
        proprioception=(0, 30),
        camera=camera,
        horizon=100,
        goal_steps=10,
        success_rule="object within 0.1 m of its goal on 10 steps",
        time_limit_is_terminal=False,
        iterations=iterations,
        trajectories_per_iteration=200,
        demonstrations=demonstrations,
        ema_momentum=ema_momentum,
        ema_streams=8,
        initial_state_field="target_pos",
        demonstration_horizon=200,
        packs=PACKS,
        adaptation_frames=100,
        adaptation_camera="backview",
        training_background=None,
        short_title=f"rel. {thing.replace('_', ' ')}",
        ycb_results_version=ycb_results_version,
    )


# Version 2 of the mug and the clamp with the official meshes: their pieces in the released order.
RELOCATE_MUG = _relocate("mug", "backview", 100, 25, 0.0, ycb_results_version=2)
RELOCATE_FOAM_BRICK = _relocate("foam_brick", "frontview", 100, 25, 0.01)
RELOCATE_LARGE_CLAMP = _relocate("large_clamp", "frontview", 400, 50, 0.01, ycb_results_version=2)
RELOCATE_MUSTARD_BOTTLE = _relocate("mustard_bottle", "backview", 100, 25, 0.001)
RELOCATE_POTTED_MEAT_CAN = _relocate("potted_meat_can", "backview", 100, 25, 0.0)
RELOCATE_SUGAR_BOX = _relocate("sugar_box", "sideview", 300, 25, 0.001)
RELOCATE_TOMATO_SOUP_CAN = _relocate("tomato_soup_can", "backview", 100, 25, 0.01)

# The paper leaves it out; iterations, trajectories and momentum are of the release's relocate_dapg.yaml.
RELOCATE = TaskCard(
    name="relocate",
    summary="carry a ball to a point in the air",
    source="Adroit",
    action_dim=30,
    observation_dim=39,
    proprioception=(0, 30),
    camera="vil_camera",
    horizon=200,
    goal_steps=26,
    success_rule="ball within 0.1 m of its target on more than 25 steps",
    time_limit_is_terminal=True,
    iterations=300,
    trajectories_per_iteration=200,
    demonstrations=25,
    ema_momentum=0.01,
    ema_streams=4,
    recorded_state={"qpos": 36, "qvel": 36, "obj_pos": 3, "target_pos": 3},
    adaptation_frames=150,
    in_words="relocate (ball)",
    short_title="rel. ball",
    module="relocate_ball",
)

CARDS: dict[str, TaskCard] = {
    card.name: card
    for card in (
        *(HAMMER, DOOR, PEN, POUR, PLACE_INSIDE),
        *(RELOCATE_MUG, RELOCATE_FOAM_BRICK, RELOCATE_LARGE_CLAMP, RELOCATE_MUSTARD_BOTTLE),
        *(RELOCATE_POTTED_MEAT_CAN, RELOCATE_SUGAR_BOX, RELOCATE_TOMATO_SOUP_CAN),
        RELOCATE,
    )
}
"""The tasks that ship: the paper's in its order, then one that the field uses besides."""

GROUPS: dict[str, tuple[str, ...]] = {
    "all": tuple(card.name for card in CARDS.values() if card.paper_name),
    "adroit": tuple(card.name for card in CARDS.values() if card.source == "Adroit"),
    "every": tuple(CARDS),
}
"""Names of several tasks together: ``all`` of the paper, all from ``adroit``, and ``every`` task that ships."""
