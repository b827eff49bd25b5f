"""Tasks from files: imported, hashed, known by their name, found again by other processes; whatever a file does."""

import hashlib
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import tasks
from benchmark import task_files
from benchmark.config import RunConfig, configure
from benchmark.errors import ConfigError
from benchmark.rollout.simulators import Simulators
from benchmark.rollout.slots import SceneSettings
from tasks import registration
from tasks.errors import ExpertError, TaskError, UnknownTask

EXAMPLE = Path(__file__).parents[3] / "examples" / "add_a_task.py"


@pytest.fixture
def push(tmp_path):
    """The example in a folder of its own, as ``file.py:Class``."""
    path = tmp_path / "push.py"
    path.write_text(EXAMPLE.read_text())
    return f"{path}:Push"


def forget():
    """Be as another process, which has imported no plug-in."""
    for name in [name for name in sys.modules if name.startswith("hindex_bench_plugin_")]:
        registration.forget_module(name)
        del sys.modules[name]


def test_a_file_is_imported_hashed_and_known_by_its_name(push):
    path = Path(push.removesuffix(":Push"))
    kind = task_files.load(push)
    assert kind is task_files.load(push) is task_files.load(str(path)) is tasks.get("push-ball")
    assert kind.plugin_sha256 == hashlib.sha256(path.read_bytes()).hexdigest() == tasks.plugin_sha256("push-ball")
    assert task_files.name_of(push) == "push-ball"
    assert task_files.source("push-ball") == ("push-ball", push, kind.plugin_sha256)
    assert task_files.identity("push-ball") == {"task_plugin_sha256": kind.plugin_sha256}
    assert task_files.identity("door") == {}


def test_a_changed_file_replaces_its_earlier_self(push, tmp_path):
    first = task_files.load(push)
    before = tasks.expert("push-ball").sha256
    (tmp_path / "push.py").write_text(EXAMPLE.read_text().replace("horizon=100", "horizon=50"))
    assert task_files.load(push).plugin_sha256 != first.plugin_sha256
    assert tasks.card("push-ball").horizon == 50
    assert tasks.expert("push-ball").sha256 != before


def test_what_a_file_imports_beside_itself_is_part_of_its_hash(tmp_path):
    (tmp_path / "push.py").write_text(EXAMPLE.read_text())
    (tmp_path / "mine.py").write_text("from push import Push\n")
    first = task_files.load(f"{tmp_path / 'mine.py'}:Push")
    assert tasks.get("push-ball") is first
    (tmp_path / "push.py").write_text(EXAMPLE.read_text().replace("horizon=100", "horizon=50"))
    second = task_files.load(f"{tmp_path / 'mine.py'}:Push")
    assert second.plugin_sha256 != first.plugin_sha256
    assert tasks.card("push-ball").horizon == 50


def test_data_files_are_part_of_the_hash(push, tmp_path):
    declared = EXAMPLE.read_text().replace("    line = 0.2", '    data_files, line = ("scene.xml", "meshes/*"), 0.2')
    (tmp_path / "push.py").write_text(declared)
    with pytest.raises(TaskError, match=r"task 'push-ball': no file .*scene\.xml; expected what data_files names"):
        task_files.load(push)
    (tmp_path / "meshes").mkdir()
    hashes = []
    for scene, mesh in (("a", "b"), ("a", "b"), ("c", "b"), ("c", "d")):
        (tmp_path / "scene.xml").write_text(scene)
        (tmp_path / "meshes" / "ball.stl").write_text(mesh)
        hashes.append(task_files.load(push).plugin_sha256)
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 3
    assert task_files.source("push-ball").sha256 == hashes[-1]


