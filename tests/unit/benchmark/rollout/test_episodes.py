"""Episodes in lockstep, held to episodes stepped by hand, one at a time."""

import multiprocessing
import threading
import time
from itertools import pairwise

import numpy as np
import pytest

import tasks
from benchmark.rollout.episodes import Clock, EpisodeRule, GroupThreads, rollout
from benchmark.rollout.simulators import Simulators
from benchmark.rollout.slots import SceneSettings
from benchmark.rollout.trajectory import joined

RULE = EpisodeRule(goal_steps=2, time_limit_is_terminal=True)
LIMITLESS = EpisodeRule(goal_steps=2, time_limit_is_terminal=False)

FALL = 9
"""Steps that a pen held beside the hand takes to fall below it."""


class Recorded:
    """An actor that takes given actions and remembers what it was shown: (episode, step) -> observation."""

    def __init__(self, actions):
        self.actions = actions
        self.shown = {}
        self.batches = []

    def __call__(self, observations, episodes, steps):
        self.batches.append(list(episodes))
        for observation, episode, step in zip(observations, episodes, steps, strict=True):
            self.shown[episode, step] = observation.copy()
        return np.stack([self.actions[episode][step] for episode, step in zip(episodes, steps, strict=True)])


def small_actions(episodes, steps, action_dim=24):
    return 0.3 * np.random.default_rng(3).standard_normal((episodes, steps, action_dim), dtype=np.float32)


def colours(frames, slots):
    """An encoder of three features: the mean colour of each frame."""
    return frames.mean((1, 2), dtype=np.float64).astype(np.float32)


def roll(simulators, actions, *, seeds=None, rule=RULE, encode=None, **options):
    actor = Recorded(actions)
    seeds = list(range(100, 100 + len(actions))) if seeds is None else seeds
    horizons = [len(each) for each in actions]
    found = rollout(simulators, seeds, actor, horizons=horizons, rule=rule, encode=encode, **options)
    return found, actor


def by_hand(name, start, actions, options=None):
    """One episode with nothing but the task: observations before each action, and what followed it."""
    task = tasks.make(name, **(options or {}))
    reading = task.reset([start]) if isinstance(start, int) else task.restore([start])
    rows = []
    for action in actions:
        before = reading
        reading = task.step(action[None])
        rows.append((before.observation[0], before.proprioception[0], reading.reward[0], reading.goal[0]))
        if reading.terminated[0]:
            break
    return [np.array(column) for column in zip(*rows, strict=True)], bool(reading.terminated[0])


def falling_pen():
    """An initial state whose pen is out of the hand."""
    state = tasks.make("pen").initial_state(0)
    state["qpos"][24:26] = 0.14, 0.3
    return state


def pen_at_its_target():
    """An initial state whose target points along the pen."""
    return tasks.make("pen").initial_state(0) | {"desired_orien": np.sqrt([0.5, 0.0, 0.5, 0.0])}


def assert_same(one, other):
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        for name in ("observations", "actions", "rewards", "goals"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name), strict=True)
        assert (a.terminal, a.seed, a.success) == (b.terminal, b.seed, b.success)


@pytest.mark.parametrize("name", tasks.names())
def test_a_trajectory_is_the_task_stepped_by_hand(name):
    card, options = tasks.card(name), {"reward": "dense"}
    actions = small_actions(3, 7, card.action_dim)
    with Simulators(SceneSettings(name, options, slots=2, images=False)) as simulators:
        found, _ = roll(simulators, actions)
    for trajectory, seed, taken in zip(found, range(100, 103), actions, strict=True):
        (observations, _, rewards, goals), _ = by_hand(name, seed, taken, options)
        assert trajectory.observations.dtype == np.float32
        np.testing.assert_array_equal(trajectory.observations, observations.astype(np.float32))
        np.testing.assert_array_equal(trajectory.actions, taken)
        np.testing.assert_array_equal(trajectory.rewards, rewards, strict=True)
        np.testing.assert_array_equal(trajectory.goals, goals, strict=True)
        assert trajectory.seed == seed
        assert len(set(trajectory.rewards)) == 7, "rewards that never change would not show a shift by a step"


