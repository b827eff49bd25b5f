"""``bench results``: finished runs as one small file that others can check, compare with and report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from ..errors import ConfigError, OutputError, PackError
from ..store.paths import user_path

if TYPE_CHECKING:
    import pandas

    from reports.analysis.bootstrap import Estimate
    from reports.analysis.paired import Paired
    from reports.analysis.scores import Measure

MEASURES = ("return_best", "return_last", "success_best", "success_last")

Runs = Annotated[
    list[Path], typer.Argument(parser=user_path, metavar="RUNS...", help="Folders of runs, or packs to join.")
]
Pack = Annotated[Path, typer.Argument(parser=user_path, help="A pack, NAME.pack.zip.")]

app = typer.Typer(help="Results as packs: small files without weights, to keep and to share.", no_args_is_help=True)


@app.command()
def pack(
    runs: Annotated[
        list[Path], typer.Argument(parser=user_path, metavar="RUNS...", help="Folders of runs, or packs to join.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            parser=user_path, metavar="FILE", help="NAME.pack.zip; by default named after RUNS, and beside it."
        ),
    ] = None,
) -> None:
    """Write the finished runs of RUNS into one archive: episodes, metrics, cards and identities."""
    from ..store import packing

    made = packing.make(runs, out)
    for line in made.left_out:
        typer.echo(f"left out: {line}", err=True)
    typer.echo(f"{made.path}: {_count(made.runs, 'run')}, {made.path.stat().st_size / 1000:.0f} kB")


@app.command()
def add(
    file: Pack,
    to: Annotated[Path, typer.Option(parser=user_path, metavar="DIR", help="Folder of all runs.")] = Path("runs"),
) -> None:
    """Check a pack's members and copy it into a folder of runs, where `bench report` takes it too."""
    from ..store import packing

    typer.echo(packing.add(file, to))


@app.command()
def check(file: Pack) -> None:
    """Look for what cannot be in a pack: changed members, missing facts, runs that contradict themselves."""
    from reports.data.plausibility import check as look

    verdict = look(file)
    for note in verdict.notes:
        typer.echo(f"note: {note}")
    for fault in verdict.faults:
        typer.echo(f"fault: {fault}")
    typer.echo(f"{file}: {_count(verdict.runs, 'run')}, {_count(len(verdict.faults), 'fault')}")
    if verdict.faults:
        raise typer.Exit(1)


@app.command()
def compare(
    one: Annotated[Path, typer.Argument(parser=user_path, metavar="A", help="A pack or a folder of runs.")],
    two: Annotated[Path, typer.Argument(parser=user_path, metavar="B", help="Another, or the same.")],
    encoder: Annotated[str, typer.Option(help="An encoder's row in A; by default every one that B has, too.")] = "",
    against: Annotated[str, typer.Option(help="The row in B that it is compared with; by default its own.")] = "",
    measure: Annotated[str, typer.Option(help=f"What is compared: {', '.join(MEASURES)}.")] = MEASURES[0],
) -> None:
    """Compare encoders run by run, paired by task and seed: differences with intervals, probability of improvement."""
    from reports.analysis import paired

    if measure not in MEASURES:
        raise ConfigError(f"--measure {measure}: expected {', '.join(MEASURES)}")
    ours, theirs = _usable(one), _usable(two)
    compared, failures = 0, []
    for row, other in paired.choose(ours, theirs, encoder, against):
        try:
            for found in paired.pair(ours, theirs, row, other, cast("Measure", measure)):
                _print_paired(found)
                compared += 1
        except paired.NotComparable as error:
            failures.append(error)
    if failures and not compared:
        raise failures[0]
    for failure in failures:
        typer.echo(f"left out: {failure}", err=True)


def _usable(path: Path) -> pandas.DataFrame:
    """Return the runs of a pack or folder; a pack that cannot be read is refused."""
    from reports.data.load import load_runs, refused_packs

    if not path.exists():
        raise OutputError(f"{path} is neither a pack nor a folder of runs")
    for place, why in refused_packs(path):
        raise PackError(f"{place}: {why}")
    return load_runs(path)


def _print_paired(found: Paired) -> None:
    from rich.table import Table

    from reports.analysis.paired import differences, improvement, mean_difference

    from .console import output

    table = Table(title=f"{found.row} against {found.other}: {found.measure}, suite {found.suite}")
    for name in ("task", "pairs", "mean", "other's mean", "difference", "95 % interval"):
        table.add_column(name, justify="left" if name == "task" else "right", no_wrap=True)
    for line in differences(found).itertuples():
        interval = "one pair" if line.pairs < 2 else f"[{line.low:+.3g}, {line.high:+.3g}]"
        means = f"{line.row:.3g}", f"{line.other:.3g}", f"{line.difference:+.3g}"
        table.add_row(str(line.task), str(line.pairs), *means, interval)
    mean, better = mean_difference(found), improvement(found)
    unit = "points" if found.measure.startswith("success") else "points of the better one's mean return"
    console = output()
    console.print(table)
    console.print(f"Mean over {_count(len(found.tasks), 'task')}: {_with_interval(mean, '+.1f')} {unit}")
    console.print(f"Probability of improvement: {_with_interval(better, '.2f')}")
    pairs = f"{_count(sum(found.pairs), 'pair')} by task and seed, {found.equal} of them equal to the bit"
    console.print(f"{pairs}; {_count(found.alone, 'run')} without a partner")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _with_interval(estimate: Estimate, form: str) -> str:
    """Return a value, and its interval in brackets where there is one."""
    value, low, high = (float(each) for each in (estimate.value, estimate.corrected_low, estimate.corrected_high))
    return f"{value:{form}}" + (f" [{low:{form}}, {high:{form}}]" if low == low else "")


@app.command()
def card(
    file: Pack,
    dataset: Annotated[str, typer.Option(metavar="OWNER/NAME", help="The benchmark's data set on the Hub.")],
    out: Annotated[Path, typer.Option(parser=user_path, metavar="DIR", help="Where to write.")] = Path("card"),
) -> None:
    """Write what the Hugging Face Hub reads: README.md of a data set with the pack, .eval_results of each encoder."""
    from reports.analysis.scores import row_order
    from reports.data import hub

    from ..store import atomic

    if dataset.count("/") != 1:
        raise ConfigError(f"--dataset {dataset}: expected OWNER/NAME, the id of a data set on the Hub")
    runs = _usable(file)
    contents = {out / "README.md": hub.dataset_card(runs, [file.name])}
    for row in row_order(runs[runs["used"]]):
        name = "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in row).strip("-")
        contents[out / ".eval_results" / f"hindex-bench-{name}.yaml"] = hub.eval_results(runs, row, dataset)
    for path, text in contents.items():
        with atomic.naming_failures(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        atomic.write_bytes(path, text.encode())
        typer.echo(path)


@app.command()
def schema() -> None:
    """Print the JSON Schema of `runs.json` in a pack."""
    import json

    from reports.data.pack_schema import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))
