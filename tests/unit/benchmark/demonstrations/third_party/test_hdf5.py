"""HDF5 demonstrations in D4RL's and Minari's layouts, written here from episodes of our own experts."""

import builtins
import sys

import numpy as np
import pytest

import tasks
from benchmark.demonstrations.third_party.hdf5 import is_hdf5
from benchmark.demonstrations.third_party.published import import_hdf5
from tasks import experts
from tasks.demonstrations.rollout import collect, replay
from tasks.errors import DemonstrationError

h5py = pytest.importorskip("h5py")

STEPS = 12


@pytest.fixture(scope="module")
def write_d4rl(hdf5_layouts):
    return hdf5_layouts.write_d4rl


@pytest.fixture(scope="module")
def write_minari(hdf5_layouts):
    return hdf5_layouts.write_minari


@pytest.fixture(scope="module", params=["door", "hammer", "pen"])
def recorded(request):
    """Three episodes of an expert, as our own demonstrations."""
    return _recorded(request.param)


@pytest.fixture(scope="module")
def door():
    return _recorded("door")


def _recorded(name):
    task = tasks.make(name, slots=3)
    return collect(task, experts.shipped(name), episodes=3, first_seed=5, horizon=STEPS, successful_only=False)


def assert_same(read, written, tolerance=0.0):
    for one, other in zip(read.episodes, written.episodes, strict=True):
        np.testing.assert_array_equal(one.actions, other.actions)
        np.testing.assert_array_equal(one.observations, other.observations)
        np.testing.assert_allclose(one.rewards, other.rewards, rtol=1e-6)
        assert one.initial_state.keys() == other.initial_state.keys()
        for name, value in one.initial_state.items():
            np.testing.assert_allclose(value, other.initial_state[name], atol=tolerance, rtol=0)


def test_d4rl_files_are_read(tmp_path, recorded, write_d4rl):
    path = tmp_path / "human-v1.hdf5"
    write_d4rl(path, recorded)
    read = import_hdf5(path, recorded.task, 3)
    assert_same(read, recorded, tolerance=1e-6)
    assert read.metadata["source"] == "D4RL file"
    assert read.metadata["counts"] == {"in_file": 3, "kept": 3}


@pytest.mark.parametrize("state", ["options", "state", "infos"])
def test_minari_files_are_read_wherever_they_keep_the_state(tmp_path, recorded, state, write_minari):
    path = tmp_path / "main_data.hdf5"
    write_minari(path, recorded, state)
    read = import_hdf5(path, recorded.task, 3)
    assert_same(read, recorded)
    assert read.metadata["source"] == "Minari file"


@pytest.mark.parametrize("layout", ["write_d4rl", "write_minari"])
def test_a_replay_gives_the_experts_episodes_again(tmp_path, door, layout, hdf5_layouts):
    getattr(hdf5_layouts, layout)(tmp_path / "data.hdf5", door)
    again = replay(tasks.make("door", slots=3), import_hdf5(tmp_path / "data.hdf5", "door", 3))
    for one, other in zip(again.episodes, door.episodes, strict=True):
        np.testing.assert_allclose(one.observations, other.observations, atol=1e-5)


def test_episodes_end_where_terminals_are_on_and_an_unfinished_one_is_left_out(tmp_path, door, write_d4rl):
    write_d4rl(tmp_path / "data.hdf5", door, unfinished=5, ends="terminals")
    read = import_hdf5(tmp_path / "data.hdf5", "door", 3)
    assert [len(episode) for episode in read.episodes] == [STEPS] * 3
    assert read.metadata["counts"]["in_file"] == 3
    with pytest.raises(DemonstrationError, match=r"4 demonstrations wanted, 3 in the file"):
        import_hdf5(tmp_path / "data.hdf5", "door", 4)


def test_only_the_wanted_episodes_are_read(tmp_path, door, write_minari):
    write_minari(tmp_path / "data.hdf5", door)
    with h5py.File(tmp_path / "data.hdf5", "a") as file:
        del file["episode_2/actions"]
    assert len(import_hdf5(tmp_path / "data.hdf5", "door", 2)) == 2
    with pytest.raises(DemonstrationError, match="episode_2/actions is missing"):
        import_hdf5(tmp_path / "data.hdf5", "door", 3)


def edit(path, change):
    with h5py.File(path, "a") as file:
        change(file)


def put(file, name, data):
    del file[name]
    file[name] = data


