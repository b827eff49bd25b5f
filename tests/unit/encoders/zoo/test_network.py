"""Networks that get their numbers later."""

import pytest
import torch
from torch import nn

from encoders.zoo.network import without_numbers


class ComputesWhileMade(nn.Linear):
    def __init__(self):
        super().__init__(2, int(torch.linspace(0, 3, 2)[1].item()))


def test_a_network_that_needs_only_shapes_holds_no_numbers():
    assert without_numbers(lambda: nn.Linear(2, 3)).weight.is_meta


def test_a_network_that_computes_with_tensors_while_it_is_made_is_made_in_full():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    network = without_numbers(ComputesWhileMade)
    assert network.weight.shape == (3, 2)
    assert not network.weight.is_meta
    assert torch.equal(torch.get_rng_state(), before)


def test_what_is_wrong_with_a_network_is_still_raised():
    def broken():
        raise RuntimeError("no such layer")

    with pytest.raises(RuntimeError, match="no such layer"):
        without_numbers(broken)
