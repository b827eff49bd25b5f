"""What a user sees of ``bench``: listings, tables, and one line with exit code 2 for what can be mended."""

import os
import pickle
import re
import subprocess
import sys
import time

import numpy as np
import pytest

import tasks
from benchmark.demonstrations.sources import imported_path
from tasks.demonstrations.dataset import Demonstrations
from tasks.experts import Expert, read_card

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="EGL is Linux's way")
HEAVY = {"torch", "torchvision", "mujoco", "pandas", "pyarrow", "gymnasium", "rich.progress", "numpy"}


def refused(done, expected):
    """A user's mistake: nothing on standard output, exactly one line on standard error, exit code 2."""
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    assert re.search(expected, done.stderr), done.stderr
    assert done.stderr.startswith("bench: ")
    assert done.returncode == 2


@pytest.fixture
def tiny(demonstration_file):
    """Options of a run that takes a moment."""

    def options(task="pen", encoder="state", **settings):
        numbers = {
            "demonstrations.source": demonstration_file(task),
            "demonstrations.episodes": 2,
            "rollout.horizon": 5,
            "learner.iterations": 1,
            "learner.policy_hidden": "[8]",
            "evaluation.episodes": 2,
            "torch_threads": 1,
        } | settings
        chosen = ["run", "--encoder", encoder, "--task", task, "--workers", 0]
        return [*chosen, *(part for key, value in numbers.items() for part in ("--set", f"{key}={value}"))]

    return options


def write_encoder(path, body, name="mine", feature_dim=3):
    path.write_text(
        f'from encoders import Encoder\n\nclass Mine(Encoder, name="{name}"):\n    feature_dim = {feature_dim}\n\n'
        "    def __init__(self, weights=None):\n        super().__init__()\n\n"
        f"    def forward(self, images):\n        return {body}\n"
    )
    return f"{path}:Mine"


# Help.


def test_help_answers_at_once(bench):
    """In processor time, which other tests that run at the same time do not lengthen much."""
    best = 9.0
    for _ in range(5):
        before = os.times()
        done = bench("--help")
        after = os.times()
        spent = after.children_user + after.children_system - before.children_user - before.children_system
        best = min(best, spent)
        assert done.returncode == 0
    assert {"run", "demos", "doctor", "encoders", "tasks", "weights"} <= set(done.stdout.split())
    assert 0.01 < best < 0.4


@pytest.mark.parametrize(
    "arguments", [["--help"], ["run", "--help"], ["tasks"], ["encoders"], ["run", "--task", "dor"]]
)
def test_light_commands_import_nothing_heavy(arguments, environment, tmp_path):
    code = (
        "import sys\nfrom benchmark.cli.app import main\ntry:\n    main()\nexcept SystemExit:\n    pass\n"
        "sys.stderr.write('\\n' + ' '.join(sys.modules))"
    )
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    loaded = set(done.stderr.splitlines()[-1].split())
    assert "benchmark.cli.app" in loaded
    # The table says which experts ship, and experts are arrays.
    assert not loaded & (HEAVY - {"numpy"} if arguments == ["tasks"] else HEAVY)


def test_run_help_names_every_option(bench):
    done = bench("run", "--help")
    assert done.returncode == 0
    for option in ("--encoder", "--task", "--seed", "--preset", "--out", "--weights", "--device", "--workers", "--set"):
        assert option in done.stdout
    assert "--overwrite" in done.stdout


@pytest.mark.parametrize("arguments", [[], ["demos"], ["weights"]])
def test_a_group_alone_shows_its_help(arguments, bench):
    done = bench(*arguments)
    assert done.returncode == 0
    assert done.stdout.startswith("Usage: bench")
    assert done.stderr == ""


# Mistakes.