def test_without_images_an_observation_can_be_the_proprioception_alone():
    actions = small_actions(2, 5)
    with Simulators(SceneSettings("pen", {"reward": "dense"}, slots=2, images=False)) as simulators:
        found, _ = roll(simulators, actions, privileged=False)
    for trajectory, seed, taken in zip(found, (100, 101), actions, strict=True):
        (_, proprioception, _, _), _ = by_hand("pen", seed, taken, {"reward": "dense"})
        np.testing.assert_array_equal(trajectory.observations, proprioception.astype(np.float32), strict=True)


def test_an_observation_is_the_feature_then_the_proprioception(pen_with_images):
    actions = small_actions(2, 5)
    frames = {}
    found, _ = roll(
        pen_with_images,
        actions,
        encode=colours,
        on_frame=lambda episode, frame: frames.setdefault(episode, []).append(frame.copy()),
    )
    for number, trajectory in enumerate(found):
        (_, proprioception, _, _), _ = by_hand("pen", 100 + number, actions[number])
        assert trajectory.observations.shape == (5, 3 + 24)
        np.testing.assert_array_equal(trajectory.observations[:, :3], colours(np.stack(frames[number]), []))
        np.testing.assert_array_equal(trajectory.observations[:, 3:], proprioception.astype(np.float32))


def test_the_actor_is_shown_what_is_stored(pen_with_images):
    found, actor = roll(pen_with_images, small_actions(4, 5), encode=colours)
    for number, trajectory in enumerate(found):
        for step, observation in enumerate(trajectory.observations):
            np.testing.assert_array_equal(actor.shown[number, step], observation)


def test_every_observed_frame_is_reported_once_and_in_order(pen_with_images):
    seen = []
    roll(
        pen_with_images,
        small_actions(5, 3),
        encode=colours,
        on_frame=lambda episode, frame: seen.append((episode, frame.shape, frame.dtype)),
    )
    assert {entry[1:] for entry in seen} == {((224, 224, 3), np.dtype(np.uint8))}
    assert sorted(entry[0] for entry in seen) == sorted(list(range(5)) * 3)


def test_frames_follow_the_motion(pen_with_images):
    """The frame at step t is drawn after action t - 1, not before."""
    seen = []
    actions = [np.ones((4, 24), np.float32)]
    roll(pen_with_images, actions, encode=colours, on_frame=lambda _, frame: seen.append(frame.copy()))
    assert all((one != other).any() for one, other in pairwise(seen))


def test_the_last_frame_is_not_drawn(pen_with_images, monkeypatch):
    """Four observations need four frames: the one of the beginning, and one after each action but the last."""
    renderer = pen_with_images._local.renderer
    drawn = []
    original = renderer.render
    monkeypatch.setattr(renderer, "render", lambda data, out=None: drawn.append(1) or original(data, out))
    roll(pen_with_images, small_actions(2, 4), encode=colours)
    assert len(drawn) == 8


@pytest.mark.parametrize(("images", "workers"), [(False, 1), (False, 3), (True, 2)], ids=["state", "state", "images"])
def test_workers_change_no_bit(images, workers, request):
    """Seven episodes of unequal length in three slots; with state observations, one ends early."""
    actions = [*small_actions(2, 6), np.ones((2 * FALL, 24), np.float32), *small_actions(4, 3)]
    seeds = None
    if not images:
        state = tasks.make("pen").initial_state(0)
        seeds = [state, state, falling_pen(), state, pen_at_its_target(), state, state]
    encode = colours if images else None
    alone = request.getfixturevalue("pen_with_images" if images else "pen_without_images")
    expected, expected_actor = roll(alone, actions, seeds=seeds, encode=encode)
    with Simulators(SceneSettings("pen", slots=3, images=images), workers) as simulators:
        found, actor = roll(simulators, actions, seeds=seeds, encode=encode)
    assert_same(found, expected)
    assert images or len(found[2]) == FALL
    assert actor.batches == expected_actor.batches


@pytest.mark.parametrize("slots", [1, 2, 5, 8])
def test_slots_change_no_state_trajectory(slots, pen_without_images):
    """The task computes each slot by itself; only an encoder's batches would differ."""
    actions = small_actions(5, 4)
    expected, _ = roll(pen_without_images, actions)
    with Simulators(SceneSettings("pen", slots=slots, images=False)) as simulators:
        found, _ = roll(simulators, actions)
    assert_same(found, expected)