BROKEN_D4RL = {
    "no state": (lambda f: f.__delitem__("infos/qvel"), "no infos/qvel"),
    "no field": (lambda f: f.__delitem__("infos/door_body_pos"), "no infos/door_body_pos"),
    "no actions": (lambda f: f.__delitem__("actions"), "neither D4RL's layout"),
    "no ends": (lambda f: (f.__delitem__("timeouts"), f.__delitem__("terminals")), "no step ends an episode"),
    "text": (lambda f: put(f, "rewards", ["a"] * 36), "rewards is not an array of numbers"),
    "a group": (lambda f: (f.__delitem__("actions"), f.create_group("actions/x")), "actions is not an array"),
    "short": (lambda f: put(f, "observations", np.zeros((20, 39))), r"shape \(20, 39\)"),
    "flags differ": (lambda f: put(f, "timeouts", np.ones(7, bool)), "expected 36 rows"),
    "other task": (lambda f: put(f, "actions", np.zeros((36, 5))), r"actions have shape \(12, 5\), not \(T, 28\)"),
    "NaN": (lambda f: put(f, "actions", np.full((36, 28), np.nan)), "not finite"),
    "huge": (
        lambda f: (f.__delitem__("actions"), f.create_dataset("actions", (10**12, 28), "f4", chunks=(10, 28))),
        "1,000,000,000,000 steps",
    ),
    "wide": (
        lambda f: (f.__delitem__("rewards"), f.create_dataset("rewards", (36, 10**9), "f4", chunks=(1, 1000))),
        "more than an episode",
    ),
    "big pieces": (
        lambda f: (
            f.__delitem__("rewards"),
            f.create_dataset("rewards", (36, 10), "f4", chunks=(36, 10**7), maxshape=(36, None)),
        ),
        "pieces of more than",
    ),
    "outside": (
        lambda f: (f.__delitem__("actions"), f.__setitem__("actions", h5py.ExternalLink("b", "/x"))),
        "actions",
    ),
    "soft": (lambda f: (f.__delitem__("actions"), f.__setitem__("actions", h5py.SoftLink("/rewards"))), "actions"),
    "elsewhere": (
        lambda f: (
            f.__delitem__("actions"),
            f.create_dataset("actions", (36, 28), "f4", external=[("raw", 0, 36 * 28 * 4)]),
        ),
        "in other files",
    ),
}


@pytest.mark.parametrize("name", BROKEN_D4RL)
def test_other_d4rl_files_are_refused_in_one_line(tmp_path, door, name, write_d4rl):
    change, reason = BROKEN_D4RL[name]
    path = tmp_path / "data.hdf5"
    write_d4rl(path, door)
    edit(path, change)
    with pytest.raises(DemonstrationError, match=reason) as raised:
        import_hdf5(path, "door", 3)
    assert "\n" not in str(raised.value)
    assert str(raised.value).count(str(path)) == 1


def test_minari_files_without_the_initial_state_are_refused(tmp_path, door, write_minari):
    write_minari(tmp_path / "data.hdf5", door, state=None)
    with pytest.raises(DemonstrationError, match=r"no initial qpos .* give D4RL's file"):
        import_hdf5(tmp_path / "data.hdf5", "door", 3)


@pytest.mark.parametrize("name", ["observations", "rewards"])
def test_minari_episodes_whose_lengths_disagree_are_refused(tmp_path, door, name, write_minari):
    write_minari(tmp_path / "data.hdf5", door)
    edit(tmp_path / "data.hdf5", lambda file: put(file, f"episode_0/{name}", file[f"episode_0/{name}"][:-2]))
    with pytest.raises(DemonstrationError, match=r"11 observations and 12 actions|rewards \(10,\)"):
        import_hdf5(tmp_path / "data.hdf5", "door", 3)


def test_another_tasks_file_is_refused(tmp_path, door, write_d4rl):
    write_d4rl(tmp_path / "data.hdf5", door)
    with pytest.raises(DemonstrationError, match="no infos/board_pos"):
        import_hdf5(tmp_path / "data.hdf5", "hammer", 3)
    with pytest.raises(DemonstrationError, match="no demonstrations of 'pour'"):
        import_hdf5(tmp_path / "data.hdf5", "pour", 3)


def test_without_h5py_one_line_names_the_extra(tmp_path, door, monkeypatch, write_d4rl):
    write_d4rl(tmp_path / "data.hdf5", door)
    real = builtins.__import__

    def missing(name, *rest):
        if name == "h5py":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.delitem(sys.modules, "h5py")
    monkeypatch.setattr(builtins, "__import__", missing)
    assert is_hdf5(tmp_path / "data.hdf5")
    with pytest.raises(DemonstrationError, match=r'pip install "hindex-bench\[hdf5\]"'):
        import_hdf5(tmp_path / "data.hdf5", "door", 3)
