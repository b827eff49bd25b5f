"""Colours, markers and dashes of the encoders: fixed, stable, and apart for eyes of every kind."""

import itertools

import numpy as np
import pandas
import pytest
from matplotlib.colors import to_rgb

from reports.figures.encoder_styles import KNOWN, OTHER_COLOURS, ramp, styles_of

PAPERS = ("hindex", "vc1", "mvp", "r3m", "rrl", "frankmocap_hand", "frankmocap_body", "alphapose")

# Machado, Oliveira and Fernandes 2009, severity 1.0, on linear RGB.
SIGHTS = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
}


def styles(*rows):
    """Styles of rows, each a name or (name, label)."""
    parts = [row if isinstance(row, tuple) else (row, "") for row in rows]
    frame = [(f"{name} {label}".rstrip(), name, "" if label.startswith("#") else label) for name, label in parts]
    return styles_of(pandas.DataFrame(frame, columns=["row", "encoder", "weights_label"]))


def lab(colour, sight):
    """CIELAB of a colour as a sight sees it."""
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.array(SIGHTS[sight]) @ linear, 0, 1)
    to_xyz = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.072175], [0.0193339, 0.119192, 0.9503041]]
    xyz = np.array(to_xyz) @ seen / np.array([0.95047, 1.0, 1.08883])
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("sight", SIGHTS)
def test_the_papers_encoders_are_apart_in_every_sight(sight):
    for one, other in itertools.combinations(PAPERS, 2):
        distance = np.linalg.norm(lab(KNOWN[one].colour, sight) - lab(KNOWN[other].colour, sight))
        assert distance > 25, (one, other, sight)  # some ten times what one can just tell apart


def test_the_check_finds_colours_that_are_not_apart():
    red, green = lab("#b22222", "protanopia"), lab("#4d4d00", "protanopia")
    assert np.linalg.norm(red - green) < 25


def test_the_papers_encoders_have_a_marker_each():
    assert len({KNOWN[name].marker for name in PAPERS}) == len(PAPERS)


def test_an_encoder_keeps_its_colour_whoever_stands_beside_it():
    alone, crowd = styles("dinov2_small"), styles("dinov2_small", "vc1", "hindex", "state")
    assert alone["dinov2_small"] == crowd["dinov2_small"]
    assert styles("vc1")["vc1"] == styles("mvp", ("vc1", "(random)"), "vc1")["vc1"] == KNOWN["vc1"]


def test_unknown_encoders_on_one_page_never_look_the_same():
    names = [f"encoder-{k}" for k in range(60)]
    found = styles(*names)
    assert len({(found[name].colour, found[name].marker) for name in names}) == 60
    assert len({found[name].colour for name in names[: len(OTHER_COLOURS)]} | set()) > 6
    assert not {encoder_style.colour for encoder_style in found.values()} & {KNOWN[name].colour for name in PAPERS}


def test_titles_of_one_encoder_share_its_colour_and_differ_in_marker_and_fill():
    found = styles("r3m", ("r3m", "(random)"), ("r3m", "(builtin)"), ("r3m", "#0123abcd"))
    assert {encoder_style.colour for encoder_style in found.values()} == {KNOWN["r3m"].colour}
    assert len({encoder_style.marker for encoder_style in found.values()}) == 4
    assert found["r3m"].hatch == ""
    assert len({found[f"r3m {origin}"].hatch for origin in ("(random)", "(builtin)")} - {""}) == 2
    assert found["r3m (random)"].fill != found["r3m"].fill


def test_variants_of_an_ablation_end_with_the_full_methods_colour():
    assert ramp(4)[-1].colour == KNOWN["hindex"].colour
    assert (
        len({encoder_style.colour for encoder_style in ramp(4)})
        == len({encoder_style.marker for encoder_style in ramp(4)})
        == 4
    )
