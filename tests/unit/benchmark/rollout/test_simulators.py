"""Slots in this process and in workers: the same bits, errors that come back, and nothing left behind."""

import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from dying_worker import FLAG, die_at_once, die_the_first_time, serve_and_die

import tasks
from benchmark.errors import SimulationError
from benchmark.rollout import simulators as module
from benchmark.rollout.simulators import Simulators
from benchmark.rollout.slots import SceneSettings
from tasks.errors import RenderError, TaskError

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc is Linux's")
DRAWN = SceneSettings("pen", slots=3, group=1)
BARE = SceneSettings("pen", slots=3, group=1, images=False)


def actions(steps=4, slots=3):
    return np.random.default_rng(0).uniform(-1, 1, (steps, slots, 24))


def drive(simulators):
    """Everything that three slots give over a few steps, with holes: readings and frames."""
    seen = [simulators.begin([0, 1, 2], [5, 6, 7]).reading, simulators.frames.copy()]
    script = [([0, 1, 2], [0, 1, 2]), ([0, 2], [2]), ([1], []), ([0, 1, 2], [1])]
    for action, (slots, drawn) in zip(actions(), script, strict=True):
        seen += [simulators.step(slots, action[slots], drawn).reading, simulators.frames.copy()]
    seen += [simulators.begin([1], [9]).reading, simulators.frames.copy()]
    return [array for item in seen for array in (item if isinstance(item, tuple) else [item])]


@pytest.fixture(scope="module")
def alone():
    with Simulators(DRAWN) as simulators:
        return drive(simulators)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_any_number_of_workers_gives_the_same_bits(workers, alone):
    with Simulators(DRAWN, workers) as simulators:
        found = drive(simulators)
    assert len(found) == len(alone)
    for one, other in zip(found, alone, strict=True):
        np.testing.assert_array_equal(one, other, strict=True)


def test_no_more_workers_than_slots_are_started():
    with Simulators(BARE, workers=8):
        assert len(multiprocessing.active_children()) == 3
    assert not multiprocessing.active_children()


def test_frames_are_drawn_where_asked_and_nowhere_else(pen_with_images):
    drawn = pen_with_images
    drawn.begin([0, 1, 2], [5, 6, 7])
    before = drawn.frames.copy()
    for action in actions(6):
        drawn.step([0, 1, 2], action, [1])
    np.testing.assert_array_equal(drawn.frames[[0, 2]], before[[0, 2]])
    assert (drawn.frames[1] != before[1]).any()


def test_a_frame_shows_its_slots_present_state(pen_with_images):
    """The frame of a slot is what a renderer of its own makes of a task stepped by hand."""
    import mujoco

    from tasks.rendering.render import Renderer

    pen_with_images.begin([0, 1, 2], [5, 6, 7])
    task = tasks.make("pen")
    model = task.model
    data = mujoco.MjData(model)
    task.reset([6])
    for action in actions(3):
        pen_with_images.step([0, 1, 2], action, [0, 1, 2])
        task.step(action[1:2])
    task.load_data(0, data)
    with Renderer(model, task.card.camera, "fast") as renderer:
        expected = renderer.render(data)
    np.testing.assert_array_equal(pen_with_images.frames[1], expected)


def test_without_images_nothing_draws(pen_without_images):
    assert pen_without_images.device is None
    assert pen_without_images.frames.size == 0
    assert pen_without_images.begin([0, 1, 2], [0, 1, 2]).reading.observation.shape == (3, 45)


def test_with_images_the_device_is_named(pen_with_images):
    assert pen_with_images.device.name


@pytest.mark.parametrize("workers", [0, 2])
def test_task_errors_come_back_as_they_are(workers):
    with Simulators(BARE, workers) as simulators:
        simulators.begin([0, 1, 2], [0, 1, 2])
        with pytest.raises(TaskError, match="an action is not a number"):
            simulators.step([0, 1, 2], np.full((3, 24), np.nan), [])


@pytest.mark.parametrize("workers", [0, 2])
def test_errors_at_the_start_come_back_and_leave_no_worker(workers):
    with pytest.raises(TaskError, match="physics is 'paper' or 'native', got 'lunar'"):
        Simulators(SceneSettings("pen", {"physics": "lunar"}, slots=2, images=False), workers)
    assert not multiprocessing.active_children()


def test_an_unknown_quality_is_a_render_error():
    with pytest.raises(RenderError, match="quality is 'paper', 'shadows' or 'fast'"):
        Simulators(SceneSettings("pen", quality="best"))


def test_a_programming_error_in_a_worker_names_itself():
    with Simulators(BARE, workers=1) as simulators:
        simulators.begin([0, 1, 2], [0, 1, 2])
        with pytest.raises(SimulationError, match=r"^ValueError: .*broadcast"):
            simulators.step([0, 1, 2], np.zeros((3, 7)), [])


def test_seeds_and_states_do_not_mix(pen_without_images):
    state = tasks.make("pen").initial_state(0)
    with pytest.raises(TaskError, match="must all start from seeds, or all from states"):
        pen_without_images.begin([0, 1], [3, state])


