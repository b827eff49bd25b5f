"""Demonstrations: storing, importing, collecting, replaying; with a tiny task in place of the simulator."""

from types import SimpleNamespace
from typing import ClassVar, NamedTuple

import numpy as np
import pytest

from tasks.demonstrations.dataset import Demonstrations, Episode
from tasks.demonstrations.rollout import collect, evaluate, replay
from tasks.errors import DemonstrationError, TaskError
from tasks.experts import Expert


class Reading(NamedTuple):
    observation: np.ndarray
    proprioception: np.ndarray
    reward: np.ndarray
    goal_measurement: np.ndarray
    goal: np.ndarray
    terminated: np.ndarray
    unstable: np.ndarray


class PointTask:
    """A point to bring to the origin: position += 0.1 * action; it is lost beyond 2.4."""

    card = SimpleNamespace(name="point", horizon=30, action_dim=2, observation_dim=4, goal_steps=5, demonstrations=3)
    results_version = 1

    scene: ClassVar = {"physics": "paper"}

    def __init__(self, slots):
        self.slots = slots
        self.position, self.wind = np.zeros((slots, 2)), np.zeros((slots, 2))
        self.steps = 0

    def reset(self, seeds, slots=None):
        states = []
        for seed in seeds:
            generator = np.random.default_rng(seed)
            states.append({"qpos": generator.uniform(-2, 2, 2), "qvel": np.zeros(2), "wind": generator.normal(size=2)})
        return self.restore(states, slots)

    def restore(self, states, slots=None):
        ids = list(range(self.slots)) if slots is None else slots
        assert len(states) == len(ids)
        for state, slot in zip(states, ids, strict=True):
            self.position[slot], self.wind[slot] = state["qpos"], state["wind"]
        return self.read(ids)

    def initial_state(self, slot):
        return {"qpos": self.position[slot].copy(), "qvel": np.zeros(2), "wind": self.wind[slot].copy()}

    def step(self, actions, slots=None):
        ids = list(range(self.slots)) if slots is None else slots
        assert actions.shape == (len(ids), 2)
        self.steps += len(ids)
        self.position[ids] += 0.1 * np.clip(actions, -1, 1) + 0.08 * self.wind[ids]
        return self.read(ids)

    def read(self, ids):
        distance = np.sqrt((self.position[ids] ** 2).sum(1))
        observation = np.concatenate([self.position[ids], self.wind[ids]], 1)
        never = np.zeros(len(ids), bool)
        return Reading(observation, self.position[ids], -distance, distance, distance < 0.5, distance > 2.4, never)


def expert(noise=-1.0):
    return Expert.from_arrays(
        {
            "W0": np.concatenate([-np.eye(2), np.zeros((2, 2))], 1),
            "b0": np.zeros(2),
            "in_shift": np.zeros(4),
            "in_scale": np.ones(4),
            "out_shift": np.zeros(2),
            "out_scale": np.ones(2),
            "log_std": np.full(2, noise),
        }
    )


def episode(length=4, seed=0, unseeded=False, **changes):
    generator = np.random.default_rng(seed)
    values = {
        "initial_state": {"qpos": generator.normal(size=3), "qvel": generator.normal(size=3)},
        "actions": generator.normal(size=(length, 2)),
        "observations": generator.normal(size=(length, 5)),
        "rewards": generator.normal(size=length),
        "goals": generator.random(length) > 0.5,
        "success": True,
        "seed": None if unseeded else seed,
    }
    return Episode(**{**values, **changes})


