import logging
import math
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from benchmark.config import LearnerSettings
from benchmark.dapg import GaussianPolicy, LearningDiverged, NonFiniteGuard, UpdateReport, ValueBaseline, dapg_update
from benchmark.rollout.trajectory import Trajectory

SETTINGS = LearnerSettings()


def changed(settings, **values):
    return settings.model_copy(update=values)


NPG = changed(SETTINGS, demonstration_weight=0.0)


def make_learner(seed=0, hidden=(16, 16)):
    generator = torch.Generator().manual_seed(seed)
    return GaussianPolicy(2, 2, hidden, generator=generator), ValueBaseline(2, (16, 16), generator=generator)


def identity_episodes(policy, seed, count=8, length=40):
    """Episodes of a task whose best action is the observation itself."""
    generator = torch.Generator().manual_seed(seed)
    episodes = []
    for index in range(count):
        observations = torch.rand(length, 2, generator=generator) * 2 - 1
        with torch.no_grad():
            actions = policy.sample(observations, torch.randn(length, 2, generator=generator))
        rewards = -(actions - observations).square().sum(dim=1).double().numpy()
        flags = np.zeros(length, dtype=bool)
        episodes.append(Trajectory(observations.numpy(), actions.numpy(), rewards, flags, True, index, False))
    return episodes


def error_of_the_mean(policy):
    observations = torch.rand(500, 2, generator=torch.Generator().manual_seed(99)) * 2 - 1
    with torch.no_grad():
        return float((policy.mean(observations) - observations).square().mean())


def update(learner, episodes, demonstrations=None, settings=NPG, iteration=0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return dapg_update(*learner, episodes, demonstrations, settings=settings, iteration=iteration, generator=generator)


def everything(learner):
    policy, baseline = learner
    return {name: tensor.clone() for name, tensor in policy.state_dict().items()} | baseline.state_tensors()


def same(before, after):
    return before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)


def test_npg_learns_the_identity():
    learner = make_learner()
    before = error_of_the_mean(learner[0])
    reports = [update(learner, identity_episodes(learner[0], seed), iteration=seed) for seed in range(40)]
    assert error_of_the_mean(learner[0]) < 0.3 * before
    assert np.mean([report.mean_return for report in reports[-5:]]) > reports[0].mean_return
    assert not any(report.skipped for report in reports)


def test_one_update_raises_the_surrogate_by_about_the_kl_asked_for():
    learner = make_learner()
    report = update(learner, identity_episodes(learner[0], 0))
    assert report.surrogate_after > report.surrogate_before
    assert report.kl == pytest.approx(SETTINGS.step_size / 2, rel=0.2)
    assert report.value_error_after < report.value_error_before


def test_kl_follows_the_step_size():
    kls = []
    for step_size in (0.005, 0.02):
        learner = make_learner()
        kls.append(update(learner, identity_episodes(learner[0], 0), settings=changed(NPG, step_size=step_size)).kl)
    assert kls[1] / kls[0] == pytest.approx(4.0, rel=0.1)


def test_report_is_plain_numbers():
    learner = make_learner()
    episodes = identity_episodes(learner[0], 0)
    numbers = asdict(update(learner, episodes))
    assert numbers.pop("skipped") is False
    assert numbers.pop("reason") == ""
    assert all(type(number) is float and math.isfinite(number) for number in numbers.values())
    totals = [episode.rewards.sum() for episode in episodes]
    assert numbers["samples"] == 320.0
    assert numbers["mean_return"] == pytest.approx(np.mean(totals))
    assert numbers["min_return"] == pytest.approx(min(totals))


@pytest.fixture
def demonstrations():
    observations = np.random.default_rng(0).uniform(-1, 1, (60, 2)).astype(np.float32)
    return observations, observations.copy()


def test_demonstrations_pull_the_policy_towards_them(demonstrations):
    # Rewards that say nothing about the action: what is learned, the demonstrations taught.
    learner = make_learner()
    start = error_of_the_mean(learner[0])
    settings = changed(SETTINGS, demonstration_weight=5.0)
    for iteration in range(8):
        episodes = identity_episodes(learner[0], iteration)
        flat = [replace(episode, rewards=np.arange(40) % 3 - 1.0) for episode in episodes]
        report = update(learner, flat, demonstrations, settings, iteration)
    assert error_of_the_mean(learner[0]) < 0.7 * start
    assert report.demonstration_weight == pytest.approx(5.0 * 0.95**7)


def test_no_weight_is_no_demonstrations(demonstrations):
    with_pairs, without = make_learner(), make_learner()
    episodes = identity_episodes(with_pairs[0], 0)
    report = update(with_pairs, episodes, demonstrations, NPG)
    update(without, episodes, None, SETTINGS)
    assert same(everything(with_pairs), everything(without))
    assert report.demonstration_weight == 0.0


def test_weight_changes_the_step(demonstrations):
    with_pairs, without = make_learner(), make_learner()
    episodes = identity_episodes(with_pairs[0], 0)
    update(with_pairs, episodes, demonstrations, changed(SETTINGS, demonstration_weight=1.0))
    update(without, episodes, None, SETTINGS)
    assert not torch.equal(with_pairs[0].flat_parameters(), without[0].flat_parameters())


