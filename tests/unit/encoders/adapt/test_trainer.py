"""Training of Stage 2: one step against a plain re-computation, what changes and what does not, going on later."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models.resnet import Bottleneck, ResNet

from encoders.adapt import affine, keypoints
from encoders.adapt.trainer import AdaptationTrainer, TrainerSettings
from encoders.errors import EncoderError

CPU = torch.device("cpu")
SIZE = 64
MEAN, STD = (
    torch.tensor(v, dtype=torch.float64).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
)


@pytest.fixture
def trunk():
    """A small ResNet of bottlenecks with statistics and affine parameters of its own."""
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = ResNet(Bottleneck, [1, 1, 1, 1]).eval()
    network.fc = nn.Identity()
    with torch.no_grad():
        for layer in affine.batchnorm_layers(network).values():
            layer.running_mean.normal_(std=0.1, generator=generator)
            layer.running_var.uniform_(0.5, 1.5, generator=generator)
            layer.weight.uniform_(0.5, 1.5, generator=generator)
            layer.bias.normal_(std=0.2, generator=generator)
    return network


@pytest.fixture
def frames():
    generator = torch.Generator().manual_seed(1)
    small = torch.randint(256, (4, 3, 8, 8), generator=generator, dtype=torch.uint8).float()
    smooth = F.interpolate(small, size=(SIZE, SIZE), mode="bilinear").to(torch.uint8).permute(0, 2, 3, 1)
    return smooth[:2], smooth[2:]


def settings(**options):
    return TrainerSettings(**{"size": SIZE, "batch": 2, "learning_rate": 1e-3, **options})


# A plain re-computation, from the state dict alone, in double precision.


def batchnorm(state, name, x):
    part = [state[f"{name}.{key}"].view(1, -1, 1, 1) for key in ("running_mean", "running_var", "weight", "bias")]
    mean, variance, weight, bias = part
    return (x - mean) / torch.sqrt(variance + 1e-5) * weight + bias


def bottleneck(state, name, x, stride):
    y = F.relu(batchnorm(state, f"{name}.bn1", F.conv2d(x, state[f"{name}.conv1.weight"])))
    y = F.conv2d(y, state[f"{name}.conv2.weight"], stride=stride, padding=1)
    y = F.relu(batchnorm(state, f"{name}.bn2", y))
    y = batchnorm(state, f"{name}.bn3", F.conv2d(y, state[f"{name}.conv3.weight"]))
    x = batchnorm(state, f"{name}.downsample.1", F.conv2d(x, state[f"{name}.downsample.0.weight"], stride=stride))
    return F.relu(x + y)


def trunk_maps(state, prefix, x):
    maps = [F.relu(batchnorm(state, f"{prefix}bn1", F.conv2d(x, state[f"{prefix}conv1.weight"], stride=2, padding=3)))]
    x = F.max_pool2d(maps[0], 3, stride=2, padding=1)
    for stage, stride in ((1, 1), (2, 2), (3, 2), (4, 2)):
        x = bottleneck(state, f"{prefix}layer{stage}.0", x, stride)
        maps.append(x)
    return maps


def double_convolution(state, name, x, kernel=3, stride=1):
    x = F.conv2d(x, state[f"{name}.0.weight"], stride=stride, padding=kernel // 2)
    x = F.relu(batchnorm(state, f"{name}.1", x))
    return F.relu(batchnorm(state, f"{name}.4", F.conv2d(x, state[f"{name}.3.weight"], padding=1)))


def encoded(state, name, x):
    x = double_convolution(state, f"{name}.layer1", x, kernel=7)
    for block in (2, 3, 4):
        x = double_convolution(state, f"{name}.layer{block}", x, stride=2)
    return x


def expected(logits):
    weights = torch.exp(logits - logits.amax(-1, keepdim=True))
    index = torch.arange(logits.shape[-1], dtype=logits.dtype)
    return (weights * index).sum(-1) / weights.sum(-1)


def drawn(state, source, target):
    x = trunk_maps(state, "pose_net.trunk.", target)[-1]
    for place in (0, 3, 6):
        x = F.conv_transpose2d(x, state[f"pose_net.deconv_layers.{place}.weight"], stride=2, padding=1)
        x = F.relu(batchnorm(state, f"pose_net.deconv_layers.{place + 1}", x))
    heat = F.conv2d(x, state["pose_net.final_layer_unsup.weight"], state["pose_net.final_layer_unsup.bias"])
    row, column = expected(heat.sum(3))[..., None, None], expected(heat.sum(2))[..., None, None]
    y, x = (torch.arange(SIZE // 4, dtype=heat.dtype).view(shape) for shape in ((1, 1, -1, 1), (1, 1, 1, -1)))
    bumps = torch.exp(-((y - row) ** 2 + (x - column) ** 2) / (2.0 * 2.0**2))
    bumps = F.interpolate(bumps, size=(SIZE, SIZE), mode="bilinear", align_corners=False)
    x = torch.cat([encoded(state, "image_encoder", source), encoded(state, "pose_encoder", bumps)], 1)
    for block in (1, 2, 3):
        x = double_convolution(state, f"image_renderer.layer{block}", x)
        x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    x = double_convolution(state, "image_renderer.layer4", x)
    last = "image_renderer.layer4.6"
    return F.conv2d(x, state[f"{last}.weight"], state[f"{last}.bias"], padding=1)


def plain_step(state, frozen, source, target, means):
    """Losses and gradients of one step: terms, quotients, and the gradient of every tensor that asks for one."""
    source, target = (frames.permute(0, 3, 1, 2).double() / 255.0 for frames in (source, target))
    image = drawn(state, source, target)
    found = [image, *trunk_maps(frozen, "", (image - MEAN) / STD)]
    wanted = [target, *trunk_maps(frozen, "", (target - MEAN) / STD)]
    terms = torch.stack([((one - other) ** 2).mean() for one, other in zip(found, wanted, strict=True)])
    means = terms.detach() if means is None else means + 0.01 * (terms.detach() - means)
    quotients = terms / means
    quotients.sum().backward()
    return terms.detach(), quotients.detach(), means


def doubled(state, grad=()):
    return {
        name: tensor.detach().double().clone().requires_grad_(name in grad)
        for name, tensor in state.items()
        if tensor.is_floating_point()
    }


@pytest.mark.parametrize("begun", [False, True])
def test_losses_agree_with_a_plain_recomputation(trunk, frames, begun):
    frozen = doubled(trunk.state_dict())
    trainer = AdaptationTrainer(trunk, settings(), CPU)
    trainer.calibrate(*frames)
    means = None
    if begun:
        means = torch.tensor([0.2, 0.8, 0.5, 0.4, 0.3, 0.2], dtype=torch.float64)
        trainer.loss.means.copy_(means)
        trainer.loss.begun.fill_(True)
    state = doubled(trainer.model.state_dict(), trainer.trained)
    terms, quotients, means = plain_step(state, frozen, *frames, means)

    losses = trainer.step(*frames)

    assert torch.allclose(losses.terms.double(), terms, rtol=1e-4)
    assert torch.allclose(losses.quotients.double(), quotients, rtol=1e-4)
    assert torch.allclose(trainer.loss.means.double(), means, rtol=1e-4)
    assert float(losses.total) == pytest.approx(float(quotients.sum()), rel=1e-4)
    assert float(losses.psnr) == pytest.approx(-10.0 * float(torch.log10(terms[0])), rel=1e-4)


def test_every_gradient_agrees_with_a_plain_recomputation(trunk, frames):
    """In double precision: in single, rectifiers that flip change gradients by a percent."""
    frozen = doubled(trunk.state_dict())
    trainer = AdaptationTrainer(trunk, settings(), CPU)
    trainer.calibrate(*frames)
    trainer.model.double()
    trainer.loss.network.double()
    single = trainer.pixels
    trainer.pixels = lambda frames: single(frames).double()
    state = doubled(trainer.model.state_dict(), trainer.trained)
    plain_step(state, frozen, *frames, None)

    trainer.step(*frames)

    own = [name for name in trainer.trained if name.startswith("pose_net.trunk.")]
    assert len(own) == 2 * len(affine.batchnorm_layers(trunk))
    for name, parameter in trainer.trained.items():
        right = state[name].grad
        assert right.abs().max() > 0, name
        error = (parameter.grad - right).abs().max() / right.abs().max()
        assert error < 1e-5, f"{name}: {error}"


def test_the_step_is_adams_first(trunk, frames):
    trainer = AdaptationTrainer(trunk, settings(), CPU)
    trainer.calibrate(*frames)
    before = {name: value.detach().clone() for name, value in trainer.trained.items()}
    trainer.step(*frames)
    for name, parameter in trainer.trained.items():
        gradient = parameter.grad
        # The corrected moments of a first step are the gradient and its square.
        wanted = before[name] - 1e-3 * gradient / (gradient.abs() + 1e-8)
        assert torch.allclose(parameter, wanted, atol=2e-6), name


HEADS = ("pose_net.deconv_layers.", "image_encoder.", "pose_encoder.", "image_renderer.")


def intended(model, mode, shortcuts):
    """The names that a mode may change, from the structure alone."""
    names = {name for name, _ in model.named_parameters()}
    chosen = {name for name in names if name.startswith(HEADS)}
    if mode == "affine":
        layers = [name for name, layer in model.named_modules() if isinstance(layer, nn.BatchNorm2d)]
        own = [name for name in layers if name.startswith("pose_net.trunk.")]
        own = [name for name in own if shortcuts or "downsample" not in name]
        chosen |= {f"{name}.{part}" for name in own for part in ("weight", "bias")}
    if mode == "all":
        chosen |= {name for name in names if name.startswith(("pose_net.trunk.", "pose_net.final_layer_unsup."))}
    return chosen


@pytest.mark.parametrize(("mode", "shortcuts"), [("none", True), ("affine", True), ("affine", False), ("all", True)])
def test_only_what_is_meant_to_changes_to_the_bit(trunk, frames, mode, shortcuts):
    trainer = AdaptationTrainer(trunk, settings(mode=mode, shortcuts=shortcuts), CPU)
    trainer.calibrate(*frames)
    before = copy.deepcopy(trainer.model.state_dict())
    frozen = copy.deepcopy(trainer.loss.network.state_dict())
    for _ in range(2):
        trainer.step(*frames)
    after = trainer.model.state_dict()
    changed = {name for name in after if not torch.equal(before[name], after[name])}
    wanted = intended(trainer.model, mode, shortcuts)
    assert changed == wanted
    assert trainer.trained.keys() == wanted
    assert all(torch.equal(frozen[name], value) for name, value in trainer.loss.network.state_dict().items())
    assert not trainer.model.training


def test_of_a_resnet50_the_authors_189_tensors_are_trained():
    from torchvision.models import resnet50

    with torch.random.fork_rng():
        network = resnet50(weights=None)
    network.fc = nn.Identity()
    trainer = AdaptationTrainer(network, settings(), CPU)
    assert len(trainer.trained) == 189
    assert sum(parameter.numel() for parameter in trainer.trained.values()) == 15_289_731


def test_while_it_warms_up_the_keypoints_stay(trunk, frames):
    trainer = AdaptationTrainer(trunk, settings(warm_up=2), CPU)
    trainer.calibrate(*frames)
    before = trainer.reconstruct(*frames)
    for _ in range(3):  # the third step's learning rate is still zero
        trainer.step(*frames)
    after = trainer.reconstruct(*frames)
    assert torch.equal(before.keypoints, after.keypoints)
    assert not torch.equal(before.images, after.images)
    trainer.step(*frames)
    assert not torch.equal(before.keypoints, trainer.reconstruct(*frames).keypoints)
    assert trainer.optimiser.param_groups[0]["lr"] == pytest.approx(0.5e-3)


def test_the_learning_rate_falls_to_the_end(trunk, frames):
    trainer = AdaptationTrainer(trunk, settings(steps=4, cool_down=2), CPU)
    rates = []
    for _ in range(4):
        trainer.step(*frames)
        rates.append([group["lr"] for group in trainer.optimiser.param_groups])
    assert rates == [[1e-3] * 3, [1e-3] * 3, [1e-3] * 3, [5e-4] * 3]
    with pytest.raises(EncoderError, match="a cool-down of 5 steps; expected 0 to all 4"):
        settings(steps=4, cool_down=5)


@pytest.mark.parametrize("mode", ["affine", *(pytest.param(mode, marks=pytest.mark.slow) for mode in ("none", "all"))])
def test_an_interrupted_training_goes_on_to_the_same_bits(trunk, frames, mode):
    def batch(trainer):
        order = torch.randperm(4, generator=trainer.generator)
        both = torch.cat(frames)[order]
        return both[:2], both[2:]

    other = copy.deepcopy(trunk)
    whole = AdaptationTrainer(trunk, settings(mode=mode, warm_up=1), CPU)
    whole.calibrate(*frames)
    for step in range(4):
        if step == 2:
            saved = whole.state()
        losses = whole.step(*batch(whole))

    resumed = AdaptationTrainer(other, settings(mode=mode, warm_up=1), CPU)
    resumed.load(saved)
    for _ in range(2):
        again = resumed.step(*batch(resumed))
    assert torch.equal(losses.terms, again.terms)
    assert torch.equal(losses.quotients, again.quotients)
    first, second = whole.state(), resumed.state()
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, resumed.model.state_dict()[name]), name


def test_a_checkpoint_from_before_the_supervised_head_had_its_authors_names_is_gone_on_with(trunk, frames):
    trainer = AdaptationTrainer(trunk, settings(), CPU)
    trainer.step(*frames)
    saved = trainer.state()
    earlier = {name.replace("mh_attn.decoder.", "mh_attn."): tensor + 0 for name, tensor in saved.items()}
    assert earlier.keys() != saved.keys()
    earlier["model.pose_net.mh_attn.norm.bias"] += 1.0
    trainer.load(earlier)
    saved["model.pose_net.mh_attn.decoder.norm.bias"] += 1.0
    assert all(torch.equal(tensor, saved[name]) for name, tensor in trainer.state().items())


def test_a_checkpoint_leaves_the_frozen_trunk_out(trunk, frames):
    trainer = AdaptationTrainer(trunk, settings(), CPU)
    trainer.step(*frames)
    own = {name.removeprefix("model.pose_net.trunk.") for name in trainer.state() if "model.pose_net.trunk." in name}
    assert own == set(affine.affine_parameters(trunk))


def test_a_checkpoint_of_another_training_is_refused(trunk, frames):
    trainer = AdaptationTrainer(trunk, settings(), CPU)
    trainer.step(*frames)
    state = trainer.state()
    del state["model.image_encoder.layer1.0.weight"]
    with pytest.raises(EncoderError, match="image_encoder"):
        trainer.load(state)


def test_adapted_and_pretrained_are_the_trunks_scales_and_offsets(trunk, frames):
    before = affine.extract(trunk)
    trainer = AdaptationTrainer(trunk, settings(), CPU)
    trainer.step(*frames)
    assert trainer.pretrained.keys() == trainer.adapted().keys() == before.keys()
    for name, tensor in before.items():
        assert torch.equal(trainer.pretrained[name], tensor)
        assert not torch.equal(trainer.adapted()[name], tensor)


def test_a_reconstruction_is_the_models(trunk, frames):
    trainer = AdaptationTrainer(trunk, settings(), CPU)
    trainer.calibrate(*frames)
    found = trainer.reconstruct(*frames)
    source, target = (one.permute(0, 3, 1, 2).float() / 255.0 for one in frames)
    with torch.no_grad():
        right = trainer.model(source, target)
    assert torch.allclose(found.images, right.images, atol=1e-5)
    assert torch.allclose(found.keypoints, keypoints.pixel_positions(right.keypoints), atol=1e-3)
    assert found.keypoints.shape == (2, 30, 2)


def test_frames_of_another_size_are_refused(trunk):
    trainer = AdaptationTrainer(trunk, settings(), CPU)
    wrong = torch.zeros(2, 32, 32, 3, dtype=torch.uint8)
    with pytest.raises(EncoderError, match=r"expected \(N, 64, 64, 3\) uint8"):
        trainer.step(wrong, wrong)


@pytest.mark.parametrize("size", [32, 100])
def test_sizes_that_do_not_fit_are_refused(size):
    with pytest.raises(EncoderError, match="multiple of 32"):
        settings(size=size)


def test_a_network_without_batchnorm_is_refused():
    with pytest.raises(EncoderError, match="no BatchNorm"):
        AdaptationTrainer(nn.Conv2d(3, 4, 3), settings(), CPU)


@pytest.mark.gpu
def test_a_gpu_computes_the_same_step(trunk, frames):
    other = copy.deepcopy(trunk)
    trainers = [AdaptationTrainer(one, settings(), torch.device(at)) for one, at in ((trunk, "cpu"), (other, "cuda"))]
    for trainer in trainers:
        trainer.calibrate(*frames)
    slow, fast = (trainer.step(*frames) for trainer in trainers)
    assert torch.allclose(slow.terms, fast.terms.cpu(), rtol=1e-3)
