"""BatchNorm's affine parameters before and after Stage 2, read from the files of an adaptation."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .findings import Finding
from .reading import Problem, naming
from .records import LARGEST, clean

if TYPE_CHECKING:
    import pandas

Tensors = Mapping[str, npt.NDArray[Any]]

DEPTHS = ("stem", "layer 1", "layer 2", "layer 3", "layer 4")


def affine_values(pretrained: Tensors, adapted: Tensors) -> pandas.DataFrame:
    """Return BatchNorm's affine parameters of a ResNet before and after Stage 2, one row a number.

    Args:
        pretrained: tensors by name, such as ``layer1.0.bn1.weight``; other tensors are left out.
        adapted: the same after Stage 2.

    Returns:
        Columns `layer` (``layer1.0.bn1``), `depth` (one of `DEPTHS`), `parameter` (``scale`` or ``offset``), `state`
        (``pretrained`` or ``adapted``) and `value`; only of tensors that both have.
    """
    import pandas

    parts = []
    for name in sorted(pretrained.keys() & adapted.keys()):
        found = re.search(r"(?:^|\.)((?:layer([1-4])\..*|bn1))\.(weight|bias)$", name)
        if not found or np.ndim(pretrained[name]) != 1:
            continue
        layer, stage, kind = found[1], found[2], {"weight": "scale", "bias": "offset"}[found[3]]
        depth = f"layer {stage}" if stage else DEPTHS[0]
        for state, tensors in (("pretrained", pretrained), ("adapted", adapted)):
            values = np.asarray(tensors[name], np.float64)
            parts.append(
                pandas.DataFrame({"layer": layer, "depth": depth, "parameter": kind, "state": state, "value": values})
            )
    columns = ["layer", "depth", "parameter", "state", "value"]
    return pandas.concat(parts, ignore_index=True) if parts else pandas.DataFrame(columns=columns)


def read_affine_values(pretrained: Path, adapted: Path) -> pandas.DataFrame:
    """Read the same from two safetensors files.

    Raises:
        Problem: a file cannot be read, or holds numbers that are not finite or are beyond all bounds.
    """
    import safetensors
    from safetensors.numpy import load_file

    tensors = []
    for path in (pretrained, adapted):
        with naming(path.name):
            try:
                tensors.append(load_file(path))
            except safetensors.SafetensorError as error:
                raise Problem(f"{path.name}: {clean(str(error))}") from error
    values = affine_values(*tensors)
    if not values["value"].abs().le(LARGEST).all():
        raise Problem(f"{pretrained.name} or {adapted.name}: a number is not finite, or beyond {LARGEST:g}")
    return values


def first_affine_values(adaptations: pandas.DataFrame) -> tuple[pandas.DataFrame | None, list[Finding]]:
    """Read the affine parameters of the first adaptation that has them, hindex's before others.

    Args:
        adaptations: of `reports.data.load.load_adaptations`, those with a `problem` left out.

    Returns:
        The columns of `affine_values` with `title`, `task` and `synthetic`, or None; and findings on files that cannot
        be read.
    """
    findings: list[Finding] = []
    rows = adaptations.to_dict("records")
    for row in sorted(rows, key=lambda row: (row["encoder"] != "hindex", str(row["task"]))):
        if row["pretrained"] is None or row["batchnorm"] is None:
            continue
        try:
            values = read_affine_values(row["pretrained"], row["batchnorm"])
        except Problem as problem:
            item = f"{clean(str(row['path'].parent))} ({problem})"
            findings.append(Finding("unreadable", "a Stage 2 result that cannot be read", items=(item,)))
            continue
        if len(values):
            about = {name: row[name] for name in ("title", "task")}
            return values.assign(**about, synthetic=bool(row["synthetic"])), findings
    return None, findings
