"""Resets against the recorded ones: the same random numbers give the same initial states and observations."""

import numpy as np
import pytest
from records import field_of, reference_draw, reference_stream, within_single_precision

import tasks


def test_the_references_random_numbers_draw_the_recorded_initial_states(name, make, recorded):
    """The order of the draws and their ranges, to the last digits."""
    task = make()
    fields = field_of(recorded, "init_", name)
    for row, seed in enumerate(recorded["init_seed"]):
        start = reference_draw(task, reference_stream(int(seed)))
        np.testing.assert_allclose(start.field, fields[row], rtol=0, atol=1e-15)
        qpos = task.model.qpos0 if start.qpos is None else start.qpos
        np.testing.assert_allclose(qpos, recorded["init_qpos"][row], rtol=0, atol=1e-15)


def test_restored_resets_give_the_recorded_observations(name, make, recorded):
    for kind in ("init", "reset"):
        if f"{kind}_qpos" not in recorded:
            continue
        qpos, qvel, observations = (recorded[f"{kind}_{key}"] for key in ("qpos", "qvel", "obs"))
        task, field = make(slots=len(qpos)), field_of(recorded, f"{kind}_", name)
        key = task.card.initial_state_field
        states = [
            {"qpos": qpos[row], "qvel": qvel[row], **({key: field[row]} if key else {})} for row in range(len(qpos))
        ]
        within_single_precision(task.restore(states).observation, observations)


def test_resets_of_ours_vary_where_and_as_far_as_the_recorded_ones(name, make, recorded):
    """The recorded ones are 20 draws: ours, which are more, span nearly as much or more, and are elsewhere equal."""
    task = make(slots=200)
    task.reset(range(200))
    for ours, theirs in (
        (task.batch.bind("qpos"), recorded["init_qpos"]),
        (task.batch.bind("qvel"), recorded["init_qvel"]),
        (task.get_state().field, field_of(recorded, "init_", name)),
    ):
        slack = 0.05 * np.ptp(theirs, axis=0) + 1e-7
        assert (ours.min(axis=0) <= theirs.min(axis=0) + slack).all()
        assert (ours.max(axis=0) >= theirs.max(axis=0) - slack).all()
        np.testing.assert_array_equal(np.ptp(ours, axis=0) > 1e-9, np.ptp(theirs, axis=0) > 1e-9)


@pytest.mark.parametrize("task", ["hammer", "door", "pour", "relocate-foam_brick", "relocate-mug"])
def test_idle_hand_never_reaches_the_goal(task):
    """What the policies reach does not come by itself; on pen it sometimes does."""
    made = tasks.make(task, slots=4)
    made.reset(range(4))
    assert not any(made.step(np.zeros((4, made.card.action_dim))).goal.any() for _ in range(40))
