"""What runs will take, from measured rollouts."""

from types import SimpleNamespace

import pytest
from small_runs import Recorder, tiny_config

import tasks
from benchmark.cli import speed as printed
from benchmark.config import configure
from benchmark.presets import PRESETS
from benchmark.runner.runner import run
from benchmark.speed import cost
from benchmark.speed.cost import Ceilings, Estimate, frames_of, preset_seconds, update_seconds
from benchmark.speed.stages import FrameCost, Pipeline
from tasks.cards import CARDS, GROUPS
from tasks.demonstrations.dataset import Demonstrations

COST = FrameCost(physics=0.001, draw=0.004, answer=0.0, encode=0.020, act=0.0)
DRAWN = COST._replace(draw=0.04)
IN_TWOS = {"encode": 0.030}
ROLLOUTS = {
    "Adroit": Ceilings("door", "bfloat16", COST, Pipeline(2, 2, 2, 4), 5.0, {4: COST, 2: COST._replace(**IN_TWOS)}),
    "DexMV": Ceilings(
        "relocate-mug", "float32", DRAWN, Pipeline(1, 1, 2, 4), 1.0, {4: DRAWN, 2: DRAWN._replace(**IN_TWOS)}
    ),
}


def test_frames_are_those_that_a_run_counts(demonstration_file, tmp_path):
    source, card = demonstration_file("pen"), tasks.card("pen")
    config, progress = tiny_config(source), Recorder()
    run(config, tmp_path, progress=progress)
    frames, steps = frames_of(config, card)
    shown = Demonstrations.load(source).first(2).episodes
    assert frames == progress.planned + sum(card.horizon - len(episode.actions) for episode in shown)
    assert steps == 2 * 3 * 6


def test_the_stage_that_takes_most_is_named():
    assert ROLLOUTS["Adroit"].bottleneck == "encoding (80 %)"
    assert ROLLOUTS["DexMV"].bottleneck == "drawing (98 %)"
    gpu = Ceilings("door", "float16", COST, Pipeline(16, 1, 4, 64, encodes_on_cpu=False), 1.0)
    assert gpu._replace(cost=COST._replace(encode=1e-4)).bottleneck == "drawing (80 %)"


def test_a_preset_takes_every_task(monkeypatch):
    monkeypatch.setattr(cost, "frames_of", lambda config, card: (80 if card.source == "Adroit" else 40, 10))
    adroit = sum(CARDS[name].source == "Adroit" for name in GROUPS["all"])
    dexmv = len(GROUPS["all"]) - adroit
    slow = ROLLOUTS["DexMV"].frames_per_second
    expected = adroit * (5 + 80 / 80) + dexmv * (1 + 40 / slow) + len(GROUPS["all"]) * 10 * 0.5
    assert preset_seconds("small", ROLLOUTS, update=0.5) == pytest.approx(expected)


def test_a_preset_has_its_own_slots_and_groups():
    config = configure("quickstart", task="door", encoder="hindex").resolve(tasks.card("door"))
    rollouts = ROLLOUTS["Adroit"].under(config)
    assert rollouts.pipeline == Pipeline(2, 2, 2, 2), "four slots in groups of two"
    assert rollouts.cost.encode == 0.030
    frames, _ = frames_of(config, tasks.card("door"))
    alone = preset_seconds("quickstart", ROLLOUTS, update=0.0)
    assert alone > 3 * frames / rollouts.frames_per_second


@pytest.mark.parametrize("preset", PRESETS)
def test_the_groups_of_every_preset_are_measured(preset, monkeypatch):
    def measured(run, sizes):
        return dict.fromkeys(sizes, COST)

    class Rehearsed:
        way, pipeline = "float32", Pipeline(2, 2, 2, 4)

        def __init__(self, config):
            self.context = SimpleNamespace(config=config)

    monkeypatch.setattr(cost, "rehearse", Rehearsed)
    monkeypatch.setattr(cost, "measure_groups", measured)
    monkeypatch.setattr(cost, "update_seconds", lambda: 0.0)
    assert cost.estimate().seconds[preset] > 0


def test_an_update_takes_time():
    assert 0 < update_seconds() < 1


def test_what_is_printed(monkeypatch, capsys):
    found = Estimate(ROLLOUTS, ROLLOUTS, dict.fromkeys(PRESETS, 3600.0) | {"paper": 90_000.0})
    monkeypatch.setattr(cost, "estimate", lambda device: found)
    printed.print_speed("auto")
    shown = capsys.readouterr().out
    assert "encoding (80 %)" in shown
    assert "80" in shown
    assert "1:00:00" in shown
    assert "1 day, 1:00:00" in shown
    for preset in PRESETS:
        assert f"--preset {preset}" in shown
