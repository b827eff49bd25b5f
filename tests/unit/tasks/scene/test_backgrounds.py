"""Textures and the looks made of them: colours, the same at every call, and nothing but looks."""

import imageio.v3 as iio
import mujoco
import numpy as np
import pytest

import tasks
from tasks.errors import TaskError
from tasks.rendering.render import Renderer
from tasks.scene.backgrounds import BACKGROUNDS, background, dress_adroit, dress_table_arena
from tasks.scene.hand import load_scene
from tasks.scene.textures import FILES, LOOKS, PATTERNS, Look, painted, texture

SCENES = ["adroit_hammer.xml", "adroit_door.xml", "adroit_pen.xml", "adroit_relocate.xml"]
NUMBERS = [look.number for look in BACKGROUNDS]
LOOK_FIELDS = ("mat_", "tex_", "name")
GEOM = mujoco.mjtGeom


def arena(number):
    """A table with one leg above a floor, with the paper's lights and camera ``backview``."""
    spec = mujoco.MjSpec()
    dress_table_arena(spec, number)
    world = spec.worldbody
    world.add_geom(name="floor", type=GEOM.mjGEOM_PLANE, pos=[0, 0, -1], size=[1.5, 1.5, 0.1], material="floor")
    world.add_geom(name="table", type=GEOM.mjGEOM_BOX, pos=[0, 0, -0.025], size=[0.6, 0.6, 0.025], material="table_top")
    world.add_geom(
        name="leg", type=GEOM.mjGEOM_CYLINDER, pos=[0.5, 0.5, -0.5], size=[0.025, 0.48, 0], material="table_legs"
    )
    for position in ((1, 1, 4), (-3, -3, 4)):
        light = world.add_light(pos=position, dir=[0, -0.15, -1], diffuse=[0.8] * 3, specular=[0.3] * 3)
        light.castshadow = False
    world.add_camera(name="backview", pos=[0, 0.6, 0.9], quat=[0, 0, 0.281517, 0.959556])
    return spec.compile()


def frame(model, camera, quality="fast"):
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    with Renderer(model, camera, quality) as renderer:
        return renderer.render(data)


# Textures.


@pytest.mark.parametrize("name", LOOKS)
def test_a_texture_has_the_colour_and_contrast_of_the_original(name):
    image, look = texture(name) / 255, LOOKS[name]
    assert image.shape == (len(image), len(image), 3)
    np.testing.assert_allclose(image.mean(axis=(0, 1)), look.mean, atol=0.01)
    assert image.std(axis=(0, 1)).mean() == pytest.approx(look.contrast, rel=0.25)


@pytest.mark.parametrize(
    ("name", "mean"),
    [
        ("woodr", (0.540, 0.209, 0.000)),
        ("silverRaw", (0.750, 0.735, 0.731)),
        ("woodb", (0.248, 0.300, 0.595)),
        ("foil", (0.508, 0.508, 0.508)),
    ],
)
def test_the_hands_package_holds_the_other_four(name, mean):
    np.testing.assert_allclose(texture(name).mean(axis=(0, 1)) / 255, mean, atol=0.001)


@pytest.mark.parametrize("name", [*PATTERNS, *FILES])
def test_a_texture_is_the_same_at_every_call_and_cannot_be_spoilt(name):
    first = texture(name)
    texture.cache_clear()
    np.testing.assert_array_equal(first, texture(name))
    assert (first.dtype, first.flags.writeable) == (np.uint8, False)


def test_an_unknown_texture_is_one_line():
    with pytest.raises(TaskError, match="unknown texture 'velvet'; available: ceramic, ") as refusal:
        texture("velvet")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", ["steel-brushed", "metal", "light_wood"])
def test_brushing_and_grain_run_along_the_rows(name):
    grey = texture(name).mean(axis=-1)
    assert np.abs(np.diff(grey, axis=0)).mean() > 3 * np.abs(np.diff(grey, axis=1)).mean()


def test_painting_meets_the_mean_though_it_clips():
    pattern = np.random.default_rng(0).standard_normal((64, 64))
    image = painted(pattern, Look((0.95, 0.5, 0.05), 0.05)) / 255
    np.testing.assert_allclose(image.mean(axis=(0, 1)), (0.95, 0.5, 0.05), atol=0.003)
    assert image.max() == 1.0
    assert not image[..., 2].min()


# Backgrounds.


def test_backgrounds_are_numbered_as_in_the_release():
    assert [look.number for look in BACKGROUNDS] == list(range(11))
    assert len({look.name for look in BACKGROUNDS}) == len({look.table for look in BACKGROUNDS}) == 11
    for look in BACKGROUNDS:
        assert background(look.number) is look
        assert look.legs == ("steel-brushed" if look.number < 2 else "cream-plaster")
        assert {look.table, look.legs} <= {*PATTERNS, *FILES}


