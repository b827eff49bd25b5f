"""What the store's tests share."""

import pytest
from folder_cases import CONFIG, IDENTITY

from benchmark.store.run_folder import RunFolder, cell_path


@pytest.fixture
def folder(tmp_path):
    """A run folder, held and empty."""
    with RunFolder(cell_path(tmp_path, "quickstart-1", "door", "hindex", 0)) as folder:
        folder.create(CONFIG, IDENTITY)
        yield folder
