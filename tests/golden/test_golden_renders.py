"""First frames against the reference's, rendered on MuJoCo 3.17 with software OpenGL."""

import imageio.v3 as imageio
import mujoco
import numpy as np
import pytest
from skimage.metrics import structural_similarity

import tasks
from tasks.render import CROP, RENDERED, Renderer

FIELDS = {"hammer": "nail_board_body_pos", "door": "door_frame_body_pos", "pen": "target_body_quat"}
MARGIN = (RENDERED - CROP) // 2


def first_frame(golden, name):
    """Seed 0 after the reset, as recorded."""
    task = tasks.make(name)
    with np.load(golden / f"{name}.npz") as file:
        row = list(file["init_seed"]).index(0)
        recorded = (file["init_qpos"][row], file["init_qvel"][row], file[f"init_{FIELDS[name]}"][row])
    task.restore([dict(zip(("qpos", "qvel", task.card.initial_state_field), recorded, strict=True))])
    model = task.build(task.physics).compile()
    data = mujoco.MjData(model)
    task.load_data(0, data)
    with Renderer(model, task.card.camera, "paper") as renderer:
        return renderer.render(data)


@pytest.mark.parametrize("name", FIELDS)
def test_paper_quality_shows_the_reference_frame(golden, name):
    whole = imageio.imread(golden / "renders" / "m317" / f"{name}.png")[..., :3]
    assert whole.shape == (RENDERED, RENDERED, 3)
    reference = whole[MARGIN : MARGIN + CROP, MARGIN : MARGIN + CROP]
    frame = first_frame(golden, name)
    similarity = structural_similarity(frame, reference, channel_axis=2)
    difference = np.abs(frame.astype(float) - reference).mean()
    assert similarity >= 0.98
    assert difference <= 1.0
