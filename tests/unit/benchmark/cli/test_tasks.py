"""``bench tasks``: a table that fits its terminal, and pictures that show what they say."""

import contextlib
import io
import os
import re
import subprocess
import sys
from types import SimpleNamespace

import glfw
import mujoco.viewer
import numpy as np
import pytest
import typer
from PIL import Image

import benchmark
import tasks
from benchmark import doctor
from benchmark.cli import app as cli
from benchmark.cli import mistakes, task_pictures
from benchmark.cli import tasks as tasks_cli
from benchmark.errors import GraphicsError
from tasks import experts, registry
from tasks.experts import Expert
from tasks.scene.backgrounds import BACKGROUNDS

GREEN = task_pictures.GREEN
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="displays are found otherwise elsewhere")


@pytest.fixture
def bench(tmp_path, monkeypatch, capsys):
    """Run ``bench tasks ARGUMENTS`` in this process and an empty folder: (exit code, output, errors)."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        action = lambda: cli.app(["tasks", *map(str, arguments)], prog_name="bench", standalone_mode=False)  # noqa: E731
        code = mistakes.guarded(action, debug=False)
        return SimpleNamespace(code=code, **capsys.readouterr()._asdict())

    return call


@pytest.fixture
def ship(monkeypatch):
    """Make an expert that holds still ship for a task, or none."""

    def give(name=None):
        monkeypatch.setattr(experts, "shipped_names", lambda: [name] if name else [])
        monkeypatch.setattr(experts, "shipped", still)

    return give


def still(name):
    """An expert whose mean action is zero."""
    card = tasks.card(name)
    arrays = {"W0": np.zeros((card.action_dim, card.observation_dim)), "b0": np.zeros(card.action_dim)}
    arrays |= {"in_shift": np.zeros(card.observation_dim), "in_scale": np.ones(card.observation_dim)}
    arrays |= {name: np.zeros(card.action_dim) for name in ("out_shift", "out_scale", "log_std")}
    return Expert.from_arrays(arrays)


def refused(done, expected):
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("bench: ")
    assert done.err.count("\n") == 1
    assert re.search(expected, done.err), done.err


# The table.


def test_a_pipe_gets_one_plain_line_a_task(bench, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    done = bench()
    heading, *lines = done.out.splitlines()
    assert " ".join(heading.split()) == "task suite action size steps camera demos expert success success rule"
    assert [line.split()[0] for line in lines] == tasks.names()
    assert "\x1b" not in done.out
    for line, name in zip(lines, tasks.names(), strict=True):
        card = tasks.card(name)
        numbers = [card.source, card.action_dim, card.horizon, card.camera, card.demonstrations]
        assert line.split()[1:6] == [str(number) for number in numbers]
        assert line.rstrip().endswith(card.success_rule)


@pytest.mark.parametrize("columns", [80, 120])
def test_the_table_fits_its_width_and_cuts_nothing(bench, columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    done = bench()
    assert max(len(line) for line in done.out.splitlines()) <= columns
    assert "…" not in done.out
    words = " ".join(done.out.split())
    for name in tasks.names():
        assert name in words
    assert "object within 0.1 m of its goal on 10 steps" in words
    assert ("relocate-* " in words) == (columns == 80)


def test_a_terminal_gets_rules_and_notes(bench, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    tasks_cli.print_tasks()
    text = re.sub(r"\x1b\[[0-9;]*m", "", screen.getvalue())
    assert "──" in text
    assert "`bench tasks show NAME` draws a task" in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 80


def test_tasks_of_other_packages_are_listed_without_importing_them(bench, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr(registry, "_installed", lambda: {"push-ball": ()})
    (line,) = (line for line in bench().out.splitlines() if line.startswith("push-ball"))
    assert line.split()[1:] == ["?"] * 6 + ["of", "another", "package"]


def test_experts_that_ship_are_listed_with_their_success(bench, ship, monkeypatch):
    ship("pen")
    monkeypatch.setattr(experts, "shipped_card", lambda _: {"evaluation": {"mean_action": {"success": 0.875}}})
    monkeypatch.setenv("COLUMNS", "80")
    lines = {line.split()[0]: line.split() for line in bench().out.splitlines() if line}
    assert lines["pen"][-1] != "none"
    found = re.findall(r"^(pen|door) .* (\S+) *$", bench().out, re.MULTILINE)
    assert dict(found[:2]) == {"pen": "0.88", "door": "none"}


# The film strip.


def test_a_strip_shows_the_shipped_experts_success(bench, tmp_path):
    done = bench("show", "hammer", "--frames", 3, "--quality", "fast")
    assert done.code == 0, done.err
    assert done.out.startswith("hammer.png: an expert episode of hammer (hammer-v0 in the paper), 3 frames up to step ")
    assert re.search(r"200 steps, return \d+\.\d, success at step \d+\n$", done.out)
    with Image.open(tmp_path / "hammer.png") as picture:
        assert picture.info["Description"] in done.out
        pixels = np.asarray(picture)
    assert pixels.shape[1] == 3 * 224 + 2 * task_pictures.GUTTER + 2 * task_pictures.MARGIN
    below = pixels[task_pictures.MARGIN + 224 :]
    assert (below == GREEN).all(-1).any()  # the goal's label and the verdict


def test_a_strip_is_the_same_every_time(bench, ship, tmp_path):
    ship()
    for name in ("one.png", "two.png"):
        assert bench("show", "relocate-mug", "--frames", 2, "--quality", "fast", "--out", name).code == 0
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


def test_without_an_expert_the_resting_scene_is_shown_and_called_so(bench, ship, tmp_path):
    ship()
    done = bench("show", "relocate-mug", "--frames", 2, "--quality", "fast", "--background", 3)
    note, line = done.out.splitlines()
    assert note.startswith("relocate-mug: no expert ships for this task; showing the resting scene")
    assert "the resting scene (zero action, no expert) of relocate-mug, 2 frames up to step 100" in line
    assert "background 3, granite, seed 0" in line
    assert "success" not in line
    assert (tmp_path / "relocate-mug.png").is_file()


def test_an_expert_that_fails_is_shown_and_called_so(bench, ship, monkeypatch):
    ship("door")
    monkeypatch.setattr(task_pictures, "ATTEMPTS", 2)
    done = bench("show", "door", "--frames", 2, "--quality", "fast", "--seed", 7)
    note, line = done.out.splitlines()
    assert note == "door: the expert fails from seeds 7 to 8; showing its best return"
    assert line.endswith("no success")


def test_a_film_ends_with_the_success_and_counts_the_whole_episode():
    task = tasks.make("pen")
    task.reset([0])
    state, card = task.initial_state(0), task.card
    rest = task_pictures.film(task, state, np.zeros((12, card.action_dim)), 4, "fast")
    assert (rest.steps, rest.length, rest.succeeded) == ((0, 4, 8, 12), 12, None)
    episode = task_pictures.expert_episode(task, experts.shipped("pen"), 0)
    shown = task_pictures.film(task, episode.initial_state, episode.actions, 3, "fast")
    assert shown.length == len(episode)
    assert shown.total_reward == pytest.approx(episode.total_reward)
    assert shown.steps[0] == 0
    assert shown.steps[-1] == shown.succeeded
    assert episode.goals[: shown.succeeded].sum() == card.goal_steps
    assert shown.goals[-1]
    assert not np.array_equal(shown.frames[0], shown.frames[-1])


# The contact sheet.


def test_the_sheet_has_one_state_under_every_background(bench, tmp_path):
    done = bench("show", "relocate-foam_brick", "--backgrounds", "--quality", "fast", "--seed", 4)
    assert done.code == 0, done.err
    assert "relocate-foam_brick under backgrounds 0 to 10, camera frontview, builtin objects, seed 4" in done.out
    sheet = np.asarray(Image.open(tmp_path / "relocate-foam_brick-backgrounds.png"))
    step, below = 224 + task_pictures.GUTTER, 224 + task_pictures.GUTTER + task_pictures.LABEL_HEIGHT
    corners = [divmod(index, task_pictures.SHEET_COLUMNS) for index in range(len(BACKGROUNDS))]
    begin = task_pictures.MARGIN
    tiles = [
        sheet[begin + row * below : begin + row * below + 224, begin + column * step : begin + column * step + 224]
        for row, column in corners
    ]
    assert len({tile.tobytes() for tile in tiles}) == len(BACKGROUNDS)
    assert tiles[10].mean((0, 1))[1] < 100 < tiles[0].mean()  # purple, and nearly white


def test_an_adroit_scene_calls_its_own_table_so():
    assert task_pictures.look_name(tasks.card("pen"), BACKGROUNDS[0]) == "own table (training)"
    assert task_pictures.look_name(tasks.card("pour"), BACKGROUNDS[0]) == "ceramic (training)"
    assert task_pictures.look_name(tasks.card("pen"), BACKGROUNDS[3]) == "granite"


@pytest.mark.parametrize("count", [2, 24])
def test_captions_stay_inside_the_picture(count):
    frames = tuple(np.full((224, 224, 3), 90, np.uint8) for _ in range(count))
    film = task_pictures.Film(frames, tuple(range(count)), (False,) * count, 100, -2.0, None)
    details = ["a rather long remark about this episode"] * 6
    picture = task_pictures.strip(film, "relocate-tomato_soup_can", details, "no success")
    edge = np.concatenate([picture[:, :4].reshape(-1, 3), picture[:, -4:].reshape(-1, 3), picture[-3:].reshape(-1, 3)])
    assert (edge == 255).all()
    assert (picture == task_pictures.RED).all(-1).any()


# The viewer.


class Viewer:
    """Stands for MuJoCo's window; closed by its user after some frames."""

    def __init__(self, frames):
        self.left, self.times, self.data = frames, [], None
        self.cam = SimpleNamespace(type=None, fixedcamid=None)
        self.lock = contextlib.nullcontext

    def launch(self, model, data, **_):
        self.data = data
        return self

    def is_running(self):
        self.left -= 1
        return self.left >= 0

    def sync(self):
        self.times.append(self.data.time)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None


