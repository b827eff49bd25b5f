"""Pickles of plain containers and arrays: they come back, and what is broken is one line."""

import pickle
import struct
from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from benchmark.demonstrations.third_party.pickles import PickleError, load_mjrl_policy, load_plain

LOADERS = [load_plain, load_mjrl_policy]


def write(path, content):
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_containers_and_arrays_come_back(tmp_path, protocol):
    value = [
        {
            "actions": np.arange(6.0).reshape(2, 3),
            "fortran": np.asfortranarray(np.arange(6, dtype=np.int32).reshape(2, 3)),
            "big": np.arange(3, dtype=">f4"),
            "flag": np.array([True, False]),
            "empty": np.zeros((0, 3), np.float32),
            "scalar": np.float64(2.5),
            "text": np.array(["a", "bc"]),
            "rest": (1, None, "x", b"\x00\xff", {3, 4}, OrderedDict(a=1)),
        }
    ]
    [read] = load_plain(write(tmp_path / "a.pickle", pickle.dumps(value, protocol)))
    for key in ("actions", "fortran", "big", "flag", "empty", "text"):
        np.testing.assert_array_equal(read[key], value[0][key])
        assert read[key].shape == value[0][key].shape
    assert read["fortran"].dtype == np.int32
    assert read["big"].dtype == np.float32
    assert read["scalar"] == 2.5
    assert read["rest"] == (1, None, "x", b"\x00\xff", {3, 4}, {"a": 1})


def python_2_array(values):
    """The opcodes that Python 2 writes for a float64 array, protocol 2: old module names, byte strings."""
    raw = values.astype("<f8").tobytes()
    shape = b"(" + b"".join(b"K" + bytes([n]) for n in values.shape) + b"t"
    return (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        + (b"(K\x01" + shape)
        + (b"cnumpy\ndtype\nU\x02f8K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb")
        + (b"\x89T" + struct.pack("<i", len(raw)) + raw + b"tb")
    )


def test_python_2_pickles_come_back(tmp_path):
    values = np.random.default_rng(0).normal(size=(4, 3))
    content = b"\x80\x02]}U\x07actions" + python_2_array(values) + b"sa."
    [read] = load_plain(write(tmp_path / "a.pickle", content))
    np.testing.assert_array_equal(read["actions"], values)
    assert list(read) == ["actions"]


@given(hnp.arrays(st.sampled_from(["f4", "f8", "i8", "u1", "?"]), hnp.array_shapes(max_dims=3, max_side=4, min_side=0)))
def test_any_array_comes_back(tmp_path_factory, array):
    path = tmp_path_factory.getbasetemp() / "any.pickle"
    read = load_plain(write(path, pickle.dumps(array, 2)))
    np.testing.assert_array_equal(read, array)
    assert read.dtype == array.dtype


@pytest.mark.parametrize(
    ("name", "demonstrations", "policy"),
    [
        (b"torch.hub\nload", r"names torch\.hub\.load", r"names torch\.hub\.load"),
        (b"torch.nn\nReLU", r"names torch\.nn\.ReLU, which is not read", r"the policy is a torch\.nn\.ReLU"),
    ],
)
def test_names_of_torch_are_inert(tmp_path, name, demonstrations, policy):
    path = write(tmp_path / "a.pickle", b"\x80\x02c" + name + b"\n(U\x01xU\x01ytR.")
    with pytest.raises(PickleError, match=demonstrations):
        load_plain(path)
    with pytest.raises(PickleError, match=policy):
        load_mjrl_policy(path)


@pytest.mark.parametrize("content", [b"", b".", b"\x80", b"not a pickle", b"\x80\x04]\x94h\x00a.", b"\x80\x63."])
@pytest.mark.parametrize("loader", LOADERS)
def test_broken_files_give_one_line(tmp_path, loader, content):
    with pytest.raises(PickleError) as raised:
        loader(write(tmp_path / "a.pickle", content))
    assert "\n" not in str(raised.value)


def test_a_container_in_itself_is_refused(tmp_path):
    loop = []
    loop.append({"a": loop})
    with pytest.raises(PickleError, match="contains itself"):
        load_plain(write(tmp_path / "a.pickle", pickle.dumps(loop)))


def test_every_truncation_is_refused(tmp_path):
    content = pickle.dumps([{"actions": np.arange(4.0), "rewards": [1.0]}], 2)
    for size in range(len(content)):
        with pytest.raises(PickleError):
            load_plain(write(tmp_path / "a.pickle", content[:size]))


def test_wrong_sizes_and_object_arrays_are_refused(tmp_path):
    array = pickle.dumps(np.arange(3.0), 2)
    for content, reason in (
        (array.replace(b"K\x03\x85", b"K\x04\x85"), "cut short"),
        (pickle.dumps(np.array([{}, None], dtype=object)), "only numbers and strings"),
        (pickle.dumps(np.zeros(2, [("a", "f8")])), "only numbers and strings|not read"),
    ):
        with pytest.raises(PickleError, match=reason):
            load_plain(write(tmp_path / "a.pickle", content))


def test_an_array_repeated_again_and_again_is_refused(tmp_path):
    raw = bytes(2**20)
    dtype = b"cnumpy\ndtype\n\x8c\x02u1K\x00K\x01\x87R\x94"  # memo 0
    content = b"B" + struct.pack("<I", len(raw)) + raw + b"\x94"  # memo 1
    made = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"
    state = b"(K\x01J" + struct.pack("<i", len(raw)) + b"\x85h\x00\x89h\x01tb"
    path = tmp_path / "a.pickle"
    path.write_bytes(b"\x80\x04" + dtype + b"0" + content + b"0](" + (made + state) * 1000 + b"e.")
    with pytest.raises(PickleError, match="the same numbers again and again"):
        load_plain(path)
