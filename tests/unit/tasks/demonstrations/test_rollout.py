"""Experts as arrays and files."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import tasks
from tasks.demonstrations.rollout import card_scores, evaluate
from tasks.errors import ExpertError
from tasks.experts import Expert, card_path, policy, read_card, shipped, shipped_card, shipped_names


def make(sizes=(5, 8, 8, 3), seed=0):
    generator = np.random.default_rng(seed)
    arrays = {"log_std": generator.normal(size=sizes[-1])}
    for i in range(len(sizes) - 1):
        arrays |= {
            f"W{i}": generator.normal(size=(sizes[i + 1], sizes[i])),
            f"b{i}": generator.normal(size=sizes[i + 1]),
        }
    for side, size in (("in", sizes[0]), ("out", sizes[-1])):
        arrays |= {f"{side}_shift": generator.normal(size=size), f"{side}_scale": generator.uniform(0.5, 2, size=size)}
    return arrays


def by_hand(arrays, observation):
    hidden = [(o - s) / (c + 1e-8) for o, s, c in zip(observation, arrays["in_shift"], arrays["in_scale"], strict=True)]
    for i in range(3):
        hidden = [
            sum(w * h for w, h in zip(row, hidden, strict=True)) + b
            for row, b in zip(arrays[f"W{i}"], arrays[f"b{i}"], strict=True)
        ]
        if i < 2:
            hidden = [np.tanh(h) for h in hidden]
    return [s + c * h for s, c, h in zip(arrays["out_shift"], arrays["out_scale"], hidden, strict=True)]


def test_mean_and_sample_follow_the_formula():
    arrays = make()
    expert = Expert.from_arrays(arrays)
    observations, noise = np.random.default_rng(1).normal(size=(2, 4, 5))[..., :5]
    noise = noise[:, :3]
    expected = np.array([by_hand(arrays, row) for row in observations])
    np.testing.assert_allclose(expert.mean(observations), expected, rtol=1e-12)
    np.testing.assert_allclose(
        expert.sample(observations, noise), expected + np.exp(arrays["log_std"]) * noise, rtol=1e-12
    )
    np.testing.assert_array_equal(expert.sample(observations, np.zeros((4, 3))), expert.mean(observations))


@given(rows=st.integers(1, 40), seed=st.integers(0, 5))
@settings(deadline=None)
def test_a_row_does_not_depend_on_its_batch(rows, seed):
    expert = Expert.from_arrays(make((39, 32, 32, 28), seed))
    observations = np.random.default_rng(seed).normal(size=(rows, 39))
    together = expert.mean(observations)
    for i in range(rows):
        np.testing.assert_array_equal(together[i], expert.mean(observations[i : i + 1])[0])


@pytest.mark.parametrize("sizes", [(5, 3), (5, 8, 3), (5, 8, 8, 8, 3)])
def test_any_depth_round_trips(tmp_path, sizes):
    expert = Expert.from_arrays(make(sizes))
    stored = expert.save(tmp_path / "door.safetensors", {"task": "door"})
    assert Expert.load(tmp_path / "door.safetensors").sha256 == stored.sha256
    assert (stored.observation_dim, stored.action_dim) == (5, 3)


@pytest.mark.parametrize("precision", ["single", "half"])
def test_files_hold_what_save_returns(tmp_path, precision):
    path = tmp_path / "door.safetensors"
    expert = Expert.from_arrays(make())
    stored = expert.save(path, {"task": "door", "success": 0.97}, precision)
    loaded = Expert.load(path)
    assert loaded.sha256 == stored.sha256 == read_card(path)["sha256"] == expert.rounded(precision).sha256
    assert stored.sha256 != expert.sha256
    assert read_card(path)["success"] == 0.97
    assert card_path(path) == tmp_path / "door.json"
    observations = np.random.default_rng(0).normal(size=(6, 5))
    np.testing.assert_array_equal(loaded.mean(observations), stored.mean(observations))
    np.testing.assert_allclose(
        loaded.mean(observations), expert.mean(observations), atol=1e-5 if precision == "single" else 5e-2
    )
    assert sorted(file.name for file in tmp_path.iterdir()) == ["door.json", "door.safetensors"]


def test_the_hash_is_of_the_values():
    arrays = make()
    single = {name: np.float32(array) for name, array in arrays.items()}
    assert Expert.from_arrays(single).sha256 == Expert.from_arrays(arrays).rounded("single").sha256
    changed = {**arrays, "b0": arrays["b0"] + 1e-12}
    assert Expert.from_arrays(changed).sha256 != Expert.from_arrays(arrays).sha256
    assert Expert.from_arrays({**arrays, "n": 5, "m": 3}).sha256 == Expert.from_arrays(arrays).sha256


def test_arrays_are_copies_that_cannot_change():
    arrays = make()
    expert = Expert.from_arrays(arrays)
    before = expert.sha256
    arrays["W0"][:] = 0
    assert expert.sha256 == before
    with pytest.raises(ValueError, match="read-only"):
        expert.weights[0][0, 0] = 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"W1": np.zeros((8, 7))}, "layer 1"),
        ({"b2": np.zeros((3, 1))}, "layer 2"),
        ({"in_scale": np.ones(4)}, "observation_scale"),
        ({"out_shift": np.ones(4)}, "action_shift"),
        ({"log_std": np.ones((3, 1))}, "log_std"),
        ({"b0": np.full(8, np.nan)}, "not finite"),
        ({"b0": np.array(["x"] * 8)}, "does not hold numbers"),
        ({"conv": np.ones(1)}, "'conv' is not known"),
    ],
)
def test_wrong_arrays_are_refused(change, reason):
    with pytest.raises(ExpertError, match=reason):
        Expert.from_arrays({**make(), **change})


@pytest.mark.parametrize("name", ["W0", "W1", "b2", "in_shift", "log_std"])
def test_missing_arrays_are_named(name):
    arrays = make()
    del arrays[name]
    with pytest.raises(ExpertError, match=f"no array '{name}'"):
        Expert.from_arrays(arrays)


def test_wrong_observations_are_refused():
    with pytest.raises(ExpertError, match=r"expected \(n, 5\)"):
        Expert.from_arrays(make()).mean(np.zeros((2, 4)))


def test_half_precision_refuses_what_does_not_fit(tmp_path):
    with pytest.raises(ExpertError, match="not finite"):
        Expert.from_arrays({**make(), "b0": np.full(8, 1e6)}).save(tmp_path / "a.safetensors", {}, "half")


def test_broken_files_give_one_line(tmp_path):
    path = tmp_path / "door.safetensors"
    expert = Expert.from_arrays(make())
    expert.save(path, {})
    content = path.read_bytes()
    for broken in (b"", b"x", content[:40], content[:-8]):
        path.write_bytes(broken)
        with pytest.raises(ExpertError, match=r"door\.safetensors: ") as raised:
            Expert.load(path)
        assert "\n" not in str(raised.value)
    with pytest.raises(ExpertError, match="cannot be read"):
        Expert.load(tmp_path / "none.safetensors")
    path.write_bytes(content)
    card_path(path).write_text(json.dumps({"sha256": "0"}))
    with pytest.raises(ExpertError, match="does not match its card"):
        Expert.load(path)
    card_path(path).write_text("{")
    with pytest.raises(ExpertError, match="not a readable card"):
        Expert.load(path)
    card_path(path).unlink()
    assert Expert.load(path).sha256 == expert.rounded("single").sha256


def test_unwritable_folders_give_one_line(tmp_path):
    with pytest.raises(ExpertError, match="cannot be written"):
        Expert.from_arrays(make()).save(tmp_path / "none" / "door.safetensors", {})


def test_shipped_experts_are_found_in_the_package(tmp_path, monkeypatch):
    monkeypatch.setattr(policy.resources, "files", lambda package: tmp_path)
    with pytest.raises(ExpertError, match=r"no expert for task 'door': no expert ships"):
        shipped("door")
    stored = Expert.from_arrays(make()).save(tmp_path / "door.safetensors", {"success": 1.0})
    assert shipped_names() == ["door"]
    assert shipped("door").sha256 == stored.sha256
    assert shipped_card("door")["success"] == 1.0
    with pytest.raises(ExpertError, match="experts ship for door"):
        shipped("pen")


@pytest.mark.parametrize("name", shipped_names())
def test_what_ships_loads_and_is_described(name):
    assert shipped(name).sha256 == shipped_card(name)["sha256"]


@pytest.mark.parametrize("stochastic", [False, True])
def test_what_a_card_says_can_be_measured_again_from_its_seed(stochastic):
    said = card_scores(tasks.make("pen", slots=3), shipped("pen"), episodes=3, first_seed=7, stochastic=stochastic)
    returns, successes = evaluate(
        tasks.make("pen", slots=2), shipped("pen"), episodes=said["episodes"], first_seed=7, stochastic=stochastic
    )
    assert said["first_seed"] == 7
    assert said["success"] == successes.mean()
    np.testing.assert_allclose((said["return"], said["return_std"]), (returns.mean(), returns.std()), atol=0.006)


OTHER_SEEDS = 1_000_200_000  # beside those of any card
DEXMV = [name for name in shipped_names() if tasks.card(name).source == "DexMV"]


@pytest.mark.parametrize("name", shipped_names())
def test_cards_say_on_which_episodes_their_scores_were_measured(name):
    card = shipped_card(name)
    kinds = {"mean_action", "stochastic", "authors_mean_action"} | ({"mean_action_ycb"} if name in DEXMV else set())
    assert set(card["evaluation"]) == kinds
    for scores in card["evaluation"].values():
        assert set(scores) == {"episodes", "first_seed", "return", "return_std", "success"}
        assert scores["episodes"] >= 100
        assert scores["first_seed"] + scores["episodes"] <= OTHER_SEEDS
    assert card["iterations_done"] >= 0


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["mean_action", "stochastic"])
@pytest.mark.parametrize("name", shipped_names())
def test_scores_of_cards_hold_on_other_seeds(name, mode):
    said = shipped_card(name)["evaluation"][mode]
    task, stochastic = tasks.make(name, slots=50), mode == "stochastic"
    found = card_scores(task, shipped(name), episodes=100, first_seed=OTHER_SEEDS, stochastic=stochastic)
    table = [[round(one["success"] * one["episodes"]), one["episodes"]] for one in (said, found)]
    assert stats.fisher_exact([[hits, count - hits] for hits, count in table]).pvalue > 1e-3, (said, found)
    spread = math.hypot(*(one["return_std"] / math.sqrt(one["episodes"]) for one in (said, found)))
    assert abs(said["return"] - found["return"]) < 4 * spread, (said, found)
