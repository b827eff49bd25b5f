"""The plates of what is seen: tasks (Figure 3), background shift (12), Stage 2 (10, 11) and the probe."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from ..analysis.background_shift import ALL_SHIFTED
from ..analysis.stage2 import FROZEN
from ..data.collect import Material, Suite
from ..data.findings import Finding
from ..data.reading import Problem
from ..data.records import clean
from .adaptation import affine_distributions, read_affine_values
from .costs import probe_heat_map
from .encoder_styles import encoder_name
from .score_specifications import PAPER_ENCODERS, command
from .specification import Plate
from .tasks import background_grid, background_returns, keypoint_grid, task_strips

if TYPE_CHECKING:
    import pandas

UNSHIFTED = "training scene"


def task_plates(suite: Suite) -> list[Plate]:
    """Figure 3."""
    import pandas

    rows = []
    for task, runs in suite.runs[suite.runs["pictures"].map(len) > 0].groupby("task"):
        # A trajectory that reaches its goal shows more than one that does not; official weights before stand-ins.
        best = runs.assign(goal=runs["pictures"].map(lambda found: "goal" in found))
        run = best.sort_values(["goal", "success_last", "return_last"], ascending=False).iloc[0]
        shown = {name: run["pictures"].get(name) for name in ("start", "goal", "strip")}
        rows.append({"task": task, **shown, "source": run["row"], "synthetic": run["synthetic"]})
    pictures = pandas.DataFrame(rows)
    by = ", ".join(sorted({str(row["source"]) for row in rows}))
    return [
        Plate(
            "fig03_tasks",
            "Figure 3: the tasks",
            "For each task: the initial configuration, the frame in which the goal is reached, and one trajectory of a "
            f"trained policy, as the encoder sees it. Trajectories by {by}.",
            partial(task_strips, pictures) if rows else None,
            command(suite, "run --encoder hindex --task all --seed 0"),
            "no run with pictures",
            wide=True,
        )
    ]


def background_plates(suite: Suite) -> list[Plate]:
    """Figure 12, twice: what the backgrounds look like, and what they cost."""
    evaluate = command(suite, "ablate background --seed 0,1,2")
    looks = _background_pictures(suite)
    kept = _background_returns(suite)
    return [
        Plate(
            "fig12_backgrounds",
            "Figure 12: the shifted backgrounds",
            "The same first frame on the training scene and under the shifted backgrounds.",
            None if looks is None else partial(background_grid, looks),
            evaluate,
            "no run folder with pictures of shifted backgrounds",
            wide=True,
        ),
        Plate(
            "fig12_background_returns",
            "Figure 12: return under shifted backgrounds",
            "Return of the trained policy under each background, per cent of its return on the training scene, on the "
            "same initial states; no retraining. Whiskers: one standard deviation over seeds.",
            None if kept is None else partial(background_returns, kept, note="same initial states"),
            evaluate,
            "no run that was evaluated on shifted backgrounds",
            tables=("background-shift",),
        ),
    ]


def probe_plates(material: Material) -> list[Plate]:
    """What the encoders see."""
    probe = material.probe
    found = probe[probe["problem"] == ""].dropna(subset=["r2"]) if len(probe) else probe
    return [
        Plate(
            "probe",
            "What the encoders see",
            "R² of a ridge regression from frozen features to quantities of the scene, on held-out episodes, mean over "
            "tasks; 0 is as good as guessing the mean, negative values are drawn as 0. The clock: the same regression "
            "from the time in the episode alone.",
            partial(probe_heat_map, found) if len(found) else None,
            f"bench probe --encoder {PAPER_ENCODERS} --task all --out {quote(str(material.folder))}",
            "no probe",
            wide=True,
            tables=("probe",),
        )
    ]


def adaptation_plates(material: Material) -> tuple[list[Plate], list[Finding]]:
    """Figures 10 and 11, and files that cannot be read."""
    table = material.adaptations
    sound = table[(table["problem"] == "") & table["card"].map(_changed)] if len(table) else table
    keypoints = sound[sound["keypoints"].map(len) > 0] if len(sound) else sound
    adapt = f"bench adapt --encoder frankmocap_hand --task all --out {quote(str(material.folder))}"
    plates = [
        Plate(
            "fig10_keypoints",
            "Figure 10: keypoints of Stage 2",
            "Keypoints that the adapted encoder's model finds on frames of the tasks.",
            partial(keypoint_grid, keypoints) if len(keypoints) else None,
            adapt,
            "no Stage 2 result with keypoints",
            wide=True,
        )
    ]
    chosen, findings = _affine_values(sound)
    note = "" if chosen is None else f"{chosen[0]['title']} on {chosen[0]['task']}"
    values = None if chosen is None else chosen[1]
    plates.append(
        Plate(
            "fig11_batchnorm",
            "Figure 11: BatchNorm's affine parameters before and after Stage 2",
            "Histograms and Gaussian fits of scales and offsets by depth of the network, before and after.",
            None if values is None else partial(affine_distributions, values, note=note),
            adapt,
            "no Stage 2 result that has BatchNorm's parameters from before and after",
        )
    )
    return plates, findings


def _changed(card: Any) -> bool:
    """Whether an adaptation changed the encoder, not the heads alone."""
    return not isinstance(card, dict) or card.get("trained", {}).get("mode") != FROZEN


def _affine_values(table: pandas.DataFrame) -> tuple[tuple[dict[str, Any], pandas.DataFrame] | None, list[Finding]]:
    """The first Stage 2 result that can be read, and findings on those that cannot."""
    findings: list[Finding] = []
    rows = table.to_dict("records")
    for row in sorted(rows, key=lambda row: (encoder_name(str(row["title"])) != "hindex", str(row["task"]))):
        if row["pretrained"] is None or row["batchnorm"] is None:
            continue
        try:
            values = read_affine_values(row["pretrained"], row["batchnorm"])
        except Problem as problem:
            item = f"{clean(str(row['path'].parent))} ({problem})"
            findings.append(Finding("unreadable", "a Stage 2 result that cannot be read", items=(item,)))
            continue
        if len(values):
            return (row, values.assign(synthetic=bool(row["synthetic"]))), findings
    return None, findings


def _background_pictures(suite: Suite) -> pandas.DataFrame | None:
    import pandas

    for pictures in suite.runs["pictures"]:
        shifted = {_number(name): path for name, path in pictures.items() if name.startswith("background-")}
        if not shifted:
            continue
        shown = dict(sorted(shifted.items()))
        rows = [{"background": background_name(number), "picture": path} for number, path in shown.items()]
        if 0 not in shown and "start" in pictures:
            rows.insert(0, {"background": UNSHIFTED, "picture": pictures["start"]})
        return pandas.DataFrame(rows).assign(synthetic=suite.synthetic)
    return None


def _background_returns(suite: Suite) -> pandas.DataFrame | None:
    table = suite.shift
    table = table.assign(value=100 - table["drop"]).dropna(subset=["value"])
    if table.empty:
        return None
    deviation = table["drop_deviation"].where(table["runs"] > 1)
    names = [_shown_background(name) for name in table["background"]]
    return table.assign(
        background=names, low=table["value"] - deviation, high=table["value"] + deviation, synthetic=suite.synthetic
    )


def _shown_background(name: str) -> str:
    return "mean of shifted" if name == ALL_SHIFTED else background_name(_number(name))


def background_name(number: int) -> str:
    """A background's number and what one sees.

    >>> background_name(3)
    '3 granite'
    """
    from tasks.scene.backgrounds import BACKGROUNDS

    names = {background.number: background.name for background in BACKGROUNDS}
    return f"{number} {names[number]}" if number in names else str(number)


def _number(name: str) -> int:
    digits = "".join(letter for letter in Path(name).name if letter.isdigit())
    return int(digits) if digits else -1
