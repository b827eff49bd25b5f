"""DAPG's demonstrations: read as they are, or refused in one line."""

import pickle
import random

import numpy as np
import pytest

from benchmark.demonstrations.third_party.published import import_dapg
from tasks.errors import DemonstrationError


def dapg(count=3, **changes):
    generator = np.random.default_rng(0)
    recorded = []
    for i in range(count):
        length = 5 + i
        state = {"qpos": np.zeros(30), "qvel": np.zeros(30), "door_body_pos": generator.normal(size=3), "extra": 1}
        one = {
            "actions": generator.normal(size=(length, 28)),
            "observations": generator.normal(size=(length, 39)),
            "rewards": generator.normal(size=length),
            "init_state_dict": state,
        }
        recorded.append({**one, **changes})
    return recorded


@pytest.fixture
def dapg_file(tmp_path):
    def write(recorded, protocol=2):
        path = tmp_path / "door-v0_demos.pickle"
        path.write_bytes(pickle.dumps(recorded, protocol))
        return path

    return write


def test_dapg_files_are_imported(dapg_file):
    recorded = dapg()
    read = import_dapg(dapg_file(recorded), "door", episodes=2)
    assert len(read) == 2
    for one, original in zip(read.episodes, recorded, strict=False):
        np.testing.assert_array_equal(one.actions, np.float32(original["actions"]))
        np.testing.assert_array_equal(one.observations, np.float32(original["observations"]))
        np.testing.assert_array_equal(one.rewards, original["rewards"])
        assert sorted(one.initial_state) == ["door_body_pos", "qpos", "qvel"]
        np.testing.assert_array_equal(one.initial_state["door_body_pos"], original["init_state_dict"]["door_body_pos"])
        assert not one.success
        assert not one.goals.any()
    assert read.metadata["counts"] == {"in_file": 3, "kept": 2}
    assert read.metadata["replayed"] is False


def test_dapg_imports_the_papers_number_by_default(dapg_file):
    assert len(import_dapg(dapg_file(dapg(30)), "door")) == 25


@pytest.mark.parametrize(
    ("recorded", "task", "reason"),
    [
        (dapg(), "relocate-mug", "no demonstrations of 'relocate-mug' in DAPG's files"),
        (dapg(25), "hammer", "no 'board_pos'; is this a file of hammer"),
        (
            dapg(25, init_state_dict={"qpos": [0], "qvel": [0], "door_body_pos": [0]}),
            "door",
            "qpos has 1 numbers, not 30",
        ),
        (dapg(), "door", "25 demonstrations wanted, 3 in the file"),
        ({"a": 1}, "door", "not a list"),
        ([1, 2], "door", "not a list"),
        (dapg(25, init_state_dict=None), "door", "no init_state_dict"),
        (dapg(25, actions=np.zeros((5, 27))), "door", r"actions have shape \(5, 27\), not \(T, 28\)"),
        (dapg(25, actions="x"), "door", "does not hold numbers"),
        (dapg(25, rewards=np.zeros(3)), "door", "demonstration 0: episode"),
        (dapg(25, init_state_dict={"qpos": np.zeros(30), "qvel": np.zeros(30)}), "door", "no 'door_body_pos'"),
    ],
)
def test_other_dapg_files_are_refused(dapg_file, recorded, task, reason):
    with pytest.raises(DemonstrationError, match=reason) as raised:
        import_dapg(dapg_file(recorded), task)
    assert "\n" not in str(raised.value)


def test_hostile_dapg_files_are_refused(dapg_file, tmp_path):
    class Runs:
        def __reduce__(self):
            return exec, (f"open({str(tmp_path / 'probe')!r}, 'w')",)

    with pytest.raises(DemonstrationError, match="exec, which is refused"):
        import_dapg(dapg_file(dapg(25, extra=Runs())), "door")
    assert not (tmp_path / "probe").exists()


def damaged(content, draw):
    """A file cut short, or with bytes changed, put in or taken out."""
    at = draw.randrange(len(content))
    kind = draw.choice(["cut", "change", "insert", "remove"])
    if kind == "cut":
        return content[:at]
    if kind == "change":
        changed = bytearray(content)
        for place in [at, *(draw.randrange(len(content)) for _ in range(draw.randrange(8)))]:
            changed[place] = draw.randrange(256)
        return bytes(changed)
    if kind == "insert":
        return content[:at] + draw.randbytes(draw.randrange(1, 17)) + content[at:]
    return content[:at] + content[at + draw.randrange(1, 65) :]


@pytest.mark.parametrize("rounds", [60, pytest.param(2000, marks=pytest.mark.slow)])
def test_damaged_files_are_refused_in_one_line_or_read(dapg_file, rounds):
    draw, path = random.Random(rounds), dapg_file(dapg(2))
    whole = path.read_bytes()
    for _ in range(rounds):
        path.write_bytes(damaged(whole, draw))
        refusal = ""
        try:
            assert import_dapg(path, "door", 2).task == "door"
        except DemonstrationError as error:
            refusal = str(error)
        assert "\n" not in refusal
