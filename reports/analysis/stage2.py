"""Stage 2 in numbers: how well held-out frames are drawn, and what an adapted encoder adds to adapted heads."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmark.intervals import interval

if TYPE_CHECKING:
    import pandas

FROZEN = "none"
"""The mode that leaves the encoder as it is."""

PSNR = {
    "psnr": "reconstruction",
    "minus_copy": "reconstruction_minus_copy",
    "minus_mean_image": "reconstruction_minus_mean_image",
}
POINTS = {"on_hand_or_object": "keypoints", "uniform": "uniform_points", "minus_uniform": "difference"}
GAIN = "minus_frozen"
VALUES = (*PSNR, GAIN, *POINTS)
COLUMNS = (
    *("task", "encoder", "mode", "steps", "episodes", "together"),
    *(f"{name}{end}" for name in VALUES for end in ("", "_low", "_high")),
)


def stage2_numbers(adaptations: pandas.DataFrame) -> pandas.DataFrame:
    """Return one row per task of an adaptation, with 95 % intervals over held-out episodes.

    Args:
        adaptations: see `reports.data.load.load_adaptations`; those whose card has no such numbers are left out.

    Returns:
        `COLUMNS`: PSNR in decibels, its difference to copying the source frame, to the mean image and, on the same
        episodes, to the same training with a frozen encoder; the share of keypoints on hand or object, that of
        uniformly placed points, and their difference. NaN where there is no such number.
    """
    import pandas

    found = [one for row in adaptations.to_dict("records") for one in _by_task(row)]
    frozen = {one["same"]: one["psnr_of_episodes"] for one in found if one["mode"] == FROZEN}
    rows = []
    for one in found:
        other = frozen.get(one["same"]) if one["mode"] != FROZEN else None
        gain: Mapping[str, float] = {}
        if other and len(other) == len(one["psnr_of_episodes"]):
            gain = interval(np.subtract(one["psnr_of_episodes"], other))._asdict()
        values = {
            **{name: one["psnr"].get(key, {}) for name, key in PSNR.items()},
            GAIN: gain,
            **{name: one["points"].get(key, {}) for name, key in POINTS.items()},
        }
        numbers = {
            f"{name}{end}": value.get(part, np.nan)
            for name, value in values.items()
            for part, end in (("mean", ""), ("low", "_low"), ("high", "_high"))
        }
        rows.append({key: one[key] for key in COLUMNS if key in one} | numbers)
    return pandas.DataFrame(rows, columns=list(COLUMNS))


def _by_task(row: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    card = row["card"]
    held_out = card.get("held_out") if isinstance(card, dict) else None
    if row.get("problem") or not held_out:
        return
    tasks = held_out.get("by_task") or {card["task"]: held_out}
    for task, numbers in tasks.items():
        yield {
            "task": task,
            "encoder": card["encoder"]["title"],
            "mode": card["trained"]["mode"],
            "steps": card["training"]["steps"],
            "episodes": len(numbers.get("psnr_of_episodes", ())),
            "together": len(tasks) > 1,
            "psnr": numbers.get("psnr", {}),
            "points": numbers.get("keypoints_on_hand_or_object", {}),
            "psnr_of_episodes": numbers.get("psnr_of_episodes", []),
            "same": _all_but_the_mode(card, task),
        }


def _all_but_the_mode(card: Mapping[str, Any], task: str) -> str:
    """Return what two adaptations have in common that differ in nothing but what of the encoder is trained."""
    training = {name: value for name, value in card["training"].items() if name not in ("seconds", "sessions")}
    parts = [task, card["encoder"]["weights_sha256"], card["data"]["sha256"], card["heads"]]
    return json.dumps([*parts, card["perceptual_network"], training], sort_keys=True)
