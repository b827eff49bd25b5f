import numpy as np
import pytest
import torch
from torch import nn

from encoders import EncoderContract, EncoderError, build, check_encoder, registration
from encoders.base import Encoder


@pytest.fixture(autouse=True)
def clean_registry(monkeypatch):
    monkeypatch.setattr(registration, "REGISTERED", dict(registration.REGISTERED))


class Good(Encoder):
    """Mean colour of two halves of the image, mixed by a frozen layer."""

    feature_dim = 4

    def __init__(self, weights=None):
        super().__init__()
        self.mix = nn.Linear(6, 4)

    def forward(self, images):
        halves = torch.cat([images[..., :112].mean((2, 3)), images[..., 112:].mean((2, 3))], 1)
        return self.mix(halves)


def frozen(encoder_class):
    return encoder_class().eval().requires_grad_(False)


def test_a_good_encoder_passes():
    check_encoder(frozen(Good))


@pytest.mark.parametrize("name", ["state", "blind"])
def test_a_control_passes_without_seeing_an_image(name):
    encoder, origin = build(name)
    check_encoder(encoder)
    assert encoder.feature_dim == 0
    assert not encoder.uses_images
    assert origin.kind == "none"
    with pytest.raises(EncoderError, match="sees no images"):
        encoder.encode(np.zeros((1, 224, 224, 3), np.uint8))


class WrongWidth(Good):
    def forward(self, images):
        return images.mean((2, 3))


class NotPooled(Good):
    def forward(self, images):
        return images[:, :, :2, :2]


class WholeNumbers(Good):
    def forward(self, images):
        return super().forward(images).mul(100).long()


class NotANumber(Good):
    def forward(self, images):
        return super().forward(images) / 0.0


class Dropout(Good):
    def forward(self, images):
        return nn.functional.dropout(super().forward(images), training=True)


class BatchStatistics(Good):
    def forward(self, images):
        features = super().forward(images)
        return features - features.mean(0)


class DependsOnPlace(Good):
    def forward(self, images):
        features = super().forward(images)
        return features + torch.arange(len(features)).unsqueeze(1)


class ChangesInput(Good):
    def forward(self, images):
        return super().forward(images.sub_(0.5))


class Fails(Good):
    def forward(self, images):
        return self.mix(images)


class GivesList(Good):
    def forward(self, images):
        return [super().forward(images)]


class NoWidth(Good):
    feature_dim = None


@pytest.mark.parametrize(
    ("encoder_class", "message"),
    [
        (WrongWidth, r"shape \(3, 3\) for 3 images, not \(3, 4\); set feature_dim = 3"),
        (NotPooled, r"flatten or pool"),
        (WholeNumbers, r"torch.int64; return floating point"),
        (NotANumber, r"12 of 12 feature values are NaN or infinite"),
        (Dropout, r"different features the second time"),
        (BatchStatistics, r"depends on the other images of its batch"),
        (DependsOnPlace, r"or their order"),
        (ChangesInput, r"changed its input"),
        (Fails, r"forward failed on images \(3, 3, 224, 224\): RuntimeError"),
        (GivesList, r"returned a list; return one tensor"),
        (NoWidth, r"feature_dim is None; expected a whole number above 0"),
    ],
)
def test_a_breach_is_named(encoder_class, message):
    with pytest.raises(EncoderContract, match=message) as caught:
        check_encoder(frozen(encoder_class))
    assert "\n" not in str(caught.value)
    assert encoder_class.__name__ in str(caught.value)


def test_trainable_parameters_are_refused():
    with pytest.raises(EncoderContract, match=r"2 trainable parameters \(first: mix.weight\)"):
        check_encoder(Good().eval())


def test_training_mode_is_refused_down_to_a_single_module():
    encoder = frozen(Good)
    encoder.mix.train()
    with pytest.raises(EncoderContract, match=r"1 modules in training mode \(first: mix\)"):
        check_encoder(encoder)


def test_encode_takes_arrays_and_tensors_of_any_memory_order():
    encoder = frozen(Good)
    frames = np.random.default_rng(0).integers(0, 256, (3, 224, 224, 3), dtype=np.uint8)
    expected = encoder(torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255)
    mirrored = frames[:, :, ::-1][:, :, ::-1]
    read_only = frames.copy()
    read_only.flags.writeable = False
    for images in (frames, mirrored, read_only, torch.from_numpy(frames)):
        features = encoder.encode(images)
        assert features.dtype == torch.float32
        torch.testing.assert_close(features, expected)


def test_encode_computes_in_true_float32_whatever_was_set_and_leaves_that_as_it_was():
    class Precise(Good):
        def forward(self, images):
            seen.append((torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32))
            return super().forward(images)

    seen = []
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        frozen(Precise).encode(np.zeros((1, 224, 224, 3), np.uint8))
        assert seen == [("highest", False)]
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)


def test_encode_of_no_image_is_an_empty_feature():
    assert frozen(Good).encode(np.zeros((0, 224, 224, 3), np.uint8)).shape == (0, 4)


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((2, 3, 224, 224), np.uint8),
        np.zeros((224, 224, 3), np.uint8),
        np.zeros((2, 256, 256, 3), np.uint8),
        np.zeros((2, 224, 224, 3), np.float32),
        torch.zeros(2, 224, 224, 3),
    ],
)
def test_encode_refuses_other_images(images):
    with pytest.raises(EncoderError, match=r"expected \(N, 224, 224, 3\) uint8"):
        frozen(Good).encode(images)


def test_encode_leaves_training_mode_and_gradient_behind():
    encoder = Good()
    features = encoder.encode(np.zeros((2, 224, 224, 3), np.uint8))
    assert not encoder.training
    assert not features.requires_grad
    policy = nn.Linear(4, 1)
    policy(features).sum().backward()
    assert policy.weight.grad is not None


def test_build_freezes_names_and_seeds_a_plug_in_and_leaves_the_global_generator():
    class Mine(Good, name="mine"):
        pass

    torch.manual_seed(1)
    before = torch.get_rng_state()
    first, origin = build("mine")
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    second, _ = build("mine")
    torch.testing.assert_close(first.mix.weight, second.mix.weight, rtol=0, atol=0)
    check_encoder(first)
    assert (origin.kind, origin.title("mine")) == ("own", "mine")
    assert first.describe()["weights_sha256"] == origin.sha256 is not None


def test_a_plug_in_that_drew_its_weights_is_called_random():
    class Mine(Good, name="mine"):
        random_weights = True

    _, origin = build("mine")
    assert origin.title("mine") == "mine (random)"


def test_a_plug_in_gets_the_weights_file(tmp_path):
    class Mine(Good, name="mine"):
        def __init__(self, weights=None):
            super().__init__()
            self.found = weights

    file = tmp_path / "weights.anything"
    file.write_bytes(b"12345")
    encoder, origin = build("mine", weights=file)
    assert encoder.found == file
    assert origin.title("mine") == "mine (file 5994471a)"


def test_a_plug_in_whose_init_fails_is_named():
    class Mine(Good, name="mine"):
        def __init__(self):
            super().__init__()

    with pytest.raises(EncoderError, match=r"encoder 'mine': __init__\(weights=None\) failed: TypeError"):
        build("mine")


def test_an_unusable_device_is_named():
    with pytest.raises(EncoderError, match="device 'nonsense' cannot be used"):
        build("random", device="nonsense")
