"""The probe's regression: the closed form, the penalty, the split by episode, intervals and margins."""

import numpy as np
import pytest

from benchmark.errors import ConfigError
from benchmark.probe.frames import ProbeFrames, clock_features, split
from benchmark.probe.ridge import PENALTIES, choose_penalties, episode_sums, explained, margin, ridge, standardise
from benchmark.probe.score import balanced_accuracy, bootstrap_generator, compare, score

EPISODES, LENGTH, FEATURES = 30, 8, 5


@pytest.fixture
def generator():
    return np.random.default_rng(0)


def frames(targets, episodes=EPISODES):
    """Frames with these targets, their images left out."""
    episode = np.repeat(np.arange(episodes), len(next(iter(targets.values()))) // episodes)
    names = {name: tuple(f"{name} {k}" for k in range(values.shape[1])) for name, values in targets.items()}
    clock = np.tile(np.linspace(0, 1, len(episode) // episodes, endpoint=False), episodes)
    return ProbeFrames(np.zeros((len(episode), 1), np.uint8), targets, names, episode, clock, split(episodes))


def row(scores, name):
    return next(row for row in scores.rows if row.quantity == name)


# The regression.


@pytest.mark.parametrize("width", [FEATURES, 60])
def test_ridge_solves_the_normal_equations(generator, width):
    inputs = generator.standard_normal((40, width)) + 3.0
    targets, others = generator.standard_normal((40, 3)) - 2.0, generator.standard_normal((7, width))
    penalties = np.array([0.01, 1.0, 50.0])
    predicted = ridge(inputs, targets, others, penalties)
    assert predicted.shape == (3, 7, 3)
    for penalty, made in zip(penalties, predicted, strict=True):
        ones = np.ones((40, 1))
        system = np.block([[inputs, ones]])
        punished = 40 * penalty * np.diag([*np.ones(width), 0.0])  # not the intercept
        solution = np.linalg.solve(system.T @ system + punished, system.T @ targets)
        np.testing.assert_allclose(made, np.block([[others, np.ones((7, 1))]]) @ solution, rtol=1e-9, atol=1e-9)


def test_features_are_standardised_by_the_training_frames_alone(generator):
    train, others = 4.0 + 2.0 * generator.standard_normal((500, 2)), np.array([[4.0, 8.0], [1e9, -1e9]])
    near, far = standardise(train, others)
    np.testing.assert_allclose([near.mean(), near.std()], [0.0, 1.0], atol=1e-3)
    np.testing.assert_allclose(far, [[0.0, 2.0], [5.0, -5.0]], atol=0.3)


def test_a_feature_that_is_dead_in_training_says_nothing(generator):
    train = np.column_stack([np.full(20, 0.3), generator.standard_normal(20)])
    near, far = standardise(train, np.array([[9.0, 0.0]]))
    assert not near[:, 0].any()
    assert far[0, 0] == 0.0


def test_the_penalty_follows_the_noise(generator):
    inputs = generator.standard_normal((EPISODES * LENGTH, FEATURES))
    clean = inputs @ generator.standard_normal((FEATURES, 2))
    noise = generator.standard_normal((EPISODES * LENGTH, 2))
    episode = np.repeat(np.arange(EPISODES), LENGTH)
    chosen = choose_penalties(inputs, np.hstack([clean, noise]), episode, [slice(0, 2), slice(2, 4)])
    assert chosen[0] == chosen[1] == PENALTIES[0]
    assert chosen[2] == chosen[3] > 0.1


def test_the_penalty_is_chosen_across_episodes(generator):
    episode = np.repeat(np.arange(EPISODES), LENGTH)
    signature, label = generator.standard_normal((EPISODES, 50)), generator.standard_normal((EPISODES, 1))
    features = signature[episode] + 0.05 * generator.standard_normal((len(episode), 50))
    # Frames of one episode in two folds would make the least penalty the best.
    assert choose_penalties(features, label[episode], episode, [slice(0, 1)])[0] > 1.0


# Scores.


def test_a_linear_target_is_seen_whole_and_noise_not_at_all(generator):
    features = generator.standard_normal((EPISODES * LENGTH, FEATURES))
    known = features @ generator.standard_normal((FEATURES, 3))
    unknown, still = generator.standard_normal((EPISODES * LENGTH, 2)), np.full((EPISODES * LENGTH, 2), 7.0)
    targets = {"known": known, "unknown": unknown, "still": still}
    scores = score(frames(targets), features, generator)
    assert row(scores, "known").r2 == pytest.approx(1.0, abs=1e-3)
    assert row(scores, "known").low > 0.99
    assert all(value > 0.99 for value in row(scores, "known").r2_by_dimension)
    assert row(scores, "unknown").low < 0.0 < row(scores, "unknown").high
    assert row(scores, "unknown").r2 == pytest.approx(0.0, abs=0.1)
    assert row(scores, "still").constant
    assert row(scores, "still").r2 is None
    assert "still" not in scores.residual


def test_a_number_that_stands_still_is_left_out_of_its_quantity(generator):
    features = generator.standard_normal((EPISODES * LENGTH, FEATURES))
    place = np.column_stack([features[:, 0], 2.0 + 1e-5 * generator.standard_normal(len(features))])
    scored = row(score(frames({"place": place}), features, generator), "place")
    assert not scored.constant
    assert scored.r2 > 0.99
    assert scored.r2_by_dimension[1] is None


def test_what_only_names_the_episode_does_not_score(generator):
    episode = np.repeat(np.arange(EPISODES), LENGTH)
    signature, label = generator.standard_normal((EPISODES, 50)), generator.standard_normal((EPISODES, 1))
    features = signature[episode] + 0.05 * generator.standard_normal((len(episode), 50))
    held_out = score(frames({"label": label[episode]}), features, generator)
    assert row(held_out, "label").r2 < 0.2
    # The same frames split by frame instead: every tenth one held out.
    inputs, others = standardise(features[np.arange(len(episode)) % 10 > 0], features[::10])
    targets = label[episode]
    leaked = ridge(inputs, targets[np.arange(len(episode)) % 10 > 0], others, np.array([1e-3]))[0]
    assert 1.0 - ((leaked - targets[::10]) ** 2).sum() / (targets[::10] ** 2).sum() > 0.9


def test_held_out_episodes_have_no_part_in_the_fit(generator):
    features = generator.standard_normal((EPISODES * LENGTH, FEATURES))
    target = features[:, :1] + generator.standard_normal((EPISODES * LENGTH, 1))
    made = frames({"target": target})
    assert set(made.episode[~made.training]) == set(range(20, 30))
    late = made.episode[:, None] >= 25
    first = score(made, features, generator)
    changed = score(frames({"target": np.where(late, 9.0, target)}), np.where(late, -features, features), generator)
    assert first.rows[0].penalty == changed.rows[0].penalty
    for kind in ("residual", "total"):
        before, after = getattr(first, kind)["target"], getattr(changed, kind)["target"]
        np.testing.assert_array_equal(before[:5], after[:5])
        assert (before[5:] != after[5:]).all()


def test_zero_is_the_training_mean(generator):
    target = generator.standard_normal((EPISODES * LENGTH, 2)) + 5.0
    made = frames({"target": target})
    scores = score(made, np.zeros((len(target), 1)), generator)
    assert scores.rows[0].r2 == pytest.approx(0.0, abs=1e-12)
    error = ((target - target[made.training].mean(axis=0)) ** 2)[~made.training]
    np.testing.assert_allclose(scores.total["target"].sum(axis=0), error.sum(axis=0))


def test_the_clock_knows_what_happens_every_time(generator):
    made = frames({"habit": np.zeros((EPISODES * LENGTH, 1)), "chance": np.zeros((EPISODES * LENGTH, 1))})
    targets = {"habit": np.sin(6 * made.clock)[:, None], "chance": generator.standard_normal((len(made.clock), 1))}
    scores = score(frames(targets), generator.standard_normal((len(made.clock), 2)), generator)
    assert row(scores, "habit").clock_r2 > 0.99
    assert row(scores, "habit").r2 < 0.1
    assert row(scores, "chance").clock_r2 < 0.1
    assert clock_features(np.array([0.0, 0.5, 1.0])).sum(axis=1) == pytest.approx(1.0)


def test_contact_is_also_judged_as_a_decision(generator):
    features = generator.standard_normal((EPISODES * LENGTH, FEATURES))
    touches = (features[:, :1] > 0.8).astype(float)
    scores = score(frames({"contact": touches, "other": features[:, 1:2]}), features, generator)
    assert row(scores, "contact").balanced_accuracy > 0.8
    assert row(scores, "other").balanced_accuracy is None
    never = np.zeros_like(touches)
    never[0] = 1.0
    assert row(score(frames({"contact": never}), features, generator), "contact").constant


def test_balanced_accuracy_does_not_reward_the_frequent():
    true = np.array([True] + 9 * [False])
    assert balanced_accuracy(np.zeros(10, bool), true) == 0.5
    assert balanced_accuracy(true, true) == 1.0
    assert balanced_accuracy(np.array([True] * 4 + [False] * 6), true) == pytest.approx((1 + 6 / 9) / 2)


# Intervals and margins.


def test_sums_are_by_episode():
    values, episode = np.arange(8.0).reshape(4, 2), np.array([7, 3, 7, 3])
    np.testing.assert_array_equal(episode_sums(values, episode), [[8.0, 10.0], [4.0, 6.0]])


def test_intervals_widen_with_what_episodes_differ_in(generator):
    total = np.ones((20, 1))
    same = explained(np.full((20, 1), 0.4), total, generator)
    assert same == pytest.approx((0.6, 0.6, 0.6))
    unlike = explained(np.linspace(0.0, 0.8, 20)[:, None], total, generator)
    assert unlike.value == pytest.approx(0.6)
    spread = np.linspace(0.0, 0.8, 20).std() / np.sqrt(20)
    assert unlike.high - unlike.low == pytest.approx(2 * 1.96 * spread, rel=0.1)


def test_a_paired_margin_is_sure_where_the_single_ones_are_not(generator):
    hard = generator.uniform(0.0, 1.0, (20, 1))  # what both find hard
    better, worse = hard, hard + 0.05
    total = np.full((20, 1), 1.5)
    ahead = margin(better, worse, total, generator)
    one, other = explained(better, total, generator), explained(worse, total, generator)
    assert ahead.value == pytest.approx(one.value - other.value) == pytest.approx(0.05 / 1.5)
    assert ahead.low > 0.0
    assert one.low < other.high  # the single intervals overlap
    back = margin(worse, better, total, generator)
    assert back.value == pytest.approx(-ahead.value)


def test_encoders_are_compared_on_the_same_frames_only(generator):
    features = generator.standard_normal((EPISODES * LENGTH, FEATURES))
    target = features[:, :1] + 0.5 * generator.standard_normal((len(features), 1))
    made = frames({"target": target})
    seeing = score(made, features, generator)
    blind = score(made, generator.standard_normal((len(features), FEATURES)), generator)
    ahead = compare(seeing, blind, bootstrap_generator(0))["target"]
    assert ahead.value == pytest.approx(seeing.rows[0].r2 - blind.rows[0].r2)
    assert 0.0 < ahead.low < ahead.value < ahead.high
    assert ahead == compare(seeing, blind, bootstrap_generator(0))["target"]
    other = score(frames({"target": target + 1.0 + features[:, 1:2]}), features, generator)
    with pytest.raises(ConfigError, match="of different frames"):
        compare(seeing, other, bootstrap_generator(0))
