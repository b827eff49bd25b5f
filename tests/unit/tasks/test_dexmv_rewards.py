"""The DexMV rewards from states made by hand, against sums done by hand."""

from math import pi

import numpy as np
import pytest

from tasks.place_inside import place_reward
from tasks.pour import above_tank, inside_mug, inside_tank, pour_reward
from tasks.relocate import relocate_reward

UP = np.array([0.0, 0.0, 1.0])


def row(*numbers):
    return np.array([numbers], float)


# Relocate: an object 0.1 m high.

HEIGHT = 0.1


@pytest.mark.parametrize(
    ("contact", "lift", "carry", "expected"),
    [
        (True, 0.1, 0.05, 23.6317),  # -0.01 + 0.1 + 5 + 2 - 0.05 - 0.075 + 1 / 0.06
        (False, 0.1, 0.05, -0.01),
        (True, 0.1, 0.12, 6.86),  # not near enough: no last bonus
        (True, 0.014, 0.05, 0.79),  # not lifted enough: contact and lift only
        (True, -0.02, 0.05, 0.09),
    ],
)
def test_relocate(contact, lift, carry, expected):
    thing = row(0, 0, HEIGHT / 2 + lift)
    goal = thing + row(carry, 0, 0)
    # The palm is 0.1 m from either.
    palm = thing + row(carry / 2, np.sqrt(0.01 - carry**2 / 4), 0)
    reward = relocate_reward(palm, thing, goal, np.array([contact]), HEIGHT)
    np.testing.assert_allclose(reward, [expected], atol=5e-5)


def test_relocate_counts_no_lift_beyond_the_goal():
    thing, goal = row(0, 0, 1.05), row(0, 0, 0.25)
    reward = relocate_reward(thing, thing, goal, np.array([True]), HEIGHT)
    np.testing.assert_allclose(reward, [0.1 + 50 * 0.2 + 2 - 0.5 * 0.8 - 1.5 * 0.8])


# Pour.

TANK_HEIGHT = 0.12
GOAL = np.array([-0.03, -0.1, 0.24])


@pytest.mark.parametrize(
    ("contact", "offset", "upright", "in_tank", "spilled", "expected"),
    [
        # Lift 0.19935; at the goal.
        (True, 0.0, 1.0, 0.0, 0.0, 0.1 + 50 * 0.19935 + 2 + 1 / 0.03),
        (True, 0.0, 0.0, 0.5, 0.25, 0.1 + 50 * 0.19935 + 2 + 1 / 0.03 + 50 * pi + 50 - 0.025),
        # 4 cm beside: reach 0, palm and mug together.
        (True, 0.04, -1.0, 1.0, 0.0, 0.1 + 50 * 0.19935 + 2 - 2 * 0.04 + 25 + 100 * pi + 100),
        # 6 cm beside: no bonus, whatever was poured.
        (True, 0.06, 0.0, 1.0, 0.0, 0.1 + 50 * 0.19935 + 2 - 2 * 0.06),
        (False, 0.0, 0.0, 1.0, 1.0, -0.1),
    ],
)
def test_pour(contact, offset, upright, in_tank, spilled, expected):
    mug = GOAL[None] + row(offset, 0, 0)
    reward = pour_reward(
        mug, mug, np.array([upright]), GOAL, np.array([contact]), np.array([in_tank]), np.array([spilled])
    )
    np.testing.assert_allclose(reward, [expected], rtol=1e-12)


def test_pour_on_the_table():
    """Palm 0.5 m away; lifted by 5 cm is not yet lifted."""
    for height, contact, expected in ((0.04065, False, -0.05), (0.04065, True, 0.05), (0.09065, True, 2.55)):
        mug = row(0.14, -0.1, height)
        none = np.zeros(1)
        reward = pour_reward(mug + row(0, 0.3, 0.4), mug, np.ones(1), GOAL, np.array([contact]), none, none)
        np.testing.assert_allclose(reward, [expected], atol=1e-12)


def test_upright_beyond_one_by_rounding_is_no_error():
    mug = GOAL[None]
    reward = pour_reward(mug, mug, np.array([1 + 1e-12]), GOAL, np.array([True]), np.zeros(1), np.zeros(1))
    assert np.isfinite(reward).all()


@pytest.mark.parametrize(
    ("place", "in_tank", "above"),
    [
        ((-0.08, -0.1, 0.03), True, True),
        ((-0.08, -0.1, 0.059), True, True),
        ((-0.08, -0.1, 0.061), False, True),
        ((-0.08, -0.1, -0.01), False, False),
        ((-0.08 + 0.074, -0.1 - 0.074, 0.03), True, True),
        ((-0.08 + 0.076, -0.1, 0.03), False, True),
        ((-0.08, -0.1 + 0.084, 5.0), False, True),
        ((-0.08, -0.1 + 0.086, 0.03), False, False),
    ],
)
def test_where_a_particle_counts(place, in_tank, above):
    particles = np.array([[place]])
    assert inside_tank(particles, TANK_HEIGHT) == [[in_tank]]
    assert above_tank(particles) == [[above]]