@pytest.mark.parametrize("number", [-1, 11, None, "1"])
def test_an_unknown_background_is_one_line(number):
    for refused in (background, lambda unknown: dress_table_arena(mujoco.MjSpec(), unknown)):
        with pytest.raises(TaskError, match="1 to 10 are the shifted ones") as refusal:
            refused(number)
        assert repr(number) in str(refusal.value)
        assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_table_arena_wears_its_textures(number):
    model, look = arena(number), background(number)
    for geom, picture in (("table", look.table), ("leg", look.legs), ("floor", "wood-tiles")):
        worn = model.mat_texid[model.geom(geom).matid[0], mujoco.mjtTextureRole.mjTEXROLE_RGB]
        assert model.tex_type[worn] == (
            mujoco.mjtTexture.mjTEXTURE_2D if geom == "floor" else mujoco.mjtTexture.mjTEXTURE_CUBE
        )
        start = model.tex_adr[worn]
        pixels = model.tex_data[start : start + texture(picture).size]
        np.testing.assert_array_equal(pixels, texture(picture).ravel())
    assert model.tex("sky").type == mujoco.mjtTexture.mjTEXTURE_SKYBOX


# The mean of a whole frame of relocate-mug in the release, hand and mug included.
FRAMES = {
    0: (237, 237, 232),
    1: (135, 59, 10),
    2: (174, 175, 174),
    3: (173, 185, 181),
    4: (183, 180, 179),
    5: (67, 80, 148),
    6: (176, 168, 162),
    7: (129, 129, 129),
    8: (198, 163, 113),
    9: (111, 111, 111),
    10: (110, 57, 126),
}
SKY = (95, 114, 139)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_table_is_as_bright_as_in_the_release(number):
    """The crop cuts off the sky, a twentieth of the whole frame; hand and mug cover little more."""
    shown = 0.95 * frame(arena(number), "backview").mean(axis=(0, 1)) + 0.05 * np.array(SKY)
    np.testing.assert_allclose(shown, FRAMES[number], atol=6)


def test_the_training_table_is_that_of_the_release(golden):
    """Where neither hand nor mug is."""
    expected = iio.imread(golden / "renders" / "m317" / "relocate-mug.png")[16:-16, 16:-16, :3].astype(float)
    shown = frame(arena(0), "backview", "paper").astype(float)
    for rows, columns in ((slice(224), slice(40)), (slice(150, 224), slice(224)), (slice(60, 224), slice(170, 224))):
        difference = (shown - expected)[rows, columns]
        assert np.abs(difference.mean(axis=(0, 1))).max() < 1
        assert np.quantile(np.abs(difference), 0.99) < 6


# The Adroit scenes.


def differing_fields(left, right):
    """Names of the compiled arrays and sizes that differ."""
    names = [name for name in dir(left) if isinstance(getattr(left, name), np.ndarray | int) and name[0] != "_"]
    return {name for name in names if not np.array_equal(getattr(left, name), getattr(right, name))}


@pytest.mark.parametrize("scene", SCENES)
def test_background_0_leaves_an_adroit_scene_as_it_is(scene):
    plain, dressed = load_scene(scene, "paper"), load_scene(scene, "paper")
    dress_adroit(dressed, 0)
    assert plain.to_xml() == dressed.to_xml()
    assert not differing_fields(plain.compile(), dressed.compile())


@pytest.mark.parametrize("number", NUMBERS[1:])
@pytest.mark.parametrize("scene", SCENES)
def test_a_background_changes_nothing_but_textures(scene, number):
    plain, dressed = load_scene(scene, "paper"), load_scene(scene, "paper")
    dress_adroit(dressed, number)
    changed = differing_fields(plain.compile(), dressed.compile())
    sizes = {"ntex", "ntexdata", "nnames", "nnames_map", "narena", "nbuffer", "signature"}
    assert "mat_texid" in changed
    assert not {name for name in changed - sizes if not name.startswith(LOOK_FIELDS)}


@pytest.mark.parametrize("scene", SCENES)
def test_backgrounds_are_seen(scene):
    frames = []
    for number in (0, 3, 9):
        spec = load_scene(scene, "paper")
        dress_adroit(spec, number)
        frames.append(frame(spec.compile(), "vil_camera").astype(int))
    for index, left in enumerate(frames):
        for right in frames[:index]:
            assert (np.abs(left - right) > 10).any(axis=-1).mean() > 0.15


def test_a_scene_without_the_table_is_refused():
    with pytest.raises(TaskError, match="no Adroit scene"):
        dress_adroit(mujoco.MjSpec(), 3)


@pytest.mark.parametrize("name", ["pour", "relocate-mug", "door", "relocate"])
def test_backgrounds_leave_resets_and_steps_as_they_are(name):
    """A shift is measured on paired seeds: only the picture may differ."""
    readings = []
    for number in (0, 7):
        task = tasks.make(name, slots=2, background=number)
        task.reset([3, 4])
        readings.append(task.step(np.full((2, task.card.action_dim), 0.3)))
    for plain, shifted in zip(*readings, strict=True):
        np.testing.assert_array_equal(plain, shifted)
