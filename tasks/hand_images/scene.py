"""The scene in which `images` draws the hand: one model, compiled once, in which everything can be moved.

The hand, a table, a floor, a wall, some solids and lights are always there; what a picture does not show is put into a
hidden group. Pictures lie on materials, of which a geom may take any.
"""

from __future__ import annotations

from typing import NamedTuple

import imageio.v3 as iio
import numpy as np
import numpy.typing as npt

from ..engine import mujoco
from ..scene.arena import SEEN_ONLY, Geom, add_geom
from ..scene.backgrounds import add_material
from ..scene.hand import DexMVHand, dexmv_hand, folder
from ..scene.textures import FILES, PATTERNS, Image, noise, texture

Integers = npt.NDArray[np.intp]

HAND_JOINTS = 24
FINGERS = ("th", "ff", "mf", "rf", "lf")
KEYPOINTS = ("wrist", *(f"{finger}_{part}" for finger in FINGERS for part in ("knuckle", "middle", "distal", "tip")))
"""The wrist; of thumb, first, middle, ring and little finger: the lowest joint, the two further ones, the tip."""

WRIST_BODY, GRASP_SITE = "palm", "S_grasp"
PALM_FROM_FOREARM = (0.0, 0.0, 0.49)
SOLIDS = (
    Geom.mjGEOM_BOX,
    Geom.mjGEOM_BOX,
    Geom.mjGEOM_CAPSULE,
    Geom.mjGEOM_CYLINDER,
    Geom.mjGEOM_CYLINDER,
    Geom.mjGEOM_ELLIPSOID,
    Geom.mjGEOM_SPHERE,
)
LIGHTS = 3
CAMERA = "eye"
FLOOR_HALF = 2.5

PACKAGE_FILES = ("marble.png", "darkwood.png", "dice.png")
NOISES = 10
TEXTURE_SIZE = 256
# Repeats a metre of the pictures on planes.
REPEATS = (1.5, 6.0)
PLAIN = "plain"
VISIBLE, HIDDEN = 0, 5


class SceneIndex(NamedTuple):
    """Where things are in the model.

    Attributes:
        hand_geoms: (h,) the hand's visible geoms.
        hand_qpos: (24,) addresses of its joints.
        hand_material: the hand's own.
        forearm: the body that carries it.
        keypoint_bodies: (16,) bodies whose origins are the keypoints that are no tips, in the order of `KEYPOINTS`.
        tips: (5,) the sites of the tips.
        grasp: the site before the palm.
        table, floor, wall: geoms.
        solids: (7,) geoms.
        plane_materials: those for floor and wall.
        cube_materials: those for all other geoms.
        plain: the material without a picture.
    """

    hand_geoms: Integers
    hand_qpos: Integers
    hand_material: int
    forearm: int
    keypoint_bodies: Integers
    tips: Integers
    grasp: int
    table: int
    floor: int
    wall: int
    solids: Integers
    plane_materials: Integers
    cube_materials: Integers
    plain: int


def build(generator: np.random.Generator) -> tuple[mujoco.MjModel, SceneIndex]:
    """Build the model; some of its pictures and skies are drawn from the generator."""
    spec = dexmv_hand(DexMVHand(forearm=(0.05, 0.09)))
    pictures = {name: texture(name) for name in (*PATTERNS, *FILES)}
    pictures |= {name: iio.imread(folder() / "resources" / "textures" / name)[..., :3] for name in PACKAGE_FILES}
    pictures |= {f"noise-{index}": random_picture(generator) for index in range(NOISES)}
    for name, picture in pictures.items():
        _add_pictured(spec, name, picture[:TEXTURE_SIZE, :TEXTURE_SIZE])
    spec.add_material(name=PLAIN)
    horizon, ground = generator.uniform(0.0, 1.0, (2, 3))
    spec.add_texture(
        name="sky",
        type=mujoco.mjtTexture.mjTEXTURE_SKYBOX,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
        rgb1=horizon,
        rgb2=ground,
        width=64,
        height=64,
    )
    world = spec.worldbody
    add_geom(world, Geom.mjGEOM_BOX, SEEN_ONLY, name="table", size=(0.5, 0.5, 0.025), group=VISIBLE)
    for name in ("floor", "wall"):
        add_geom(world, Geom.mjGEOM_PLANE, SEEN_ONLY, name=name, size=(FLOOR_HALF, FLOOR_HALF, 0.1), group=VISIBLE)
    for index, kind in enumerate(SOLIDS):
        add_geom(world, kind, SEEN_ONLY, name=f"solid-{index}", size=(0.02, 0.02, 0.02), group=VISIBLE)
    for _ in range(LIGHTS):
        world.add_light(type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL, castshadow=False)
    world.add_camera(name=CAMERA)
    model = spec.compile()
    model.stat.extent, model.stat.center[:] = 1.0, 0.0
    model.vis.quality.shadowsize = 0
    return model, _index(model, list(pictures))


