"""Adam's moments as named tensors: nothing before a step, and the same next step after loading."""

import pytest
import torch
from torch import nn

from encoders.adam_state import adam_state, load_adam_state


def stepped(optimiser, parameters, seed):
    generator = torch.Generator().manual_seed(seed)
    for parameter in parameters.values():
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    optimiser.step()


def made(kind, fused):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).to(memory_format=torch.channels_last)
    parameters = dict(network.named_parameters())
    return kind(parameters.values(), lr=0.1, fused=fused), parameters


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW])
def test_a_loaded_state_gives_the_same_next_step_in_the_same_memory_format(kind, fused):
    optimiser, parameters = made(kind, fused)
    assert adam_state(optimiser, parameters) == {}
    stepped(optimiser, parameters, 1)
    state = {name: tensor.contiguous().clone() for name, tensor in adam_state(optimiser, parameters).items()}
    assert sorted(state)[:2] == ["optimiser.exp_avg.0.bias", "optimiser.exp_avg.0.weight"]
    other, others = made(kind, fused)
    with torch.no_grad():
        for name, parameter in others.items():
            parameter.copy_(parameters[name])
    load_adam_state(other, others, state)
    moment = other.state[others["0.weight"]]["exp_avg"]
    assert moment.is_contiguous(memory_format=torch.channels_last)
    assert moment.data_ptr() != state["optimiser.exp_avg.0.weight"].data_ptr()
    stepped(optimiser, parameters, 2)
    stepped(other, others, 2)
    assert all(torch.equal(parameter, others[name]) for name, parameter in parameters.items())
