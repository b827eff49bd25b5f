"""Every command block of the README and of docs/ runs as it is written, small and offline, or says why it does not."""

import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer

from benchmark.cli.app import app
from benchmark.cli.mistakes import UsageError
from benchmark.config import configure

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(
    r"(?:^<!-- not run: (?P<reason>[^\n]*) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S
)
SHELLS = ("bash", "sh", "console")
SECONDS = 1200
QUICK = re.compile(r"bench (encoders$|encoders show|encoders '|tasks$|assets list|demos list|verify|weights list)")
FINISHED_RUNS = re.compile(r"bench (report|eval|verify|results pack) runs|paper_figure")
NO_NETWORK = "http://127.0.0.1:9"
IMAGENET = "resnet50-0676ba61.pth"


@dataclass(frozen=True)
class Block:
    """A fenced block: where it stands, its language, its text, and why it is not run."""

    place: str
    language: str
    text: str
    reason: str | None

    @property
    def commands(self):
        """The words of each command."""
        lines = self.text.replace("\\\n", " ").splitlines()
        words = [shlex.split(line, comments=True) for line in lines]
        return [part for line in words if line for part in split_at_and(line)]

    @property
    def quick(self):
        if self.language == "python":
            return "run(" not in self.text
        return all(QUICK.match(" ".join(words)) for words in self.commands)


def split_at_and(words):
    while "&&" in words:
        yield words[: words.index("&&")]
        words = words[words.index("&&") + 1 :]
    yield words


def blocks(page):
    text = page.read_text()
    for found in FENCE.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        place = f"{page.relative_to(ROOT)}:{line}"
        yield Block(place, found["language"], found["text"], found["reason"])


BLOCKS = [block for page in PAGES for block in blocks(page)]
SHELL_BLOCKS = [block for block in BLOCKS if block.language in SHELLS]
RUN = [block for block in BLOCKS if block.language in (*SHELLS, "python") and block.reason is None]


def by_place(chosen):
    return [
        pytest.param(block, id=block.place, marks=[] if block.quick or block.reason else [pytest.mark.slow])
        for block in chosen
    ]


def parsed(words):
    """Parse the words of a ``bench`` command as the command line does; return its name and parameters.

    Raises:
        UsageError: there is no such command or option, a value is of the wrong type, or an argument is missing.
    """
    command = typer.main.get_command(app)
    context = command.make_context("bench", list(words), resilient_parsing=False)
    name = []
    while getattr(command, "commands", None) and (rest := [*context._protected_args, *context.args]):
        step, command, rest = command.resolve_command(context, rest)
        context = command.make_context(step, list(rest), parent=context)
        name.append(step)
    return " ".join(name), context.params


def bench_commands(block):
    return [words[1:] for words in block.commands if Path(words[0]).name == "bench"]


# The pages.


def test_every_fence_is_closed_and_of_a_known_language():
    for page in PAGES:
        assert page.read_text().count("\n```") % 2 == 0, page
    assert {block.language for block in BLOCKS} <= {*SHELLS, "python", ""}


def test_every_mark_stands_before_a_block_and_has_a_reason():
    marks = sum(page.read_text().count("<!-- not run") for page in PAGES)
    reasons = [block.reason for block in BLOCKS if block.reason is not None]
    assert marks == len(reasons)
    assert all(len(reason) > 8 for reason in reasons)


@pytest.mark.parametrize("block", [pytest.param(block, id=block.place) for block in SHELL_BLOCKS])
def test_every_command_and_option_exists(block):
    for words in bench_commands(block):
        try:
            name, parameters = parsed(words)
        except UsageError as error:
            pytest.fail(f"{block.place}: bench {shlex.join(words)}: {error.format_message()}")
        if name == "run":
            configure(parameters["preset"], parameters["set_"] or (), task="door", encoder="random")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_option_in_a_sentence_exists(page):
    text = FENCE.sub("", page.read_text())
    for span in re.findall(r"`(bench [^`]*)`", text):
        words = span.split()[1:]
        path = [word for word in words if not word.startswith("-")]
        command = typer.main.get_command(app)
        while path and path[0] in getattr(command, "commands", {}):
            command = command.commands[path.pop(0)]
        assert command.name != "bench" or words[0] == "--help", f"{page.name}: no command `{span}`"
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        asked = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert asked <= known | {"--help", "--debug"}, f"{page.name}: `{span}`"


