"""The objects that the DexMV tasks handle: built-in shapes, or the official YCB meshes.

Both packs carry the same explicit inertia, the one that MuJoCo 2 gave the meshes (it took the mass from the volume of
the equivalent inertia box); today's compiler would give others. Numbers are read off the released models.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..cards import Pack
from ..engine import mujoco
from . import shapes, ycb
from .arena import COLLISION_GROUP, GREY, SEEN_ONLY, VISUAL_GROUP, Contact, Geom, Vector, add_geom


@dataclass(frozen=True)
class Inertial:
    """Mass in kg, centre of mass in metres, orientation of the principal frame, moments of inertia in kg m^2."""

    mass: float
    position: tuple[float, float, float]
    quaternion: tuple[float, float, float, float]
    moments: tuple[float, float, float]


@dataclass(frozen=True)
class Thing:
    """An object.

    Attributes:
        name: as in the task's name.
        folder: its folder in the YCB files.
        height: full size along z, unscaled, metres; the rewards' H.
        scale: of the shape.
        quaternion: initial orientation.
        inertial: at this scale.
        rgba: colour of the collision geoms, which is what the camera sees.
        ghost_alpha: opacity of the goal marker.
        version: folder of the collision meshes where there are several.
    """

    name: str
    folder: str
    height: float
    scale: float
    quaternion: tuple[float, float, float, float]
    inertial: Inertial
    rgba: tuple[float, float, float, float] = GREY
    ghost_alpha: float = 0.125
    version: str | None = None


UPRIGHT = (1.0, 0.0, 0.0, 0.0)
QUARTER_TURN = (0.7071067811865476, 0.0, 0.0, 0.7071067811865476)

FOAM_BRICK = Thing(
    name="foam_brick",
    folder="061_foam_brick",
    height=0.051131,
    scale=0.8,
    quaternion=UPRIGHT,
    inertial=Inertial(
        0.2040470329,
        (-0.0001042774699, -0.0001753441059, 0.006543734927),
        (0.4828672333, 0.4673096442, -0.5213389359, 0.5259911076),
        (9.265446307e-05, 9.116932591e-05, 5.705234633e-05),
    ),
)
LARGE_CLAMP = Thing(
    name="large_clamp",
    folder="051_large_clamp",
    height=0.0364,
    scale=0.8,
    quaternion=(0.0, 0.0, 0.0, 1.0),
    inertial=Inertial(
        0.2311046008,
        (7.510079706e-05, -0.0042319812, -0.0006954000262),
        (0.4712326615, 0.5740195185, -0.4465548029, 0.4990292368),
        (0.0003422574476, 0.0002412220908, 0.0001165322949),
    ),
    ghost_alpha=0.5,
)
MUSTARD_BOTTLE = Thing(
    name="mustard_bottle",
    folder="006_mustard_bottle",
    height=0.1913,
    scale=0.8,
    quaternion=(0.5000110003630134, 0.0, 0.0, 0.8660190526287391),
    inertial=Inertial(
        0.6489028437,
        (-0.0008343765144, -0.00164270406, -0.003339857952),
        (0.8321311841, -0.001846532295, 0.003434715278, 0.5545651318),
        (0.001178258949, 0.001038861986, 0.0003001397905),
    ),
    rgba=(0.0, 1.0, 0.0, 1.0),
)
POTTED_MEAT_CAN = Thing(
    name="potted_meat_can",
    folder="010_potted_meat_can",
    height=0.0835,
    scale=0.8,
    quaternion=UPRIGHT,
    inertial=Inertial(
        0.3951403549,
        (-0.001930492813, -0.0003844415341, -0.00598176933),
        (0.482589711, 0.4904667209, 0.5109956958, 0.5152018686),
        (0.0003250787383, 0.0002366296501, 0.0001979025996),
    ),
)
SUGAR_BOX = Thing(
    name="sugar_box",
    folder="004_sugar_box",
    height=0.176,
    scale=0.8,
    quaternion=UPRIGHT,
    inertial=Inertial(
        0.688836676,
        (0.0004314592193, -0.001283018771, -0.004620654973),
        (0.9995779987, -0.008375042934, -0.01995571439, -0.01937659922),
        (0.001419558366, 0.001186237271, 0.0003680883091),
    ),
    rgba=(0.0, 0.0, 0.0, 1.0),
)
TOMATO_SOUP_CAN = Thing(
    name="tomato_soup_can",
    folder="005_tomato_soup_can",
    height=0.1018,
    scale=0.8,
    quaternion=UPRIGHT,
    inertial=Inertial(
        0.3506385911,
        (-0.0002874679494, 0.00134514249, -0.006158527385),
        (0.7187592467, 0.001031723593, -2.501400165e-05, 0.695258283),
        (0.0002504295624, 0.0002495725394, 0.0001292524363),
    ),
)
MUG = Thing(
    name="mug",
    folder="025_mug",
    height=0.0813,
    scale=0.8,
    quaternion=QUARTER_TURN,
    inertial=Inertial(
        0.3012446627,
        (-0.0008481778427, 0.0003843099482, -0.002860483949),
        (-0.03561988188, 0.6632637272, -0.05887144726, 0.745215811),
        (0.0002036218546, 0.0002004389934, 0.0001749368229),
    ),
    version="v0",
)
POURING_MUG = Thing(
    name="pouring_mug",
    folder="025_mug",
    height=0.0813,
    scale=1.0,
    quaternion=QUARTER_TURN,
    inertial=Inertial(
        0.7806696146,
        (0.0001768173544, 0.0004221389717, -0.002322464131),
        (0.03084648221, 0.6922685428, -0.02681099149, 0.7204817346),
        (0.001037861351, 0.0009641900153, 0.0008796987184),
    ),
    version="v2",
)
BANANA = Thing(
    name="banana",
    folder="011_banana",
    height=0.0366,
    scale=0.8,
    quaternion=QUARTER_TURN,
    inertial=Inertial(
        0.2519307149,
        (0.001153351637, 0.002372030594, 1.965878122e-05),
        (0.6254323119, 0.4531482465, -0.5382156912, 0.3373647281),
        (0.000433754197, 0.0004110333374, 4.875140393e-05),
    ),
)

MUG_RED = shapes.LINING_RED
"""What a mug shows inside when the official texture is not there."""


def add_thing(spec: mujoco.MjSpec, body: mujoco.MjsBody, thing: Thing, pack: Pack, contact: Contact) -> None:
    """Give a body the shape, colour and inertia of an object."""
    inertial = thing.inertial
    body.explicitinertial = True
    body.mass, body.inertia = inertial.mass, inertial.moments
    body.ipos, body.iquat = inertial.position, inertial.quaternion
    if pack == "ycb":
        _add_hulls(spec, body, thing, contact)
        add_scan(spec, body, thing.folder, thing.scale, MUG_RED if thing.folder == MUG.folder else thing.rgba)
    else:
        for number, piece in enumerate(shapes.pieces(thing.name)):
            _add_piece(spec, body, piece, f"{thing.name}_{number}", thing.scale, contact, thing.rgba)


def add_ghost(spec: mujoco.MjSpec, body: mujoco.MjsBody, thing: Thing, pack: Pack) -> None:
    """Give a body the translucent green likeness of an object."""
    green = (0.0, 1.0, 0.0, thing.ghost_alpha)
    if pack == "ycb":
        mesh = _scan_mesh(spec, thing.folder, thing.scale)
        add_geom(body, Geom.mjGEOM_MESH, SEEN_ONLY, mesh=mesh, rgba=green, group=0)
        return
    for number, piece in enumerate(shapes.pieces(thing.name)):
        if piece.collides:
            _add_piece(spec, body, piece, f"{thing.name}_{number}", thing.scale, SEEN_ONLY, green, group=0)


def add_box_mug(spec: mujoco.MjSpec, body: mujoco.MjsBody, pack: Pack, scale: float, contact: Contact) -> None:
    """Give a body the shape of the mug that the released code builds from boxes, and what is seen inside it."""
    for number, piece in enumerate(shapes.box_mug()):
        _add_piece(spec, body, piece, f"mug_{number}", scale, contact, GREY)
    if pack == "ycb":
        add_scan(spec, body, MUG.folder, scale, MUG_RED)
        return
    for number, piece in enumerate(shapes.mug_lining()):
        _add_piece(spec, body, piece, f"lining_{number}", scale, SEEN_ONLY, MUG_RED)


def add_scan(spec: mujoco.MjSpec, body: mujoco.MjsBody, folder: str, scale: float, plain: Vector) -> None:
    """Add the official scan, which is seen and does not collide; ``plain`` is its colour where its texture lacks."""
    mesh = _scan_mesh(spec, folder, scale)
    texture = ycb.texture_file(folder)
    if texture is None:
        material = spec.add_material(name=folder, rgba=plain, specular=0.0, shininess=0.0)
    else:
        spec.add_texture(name=folder, type=mujoco.mjtTexture.mjTEXTURE_2D, file=str(texture))
        material = spec.add_material(name=folder)
        material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = folder
    geom = add_geom(body, Geom.mjGEOM_MESH, SEEN_ONLY, mesh=mesh, material=folder, group=VISUAL_GROUP)
    geom.rgba = material.rgba


def _add_hulls(spec: mujoco.MjSpec, body: mujoco.MjsBody, thing: Thing, contact: Contact) -> None:
    for number, path in enumerate(ycb.collision_files(thing.folder, thing.version), 1):
        name = f"{thing.folder}_{number}"
        spec.add_mesh(name=name, file=str(path), scale=[thing.scale] * 3)
        add_geom(body, Geom.mjGEOM_MESH, contact, name=f"{thing.name}_{number}", mesh=name, rgba=thing.rgba)


def _scan_mesh(spec: mujoco.MjSpec, folder: str, scale: float) -> str:
    name = f"{folder}_scan_{scale:g}"
    if name not in [mesh.name for mesh in spec.meshes]:
        spec.add_mesh(name=name, file=str(ycb.visual_file(folder)), scale=[scale] * 3)
    return name


def _add_piece(
    spec: mujoco.MjSpec,
    body: mujoco.MjsBody,
    piece: shapes.Piece,
    name: str,
    scale: float,
    contact: Contact,
    rgba: Vector,
    group: int | None = None,
) -> None:
    mesh = ""
    if piece.vertices is not None:
        mesh = f"{name}_hull"
        if mesh not in [known.name for known in spec.meshes]:
            spec.add_mesh(name=mesh, uservert=(np.asarray(piece.vertices) * scale).ravel(), scale=[1.0] * 3)
    add_geom(
        body,
        piece.kind,
        contact if piece.collides else SEEN_ONLY,
        name=name if piece.collides and contact.collides else "",
        size=np.asarray(piece.size) * scale,
        position=np.asarray(piece.position) * scale,
        quaternion=piece.quaternion,
        rgba=piece.rgba or rgba,
        mesh=mesh,
        group=(COLLISION_GROUP if piece.collides else VISUAL_GROUP) if group is None else group,
    )
