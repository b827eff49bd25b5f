"""Stage 1's network, loss and optimiser: they learn, resume exactly, and give a trunk that our encoders load."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import encoders
from encoders.pretrain import training as pretrain
from encoders.pretrain.training import LABEL_DIM, HandPoseNetwork, Labels, Trainer

RANGES = np.stack([-np.ones(24), 0.5 + np.arange(24) / 24], axis=1)
CPU = torch.device("cpu")


def examples(n=8, size=32):
    generator = torch.Generator().manual_seed(1)
    frames = torch.randint(256, (n, size, size, 3), dtype=torch.uint8, generator=generator)
    return frames, 0.1 * torch.rand(n, LABEL_DIM, generator=generator)


def trainer(seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Trainer(HandPoseNetwork(RANGES), CPU, seed)


@pytest.fixture(scope="module")
def trained():
    made = trainer()
    for _ in range(2):
        made.step(*examples(), 0.5)
    return made


def test_normalised_labels_come_back():
    network = HandPoseNetwork(RANGES)
    _, rows = examples()
    labels = Labels.split(rows)
    normalised = network.normalise(labels)
    back = network.pose(torch.cat([part.flatten(1) for part in normalised], dim=1))
    for one, other in zip(labels, back, strict=True):
        torch.testing.assert_close(one, other)


def test_the_loss_of_the_truth_is_zero_and_of_others_is_not():
    network = HandPoseNetwork(RANGES)
    labels = Labels.split(examples()[1])
    truth = torch.cat([part.flatten(1) for part in network.normalise(labels)], dim=1)
    assert network.loss(truth, labels).item() == pytest.approx(0.0, abs=1e-9)
    assert network.loss(truth + 0.5, labels).item() > 0.5


def test_errors_are_in_millimetres_and_degrees():
    zero = Labels.split(torch.zeros(2, LABEL_DIM))
    moved = Labels(zero.keypoints + torch.tensor([0.003, 0.004, 0.0]), zero.angles + 0.1, zero.points + 0.01)
    found = pretrain.errors(moved, zero)
    assert found.keypoints_mm == pytest.approx(5.0)
    assert found.angles_degrees == pytest.approx(np.degrees(0.1))
    assert found.points_percent == pytest.approx(np.sqrt(2))


def test_augmentation_keeps_shape_and_range_and_repeats():
    images = pretrain.pixels(examples()[0])
    found = [pretrain.augment(images, torch.Generator().manual_seed(3)) for _ in range(2)]
    assert found[0].shape == images.shape
    assert found[0].min() >= 0
    assert found[0].max() <= 1
    assert torch.equal(*found)
    assert not torch.equal(found[0], images)


def test_the_learning_rate_rises_and_falls_to_zero():
    rates = [pretrain.learning_rate(progress, 256) for progress in (0.0, 0.015, 0.03, 0.5, 1.0)]
    assert rates[0] < rates[1] < rates[2] == pretrain.LEARNING_RATE
    assert rates[2] > rates[3] > rates[4] == 0.0


def test_a_few_images_are_learnt_by_heart(monkeypatch):
    monkeypatch.setattr(pretrain, "augment", lambda images, _generator: images)
    made = trainer()
    losses = [float(made.step(*examples(), 0.03 + 0.97 * step / 12)) for step in range(12)]
    assert losses[-1] < 0.75 * losses[0]


def test_a_loaded_state_goes_on_bit_for_bit(trained):
    other = trainer(seed=5)
    other.load(trained.state())
    for made in (trained, other):
        made.step(*examples(), 0.7)
    states = trained.state(), other.state()
    assert states[0].keys() == states[1].keys()
    assert [name for name in states[0] if not torch.equal(states[0][name], states[1][name])] == []


def test_the_trunk_loads_as_an_encoder_and_sees_the_same(trained, tmp_path):
    path = tmp_path / "stage1.safetensors"
    save_file(pretrain.trunk_for_storage(trained.network), path)
    assert path.stat().st_size < 48e6
    encoder, _ = encoders.build("frankmocap_hand", weights=path)
    frames = torch.randint(256, (1, 224, 224, 3), dtype=torch.uint8)
    network = trained.network.eval()
    with torch.no_grad():
        expected = network.trunk((pretrain.pixels(frames) - network.mean) / network.std)
    network.train()
    torch.testing.assert_close(encoder.encode(frames), expected, rtol=0.02, atol=0.02)
