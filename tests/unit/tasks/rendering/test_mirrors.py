"""The second drawing for mirrors: left out where nobody sees one, and then no pixel changes."""

import mujoco
import numpy as np
import pytest

import tasks
from tasks import experts
from tasks.rendering.mirrors import mirrors, moves, screens
from tasks.rendering.qualities import DRAWINGS
from tasks.rendering.render import Renderer

MIRRORED = [quality for quality, drawing in DRAWINGS.items() if drawing.reflections]
DEXMV = [name for name in tasks.names() if tasks.card(name).source == "DexMV"]
MIRROR = """<mujoco><asset><material name="m" reflectance="{}"/></asset><worldbody><light pos="0 0 3"/>
<camera name="c" pos="0 -2 1" xyaxes="1 0 0 0 .45 .9"/>
{}<geom name="mirror" type="{}" material="m" size="1 1 .1" group="{}"/>{}
<geom name="ball" size=".3" pos="0 0 .6" rgba="1 0 0 1"/>{}</worldbody></mujoco>"""
LOOSE = ("<body><freejoint/>", "</body>")
FIXED = ("", "")
HIDING = "<geom name='wall' type='box' pos='0 -1 .4' size='3 .1 {}' rgba='0 1 0 {}'/>"


def drawn(renderer):
    return bool(renderer._scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION])


def acting(name, background=0, steps=15):
    """A task some steps after its expert began."""
    task = tasks.make(name, background=background)
    reading = task.reset([background])
    for _ in range(steps):
        reading = task.step(experts.shipped(name).mean(reading.observation))
    return task


def compare(task, quality, monkeypatch):
    """Frames with the second drawing are those without, through the task's camera and the released Stage 2's."""
    data = mujoco.MjData(task.model)
    task.load_data(0, data)
    for camera in {task.card.camera} | ({"backview"} if task.card.name in DEXMV else set()):
        frames = []
        for seen in (None, True):
            with monkeypatch.context() as patch:
                if seen:
                    patch.setitem(DRAWINGS, quality, DRAWINGS[quality]._replace(reflections=True))
                    patch.setattr(Renderer, "_sees_mirror", lambda self: True)
                with Renderer(task.model, camera, quality) as renderer:
                    frames.append(renderer.render(data))
        np.testing.assert_array_equal(*frames)


@pytest.mark.parametrize("quality", ["fast", "shadows"])
@pytest.mark.parametrize("name", tasks.names())
def test_no_frame_of_a_task_changes(name, quality, monkeypatch):
    compare(acting(name), quality, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("quality", list(DRAWINGS))
@pytest.mark.parametrize("background", range(11))
@pytest.mark.parametrize("name", tasks.names())
def test_no_frame_of_a_task_changes_on_any_background(name, background, quality, monkeypatch):
    compare(acting(name, background, 40), quality, monkeypatch)


@pytest.mark.parametrize("name", tasks.names())
def test_the_scene_is_drawn_once_but_for_the_task_that_sees_its_floor(name):
    task = tasks.make(name)
    for quality in DRAWINGS:
        with Renderer(task.model, task.card.camera, quality) as renderer:
            assert drawn(renderer) is (name == "relocate-sugar_box" and quality != "fast")


@pytest.mark.parametrize("name", ["pour", "relocate-mug"])
def test_the_floor_is_the_mirror_and_the_table_the_screen(name):
    """Neither tank nor mug hides a mirror: resets move them."""
    model = tasks.make(name).model
    named = lambda chosen: [model.geom(geom).name for geom in np.flatnonzero(chosen)]  # noqa: E731
    reflecting = mirrors(model, mujoco.MjvOption())
    assert named(reflecting) == ["floor"]
    assert not moves(model, reflecting)
    assert named(screens(model)) == ["table"]


@pytest.mark.parametrize("quality", MIRRORED)
@pytest.mark.parametrize(
    ("reflectance", "kind", "group", "body", "wall", "seen"),
    [
        (0.5, "plane", 0, FIXED, "", True),
        (0.5, "box", 0, FIXED, "", True),
        (0.01, "box", 0, FIXED, "", True),
        (0.5, "cylinder", 0, FIXED, "", False),  # MuJoCo's round things do not reflect
        (0.0, "box", 0, FIXED, "", False),
        (0.5, "box", 4, FIXED, "", False),  # of a group that is not shown
        (0.5, "box", 0, FIXED, HIDING.format(1, 1), False),
        (0.5, "box", 0, FIXED, HIDING.format(0.2, 1), True),  # one sees over the wall
        (0.5, "box", 0, FIXED, HIDING.format(1, 0.5), True),  # one sees through the wall
        (0.5, "box", 0, LOOSE, HIDING.format(1, 1), True),  # it may come out from behind
    ],
)
def test_a_mirror_reflects_where_it_is_seen(reflectance, kind, group, body, wall, seen, quality, monkeypatch):
    model = mujoco.MjModel.from_xml_string(MIRROR.format(reflectance, body[0], kind, group, body[1], wall))
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    frames = []
    for forced in (None, True, False):
        with monkeypatch.context() as patch:
            if forced is not None:
                patch.setattr(Renderer, "_sees_mirror", lambda self, forced=forced: forced)
            with Renderer(model, "c", quality) as renderer:
                frames.append(renderer.render(data))
                assert drawn(renderer) is (seen if forced is None else forced)
    np.testing.assert_array_equal(frames[0], frames[1])
    if not wall and kind != "cylinder" and reflectance and not group:
        assert not np.array_equal(frames[1], frames[2])


def test_fast_frames_show_no_reflections():
    model = mujoco.MjModel.from_xml_string(MIRROR.format(0.5, "", "plane", 0, "", ""))
    with Renderer(model, "c", "fast") as renderer:
        assert not drawn(renderer)
