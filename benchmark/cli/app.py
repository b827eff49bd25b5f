"""The ``bench`` command: parse, call, print. Everything heavy is imported inside the commands."""

from __future__ import annotations

import logging
import os
import sys

import typer

from .. import environment, signals
from . import assets, demonstrations, encoders, results, tasks, weights
from .adapt import adapt
from .evaluate import evaluate
from .examine import doctor, verify
from .leaderboard import leaderboard
from .mistakes import guarded
from .pretrain import pretrain
from .probe import probe
from .report import report
from .run import ablate, run
from .status import status

app = typer.Typer(
    name="bench",
    help="The comparative benchmark for visual representations in dexterous manipulation. "
    "A mistake is reported in one line; --debug, anywhere, adds the traceback.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(run)
app.command()(status)
app.command()(report)
app.command()(leaderboard)
app.command()(ablate)
app.command("eval")(evaluate)
app.command()(probe)
app.command()(adapt)
app.command()(pretrain)
app.command()(verify)
app.command()(doctor)
app.add_typer(demonstrations.app, name="demos")
app.add_typer(weights.app, name="weights")
app.add_typer(assets.app, name="assets")
app.add_typer(tasks.app, name="tasks")
app.add_typer(encoders.app, name="encoders")
app.add_typer(results.app, name="results")


def main() -> None:
    """Run the command line; a user's mistake is one line and exit code 2."""
    # Torch's threads would spin at the end of every loop of an update. On a machine that does nothing else an update
    # takes up to 1.4 times as long without that, beside two busy processes 0.4 times.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    environment.print_what_fits()
    logging.basicConfig(level=logging.DEBUG if debug else logging.WARNING, format="bench: %(message)s")
    with signals.raising_terminated():
        code = guarded(lambda: app(args=arguments, prog_name="bench", standalone_mode=False), debug)
    sys.exit(code)