LIGHT_MISTAKES = {
    "unknown command": (["rnu"], r"No such command 'rnu'"),
    "unknown option": (["run", "--sede", "1"], r"No such option:? '?--sede.*--seed"),
    "argument missing": (["demos", "collect", "--task", "pen"], r"Missing option '--out'.*bench demos collect --help"),
    "number expected": (["run", "--workers", "two"], r"Invalid value for '--workers'"),
    "unknown task": (["run", "--task", "dor"], r"unknown task 'dor': did you mean 'door'\?"),
    "one unknown task of two": (["run", "--task", "pen,hamer"], r"unknown task 'hamer': did you mean 'hammer'\?"),
    "empty list": (["run", "--task", ","], r"an empty list: give at least one name"),
    "unknown preset": (["run", "--preset", "papr"], r"unknown preset 'papr': did you mean 'paper'\?"),
    "seed no number": (["run", "--seed", "0,one"], r"--seed 0,one: expected whole numbers"),
    "seed negative": (["run", "--seed", "-1"], r"setting 'seed': should be at least 0, got -1"),
    "seed too large": (["run", "--seed", str(10**20)], r"setting 'seed': should be less than"),
    "unknown key": (["run", "--set", "learner.stepsize=1"], r"unknown setting 'learner\.stepsize': did you mean"),
    "wrong type": (["run", "--set", "learner.step_size=big"], r"'learner\.step_size': should be a number"),
    "out of range": (["run", "--set", "learner.gamma=2"], r"'learner\.gamma': should be at most 1"),
    "no value": (["run", "--set", "learner.gamma"], r"expected KEY=VALUE"),
    "device": (["run", "--device", "tpu"], r"setting 'device'"),
    "unknown weights": (["weights", "fetch", "rlr"], r"unknown encoder 'rlr': did you mean 'rrl'\?"),
    "no such import": (["demos", "import", "nowhere.pickle", "--task", "pen"], r"there is no file nowhere\.pickle"),
    "no such run": (
        ["demos", "export", "nowhere", "--out", "x.safetensors"],
        r"nowhere holds no run with a",
    ),
}


@pytest.mark.parametrize("mistake", LIGHT_MISTAKES)
def test_a_mistake_is_one_line(mistake, bench):
    arguments, expected = LIGHT_MISTAKES[mistake]
    refused(bench(*arguments), expected)


def test_an_unknown_encoder_is_one_line(bench, tiny):
    refused(bench(*tiny(encoder="hindx")), r"unknown encoder 'hindx': did you mean 'hindex'\?")


def test_missing_weights_are_one_line(bench, tiny):
    refused(
        bench(*tiny(encoder="rrl"), "--weights", "nowhere.pt"), r"encoder 'rrl': --weights nowhere\.pt: no such file"
    )


def test_truncated_weights_are_one_line(bench, tiny, tmp_path):
    import torch

    path = tmp_path / "weights.pt"
    torch.save({"conv1.weight": torch.zeros(64, 3, 7, 7)}, path)
    path.write_bytes(path.read_bytes()[:-2000])
    refused(bench(*tiny(encoder="rrl"), "--weights", path), r"weights\.pt")


def test_an_encoder_of_the_wrong_shape_is_one_line(bench, tiny, tmp_path):
    plugin = write_encoder(tmp_path / "mine.py", "images.mean((2, 3))", feature_dim=7)
    done = bench(*tiny(encoder=plugin))
    refused(done, r"encoder 'mine': forward returned shape \(3, 3\) for 3 images, not \(3, 7\); set feature_dim = 3")


def test_an_encoder_that_gives_nan_is_one_line(bench, tiny, tmp_path):
    plugin = write_encoder(tmp_path / "mine.py", "images.mean((2, 3)) * float('nan')")
    refused(bench(*tiny(encoder=plugin)), r"encoder 'mine': 9 of 9 feature values are NaN or infinite")


def test_an_output_folder_that_cannot_be_written_is_one_line(bench, tiny, tmp_path):
    (tmp_path / "taken").write_text("a file")
    refused(
        bench(*tiny(), "--out", "taken/runs"), r"cannot write to the output folder taken/runs: .*; choose another --out"
    )


