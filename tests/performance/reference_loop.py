"""The rollout loop of the released code: one environment, one frame, one image in the encoder.

It draws 256 x 256 at the scene's own quality with every pass that MuJoCo's renderer has, turns the frame into a PIL
image for torchvision's transforms, encodes it in float32 on all cores, and hands the policy float64 features. Of our
suite it takes the task and the OpenGL context.
"""

import time

import mujoco
import numpy as np
import torch
from PIL import Image
from torchvision import transforms

import tasks
from benchmark.dapg import GaussianPolicy
from tasks.rendering.render import open_context

SIZE = 256
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Camera:
    """MuJoCo's own drawing of a scene, as its renderer does it unless told otherwise."""

    def __init__(self, model, name):
        model.vis.global_.offwidth = model.vis.global_.offheight = SIZE
        self.model = model
        self.opengl, _ = open_context()
        self.context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self.context)
        self.scene, self.options = mujoco.MjvScene(model, 2000), mujoco.MjvOption()
        self.camera = mujoco.MjvCamera()
        self.camera.type, self.camera.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED, model.camera(name).id
        self.pixels = np.empty((SIZE, SIZE, 3), np.uint8)

    def render(self, data):
        """Return a frame, (256, 256, 3) uint8."""
        everything = mujoco.mjtCatBit.mjCAT_ALL
        mujoco.mjv_updateScene(self.model, data, self.options, None, self.camera, everything, self.scene)
        area = mujoco.MjrRect(0, 0, SIZE, SIZE)
        mujoco.mjr_render(area, self.scene, self.context)
        mujoco.mjr_readPixels(self.pixels, None, area, self.context)
        return self.pixels[::-1]

    def close(self):
        """Release the OpenGL context."""
        self.context.free()
        self.opengl.free()


class ReferenceLoop:
    """Episodes of one environment, step by step.

    Args:
        name: the task.
        network: images (1, 3, 224, 224) -> features, in float32.
        threads: torch's threads, which the released code leaves at the number of cores.
    """

    def __init__(self, name, network, threads):
        self.task = tasks.make(name)
        self.data = mujoco.MjData(self.task.model)
        self.camera = Camera(self.task.model, self.task.card.camera)
        self.network, self.threads = network.eval(), threads
        self.transform = transforms.Compose(
            [
                transforms.Resize(SIZE),
                transforms.CenterCrop(224),
                transforms.ToTensor(),
                transforms.Normalize(*IMAGENET),
            ]
        )
        self.policy = None
        self.noise = np.random.default_rng(0)

    @torch.no_grad()
    def feature(self):
        """Return the feature of what the camera sees, (1, F) float64."""
        self.task.load_data(0, self.data)
        image = self.transform(Image.fromarray(self.camera.render(self.data)))
        return self.network(image[None]).numpy().astype(np.float64)

    def episode(self, seed, steps):
        """Take control steps from a reset; return the seconds that they took."""
        torch.set_num_threads(self.threads)
        reading = self.task.reset([seed])
        began = time.perf_counter()
        for _ in range(steps):
            observation = np.concatenate([self.feature(), reading.proprioception], axis=1)
            reading = self.task.step(self.act(observation))
        return time.perf_counter() - began

    @torch.no_grad()
    def act(self, observation):
        """Return a sample of a policy of two layers of 256."""
        if self.policy is None:
            size, generator = observation.shape[1], torch.Generator().manual_seed(0)
            self.policy = GaussianPolicy(size, self.task.card.action_dim, (256, 256), generator=generator)
        mean = self.policy.mean(torch.from_numpy(observation).float()).numpy()
        return mean + torch.exp(self.policy.log_std).numpy() * self.noise.standard_normal(mean.shape)

    def close(self):
        """Release the OpenGL context."""
        self.camera.close()
