"""Locks and syncs on file systems that lack them: only real contention is called contention."""

import errno
import fcntl
import os

import pytest

from benchmark.errors import OutputError
from benchmark.store import atomic
from benchmark.store.lock import hold
from encoders.errors import EncoderError
from encoders.weights import files
from encoders.weights.download import held


@pytest.fixture(autouse=True)
def nothing_warned_of_yet(monkeypatch):
    monkeypatch.setattr(files, "_warned", set())


def refusing(monkeypatch, owner, name, number, when=lambda *arguments: True):
    real = getattr(owner, name)

    def refuse(*arguments, **named):
        if when(*arguments):
            raise OSError(number, os.strerror(number))
        return real(*arguments, **named)

    monkeypatch.setattr(owner, name, refuse)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ESTALE, errno.EIO])
def test_a_file_system_without_locks_is_warned_of_once_and_written(number, monkeypatch, tmp_path, caplog):
    refusing(monkeypatch, fcntl, "lockf", number)
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        hold(folder).close()
    with held(tmp_path / "download"):
        pass
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "has no locks" in caplog.text


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.EACCES])
def test_real_contention_is_called_so(number, monkeypatch, tmp_path):
    refusing(monkeypatch, fcntl, "lockf", number)
    with pytest.raises(OutputError, match="is being written by another process"):
        hold(tmp_path)
    with pytest.raises(EncoderError, match="is being written by another process"), held(tmp_path / "download"):
        pass


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.EBADF])
def test_a_file_system_that_does_not_sync_is_warned_of_once_and_written(number, monkeypatch, tmp_path, caplog):
    refusing(monkeypatch, os, "fsync", number)
    atomic.write_bytes(tmp_path / "whole", b"content")
    atomic.append_line(tmp_path / "lines", "one")
    atomic.remove(tmp_path / "lines")
    assert (tmp_path / "whole").read_bytes() == b"content"
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "a killed process loses nothing" in caplog.text


def test_a_folder_that_may_be_written_but_not_read_is_written(monkeypatch, tmp_path, caplog):
    refusing(monkeypatch, os, "open", errno.EACCES, lambda path, flags, *_: path == tmp_path and flags == os.O_RDONLY)
    atomic.write_bytes(tmp_path / "whole", b"content")
    assert (tmp_path / "whole").read_bytes() == b"content"
    assert "does not sync" in caplog.text


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_content_that_did_not_reach_the_disk_is_an_error(number, monkeypatch, tmp_path):
    refusing(monkeypatch, os, "fsync", number)
    with pytest.raises(OutputError, match="cannot write"):
        atomic.write_bytes(tmp_path / "whole", b"content")
    assert list(tmp_path.iterdir()) == []
