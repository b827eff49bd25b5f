"""The rollout loop of the released code: one environment, one frame, one image in the encoder.

It draws 256 x 256 at the scene's own quality and cuts out 224, encodes in float32 on all cores, and hands the policy
float64 features. Everything that makes it slow is kept; what it needs of our suite is the task, the renderer and the
encoder's network.
"""

import time

import mujoco
import numpy as np
import torch

import tasks
from benchmark.dapg import GaussianPolicy
from tasks.rendering.render import Renderer


class ReferenceLoop:
    """Episodes of one environment, step by step.

    Args:
        name: the task.
        encoder: in float32, by PyTorch.
        threads: torch's threads, which the released code leaves at the number of cores.
    """

    def __init__(self, name, encoder, threads):
        self.task = tasks.make(name)
        self.model = self.task.model
        self.data = mujoco.MjData(self.model)
        self.renderer = Renderer(self.model, self.task.card.camera, "paper")
        self.encoder, self.threads = encoder, threads
        size = encoder.feature_dim + self.task.card.proprioception_dim
        self.policy = GaussianPolicy(size, self.task.card.action_dim, (256, 256), generator=torch.Generator())
        self.noise = np.random.default_rng(0)

    def episode(self, seed, steps):
        """Take control steps from a reset; return the seconds that they took."""
        torch.set_num_threads(self.threads)
        reading = self.task.reset([seed])
        began = time.perf_counter()
        for _ in range(steps):
            self.task.load_data(0, self.data)
            frame = self.renderer.render(self.data)
            feature = self.encoder.encode(frame[None]).numpy().astype(np.float64)
            observation = np.concatenate([feature, reading.proprioception], axis=1)
            with torch.no_grad():
                mean = self.policy.mean(torch.from_numpy(observation).float()).numpy()
                spread = torch.exp(self.policy.log_std).numpy()
            reading = self.task.step(mean + spread * self.noise.standard_normal(mean.shape))
        return time.perf_counter() - began

    def close(self):
        """Release the OpenGL context."""
        self.renderer.close()
