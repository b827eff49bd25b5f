"""BatchNorm's scales and offsets: counted, taken out, put back, and refused where they do not fit."""

import pytest
import torch
from torch import nn
from torchvision.models import resnet50

from encoders.adapt import affine


@pytest.fixture(scope="module")
def trunk():
    with torch.device("meta"):
        network = resnet50(weights=None)
    network.fc = nn.Identity()
    return network.to_empty(device="cpu").eval()


@pytest.fixture
def small():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Sequential(nn.BatchNorm2d(4), nn.ReLU()))


def test_a_resnet50_has_53_layers_of_53120_numbers(trunk):
    assert len(affine.batchnorm_layers(trunk)) == 53
    assert len(affine.affine_parameters(trunk)) == 106
    assert affine.count(trunk) == 53_120
    assert affine.count(trunk, shortcuts=False) == 45_440


def test_the_layers_of_each_stage(trunk):
    counts = {
        stage: sum(p.numel() for name, p in affine.affine_parameters(trunk).items() if name.startswith(stage))
        for stage in ("bn1.", "layer1.", "layer2.", "layer3.", "layer4.")
    }
    assert counts == {"bn1.": 128, "layer1.": 2_816, "layer2.": 7_168, "layer3.": 20_480, "layer4.": 22_528}


def test_the_papers_percentages(trunk):
    assert affine.share(trunk) == pytest.approx(0.2078, abs=5e-5)
    assert affine.share(trunk, shortcuts=False) == pytest.approx(0.1778, abs=5e-5)
    assert affine.share(trunk, whole=23_508_032) == pytest.approx(0.2260, abs=5e-5)
    assert affine.share(trunk, shortcuts=False, whole=23_508_032) == pytest.approx(0.1933, abs=5e-5)


def test_shortcuts_are_the_four_downsampling_layers(trunk):
    left_out = affine.affine_parameters(trunk).keys() - affine.affine_parameters(trunk, shortcuts=False).keys()
    assert left_out == {f"layer{n}.0.downsample.1.{part}" for n in (1, 2, 3, 4) for part in ("weight", "bias")}


def test_what_is_taken_out_and_put_back_is_the_same(small):
    with torch.no_grad():
        for parameter in affine.affine_parameters(small).values():
            parameter.normal_()
    tensors = affine.extract(small)
    other = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Sequential(nn.BatchNorm2d(4), nn.ReLU()))
    affine.apply(other, tensors)
    assert list(tensors) == ["1.weight", "1.bias", "2.0.weight", "2.0.bias"]
    for name, tensor in affine.extract(other).items():
        assert torch.equal(tensor, tensors[name])


def test_what_is_taken_out_is_a_copy(small):
    tensors = affine.extract(small)
    with torch.no_grad():
        small[1].weight.fill_(7.0)
    assert torch.equal(tensors["1.weight"], torch.ones(4))


def test_half_precision_becomes_single(small):
    tensors = {name: torch.full((4,), 0.333).half() for name in affine.extract(small)}
    affine.apply(small, tensors)
    assert small[1].weight.dtype == torch.float32
    assert torch.equal(small[1].weight, torch.full((4,), 0.333).half().float())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("2.0.bias"), r"1 missing: 2\.0\.bias"),
        (lambda t: t.update({"9.weight": torch.ones(4)}), r"1 not expected: 9\.weight"),
        (lambda t: t.update({"1.bias": torch.ones(5)}), r"1 of wrong shape: 1\.bias \(5,\) instead of \(4,\)"),
        (lambda t: t.update({"1.bias": torch.full((4,), torch.nan)}), r"1 not finite floating point: 1\.bias"),
        (lambda t: t.update({"1.bias": torch.ones(4, dtype=torch.int64)}), r"1 not finite floating point: 1\.bias"),
    ],
)
def test_what_does_not_fit_is_refused_by_name_and_nothing_changes(small, change, message):
    tensors = {name: tensor + 1.0 for name, tensor in affine.extract(small).items()}
    change(tensors)
    before = affine.extract(small)
    with pytest.raises(affine.AffineInvalid, match=message):
        affine.apply(small, tensors)
    assert all(torch.equal(tensor, before[name]) for name, tensor in affine.extract(small).items())


def test_a_network_without_batchnorm_is_refused():
    with pytest.raises(affine.AffineInvalid, match="no BatchNorm"):
        affine.apply(nn.Linear(2, 2), {})
