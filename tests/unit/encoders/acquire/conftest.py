"""An official file on a server of our own, in place of the published one."""

import hashlib
from dataclasses import replace

import pytest
from downloads import OFFICIAL, Server

from encoders import cards


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("HINDEX_BENCH_CACHE", str(folder))
    return folder


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr("random.uniform", lambda *_: 0.0)  # the seconds between tries
    running = Server()
    yield running
    running.close()


@pytest.fixture
def publish(monkeypatch, server):
    """Let an encoder's official file be a small one on the server."""

    def change(name="rrl", content=OFFICIAL, *, commercial_use=True, **changes):
        server.files["w.pth"] = content
        card = cards.CARDS[name]
        changes = {"sha256": hashlib.sha256(content).hexdigest(), "url": f"{server.url}/w.pth"} | changes
        changes = {"size": None, "md5": None, "sha256_prefix": None, "mirrors": ()} | changes
        source = replace(card.sources[0], filename="w.pth", task=None, direct=True, **changes)
        monkeypatch.setitem(cards.CARDS, name, replace(card, sources=(source,), commercial_use=commercial_use))
        return source

    return change