@pytest.mark.parametrize("moment", ["idle", "at work"])
def test_a_killed_worker_is_replaced_and_nothing_changes(moment, alone):
    lost = []

    def drive_and_kill(simulators):
        step, victims = simulators.step, iter([simulators._workers[1], simulators._workers[2]])

        def step_and_kill(*arguments):
            victim = next(victims, None)
            if victim is not None and moment == "at work":  # it has the command, and dies before it answers
                os.kill(victim.process.pid, signal.SIGSTOP)
                threading.Timer(0.3, os.kill, (victim.process.pid, signal.SIGKILL)).start()
            elif victim is not None:
                victim.process.kill()
                victim.process.join()
            return step(*arguments)

        simulators.step = step_and_kill
        return drive(simulators)

    with Simulators(DRAWN, 3, on_loss=lost.append) as simulators:
        found = drive_and_kill(simulators)
    for one, other in zip(found, alone, strict=True):
        np.testing.assert_array_equal(one, other, strict=True)
    assert lost == [
        f"the simulation worker of slots {slot} to {slot} died (exit code -9); started again, and its episodes are "
        "repeated up to where they stood"
        for slot in (1, 2)
    ]
    assert not multiprocessing.active_children()


def test_a_worker_that_is_killed_before_it_answers_is_started_again(monkeypatch, alone, tmp_path):
    lost = []
    monkeypatch.setenv(FLAG, str(tmp_path / "died"))
    monkeypatch.setattr(module, "_serve", die_the_first_time)
    with Simulators(DRAWN, 3, on_loss=lost.append) as simulators:
        found = drive(simulators)
    for one, other in zip(found, alone, strict=True):
        np.testing.assert_array_equal(one, other, strict=True)
    assert len(lost) == 1
    assert re.fullmatch(r"the simulation worker of slots (\d) to \1 died \(exit code -9\); started again", lost[0])


def test_workers_that_never_start_end_the_run_in_one_line(monkeypatch):
    monkeypatch.setattr(module, "_serve", die_at_once)
    with pytest.raises(SimulationError, match=r"slots 0 to 2 died \(exit code 3\); start the same command"):
        Simulators(BARE, 1)
    assert not multiprocessing.active_children()


def test_a_worker_that_dies_again_and_again_ends_the_run_in_one_line(monkeypatch):
    lost = []
    with Simulators(BARE, 1, on_loss=lost.append) as simulators:
        simulators.begin([0, 1, 2], [0, 1, 2])
        monkeypatch.setattr(module, "_serve", serve_and_die)
        simulators._workers[0].process.kill()
        with pytest.raises(SimulationError) as failure:
            simulators.step([0, 1, 2], np.zeros((3, 24)), [])
    assert str(failure.value) == (
        "the simulation worker of slots 0 to 2 died (exit code 3); start the same command again to resume"
    )
    assert len(lost) == 3
    assert not multiprocessing.active_children()


def test_a_worker_that_is_asked_to_end_is_not_started_again():
    """The signal that ends a run may reach its workers first."""
    lost = []
    with Simulators(BARE, 1, on_loss=lost.append) as simulators:
        simulators.begin([0, 1, 2], [0, 1, 2])
        simulators._workers[0].process.terminate()
        simulators._workers[0].process.join()
        with pytest.raises(SimulationError, match=r"exit code -15"):
            simulators.step([0, 1, 2], np.zeros((3, 24)), [])
    assert lost == []


@linux
def test_the_frames_share_memory_that_has_no_name():
    """So nothing has to clean up after a run that is killed with all its processes."""
    with Simulators(DRAWN, workers=2) as simulators:
        address = simulators.frames.ctypes.data
        for line in Path("/proc/self/maps").read_text().splitlines():
            first, last = (int(bound, 16) for bound in line.split()[0].split("-"))
            if first <= address < last:
                break
        simulators.begin([0, 1, 2], [0, 1, 2])
        assert simulators.frames.any(axis=(1, 2, 3)).all()
    assert line.split()[1].endswith("s"), "a shared mapping"
    assert line.endswith("(deleted)")


def test_environments_that_show_the_same_frame_are_refused(monkeypatch, pen_with_images):
    """A context shared by mistake draws one simulation for all."""
    monkeypatch.setattr(pen_with_images._local, "_draw", lambda slots: pen_with_images.frames.fill(7))
    with pytest.raises(RenderError, match="environments 0 and 1 started differently but show the same frame"):
        pen_with_images.begin([0, 1, 2], [0, 1, 2])


def test_equal_starts_may_show_equal_frames(pen_with_images):
    pen_with_images.begin([0, 1, 2], [4, 4, 4])
    np.testing.assert_array_equal(pen_with_images.frames[0], pen_with_images.frames[2])


def test_drawing_and_learning_live_in_one_process():
    """Mesa's LLVM and the one in torch's compiler, which an optimiser imports, must not get into each other's way."""
    code = """if True:
        from benchmark.rollout.simulators import Simulators
        from benchmark.rollout.slots import SceneSettings
        with Simulators(SceneSettings("pen")):
            import torch
            torch.optim.Adam([torch.zeros(1, requires_grad=True)])
    """
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(module.__file__).parents[2]).returncode == 0


def test_a_worker_needs_no_torch():
    """What a worker imports is this module: without torch it starts faster and is 300 MB smaller."""
    code = "import sys, benchmark.rollout.simulators; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(module.__file__).parents[2]).returncode == 0
