"""A user's mistake, or a signal, ends a command in one line and an exit code that is not 0."""

from __future__ import annotations

import errno
import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from .. import signals
from ..errors import BenchError, IntruderError, SimulationError

if TYPE_CHECKING:
    from pydantic import BaseModel

HOUSE = ("benchmark", "encoders", "tasks", "reports")

RESUMED = ("run", "ablate", "eval", "probe", "adapt", "pretrain")
"""Commands that go on with what they had done."""

LONGEST_PATH = 120
"""Characters of a path in a message about its name; the middle of a longer one is left out."""

LONGEST_WORD = 400
"""Characters of any other word, likewise."""

# Typer carries its own copy of click; this is the base of what it raises for a wrong command line.
UsageError: Any = typer.BadParameter.__bases__[0]


def guarded(action: Callable[[], Any], debug: bool) -> int:
    """Run an action, print a user's mistake in one line, and return the exit code."""
    try:
        check_house()
    except IntruderError as error:
        return _complain(str(error))
    from encoders.errors import EncoderError
    from encoders.memory import is_out_of_memory
    from tasks.errors import TaskError

    try:
        code = action()
    except (BenchError, EncoderError, TaskError) as error:
        if isinstance(error, SimulationError) and signals.ended():  # it reached the workers first
            return _say_ended(signals.exit_code())
        if debug:
            raise
        return _complain(str(error))
    except UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            typer.echo(error.ctx.get_help())
            return 0
        command = error.ctx.command_path if error.ctx else "bench"
        return _complain(f"{_setting_instead(error) or error.format_message()} (see `{command} --help`)")
    except (KeyboardInterrupt, typer.Abort):
        code = signals.INTERRUPTED
    except (MemoryError, RuntimeError, ValueError) as error:
        if debug or not is_out_of_memory(error):
            raise
        return _complain("out of memory; ask for less at a time, or use another --device")
    except OSError as error:
        if debug or error.filename is None:
            raise
        return _complain(_refused(error))
    if code == signals.INTERRUPTED:  # newer versions of typer return it, older ones raise
        return _say_ended(signals.exit_code())
    return code if isinstance(code, int) else 0


def check_house() -> None:
    """Check that our packages are not shadowed by others of the same name.

    Raises:
        IntruderError: another package of the same name comes first on Python's path.
    """
    home = Path(__file__).resolve().parents[2]
    for name in HOUSE:
        spec = importlib.util.find_spec(name)
        origin = Path(spec.origin).resolve() if spec and spec.origin else None
        if origin is None or origin.parents[1] != home:
            raise IntruderError(
                f"package '{name}' comes from {origin or 'nowhere'} and not from {home}: remove it from Python's path, "
                "or install hindex-bench into an environment of its own"
            )


def _setting_instead(error: Any) -> str:
    """Return what to give instead of an option that is a setting, such as ``bench adapt --steps``; else nothing."""
    command, option = error.ctx.info_name if error.ctx else "", getattr(error, "option_name", "")
    if not option or command not in ("run", "ablate", "adapt", "pretrain"):
        return ""
    from ..adapt.config import AdaptConfig
    from ..config import RunConfig
    from ..overrides import dotted_keys
    from ..pretrain.config import PretrainConfig

    models: dict[str, type[BaseModel]] = {"adapt": AdaptConfig, "pretrain": PretrainConfig}
    model = models.get(command, RunConfig)
    name = option.lstrip("-").replace("-", "_")
    keys = [key for key in dotted_keys(model) if key.rpartition(".")[2] == name]
    return f"there is no option {option}: give --set {keys[0]}=VALUE instead" if keys else ""


def _say_ended(code: int) -> int:
    """Print that a signal ended the command, and how to resume."""
    what = "terminated" if code == signals.TERMINATED else "interrupted"
    command = next((argument for argument in sys.argv[1:] if not argument.startswith("-")), "")
    how = "goes on from the last iteration" if command in RESUMED else "begins anew"
    typer.echo(f"bench: {what}; the same command {how}", err=True)
    return code


def _refused(error: OSError) -> str:
    """Return one line on what the operating system refused: the path, shortened, and why."""
    path, reason = os.fsdecode(error.filename), error.strerror or type(error).__name__
    if error.errno == errno.ENAMETOOLONG:
        longest = max(map(len, path.split("/")))
        return f"{_short(path)}: a name of {longest:,} characters is too long for a file; give a shorter one"
    return f"cannot use {_short(path)}: {reason}"


def _short(path: str) -> str:
    return path if len(path) <= LONGEST_PATH else f"{path[: LONGEST_PATH // 2]}...{path[-LONGEST_PATH // 2 :]}"


def _complain(line: str) -> int:
    words = (_short(word) if len(word) > LONGEST_WORD else word for word in line.split())
    typer.echo(f"bench: {' '.join(words)}", err=True)
    return 2
