"""Tasks by name: built in, registered by subclassing, or installed by another package."""

import sys
from pathlib import Path

import pytest

import tasks
from tasks import registration, registry
from tasks.base import Task
from tasks.cards import CARDS, TaskCard
from tasks.errors import TaskError, UnknownTask
from tasks.subject import Subject

EXAMPLE = Path(__file__).parents[3] / "examples" / "add_a_task.py"
SUBJECT = Subject(handled="Object", target="target")


def card(name="mine", **numbers):
    sizes = {"action_dim": 30, "observation_dim": 36, "proprioception": (0, 30), "horizon": 100, "goal_steps": 10}
    return TaskCard(name=name, summary="", success_rule="", camera="top", **(sizes | numbers))


@pytest.fixture(autouse=True)
def clean_registry(monkeypatch):
    monkeypatch.setattr(registration, "REGISTERED", dict(registration.REGISTERED))
    registry._installed.cache_clear()
    yield
    registry._installed.cache_clear()


def test_every_built_in_class_agrees_with_its_card():
    assert list(CARDS) == tasks.names()
    for name in tasks.names():
        assert tasks.get(name).card is tasks.card(name) is CARDS[name]


def test_subclassing_with_a_card_registers():
    class Mine(Task):
        card, subject = card(), SUBJECT

    assert tasks.get("mine") is Mine
    assert tasks.names()[-1] == "mine"
    assert tasks.card("mine") is Mine.card
    assert not tasks.is_importable("mine")


def test_a_class_without_a_card_of_its_own_is_not_registered():
    before = tasks.names()

    class Harder(tasks.get("door")):
        pass

    assert tasks.names() == before


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ({"card": card("door"), "subject": SUBJECT}, "name 'door' belongs to a built-in task; choose another name"),
        (
            {"card": card("every"), "subject": SUBJECT},
            "'every' names a group of tasks; choose another name in its card",
        ),
        ({"card": card("Mine"), "subject": SUBJECT}, "name 'Mine' cannot be used; use lower-case letters"),
        ({"card": card(3), "subject": SUBJECT}, "name 3 cannot be used"),
        ({"card": {"name": "mine"}, "subject": SUBJECT}, r"card is a dict; write card = TaskCard\(name"),
        ({"card": card()}, r"no subject; write subject = Subject\(handled=BODY, target=BODY_OR_SITE\)"),
    ],
)
def test_a_class_that_cannot_be_registered_says_why(body, line):
    with pytest.raises(TaskError, match=line):
        type("Mine", (Task,), body)


def test_another_class_of_the_same_name_is_refused_and_the_same_one_replaced():
    def cell():
        return type("Mine", (Task,), {"card": card(), "subject": SUBJECT})

    first, second = cell(), cell()
    assert tasks.get("mine") is second is not first
    with pytest.raises(TaskError, match=r"name 'mine' is taken by .*Mine; choose another name in its card"):
        type("Other", (Task,), {"card": card(), "subject": SUBJECT})


def test_an_unknown_name_suggests_the_nearest_and_a_file_says_how():
    with pytest.raises(UnknownTask, match="unknown task 'doar': did you mean 'door'"):
        tasks.get("doar")
    with pytest.raises(UnknownTask, match=r"a file is imported first: `benchmark\.task_files\.load\('a\.py:A'\)`"):
        tasks.make("a.py:A")


def test_what_fails_while_a_task_from_outside_is_built_is_one_line():
    class Mine(Task):
        card, subject = card(), SUBJECT

        def build(self):
            raise ZeroDivisionError("no scene")

        @classmethod
        def expert(cls):
            raise ZeroDivisionError("no rule")

        draw = bind_readings = read = None

    with pytest.raises(TaskError, match="task 'mine': cannot be built: ZeroDivisionError: no scene; see `bench tasks"):
        tasks.make("mine")
    for ask in (tasks.expert, tasks.has_expert):
        with pytest.raises(TaskError, match=r"task 'mine': expert\(\) failed: ZeroDivisionError: no rule"):
            ask("mine")


def install(folder, monkeypatch, *, package="theirs", entry_name="push-ball", source=None):
    """Lay out an installed package as pip leaves it."""
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[hindex_bench.tasks]\n{entry_name} = {package}_module:Push\n")
    (folder / f"{package}_module.py").write_text(source or EXAMPLE.read_text())
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, f"{package}_module", raising=False)
    registry._installed.cache_clear()


def test_an_installed_task_is_found_and_loaded_only_when_asked_for(tmp_path, monkeypatch):
    install(tmp_path, monkeypatch)
    assert tasks.names()[-1] == "push-ball"
    assert "theirs_module" not in sys.modules
    assert tasks.card("push-ball").horizon == 100
    assert tasks.is_importable("push-ball")
    assert tasks.plugin_sha256("push-ball") is None


def test_an_installed_task_that_claims_a_built_in_name_is_refused(tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, entry_name="door")
    with pytest.raises(TaskError, match="task 'door': the installed package theirs claims a built-in name; uninstall"):
        tasks.get("door")


def test_two_packages_that_claim_a_name_are_refused(tmp_path, monkeypatch):
    for package in ("ours", "theirs"):
        install(tmp_path, monkeypatch, package=package)
    with pytest.raises(
        TaskError, match=r"claimed by package (ours|theirs) and package (ours|theirs); uninstall all but one"
    ):
        tasks.get("push-ball")


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("raise SystemExit(3)", "package theirs cannot be imported: SystemExit: 3"),
        ("import no_such_module", "package theirs cannot be imported: ModuleNotFoundError: .*no_such_module"),
        (
            "class Mute(Exception):\n    def __str__(self): raise RuntimeError\nraise Mute",
            "package theirs cannot be imported: Mute",
        ),
        ("Push = 3", r"package theirs was imported but registers no such task; expected a class with card = TaskCard"),
    ],
)
def test_an_installed_task_that_cannot_be_imported_is_one_line(tmp_path, monkeypatch, source, line):
    install(tmp_path, monkeypatch, source=source)
    with pytest.raises(TaskError, match=line):
        tasks.get("push-ball")
