"""Reading other people's checkpoints: every number comes out as it went in, and nothing in the file runs."""

import argparse
import os
import zipfile
from collections import OrderedDict, defaultdict

import numpy as np
import pytest
import torch
from hostile_pickles import Runs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from encoders import WeightsInvalid
from encoders.weights.pickles import read
from encoders.weights.unpickling import Placeholder

FORMATS = {"zip": True, "legacy": False}
DTYPES = (
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16),
    *(torch.int8, torch.uint8, torch.bool, torch.complex64),
)


@pytest.fixture(params=list(FORMATS))
def write(request, tmp_path):
    """Write something as torch does, in either of its formats."""

    def save(content, name="w.pth"):
        torch.save(content, tmp_path / name, _use_new_zipfile_serialization=FORMATS[request.param])
        return tmp_path / name

    return save


def assert_same(found, expected):
    assert type(found) is type(expected) or isinstance(expected, (OrderedDict, torch.nn.Parameter))
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        for key in expected:
            assert_same(found[key], expected[key])
    elif isinstance(expected, torch.Tensor):
        assert found.dtype == expected.dtype
        assert torch.equal(found, expected.detach())
    elif isinstance(expected, (np.ndarray, np.generic)):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    elif isinstance(expected, (list, tuple)):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    else:
        assert found == expected


def test_what_torch_wrote_comes_out_as_it_went_in(write):
    base = torch.arange(60.0).reshape(5, 12)
    content = {
        "state_dict": OrderedDict((f"t{i}", torch.ones(3, 2).to(dtype)) for i, dtype in enumerate(DTYPES)),
        "view": base[1:, 2:5],
        "turned": base.T,
        "whole": base,
        "scalar": torch.tensor(7),
        "empty": torch.zeros(0, 4),
        "expanded": torch.arange(3.0)[:, None].expand(3, 1000),
        "one number": torch.tensor(2.0).expand(64),
        "parameter": torch.nn.Parameter(torch.randn(4)),
        "channels_last": torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
        "array": np.arange(6, dtype=np.float32).reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "number": np.float64(2.5),
        "size": torch.zeros(2, 3).shape,
        "plain": [1, 2.5, "text", None, True, (1, 2), {3, 4}],
        "epoch": 10**20,
    }
    assert_same(read(write(content)), content | {"size": (2, 3)})


def test_the_state_of_a_module_is_read(write):
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    assert_same(read(write(network.state_dict())), network.state_dict())


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol_is_read(tmp_path, protocol):
    content = {"a": torch.arange(3), "b": np.arange(4.0)}
    torch.save(content, tmp_path / "w.pth", pickle_protocol=protocol)
    assert_same(read(tmp_path / "w.pth"), content)


def test_tensors_lie_in_the_file_and_changing_them_does_not_change_it(tmp_path):
    path = tmp_path / "w.pth"
    torch.save({"a": torch.zeros(1000), "b": torch.ones(10)}, path)
    before = path.read_bytes()
    found = read(path)
    assert found["a"].untyped_storage().data_ptr() == found["b"].untyped_storage().data_ptr()
    found["a"].fill_(5)
    assert path.read_bytes() == before


def test_shared_tensors_stay_shared(write):
    tensor = torch.zeros(3)
    found = read(write({"a": tensor, "b": [tensor]}))
    found["a"][0] = 1
    assert found["b"][0][0] == 1


def test_safetensors_are_read(tmp_path):
    save_file({"a": torch.arange(3.0)}, tmp_path / "w.safetensors")
    assert_same(read(tmp_path / "w.safetensors"), {"a": torch.arange(3.0)})


def test_optimisers_and_settings_beside_the_tensors_are_inert(write):
    network = torch.nn.Linear(2, 2)
    counts = defaultdict(int)
    counts["a"] = 1
    content = {
        "model": network.state_dict(),
        "args": argparse.Namespace(lr=0.1, model=network),
        "optimizer": torch.optim.Adam(network.parameters()),
        "counts": counts,
        "module": network,
        "function": os.path.join and torch.nn.functional.relu,
    }
    found = read(write(content))
    assert_same(found["model"], content["model"])
    for name in ("args", "optimizer", "counts", "module", "function"):
        assert isinstance(found[name], Placeholder), name
    assert found["args"].origin == "argparse.Namespace"