@pytest.mark.parametrize(
    ("place", "inside"),
    [
        ((0.058, 0, 0), True),
        ((0.059, 0, 0), False),
        ((0, 0.046, 0), True),
        ((0, 0.047, 0), False),
        ((0, 0, -0.040), True),
        ((0, 0, -0.041), False),
        ((0, 0, 0.090), True),
        ((0, 0, 0.091), False),
    ],
)
def test_inside_the_mug_is_measured_along_its_own_axes(place, inside):
    """The mug stands elsewhere, upright or lying with its z axis along the world's x."""
    mug = row(0.3, -0.2, 0.1)
    lying = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])
    for rotation in (np.eye(3), lying):
        particles = mug[:, None] + (rotation @ place)[None, None]
        assert inside_mug(particles, mug, rotation[None]) == [[inside]]


# Place inside, with the mug of scale 1.5 at the origin.

SCALE = 1.5
TOP = 0.0813 * SCALE
HIGHEST = TOP + 0.1784 * 0.8 / 3
MUG = np.array([0.0, 0.0, 0.04065 * SCALE])
FLAT_HAND = 2 * pi / 2  # twice the hand's openness, all joints at zero


@pytest.mark.parametrize(
    ("contact", "distance", "lift", "tilt", "expected"),
    [
        # Far away on the table.
        (False, 0.3, 0.0, pi / 2, 0.0),
        (True, 0.3, 0.0, pi / 2, 0.2),
        (True, 0.3, 0.1, pi / 2, 0.4),
        # Over the rim.
        (True, 0.3, 0.14, pi / 2, 0.2 + 0.28 + 0.2 - 0.15 - 0.3),
        (True, 0.04, 0.14, pi / 2, 0.2 + 0.28 + 0.2 - 0.02 - 0.04 + 0.5),
        (True, 0.04, 0.14, pi / 3, 0.2 + 0.28 + 0.2 - 0.02 - 0.04 + 0.5 + pi / 12),
        (True, 0.02, 0.14, pi / 3, 0.2 + 0.28 + 0.2 - 0.01 - 0.02 + 0.5 + pi / 12 + 0.3),
        # Entering, above and below the middle between rim and highest.
        (True, 0.02, 0.15, 0.0, 0.2 + 0.30 + 0.2 - 0.03 + 0.5 + pi / 4 + 0.3 + 12 * (HIGHEST - 0.15)),
        (True, 0.02, 0.14, 0.0, 0.2 + 0.28 + 0.17 + 0.8 + pi / 4 + 12 * (HIGHEST - 0.14) + 0.5 + FLAT_HAND),
        # Inside, held and let go.
        (True, 0.02, 0.05, 0.0, 0.2 + 0.1 + 12 * (HIGHEST - 0.05) + 0.5 + FLAT_HAND + 1.48 + pi / 4),
        (False, 0.02, 0.05, 0.0, 12 * (HIGHEST - 0.05) + 0.5 + FLAT_HAND + 1.48 + pi / 4 + 1.2 + 0.1),
        # Not steep: nothing for being inside.
        (False, 0.02, 0.05, pi / 3, 0.0),
    ],
)
def test_place_inside(contact, distance, lift, tilt, expected):
    banana = row(distance, 0, 0.0183 + lift)
    reward = place_reward(banana, banana, MUG, np.array([np.cos(tilt)]), np.array([contact]), np.zeros((1, 30)), SCALE)
    np.testing.assert_allclose(reward, [expected], atol=1e-9)


def test_place_inside_rewards_reaching_and_an_open_hand():
    banana = row(0.02, 0, 0.0183)
    arguments = (banana, MUG, np.ones(1), np.zeros(1, bool))
    near = place_reward(banana, *arguments, np.zeros((1, 30)), SCALE)
    far = place_reward(banana + 0.4 * UP, *arguments, np.zeros((1, 30)), SCALE)
    bent = place_reward(banana, *arguments, np.full((1, 30), -0.5), SCALE)
    np.testing.assert_allclose(near - far, [0.04])
    np.testing.assert_allclose(near - bent, [1.0])


def test_rewards_of_many_rows_are_those_of_each():
    generator = np.random.default_rng(0)
    palm, thing, goal = generator.uniform(0, 0.3, (3, 40, 3))
    contact = generator.random(40) > 0.3
    together = relocate_reward(palm, thing, goal, contact, HEIGHT)
    apart = [relocate_reward(*(each[[i]] for each in (palm, thing, goal, contact)), HEIGHT)[0] for i in range(40)]
    np.testing.assert_array_equal(together, apart)