def test_a_slot_runs_a_contiguous_share_in_order(pen_without_images):
    _, actor = roll(pen_without_images, small_actions(7, 2))
    # Shares of seven episodes over three slots: 0-1, 2-3, 4-6.
    assert actor.batches == [[0, 2, 4], [0, 2, 4], [1, 3, 5], [1, 3, 5], [6], [6]]


def test_results_come_in_the_order_of_the_starts(pen_without_images):
    actions = [*small_actions(1, 9), *small_actions(1, 1), *small_actions(1, 5), *small_actions(1, 2)]
    found, _ = roll(pen_without_images, actions, seeds=[31, 7, 19, 2])
    assert [trajectory.seed for trajectory in found] == [31, 7, 19, 2]
    assert [len(trajectory) for trajectory in found] == [9, 1, 5, 2]


def test_a_dropped_pen_ends_the_episode_and_the_slot_goes_on():
    starts, actions = [falling_pen(), 101, falling_pen()], small_actions(3, 3 * FALL)
    with Simulators(SceneSettings("pen", slots=1, images=False)) as simulators:
        found, actor = roll(simulators, actions, seeds=starts, rule=LIMITLESS)
    for trajectory, start, taken in zip(found, starts, actions, strict=True):
        (observations, _, rewards, _), _ = by_hand("pen", start, taken)
        np.testing.assert_array_equal(trajectory.observations, observations.astype(np.float32))
        np.testing.assert_array_equal(trajectory.rewards, rewards)
    assert [len(trajectory) for trajectory in found] == [FALL, 3 * FALL, FALL]
    assert [trajectory.terminal for trajectory in found] == [True, False, True]
    assert actor.batches == [[0]] * FALL + [[1]] * 3 * FALL + [[2]] * FALL
    rows = [trajectory.observations for trajectory in found]
    assert np.shares_memory(joined(rows), rows[0]), "they lie one behind the other in one array"


def test_the_other_slots_do_not_wait_for_the_one_that_ended(pen_without_images):
    state = tasks.make("pen").initial_state(0)
    starts = [falling_pen(), state, state, state, state, state]
    found, actor = roll(pen_without_images, small_actions(6, 2 * FALL), seeds=starts)
    assert [len(trajectory) for trajectory in found] == [FALL] + [2 * FALL] * 5
    # Slot 0 has episodes 0 and 1, slot 1 has 2 and 3, slot 2 has 4 and 5.
    assert actor.batches == ([[0, 2, 4]] * FALL + [[1, 2, 4]] * FALL + [[1, 3, 5]] * FALL + [[3, 5]] * FALL)


@pytest.mark.parametrize("rule", [RULE, LIMITLESS])
def test_the_card_says_whether_the_horizon_is_terminal(rule, pen_without_images):
    found, _ = roll(pen_without_images, small_actions(1, 2), rule=rule)
    assert found[0].terminal is rule.time_limit_is_terminal


def test_success_counts_goal_steps(pen_without_images):
    lengths = [np.zeros((steps, 24), np.float32) for steps in (1, 2, 3)]
    found, _ = roll(pen_without_images, lengths, seeds=[pen_at_its_target()] * 3)
    assert [int(trajectory.goals.sum()) for trajectory in found] == [1, 2, 3]
    assert [trajectory.success for trajectory in found] == [False, True, True]
    assert {trajectory.seed for trajectory in found} == {-1}
    assert found[2].rewards.tolist() == [50.0, 50.0, 50.0]


def test_episodes_start_from_given_states(pen_without_images):
    task = tasks.make("pen")
    observation = task.reset([17]).observation[0].astype(np.float32)
    found, _ = roll(pen_without_images, small_actions(1, 1), seeds=[task.initial_state(0)])
    np.testing.assert_array_equal(found[0].observations[0], observation)


def test_the_clock_counts_steps_and_stages(pen_with_images):
    clock, counts = Clock(), []
    roll(pen_with_images, small_actions(4, 3), encode=colours, clock=clock, on_steps=counts.append)
    assert clock.steps == sum(counts) == 12
    assert counts == [3, 3, 3, 1, 1, 1]
    assert clock.seconds.keys() == {"physics", "draw", "encode", "act", "wait"}
    assert all(seconds > 0 for seconds in clock.seconds.values())
    assert sum(clock.seconds.values()) == pytest.approx(clock.wall)


