"""What the tests of whole runs share: settings of a run of some steps, what stands for a kill, and what was told."""

import pytest

from benchmark.config import configure
from benchmark.runner.runner import run
from benchmark.store.identity import file_hash

HORIZON, TRAJECTORIES, EPISODES, SLOTS = 6, 3, 2, 2
TINY = (
    "demonstrations.episodes=2",
    f"rollout.horizon={HORIZON}",
    f"rollout.slots={SLOTS}",
    "reward=dense",  # the sparse one would be zero throughout, and hide what the value baseline does
    "learner.bc_epochs=5",
    "learner.policy_hidden=[8]",
    "learner.value_hidden=[8]",
    "learner.value_batch_size=4",
    "learner.bc_batch_size=8",
    "learner.iterations=2",
    f"learner.trajectories_per_iteration={TRAJECTORIES}",
    f"evaluation.episodes={EPISODES}",
)


def tiny_config(source, *overrides, task="pen", encoder="state", **values):
    """Return the configuration of a small run on demonstrations from a file."""
    options = {"torch_threads": 1, "workers": 0} | values
    settings = [f"demonstrations.source={source}", *TINY, *overrides]
    return configure("quickstart", settings, task=task, encoder=encoder, **options)


def files(folder):
    """The names of all files of a run."""
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return found - {".lock"}


def final(result):
    """What a run ended with, bit for bit."""
    return file_hash(result.path / "checkpoint.safetensors")


class Interruption(BaseException):
    """What stands for a kill in a process that has to live on."""


def interrupted(config, out, owner, name, at, after=False):
    """Run until the `at`-th call of a method, and end before or after it did its work."""
    original, calls = getattr(owner, name), []

    def wrapped(*arguments, **options):
        calls.append(1)
        if len(calls) == at and not after:
            raise Interruption
        result = original(*arguments, **options)
        if len(calls) == at:
            raise Interruption
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, wrapped)
        with pytest.raises(Interruption):
            run(config, out)


class Recorder:
    """A progress that keeps what it is told."""

    def __init__(self):
        self.planned = self.taken = self.ends = 0
        self.title, self.lines, self.stages = "", [], []

    def begin(self, title, steps):
        self.title, self.planned = title, steps

    def stage(self, name):
        self.stages.append(name)

    def advance(self, steps):
        self.taken += steps

    def say(self, line):
        self.lines.append(line)

    def end(self):
        self.ends += 1

    def close(self):
        pass
