"""Stages 1 and 2 of a run's encoder: whose weights, adapted by whom, and what the tables call it."""

import dataclasses
import json

import pytest
import safetensors.torch
import torch

import tasks
from benchmark.adapt.config import AdaptConfig
from benchmark.config import configure
from benchmark.errors import ConfigError
from benchmark.progress import Silent
from benchmark.runner import encoder as stages
from encoders import WeightsMissing, build, cards
from encoders.adapt import affine, shipped
from encoders.adapt.files import load_heads
from encoders.adapt.model import KeypointModel
from encoders.adapt.packed import pack
from encoders.unfold import unfold
from encoders.weights import licences
from encoders.weights.files import file_sha256
from tasks.cards import GROUPS


def planned(*overrides, preset="quickstart", task="door", encoder="hindex", **options):
    config = configure(preset, list(overrides), task=task, encoder=encoder, **options)
    found = stages.plan(config)
    return found, str(stages.title_parts(config, found))


def put(cache, encoder, filename):
    licences.require(cards.CARDS[encoder], accept=True)
    path = cache / "weights" / encoder / filename
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"weights")
    return path


def test_out_of_the_box_hindex_is_what_ships(cache):
    found, title = planned()
    assert (found.encoder, found.origin.kind, found.mode, found.source) == ("hindex", "builtin", "affine", "shipped")
    assert title == "hindex (builtin)"


def test_the_authors_adapted_files_come_first(cache):
    path = put(cache, "hindex", "door-v0.pth")
    for preset in ("quickstart", "paper"):
        found, title = planned(preset=preset)
        assert (found.origin.path, found.mode, found.source) == (path, "affine", "official")
        assert title == "hindex"
    assert planned(task="pen")[0].source == "shipped"


def test_without_them_the_run_adapts_the_official_hand_itself_and_says_so(cache):
    path = put(cache, "frankmocap_hand", "frankmocap_hand.pth")
    found, title = planned()
    assert (found.encoder, found.origin.path, found.mode, found.source) == ("hindex", path, "affine", "own")
    assert title == "hindex+adapted-own"
    with pytest.raises(WeightsMissing, match="bench weights fetch hindex"):
        planned(preset="paper")
    assert planned(preset="paper", adapted="own")[0].source == "own"


def test_paper_takes_nothing_that_ships_unless_asked(cache):
    with pytest.raises(WeightsMissing, match="bench weights fetch hindex"):
        planned(preset="paper")
    assert planned(preset="paper", weights="builtin")[0].origin.kind == "builtin"


def test_without_stage_2_it_is_the_encoder_that_it_adapts(cache):
    found, title = planned(adapt="none")
    assert (found.encoder, found.mode, found.source) == ("frankmocap_hand", "none", "none")
    assert title == "hindex+adapt-none (builtin)"


@pytest.mark.parametrize(
    ("options", "mode", "title"),
    [
        ({"adapt": "all"}, "all", "hindex+adapt-all (builtin)"),
        ({"adapt": "affine"}, "affine", "hindex (builtin)"),
        ({"adapted": "own"}, "affine", "hindex+adapted-own (builtin)"),
        ({"normalise": "imagenet"}, "affine", "hindex+imagenet (builtin)"),
        ({"encoder": "frankmocap_hand"}, "none", "frankmocap_hand (builtin)"),
        ({"encoder": "frankmocap_hand", "adapt": "affine"}, "affine", "frankmocap_hand+adapt-affine (builtin)"),
        ({"encoder": "rrl", "adapt": "none"}, "none", "rrl (random)"),
        ({"weights": "random"}, "none", "hindex (random)"),
        ({"weights": "random", "adapt": "affine"}, "affine", "hindex (random)"),
    ],
    ids=str,
)
def test_every_stage_that_is_not_the_cards_own_is_in_the_name(options, mode, title, cache):
    found, called = planned(**options)
    assert (found.mode, called) == (mode, title)


def test_official_adaptations_exist_of_hindex_and_its_batchnorm_alone(cache):
    for options in ({"encoder": "rrl"}, {"adapt": "all"}):
        with pytest.raises(ConfigError, match="--adapted official: the authors adapted"):
            planned(adapted="official", **options)
    with pytest.raises(WeightsMissing, match="no official adapted weights for door"):
        planned(adapted="official")


def test_a_file_with_the_whole_stage_2_model_is_not_adapted_again(cache, tmp_path):
    for name, source in (("module.pose_net.conv1.weight", "file"), ("main_encoder.conv1.weight", "own")):
        torch.save({name: torch.zeros(1)}, tmp_path / "w.pth")
        assert planned(weights=str(tmp_path / "w.pth"))[0].source == source


def test_what_ships_replaces_scales_and_offsets_and_nothing_else(cache, tmp_path):
    config = configure("quickstart", task="door", encoder="hindex")
    prepared = stages.prepare(config, stages.plan(config), tmp_path, torch.device("cpu"), Silent())
    plain, _ = build("hindex", weights="builtin")
    tensors = safetensors.torch.load_file(shipped.path("door"))
    assert sum(tensor.numel() for tensor in tensors.values()) == 53_120
    before, after = plain.trunk.state_dict(), prepared.encoder.trunk.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed <= set(tensors) == set(affine.affine_parameters(plain.trunk))
    assert len(changed) > 100
    for name, tensor in tensors.items():
        assert torch.equal(after[name], tensor.float()), name
    assert prepared.encoder.normalisation.name == "unit"
    assert prepared.encoder.describe()["adaptation_sha256"] == prepared.record["adaptation"]["sha256"]
    assert not list(tmp_path.iterdir())
    json.dumps(prepared.record)


