"""``bench probe``: its files, what is done again and what is not, its table, and what it refuses."""

import dataclasses
import json
import re

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import encoders
from benchmark.cli import app as cli
from benchmark.errors import ConfigError, OutputError
from benchmark.probe import frames as probe_frames
from benchmark.probe import probe as probing
from benchmark.probe.score import bootstrap_generator, compare
from benchmark.runner import encoder as stages
from encoders import EncoderError

SETTINGS = probing.ProbeSettings(episodes=6, frames=3)

GREY = """
from encoders import Encoder

class Grey(Encoder, name="grey"):
    feature_dim = 1

    def __init__(self, weights=None):
        super().__init__()

    def forward(self, images):
        return images.mean((1, 2, 3))[:, None] * {factor}
"""


@pytest.fixture
def grey(tmp_path):
    """Another encoder that costs nothing, as ``file.py:Class``."""

    def write(factor=1.0):
        path = tmp_path / "grey.py"
        path.write_text(GREY.format(factor=factor))
        return f"{path}:Grey"

    return write


@pytest.fixture
def call(tmp_path, monkeypatch):
    """Run ``bench probe ARGUMENTS`` in this process."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        done = CliRunner().invoke(cli.app, ["probe", *map(str, arguments)], env={"COLUMNS": "140"})
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done

    return run


@pytest.fixture(scope="module")
def collect_once():
    """Frames of a task and settings, drawn once for all tests."""
    known = {}

    def collect(name, *, on_frames, **how):
        key = json.dumps([name, how])
        if key not in known:
            known[key] = probe_frames.collect(name, **how)
        on_frames(len(known[key].images))
        return known[key]

    return collect


@pytest.fixture(autouse=True)
def drawn(monkeypatch, collect_once):
    """The tasks whose frames were asked for."""
    log = []

    def collect(name, **options):
        log.append(name)
        return collect_once(name, **options)

    monkeypatch.setattr(probing, "collect", collect)
    return log


FEW = ("--episodes", 6, "--frames", 3)


def test_a_cell_is_two_files_and_reads_back(tmp_path, tiny_encoder):
    (cell,) = probing.probe([tiny_encoder], ["pen"], tmp_path, settings=SETTINGS)
    assert cell.path == tmp_path / "probe" / "tiny" / "pen.json"
    content = json.loads(cell.path.read_text())
    assert content["identity"]["encoder"]["name"] == content["title"] == "tiny"
    assert (content["task"], content["identity"]["seed"]) == ("pen", 0)
    assert content["frames"]["training"] == 12
    assert content["frames"]["held_out"] == 6
    assert content["frames"]["held_out_episodes"] == 2
    assert content["made_with"]["python"]
    rows = {row["quantity"]: row for row in content["rows"]}
    assert rows["target position"]["constant"]
    assert rows["target position"]["r2"] is None
    joints = rows["hand joints"]
    assert len(joints["dimensions"]) == len(joints["r2_by_dimension"]) == 24
    assert joints["low"] <= joints["r2"] <= joints["high"]
    again = probing.read(cell.path)
    assert again.found
    assert not cell.found
    assert again.scores.rows == cell.scores.rows
    for kind in ("residual", "total"):
        stored, made = getattr(again.scores, kind), getattr(cell.scores, kind)
        assert stored.keys() == made.keys()
        for name in made:
            np.testing.assert_array_equal(stored[name], made[name])
            assert made[name].shape[0] == 2
    residual, total = again.scores.residual["hand joints"], again.scores.total["hand joints"]
    assert joints["r2"] == pytest.approx(1.0 - residual.sum() / total.sum())


def test_two_encoders_see_the_same_frames_and_their_margin_comes_from_the_files(tmp_path, tiny_encoder, grey, drawn):
    one, other = probing.probe([tiny_encoder, grey()], ["pen"], tmp_path, settings=SETTINGS)
    assert drawn == ["pen"]
    written = [json.loads(cell.path.read_text())["frames"]["sha256"] for cell in (one, other)]
    assert written[0] == written[1]
    stored = [probing.read(cell.path).scores for cell in (one, other)]
    margins = compare(*stored, bootstrap_generator(0))
    rows = {row.quantity: (row, twin) for row, twin in zip(stored[0].rows, stored[1].rows, strict=True)}
    for quantity, ahead in margins.items():
        row, twin = rows[quantity]
        assert ahead.value == pytest.approx(row.r2 - twin.r2)
        assert ahead.low <= ahead.value <= ahead.high


def test_done_cells_are_read_and_killed_ones_lose_one(tmp_path, tiny_encoder, grey, drawn, monkeypatch):
    encode = probing.encode

    def dying(encoder, frames, progress):
        if encoder.name == "grey":
            raise KeyboardInterrupt
        return encode(encoder, frames, progress)

    monkeypatch.setattr(probing, "encode", dying)
    with pytest.raises(KeyboardInterrupt):
        probing.probe([tiny_encoder, grey()], ["pen"], tmp_path, settings=SETTINGS)
    monkeypatch.setattr(probing, "encode", encode)
    first, second = probing.probe([tiny_encoder, grey()], ["pen"], tmp_path, settings=SETTINGS)
    assert (first.found, second.found) == (True, False)
    assert drawn == ["pen", "pen"]
    assert all(cell.found for cell in probing.probe([tiny_encoder, grey()], ["pen"], tmp_path, settings=SETTINGS))
    assert drawn == ["pen", "pen"]
    # What was killed between its two files is no cell.
    second.path.unlink()
    first, second = probing.probe([tiny_encoder, grey()], ["pen"], tmp_path, settings=SETTINGS)
    assert (first.found, second.found) == (True, False)


def test_features_are_made_once(tmp_path, tiny_encoder, monkeypatch):
    (cell,) = probing.probe([tiny_encoder], ["pen"], tmp_path, settings=SETTINGS)

    def never(self, images):
        if len(images) > 3:  # the contract is checked with three
            raise AssertionError("encoded again")
        return encode(self, images)

    from encoders import Encoder

    encode = Encoder.encode
    monkeypatch.setattr(Encoder, "encode", never)
    (again,) = probing.probe([tiny_encoder], ["pen"], tmp_path, settings=SETTINGS, overwrite=True)
    assert not again.found
    assert again.scores.rows == cell.scores.rows


def test_a_cell_has_the_tasks_version_of_its_pack(later_with_ycb):
    for pack, version in (("builtin", 1), ("ycb", 7)):
        settings = dataclasses.replace(SETTINGS, objects=pack)
        identity = probing._identity(encoders.get("state")(), "pen", settings, torch.device("cpu"))
        assert identity["task_results_version"] == version


def test_another_probe_is_not_overwritten_by_mistake(tmp_path, tiny_encoder, grey):
    (cell,) = probing.probe([tiny_encoder], ["pen"], tmp_path, settings=SETTINGS)
    before = cell.path.read_bytes()
    more = probing.ProbeSettings(episodes=6, frames=2)
    with pytest.raises(OutputError, match=r"another probe \(frames 3 -> 2\); .*--overwrite"):
        probing.probe([tiny_encoder], ["pen"], tmp_path, settings=more)
    assert cell.path.read_bytes() == before
    (cell,) = probing.probe([tiny_encoder], ["pen"], tmp_path, settings=more, overwrite=True)
    assert json.loads(cell.path.read_text())["frames"]["training"] == 8


def test_another_network_under_the_same_title_is_another_probe(tmp_path, grey):
    from encoders import registration, registry

    probing.probe([grey()], ["pen"], tmp_path, settings=SETTINGS)
    registration.forget_module(registry.get(grey()).__module__)
    with pytest.raises(OutputError, match=r"another probe \(encoder"):
        probing.probe([grey(2.0)], ["pen"], tmp_path, settings=SETTINGS)


def test_the_command_prints_scores_and_margins(call, tiny_encoder, grey, tmp_path):
    done = call("--encoder", f"{tiny_encoder},{grey()}", "--task", "pen", "--out", "out", *FEW)
    assert done.exit_code == 0
    assert re.search(r"pen +│ hand joints +│ +-?\d\.\d\d \[-?\d+\.\d\d, -?\d+\.\d\d\]", done.stdout)
    assert re.search(r"target position +│ +constant +│ +constant", done.stdout)
    assert "R² of tiny minus that of" in done.stdout
    assert re.search(r"hand joints +│ +[+-]\d\.\d\d \[[+-]\d+\.\d\d, [+-]\d+\.\d\d\]", done.stdout)
    assert (tmp_path / "out" / "probe" / "grey" / "pen.json").is_file()
    again = call("--encoder", f"{tiny_encoder},{grey()}", "--task", "pen", "--out", "out", *FEW)
    assert again.stdout == done.stdout


@pytest.mark.parametrize(
    ("arguments", "error", "line"),
    [
        (["--encoder", "frankmocap_hand", "--weights", "official"], EncoderError, "bench weights fetch"),
        (["--encoder", "{tiny},r3m"], EncoderError, r"'r3m'.*bench weights fetch"),
        (["--encoder", "state"], ConfigError, "sees no images"),
        (["--encoder", "blind"], ConfigError, "sees no images"),
        (["--encoder", "randon"], EncoderError, "did you mean 'random'"),
        (["--encoder", ","], ConfigError, "at least one name"),
        (["--encoder", "random", "--objects", "lego"], ConfigError, "builtin or ycb"),
    ],
)
def test_mistakes_are_told_before_any_work(call, drawn, tmp_path, tiny_encoder, arguments, error, line):
    with pytest.raises(error, match=line):
        call(*(part.format(tiny=tiny_encoder) for part in arguments), "--task", "pen", "--out", "out")
    assert not drawn
    assert not (tmp_path / "out").exists()


def test_random_weights_are_probed_only_when_asked_for():
    with pytest.raises(EncoderError, match="--weights random"):
        stages.plan(probing.asked("r3m", "pen"))
    config = probing.asked("r3m", "pen", weights="random")
    assert str(stages.title_parts(config, stages.plan(config))) == "r3m (random)"
    # One --weights for a list with the control in it: the control has none.
    assert probing.asked("random", "pen", weights="some.pth").weights == "auto"


def test_stage_2_is_probed_as_the_card_asks_or_as_told():
    for adapt, expected in (("auto", "affine"), ("none", "none")):
        assert stages.plan(probing.asked("hindex", "pen", adapt=adapt)).mode == expected


def test_features_must_be_finite(tmp_path, grey):
    # Finite on the three images of the contract's check, and on no larger batch.
    with pytest.raises(ConfigError, match="not finite"):
        probing.probe([grey("(1.0 if len(images) < 4 else float('inf'))")], ["pen"], tmp_path, settings=SETTINGS)


WITH_TOKENS = """
from torch.nn.functional import adaptive_avg_pool2d

