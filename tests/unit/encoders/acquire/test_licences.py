"""Licences: accepted once where they restrict the use, and kept on record."""

import json
from dataclasses import replace

import pytest
from downloads import OFFICIAL, one_line

from encoders import LicenceNotAccepted, cards, fetch, resolve
from encoders.weights import licences


@pytest.mark.parametrize("use", [False, None])
def test_a_restricting_licence_is_asked_for_once(server, cache, publish, use):
    publish("frankmocap_hand", commercial_use=use)
    with pytest.raises(LicenceNotAccepted) as caught:
        fetch("frankmocap_hand")
    one_line(caught, "CC BY-NC 4.0", "commercial use", "`bench weights fetch frankmocap_hand --accept-licence`")
    assert server.asked == []
    path = fetch("frankmocap_hand", accept_licence=True)
    record = json.loads((cache / "licences" / "frankmocap_hand.json").read_text())
    assert record["licence"] == "CC BY-NC 4.0"
    assert record["licence_sha256"] == licences.licence_sha256(cards.CARDS["frankmocap_hand"])
    assert record["accepted_by"]
    assert record["accepted_at"].startswith("20")
    path.unlink()
    fetch("frankmocap_hand")


def test_another_licence_is_accepted_anew(publish, monkeypatch):
    publish("frankmocap_hand", commercial_use=False)
    fetch("frankmocap_hand", accept_licence=True)
    card = replace(cards.CARDS["frankmocap_hand"], licence="all rights reserved")
    monkeypatch.setitem(cards.CARDS, "frankmocap_hand", card)
    with pytest.raises(LicenceNotAccepted, match="all rights reserved"):
        resolve("frankmocap_hand")


def test_a_broken_record_is_no_acceptance(cache):
    path = licences.record_path(cards.CARDS["hindex"])
    path.parent.mkdir(parents=True)
    for text in ("", "[]", "{}", "\xff"):
        path.write_text(text)
        assert not licences.accepted(cards.CARDS["hindex"])


def test_accepting_makes_cached_weights_usable(cache, publish):
    publish("frankmocap_hand", commercial_use=False)
    path = cache / "weights" / "frankmocap_hand" / "w.pth"
    path.parent.mkdir(parents=True)
    path.write_bytes(OFFICIAL)
    with pytest.raises(LicenceNotAccepted):
        resolve("frankmocap_hand")
    assert fetch("frankmocap_hand", accept_licence=True) == path
    assert resolve("frankmocap_hand").kind == "official"
