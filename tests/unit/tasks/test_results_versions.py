"""Which results version a task has with which pack of objects, and that what it gives records it."""

import tasks
from tasks.cards import CARDS, PACKS
from tasks.demonstrations.rollout import collect
from tasks.experts import shipped
from tasks.scene import ycb

REORDERED = ("pour", "relocate-mug", "relocate-large_clamp")


def test_the_tasks_whose_pieces_were_reordered_have_a_later_version_with_the_official_meshes_alone():
    versions = {name: {pack: card.results_version_with(pack) for pack in PACKS} for name, card in CARDS.items()}
    assert versions == {name: {"builtin": 1, "ycb": 2 if name in REORDERED else 1} for name in CARDS}


def test_no_other_object_has_pieces_that_names_and_numbers_order_differently():
    folders = {path.rpartition("/")[0] for path in ycb.manifest().required if path.startswith("collision/")}
    differ = set()
    for folder in folders:
        pieces = sorted(path for path in ycb.manifest().required if path.rpartition("/")[0] == folder)
        numbers = [int(path.rpartition("_")[2].removesuffix(".stl")) for path in pieces]
        if numbers != sorted(numbers):
            differ.add(folder.removeprefix("collision/"))
    assert differ == {"025_mug/v0", "025_mug/v2", "051_large_clamp"}


def test_demonstrations_record_the_version_of_the_pack_they_were_made_with(monkeypatch, later_with_ycb):
    expert = shipped("pen")
    for pack in PACKS:
        task = tasks.make("pen", objects=pack)
        monkeypatch.setattr(task, "card", CARDS["pen"], raising=False)
        made = collect(task, expert, episodes=1, first_seed=0, horizon=2, successful_only=False)
        assert made.metadata["results_version"] == (7 if pack == "ycb" else 1)