def test_a_rule_acts_with_noise_of_its_spread_and_its_hash_follows_the_rule(push):
    kind = task_files.load(push)
    rule = tasks.expert("push-ball")
    observations, noise = np.random.default_rng(0).standard_normal((2, 36)), np.ones((2, 30))
    np.testing.assert_allclose(rule.sample(observations, noise) - rule.mean(observations), 0.05)
    with pytest.raises(ExpertError, match="push-ball: the spread of an expert is above 0, got 0"):
        type(rule)(kind.card, 0)

    def cell(speed):
        """Be a notebook's cell: a module without a file."""
        module = ModuleType("cell")
        sys.modules["cell"] = module
        module.base = type(rule)
        exec(f"class Rule(base):\n    def mean(self, observations): return {speed} * observations", module.__dict__)
        return module.Rule(kind.card).sha256

    try:
        assert cell(1) != cell(2)
        assert cell(1) == cell(1)
    finally:
        del sys.modules["cell"]


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ("none.py:Push", r"task '.*none\.py:Push': no file .*none\.py; expected path/to/file\.py:Class"),
        ("push.py:Puhs", r"no class 'Puhs' in .*push\.py: did you mean 'Push'\?"),
        ("push.py:Pusher", r"'Pusher' in .*push\.py is no task; expected a subclass of Task"),
        ("push.py:np", r"'np' in .*push\.py is no task"),
    ],
)
def test_a_wrong_path_or_class_is_named(push, tmp_path, wrong, line):
    with pytest.raises(UnknownTask, match=line):
        task_files.load(str(tmp_path / wrong))


def test_a_class_without_a_card_says_what_to_write(push, tmp_path):
    with pytest.raises(
        TaskError, match=r"the class has no name; write card = TaskCard\(name=\.\.\., \.\.\.\) in .*push"
    ):
        task_files.load(f"{tmp_path / 'push.py'}:Task")


