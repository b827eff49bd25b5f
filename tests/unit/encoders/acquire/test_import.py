"""Importing official weights that were got by hand: files, folders and archives."""

import errno
import io
import os
import shutil
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from downloads import DIGEST, OFFICIAL, files, nothing, one_line

from encoders import (
    EncoderError,
    LicenceNotAccepted,
    WeightsInvalid,
    WeightsMissing,
    acquire,
    cards,
    import_file,
    resolve,
)


@pytest.fixture
def given(tmp_path):
    file = tmp_path / "downloads" / "model (1).pth"
    file.parent.mkdir()
    file.write_bytes(OFFICIAL)
    return file


def test_import_copies_and_checks(cache, publish, given):
    publish()
    assert import_file("rrl", given) == [cache / "weights" / "rrl" / "w.pth"]
    assert given.read_bytes() == OFFICIAL
    assert files(cache) == ["weights/rrl/w.pth"]
    assert resolve("rrl").kind == "official"
    assert import_file("rrl", cache / "weights" / "rrl" / "w.pth") == [cache / "weights" / "rrl" / "w.pth"]


def test_import_of_another_file_keeps_what_is_there(cache, publish, given):
    publish()
    import_file("rrl", given)
    given.write_bytes(b"other")
    with pytest.raises(WeightsInvalid) as caught:
        import_file("rrl", given)
    one_line(caught, "not the official w.pth", f"published was {DIGEST[:12]}")
    assert (cache / "weights" / "rrl" / "w.pth").read_bytes() == OFFICIAL
    assert files(cache) == ["weights/rrl/w.pth"]


def test_import_asks_for_the_licence(publish, given, cache):
    publish("frankmocap_hand", commercial_use=False)
    with pytest.raises(LicenceNotAccepted):
        import_file("frankmocap_hand", given)
    assert files(cache) == []
    import_file("frankmocap_hand", given, accept_licence=True)
    assert resolve("frankmocap_hand").kind == "official"


def test_import_of_nothing_is_refused(tmp_path):
    with pytest.raises(WeightsMissing, match="cannot import nowhere: no such file"):
        import_file("rrl", "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsMissing, match=r"nothing in .* has the name of an official file; expected resnet50"):
        import_file("rrl", tmp_path / "empty")


def test_a_file_of_a_task_is_known_by_its_name_or_by_the_task(cache, given):
    with pytest.raises(WeightsMissing, match="say which one with --task, or rename it, for example to hammer-v0"):
        import_file("hindex", given, accept_licence=True, check=nothing)
    assert import_file("hindex", given, "pen", check=nothing) == [cache / "weights" / "hindex" / "pen-v0.pth"]
    named = given.rename(given.with_name("door-v0.pth"))
    assert import_file("hindex", named, check=nothing) == [cache / "weights" / "hindex" / "door-v0.pth"]
    assert resolve("hindex", task="pen").kind == "official"
    assert acquire.path("hindex", "pen").name == "pen-v0.pth"
    with pytest.raises(WeightsMissing, match="choose one with --task"):
        acquire.path("hindex")
    assert [one.path.name for one in acquire.verify("hindex")] == ["door-v0.pth", "pen-v0.pth"]


@pytest.mark.parametrize("kind", ["folder", "zip", "tar", "gztar"])
def test_a_folder_or_archive_of_all_files_is_imported_at_once(tmp_path, cache, kind):
    inside = tmp_path / "got" / "archive" / "adapted_frankmocap_hand_ckpts"
    inside.mkdir(parents=True)
    for name in ("pen-v0.pth", "pour.pth", "README", "relocate-mug.pth"):
        (inside / name).write_bytes(name.encode())
    given = tmp_path / "got"
    if kind != "folder":
        given = Path(shutil.make_archive(str(tmp_path / "archive"), kind, tmp_path / "got"))
    found = import_file("hindex", given, accept_licence=True, check=nothing)
    assert [path.name for path in found] == ["pen-v0.pth", "pour.pth", "relocate-mug.pth"]
    for path in found:
        assert path.read_bytes() == path.name.encode()
    assert [path.name for path in import_file("hindex", given, "pen", check=nothing)] == ["pen-v0.pth"]


def test_an_archive_cannot_write_elsewhere(tmp_path, cache):
    evil = tmp_path / "evil.tar"
    with tarfile.open(evil, "w") as archive:
        for name, kind in (("../../pen-v0.pth", tarfile.REGTYPE), ("pour.pth", tarfile.SYMTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.size, member.linkname = kind, 3 * (kind == tarfile.REGTYPE), "/etc/passwd"
            archive.addfile(member, io.BytesIO(b"abc") if member.size else None)
    found = import_file("hindex", evil, accept_licence=True, check=nothing)
    assert found == [cache / "weights" / "hindex" / "pen-v0.pth"]
    assert not list(tmp_path.glob("pen-v0.pth"))


@pytest.mark.parametrize("keep", [0.3, 0.9])
def test_a_cut_archive_is_one_line(tmp_path, cache, keep):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("pen-v0.pth", b"1" * 5000)
    content = (tmp_path / "a.zip").read_bytes()
    (tmp_path / "a.zip").write_bytes(content[: int(keep * len(content))])
    with pytest.raises(EncoderError) as caught:
        import_file("hindex", tmp_path / "a.zip", accept_licence=True, check=nothing)
    assert "\n" not in str(caught.value)
    assert not (cache / "weights").exists() or files(cache / "weights") == []


def test_a_checkpoint_of_torch_is_no_archive(tmp_path, cache, publish):
    torch.save({"a": torch.zeros(2)}, tmp_path / "w.zip")
    publish(content=(tmp_path / "w.zip").read_bytes())
    assert import_file("rrl", tmp_path / "w.zip")[0].name == "w.pth"


def test_a_full_disk_while_importing_is_one_line(cache, publish, given, monkeypatch):
    publish()

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(EncoderError) as caught:
            import_file("rrl", given)
    one_line(caught, "cannot write", "No space left on device")
    assert files(cache) == []
    import_file("rrl", given)


@pytest.mark.parametrize("file", ["dinov3_vits16_pretrain_lvd1689m-08c60483.pth", "got.pth", "got.safetensors"])
def test_of_two_files_that_will_do_either_is_imported_under_its_own_name(file, cache, tmp_path, monkeypatch):
    card = cards.CARDS["dinov3_small"]
    own, metas = card.sources
    unpinned = replace(card, sources=(own, replace(metas, sha256_prefix=None)))
    monkeypatch.setitem(cards.CARDS, "dinov3_small", unpinned)
    (tmp_path / file).write_bytes(b"weights")
    right = own if file.endswith("safetensors") else metas
    (kept,) = import_file("dinov3_small", tmp_path / file, check=nothing)
    assert kept.name == right.filename
    assert acquire.path("dinov3_small") == kept
    assert acquire.verify("dinov3_small")[0].path == kept
    monkeypatch.setitem(cards.CARDS, "dinov3_small", card)
    if right is metas:
        with pytest.raises(WeightsInvalid, match=r"published was 08c60483\.\.\."):
            acquire.verify("dinov3_small")