def test_what_does_not_exist_is_found():
    with pytest.raises(UsageError):
        parsed(["run", "--tsk", "door"])
    with pytest.raises(UsageError):
        parsed(["weights", "fetsh", "r3m"])
    assert parsed(["encoders", "show", "vc1"])[0] == "encoders show"


# The blocks, run.


@pytest.fixture(scope="session")
def programs(tmp_path_factory):
    """A folder with ``bench`` made small and the Python that runs the tests."""
    folder = tmp_path_factory.mktemp("bin")
    small = Path(__file__).with_name("small_bench.py")
    for name, line in {
        "bench": f"{shlex.join([sys.executable, str(small)])}",
        "python": shlex.quote(sys.executable),
    }.items():
        script = folder / name
        script.write_text(f'#!/bin/sh\nexec {line} "$@"\n')
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return folder


@pytest.fixture(scope="session")
def environment(programs, tmp_path_factory):
    """A home and a cache that are empty at first, and no network."""
    home = tmp_path_factory.mktemp("home")
    own = {
        "HOME": str(home),
        "HINDEX_BENCH_CACHE": str(home / "cache"),
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "HF_HUB_OFFLINE": "1",
    }
    return os.environ | own | dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), NO_NETWORK)


@pytest.fixture(scope="session")
def imagenet_file(tmp_path_factory):
    """A file of the layout of torchvision's ResNet-50, with random weights."""
    import torch
    from torchvision.models import resnet50

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / IMAGENET
    torch.save(resnet50().state_dict(), path)
    return path


@pytest.fixture
def folder(tmp_path, environment, request):
    """Lay out what a reader has at a block: the examples, the page's own ``mine.py``, weights, and finished runs."""

    def lay_out(block):
        shutil.copytree(ROOT / "examples", tmp_path / "examples")
        (tmp_path / "mine.py").write_text(own_encoder(block.place.partition(":")[0]))
        if IMAGENET in block.text:
            (tmp_path / IMAGENET).symlink_to(request.getfixturevalue("imagenet_file"))
        if (
            re.search(r"bench (report|eval|verify|results pack) runs|paper_figure", block.text)
            and "bench run" not in block.text
        ):
            shell("bench run --encoder mine.py:Mine --task door --out runs", tmp_path, environment)
        if "door.npz" in block.text and "collect" not in block.text:
            shutil.copy(request.getfixturevalue("demonstration_file")("door"), tmp_path / "door.npz")
        return tmp_path

    return lay_out


def own_encoder(page):
    """Return the encoder that a page shows as ``mine.py``, the README's where it shows none."""
    for name in (page, "README.md"):
        for block in BLOCKS:
            if block.place.startswith(f"{name}:") and block.language == "python" and "class Mine(" in block.text:
                return block.text
    raise AssertionError("no page shows mine.py")


def shell(text, folder, environment):
    command = ["bash", "-euo", "pipefail", "-c", text]
    done = subprocess.run(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS
    )
    assert done.returncode == 0, f"{text}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    assert "Traceback" not in done.stderr
    return done


@pytest.mark.parametrize("block", by_place(RUN))
def test_a_block_runs(block, folder, environment):
    if "--launcher ray" in block.text:
        pytest.importorskip("ray")
    where = folder(block)
    if block.language == "python":
        (where / "block.py").write_text(block.text)
        shell("python block.py", where, environment)
    else:
        shell(block.text, where, environment)


def test_most_blocks_run():
    assert len(RUN) > 2 * sum(block.reason is not None for block in BLOCKS)
