"""The settings of Stage 3: whose momentum, how many streams, and what is refused."""

import pytest

import tasks
from benchmark.config import configure
from benchmark.errors import ConfigError
from benchmark.presets import PRESETS
from benchmark.runner.suite import suite_name
from tasks.cards import GROUPS

# Numbers of the paper's table 4, and the release's of the task that the paper leaves out.
MOMENTUM = {
    "hammer": 0.1,
    "door": 0,
    "pen": 0,
    "pour": 0,
    "place_inside": 0.001,
    "relocate-large_clamp": 0.01,
    "relocate-foam_brick": 0.01,
    "relocate-sugar_box": 0.001,
    "relocate-mug": 0,
    "relocate-mustard_bottle": 0.001,
    "relocate-tomato_soup_can": 0.01,
    "relocate-potted_meat_can": 0,
    "relocate": 0.01,
}


def resolved(*overrides, preset="quickstart", task="hammer", encoder="hindex"):
    return configure(preset, overrides, task=task, encoder=encoder).resolve(tasks.card(task))


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("task", tasks.names())
def test_hindex_takes_the_tasks_momentum_and_no_other_encoder_does(task, preset):
    assert resolved(preset=preset, task=task).ema.momentum == MOMENTUM[task]
    for other in ("rrl", "frankmocap_hand", "state", "timm:resnet18", "mine.py:Mine", "nobody"):
        assert resolved(preset=preset, task=task, encoder=other).ema.momentum == 0


def test_a_given_momentum_counts_for_every_encoder():
    assert resolved("ema.momentum=0.01", encoder="r3m").ema.momentum == 0.01
    assert resolved("ema.momentum=0").ema.momentum == 0
    assert resolved("ema.momentum=0.5").ema.momentum == 0.5


@pytest.mark.parametrize("task", tasks.names())
def test_the_papers_runs_have_as_many_streams_as_the_release_had_processes(task):
    config, plain = resolved(preset="paper", task=task), resolved(preset="paper", task=task, encoder="rrl")
    assert plain.slots == PRESETS["paper"]["rollout"]["slots"]
    if MOMENTUM[task] == 0:
        assert (config.ema.streams, config.rollout) == (None, plain.rollout)
        return
    assert config.ema.streams == config.slots == (4 if task in GROUPS["adroit"] else 8)


def test_elsewhere_every_slot_is_a_stream():
    config = resolved("rollout.slots=7")
    assert config.ema.streams == config.slots == 7
    assert (config.ema.scope, config.ema.reset) == ("stem", "iteration")


def test_streams_that_are_set_are_the_slots():
    assert resolved("ema.streams=3", preset="paper").slots == 3
    assert resolved("ema.streams=3", "rollout.slots=9").slots == 3


def test_resolving_twice_changes_nothing():
    for preset in PRESETS:
        config = resolved(preset=preset)
        assert config.resolve(tasks.card("hammer")) == config


def test_encoders_with_and_without_stage_three_are_one_suite():
    suites = {suite_name(resolved(preset="paper", encoder=encoder)) for encoder in ("hindex", "rrl")}
    assert len(suites) == 1


@pytest.mark.parametrize("override", ["ema.momentum=1.5", "ema.momentum=-0.1", "ema.scope=two", "ema.streams=0"])
def test_a_wrong_setting_is_refused(override):
    with pytest.raises(ConfigError, match=r"^setting 'ema\."):
        resolved(override)
