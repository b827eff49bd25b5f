"""What tables, legs and floors look like: the training scene and the ten looks of the background shift.

A look is texture and nothing else: bodies, contacts, cameras and lights stay as they are.

Source: the paper's Table 3; ``../shared/spec/tasks.md`` sections 5 and 8.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..engine import mujoco
from ..errors import TaskError
from .textures import texture

FLOOR = "wood-tiles"
SKY_HORIZON, SKY_GROUND = (0.9, 0.9, 1.0), (0.2, 0.3, 0.4)
SKY_SIZE = 256
ADROIT_TABLE = "tablecube"


@dataclass(frozen=True)
class Background:
    """The look of one background.

    Attributes:
        number: as the release counts its arenas; 0 is the training scene.
        name: what one sees.
        table: texture of the table, see `tasks.scene.textures`.
        legs: texture of its legs.
    """

    number: int
    name: str
    table: str
    legs: str


BACKGROUNDS = (
    Background(0, "ceramic", "ceramic", "steel-brushed"),
    Background(1, "red wood", "woodr", "steel-brushed"),
    Background(2, "brushed steel", "steel-brushed", "cream-plaster"),
    Background(3, "granite", "granite", "cream-plaster"),
    Background(4, "crumpled foil", "silverRaw", "cream-plaster"),
    Background(5, "blue wood", "woodb", "cream-plaster"),
    Background(6, "tiles", "floor1", "cream-plaster"),
    Background(7, "noise", "foil", "cream-plaster"),
    Background(8, "light oak", "light_wood", "cream-plaster"),
    Background(9, "dark metal", "metal", "cream-plaster"),
    Background(10, "purple", "purple", "cream-plaster"),
)


def background(number: int) -> Background:
    """Return a background by its number.

    Raises:
        TaskError: there is none.
    """
    for known in BACKGROUNDS:
        if known.number == number:
            return known
    last = BACKGROUNDS[-1].number
    raise TaskError(f"unknown background {number!r}: 0 is the training scene, 1 to {last} are the shifted ones")


def dress_table_arena(spec: mujoco.MjSpec, number: int) -> None:
    """Add the materials ``table_top``, ``table_legs`` and ``floor``, and the sky, to a DexMV scene.

    Args:
        spec: the scene, changed in place; its geoms then name the materials.
        number: of the background.

    Raises:
        TaskError: there is no such background.
    """
    look = background(number)
    add_texture(spec, "table_top", look.table)
    add_material(spec, "table_top", specular=0.2, shininess=0.0)
    add_texture(spec, "table_legs", look.legs)
    add_material(spec, "table_legs", shininess=0.8, reflectance=0.8)
    add_texture(spec, "floor", FLOOR, mujoco.mjtTexture.mjTEXTURE_2D)
    floor = add_material(spec, "floor", specular=0.0, shininess=0.0, reflectance=0.01)
    floor.texrepeat, floor.texuniform = [2.0, 2.0], True
    spec.add_texture(
        name="sky",
        type=mujoco.mjtTexture.mjTEXTURE_SKYBOX,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
        rgb1=SKY_HORIZON,
        rgb2=SKY_GROUND,
        width=SKY_SIZE,
        height=SKY_SIZE,
    )


def dress_adroit(spec: mujoco.MjSpec, number: int) -> None:
    """Give the hammer, door or pen scene the table of a background; 0 changes nothing.

    All three have the same marble table, which fills most of the picture. Its texture alone is replaced: brightness and
    gloss, the blue floor around the table and the black above it stay. The paper shifts the DexMV scenes only.

    Args:
        spec: the scene, as `tasks.scene.hand.load_scene` gives it; changed in place.
        number: of the background.

    Raises:
        TaskError: there is no such background, or the scene has no such table.
    """
    look = background(number)
    if look.number == 0:
        return
    table = spec.material(ADROIT_TABLE)
    if table is None:
        raise TaskError(f"this is no Adroit scene: it has no material {ADROIT_TABLE!r}")
    add_texture(spec, "table_top", look.table)
    table.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = "table_top"


def add_texture(
    spec: mujoco.MjSpec, name: str, picture: str, kind: mujoco.mjtTexture = mujoco.mjtTexture.mjTEXTURE_CUBE
) -> None:
    """Add one of `tasks.scene.textures`; a cube shows it on each of its faces."""
    image = texture(picture)
    height, width, channels = image.shape
    added = spec.add_texture(name=name, type=kind, height=height, width=width, nchannel=channels)
    # As an argument of the call above it would have to be a list of numbers, which is slow.
    added.data = image.tobytes()


def add_material(spec: mujoco.MjSpec, name: str, **coefficients: float) -> mujoco.MjsMaterial:
    """Add a material that shows the texture of its own name."""
    material = spec.add_material(name=name, **coefficients)
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = name
    return material
