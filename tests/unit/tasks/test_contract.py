"""Every built-in task and the example keep the contract, and each way of breaking it is told in a line of its own."""

from pathlib import Path

import pytest

import tasks
from benchmark import task_files
from tasks.contract import check_task
from tasks.errors import TaskContract, TaskError
from tasks.scene.hand import load_scene

EXAMPLE = Path(__file__).parents[3] / "examples" / "add_a_task.py"

BROKEN = {
    "action size": ("action_dim=30", "action_dim=28", r"the scene has 30 actuators; set action_dim = 30 in the card"),
    "observation size": (
        "observation_dim=36",
        "observation_dim=35",
        r"read gives observation \(3, 36\); expected an array of shape \(3, 35\); set observation_dim = 36",
    ),
    "goal steps": ("goal_steps=10", "goal_steps=200", r"goal_steps is 200; expected 1 to the horizon, 100"),
    "horizon": ("horizon=100", "horizon=0", r"horizon is 0; expected a whole number above 0"),
    "momentum": ("horizon=100", "horizon=100, ema_momentum=2.0", r"ema_momentum is 2\.0; expected 0 to 1"),
    "camera": ("vil_camera", "top", r"the scene has no camera 'top'; it has fixed, vil_camera"),
    "body": ('handled="Object"', 'handled="Ball"', r"the scene has no body 'Ball'; it has .*Object"),
    "target": ('target="target"', 'target="goal"', r"the scene has no body or site 'goal'"),
    "timestep": (
        "return spec",
        "spec.option.timestep = 0.004; return spec",
        r"the timestep is 0\.004 s; set spec\.option\.timestep = 0\.002 in build",
    ),
    "field without a key": (
        "    line = 0.2",
        '    field_name, line = "body_pos", 0.2',
        r"field_name is 'body_pos', the card's initial_state_field None; set both",
    ),
    "proprioception of other joints": (
        "proprioception=(0, 30)",
        "proprioception=(2, 32)",
        r"proprioception is not the slice of qpos that the card says; give qpos\[2:32\]",
    ),
    "a view": ("joints.copy()", "joints", r"an earlier proprioception changed with later steps; give a copy in read"),
    "reward that is no number": (
        "- 0.1 * norm(palm - ball)",
        "* np.nan",
        r"3 of 3 numbers of reward are NaN or infinite; check what read divides",
    ),
    "goal that is no flag": ("left < 0.0, never", "left, never", r"read gives goal of float64; expected bool"),
    "one flag for all": ("never, never)", "False, never)", r"read gives terminated a bool; expected an array of shape"),
    "no reading": ("return Reading(", "return (", r"read gives a tuple; return Reading\(observation, \.\.\.\)"),
    "global random numbers": (
        "generator.uniform(",
        "np.random.uniform(",
        r"the same seed gave another initial state; draw from the generator alone in draw",
    ),
    "nothing random": (
        "generator.uniform((-0.1, 0.0), (0.1, 0.1))",
        "0.1",
        r"all seeds gave the same observation; randomise a position in draw",
    ),
    "state of its own": (
        "        reward = ",
        "        self.line += 1e-3\n        reward = ",
        r"(reward|goal_measurement) differs after a state was restored; let read use the simulation alone",
    ),
    "background that moves": (
        "return spec",
        'spec.body("Object").pos[2] += 0.01 * self.background; return spec',
        r"another background gives another observation; let it change textures alone in build",
    ),
    "expert of another size": (
        "self.action_dim))",
        "4))",
        r"the expert gives actions \(3, 4\); expected finite numbers \(3, 30\)",
    ),
    "expert that sees the others": (
        "return actions",
        "return actions + np.mean(ball_x)",
        r"the expert's action depends on other observations or on earlier ones; let mean use each row alone",
    ),
    "an expert that fails": (
        "return Pusher(cls.card)",
        "return 1 / 0",
        r"ZeroDivisionError: division by zero \(.*py, ",
    ),
    "a number that is a text": (
        "goal_steps=10",
        'goal_steps="10"',
        r"TypeError: .*'<='.*; mend it in the task's class",
    ),
    "an error of its own": (
        "        reward = ",
        "        raise RuntimeError('no reward yet')\n        reward = ",
        r"RuntimeError: no reward yet \(.*broken\.py, line \d+\); mend it in the task's class",
    ),
}


def load(folder, source):
    path = folder / "broken.py"
    path.write_text(source)
    return task_files.load(f"{path}:Push")


@pytest.mark.parametrize("name", ["hammer", "pour", "relocate-mug"])
def test_built_in_tasks_keep_the_contract(name):
    check_task(tasks.get(name))


def test_the_example_keeps_the_contract_and_is_short():
    assert len(EXAMPLE.read_text().splitlines()) < 60
    check_task(task_files.load(f"{EXAMPLE}:Push"), draw=True)


@pytest.mark.parametrize("mistake", BROKEN)
def test_a_mistake_is_told_in_one_line(mistake, tmp_path):
    right, wrong, line = BROKEN[mistake]
    source = EXAMPLE.read_text()
    assert right in source
    kind = load(tmp_path, source.replace(right, wrong))
    with pytest.raises(TaskContract, match=rf"^task 'push-ball': {line}") as caught:
        check_task(kind)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("pos = [2, 2, 1]", "sees nothing but black; turn it to the scene"),
        ("fovy = 0.05", "sees no difference between initial states; show what draw randomises"),
    ],
)
def test_a_camera_that_does_not_see_the_task_is_told(change, line, tmp_path):
    source = EXAMPLE.read_text().replace("return spec", f'spec.camera("vil_camera").{change}; return spec')
    with pytest.raises(TaskContract, match=f"camera 'vil_camera' {line}"):
        check_task(load(tmp_path, source), draw=True)


def test_a_scene_that_the_hash_does_not_cover_is_told(tmp_path):
    spec = load_scene("adroit_relocate.xml", "paper")
    spec.meshdir, spec.texturedir = (
        str(Path(spec.modelfiledir, folder).resolve()) for folder in (spec.meshdir, spec.texturedir)
    )
    spec.compile()
    (tmp_path / "scene.xml").write_text(spec.to_xml())
    own = 'hand.mujoco.MjSpec.from_file(__file__.replace("broken.py", "scene.xml"))'
    source = EXAMPLE.read_text().replace('hand.load_scene("adroit_relocate.xml", self.physics)', own)
    with pytest.raises(
        TaskContract, match=r"the scene is read from .*; name what is read in the class, as in data_fil"
    ):
        check_task(load(tmp_path, source))
    check_task(load(tmp_path, source.replace("    line = 0.2", '    data_files, line = ("scene.xml",), 0.2')))


def test_a_task_without_an_expert_may_still_pass(tmp_path):
    source = EXAMPLE.read_text().replace("return Pusher(cls.card)", "return None")
    kind = load(tmp_path, source)
    check_task(kind)
    assert not tasks.has_expert("push-ball")
    with pytest.raises(TaskError, match="task 'push-ball' has no expert; give an expert's file, or demonstrations"):
        tasks.expert("push-ball")
