"""A seeded campaign of damage: files that this project reads back are damaged at random, then read by its commands.

Whatever is damaged, a command ends in one of three ways: with the numbers of an undamaged file, with one clear line and
a code that is not 0, or, in a report, with the folder named and left out. A traceback, a hang or another number fails.
``pytest tests/system/test_damage_campaign.py -m slow -s`` prints the figures of the whole campaign.
"""

import collections
import contextlib
import importlib.util
import io
import os
import shutil
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from benchmark.cli import app as cli
from benchmark.cli import mistakes
from benchmark.store import run_folder as store
from benchmark.store.run_folder import RunFolder

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="the deadline of a command needs setitimer")

SEED = 12
PATIENCE = 60.0
SETTINGS = {
    "demonstrations.episodes": 2,
    "learner.iterations": 3,
    "learner.trajectories_per_iteration": 2,
    "learner.policy_hidden": "[8]",
    "learner.value_batch_size": 8,
    "evaluation.episodes": 2,
    "evaluation.every": 1,
    "rollout.horizon": 6,
    "rollout.slots": 2,
    "torch_threads": 1,
}
TIMES = ("seconds", "steps_per_second", "memory_mb", "gpu_memory_mb")


def _load_damage():
    name = "hindex_bench_damage"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name("damage.py"))
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


damage = _load_damage()


class Outcome(NamedTuple):
    """How a command ended: its exit code, or why there is none; and what it printed."""

    code: int
    said: str
    fault: str = ""


class _Late(BaseException):
    """The command did not end in time."""


@contextlib.contextmanager
def deadline():
    def ring(*_):
        raise _Late

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def attempt(action):
    """Do something as a command does it: mistakes become lines; whatever else is raised is a fault."""
    said = io.StringIO()
    fault, code = "", 0
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            with deadline():
                code = mistakes.guarded(action, False)
        except _Late:
            fault = "hang"
        except BaseException:  # noqa: BLE001  what a command must not let through is what is looked for
            last = traceback.format_exc().strip().splitlines()
            fault = f"traceback: {last[-1][:150]} at {[line for line in last if 'File' in line][-1].strip()}"
    text = said.getvalue()
    if not fault and "Traceback (most recent call last)" in text:
        fault = "traceback printed"
    if not fault and code and not text.strip():
        fault = f"code {code} without a word"
    return Outcome(code, text, fault)


def bench(*arguments):
    """Run ``bench ARGUMENTS`` in this process."""
    return attempt(lambda: cli.app(args=[str(part) for part in arguments], prog_name="bench", standalone_mode=False))


def options(encoder, source, out, seed=0):
    pairs = SETTINGS | {"demonstrations.source": source}
    chosen = [part for key, value in pairs.items() for part in ("--set", f"{key}={value}")]
    return ["run", "--task", "pen", "--encoder", encoder, "--workers", 0, "--seed", seed, *chosen, "--out", out]


def cells(out):
    return sorted(path.parent for path in Path(out).rglob("identity.json") if "seed-" in path.parent.name)


def results(folder):
    """The numbers of a run: episodes, metrics without times, and the tensors of the checkpoint."""
    run = RunFolder(folder)
    metrics = [{key: value for key, value in row.items() if key not in TIMES} for row in run.metrics()]
    tensors, meta = run.load_checkpoint()
    return (
        run.episodes().to_dict("records"),
        metrics,
        {name: array.tobytes() for name, array in tensors.items()},
        meta["iteration"],
        run.status,
    )


class Campaign:
    """Damage copies of a folder, one file at a time, and count how each attempt ends."""

    def __init__(self, name, count, tmp_path, report):
        self.name, self.count, self.tmp_path, self.report = name, count, tmp_path, report
        self.ends, self.wrong = collections.Counter(), []

    def run(self, template, judge, files=None):
        """Let `judge(copy, damaged file)` say how a command ends: a word, or a line that begins with "wrong"."""
        names = [
            path.relative_to(template)
            for path in sorted(Path(template).rglob("*"))
            if path.is_file() and (files is None or files(path))
        ]
        assert names, "nothing to damage"
        for number in range(self.count):
            rng = np.random.default_rng([SEED, number, *self.name.encode()])
            copy = self.tmp_path / f"{self.name}-{number}"
            shutil.copytree(template, copy)
            name = names[number % len(names)]
            way = damage.damage(copy / name, rng)
            end = judge(copy, copy / name)
            self.ends[end.partition(":")[0]] += 1
            if end.startswith("wrong"):
                self.wrong.append(f"{self.name} {number}: {name.name} {way}: {end}")
            shutil.rmtree(copy, ignore_errors=True)
        self.report(f"{self.name}: {self.count} damaged, " + ", ".join(f"{n} {end}" for end, n in self.ends.items()))
        assert not self.wrong, "\n".join([f"{len(self.wrong)} of {self.count}", *self.wrong])


