"""The device that computes, and what its memory came to."""

import pytest
import torch

from benchmark.device import choose_device, peak_memory
from benchmark.errors import ConfigError


def test_auto_takes_a_gpu_where_there_is_one():
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert choose_device("cpu") == torch.device("cpu")


def test_a_gpu_that_is_not_there_is_named():
    count = torch.cuda.device_count()
    with pytest.raises(ConfigError, match=rf"--device cuda:{count}: torch sees {count} GPUs; use --device cpu"):
        choose_device(f"cuda:{count}")


def test_memory_is_in_megabytes():
    """Torch alone takes more than 50 MB, and hardly a machine has a terabyte."""
    assert 50 < peak_memory(torch.device("cpu"))["memory_mb"] < 1e6


@pytest.mark.gpu
def test_a_gpus_memory_is_told_too():
    kept = torch.zeros(1_000_000, device="cuda")
    assert peak_memory(torch.device("cuda", 0))["gpu_memory_mb"] >= kept.nbytes / 1e6
