"""What the tests of encoders share."""

import pytest

import encoders


@pytest.fixture(scope="session", autouse=True)
def classes():
    """Import every class before a test changes a card: one that is imported later would keep the changed card."""
    for name in encoders.names():
        encoders.get(name)
