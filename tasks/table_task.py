"""What the DexMV tasks share: one object on a free joint, handled on the table by a hand whose contact counts."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .base import BoolArray, FloatArray, Task
from .engine import mujoco
from .scene import objects
from .scene.arena import CONTACT_SENSOR, PALM_SITE, Contact, Vector, add_joint, sense_contact

ROBOT_JOINTS = 30
JOINT_ARMATURE = JOINT_FRICTIONLOSS = 0.001


class Scene(NamedTuple):
    """The present of some slots, one row a slot.

    Attributes:
        robot: (n, 30) joint positions of arm and hand, a copy.
        palm: (n, 3) metres.
        thing: (n, 3) the handled object's body, metres.
        contact: (n,) bool, whether the hand touches it, contacts within the gap included.
    """

    robot: FloatArray
    palm: FloatArray
    thing: FloatArray
    contact: BoolArray


class TableTask(Task):
    """A task on the table arena, whose subject names the body that is handled."""

    def add_handled(
        self, spec: mujoco.MjSpec, thing: objects.Thing, position: Vector, contact: Contact
    ) -> mujoco.MjsBody:
        """Add the handled object on a free joint, and the sensor of the hand's contact with it."""
        body = spec.worldbody.add_body(name=self.subject.handled, pos=position, quat=thing.quaternion)
        add_joint(
            body,
            mujoco.mjtJoint.mjJNT_FREE,
            name=self.subject.handled,
            armature=JOINT_ARMATURE,
            frictionloss=JOINT_FRICTIONLOSS,
        )
        objects.add_thing(spec, body, thing, self.objects, contact)
        sense_contact(spec, self.subject.handled)
        return body

    def bind_readings(self) -> None:
        """The robot's joints, the palm, the handled object and the contact sensor."""
        self._qpos, self._sensors = self.batch.bind("qpos"), self.batch.bind("sensordata")
        self._sites, self._bodies = self.batch.bind("site_xpos"), self.batch.bind("xpos")
        self._palm, self._thing = self._site(PALM_SITE), self.model.body(self.subject.handled).id
        self._contact = int(self.model.sensor(CONTACT_SENSOR).adr[0])
        place = int(self.model.joint(self.subject.handled).qposadr[0])
        self._place = slice(place, place + 2)

    def look(self, slots: npt.NDArray[np.integer] | slice) -> Scene:
        """What all of them observe."""
        return Scene(
            self._qpos[slots][:, :ROBOT_JOINTS].copy(),
            self._sites[slots, self._palm],
            self._bodies[slots, self._thing],
            self._sensors[slots, self._contact] > 0,
        )
