"""Physics that breaks down ends its own episode and nothing else; and it does not break down by itself."""

import mujoco
import numpy as np
import pytest

import tasks
from tasks.base import Reading

NAMES = ["door", "pen", "pour", "place_inside", "relocate-foam_brick"]
SLOTS, BROKEN = 4, 2
OTHERS = [slot for slot in range(SLOTS) if slot != BROKEN]
SOAK_SLOTS = 20


def actions_of(task, steps, slots=SLOTS, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (steps, slots, task.card.action_dim))


def same(left, right, rows=slice(None)):
    for name, ours, theirs in zip(Reading._fields, left, right, strict=True):
        np.testing.assert_array_equal(ours[rows], theirs[rows], err_msg=name)


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, tmp_path):
    """The engine writes its warnings into the working folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(params=NAMES)
def twins(request):
    """Two equal tasks, a few steps into their episodes."""
    both = [tasks.make(request.param, slots=SLOTS) for _ in range(2)]
    for task in both:
        task.reset(range(SLOTS))
        for actions in actions_of(task, 4):
            task.step(actions)
    return both


def break_physics(task, field, value):
    task.batch.bind(field)[BROKEN] = value


@pytest.mark.parametrize(("field", "value"), [("qvel", 1e14), ("qvel", np.nan), ("qpos", np.inf)])
def test_a_broken_slot_is_flagged_and_the_others_go_on(twins, field, value):
    task, twin = twins
    actions = actions_of(task, 3, seed=1)
    before = task.get_state([BROKEN])
    break_physics(task, field, value)
    reading, expected = task.step(actions[0]), twin.step(actions[0])
    assert reading.unstable.tolist() == [slot == BROKEN for slot in range(SLOTS)]
    assert reading.terminated[BROKEN]
    assert not reading.goal[BROKEN]
    assert reading.reward[BROKEN] == 0
    for column in reading:
        assert np.isfinite(column).all()
    same(reading, expected, OTHERS)
    for left, right in zip(task.get_state([BROKEN]), before, strict=True):
        np.testing.assert_array_equal(left, right)
    later = [task.step(each) for each in actions[1:]]
    for reading, expected in zip(later, [twin.step(each) for each in actions[1:]], strict=True):
        same(reading, expected, OTHERS)
        assert not reading.unstable.any()


def test_a_broken_slot_stands_where_its_last_good_step_left_it(twins):
    """So its observation is that of the step before, and the next step goes on from there."""
    task, twin = twins
    actions = actions_of(task, 2, seed=1)
    present = twin.set_state(twin.get_state())
    break_physics(task, "qvel", np.nan)
    reading = task.step(actions[0])
    np.testing.assert_array_equal(reading.observation[BROKEN], present.observation[BROKEN])
    np.testing.assert_array_equal(reading.goal_measurement[BROKEN], present.goal_measurement[BROKEN])
    same(task.step(actions[1, [BROKEN]], [BROKEN]), twin.step(actions[1, [BROKEN]], [BROKEN]))


def test_a_broken_slot_is_reset_and_used_again(twins):
    task, _ = twins
    fresh = tasks.make(task.card.name)
    break_physics(task, "qvel", 1e14)
    task.step(actions_of(task, 1)[0])
    same(task.reset([77], [BROKEN]), fresh.reset([77]))
    for actions in actions_of(task, 5, slots=1, seed=2):
        same(task.step(actions, [BROKEN]), fresh.step(actions))


def test_a_slot_that_breaks_when_stepped_with_some_others(twins):
    task, twin = twins
    actions = actions_of(task, 1, slots=2, seed=3)[0]
    break_physics(task, "qpos", np.nan)
    chosen = [BROKEN - 1, BROKEN]
    reading, expected = task.step(actions, chosen), twin.step(actions, chosen)
    assert reading.unstable.tolist() == [False, True]
    same(reading, expected, [0])
    resting = [slot for slot in range(SLOTS) if slot not in chosen]
    np.testing.assert_array_equal(task.batch.state[resting], twin.batch.state[resting])


def test_all_slots_may_break_at_once(twins):
    task, _ = twins
    task.batch.bind("qvel")[:] = np.inf
    reading = task.step(actions_of(task, 1)[0])
    assert reading.unstable.all()
    assert reading.terminated.all()
    assert not reading.reward.any()
    assert np.isfinite(reading.observation).all()


def test_a_reset_after_breaking_in_the_first_step():
    task = tasks.make("relocate-mug", slots=2)
    first = task.reset([5, 6])
    task.batch.bind("qvel")[0] = np.nan
    reading = task.step(np.zeros((2, 30)))
    assert reading.unstable.tolist() == [True, False]
    np.testing.assert_array_equal(reading.observation[0], first.observation[0])


# Soaks.


def soak(task, rounds, steps):
    """Random actions over the whole range, with resets between."""
    for number in range(rounds):
        task.reset(range(number * task.slots, (number + 1) * task.slots))
        for actions in actions_of(task, steps, task.slots, seed=number):
            reading = task.step(actions)
            assert not reading.unstable.any()
            assert np.isfinite(reading.observation).all()
            assert np.isfinite(reading.reward).all()
            assert np.isfinite(reading.goal_measurement).all()
        assert np.isfinite(task.batch.state).all()
        np.testing.assert_allclose(task.batch.bind("time"), steps * 0.01)


@pytest.mark.parametrize("name", tasks.names())
def test_random_actions_do_not_break_the_physics(name):
    soak(tasks.make(name, slots=6), rounds=1, steps=50)


@pytest.mark.slow
@pytest.mark.parametrize("pack", ["builtin", "ycb"])
@pytest.mark.parametrize("name", tasks.names())
def test_many_random_actions_do_not_break_the_physics(request, name, pack):
    if pack == "ycb" and tasks.card(name).source == "Adroit":
        pytest.skip("the Adroit scenes have their own objects")
    make = tasks.make if pack == "builtin" else request.getfixturevalue("make_ycb")
    soak(make(name, slots=SOAK_SLOTS), rounds=10, steps=100)


def test_the_engine_does_reset_what_diverges():
    """What the flag relies on: without it a simulation would start again unnoticed."""
    task = tasks.make("pen")
    data = mujoco.MjData(task.model)
    data.time, data.qvel[:] = 3.0, 1e14
    mujoco.mj_step(task.model, data)
    assert data.time < 1.0