def test_missing_demonstrations_are_one_line(bench, tiny):
    options = tiny(**{"demonstrations.source": "nowhere.npz"})
    refused(bench(*options), r"no demonstrations of pen at nowhere\.npz: run `bench demos import FILE --task pen`")


@linux
def test_no_opengl_is_one_line_within_seconds(bench, tiny, tiny_encoder, tmp_path):
    (tmp_path / "libEGL.so.1").write_bytes(b"")
    began = time.monotonic()
    done = bench(*tiny(encoder=tiny_encoder), LD_LIBRARY_PATH=str(tmp_path))
    assert time.monotonic() - began < 15  # less than it waits for a driver
    refused(done, r"no headless OpenGL: .*; on Debian/Ubuntu: apt-get install libegl1 libgl1-mesa-dri\n$")


@linux
def test_playing_without_opengl_is_one_line(bench, demonstration_file, tmp_path):
    (tmp_path / "libEGL.so.1").write_bytes(b"")
    source = ["--source", demonstration_file("pen"), "--out", "film.mp4"]
    done = bench("demos", "play", "--task", "pen", *source, LD_LIBRARY_PATH=str(tmp_path))
    refused(done, r"no headless OpenGL .*apt-get install libegl1 libgl1-mesa-dri")


@pytest.mark.parametrize("place", [["--debug", "run"], ["run", "--debug"]])
def test_debug_shows_where_it_went_wrong(place, bench):
    done = bench(*place, "--task", "dor")
    assert done.returncode != 0
    assert done.stderr.startswith("Traceback")
    assert "UnknownTask: unknown task 'dor'" in done.stderr


@pytest.mark.parametrize("name", ["tasks", "encoders"])
@pytest.mark.parametrize("kind", ["package", "module"])
def test_an_intruder_is_named(name, kind, bench, tmp_path):
    """Python looks into the working folder first; so does a user's own package win."""
    if kind == "package":
        (tmp_path / name).mkdir()
    intruder = tmp_path / (f"{name}/__init__.py" if kind == "package" else f"{name}.py")
    intruder.write_text("raise SystemExit('the intruder was imported')")
    done = bench("tasks")
    refused(done, rf"package '{name}' comes from {re.escape(str(intruder))} and not from ")


# Listings.


def test_tasks_are_listed(bench):
    done = bench("tasks", COLUMNS="")
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["task", *tasks.names()]


def test_encoders_are_listed_and_chosen_by_a_pattern(bench):
    done = bench("encoders")
    assert done.returncode == 0
    rows = [line.split() for line in done.stdout.splitlines()]
    assert {"hindex", "frankmocap_hand"} <= {row[0] for row in rows}
    assert [line.split()[0] for line in bench("encoders", "rr*", COLUMNS="").stdout.splitlines()] == ["encoder", "rrl"]
    refused(bench("encoders", "rrk*"), r"no encoder matches 'rrk\*'")


def test_the_doctor_says_what_is_there_and_what_mends_the_rest(bench, tmp_path):
    done = bench("doctor", "--quick")
    assert done.stderr == ""
    rows = {line[8:].split("  ")[0].strip(): line for line in done.stdout.splitlines()}
    assert {"Python", "numpy", "CPU", "OpenGL", "cache", "device"} <= rows.keys()
    assert rows["OpenGL"].startswith("ok")
    assert rows["weights rrl"].endswith("-> bench weights fetch rrl")


# Runs.


def test_a_run_ends_with_a_table_and_the_next_one_finds_it(bench, tiny, tmp_path):
    options = [*tiny(), "--seed", "0,1", "--out", "here"]
    done = bench(*options)
    assert done.returncode == 0, done.stderr
    table = [line for line in done.stdout.splitlines() if line.startswith("│")]
    assert [line.split("│")[3].strip() for line in table] == ["0", "1"]
    assert all("state" in line and "pen" in line for line in table)
    caption = " ".join(done.stdout.split())
    assert "quickstart is a first look, not a result: 2 demonstrations cloned" in caption
    assert "cloned: evaluation return" in done.stderr
    assert len(list((tmp_path / "here").rglob("manifest.json"))) == 2
    again = bench(*options)
    assert again.returncode == 0
    assert again.stderr == ""
    assert [line for line in again.stdout.splitlines() if line.startswith("│")] == table


