"""Run folders and packs of results as tables: one call per kind of thing, rows that a figure or table selects from.

A damaged file never stops a report: its row says so in `problem`, and `findings` puts it into words. Files are
read and checked here, once; nothing else in the package opens them, pictures and films excepted.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.config import usable_cores
from benchmark.errors import PackError
from benchmark.store import pack
from benchmark.store.episodes import OWN_BACKGROUND, SCHEDULE, own_evaluations
from benchmark.store.paths import user_path
from benchmark.store.titles import parts_of_folder

from . import records
from .reading import Problem, find, read_record
from .records import clean
from .reference import beside
from .run_files import FolderFiles, PackedFiles, RunFiles
from .run_folder import COLUMNS, LEFT_OUT, RunRow, read_run

if TYPE_CHECKING:
    import pandas

LABELS = ("suite", "task", "row", "title", "encoder", "variant", "weights_label", "seed", "status", "used", "synthetic")
CURVE_COLUMNS = (*LABELS, "iteration", "steps", "return", "success", "episodes")
EPISODE_COLUMNS = (*LABELS, "iteration", "background", "episode_seed", "return", "success", "length")
PROBE_COLUMNS = (
    *("task", "title", "encoder", "quantity", "dimensions", "r2", "low", "high", "clock_r2", "constant"),
    *("synthetic",),
)
ADAPTATION_COLUMNS = (
    *("task", "title", "encoder", "card", "batchnorm", "pretrained", "metrics", "strip", "keypoints", "synthetic"),
)


def load_runs(folder: Path | str, reference: Sequence[Path] = ()) -> pandas.DataFrame:
    """Return one row per run below `folder`, in run folders and packs, sorted by suite, task, title and seed.

    `folder` may be a pack itself. A pack that cannot be read has no rows, see `refused_packs`.

    Args:
        folder: of all runs.
        reference: packs whose runs are added where they can be compared, see `reports.data.reference.beside`.

    Columns:
        suite, task, title, seed: its place; `title` as the run wrote it, such as ``hindex+ema-0 (builtin)``.
        status: ``finished``, ``unfinished`` (no manifest), ``diverged`` (updates were no longer finite), ``altered``
            (files of a finished run differ from its manifest) or ``unreadable``.
        used: whether scores may use it: finished, not outdated, and no other run of the same row, task and seed goes
            first.
        outdated: whether the suite has finished runs of a later results version of the task, or of the frames, never
            pooled with these.
        task_version: the task's results version.
        frames_version: that of the frames in this quality; NaN where the policy sees the state.
        synthetic: whether it is invented, for tests; every figure has to say so.
        reference: whether it is one of the reference's.
        row: the name of its row in tables: the title, with the first digits of a hash where one title has two weights.
        suffix: these digits, else empty.
        encoder, variant: the name alone; the changed stage settings alone, such as ``ema-0``, else empty.
        weights_kind, weights_sha256, weights_label: ``official``, ``builtin``, ``random``, ...; the hash; ``(random)``.
        adaptation_sha256: of a Stage 2 result, else empty.
        adapt, ema_momentum, ema_scope, ema_reset, ema_streams, normalise, precision: the stages' settings; empty or NaN
            in folders that do not record them.
        return_first, return_cloned, return_last, return_best, and the same of success: means over the episodes of an
            evaluation on the training scene; NaN where there is none.
        iteration, steps: of the last line of metrics; environment steps of training.
        evaluations, episodes: how many evaluations; episodes in the last of them.
        unstable: episodes that the simulation gave up on.
        backgrounds: names of the shifted backgrounds that were evaluated, a tuple.
        computed: how features were, such as ``bfloat16 by openvino``; empty where there are none, or it is not known.
        wall_seconds, seconds, frames_per_second, memory_mb, gpu_memory_mb: time measured in all, the same by stage (a
            dict), frames per second in rollouts, peaks.
        device, machine, config, card, adaptation, identity: ``cpu`` or ``cuda``; what the folder records (dicts); hash.
        video, pictures, path: the film or None; ``{"start": path, "strip": path, ...}``; the folder.
        episode_table, steps_at: the evaluation episodes (a table or None) and environment steps by iteration (a dict).
        altered: names of the files that differ from the manifest, a tuple.
        problem: why it is altered or unreadable, else empty.

    Raises:
        FileNotFoundError: there is no such folder or file.
    """
    import pandas

    root = user_path(folder)
    if not root.exists():
        raise FileNotFoundError(f"{root} is no folder of runs")
    places = find(root)
    rows = _rows([FolderFiles(path) for path in places.runs], places.packs)
    tasks = {(row["suite"], row["task"]) for row in rows}
    rows += [row | {"reference": True} for row in beside(rows, _rows([], reference, tasks))]
    rows.sort(key=lambda row: (row["suite"], row["task"], row["title"], row["seed"], str(row["path"])))
    runs = pandas.DataFrame(rows, columns=list(COLUMNS))
    runs["suffix"] = _suffix(runs)
    runs["row"] = runs["title"] + runs["suffix"]
    runs["outdated"] = _outdated(runs)
    runs["used"] = _used(runs)
    return runs


def _rows(
    files: Sequence[RunFiles], packs: Iterable[Path], tasks: Container[tuple[str, str]] | None = None
) -> list[RunRow]:
    """Return the rows of run folders and of the runs in packs; of these on all tasks, or on some of a suite."""
    files = list(files)
    for path in packs:
        with suppress(PackError):
            files += [PackedFiles(path, run) for run in pack.read(path) if tasks is None or run.place[:2] in tasks]
    with ThreadPoolExecutor(usable_cores()) as pool:  # hashing, which takes longest, runs beside other threads
        return list(pool.map(read_run, files))


def refused_packs(folder: Path | str) -> list[tuple[Path, str]]:
    """Return the packs below `folder` that cannot be read, each with the reason."""
    refused = []
    for path in find(user_path(folder)).packs:
        try:
            pack.read(path)
        except PackError as error:
            refused.append((path, clean(str(error).removeprefix(f"{path}: "))))
    return refused


def load_curves(runs: pandas.DataFrame) -> pandas.DataFrame:
    """Return one row per evaluation of each of these `runs`, unfinished ones included.

    Columns: `LABELS` as in `load_runs`, then `iteration` (-1 untrained, 0 cloned), `steps` (environment steps of
    training until then), `return`, `success` and `episodes` (means over so many on the training scene).
    """
    import pandas

    episodes = _episodes(runs)
    if episodes.empty:
        return pandas.DataFrame(columns=list(CURVE_COLUMNS))
    places = [(run, *step) for run, steps in readable(runs)["steps_at"].items() for step in steps.items()]
    steps = pandas.DataFrame(places, columns=["run", "iteration", "steps"])
    curves = own_evaluations(episodes, ["run", "iteration"]).reset_index().merge(steps, on=["run", "iteration"])
    return curves.join(runs[list(LABELS)], on="run")[list(CURVE_COLUMNS)]


def load_episodes(runs: pandas.DataFrame) -> pandas.DataFrame:
    """Return one row per evaluation episode of each of these `runs`, shifted backgrounds included.

    Columns: `LABELS` as in `load_runs`, then `iteration`, `background` (``default`` is the training scene),
    `episode_seed`, `return`, `success` and `length`.
    """
    import pandas

    episodes = _episodes(runs)
    if episodes.empty:
        return pandas.DataFrame(columns=list(EPISODE_COLUMNS))
    return episodes.join(runs[list(LABELS)], on="run")[list(EPISODE_COLUMNS)].reset_index(drop=True)


def load_probe(folder: Path | str) -> pandas.DataFrame:
    """Return one row per quantity that a probe read from features: ``probe/<title>/<task>.json`` below `folder`.

    Columns: `task`, `title`, `encoder` (name alone), `quantity`, `dimensions` (names), `r2` with its `low` and `high`,
    `clock_r2` (from the time in the episode alone; NaN in files that do not record it), `constant` (the quantity does
    not vary, so there is no r2), `synthetic`, `path` and `problem` (empty, or why the file cannot be read).
    """
    return _side_files(find(user_path(folder)).probes, _probe, PROBE_COLUMNS)


def load_adaptations(folder: Path | str) -> pandas.DataFrame:
    """Return one row per Stage 2 result below `folder`: ``adapt/<task>/<title>/card.json`` and what lies beside it.

    Columns: `task`, `title`, `encoder` (name alone), `card` (dict), `batchnorm` and `pretrained` (paths or None),
    `metrics`, `strip` (paths or None), `keypoints` (a tuple of paths), `synthetic`, `path` and `problem`.
    """
    return _side_files(find(user_path(folder)).adaptations, _adaptation, ADAPTATION_COLUMNS)


def load_published() -> pandas.DataFrame:
    """Return published numbers that were read in their source, drawn beside runs and never pooled with them.

    Columns: `task`, `encoder`, `quantity`, `value`, `source`. ``published.csv`` also has numbers that are marked as
    recalled: they wait for someone to check them.
    """
    import pandas

    table = pandas.read_csv(Path(__file__).parents[1] / "published.csv")
    return table[table["mark"] == "read"].drop(columns="mark").reset_index(drop=True)


def suites(runs: pandas.DataFrame) -> list[str]:
    """Return the suites, that with most usable runs first; they are never pooled."""
    counted = runs.groupby("suite")["used"].sum()
    return sorted(counted.index, key=lambda suite: (-counted[suite], suite))


def _suffix(runs: pandas.DataFrame) -> pandas.Series:
    """Return what tells titles apart by hash where one has two weights or, on one task, two adaptations of them.

    Official weights may have a file for every task: then hashes are compared within a task. Where that splits one
    task's runs, the rarer hash gets the suffix; a title with two weights over the suite gets it on all.
    """
    by_task = runs["card"].map(_has_a_file_a_task) & (runs["weights_kind"] == "official")
    task = runs["task"].where(by_task, "")
    suffix = _suffixes(runs["weights_sha256"], [runs["suite"], runs["title"], task], keep_usual=by_task)
    adapted = [runs["suite"], runs["title"], runs["task"], suffix]
    return suffix + _suffixes(runs["adaptation_sha256"], adapted, keep_usual=runs["task"] != "")


def _suffixes(hashes: pandas.Series, groups: list[pandas.Series], keep_usual: pandas.Series) -> pandas.Series:
    """`` #12345678`` for hashes that share a group with another one, else nothing."""
    suffix = hashes.map(lambda digest: "")
    for _, group in hashes[hashes != ""].groupby(groups):
        counts = group.value_counts()
        if len(counts) < 2:
            continue
        usual = max(counts.index, key=lambda digest: (counts[digest], digest)) if keep_usual[group.index[0]] else ""
        other = group[group != usual]
        suffix[other.index] = " #" + other.str[:8]
    return suffix


