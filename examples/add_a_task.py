"""A task of one's own in one file: push a ball over a line; ``bench tasks check examples/add_a_task.py:Push``."""

import numpy as np

from tasks.base import Reading, Start, Task, norm
from tasks.cards import TaskCard
from tasks.experts import ScriptedExpert
from tasks.scene import backgrounds, hand
from tasks.subject import Subject


class Pusher(ScriptedExpert):
    def mean(self, observations):  # line the hand up behind the ball with lowered fingers, then sweep forward
        palm_x, ball_x = np.asarray(observations)[:, 30], np.asarray(observations)[:, 33]
        actions = np.zeros((len(ball_x), self.action_dim))
        actions[:, 0], actions[:, 1], actions[:, 3] = -ball_x / 0.25, -1.0, 0.3  # the arm slides 0.25 m either way
        actions[:, 2] = np.where(np.abs(palm_x - ball_x) < 0.05, 1.0, -1.0)
        return actions


class Push(Task):
    card = TaskCard(
        name="push-ball",
        summary="push a ball over a line",
        success_rule="ball beyond the line on 10 steps",
        goal_steps=10,
        horizon=100,
        camera="vil_camera",
        action_dim=30,
        observation_dim=36,
        proprioception=(0, 30),
    )
    subject = Subject(handled="Object", target="target")
    line = 0.2  # metres along y

    @classmethod
    def expert(cls):
        return Pusher(cls.card)

    def build(self):
        spec = hand.load_scene("adroit_relocate.xml", self.physics)
        spec.site("target").pos = [0.0, self.line, 0.035]
        backgrounds.dress_adroit(spec, self.background)
        return spec

    def draw(self, generator):
        qpos = self.model.qpos0.copy()
        qpos[30:32] = generator.uniform((-0.1, 0.0), (0.1, 0.1))  # where the ball lies
        return Start(np.empty(0), qpos)

    def bind_readings(self):
        self._qpos, self._sites, self._bodies = (self.batch.bind(name) for name in ("qpos", "site_xpos", "xpos"))
        self._palm, self._ball = self.model.site("S_grasp").id, self.model.body("Object").id

    def read(self, slots):
        joints, palm, ball = self._qpos[slots][:, :30], self._sites[slots, self._palm], self._bodies[slots, self._ball]
        left, never = self.line - ball[:, 1], np.zeros(len(ball), bool)
        reward = -np.maximum(left, 0.0) - 0.1 * norm(palm - ball)
        return Reading(np.hstack([joints, palm, ball]), joints.copy(), reward, left, left < 0.0, never, never)
