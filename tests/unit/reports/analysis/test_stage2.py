"""Stage 2 in numbers: read from cards, compared episode by episode with a frozen encoder."""

import math
from pathlib import Path

import numpy as np
import pandas
import pytest

from benchmark.intervals import interval
from reports.analysis.stage2 import COLUMNS, stage2_numbers
from reports.data.collect import Material
from reports.data.load import ADAPTATION_COLUMNS
from reports.figures.specification import find
from reports.tables.tables import stage2_table

EPISODES = {"none": [20.0, 21.0, 22.0, 23.0], "affine": [21.0, 21.5, 23.0, 25.0]}


def rows(values):
    return interval(np.asarray(values))._asdict()


def numbers(values):
    return {
        "psnr": {
            "reconstruction": rows(values),
            "reconstruction_minus_copy": rows(np.subtract(values, 19.0)),
            "reconstruction_minus_mean_image": rows(np.subtract(values, 18.0)),
        },
        "psnr_of_episodes": values,
        "keypoints_on_hand_or_object": {
            "keypoints": rows([0.2, 0.3]),
            "uniform_points": rows([0.1, 0.1]),
            "difference": rows([0.1, 0.2]),
        },
    }


def adaptation(mode, task="pen", **changes):
    card = {
        "task": task,
        "encoder": {"title": "frankmocap_hand (builtin)", "weights_sha256": "a"},
        "trained": {"mode": mode},
        "data": {"sha256": "frames"},
        "heads": "those that ship",
        "perceptual_network": "frozen features",
        "training": {"steps": 300, "seed": 0, "seconds": 5.0 if mode == "none" else 6.0, "sessions": 1},
        "held_out": numbers(EPISODES[mode]),
    }
    for name, value in changes.items():
        card[name] = card[name] | value
    return {
        "task": task,
        "title": mode,
        "encoder": "frankmocap_hand",
        "card": card,
        "keypoints": (),
        "synthetic": False,
        "problem": "",
        "pretrained": None,
        "batchnorm": None,
    }


def table(*made):
    return pandas.DataFrame(list(made), columns=[*ADAPTATION_COLUMNS, "problem"])


def test_what_the_encoder_adds_is_paired_by_episode():
    found = stage2_numbers(table(adaptation("affine"), adaptation("none"))).set_index("mode")
    wanted = interval(np.array([1.0, 0.5, 1.0, 2.0]))
    assert found.loc["affine", ["minus_frozen", "minus_frozen_low", "minus_frozen_high"]].tolist() == list(wanted)
    assert math.isnan(found.loc["none", "minus_frozen"])
    assert found.loc["affine", "psnr"] == pytest.approx(22.625)
    assert found.loc["affine", "minus_copy"] == pytest.approx(3.625)
    assert found.loc["affine", "on_hand_or_object"] == pytest.approx(0.25)


@pytest.mark.parametrize(
    "changes", [{"training": {"steps": 200}}, {"data": {"sha256": "others"}}, {"encoder": {"weights_sha256": "b"}}]
)
def test_trainings_that_differ_otherwise_are_not_compared(changes):
    found = stage2_numbers(table(adaptation("affine"), adaptation("none", **changes)))
    assert found["minus_frozen"].isna().all()


def test_tasks_adapted_to_together_have_a_row_each():
    together = adaptation("none", task="all")
    together["card"]["held_out"]["by_task"] = {name: numbers(EPISODES["none"]) for name in ("pen", "door")}
    found = stage2_numbers(table(together))
    assert found["task"].tolist() == ["pen", "door"]
    assert found["together"].all()


def test_cards_without_numbers_are_left_out():
    bare, broken = adaptation("affine"), adaptation("affine")
    del bare["card"]["held_out"]
    broken["problem"] = "cannot be read"
    assert stage2_numbers(table(bare, broken)).empty
    assert list(stage2_numbers(table()).columns) == list(COLUMNS)


def test_the_table_shows_intervals_and_gaps():
    made = stage2_table(stage2_numbers(table(adaptation("affine"), adaptation("none"))))
    assert made.shown["minus frozen encoder"].tolist()[0].startswith("1.12 [")
    assert made.shown["minus frozen encoder"].tolist()[1] == "—"
    assert made.shown["encoder, adapted"].tolist() == [
        "frankmocap_hand (builtin), affine",
        "frankmocap_hand (builtin), none",
    ]
    assert len(made.csv().splitlines()) == 3


def test_figure_10_shows_adapted_encoders_alone(tmp_path):
    picture = tmp_path / "000.png"
    made = [{**adaptation(mode), "keypoints": (picture,)} for mode in EPISODES]
    frozen, both = (
        find("fig10_keypoints").of(Material(Path(), (), table(), table(*chosen), None, (), ()))
        for chosen in (made[:1], made)
    )
    assert not frozen.drawn
    assert both.draw.args[0]["title"].tolist() == ["affine"]