GROUPED = SceneSettings("pen", slots=5, group=2)


def drive(workers, **options):
    """Eleven episodes on three groups of slots; two end early. Return trajectories and what the encoder was shown."""
    shown = {}

    def encode(frames, slots):
        shown.setdefault(tuple(slots), []).append(frames.copy())
        return colours(frames, slots)

    starts = [falling_pen() if number in (2, 7) else tasks.make("pen").initial_state(0) for number in range(11)]
    with Simulators(GROUPED, workers, **options.pop("simulators", {})) as simulators:
        found, _ = roll(simulators, small_actions(11, 12), seeds=starts, encode=encode, **options)
    return found, shown


@pytest.fixture(scope="module")
def alone():
    return drive(0)


@pytest.mark.parametrize(("workers", "at_once"), [(1, 1), (2, 2), (3, 1), (4, 4)])
def test_groups_give_the_same_bits_for_any_number_of_workers(workers, at_once, alone):
    found, shown = drive(workers, threads=GroupThreads(at_once))
    assert_same(found, alone[0])
    assert shown.keys() == alone[1].keys()
    for slots, frames in shown.items():
        for one, other in zip(frames, alone[1][slots], strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("victims", [1, 2])
def test_a_worker_killed_in_the_middle_changes_nothing(victims, alone):
    lost, ticks = [], []

    def kill(count):
        ticks.append(count)
        if len(ticks) == 20:
            for process in multiprocessing.active_children()[:victims]:
                process.kill()

    found, _ = drive(2, on_steps=kill, simulators={"on_loss": lost.append})
    assert len(lost) == victims
    assert all("died (exit code -9); started again" in line for line in lost)
    assert_same(found, alone[0])
    assert not multiprocessing.active_children()


def test_no_more_groups_compute_at_once_than_allowed():
    lock, inside, most = threading.Lock(), [], []

    def encode(frames, slots):
        with lock:
            inside.append(slots)
            most.append(len(inside))
        time.sleep(0.02)
        with lock:
            inside.remove(slots)
        return colours(frames, slots)

    for at_once in (1, 2):
        most.clear()
        with Simulators(GROUPED, 2) as simulators:
            roll(simulators, small_actions(6, 4), encode=encode, threads=GroupThreads(at_once))
        assert max(most) == at_once


def test_threads_of_groups_are_prepared_and_leave():
    prepared, used = set(), set()

    def encode(frames, slots):
        used.add(threading.get_ident())
        return colours(frames, slots)

    before = threading.active_count()
    with Simulators(GROUPED, 2) as simulators:
        roll(
            simulators,
            small_actions(6, 2),
            encode=encode,
            threads=GroupThreads(2, lambda: prepared.add(threading.get_ident())),
        )
    assert used <= prepared
    assert threading.get_ident() not in used
    assert threading.active_count() == before


@pytest.mark.parametrize("workers", [0, 2])
def test_a_group_that_fails_stops_the_others(workers):
    calls = []

    def encode(frames, slots):
        calls.append(slots)
        if slots == [2, 3] and len(calls) > 8:
            raise ValueError("no more")
        return colours(frames, slots)

    with Simulators(GROUPED, workers) as simulators, pytest.raises(ValueError, match="no more"):
        roll(simulators, small_actions(5, 1000), encode=encode)
    assert len(calls) < 3000


def test_the_encoder_sees_all_running_slots_at_once(pen_with_images):
    calls = []

    def encode(frames, slots):
        calls.append((frames.shape, list(slots)))
        return colours(frames, slots)

    roll(pen_with_images, small_actions(4, 1), encode=encode)
    assert calls == [((3, 224, 224, 3), [0, 1, 2]), ((1, 224, 224, 3), [2])]


def test_actions_may_be_of_any_float_type_and_are_stored_single(pen_without_images):
    found, _ = roll(pen_without_images, small_actions(1, 2).astype(np.float64))
    assert found[0].actions.dtype == np.float32
