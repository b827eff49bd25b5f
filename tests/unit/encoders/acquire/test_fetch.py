"""Fetching official weights: what gets a name in the cache is whole and the right file."""

import hashlib
import io

import pytest
import torch
from downloads import DIGEST, OFFICIAL, Told, files, nothing, one_line

from encoders import EncoderError, UnknownEncoder, WeightsInvalid, WeightsMissing, acquire, fetch, import_file, resolve


def test_fetch_downloads_checks_and_keeps(server, cache, publish):
    publish(size=len(OFFICIAL))
    progress = Told()
    path = fetch("rrl", progress=progress)
    assert path.read_bytes() == OFFICIAL
    assert progress.done == progress.total == len(OFFICIAL) // 1000
    assert (progress.ended, progress.closed) == (1, 1)
    assert progress.titles == ["w.pth: 2 MB"]
    assert resolve("rrl").path == path == acquire.path("rrl")
    assert files(cache) == ["weights/rrl/w.pth"]
    assert fetch("rrl") == path
    assert server.asked == [("w.pth", None)]
    assert acquire.verify("rrl") == [acquire.Verified(path, DIGEST, "published sha256")]


def test_a_cached_file_that_changed_is_noticed(cache, publish):
    publish()
    fetch("rrl").write_bytes(b"changed")
    for action in (lambda: fetch("rrl"), lambda: acquire.verify("rrl")):
        with pytest.raises(WeightsInvalid) as caught:
            action()
        one_line(caught, "delete it and run `bench weights fetch rrl`", str(cache))


@pytest.mark.parametrize("changes", [{}, {"sha256": None, "md5": "1" * 32}, {"sha256": None, "sha256_prefix": "0123"}])
def test_nothing_is_kept_of_another_file(server, cache, publish, changes):
    publish(**changes)
    server.files["w.pth"] = b"something else"
    with pytest.raises(WeightsInvalid) as caught:
        fetch("rrl", check=nothing)
    one_line(caught, "not the official file", "published", server.url)
    assert files(cache) == []
    assert not (cache / "weights" / "rrl").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"md5": hashlib.md5(OFFICIAL).hexdigest()},
        {"sha256_prefix": DIGEST[:8]},
        {"md5": hashlib.md5(OFFICIAL).hexdigest(), "sha256_prefix": DIGEST[:8]},
        {},
    ],
)
def test_without_a_whole_hash_the_first_file_counts(cache, publish, changes):
    publish(sha256=None, **changes)
    path = fetch("rrl", check=nothing)
    assert (path.with_name("w.pth.sha256")).read_text().strip() == DIGEST
    assert acquire.verify("rrl")[0].how == "sha256 recorded at first use"
    path.unlink()
    path.with_name("w.pth.sha256").write_text("0" * 64)
    with pytest.raises(WeightsInvalid) as caught:
        fetch("rrl", check=nothing)
    one_line(caught, "recorded at first use was 000000000000", "delete ")
    assert not path.exists()


def test_without_a_hash_the_network_says_whether_it_is_the_file(cache, publish):
    stream = io.BytesIO()
    torch.save({"conv1.weight": torch.zeros(2)}, stream)
    publish(content=stream.getvalue(), sha256=None)
    with pytest.raises(WeightsInvalid) as caught:
        fetch("rrl")
    one_line(caught, "this is not the official w.pth", "missing")
    assert files(cache) == []


def test_mirrors_are_tried_in_order(server, cache, publish):
    server.files |= {"second": b"wrong", "third": OFFICIAL}
    publish(url=f"{server.url}/nowhere", mirrors=(f"{server.url}/second", f"{server.url}/third"))
    path = fetch("rrl", progress=Told())
    assert path.read_bytes() == OFFICIAL
    assert [name for name, _ in server.asked] == ["nowhere", "second", "third"]
    assert files(cache) == ["weights/rrl/w.pth"]


@pytest.mark.parametrize("name", ["random", "state"])
def test_controls_have_nothing_to_fetch(name):
    for action in (fetch, acquire.verify, acquire.path, lambda name: import_file(name, __file__)):
        with pytest.raises(EncoderError, match="needs no weights, so there is nothing to fetch"):
            action(name)
    with pytest.raises(UnknownEncoder, match="did you mean 'rrl'"):
        fetch("rlr")


def test_what_no_command_can_fetch_says_how_to_get_it():
    with pytest.raises(WeightsMissing) as caught:
        fetch("hindex", "pen", accept_licence=True)
    one_line(caught, "get the archive", "https://drive.google.com/", "`bench weights import hindex ARCHIVE`")
    with pytest.raises(WeightsMissing, match="no official weights for task 'juggle'"):
        fetch("hindex", "juggle")
