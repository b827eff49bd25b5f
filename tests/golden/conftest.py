"""Fixtures of the fidelity tests: every test that can runs on the full records and on the extract beside it."""

import pytest
import records

import tasks


@pytest.fixture(scope="module", params=records.SOURCES)
def source(request):
    """``full`` or ``extract``."""
    return request.param


@pytest.fixture(scope="module")
def folder(source):
    """The folder of the records."""
    return records.FULL if source == "full" else records.EXTRACT


@pytest.fixture(scope="module", params=records.SCENES)
def name(request):
    """A recorded scene."""
    return request.param


@pytest.fixture(scope="module")
def make(source, name, request):
    """Make the recorded scene with the recorded options: with the official meshes where the full records are."""
    options = records.OPTIONS.get(name, {})
    if name in records.ADROIT or source == "extract":
        return lambda **more: tasks.make(records.task_name(name), **options, **more)
    make_ycb = request.getfixturevalue("make_ycb")
    return lambda **more: make_ycb(records.task_name(name), **options, **more)


@pytest.fixture(scope="module")
def recorded(folder, name):
    """One-step transitions under random actions, resets and metadata."""
    return records.load(folder / f"{name}.npz")


@pytest.fixture(scope="module")
def in_contact(folder, name):
    """One-step transitions of an episode of the authors' policy."""
    return records.load(folder / f"{name}__contact.npz")


@pytest.fixture(scope="module")
def metadata(recorded):
    """What the record says of its model."""
    return recorded["metadata"]
