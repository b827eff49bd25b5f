"""The suite of a run: which settings make it another one."""

import pytest

from benchmark.config import configure
from benchmark.presets import PRESETS
from benchmark.runner.suite import changed_settings, suite_name
from benchmark.store.provenance import RESULTS_VERSION


def suite(*overrides, preset="quickstart", **values):
    return suite_name(configure(preset, overrides, **({"task": "door", "encoder": "rrl"} | values)))


@pytest.mark.parametrize("preset", PRESETS)
def test_a_plain_preset_has_a_plain_name(preset):
    assert suite(preset=preset) == f"{preset}-{PRESETS[preset].get('objects', 'builtin')}-paper-r{RESULTS_VERSION}"


def test_the_pack_of_objects_is_part_of_the_name():
    assert suite(objects="ycb") == f"quickstart-ycb-paper-r{RESULTS_VERSION}"


def test_another_background_is_another_suite():
    assert suite(background=3).startswith(f"quickstart-builtin-paper-r{RESULTS_VERSION}+")


def test_physics_is_part_of_the_name():
    assert suite("physics=native") == f"quickstart-builtin-native-r{RESULTS_VERSION}"


@pytest.mark.parametrize(
    "values",
    [
        {"task": "pen"},
        {"encoder": "hindex"},
        {"seed": 7},
        {"weights": "random"},
        {"workers": 3},
        {"device": "cpu"},
        {"torch_threads": 1},
        {"egl_device": 1},
    ],
    ids=lambda values: next(iter(values)),
)
def test_cells_of_one_suite_and_what_only_changes_the_speed_share_a_name(values):
    assert suite(**values) == suite()


def test_a_film_changes_no_number_and_no_name():
    assert suite("evaluation.video=false") == suite()


@pytest.mark.parametrize(
    "override",
    [
        "learner.step_size=0.02",
        "learner.iterations=3",
        "rollout.slots=8",
        "rollout.quality=paper",
        "evaluation.episodes=9",
        "reward=dense",
        "demonstrations.episodes=2",
    ],
)
def test_a_changed_setting_adds_a_hash(override):
    plain, changed = suite(), suite(override)
    assert changed.startswith(plain + "+")
    assert len(changed) == len(plain) + 9
    assert suite(override, task="pen") == changed


def test_different_changes_have_different_names():
    names = {suite("learner.step_size=0.02"), suite("learner.step_size=0.03"), suite("learner.gamma=0.02"), suite()}
    assert len(names) == 4


def test_setting_what_the_preset_has_changes_nothing():
    assert suite("learner.step_size=0.05", "rollout.slots=4") == suite()


def test_what_a_card_fills_in_is_no_change():
    assert suite("rollout.horizon=200", preset="paper") == suite(preset="paper")


def test_changed_settings_are_named():
    config = configure("small", ["learner.step_size=0.02", "evaluation.every=1"], task="pen", encoder="rrl")
    assert changed_settings(config) == {"learner.step_size": 0.02, "evaluation.every": 1}


def test_where_a_demonstrations_file_lies_does_not_count():
    here, there = suite("demonstrations.source=a.npz"), suite("demonstrations.source=/elsewhere/b.npz")
    assert here == there != suite()


@pytest.mark.parametrize(
    "values",
    [{"adapt": "none"}, {"adapt": "all"}, {"adapted": "own"}, {"normalise": "imagenet"}],
    ids=str,
)
def test_stages_are_told_by_the_title_and_not_by_the_suite(values):
    assert suite(encoder="hindex", **values) == suite()


def test_momentum_and_streams_are_told_by_the_title_and_not_by_the_suite():
    for preset in PRESETS:
        for overrides in (("ema.momentum=0.01",), ("ema.momentum=0", "ema.scope=all"), ("ema.streams=3",)):
            assert suite(*overrides, preset=preset, encoder="hindex", task="hammer") == suite(preset=preset)


def test_how_stage_2_trains_is_a_setting_like_others():
    assert suite("adaptation.steps=7") != suite()
