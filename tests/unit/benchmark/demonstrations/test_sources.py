"""Where a run's demonstrations come from, and the line that is said when they are not there."""

import shutil

import numpy as np
import pytest

import tasks
from benchmark.config import configure
from benchmark.demonstrations.sources import gather, imported_path
from benchmark.errors import ConfigError
from tasks import experts
from tasks.demonstrations.dataset import Demonstrations, Episode
from tasks.errors import DemonstrationError


def gathered(source, task="pen", episodes=2, preset="quickstart"):
    overrides = [f"demonstrations.source={source}", f"demonstrations.episodes={episodes}"]
    return gather_for(configure(preset, overrides, task=task, encoder="state").resolve(tasks.card(task)))


def gather_for(config):
    return gather(config.task, config.demonstrations, config.demonstration_options(tasks.card(config.task)))


def test_a_file_is_taken_as_it_is(demonstration_file):
    path = demonstration_file("pen", 4, 3)
    assert gathered(path, episodes=4).content_hash == Demonstrations.load(path).content_hash


def test_the_first_episodes_of_a_file_are_taken(demonstration_file):
    path = demonstration_file("pen", 4, 3)
    assert gathered(path, episodes=2).content_hash == Demonstrations.load(path).first(2).content_hash


def test_a_path_may_begin_with_a_tilde(demonstration_file, monkeypatch):
    path = demonstration_file("pen")
    monkeypatch.setenv("HOME", str(path.parent))
    assert len(gathered(f"~/{path.name}")) == 2


def test_imported_ones_come_from_the_cache(demonstration_file, cache):
    path = imported_path("pen")
    assert path.is_relative_to(cache)
    path.parent.mkdir(parents=True)
    shutil.copy(demonstration_file("pen"), path)
    assert len(gathered("imported", preset="paper")) == 2


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("imported", r"no demonstrations of pen at .*cache.*pen\.npz: run `bench demos import FILE --task pen`, or"),
        ("/nowhere/demos.npz", r"no demonstrations of pen at /nowhere/demos\.npz: run"),
        ("", r"no demonstrations of pen at "),
    ],
)
def test_a_missing_file_names_the_commands_that_mend_it(source, expected):
    with pytest.raises(ConfigError, match=expected) as refusal:
        gathered(source)
    assert "\n" not in str(refusal.value)


def test_another_tasks_file_is_refused(demonstration_file):
    with pytest.raises(ConfigError, match=r"holds demonstrations of door, not of pen; give another file"):
        gathered(demonstration_file("door"))


def test_too_few_episodes_are_counted(demonstration_file):
    with pytest.raises(DemonstrationError, match="demonstrations of pen: 9 wanted, 2 there; collect more"):
        gathered(demonstration_file("pen"), episodes=9)


def test_a_broken_file_is_refused(tmp_path):
    (tmp_path / "demos.npz").write_bytes(b"PK nothing")
    with pytest.raises(DemonstrationError, match=r"demos\.npz: broken or not a demonstrations file"):
        gathered(tmp_path / "demos.npz")


def test_a_task_without_an_expert_says_so(monkeypatch):
    monkeypatch.setattr(experts, "shipped_names", lambda: [])
    with pytest.raises(ConfigError, match=r"task .pen. has no expert; give demonstrations"):
        gathered("expert")


@pytest.mark.skipif("pen" not in experts.shipped_names(), reason="no expert of pen is shipped")
def test_the_expert_is_rolled_out_from_its_own_seeds():
    first, again = gathered("expert"), gathered("expert")
    assert first.content_hash == again.content_hash
    assert first.success_rate == 1.0
    assert first.episodes[0].seed >= 2_000_000_000
    assert len(gathered("expert", episodes=1)) == 1


@pytest.fixture
def pouring_file(tmp_path):
    """Two short episodes of a mean hand in the rollouts' scene of pour."""
    task = tasks.make("pour")
    idle = np.zeros((2, task.card.action_dim))
    episodes = []
    for seed in (1, 2):
        start = task.reset([seed])
        state = task.initial_state(0)
        observations = [start.observation[0], task.step(idle[:1]).observation[0]]
        episodes.append(Episode(state, idle, observations, np.zeros(2), np.zeros(2, bool), success=False, seed=seed))
    path = tmp_path / "pour.npz"
    Demonstrations("pour", tuple(episodes), {"scene": task.scene}).save(path)
    return path


def test_demonstrations_of_the_same_scene_are_taken(pouring_file):
    assert len(gathered(pouring_file, task="pour")) == 2


@pytest.mark.parametrize(
    ("preset", "said"),
    [("paper", "made with objects builtin, this run has ycb"), ("quickstart", "made with tank_height 0.12, this run")],
)
def test_demonstrations_of_another_scene_are_refused(pouring_file, preset, said):
    overrides = [f"demonstrations.source={pouring_file}", "demonstrations.episodes=2"]
    lower = ["scene.tank_height=0.1"] if preset == "quickstart" else []
    config = configure(preset, overrides + lower, task="pour", encoder="state").resolve(tasks.card("pour"))
    with pytest.raises(ConfigError, match=said):
        gather_for(config)
