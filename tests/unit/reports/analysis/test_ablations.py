"""Which runs stand for which variant of an ablation."""

import pandas
import pytest

from reports.analysis import ablations as variants_of
from reports.analysis.ablations import ablation, compare_variants
from reports.analysis.scores import cell_scores
from reports.data import load


@pytest.fixture
def runs(synthetic, write):
    """hindex as it is and with variants, rrl and frankmocap_hand, on two or three tasks."""
    made = []
    for seed in range(2):
        made += [synthetic.Run("hindex", task, seed) for task in ("hammer", "door", "pen")]
        made += [synthetic.Run("hindex", task, seed, "ema-0") for task in ("hammer", "pen")]
        made += [synthetic.Run("hindex", "hammer", seed, variant) for variant in ("ema-0.01", "adapt-all")]
        made += [synthetic.Run("rrl", task, seed) for task in ("hammer", "pen")]
        made += [synthetic.Run("frankmocap_hand", "hammer", seed)]
    return load.load_runs(write(*made))


def cells(table):
    return sorted({(row, task) for row, task in zip(table["row"], table["task"], strict=True)})


def test_stages_are_compared_on_the_tasks_that_all_have(runs):
    table = ablation(runs, variants_of.stages())
    names = [variant.name for variant in variants_of.stages()]
    assert cells(table) == sorted((name, "hammer") for name in names)
    assert dict(zip(table["row"], table["title"], strict=True)) == {
        "no stage (rrl)": "rrl (random)",
        "stage 1": "frankmocap_hand (builtin)",
        "stages 1, 2": "hindex+ema-0 (builtin)",
        "stages 1, 2, 3": "hindex (builtin)",
    }


def test_a_task_whose_own_momentum_is_zero_needs_no_variant_for_it(runs):
    door = runs[runs["task"] == "door"]
    assert door["ema_momentum"].eq(0).all()  # the paper's momentum of door
    zero, _ = variants_of.third_stage()
    assert zero.select(door).all()


def test_an_ablation_without_one_of_its_variants_is_none(runs):
    assert ablation(runs, variants_of.second_stage()) is None
    assert compare_variants(runs[runs["encoder"] == "rrl"], variants_of.stages()) is None


def test_scores_of_variants_are_shares_of_the_better_one(runs):
    comparison = compare_variants(runs, variants_of.adapted_parameters(still=False))
    table = cell_scores(comparison)
    means = runs[runs["task"] == "hammer"].groupby("title")["return_best"].mean()
    share = 100 * means["hindex+adapt-all (builtin)"] / means["hindex (builtin)"]
    found = table.set_index("row")["value"]
    assert found["affine parameters"] == pytest.approx(100 * max(1, 100 / share) if share > 100 else 100)
    assert found["all parameters"] == pytest.approx(min(share, 100))


def test_one_seed_has_no_interval(runs):
    comparison = compare_variants(runs[runs["seed"] == 0], variants_of.adapted_parameters(still=False))
    table = cell_scores(comparison)
    assert table["seeds"].eq(1).all()
    assert table[["low", "high"]].isna().to_numpy().all()


def test_of_two_weights_the_commoner_is_taken(synthetic, write):
    made = [synthetic.Run("hindex", "pen", seed) for seed in range(2)]
    made += [synthetic.Run("hindex", "pen", 0, label="(random)")]
    made += [synthetic.Run("hindex", "pen", seed, "adapt-all") for seed in range(2)]
    table = ablation(load.load_runs(write(*made)), variants_of.adapted_parameters(still=False))
    assert set(table["weights_label"]) == {"(builtin)"}
    assert isinstance(table, pandas.DataFrame)


def test_adaptation_without_stage_3_is_told_from_adaptation_with_it(synthetic, write):
    made = [synthetic.Run("hindex", "hammer", 0, variant) for variant in ("", "ema-0", "adapt-all", "adapt-none")]
    runs = load.load_runs(write(*made))
    still = runs.assign(
        variant=runs["variant"].replace("adapt-all", "adapt-all+ema-0"),
        ema_momentum=runs["ema_momentum"].where(runs["variant"] != "adapt-all", 0.0),
    )
    table = ablation(still, variants_of.adapted_parameters())
    assert sorted(table["variant"]) == ["adapt-all+ema-0", "ema-0"]
    assert ablation(still, variants_of.adapted_parameters(still=False)) is None
    with_stage_3 = ablation(runs, variants_of.second_stage(still=False))
    assert sorted(with_stage_3["variant"]) == ["", "adapt-none"]


def test_variants_say_which_weights_they_stand_on(runs):
    named = variants_of.labelled(runs, variants_of.stages())
    assert [variant.name for variant in named] == [
        "no stage (rrl) (random)",
        "stage 1 (builtin)",
        "stages 1, 2 (builtin)",
        "stages 1, 2, 3 (builtin)",
    ]
    assert set(ablation(runs, named)["row"]) == {variant.name for variant in named}
    assert variants_of.labelled(runs[:0], named) == named