def test_update_depends_on_its_inputs_alone(demonstrations):
    first, again = make_learner(), make_learner()
    episodes = identity_episodes(first[0], 0)
    update(first, episodes, demonstrations, SETTINGS)
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002 - the global state is what must not matter
    update(again, episodes, tuple(map(torch.from_numpy, demonstrations)), SETTINGS)
    assert same(everything(first), everything(again))


def test_resumed_updates_are_bit_for_bit_the_uninterrupted_ones():
    straight, interrupted = make_learner(), make_learner()
    episodes = [identity_episodes(straight[0], seed) for seed in range(2)]
    generator = torch.Generator().manual_seed(3)
    for iteration in range(2):
        dapg_update(*straight, episodes[iteration], None, settings=NPG, iteration=iteration, generator=generator)

    generator = torch.Generator().manual_seed(3)
    dapg_update(*interrupted, episodes[0], None, settings=NPG, iteration=0, generator=generator)
    resumed, resumed_generator = make_learner(seed=8), torch.Generator()
    resumed[0].load_state_dict(interrupted[0].state_dict())
    resumed[1].load_state_tensors(interrupted[1].state_tensors())
    resumed_generator.set_state(generator.get_state())
    dapg_update(*resumed, episodes[1], None, settings=NPG, iteration=1, generator=resumed_generator)
    assert same(everything(straight), everything(resumed))


def test_log_std_is_clamped_after_the_update():
    learner = make_learner()
    learner[0].set_log_std(torch.full((2,), -3.0))
    update(learner, identity_episodes(learner[0], 0), settings=changed(NPG, step_size=5.0))
    assert learner[0].log_std.min() >= -3.0


def test_too_few_steps_to_fit_the_baseline_are_no_failure():
    learner = make_learner()
    before = learner[1].state_tensors()
    report = update(learner, identity_episodes(learner[0], 0, count=1))
    assert not report.skipped
    assert math.isnan(report.value_loss)
    assert same(before, learner[1].state_tensors())


def test_no_trajectory_is_refused():
    with pytest.raises(ValueError, match="no trajectories"):
        update(make_learner(), [])


def spoil(episodes, **arrays):
    return [replace(episodes[0], **arrays), *episodes[1:]]


@pytest.mark.parametrize(
    ("break_it", "settings", "reason"),
    [
        (lambda episodes: spoil(episodes, rewards=np.full(40, np.nan)), NPG, "advantages"),
        (lambda episodes: spoil(episodes, rewards=np.full(40, 1e308)), NPG, "advantages"),
        (lambda episodes: spoil(episodes, actions=np.full((40, 2), np.inf, np.float32)), NPG, "policy gradient"),
        (lambda episodes: episodes, changed(NPG, step_size=math.inf), "step"),
        (lambda episodes: episodes, changed(NPG, step_size=1e60), "step|KL"),
        (lambda episodes: episodes, changed(NPG, value_learning_rate=math.inf), "value"),
    ],
    ids=["reward is nan", "reward overflows", "action is inf", "infinite step", "huge step", "baseline diverges"],
)
def test_non_finite_updates_leave_every_bit(break_it, settings, reason):
    learner = make_learner()
    update(learner, identity_episodes(learner[0], 0))
    learner[1].optimiser.param_groups[0]["lr"] = settings.value_learning_rate
    before = everything(learner)
    report = update(learner, break_it(identity_episodes(learner[0], 1)), settings=settings)
    assert report.skipped
    assert any(word in report.reason for word in reason.split("|"))
    assert same(before, everything(learner))
    assert (report.step, report.kl) == (0.0, 0.0)


def test_the_update_after_a_skipped_one_is_as_if_it_had_not_been():
    straight, stumbling = make_learner(), make_learner()
    episodes = identity_episodes(straight[0], 0)
    update(stumbling, spoil(episodes, rewards=np.full(40, np.nan)))
    for learner in (straight, stumbling):
        update(learner, episodes)
    assert same(everything(straight), everything(stumbling))


GOOD, BAD = UpdateReport(skipped=False, reason=""), UpdateReport(skipped=True, reason="KL divergence not finite")


def test_guard_ends_the_run_at_the_third_in_a_row():
    guard = NonFiniteGuard()
    for iteration, report in enumerate([BAD, BAD, GOOD, BAD, BAD]):
        guard.record(report, iteration)
    assert (guard.in_a_row, guard.total) == (2, 4)
    with pytest.raises(LearningDiverged, match="iteration 5: KL divergence not finite"):
        guard.record(BAD, 5)
    assert issubclass(LearningDiverged, RuntimeError)


def test_guard_says_a_row_once(caplog):
    guard = NonFiniteGuard()
    with caplog.at_level(logging.WARNING):
        for iteration, report in enumerate([BAD, BAD, GOOD, BAD]):
            guard.record(report, iteration)
    assert [record.args[0] for record in caplog.records] == [0, 3]


def test_guard_goes_on_counting_after_a_resume():
    guard, resumed = NonFiniteGuard(), NonFiniteGuard()
    guard.record(BAD, 0)
    guard.record(BAD, 1)
    resumed.load_state(guard.state())
    with pytest.raises(LearningDiverged):
        resumed.record(BAD, 2)