def test_all_tasks_of_the_paper_ship_with_a_card_that_fits(cache):
    for task in GROUPS["all"]:
        found, _ = planned(task=task)
        assert found.source == "shipped", task
        card = json.loads(shipped.path(task).with_suffix(".json").read_text())
        assert card["task"] == task


def test_a_task_beyond_the_papers_is_adapted_to_by_the_run_itself(cache):
    assert planned(task="relocate")[0].source == "own"


# The same from the package index: hindex_mini is mediapipe_hand after Stage 2.


@pytest.fixture
def hand_in_cache(cache, monkeypatch):
    """The file of mediapipe_hand, or what stands for it, in the cache."""
    path = put(cache, "mediapipe_hand", cards.CARDS["mediapipe_hand"].sources[0].filename)
    for name in ("mediapipe_hand", "hindex_mini"):
        card = cards.CARDS[name]
        source = dataclasses.replace(card.sources[0], sha256=file_sha256(path), size=None)
        monkeypatch.setitem(cards.CARDS, name, dataclasses.replace(card, sources=(source,)))
    return path


@pytest.fixture
def shipped_for_door(hand_in_cache, tmp_path, monkeypatch):
    """What `benchmark.adapt.ship` writes, for the file in the cache."""
    monkeypatch.setattr(shipped, "FOLDER", tmp_path / "adapted")
    path = shipped.path("door", "mediapipe_hand")
    path.parent.mkdir(parents=True)
    encoder, _ = build("mediapipe_hand", weights="random")
    unfold(encoder)
    next(iter(affine.batchnorm_layers(encoder).values())).bias.add_(0.5)
    safetensors.torch.save_file(pack(encoder), path, {shipped.ADAPTED_FROM: file_sha256(hand_in_cache)})
    path.with_suffix(".json").write_text('{"task": "door"}')
    return path


def test_hindex_mini_shares_its_file_with_the_hand_network_and_takes_what_ships(shipped_for_door, hand_in_cache):
    found, title = planned(encoder="hindex_mini")
    assert (found.encoder, found.mode, found.source) == ("hindex_mini", "affine", "shipped")
    assert (found.origin.kind, found.origin.path, title) == ("official", hand_in_cache, "hindex_mini")
    assert planned(encoder="hindex_mini", task="pen")[0].source == "own"
    assert planned(encoder="hindex_mini", task="pen")[1] == "hindex_mini+adapted-own"
    assert planned(encoder="hindex_mini", preset="paper")[0].source == "own"
    assert planned(encoder="hindex_mini", adapted="own")[0].source == "own"
    found, title = planned(encoder="hindex_mini", adapt="none")
    assert (found.encoder, found.mode, title) == ("mediapipe_hand", "none", "hindex_mini+adapt-none")


def test_without_weights_hindex_mini_is_random_and_not_adapted(cache):
    found, title = planned(encoder="hindex_mini")
    assert (found.encoder, found.mode, title) == ("mediapipe_hand", "none", "hindex_mini (random)")
    with pytest.raises(WeightsMissing, match="bench weights fetch hindex_mini"):
        planned(encoder="hindex_mini", preset="small")


def test_nobody_else_adapted_hindex_mini(hand_in_cache):
    with pytest.raises(ConfigError, match="--adapted official: the authors adapted the BatchNorm of hindex alone"):
        planned(encoder="hindex_mini", adapted="official")


def test_hindex_mini_moves_statistics_as_hindex_does():
    for task in ("hammer", "door"):
        config, usual = (configure("quickstart", task=task, encoder=name) for name in ("hindex_mini", "hindex"))
        assert config.resolve(tasks.card(task)).ema == usual.resolve(tasks.card(task)).ema


def test_what_ships_is_put_into_the_folded_network(shipped_for_door, tmp_path):
    config = configure("quickstart", task="door", encoder="hindex_mini", weights="random", adapt="affine")
    chosen = stages.plan(config)._replace(source="shipped")
    prepared = stages.prepare(config, chosen, tmp_path / "runs", torch.device("cpu"), Silent())
    layers = affine.batchnorm_layers(prepared.encoder)
    assert len(layers) == 47
    assert torch.equal(next(iter(layers.values())).bias, torch.full((24,), 0.5))
    assert prepared.record["adaptation"]["card"] == {"task": "door"}
    assert prepared.encoder.describe()["adaptation_sha256"] == prepared.record["adaptation"]["sha256"]
    assert not (tmp_path / "runs").exists()


def test_the_heads_that_ship_fit_the_stage_1_that_ships(cache):
    encoder, origin = build("frankmocap_hand", weights="builtin")
    resolved = AdaptConfig().resolve(origin)
    assert (resolved.heads, resolved.heads_path) == ("shipped", shipped.HEADS)
    model = KeypointModel(encoder.trunk)
    trunk = {name: tensor.clone() for name, tensor in encoder.trunk.state_dict().items()}
    load_heads(model, shipped.HEADS)
    assert all(torch.equal(trunk[name], tensor) for name, tensor in model.pose_net.trunk.state_dict().items())
    card = json.loads(shipped.HEADS.with_suffix(".json").read_text())
    assert len(card["tasks"]) == 12
    assert card["held_out"]["psnr"]["reconstruction_minus_mean_image"]["low"] > 0
