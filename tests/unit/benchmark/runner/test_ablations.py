"""The paper's ablations: which runs they are, and that their rows can be compared."""

import pytest

from benchmark.errors import ConfigError
from benchmark.runner import ablations
from benchmark.runner import encoder as stages
from benchmark.runner.ablations import ABLATIONS, ablation, runs_of
from benchmark.runner.suite import suite_name
from tasks.cards import GROUPS


def titles(name, **options):
    configs = runs_of(ablation(name), preset="quickstart", task_names=["hammer"], **options)
    return [str(stages.title_parts(config, stages.plan(config))) for config in configs]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("stages", ["rrl (random)", "frankmocap_hand (builtin)", "hindex+ema-0 (builtin)", "hindex (builtin)"]),
        ("momentum", [f"hindex+ema-{momentum:g} (builtin)" for momentum in (0, 0.1, 0.01, 0.001)]),
        (
            "adaptation",
            [f"hindex{tag}+ema-0 (builtin)" for tag in ("+adapt-none", "", "+adapt-all")],
        ),
        ("background", ["hindex (builtin)", "vc1 (random)"]),
    ],
)
def test_every_variant_is_a_row_of_its_own(name, expected):
    assert titles(name) == expected


@pytest.mark.parametrize("name", ABLATIONS)
def test_variants_of_an_ablation_are_one_suite(name):
    for preset in ("quickstart", "small", "paper"):
        configs = runs_of(ablation(name), preset=preset, task_names=["hammer", "pour"], seeds=(0, 1))
        assert len({suite_name(config) for config in configs}) == 1
        assert len({config.model_dump_json() for config in configs}) == len(configs)


def test_by_default_it_is_all_tasks_of_the_paper_but_for_the_background():
    assert {config.task for config in runs_of(ablation("stages"), preset="quickstart")} == set(GROUPS["all"])
    assert {config.task for config in runs_of(ablation("background"), preset="paper")} == {ablations.SHIFTED_TASK}


def test_settings_and_options_reach_every_run():
    configs = runs_of(ablation("adaptation"), preset="small", overrides=["learner.iterations=3"], workers=0)
    assert {(config.learner.iterations, config.workers) for config in configs} == {(3, 0)}
    assert {config.adapt for config in configs} == {"none", "auto", "all"}


def test_an_unknown_ablation_names_the_nearest():
    with pytest.raises(ConfigError, match="unknown ablation 'stage': did you mean 'stages'"):
        ablation("stage")
