"""Many simulations behave like as many single ones, and a state is everything their future depends on."""

import mujoco
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import tasks
from tasks.base import Reading

NAMES = ["hammer", "door", "pen", "relocate", "relocate-foam_brick", "pour", "place_inside"]
SEEDS = [11, 22, 33]
SLOTS = len(SEEDS)
STEPS = 8
CONTINUED = 20


def actions_of(task, steps, seed=0, slots=SLOTS):
    return np.random.default_rng(seed).uniform(-1, 1, (steps, slots, task.card.action_dim))


def same(left, right):
    for name, ours, theirs in zip(Reading._fields, left, right, strict=True):
        np.testing.assert_array_equal(ours, theirs, err_msg=name)


def rows(reading, chosen):
    return Reading(*(column[chosen] for column in reading))


def run(task, actions, slots=None):
    return [task.step(each, slots) for each in actions]


def started(name, slots=SLOTS, **options):
    task = tasks.make(name, slots=slots, **options)
    task.reset(SEEDS[:slots])
    return task


def alter(task, slots=None):
    """Other seeds, and some steps: nothing of what was there shall help a later `set_state`."""
    count = task.slots if slots is None else len(slots)
    task.reset([900 + number for number in range(count)], slots)
    run(task, actions_of(task, 3, seed=9, slots=count), slots)


# Slots and threads.


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_equals_as_many_batches_of_one(name):
    together, alone = tasks.make(name, slots=SLOTS), [tasks.make(name) for _ in SEEDS]
    first = together.reset(SEEDS)
    for slot, (task, seed) in enumerate(zip(alone, SEEDS, strict=True)):
        same(task.reset([seed]), rows(first, [slot]))
    for actions in actions_of(together, STEPS):
        reading = together.step(actions)
        for slot, task in enumerate(alone):
            same(task.step(actions[[slot]]), rows(reading, [slot]))
    assert not np.array_equal(reading.observation[0], reading.observation[1])


@pytest.mark.parametrize("name", tasks.names())
def test_twin_rollouts_are_equal_on_any_number_of_threads(name):
    twins = [started(name, threads=threads) for threads in (1, 1, 2, 3)]
    for actions in actions_of(twins[0], 4 * STEPS):
        first, *others = [twin.step(actions) for twin in twins]
        for other in others:
            same(first, other)
    for twin in twins[1:]:
        np.testing.assert_array_equal(twins[0].batch.state, twin.batch.state)


@pytest.mark.parametrize("name", NAMES)
def test_some_slots_step_while_the_others_rest(name):
    together, apart = started(name), started(name)
    actions = actions_of(together, STEPS)
    expected = run(together, actions)
    resting = apart.batch.state[1].copy()
    for each, reading in zip(actions, expected, strict=True):
        same(apart.step(each[[0, 2]], [0, 2]), rows(reading, [0, 2]))
    np.testing.assert_array_equal(apart.batch.state[1], resting)
    for each, reading in zip(actions, expected, strict=True):
        same(apart.step(each[[1]], [1]), rows(reading, [1]))


@pytest.mark.parametrize("name", NAMES)
def test_some_slots_are_reset_while_the_others_go_on(name):
    task, undisturbed = started(name), started(name)
    actions = actions_of(task, STEPS)
    run(task, actions[:4])
    expected = run(undisturbed, actions)[4:]
    fresh = task.reset([77], [1])
    same(fresh, tasks.make(name).reset([77]))
    for each, reading in zip(actions[4:], expected, strict=True):
        same(rows(task.step(each), [0, 2]), rows(reading, [0, 2]))


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_gives_the_same_episode_in_any_slot(name):
    task = tasks.make(name, slots=4)
    first = task.reset([5, 6, 5, 6])
    same(rows(first, [0, 1]), rows(first, [2, 3]))
    assert not np.array_equal(first.observation[0], first.observation[1])
    actions = np.tile(actions_of(task, STEPS, slots=1), (1, 4, 1))
    for reading in run(task, actions):
        same(rows(reading, [0, 1]), rows(reading, [2, 3]))
    same(task.reset([6], [3]), rows(first, [1]))


def test_readings_do_not_change_with_later_steps():
    for name in NAMES:
        task = started(name)
        readings = [task.reset(SEEDS), task.step(actions_of(task, 1)[0]), task.step(actions_of(task, 1)[0, :1], [0])]
        copies = [Reading(*(column.copy() for column in reading)) for reading in readings]
        alter(task)
        for reading, copy in zip(readings, copies, strict=True):
            same(reading, copy)