def test_no_module_is_imported(write, monkeypatch, tmp_path):
    (tmp_path / "foreign_settings.py").write_text("class Config(dict): pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import foreign_settings

    path = write({"config": foreign_settings.Config(a=1), "a": torch.zeros(1)})
    (tmp_path / "foreign_settings.py").write_text("open('imported', 'w')\n")
    monkeypatch.delitem(__import__("sys").modules, "foreign_settings")
    monkeypatch.chdir(tmp_path)
    found = read(path)
    assert found["config"].origin == "foreign_settings.Config"
    assert "foreign_settings" not in __import__("sys").modules
    assert not (tmp_path / "imported").exists()


def read_or_refused(path):
    """What a file holds and no line, or nothing and the line that refuses it."""
    try:
        return read(path), ""
    except WeightsInvalid as error:
        return None, str(error)


def test_files_without_checksums_are_read_and_checksums_are_compared(tmp_path):
    path, before = tmp_path / "w.pth", torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"a": torch.arange(1000.0)}, path)
    finally:
        torch.serialization.set_crc32_options(before)
    assert_same(read(path), {"a": torch.arange(1000.0)})
    torch.save({"a": torch.arange(1000.0)}, path)
    content = bytearray(path.read_bytes())
    content[content.index(torch.arange(1000.0).numpy().tobytes()) + 1000] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsInvalid, match=r"w/data/0 is not what was written"):
        read(path)


@pytest.mark.parametrize("entry", ["data.pkl", "data/0"])
def test_an_encrypted_file_is_refused(tmp_path, entry):
    path = tmp_path / "w.pth"
    torch.save({"a": torch.zeros(3)}, path)
    content = bytearray(path.read_bytes())
    name = content.rindex(f"w/{entry}".encode())  # in the directory at the end
    content[name - 46 + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(WeightsInvalid, match="encrypted"):
        read(path)


# Hostile files; see also test_hostile_files of the benchmark.


def test_a_hostile_object_in_a_file_of_torch_is_refused(write, tmp_path):
    target = tmp_path / "pwned"
    path = write({"model": {"a": torch.zeros(2), "b": Runs(os.system, f"touch {target}")}})
    with pytest.raises(WeightsInvalid, match=r"names (posix|nt)\.system, which is refused"):
        read(path)
    assert not target.exists()


def test_a_hostile_type_of_a_tensor_is_refused(write, tmp_path):
    target = tmp_path / "pwned"
    rebuilt = (torch._tensor._rebuild_from_type_v2, os.system, torch.Tensor, (f"touch {target}",), {})
    path = write({"a": Runs(*rebuilt)})
    with pytest.raises(WeightsInvalid, match=r"\.system, which is refused"):
        read(path)
    assert not target.exists()


@pytest.mark.parametrize(
    ("size", "stride", "offset"),
    [((5,), (1,), 0), ((2,), (1,), 3), ((2, 2), (4, 1), 0), ((-1,), (1,), 0), ((2,), (-1,), 2), ((2**40,), (0,), 0)],
)
def test_a_tensor_that_reaches_out_of_its_storage_is_refused(write, size, stride, offset):
    arguments = (torch.zeros(4)._typed_storage(), offset, size, stride, False, OrderedDict())
    path = write({"a": Runs(torch._utils._rebuild_tensor_v2, *arguments)})
    with pytest.raises(WeightsInvalid, match="holds a tensor of size"):
        read(path)


def test_a_container_that_contains_itself_is_refused(write):
    content = {"a": []}
    content["a"].append(content)
    with pytest.raises(WeightsInvalid, match="contains itself"):
        read(write(content))


# Damage.


@pytest.mark.parametrize("keep", [0.0, 0.01, 0.2, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(write, keep):
    path = write({"a": torch.ones(5000), "b": torch.ones(5000)})
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    with pytest.raises(WeightsInvalid, match=str(path)) as caught:
        read(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html><html>login</html>", b"PK\x03\x04", b"\x80\x02}."])
def test_something_else_is_refused(tmp_path, content):
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    with pytest.raises(WeightsInvalid, match=r"no checkpoint|torch\.save"):
        read(path)


def test_an_archive_of_files_says_that_it_is_one(tmp_path):
    with zipfile.ZipFile(tmp_path / "w.pth", "w") as archive:
        archive.writestr("ckpts/pen.pth", b"1")
    with pytest.raises(WeightsInvalid, match=r"is an archive \(ckpts/pen\.pth"):
        read(tmp_path / "w.pth")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), byte=st.integers(1, 255), zipped=st.booleans())
def test_a_changed_byte_gives_other_numbers_or_one_line(tmp_path, place, byte, zipped):
    path = tmp_path / "w.pth"
    torch.save({"a": torch.ones(4), "b": np.ones(3)}, path, _use_new_zipfile_serialization=zipped)
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= byte
    path.write_bytes(content)
    assert "\n" not in read_or_refused(path)[1]
