"""Adapted BatchNorm that was folded, as it ships."""

import pytest
import torch

from encoders import build
from encoders.adapt.affine import AffineInvalid, batchnorm_layers
from encoders.adapt.packed import pack, unpack
from encoders.unfold import folded, measure, unfold


def frames(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 224, 224, 3), dtype=torch.uint8, generator=generator).numpy()


@pytest.fixture(scope="module")
def adapted():
    """An encoder whose scales and offsets are a little off those that change nothing."""
    encoder, _ = build("mediapipe_hand", weights="random")
    unfold(encoder, measure(encoder, [frames(2, seed=1)]))
    generator = torch.Generator().manual_seed(0)
    for layer in batchnorm_layers(encoder).values():
        for parameter in (layer.weight, layer.bias):
            parameter.add_(0.01 * torch.randn(parameter.shape, generator=generator))
    return encoder


def fresh():
    return build("mediapipe_hand", weights="random")[0]


def test_what_is_unpacked_is_what_was_packed(adapted):
    packed = pack(adapted)
    assert {tensor.dtype for tensor in packed.values()} == {torch.float16}
    assert {tuple(tensor.shape) for tensor in packed.values()} == {(19_328,)}
    encoder = fresh()
    unpack(encoder, packed)
    assert not folded(encoder)
    for name, tensor in adapted.state_dict().items():
        other = encoder.state_dict()[name]
        if name.endswith((".weight", ".bias")) and ".norm." in name:
            torch.testing.assert_close(other, tensor, rtol=0, atol=3e-5)
        else:
            assert torch.equal(other, tensor), name
    seen = frames(3)
    plain, before, after = (one.encode(seen) for one in (fresh(), adapted, encoder))
    changed = float((before - plain).abs().max())
    assert changed > 1e-2
    assert float((after - before).abs().max()) < 1e-2 * changed


def test_an_unadapted_network_stays_the_same_to_the_bit():
    encoder, seen = fresh(), frames(2)
    unfold(encoder, measure(encoder, [seen]))
    other = fresh()
    unpack(other, pack(encoder))
    assert torch.equal(other.encode(seen), fresh().encode(seen))


def test_what_is_of_another_network_is_refused_in_one_line(adapted):
    packed = pack(adapted)
    face, _ = build("mediapipe_face", weights="random")
    for damaged in (packed, {"means": packed["means"]}, {name: tensor[:-1] for name, tensor in packed.items()}):
        with pytest.raises(AffineInvalid, match="packed BatchNorm: expected means, variances") as caught:
            unpack(face, damaged)
        assert "\n" not in str(caught.value)
    assert folded(face)
    for bad in (torch.nan, torch.inf):
        with pytest.raises(AffineInvalid, match="scales_added hold what is no finite number"):
            unpack(fresh(), packed | {"scales_added": torch.full((19_328,), bad)})


def test_numbers_beyond_half_precision_are_not_packed():
    encoder = fresh()
    unfold(encoder)
    next(iter(batchnorm_layers(encoder).values())).bias.fill_(1e6)
    with pytest.raises(AffineInvalid, match="offsets_added hold"):
        pack(encoder)