def _has_a_file_a_task(card: dict[str, Any]) -> bool:
    sources = card.get("sources") or ()
    return any(isinstance(source, dict) and bool(source.get("task")) for source in sources)


def _outdated(runs: pandas.DataFrame) -> list[bool]:
    """Return whether the same suite has a finished run of a later results version, of a run's task or of its frames."""
    earlier = []
    for version, shared in (("task_version", ["suite", "task"]), ("frames_version", ["suite"])):
        finished = runs[version].where(runs["status"] == "finished").astype(float)
        latest = finished.groupby([runs[column] for column in shared]).transform("max")
        earlier.append(runs[version].astype(float) < latest)
    return list(earlier[0] | earlier[1])


def _used(runs: pandas.DataFrame) -> list[bool]:
    """Return the first finished run of each row, task and seed of a suite that is not outdated."""
    finished = runs[(runs["status"] == "finished") & ~runs["outdated"]]
    first = ~finished.duplicated(["suite", "task", "row", "seed"])
    return list(first.reindex(runs.index, fill_value=False))


def readable(runs: pandas.DataFrame) -> pandas.DataFrame:
    """Return the runs whose files could be read and are as their manifest says, where there is one."""
    return runs[~runs["status"].isin(LEFT_OUT)]


def _episodes(runs: pandas.DataFrame) -> pandas.DataFrame:
    """Return the episodes of all readable runs below each other, with the index of the run in column `run`."""
    import pandas

    parts = [
        (table if "split" in table else table.assign(split=SCHEDULE)).assign(run=run)
        for run, table in readable(runs)["episode_table"].items()
        if len(table)
    ]
    if not parts:
        return pandas.DataFrame({"run": []})
    return pandas.concat(parts, ignore_index=True).rename(columns={"seed": "episode_seed"})


