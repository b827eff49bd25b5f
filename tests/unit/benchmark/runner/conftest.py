"""What the runner's tests share."""

import pytest
from small_runs import tiny_config


@pytest.fixture
def configured(demonstration_file):
    """Configurations of small runs: (*overrides, **fields) -> RunConfig."""

    def make(*overrides, task="pen", demonstrations=None, **values):
        return tiny_config(demonstrations or demonstration_file(task), *overrides, task=task, **values)

    return make
