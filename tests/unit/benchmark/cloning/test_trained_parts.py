"""The parts that are trained on frames, each computed again in another way."""

import numpy as np
import pytest
import torch

from benchmark.cloning import BatchNormPolicy, Cloning, FramesPolicy
from benchmark.cloning.trained_parts import (
    HEADS,
    PAD,
    AttentivePooling,
    ShiftedConvolutions,
    random_shifts,
    shifted,
    trained_part,
)
from benchmark.config import LearnerSettings
from benchmark.rollout.fusion import Fusion
from encoders.tokens import spatial_softmax

TOKENS, WIDTH, COUNT, ACTIONS, SEEN = 9, 16, 60, 3, 5


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def softmax(values, axis):
    raised = np.exp(values - values.max(axis, keepdims=True))
    return raised / raised.sum(axis, keepdims=True)


def test_attention_is_that_of_keys_and_values_of_every_token():
    part = AttentivePooling(TOKENS, WIDTH, generator()).double()
    with torch.no_grad():
        part.query.mul_(200)  # far from uniform weights
        part.norm.weight.uniform_(0.5, 2, generator=generator(1))
        part.norm.bias.uniform_(-1, 1, generator=generator(2))
    frames = np.random.default_rng(0).standard_normal((4, TOKENS, WIDTH)) * 3 + 1
    numbers = {name: tensor.numpy() for name, tensor in part.state_dict().items()}
    normal = (frames - frames.mean(2, keepdims=True)) / np.sqrt(frames.var(2, keepdims=True) + 1e-5)
    normal = normal * numbers["norm.weight"] + numbers["norm.bias"]
    keys = normal @ numbers["key.weight"].T
    values = normal @ numbers["value.weight"].T + numbers["value.bias"]
    size = WIDTH // HEADS
    attended = []
    for head in range(HEADS):
        of = slice(head * size, (head + 1) * size)
        weights = softmax(keys[:, :, of] @ numbers["query"][of] / np.sqrt(size), 1)
        attended.append((weights[:, :, None] * values[:, :, of]).sum(1))
    expected = np.concatenate(attended, 1) @ numbers["output.weight"].T + numbers["output.bias"]
    with torch.no_grad():
        np.testing.assert_allclose(part(torch.from_numpy(frames)).numpy(), expected, atol=1e-12)
    assert np.abs(weights - 1 / TOKENS).max() > 0.1


def test_spatial_softmax_is_the_expected_place():
    tokens = np.random.default_rng(0).standard_normal((3, 16, 5)).astype(np.float32) * 2
    expected = np.zeros((3, 10))
    for image in range(3):
        for channel in range(5):
            weights = softmax(tokens[image, :, channel].astype(np.float64), 0)
            for position in range(16):
                row, column = divmod(position, 4)
                expected[image, channel] += weights[position] * (column * 2 / 3 - 1)
                expected[image, 5 + channel] += weights[position] * (row * 2 / 3 - 1)
    np.testing.assert_allclose(spatial_softmax(torch.from_numpy(tokens)).numpy(), expected, atol=1e-6)


def test_shifts_are_crops_of_the_padded_frame():
    frames = torch.rand(5, 3, 12, 10, generator=generator())
    shift = random_shifts(5, generator())
    padded = torch.nn.functional.pad(frames, (PAD, PAD, PAD, PAD), mode="replicate")
    for one, (row, column), cut in zip(padded, shift.tolist(), shifted(frames, shift), strict=True):
        assert torch.equal(cut, one[:, row : row + 12, column : column + 10])
    assert torch.equal(shifted(frames, torch.full((5, 2), PAD)), frames)


def test_shifts_reach_every_offset():
    drawn = random_shifts(2000, generator())
    assert {tuple(pair) for pair in drawn.tolist()} == {(row, column) for row in range(9) for column in range(9)}


def test_the_network_on_pixels_has_four_layers_of_32():
    part = ShiftedConvolutions((3, 84, 84), generator())
    assert [tuple(layer.weight.shape) for layer in part.convolutions] == [(32, 3, 3, 3)] + [(32, 32, 3, 3)] * 3
    assert [layer.stride[0] for layer in part.convolutions] == [2, 1, 1, 1]
    assert part.projection.in_features == 32 * 35 * 35
    with torch.no_grad():
        assert part(torch.zeros(2, 3, 84, 84)).shape == (2, part.features)


