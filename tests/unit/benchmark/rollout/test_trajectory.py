import sys
from subprocess import run

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from benchmark.rollout.trajectory import Trajectory, discounted_returns, generalized_advantages, joined

finite = st.floats(-100, 100)
fraction = st.floats(0, 1)


def test_returns_by_hand():
    np.testing.assert_array_equal(discounted_returns([1, 2, 4], 0.5), [1 + 0.5 * (2 + 0.5 * 4), 4, 4])


def test_no_discount_sums_and_full_discount_keeps():
    np.testing.assert_array_equal(discounted_returns([1.0, -2.0, 3.0], 1.0), [2.0, 1.0, 3.0])
    np.testing.assert_array_equal(discounted_returns([1.0, -2.0, 3.0], 0.0), [1.0, -2.0, 3.0])


@given(arrays(np.float64, 7, elements=finite), fraction)
def test_each_return_is_the_reward_and_the_discounted_next(rewards, gamma):
    returns = discounted_returns(rewards, gamma)
    np.testing.assert_allclose(returns, rewards + gamma * np.append(returns[1:], 0.0), atol=1e-9)


def test_advantages_by_hand():
    # gamma 0.5, lambda 0.5; the residuals of a finished episode are 1+1-4, 2+3-2, 3+0-6.
    finished = generalized_advantages([1, 2, 3], [4.0, 2.0, 6.0], True, 0.5, 0.5)
    np.testing.assert_allclose(finished, [-2 + 0.25 * (3 + 0.25 * -3), 3 + 0.25 * -3, -3])
    # Unfinished, the last state's own value 6 stands for its successor's: 3+3-6.
    unfinished = generalized_advantages([1, 2, 3], [4.0, 2.0, 6.0], False, 0.5, 0.5)
    np.testing.assert_allclose(unfinished, [-2 + 0.25 * 3, 3, 0])


@given(arrays(np.float64, 6, elements=finite), arrays(np.float64, 6, elements=finite), fraction)
def test_lambda_one_is_return_minus_value_when_terminal(rewards, values, gamma):
    advantages = generalized_advantages(rewards, values, True, gamma, 1.0)
    np.testing.assert_allclose(advantages, discounted_returns(rewards, gamma) - values, atol=1e-9)


@pytest.mark.parametrize("terminal", [True, False])
def test_advantages_are_float64_for_float32_values(terminal):
    values = np.array([0.1, 0.2, 0.3], dtype=np.float32)
    assert generalized_advantages([1, 2, 3], values, terminal, 0.995, 0.97).dtype == np.float64


def test_unequal_lengths_are_refused():
    with pytest.raises(ValueError, match=r"\(3,\).*\(2,\)"):
        generalized_advantages([1, 2, 3], [1.0, 2.0], True, 0.9, 0.9)


def trajectory(**replaced):
    fields = {
        "observations": np.zeros((3, 4), np.float32),
        "actions": np.zeros((3, 2), np.float32),
        "rewards": np.zeros(3),
        "goals": np.zeros(3, bool),
    }
    return Trajectory(**(fields | replaced), terminal=True, seed=0, success=False)


def test_length_is_the_number_of_steps():
    assert len(trajectory()) == 3


@pytest.mark.parametrize(
    ("field", "array"),
    [
        ("observations", np.zeros((4, 4), np.float32)),
        ("actions", np.zeros(3, np.float32)),
        ("goals", np.zeros((3, 1), bool)),
        ("rewards", np.zeros(0)),
    ],
)
def test_arrays_of_another_episode_are_refused(field, array):
    with pytest.raises(ValueError, match="Trajectory"):
        trajectory(**{field: array})


def test_needs_no_torch():
    code = "import sys, benchmark.rollout.trajectory; sys.exit('torch' in sys.modules)"
    assert run([sys.executable, "-c", code], check=False).returncode == 0


WHOLE = np.arange(20.0, dtype=np.float32).reshape(10, 2).copy()


def test_neighbours_are_joined_without_a_copy():
    whole = joined([WHOLE[2:5], WHOLE[5:6], WHOLE[6:10]])
    assert np.shares_memory(whole, WHOLE)
    np.testing.assert_array_equal(whole, WHOLE[2:])


@pytest.mark.parametrize(
    "parts",
    [
        [WHOLE[2:5], WHOLE[6:8]],
        [WHOLE[5:8], WHOLE[2:5]],
        [WHOLE[:5], WHOLE[5:].copy()],
        [WHOLE[:6:2], WHOLE[6:]],
        [WHOLE[:5, :1], WHOLE[5:, :1]],
        [WHOLE.copy()],
    ],
    ids=["gap", "other order", "another array", "every other row", "part of a row", "no view"],
)
def test_all_else_is_copied(parts):
    whole = joined(parts)
    assert not np.shares_memory(whole, WHOLE)
    np.testing.assert_array_equal(whole, np.concatenate(parts))
