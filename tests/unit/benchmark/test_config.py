"""The configuration: presets, overrides, and what it says to a user who mistypes."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

import tasks
from benchmark.config import HELD_OUT_SEED, LearnerSettings, RunConfig, configure
from benchmark.errors import ConfigError
from benchmark.presets import PRESETS


def door(*overrides, preset="quickstart", **values):
    return configure(preset, overrides, task="door", encoder="rrl", **values)


@pytest.mark.parametrize("task", tasks.names())
@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_complete_for_every_task(preset, task):
    resolved = configure(preset, task=task, encoder="rrl").resolve(tasks.card(task))
    assert resolved.preset == preset
    numbers = {**resolved.learner.model_dump(), **resolved.rollout.model_dump(), **resolved.demonstrations.model_dump()}
    assert None not in numbers.values()
    assert json.loads(resolved.model_dump_json())["learner"]["step_size"] == 0.05


def test_quickstart_has_full_episodes_and_demonstrations_enough_to_succeed_sometimes():
    config = door().resolve(tasks.card("door"))
    assert (config.learner.iterations, config.learner.trajectories_per_iteration) == (0, 4)
    assert config.rollout.horizon == tasks.card("door").horizon
    assert (config.demonstrations.episodes, config.learner.bc_epochs) == (15, 40)
    assert config.demonstrations.source == "expert"


@pytest.mark.parametrize("task", tasks.names())
def test_paper_takes_every_number_from_the_card(task):
    card = tasks.card(task)
    config = configure("paper", task=task, encoder="rrl").resolve(card)
    assert config.learner.iterations == card.iterations
    assert config.learner.trajectories_per_iteration == card.trajectories_per_iteration
    assert config.demonstrations.episodes == card.demonstrations
    assert config.rollout.horizon == card.horizon
    assert config.evaluation.episodes == 25
    assert config.rollout.quality == "paper"
    assert (config.demonstrations.source, config.demonstrations.successful_only) == ("imported", False)
    assert config.evaluation.seeds == "training"
    stage2 = config.adaptation
    assert (stage2.size, stage2.steps, stage2.batch, stage2.learning_rate) == (224, 100_000, 8, 1e-4)
    assert (stage2.cool_down, stage2.camera, stage2.shortcuts) == (0.0, "released", True)


def test_learner_defaults_are_the_papers():
    learner = LearnerSettings()
    assert (learner.gamma, learner.gae_lambda, learner.step_size) == (0.995, 0.97, 0.05)
    assert (learner.demonstration_weight, learner.demonstration_decay) == (1e-2, 0.95)
    assert (learner.policy_hidden, learner.value_hidden) == ((256, 256), (128, 128))
    assert (learner.fisher_damping, learner.conjugate_gradient_iterations) == (1e-4, 10)


def test_resolving_keeps_what_was_set():
    config = door("learner.iterations=7", "rollout.horizon=11", preset="paper").resolve(tasks.card("door"))
    assert (config.learner.iterations, config.rollout.horizon) == (7, 11)
    assert config.learner.trajectories_per_iteration == tasks.card("door").trajectories_per_iteration


def test_zero_iterations_are_not_taken_for_missing():
    assert door("learner.iterations=0").resolve(tasks.card("door")).learner.iterations == 0


def test_overrides_reach_into_groups_and_leave_the_rest():
    config = door("learner.step_size=0.02", "evaluation.video=false", "learner.policy_hidden=[64,32]")
    assert config.learner.step_size == 0.02
    assert config.evaluation.video is False
    assert config.learner.policy_hidden == (64, 32)
    assert config.learner.bc_epochs == PRESETS["quickstart"]["learner"]["bc_epochs"]


def test_a_value_that_is_no_json_is_a_string():
    assert door("demonstrations.source=/data/demos.npz").demonstrations.source == "/data/demos.npz"
    assert door("rollout.quality=paper").rollout.quality == "paper"


def test_the_last_override_counts():
    assert door("learner.gamma=0.5", "learner.gamma=0.9").learner.gamma == 0.9


def test_presets_are_not_changed_by_overrides():
    before = json.dumps(PRESETS)
    door("learner.iterations=9", "rollout.slots=1", "evaluation.episodes=3")
    assert json.dumps(PRESETS) == before


REFUSED = {
    "learner.stepsize=0.1": r"unknown setting 'learner\.stepsize': did you mean 'learner\.step_size'\?",
    "learnr.step_size=0.1": r"unknown setting 'learnr': did you mean 'learner'\?",
    "workrs=2": r"unknown setting 'workrs': did you mean 'workers'\?",
    "rollout.zzz=2": r"unknown setting 'rollout\.zzz': available: horizon, slots, group, quality",
    "learner.step_size=fast": r"setting 'learner\.step_size': should be a number, got 'fast'",
    "learner.iterations=2.5": r"setting 'learner\.iterations': should be a whole number, got 2\.5",
    "learner.iterations=-1": r"setting 'learner\.iterations': should be at least 0, got -1",
    "learner.step_size=0": r"setting 'learner\.step_size': should be greater than 0(\.0)?, got 0",
    "learner.step_size=NaN": r"setting 'learner\.step_size'",
    "learner.step_size=Infinity": r"setting 'learner\.step_size'",
    "learner.gamma=1.5": r"setting 'learner\.gamma': should be at most 1(\.0)?, got 1\.5",
    "learner.policy_hidden=64": r"setting 'learner\.policy_hidden': should be a list, such as",
    "learner.policy_hidden=[64,0]": r"setting 'learner\.policy_hidden\.1': should be at least 1",
    "learner.policy_hidden=[]": r"setting 'learner\.policy_hidden': tuple should have at least 1 item",
    "rollout.quality=best": r"setting 'rollout\.quality': should be 'paper', 'shadows' or 'fast', got 'best'",
    "evaluation.video=perhaps": r"setting 'evaluation\.video': should be true or false",
    "evaluation.episodes=null": r"setting 'evaluation\.episodes': should be a whole number, got None",
    "device=tpu": r"--set device=tpu: give --device tpu instead",
    "seed=3": r"--set seed=3: give --seed 3 instead",
    "learner=3": r"setting 'learner': is a group of settings; give one of them, as learner\.NAME=VALUE",
    "task.name=pen": r"--set task\.name=pen: 'task' is a value, not a group of settings",
    "learner.step_size": r"--set learner\.step_size: expected KEY=VALUE",
    "=3": r"--set =3: expected KEY=VALUE",
    "preset=paper": r"--set preset=paper: .*--preset paper",
}


@pytest.mark.parametrize("override", REFUSED)
def test_a_wrong_override_is_refused_in_one_line(override):
    with pytest.raises(ConfigError, match=REFUSED[override]) as refusal:
        door(override)
    assert "\n" not in str(refusal.value)


def test_several_mistakes_are_counted():
    with pytest.raises(ConfigError, match=r"\(and 2 more\)$"):
        door("learner.gamma=2", "learner.gae_lambda=2", "rollout.slots=0")


def test_an_unknown_preset_is_refused_with_a_suggestion():
    with pytest.raises(ConfigError, match=r"unknown preset 'papper': did you mean 'paper'\?"):
        door(preset="papper")


@pytest.mark.parametrize("seed", [-1, HELD_OUT_SEED, 10**30])
def test_seeds_stay_below_the_held_out_ones(seed):
    with pytest.raises(ConfigError, match="setting 'seed'"):
        door(seed=seed)


def test_the_configuration_is_frozen():
    config = door()
    with pytest.raises(ValidationError, match="frozen"):
        config.seed = 3
    with pytest.raises(ValidationError, match="frozen"):
        config.learner.step_size = 3.0


def test_training_and_held_out_seeds_do_not_meet():
    """Even the paper's longest run stays below the first held-out seed."""
    longest = max(tasks.card(name).iterations * tasks.card(name).trajectories_per_iteration for name in tasks.names())
    assert longest < HELD_OUT_SEED