BROKEN = {
    "an error": ("raise ValueError('not\\ntoday')", r"push\.py, line \d+: cannot be imported: ValueError: not"),
    "a missing module": ("import no_such_module", r"push\.py, line \d+: .*No module named 'no_such_module'"),
    "an exit": ("raise SystemExit('bye')", r"push\.py, line \d+: cannot be imported: SystemExit: bye"),
    "a call of exit": ("import sys; sys.exit(0)", r"cannot be imported: SystemExit: 0"),
    "no Exception": ("raise BaseException('strange')", r"cannot be imported: BaseException: strange"),
    "a generator's exit": ("raise GeneratorExit", r"cannot be imported: GeneratorExit"),
    "an error that cannot be told": (
        "class Mute(Exception):\n    def __str__(self): raise RuntimeError\nraise Mute",
        r"push\.py, line \d+: cannot be imported: Mute;",
    ),
    "an error with an odd name": (
        "class Odd(Exception):\n    @property\n    def name(self): raise RuntimeError\nraise Odd('x')",
        r"cannot be imported: Odd: x;",
    ),
    "an error of ours that cannot be told": (
        "from tasks.errors import TaskError\nclass Mute(TaskError):\n    def __str__(self): raise RuntimeError\n"
        "raise Mute('x')",
        r"push\.py, line \d+: cannot be imported: Mute;",
    ),
    "no end": ("def f(): f()\nf()", r"cannot be imported: RecursionError"),
    "a way out of sight": ("import sys; del sys.modules[__name__]; raise ValueError('gone')", r"ValueError: gone"),
    "no Python": ("def", r"push\.py, line \d+: cannot be imported: SyntaxError: invalid syntax"),
    "too deep for the parser": (
        "x = " + "(" * 500 + ")" * 500,
        r"cannot be imported: (SyntaxError|MemoryError|Recurs)",
    ),
    "a null byte": ("\0", r"cannot be imported: (ValueError|SyntaxError): source code"),
    "a built-in name": (
        "Push.card = None\nfrom dataclasses import replace\n"
        "class Door(Push):\n    card = __import__('tasks').card('door')",
        "name 'door' belongs to a built-in task; choose another name in its card",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_whatever_a_file_does_at_import_is_one_line_and_the_earlier_one_stays(push, tmp_path, what):
    text, line = BROKEN[what]
    first = task_files.load(push)
    (tmp_path / "push.py").write_text(f"{EXAMPLE.read_text()}\n{text}\n")
    with pytest.raises(TaskError, match=line) as caught:
        task_files.load(push)
    assert "\n" not in str(caught.value)
    assert tasks.get("push-ball") is first


def test_a_module_that_answers_for_names_it_lacks_is_not_asked(push, tmp_path):
    (tmp_path / "push.py").write_text(f"{EXAMPLE.read_text()}\ndef __getattr__(name): raise RuntimeError(name)\n")
    with pytest.raises(UnknownTask, match="no class 'Pull'"):
        task_files.load(f"{tmp_path / 'push.py'}:Pull")


def test_two_files_may_not_have_tasks_of_one_name(push, tmp_path):
    task_files.load(push)
    (tmp_path / "other.py").write_text(EXAMPLE.read_text())
    with pytest.raises(TaskError, match=r"name 'push-ball' is taken by .*Push; choose another name in its card"):
        task_files.load(f"{tmp_path / 'other.py'}:Push")


# Configurations.


def test_a_configuration_knows_the_task_by_its_name_and_where_its_file_is(push):
    config = configure("quickstart", task=push, encoder="state")
    assert (config.task, config.task_file) == ("push-ball", push)
    recorded = config.model_dump(mode="json")
    forget()
    assert "push-ball" not in tasks.names()
    assert RunConfig.model_validate(recorded) == config
    assert tasks.card("push-ball").horizon == 100


def test_a_configuration_says_in_one_line_that_a_file_is_gone(push, tmp_path):
    recorded = configure("quickstart", task=push, encoder="state").model_dump(mode="json")
    forget()
    moved = (tmp_path / "push.py").rename(tmp_path / "moved.py")
    with pytest.raises(ConfigError, match=r"task '.*push\.py:Push': no file .*push\.py; expected path/to/file"):
        RunConfig.model_validate(recorded)
    task_files.load(f"{moved}:Push")
    assert RunConfig.model_validate(recorded).task_file == f"{moved}:Push"


def test_a_file_for_a_built_in_task_is_refused():
    with pytest.raises(ConfigError, match=r"task_file is found from --task path/to/file\.py:Class; leave it out"):
        configure("quickstart", ["task_file=a.py:A"], task="door", encoder="state")


def test_a_built_in_task_has_no_file():
    assert configure("quickstart", task="door", encoder="state").task_file is None
    assert configure("quickstart", task="dor", encoder="state").task_file is None


# Worker processes.


def rollout(name, workers):
    with Simulators(SceneSettings(name, slots=2, images=False), workers) as simulators:
        first = simulators.begin([0, 1], [5, 6]).reading
        later = simulators.step([0, 1], np.full((2, 30), 0.1), []).reading
    return np.concatenate([first.observation, later.observation])


def test_worker_processes_import_the_file_too(push):
    name = task_files.name_of(push)
    np.testing.assert_array_equal(rollout(name, workers=1), rollout(name, workers=0))


def test_a_file_that_changed_before_the_workers_read_it_is_refused(push, tmp_path):
    name = task_files.name_of(push)
    (tmp_path / "push.py").write_text(f"{EXAMPLE.read_text()}\n# changed\n")
    with pytest.raises(TaskError, match=r"push\.py:Push changed while the work began; start the command again"):
        rollout(name, workers=1)


def test_a_task_of_this_process_alone_needs_workers_0(push):
    kind = task_files.load(push)
    forget()
    registration.register("push-ball", type("Push", (kind,), {}))
    try:
        with pytest.raises(TaskError, match=r"worker processes cannot import it from a script or notebook.*workers=0"):
            rollout("push-ball", workers=1)
    finally:
        del registration.REGISTERED["push-ball"]
