"""What rewards and observations cost: a task's steps against bare ``mujoco.batch`` stepping of the same simulations."""

import time

import numpy as np
import pytest
from mujoco.batch import Batch

import tasks
from tasks.base import FRAME_SKIP

NAMES = ["hammer", "door", "pen", "relocate-foam_brick", "pour"]
SLOTS, THREADS, STEPS = 64, 2, 25
LEAST_RATIO = 0.9


class TaskStepping:
    """A task as it is used."""

    def __init__(self, name, slots):
        self.task = tasks.make(name, slots=slots, threads=THREADS)
        size = (STEPS, slots, self.task.card.action_dim)
        self.actions = np.random.default_rng(0).uniform(-0.5, 0.5, size)
        self.state = self.task.batch.state

    def restart(self):
        self.task.reset(range(self.task.slots))

    def step(self, number):
        self.task.step(self.actions[number])


class BareStepping:
    """The same model, resets and controls, and nothing that reads them.

    Args:
        task: where they come from.
        split: substeps of the calls that make a control step.
    """

    def __init__(self, stepping, split=(FRAME_SKIP,)):
        task = stepping.task
        self.batch, self.split = Batch(task.model, task.slots, THREADS, persistent=True), split
        stepping.restart()
        if task.field_name:
            self.batch.expand(task.field_name)[:] = task.batch.expand(task.field_name)
            self.batch.set_const()
        self.start = task.batch.state.copy()
        low, high = task.model.actuator_ctrlrange.T
        self.controls = (high + low) / 2 + (high - low) / 2 * stepping.actions
        self.state = self.batch.state

    def restart(self):
        self.batch.reset()
        self.batch.state[:] = self.start

    def step(self, number):
        self.batch.ctrl = self.controls[number]
        for substeps in self.split:
            self.batch.step(nstep=substeps)


def timed(stepping, number):
    start = time.perf_counter()
    stepping.step(number)
    return time.perf_counter() - start


def interleaved_ratio(task, bare, seconds):
    """The task's speed over the bare one: the median over control steps taken in turn, from the same states."""
    ratios, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end:
        task.restart()
        bare.restart()
        for number in range(STEPS):
            order = (task, bare) if (len(ratios) + number) % 2 else (bare, task)
            seconds_of = {stepping: timed(stepping, number) for stepping in order}
            ratios.append(seconds_of[bare] / seconds_of[task])
        np.testing.assert_array_equal(task.state, bare.state)
    return float(np.median(ratios))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["task", "bare, 5 substeps at once", "bare, 4 substeps and 1"])
def test_control_steps_per_second(benchmark, name, kind):
    benchmark.group = f"{name}, {SLOTS} slots, {THREADS} threads"
    stepping = TaskStepping(name, SLOTS)
    if kind != "task":
        stepping = BareStepping(stepping, (FRAME_SKIP,) if "at once" in kind else (FRAME_SKIP - 1, 1))

    def episode():
        for number in range(STEPS):
            stepping.step(number)

    benchmark.pedantic(episode, setup=stepping.restart, rounds=4)
    if benchmark.stats:
        benchmark.extra_info["control_steps_per_second"] = STEPS * SLOTS / benchmark.stats.stats.median


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_rewards_and_observations_cost_at_most_a_tenth(name):
    task = TaskStepping(name, SLOTS)
    assert interleaved_ratio(task, BareStepping(task), seconds=8) >= LEAST_RATIO
