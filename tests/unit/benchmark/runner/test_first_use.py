"""Weights of the package index come before runs that would do with random ones, from Python as by `bench run`."""

import pytest
from small_runs import tiny_config

from benchmark.config import configure
from benchmark.progress import Silent
from benchmark.runner.encoder import fetch_on_first_use
from benchmark.runner.runner import run
from benchmark.runner.sweep import sweep
from encoders import packaged

NAME = "efficientnet_lite0"


class Fetched(Exception):
    """What stands for weights that arrive."""


@pytest.fixture
def tried(monkeypatch):
    names = []
    monkeypatch.setattr(packaged, "fetch_on_first_use", lambda name, progress: names.append(name))
    return names


def config(preset="quickstart", encoder=NAME, seed=0, **values):
    return configure(preset, task="pen", encoder=encoder, seed=seed, **values)


def test_each_encoder_once_and_only_where_random_weights_would_do(tried):
    wanted = [config(), config(seed=1), config(encoder="r3m"), config(weights="random", encoder="vc1")]
    fetch_on_first_use([*wanted, config("small", encoder="mvp"), config("paper", encoder="rrl")], Silent())
    assert tried == [NAME, "r3m"]


def test_before_a_run_from_python(tried, demonstration_file, tmp_path):
    run(tiny_config(demonstration_file("pen"), "learner.iterations=0"), tmp_path)
    assert tried == ["state"]


def test_once_before_all_runs_of_a_sweep(tried, demonstration_file, tmp_path):
    source = demonstration_file("pen")
    sweep([tiny_config(source, "learner.iterations=0", seed=seed) for seed in range(2)], tmp_path)
    assert tried == ["state"]


def test_weights_that_arrive_are_those_of_the_run(monkeypatch, demonstration_file, tmp_path):
    def arrive(name, progress):
        raise Fetched(name)

    monkeypatch.setattr(packaged, "fetch_on_first_use", arrive)
    with pytest.raises(Fetched, match=NAME):
        run(tiny_config(demonstration_file("pen"), encoder=NAME), tmp_path)
    assert not list(tmp_path.iterdir()), "no folder is named before it is known whose weights they are"