def test_a_run_from_pixels_with_workers_leaves_a_film(bench, tiny, tiny_encoder, tmp_path):
    done = bench(*tiny(encoder=tiny_encoder), "--workers", 2)
    assert done.returncode == 0, done.stderr
    assert "rendering" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    (film,) = (tmp_path / "runs").rglob("video.mp4")
    assert film.stat().st_size > 1000
    done = bench("demos", "export", film.parent, "--out", "mine.safetensors")
    refused(done, r"an expert acts on state observations")


@pytest.mark.slow
def test_the_default_encoder_runs_and_is_called_random(bench, tiny):
    done = bench(*tiny(encoder="hindex", **{"rollout.horizon": 3}))
    assert done.returncode == 0, done.stderr
    assert "hindex (random)" in done.stdout


# Demonstrations.


@pytest.fixture
def expert_file(tmp_path):
    """An expert of pen that holds still."""
    card, rng = tasks.card("pen"), np.random.default_rng(0)
    sizes = {"in_shift": card.observation_dim, "in_scale": card.observation_dim}
    sizes |= dict.fromkeys(("out_shift", "out_scale", "log_std"), card.action_dim)
    arrays = {name: np.full(size, -3.0 if name == "log_std" else 1.0) for name, size in sizes.items()}
    arrays["out_shift"] = np.zeros(card.action_dim)
    arrays |= {"W0": 0.01 * rng.standard_normal((24, 45)), "b0": np.zeros(24)}
    path = tmp_path / "expert.safetensors"
    Expert.from_arrays(arrays).save(path, {"task": "pen"})
    return path


def test_experts_and_imports_are_listed(bench):
    done = bench("demos", "list")
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines()] == tasks.names()
    assert done.stdout.count("none imported") == len(tasks.names())


def test_demonstrations_are_collected_played_imported_and_listed(bench, expert_file, tmp_path):
    collect = ["demos", "collect", "--task", "pen", "--expert", expert_file, "--episodes", 2, "--seed", 7]
    done = bench(*collect, "--out", "demos.npz", "--keep-failures")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("demos.npz: 2 episodes of pen (")
    made = Demonstrations.load(tmp_path / "demos.npz")
    assert [episode.seed for episode in made.episodes] == [7, 8]

    done = bench("demos", "play", "--task", "pen", "--source", "demos.npz", "--out", "film.mp4", "--quality", "fast")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"film.mp4: {len(made.episodes[0])} steps, return ")
    assert (tmp_path / "film.mp4").stat().st_size > 1000

    done = bench("demos", "import", "demos.npz", "--task", "pen")
    assert done.returncode == 0, done.stderr
    assert "2 episodes of pen" in done.stdout
    assert "imported: 2 episodes" in bench("demos", "list").stdout


def test_the_same_seed_collects_the_same_episodes(bench, expert_file, tmp_path):
    for name in ("one", "two"):
        options = ["--expert", expert_file, "--episodes", 1, "--keep-failures", "--out", f"{name}.npz"]
        assert bench("demos", "collect", "--task", "pen", *options).returncode == 0
    one, two = (Demonstrations.load(tmp_path / f"{name}.npz") for name in ("one", "two"))
    assert one.content_hash == two.content_hash


def test_an_expert_that_never_succeeds_is_one_line(bench, expert_file):
    options = ["--expert", expert_file, "--episodes", 1, "--mean", "--out", "demos.npz"]
    refused(bench("demos", "collect", "--task", "pen", *options), r"pen: 0 successes in 10 attempts, 1 wanted")


