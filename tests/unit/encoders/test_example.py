from pathlib import Path

import numpy as np
import pytest

from encoders import build, check_encoder, registration

EXAMPLE = Path(__file__).parents[3] / "examples" / "add_an_encoder.py"


@pytest.fixture(autouse=True)
def clean_registry(monkeypatch):
    monkeypatch.setattr(registration, "REGISTERED", dict(registration.REGISTERED))


def test_the_example_is_short_runs_and_calls_itself_random():
    assert len(EXAMPLE.read_text().splitlines()) < 40
    encoder, origin = build(f"{EXAMPLE}:MobileNet")
    check_encoder(encoder)
    assert origin.title(encoder.name) == "mobilenet_v3_small (random)"
    assert encoder.encode(np.zeros((2, 224, 224, 3), np.uint8)).shape == (2, 576)