# States.


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("steps", [0, 1, STEPS])
@pytest.mark.parametrize("where", ["same slots", "other slots", "another task"])
def test_a_state_is_returned_to_bit_for_bit(name, steps, where):
    task = tasks.make(name, slots=5)
    alter(task)
    present = task.reset(SEEDS, [0, 1, 2])
    for actions in actions_of(task, steps, slots=SLOTS):
        present = task.step(actions, [0, 1, 2])
    state = task.get_state([0, 1, 2])
    later = actions_of(task, CONTINUED, seed=1)
    expected = run(task, later, [0, 1, 2])
    slots = [2, 3, 4] if where == "other slots" else [0, 1, 2]
    if where == "another task":
        task = tasks.make(name, slots=3, threads=2)
    alter(task, slots)
    same(task.set_state(state, slots), present)
    for reading, other in zip(run(task, later, slots), expected, strict=True):
        same(reading, other)


def test_states_after_resets_and_after_steps_mix():
    task = started("hammer")
    task.step(actions_of(task, 1)[0, :2], [0, 1])
    state = task.get_state()
    np.testing.assert_array_equal(state.stepped, [True, True, False])
    later = actions_of(task, STEPS, seed=1)
    expected = run(task, later)
    alter(task)
    task.set_state(state)
    for reading, other in zip(run(task, later), expected, strict=True):
        same(reading, other)


@pytest.mark.parametrize("name", NAMES)
def test_states_are_copies_and_survive_twice(name):
    task = started(name)
    run(task, actions_of(task, 2))
    state = task.get_state()
    alter(task)
    once = task.set_state(state)
    again = task.get_state()
    for left, right in zip(state, again, strict=True):
        np.testing.assert_array_equal(left, right)
    alter(task)
    same(task.set_state(again), once)


@pytest.mark.parametrize("name", NAMES)
def test_the_whole_simulation_returns_with_the_state(name):
    """Not only what the task reads: every pose that a frame is drawn from."""
    task, data, returned = started(name), *(mujoco.MjData(tasks.make(name).model) for _ in range(2))
    run(task, actions_of(task, STEPS))
    state = task.get_state()
    task.load_data(1, data)
    alter(task)
    task.set_state(state)
    task.load_data(1, returned)
    for field in (
        "qpos",
        "qvel",
        "time",
        "geom_xpos",
        "geom_xmat",
        "site_xpos",
        "cam_xpos",
        "light_xpos",
        "ten_length",
    ):
        np.testing.assert_array_equal(getattr(data, field), getattr(returned, field), err_msg=field)


@pytest.mark.parametrize("name", NAMES)
def test_restoring_an_initial_state_equals_the_reset(name):
    task = tasks.make(name, slots=SLOTS)
    first = task.reset(SEEDS)
    initial = [task.initial_state(slot) for slot in range(SLOTS)]
    actions = actions_of(task, STEPS)
    expected = run(task, actions)
    other = tasks.make(name, slots=4)
    same(other.restore(initial, [1, 2, 3]), first)
    for reading, reference in zip(run(other, actions, [1, 2, 3]), expected, strict=True):
        same(reading, reference)


@pytest.mark.parametrize("name", NAMES)
def test_restoring_keeps_positions_and_velocities(name):
    task = started(name)
    run(task, actions_of(task, STEPS))
    states = [task.initial_state(slot) for slot in range(SLOTS)]
    alter(task)
    task.restore(states)
    for key in ("qpos", "qvel"):
        assert np.abs(task.batch.bind(key)).max() > 0.01
        np.testing.assert_array_equal(task.batch.bind(key), [state[key] for state in states])


def test_initial_states_have_the_keys_of_the_demonstration_files():
    keys = {"hammer": ["board_pos"], "door": ["door_body_pos"], "pen": ["desired_orien"]}
    keys |= {"relocate-mug": ["target_pos"], "pour": [], "place_inside": []}
    for name, key in keys.items():
        assert set(tasks.make(name).initial_state(0)) == {"qpos", "qvel", *key}


# Any actions.


@pytest.fixture(scope="module")
def driven():
    return {name: tasks.make(name, slots=2) for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_any_actions_give_finite_readings(driven, name, data):
    task = driven[name]
    elements = st.one_of(st.floats(-1.5, 1.5), st.floats(allow_nan=False))
    actions = data.draw(arrays.arrays(np.float64, (3, 2, task.card.action_dim), elements=elements))
    task.reset([0, 1])
    for each in actions:
        reading = task.step(each)
        for column in reading:
            assert np.isfinite(column).all()
        np.testing.assert_array_equal(np.abs(task.batch.bind("ctrl")) <= 2.0, True)


@pytest.mark.parametrize("name", NAMES)
def test_violent_actions_never_stop_the_clock(name):
    """A simulation that diverges is reset by the engine, its clock with it."""
    task = tasks.make(name, slots=4, threads=2)
    generator = np.random.default_rng(0)
    for _ in range(60):
        reading = task.step(1e3 * generator.choice([-1.0, 1.0], (4, task.card.action_dim)))
    np.testing.assert_allclose(task.batch.bind("time"), 0.6)
    assert np.isfinite(reading.observation).all()