def test_the_viewer_plays_in_a_loop_through_the_tasks_camera(bench, ship, monkeypatch):
    ship()
    viewer = Viewer(frames=102)
    monkeypatch.setattr(mujoco.viewer, "launch_passive", viewer.launch)
    monkeypatch.setattr(task_pictures, "require_display", lambda: None)
    monkeypatch.setattr(task_pictures, "FRAMES_PER_SECOND", 10_000)
    done = bench("show", "pour", "--interactive")
    assert done.code == 0, done.err
    assert "no expert ships" in done.out
    assert viewer.cam.type == mujoco.mjtCamera.mjCAMERA_FIXED
    assert viewer.cam.fixedcamid == tasks.make("pour").model.camera("backview").id
    np.testing.assert_allclose(viewer.times, 0.01 * np.r_[0:100, 0:2], atol=1e-9)


def test_ctrl_c_ends_the_viewer(bench, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(task_pictures, "require_display", lambda: None)
    monkeypatch.setattr(task_pictures, "watch", interrupted)
    assert bench("show", "pen", "--interactive").code == 0


@linux
def test_without_a_display_there_is_no_viewer(bench, monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    refused(bench("show", "pen", "--interactive"), "neither DISPLAY nor WAYLAND_DISPLAY is set")


@linux
@pytest.mark.parametrize("initialised", [True, False])
def test_a_display_that_opens_no_window_is_one_line(monkeypatch, initialised):
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(glfw, "init", lambda: initialised)
    monkeypatch.setattr(glfw, "window_hint", lambda *_: None)
    monkeypatch.setattr(glfw, "create_window", lambda *_: None)
    monkeypatch.setattr(glfw, "get_error", lambda: (65550, b"no such screen"))
    with pytest.raises(GraphicsError, match="no such screen"):
        task_pictures.require_display()


# Mistakes.


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["show", "penn"], "unknown task 'penn': did you mean 'pen'"),
        (["sow"], "No such command 'sow'"),
        (["show", "pen", "--out", "nowhere/pen.png"], "cannot write nowhere/pen.png: there is no folder nowhere"),
        (["show", "pen", "--out", "pen.jpg"], "a name that ends in .png"),
        (["show", "pen", "--quality", "best"], "quality is 'paper', 'shadows' or 'fast', got 'best'"),
        (["show", "pour", "--quality", "best"], "quality is 'paper', 'shadows' or 'fast', got 'best'"),
        (["show", "pen", "--objects", "lego"], "objects are 'builtin' or 'ycb', got 'lego'"),
        (["show", "pen", "--background", "11"], "unknown background 11"),
        (["show", "pen", "--backgrounds", "--background", "3"], "leave out --background"),
        (["show", "pen", "--backgrounds", "--interactive"], "leave out --background and --interactive"),
        (["show", "pen", "--interactive", "--out", "pen.png"], "writes no file"),
        (["show", "pen", "--frames", "1"], "--frames"),
        (["show", "pour", "--objects", "ycb"], "bench assets fetch ycb"),
        (["show", "pour", "--objects", "ycb", "--backgrounds"], "bench assets fetch ycb"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(bench, tmp_path, arguments, expected):
    refused(bench(*arguments), expected)
    assert not list(tmp_path.glob("*.png"))


@linux
def test_a_folder_where_nothing_can_be_written_is_one_line(bench):
    refused(bench("show", "pen", "--out", "/proc/pen.png"), "cannot write to the output folder /proc")


def test_a_folder_is_no_picture(bench, tmp_path):
    (tmp_path / "pen.png").mkdir()
    refused(bench("show", "pen"), "cannot write pen.png: it is a folder")


def test_without_opengl_the_doctors_line_is_shown(bench, monkeypatch):
    monkeypatch.setattr(doctor, "graphics", lambda: doctor.Graphics(problem="no EGL library"))
    refused(bench("show", "pen"), "no headless OpenGL: no EGL library; on Debian/Ubuntu: apt-get install")


@pytest.mark.parametrize("arguments", [["penn"], ["pen", "--interactive"]])
def test_a_process_ends_with_code_2(arguments, tmp_path):
    environment = {name: value for name, value in os.environ.items() if "DISPLAY" not in name}
    home = os.path.dirname(os.path.dirname(benchmark.__file__))
    if arguments[1:]:
        environment["DISPLAY"] = ":4321"
    done = subprocess.run(
        [sys.executable, "-c", "from benchmark.cli.app import main; main()", "tasks", "show", *arguments],
        env=environment | {"PYTHONPATH": home},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr


def test_the_sub_application_is_part_of_the_command():
    assert "tasks" in typer.main.get_command(cli.app).commands