def random_picture(generator: np.random.Generator) -> Image:
    """Cloudy, streaky, speckled, checked or striped, in two random colours: (256, 256, 3) uint8."""
    size = TEXTURE_SIZE
    kind = generator.integers(4)
    if kind == 0:
        along, across = np.exp(generator.uniform(np.log(1.0), np.log(40.0), 2))
        pattern = 0.5 + 0.3 * noise(generator, along, across, size)
    elif kind == 1:
        pattern = 0.5 + 0.2 * noise(generator, 25.0, 25.0, size) + 0.2 * noise(generator, 1.0, 1.0, size)
    else:
        cell = 2 ** int(generator.integers(3, 7))
        row, column = np.indices((size, size)) // cell
        pattern = ((row + column) if kind == 2 else row) % 2 + 0.08 * noise(generator, 1.0, 1.0, size)
    low, high = generator.uniform(0.0, 255.0, (2, 3))
    image: Image = (low + (high - low) * pattern[..., None]).clip(0.0, 255.0).astype(np.uint8)
    return image


def _add_pictured(spec: mujoco.MjSpec, name: str, picture: Image) -> None:
    """Add a picture for planes, in each of `REPEATS`, and for solids."""
    height, width, _ = picture.shape
    flat = {"type": mujoco.mjtTexture.mjTEXTURE_2D, "name": f"plane {name}"}
    cube = {"type": mujoco.mjtTexture.mjTEXTURE_CUBE, "name": f"cube {name}"}
    for kind in (flat, cube):
        side = min(height, width)
        shape = {"height": height, "width": width} if kind is flat else {"height": side, "width": side}
        pixels = picture if kind is flat else picture[:side, :side]
        added = spec.add_texture(**kind, **shape, nchannel=3)
        added.data = np.ascontiguousarray(pixels).tobytes()
    add_material(spec, f"cube {name}")
    for repeat in REPEATS:
        material = spec.add_material(name=f"plane {name} {repeat}", texrepeat=[repeat, repeat], texuniform=True)
        material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = f"plane {name}"


def _index(model: mujoco.MjModel, pictures: list[str]) -> SceneIndex:
    geoms = [model.geom(number).name for number in range(model.ngeom)]
    joints = [model.joint(number).name for number in range(model.njnt)]
    hand_joints = [number for number, name in enumerate(joints) if not name.startswith("AR")]
    if len(hand_joints) != HAND_JOINTS:
        raise ValueError(f"the hand has {len(hand_joints)} joints instead of {HAND_JOINTS}")
    bodies = [
        f"{finger}{part}" for finger in FINGERS for part in ("proximal", "middle", "distal")
    ]  # each at its own lower joint
    return SceneIndex(
        hand_geoms=np.array([number for number, name in enumerate(geoms) if name.startswith("V_")]),
        hand_qpos=np.array([int(model.jnt_qposadr[number]) for number in hand_joints]),
        hand_material=int(model.geom("V_palm").matid[0]),
        forearm=model.body("forearm").id,
        keypoint_bodies=np.array([model.body(name).id for name in (WRIST_BODY, *bodies)]),
        tips=np.array([model.site(f"S_{finger}tip").id for finger in FINGERS]),
        grasp=model.site(GRASP_SITE).id,
        table=model.geom("table").id,
        floor=model.geom("floor").id,
        wall=model.geom("wall").id,
        solids=np.array([model.geom(f"solid-{index}").id for index in range(len(SOLIDS))]),
        plane_materials=np.array(
            [model.material(f"plane {name} {repeat}").id for name in pictures for repeat in REPEATS]
        ),
        cube_materials=np.array([model.material(f"cube {name}").id for name in pictures]),
        plain=model.material(PLAIN).id,
    )
