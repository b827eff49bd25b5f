"""What unit tests of several rooms share."""

import pytest


@pytest.fixture(scope="session")
def hdf5_layouts():
    """Functions that write demonstrations as D4RL and Minari do."""
    pytest.importorskip("h5py")
    import hdf5_layouts

    return hdf5_layouts