@given(
    step_size=st.floats(min_value=1e-9, max_value=10),
    hidden=st.lists(st.integers(1, 512), min_size=1, max_size=4),
    seed=st.integers(0, HELD_OUT_SEED - 1),
)
def test_a_resolved_configuration_survives_its_json(step_size, hidden, seed):
    config = door(f"learner.step_size={step_size}", f"learner.policy_hidden={hidden}", seed=seed)
    resolved = config.resolve(tasks.card("door"))
    assert RunConfig.model_validate_json(resolved.model_dump_json()) == resolved


def test_an_unknown_device_is_refused():
    with pytest.raises(ConfigError, match=r"setting 'device': .*got 'tpu'"):
        configure("quickstart", task="door", encoder="rrl", device="tpu")


def test_scene_options_come_from_the_card_and_can_be_set():
    pour = configure("quickstart", task="pour", encoder="state").resolve(tasks.card("pour"))
    assert pour.scene == {"tank_height": 0.12}
    set_lower = configure("quickstart", ["scene.tank_height=0.08"], task="pour", encoder="state")
    assert set_lower.resolve(tasks.card("pour")).task_options()["tank_height"] == 0.08


def test_a_scene_option_of_another_task_is_refused():
    config = configure("quickstart", ["scene.tank_height=0.08"], task="door", encoder="state")
    with pytest.raises(ConfigError, match=r"door has no scene option 'tank_height'; it has none"):
        config.resolve(tasks.card("door"))


@pytest.mark.parametrize(
    ("task", "option", "rollouts", "demonstrations"),
    [("pour", "tank_height", 0.12, 0.08), ("place_inside", "mug_scale", 1.7, 1.5)],
)
def test_paper_demonstrates_in_the_released_scene_and_the_others_in_the_rollouts(
    task, option, rollouts, demonstrations
):
    card = tasks.card(task)
    for preset in PRESETS:
        config = configure(preset, task=task, encoder="state").resolve(card)
        assert config.task_options()[option] == rollouts
        expected = demonstrations if preset == "paper" else rollouts
        assert config.demonstration_options(card)[option] == expected


def test_paper_uses_the_official_meshes_and_the_others_the_shapes_that_ship():
    packs = {preset: configure(preset, task="pour", encoder="state").objects for preset in PRESETS}
    assert packs == {preset: "ycb" if preset == "paper" else "builtin" for preset in PRESETS}


@pytest.mark.parametrize("number", [-1, 11])
def test_backgrounds_run_from_0_to_10(number):
    with pytest.raises(ConfigError, match="setting 'background'"):
        door(background=number)