from encoders import Encoder

class Quarters(Encoder, name="quarters"):
    feature_dim = 3
    feature_is_mean = True

    def __init__(self, weights=None):
        super().__init__()

    def forward(self, images):
        return images.mean((2, 3))

    def tokens(self, images):
        return adaptive_avg_pool2d(images, 4).flatten(2).transpose(1, 2)
"""


def test_tokens_are_probed_beside_the_feature(call, tmp_path):
    (tmp_path / "quarters.py").write_text(WITH_TOKENS)
    asked = ("--encoder", f"{tmp_path}/quarters.py:Quarters", "--task", "pen", "--episodes", 6, "--frames", 3)
    for pooling in ("pooled", "mean", "spatial_softmax"):
        call(*asked, "--pooling", pooling)
    titles = {path.parent.name: probing.read(path) for path in (tmp_path / "runs" / "probe").glob("*/pen.json")}
    assert sorted(titles) == ["quarters", "quarters+mean", "quarters+spatial_softmax"]
    r2 = {title: [row.r2 for row in cell.scores.rows if row.r2 is not None] for title, cell in titles.items()}
    np.testing.assert_allclose(r2["quarters"], r2["quarters+mean"], atol=1e-3)
    assert not np.allclose(r2["quarters"], r2["quarters+spatial_softmax"], atol=1e-2)
    with pytest.raises(ConfigError, match="--pooling attentive: expected pooled, mean or spatial_softmax"):
        call(*asked, "--pooling", "attentive")