class RawPairs:
    """Three frames, the newest of which tells the action: by its second token, or its colour."""

    def __init__(self, shape, history=3):
        random = np.random.default_rng(0)
        frames = random.standard_normal((COUNT, history, *shape)).astype(np.float32)
        self.done = np.tanh(frames[:, -1].reshape(COUNT, shape[0], -1)[:, 1, :ACTIONS])
        if len(shape) == 3:
            colours = random.standard_normal((COUNT, history, 3, 1, 1))
            frames, self.done = 127 + 50 * colours + frames, np.tanh(colours[:, -1, :, 0, 0])
        self.raw = np.concatenate([frames.reshape(COUNT, -1), random.standard_normal((COUNT, SEEN))], 1)
        self.raw, self.done = self.raw.astype(np.float32), self.done.astype(np.float32)

    def __len__(self):
        return COUNT

    def observations(self, rows):
        return self.raw[rows]

    def actions(self, rows):
        return self.done[rows]


def policy(shape, seed=0, fusion="flare"):
    part = trained_part(shape, generator(seed))
    head = BatchNormPolicy(3 * part.features + SEEN, ACTIONS, (32,), generator=generator(seed))
    return FramesPolicy(part, Fusion(fusion, 3), head)


SHAPES = pytest.mark.parametrize("shape", [(TOKENS, WIDTH), (3, 16, 16)], ids=["tokens", "pixels"])


@SHAPES
@pytest.mark.parametrize("fusion", ["flare", "concat"])
def test_what_is_trained_is_what_acts(shape, fusion):
    trained, pairs = policy(shape, fusion=fusion).eval(), RawPairs(shape)
    if len(shape) == 3:
        trained.observe = lambda raw, generator: FramesPolicy.observe(trained, raw, generator)
        shift = torch.full((len(pairs), 2), PAD)
        with pytest.MonkeyPatch.context() as patch, torch.no_grad():
            patch.setattr("benchmark.cloning.head.random_shifts", lambda count, generator: shift)
            seen = trained.observe(torch.from_numpy(pairs.raw), generator())
    else:
        with torch.no_grad():
            seen = trained.observe(torch.from_numpy(pairs.raw), generator())
    frames = pairs.raw[:, :-SEEN].reshape(COUNT * 3, -1)
    features = trained.features(torch.from_numpy(frames)).numpy().reshape(COUNT, 3, -1)
    acted = np.concatenate([Fusion(fusion, 3).fuse(features), pairs.raw[:, -SEEN:]], 1)
    np.testing.assert_allclose(seen.numpy(), acted, atol=3e-3 if len(shape) == 2 else 1e-6)  # float16 when acting


@SHAPES
def test_the_part_learns_with_the_policy_and_goes_on_to_the_same_bits(shape):
    settings = LearnerSettings(algorithm="bc", bc_minibatches="shuffled", bc_batch_size=16, bc_learning_rate=3e-3)
    pairs = RawPairs(shape)
    whole = Cloning(policy(shape), settings, generator(2))
    before = {name: tensor.clone() for name, tensor in whole.policy.part.state_dict().items()}
    losses = [whole.epoch(pairs) for _ in range(8)]
    assert losses[-1] < 0.7 * losses[0]
    moved = [name for name, tensor in whole.policy.part.state_dict().items() if not torch.equal(tensor, before[name])]
    assert sorted(moved) == sorted(before)
    half = Cloning(policy(shape), settings, generator(2))
    assert [half.epoch(pairs) for _ in range(3)] == losses[:3]
    state = {name: tensor.clone() for name, tensor in half.state_tensors().items()}
    resumed = Cloning(policy(shape, seed=9), settings, torch.Generator())
    resumed.load_state_tensors(state)
    resumed.generator.set_state(half.generator.get_state())
    assert [resumed.epoch(pairs) for _ in range(5)] == losses[3:]


def test_heads_that_do_not_divide_the_tokens_are_refused():
    with pytest.raises(ValueError, match="tokens of 12 numbers cannot be attended to by 8 heads"):
        AttentivePooling(4, 12, generator())