def how_many(few, many):
    """The same campaign twice: a small part in the fast lane, the whole in the slow one."""
    return pytest.mark.parametrize("count", [few, pytest.param(many, marks=pytest.mark.slow)])


@pytest.fixture
def campaign(tmp_path, capsys):
    def report(line):
        with capsys.disabled():
            if os.environ.get("HINDEX_BENCH_CAMPAIGN"):
                sys.stdout.write(f"\n{line}\n")

    return lambda name, count: Campaign(name, count, tmp_path, report)


@pytest.fixture(autouse=True)
def one_process(tmp_path, monkeypatch):
    """A cache of the test's own; reports draw in this process."""
    import torch

    from benchmark import config

    threads = torch.get_num_threads()
    monkeypatch.setenv("HINDEX_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(config, "usable_cores", lambda: 1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def source(demonstration_file):
    return demonstration_file("pen")


def _kill_at_the_end(monkeypatch):
    """Let a run die after the rows of its last iteration, before their checkpoint."""
    save, saved = RunFolder.save_checkpoint, []

    def save_or_die(self, tensors, meta):
        if meta["iteration"] == SETTINGS["learner.iterations"]:
            saved.append(meta)
            raise KeyboardInterrupt
        save(self, tensors, meta)

    monkeypatch.setattr(store.RunFolder, "save_checkpoint", save_or_die)


@pytest.fixture(scope="module")
def finished(source, tmp_path_factory):
    """A folder of two finished runs from the state; the second is never damaged."""
    out = tmp_path_factory.mktemp("finished")
    for seed in (0, 1):
        ended = bench(*options("state", source, out, seed))
        assert ended.code == 0, ended
    return out


@pytest.fixture(scope="module")
def killed(source, tmp_path_factory):
    out = tmp_path_factory.mktemp("killed")
    with pytest.MonkeyPatch.context() as patch:
        _kill_at_the_end(patch)
        assert bench(*options("state", source, out)).code == 130
    (cell,) = cells(out)
    assert RunFolder(cell).status == "unfinished"
    return out


def first_run(path):
    return "seed-0" in path.parts and path.name != ".lock"


def told(ended):
    return "told" if ended.code else ""


@how_many(20, 320)
def test_a_killed_run_goes_on_right_or_not_at_all(campaign, killed, finished, source, count):
    expected = results(cells(finished)[0])

    def judge(copy, damaged):
        ended = bench(*options("state", source, copy))
        if ended.fault:
            return f"wrong: {ended.fault}"
        if ended.code:
            return "told"
        (cell,) = cells(copy)
        if results(cell) != expected:
            return "wrong: other numbers"
        return "as if undamaged" if not RunFolder(cell).altered() else "wrong: the manifest is not true"

    campaign("resume", count).run(killed, judge, first_run)


@how_many(12, 200)
def test_a_finished_run_is_found_right_or_named(campaign, finished, source, count):
    expected = bench(*options("state", source, finished)).said.replace(str(finished), "")

    def judge(copy, damaged):
        before = results(cells(finished)[0])
        ended = bench(*options("state", source, copy))
        if ended.fault:
            return f"wrong: {ended.fault}"
        if ended.code:
            return "told"
        if ended.said.replace(str(copy), "") != expected:
            # A folder that lost its identity or its manifest is begun or ended anew, to the same numbers.
            again = []
            read = attempt(lambda: again.append(results(cells(copy)[0])))
            return "done anew" if read.code == 0 and again == [before] else "wrong: other numbers"
        return "as if undamaged"

    campaign("skip", count).run(finished, judge, first_run)


@how_many(12, 200)
def test_a_damaged_run_is_evaluated_right_or_not_at_all(campaign, finished, count, tmp_path):
    whole = tmp_path / "whole"
    shutil.copytree(finished, whole)

    def arguments(out):
        return "eval", cells(finished)[0].as_posix().replace(str(finished), str(out)), "--background", "0,3"

    assert bench(*arguments(whole), "--workers", 0).code == 0
    expected = RunFolder(cells(whole)[0]).episodes().to_dict("records")

    def judge(copy, damaged):
        ended = bench(*arguments(copy), "--workers", 0)
        if ended.fault:
            return f"wrong: {ended.fault}"
        if ended.code:
            return "told"
        rows = RunFolder(cells(copy)[0]).episodes().to_dict("records")
        return "as if undamaged" if rows == expected else "wrong: other numbers"

    campaign("eval", count).run(finished, judge, first_run)


def scores_of(material):
    """What a report takes from each run, by its path below the folder."""
    numbers = ["status", "used", "title", "seed", "return_first", "return_cloned", "return_last", "return_best"]
    numbers += ["success_last", "success_best", "iteration", "steps"]
    found = {}
    for suite in material.suites:
        for row in suite.runs.to_dict("records"):
            found[Path(row["path"]).name] = {name: row[name] for name in numbers}, row
    return found


def same(one, other):
    return all(a == b or (a != a and b != b) for a, b in zip(one.values(), other.values(), strict=True))


@how_many(20, 320)
def test_a_report_names_what_is_damaged_and_keeps_the_rest(campaign, finished, count):
    from reports.data.collect import collect

    expected = scores_of(collect(finished))

    def judge(copy, damaged):
        told = []
        ended = attempt(lambda: told.append(collect(copy)))
        if ended.fault or ended.code:
            return f"wrong: {ended.fault or ended.said}"
        found = scores_of(told[0])
        if not same(found["seed-1"][0], expected["seed-1"][0]):
            return "wrong: the other run is not as it was"
        if "seed-0" not in found or not found["seed-0"][0]["used"]:
            findings = " ".join(f"{finding}" for finding in told[0].findings)
            return "named and left out" if "seed-0" in findings else "wrong: left out without a word"
        return "as if undamaged" if same(found["seed-0"][0], expected["seed-0"][0]) else "wrong: other scores"

    campaign("report", count).run(finished, judge, first_run)


@how_many(1, 24)
def test_the_page_is_made_whatever_is_damaged(campaign, finished, count):
    def judge(copy, damaged):
        ended = bench("report", copy)
        if ended.fault or ended.code:
            return f"wrong: {ended.fault or ended.said[-300:]}"
        return "made" if (copy / "report" / "report.html").is_file() else "wrong: no page"

    campaign("page", count).run(finished, judge, first_run)


@how_many(20, 200)
def test_verify_names_the_file(campaign, finished, count):
    def judge(copy, damaged):
        ended = bench("verify", copy)
        if ended.fault:
            return f"wrong: {ended.fault}"
        if ended.code and damaged.name in ended.said and "seed-0" in ended.said:
            return "named"
        return "wrong: not named"

    campaign("verify", count).run(finished, judge, first_run)


@how_many(5, 100)
def test_verify_survives_unfinished_runs(campaign, killed, count):
    def judge(copy, damaged):
        ended = bench("verify", copy)
        return f"wrong: {ended.fault}" if ended.fault else f"code {ended.code}"

    campaign("verify-unfinished", count).run(killed, judge, first_run)


@how_many(3, 60)
def test_cached_features_are_found_right_or_made_anew(campaign, source, tiny_encoder, count, tmp_path, monkeypatch):
    out = tmp_path / "first"
    assert bench(*options(tiny_encoder, source, out)).code == 0
    expected = results(cells(out)[0])
    features = tmp_path / "cache"
    attempts = iter(range(count))

    def judge(copy, damaged):
        monkeypatch.setenv("HINDEX_BENCH_CACHE", str(copy))
        again = tmp_path / f"again-{next(attempts)}"
        ended = bench(*options(tiny_encoder, source, again))
        if ended.fault or ended.code:
            return f"wrong: {ended.fault or ended.said[-300:]}"
        right = results(cells(again)[0]) == expected
        shutil.rmtree(again)
        return "as if undamaged" if right else "wrong: other numbers"

    campaign("features", count).run(features, judge)


@how_many(10, 200)
def test_damaged_demonstrations_are_imported_or_refused(campaign, source, count, tmp_path):
    template = tmp_path / "demonstrations"
    template.mkdir()
    shutil.copy(source, template / "pen.npz")

    def judge(copy, damaged):
        ended = bench("demos", "import", copy / "pen.npz", "--task", "pen")
        return f"wrong: {ended.fault}" if ended.fault else "refused" if ended.code else "imported"

    campaign("import", count).run(template, judge)


@how_many(4, 60)
def test_a_run_takes_damaged_demonstrations_right_or_not_at_all(campaign, source, finished, count, tmp_path):
    """The archive's own checksums tell; what was rewritten with right checksums is another set of demonstrations."""
    template = tmp_path / "demonstrations"
    template.mkdir()
    shutil.copy(source, template / "pen.npz")
    expected = results(cells(finished)[0])
    attempts = iter(range(count))

    def judge(copy, damaged):
        out = tmp_path / f"run-{next(attempts)}"
        ended = bench(*options("state", copy / "pen.npz", out))
        if ended.fault:
            return f"wrong: {ended.fault}"
        if ended.code:
            return "told"
        return "as if undamaged" if results(cells(out)[0])[0] == expected[0] else "wrong: other numbers"

    campaign("source", count).run(template, judge)


@how_many(6, 120)
def test_damaged_weights_are_taken_or_refused(campaign, count, tmp_path):
    import torch

    import encoders

    name = "timm:test_resnet.r160_in1k"
    template = tmp_path / "weights"
    template.mkdir()
    state = encoders.build(name, weights="random")[0].state_dict()
    plain = {key.partition(".")[2]: value for key, value in state.items() if key.startswith("model.")} or state
    torch.save(plain, template / "net.pth")

    def judge(copy, damaged):
        ended = attempt(lambda: encoders.build(name, weights=str(copy / "net.pth")) and 0)
        return f"wrong: {ended.fault}" if ended.fault else "refused" if ended.code else "taken"

    campaign("weights", count).run(template, judge)


SMALL_RESNET = """
import torch
from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet

from encoders import Encoder


class Small(Encoder, name="small"):
    feature_dim = 512

    def __init__(self, weights=None):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.trunk = ResNet(BasicBlock, [1, 1, 1, 1])
        self.trunk.fc = nn.Identity()

    def forward(self, images):
        return self.trunk(self.normalise(images))
"""


@pytest.fixture(scope="module")
def small_resnet(tmp_path_factory):
    path = tmp_path_factory.mktemp("small") / "small.py"
    path.write_text(SMALL_RESNET)
    return f"{path}:Small"


def adaptation(encoder, out):
    sizes = {"size": 64, "batch": 2, "steps": 3, "videos": 3, "held_out": 1, "warm_up": 1}
    chosen = [part for name, value in sizes.items() for part in ("--set", f"{name}={value}")]
    return ["adapt", "--encoder", encoder, "--task", "pen", "--device", "cpu", "--workers", 0, *chosen, "--out", out]


@how_many(2, 100)
def test_a_damaged_adaptation_is_used_right_or_not_at_all(campaign, small_resnet, count, tmp_path):
    template = tmp_path / "adaptation"
    assert bench(*adaptation(small_resnet, template)).code == 0
    expected = bench(*adaptation(small_resnet, template)).said.replace(str(template), "")

    def judge(copy, damaged):
        again = bench(*adaptation(small_resnet, copy))
        if again.fault:
            return f"wrong: {again.fault}"
        if again.code:
            return "told"
        return "as if undamaged" if again.said.replace(str(copy), "") == expected else "wrong: another adaptation"

    campaign("adapt", count).run(template, judge, lambda path: path.name != ".lock")


@how_many(3, 100)
def test_a_damaged_probe_is_found_right_or_not_at_all(campaign, tiny_encoder, count, tmp_path):
    template = tmp_path / "probed"

    def said(ended, out):  # lines break by the length of the path
        return " ".join(ended.said.replace(str(out), "").split())

    arguments = ["probe", "--encoder", tiny_encoder, "--task", "pen", "--episodes", 6, "--frames", 3, "--out"]
    assert bench(*arguments, template).code == 0
    expected = said(bench(*arguments, template), template)

    def judge(copy, damaged):
        ended = bench(*arguments, copy)
        if ended.fault:
            return f"wrong: {ended.fault}"
        if ended.code:
            return "told"
        if said(ended, copy) == expected:
            return "as if undamaged"
        again = bench(*arguments, copy)  # a cell that lost its JSON file was probed anew, and tells its progress
        return "done anew" if said(again, copy) == expected else "wrong: other numbers"

    campaign("probe", count).run(template, judge)


def test_no_command_of_the_campaign_leaves_a_thread_behind():
    assert threading.active_count() < 20