def _side_files(
    paths: Sequence[Path], read: Callable[[Path], list[dict[str, Any]]], columns: Iterable[str]
) -> pandas.DataFrame:
    import pandas

    rows: list[dict[str, Any]] = []
    for path in paths:
        try:
            rows += [{**row, "path": path, "problem": ""} for row in read(path)]
        except (Problem, OSError) as error:
            rows.append({"path": path, "problem": clean(str(error)), "synthetic": False})
    return pandas.DataFrame(rows, columns=[*columns, "path", "problem"])


def _probe(path: Path) -> list[dict[str, Any]]:
    content = read_record(path, records.Probe)
    if content is None:
        return []
    here = {
        "task": content.task,
        "title": content.title,
        "encoder": parts_of_folder(content.title).encoder,
        "synthetic": bool(content.synthetic),
    }
    return [here | row.model_dump() for row in content.rows]


def _adaptation(path: Path) -> list[dict[str, Any]]:
    card, folder = read_record(path, records.AdaptationCard) or records.AdaptationCard(), path.parent
    names = {"batchnorm": "batchnorm.safetensors", "pretrained": "pretrained.safetensors"}
    files = {key: folder / name for key, name in (names | {"metrics": "metrics.jsonl", "strip": "strip.png"}).items()}
    about = {"task": clean(folder.parent.name), "title": clean(folder.name), "synthetic": bool(card.synthetic)}
    about["encoder"] = parts_of_folder(folder.name).encoder
    pictures = (file for file in sorted((folder / "keypoints").glob("*.png")) if file.is_file())
    found = {key: file if file.is_file() else None for key, file in files.items()}
    return [{**about, "card": card.model_dump(exclude_unset=True), **found, "keypoints": tuple(pictures)}]


__all__ = [
    "OWN_BACKGROUND",
    "load_adaptations",
    "load_curves",
    "load_episodes",
    "load_probe",
    "load_published",
    "load_runs",
    "readable",
    "refused_packs",
    "suites",
]
