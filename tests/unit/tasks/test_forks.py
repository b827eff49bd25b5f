"""Forked processes: what needs threads or OpenGL of the parent is refused in a line; nothing hangs or crashes."""

import multiprocessing
import os
import signal

import gymnasium
import numpy as np
import pytest

import tasks
import tasks.gymnasium_envs
from tasks.errors import TaskError
from tasks.forks import ForkedError
from tasks.rendering.render import Renderer

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="only POSIX systems fork")
SECONDS = 60


def in_a_fork(action):
    """What an action raises in a forked child, as text; empty when it goes well."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(SECONDS)  # a child that hangs is ended
        answer = ""
        try:
            action()
        except TaskError as error:
            answer = f"{type(error).__name__}: {error}"
        os.write(theirs, answer.encode())
        os._exit(0)
    os.close(theirs)
    with os.fdopen(ours) as pipe:
        answer = pipe.read()
    assert os.waitpid(child, 0)[1] == 0, "the child was ended by a signal"
    return answer


@pytest.fixture(scope="module")
def drawn():
    """A renderer that has drawn in this process, and its simulation."""
    import mujoco

    door = tasks.make("door")
    data = mujoco.MjData(door.model)
    door.load_data(0, data)
    with Renderer(door.model, "vil_camera") as renderer:
        renderer.render(data)
        yield renderer, data


def refused(answer, what):
    assert answer.startswith(f"ForkedError: {what} in the process that this one was forked from")
    assert 'context="spawn"' in answer
    assert "\n" not in answer


def test_an_environment_of_a_child_draws_no_pixels_once_the_parent_has(drawn):
    def draw():
        gymnasium.make("hindex_bench/door", observation="pixels").reset(seed=0)

    refused(in_a_fork(draw), "pixels cannot be drawn here: OpenGL stayed")


def test_a_renderer_of_the_parent_is_refused_and_may_be_closed(drawn):
    renderer, data = drawn
    refused(in_a_fork(lambda: renderer.render(data)), "pixels cannot be drawn here: OpenGL stayed")
    assert in_a_fork(renderer.close) == ""


def test_threads_of_the_parent_are_refused():
    door = tasks.make("door", slots=2, threads=2)
    before = door.get_state()
    state = door.initial_state(0)
    for use in (
        lambda: door.step(np.zeros((2, 28))),
        lambda: door.reset([0, 1]),
        lambda: door.restore([state, state]),
        lambda: door.set_state(before),
    ):
        refused(in_a_fork(use), "door: the simulation's threads stayed")
    door.step(np.zeros((2, 28)))


def test_a_child_may_let_go_of_a_simulation_with_threads():
    doors = [tasks.make("door", slots=2, threads=2)]
    assert in_a_fork(doors.clear) == ""


def test_a_simulation_without_threads_and_one_of_its_own_work_in_a_child():
    door = tasks.make("door")
    assert in_a_fork(lambda: door.step(np.zeros((1, 28)))) == ""
    assert in_a_fork(lambda: tasks.make("door", slots=2, threads=2).step(np.zeros((2, 28)))) == ""


def vector(observation, context):
    return gymnasium.make_vec(
        "tasks.gymnasium_envs:hindex_bench/door",
        num_envs=2,
        vectorization_mode="async",
        vector_kwargs={"context": context},
        observation=observation,
    )


def test_an_asynchronous_vector_of_states_works_by_fork(drawn):
    environments = vector("state", "fork")
    observations, _ = environments.reset(seed=[5, 6])
    single = gymnasium.make("hindex_bench/door")
    np.testing.assert_array_equal(observations, [single.reset(seed=seed)[0] for seed in (5, 6)])
    environments.close()


@pytest.mark.filterwarnings("ignore::UserWarning")  # gymnasium warns before it raises
def test_an_asynchronous_vector_of_pixels_by_fork_raises_what_to_do(drawn):
    environments = vector("pixels", "fork")
    with pytest.raises(ForkedError, match='context="spawn"'):
        environments.reset(seed=[0, 1])
    environments.close(terminate=True)


@pytest.mark.slow
def test_the_remedy_works(drawn):
    assert "spawn" in multiprocessing.get_all_start_methods()
    environments = vector("pixels", "spawn")
    observations, _ = environments.reset(seed=[0, 1])
    single = gymnasium.make("hindex_bench/door", observation="pixels")
    np.testing.assert_array_equal(observations["pixels"][1], single.reset(seed=1)[0]["pixels"])
    environments.close()