def same(left, right):
    assert (left.task, left.metadata) == (right.task, right.metadata)
    assert left.content_hash == right.content_hash
    for one, other in zip(left.episodes, right.episodes, strict=True):
        assert (one.success, one.seed) == (other.success, other.seed)
        assert one.initial_state.keys() == other.initial_state.keys()
        for name in one.initial_state:
            np.testing.assert_array_equal(one.initial_state[name], other.initial_state[name])
        for name in ("actions", "observations", "rewards", "goals"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
            assert getattr(one, name).dtype == getattr(other, name).dtype


# Records and files.


def test_files_round_trip(tmp_path):
    episodes = (episode(4, 1), episode(7, 2, success=False), episode(1, 3, unseeded=True))
    stored = Demonstrations("door", episodes, {"source": "test", "counts": {"kept": 3}})
    stored.save(tmp_path / "demos.npz")
    loaded = Demonstrations.load(tmp_path / "demos.npz")
    same(stored, loaded)
    assert loaded.success_rate == 2 / 3
    assert [len(one) for one in loaded.episodes] == [4, 7, 1]
    assert [file.name for file in tmp_path.iterdir()] == ["demos.npz"]


def test_the_hash_is_of_the_content(tmp_path):
    one = Demonstrations("door", (episode(4, 1), episode(5, 2)), {"source": "a"})
    assert one.content_hash == Demonstrations("door", (episode(4, 1), episode(5, 2)), {"source": "b"}).content_hash
    assert one.content_hash != Demonstrations("pen", one.episodes).content_hash
    assert one.content_hash != Demonstrations("door", one.episodes[::-1]).content_hash
    assert one.content_hash != Demonstrations("door", (episode(4, 1), episode(5, 2, success=False))).content_hash
    path = tmp_path / "demos.npz"
    one.save(path)
    with np.load(path) as file:
        np.savez(path, **{name: file[name] for name in file.files})
    assert Demonstrations.load(path).content_hash == one.content_hash


def test_first_keeps_the_order():
    stored = Demonstrations("door", tuple(episode(4, seed) for seed in range(3)))
    assert [one.seed for one in stored.first(2).episodes] == [0, 1]
    with pytest.raises(DemonstrationError, match="4 wanted, 3 there"):
        stored.first(4)


@pytest.mark.parametrize(
    "changes",
    [
        {"actions": np.zeros((3, 2))},
        {"rewards": np.zeros((4, 1))},
        {"goals": np.zeros(5, bool)},
        {"observations": np.zeros(4)},
        {"actions": np.full((4, 2), np.nan)},
        {"initial_state": {"qpos": np.array([np.inf])}},
    ],
)
def test_wrong_episodes_are_refused(changes):
    with pytest.raises(DemonstrationError):
        episode(4, **changes)


def test_mixed_episodes_are_refused():
    with pytest.raises(DemonstrationError, match="no episode"):
        Demonstrations("door", ())
    with pytest.raises(DemonstrationError, match="episode 1 has actions of 3"):
        Demonstrations("door", (episode(4), episode(4, actions=np.zeros((4, 3)))))


def test_broken_files_give_one_line(tmp_path):
    path = tmp_path / "demos.npz"
    Demonstrations("door", (episode(40),)).save(path)
    content = path.read_bytes()
    for broken in (b"", b"x", content[: len(content) // 2], content[:-30], b"\x80\x04}."):
        path.write_bytes(broken)
        with pytest.raises(DemonstrationError, match=r"demos\.npz: ") as raised:
            Demonstrations.load(path)
        assert "\n" not in str(raised.value)
    with pytest.raises(DemonstrationError, match="cannot be read"):
        Demonstrations.load(tmp_path / "none.npz")
    np.savez(path, actions=np.zeros(3))
    with pytest.raises(DemonstrationError, match="not a demonstrations file"):
        Demonstrations.load(path)
    np.savez(path, header=np.array({"a": 1}, dtype=object))
    with pytest.raises(DemonstrationError, match="not a demonstrations file"):
        Demonstrations.load(path)
    path.write_bytes(content)
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    arrays["actions"] = arrays["actions"] + 1
    np.savez(path, **arrays)
    with pytest.raises(DemonstrationError, match="content and header differ"):
        Demonstrations.load(path)


def test_unwritable_folders_give_one_line(tmp_path):
    with pytest.raises(DemonstrationError, match="cannot be written"):
        Demonstrations("door", (episode(),)).save(tmp_path / "none" / "demos.npz")


# Experts in their task.


def test_collecting_does_not_depend_on_the_slots():
    collected = [collect(PointTask(slots), expert(), episodes=6, first_seed=10) for slots in (1, 2, 5, 16)]
    for other in collected[1:]:
        same(collected[0], other)
    counts = collected[0].metadata["counts"]
    assert counts["kept"] == counts["successes"] == 6
    assert counts["attempts"] > 6


def test_collecting_keeps_successes_in_order_and_makes_no_attempt_in_vain():
    everything = collect(PointTask(3), expert(), episodes=40, first_seed=10, successful_only=False)
    assert [one.seed for one in everything.episodes] == list(range(10, 50))
    winners = [one.seed for one in everything.episodes if one.success]
    assert 0 < len(winners) < 40
    task = PointTask(7)
    seen = []
    kept = collect(task, expert(), episodes=6, first_seed=10, on_episode=lambda number, one: seen.append(number))
    assert [one.seed for one in kept.episodes] == winners[:6]
    assert kept.metadata["counts"]["attempts"] == winners[5] - 10 + 1 == len(seen)
    assert task.steps == sum(len(one) for one in everything.episodes[: len(seen)])


def test_episodes_end_at_termination_or_horizon():
    episodes = collect(PointTask(4), expert(), episodes=40, first_seed=0, successful_only=False).episodes
    lengths = np.array([len(one) for one in episodes])
    assert lengths.max() == 30
    assert lengths.min() < 30
    for one in episodes:
        assert one.success == (one.goals.sum() >= 5)
        assert one.actions.dtype == one.observations.dtype == np.float32
    short = collect(PointTask(4), expert(), episodes=3, first_seed=0, successful_only=False, horizon=4)
    assert {len(one) for one in short.episodes} == {4}
    assert short.metadata["horizon"] == 4


def test_observations_stand_before_their_actions():
    one = collect(PointTask(1), expert(), episodes=1, first_seed=3, stochastic=False, successful_only=False).episodes[0]
    np.testing.assert_array_equal(one.observations[0, :2], np.float32(one.initial_state["qpos"]))
    np.testing.assert_allclose(one.actions, expert().mean(one.observations), atol=1e-6)


def test_noise_is_the_seeds_own():
    one = collect(PointTask(2), expert(), episodes=2, first_seed=5, successful_only=False).episodes[1]
    noise = np.random.default_rng([6, 1]).standard_normal((30, 2))[: len(one)]
    np.testing.assert_allclose(one.actions, expert().sample(one.observations, noise), atol=1e-6)


def test_evaluation_agrees_with_collecting():
    episodes = collect(PointTask(3), expert(), episodes=12, first_seed=2, successful_only=False).episodes
    returns, successes = evaluate(PointTask(5), expert(), episodes=12, first_seed=2, stochastic=True)
    np.testing.assert_array_equal(returns, [one.total_reward for one in episodes])
    np.testing.assert_array_equal(successes, [one.success for one in episodes])
    still, _ = evaluate(PointTask(5), expert(), episodes=12, first_seed=2)
    assert not np.array_equal(still, returns)


def test_replay_repeats_what_was_collected():
    collected = collect(PointTask(3), expert(), episodes=9, first_seed=0, successful_only=False)
    replayed = replay(PointTask(4), collected)
    assert replayed.content_hash == collected.content_hash
    assert replayed.metadata["replayed"] is True


def test_replay_stops_at_termination_and_goes_beyond_the_horizon():
    away = Episode({"qpos": [1.95, 0], "qvel": [0, 0], "wind": [0, 0]}, np.tile([1.0, 0], (50, 1)), *blank(50))
    stay = Episode({"qpos": [0, 0], "qvel": [0, 0], "wind": [0, 0]}, np.zeros((50, 2)), *blank(50))
    lost, held = replay(PointTask(2), Demonstrations("point", (away, stay))).episodes
    assert len(lost) == 5
    assert len(held) == 50
    assert (lost.success, held.success) == (False, True)
    np.testing.assert_allclose(lost.observations[:, 0], 1.95 + 0.1 * np.arange(5), atol=1e-6)


def blank(length):
    return np.zeros((length, 4)), np.zeros(length), np.zeros(length, bool), False


def test_what_cannot_be_done_is_one_line():
    with pytest.raises(DemonstrationError, match=r"successes in 4 attempts, 3 wanted"):
        collect(PointTask(2), expert(noise=3.0), episodes=3, first_seed=0, max_attempts=4)
    with pytest.raises(DemonstrationError, match="must be 1 or more"):
        collect(PointTask(2), expert(), episodes=0, first_seed=0)
    with pytest.raises(DemonstrationError, match="must be 1 or more"):
        evaluate(PointTask(2), expert(), episodes=1, first_seed=-1)
    wrong = Demonstrations("door", (episode(),))
    with pytest.raises(DemonstrationError, match="do not fit point"):
        replay(PointTask(2), wrong)
    small = Expert.from_arrays(
        {**expert().arrays(), "W0": np.zeros((2, 3)), "in_shift": np.zeros(3), "in_scale": np.ones(3)}
    )
    with pytest.raises(TaskError, match="does not fit point"):
        evaluate(PointTask(2), small, episodes=1, first_seed=0)


def test_collecting_until_success_keeps_the_beginning_of_each_success():
    whole = collect(PointTask(3), expert(), episodes=6, first_seed=10)
    cut = collect(PointTask(3), expert(), episodes=6, first_seed=10, until_success=True)
    needed = PointTask(1).card.goal_steps
    assert [one.seed for one in cut.episodes] == [one.seed for one in whole.episodes]
    for short, full in zip(cut.episodes, whole.episodes, strict=True):
        assert short.goals.sum() == needed
        assert short.goals[-1]
        np.testing.assert_array_equal(short.actions, full.actions[: len(short)])
    assert any(len(short) < len(full) for short, full in zip(cut.episodes, whole.episodes, strict=True))
    assert (cut.metadata["until"], whole.metadata["until"]) == ("success", "horizon")