def test_an_episode_that_is_not_there_is_one_line(bench, demonstration_file):
    options = ["--source", demonstration_file("pen"), "--out", "film.mp4", "--episode", 5]
    refused(bench("demos", "play", "--task", "pen", *options), r"has 2 episodes of pen; no episode 5")


class Trap:
    """A pickle that runs a command when it is loaded."""

    def __reduce__(self):
        return os.system, ("touch sprung",)


@pytest.mark.parametrize("content", [Trap(), [{"actions": Trap()}]], ids=["bare", "inside"])
def test_a_malicious_pickle_is_refused_and_not_run(content, bench, tmp_path):
    (tmp_path / "demos.pickle").write_bytes(pickle.dumps(content))
    refused(bench("demos", "import", "demos.pickle", "--task", "pen"), r"demos\.pickle.*system")
    assert not (tmp_path / "sprung").exists()


def test_a_published_file_is_imported_and_replayed(bench, demonstration_file, tmp_path, monkeypatch):
    episodes = Demonstrations.load(demonstration_file("pen")).episodes
    published = [
        {
            "init_state_dict": dict(episode.initial_state),
            "actions": episode.actions.astype(float),
            "observations": episode.observations.astype(float),
            "rewards": np.zeros(len(episode)),
        }
        for episode in episodes
    ]
    (tmp_path / "pen-v0_demos.pickle").write_bytes(pickle.dumps(published))
    done = bench("demos", "import", "pen-v0_demos.pickle", "--task", "pen", "--episodes", 2)
    assert done.returncode == 0, done.stderr
    monkeypatch.setenv("HINDEX_BENCH_CACHE", str(tmp_path / "cache"))
    imported = Demonstrations.load(imported_path("pen"))
    for one, other in zip(imported.episodes, episodes, strict=True):
        np.testing.assert_array_equal(one.observations, other.observations)
    refused(bench("demos", "import", "pen-v0_demos.pickle", "--task", "door"), r"pen-v0_demos\.pickle")


def test_our_own_file_is_cut_to_the_wanted_episodes(bench, demonstration_file):
    done = bench("demos", "import", demonstration_file("pen", 4, 3), "--task", "pen", "--episodes", 3)
    assert "3 episodes of pen" in done.stdout


def test_a_state_run_needs_no_opengl_and_becomes_an_expert(bench, tiny, tmp_path):
    (tmp_path / "libEGL.so.1").write_bytes(b"")
    assert bench(*tiny(), LD_LIBRARY_PATH=str(tmp_path)).returncode == 0
    (folder,) = (path.parent for path in (tmp_path / "runs").rglob("manifest.json"))
    done = bench("demos", "export", folder, "--out", "mine.safetensors", "--episodes", 2)
    assert done.returncode == 0, done.stderr
    assert re.match(r"mine\.safetensors: success \d\.\d\d, return \S+ over 2 episodes, mean action", done.stdout)
    expert = Expert.load(tmp_path / "mine.safetensors")
    assert (expert.observation_dim, expert.action_dim) == (45, 24)
    evaluation = read_card(tmp_path / "mine.safetensors")["evaluation"]
    assert [evaluation[mode]["first_seed"] for mode in ("mean_action", "stochastic")] == [1_000_010_000] * 2
    # It acts as the run's policy did: the mean of the same network, to single precision.
    import torch

    from benchmark.dapg import GaussianPolicy
    from benchmark.store.run_folder import RunFolder

    tensors, _ = RunFolder(folder).load_checkpoint()
    policy = GaussianPolicy(45, 24, (8,), generator=torch.Generator())
    policy.load_state_dict({k[7:]: torch.from_numpy(v) for k, v in tensors.items() if k.startswith("policy.")})
    observations = np.random.default_rng(0).standard_normal((5, 45)).astype(np.float32)
    with torch.no_grad():
        expected = policy.mean(torch.from_numpy(observations)).numpy()
    np.testing.assert_allclose(expert.mean(observations), expected, rtol=1e-4, atol=1e-5)
