"""Tables that performance tests fill, printed when all tests are done."""

import pytest

HEADINGS = {
    "table": ("task", "loop", "encoded in", "frames", "frames/s", "ratio"),
    "stages": ("network", "workers", "physics ms", "draw", "answer", "encode", "act", "allowed/s", "frames/s", "share"),
}
TITLES = {"table": "beside the released code's loop", "stages": "beside what the stages allow"}
TABLES = pytest.StashKey()


class Table:
    """Rows of numbers and words under fixed headings."""

    def __init__(self):
        self.rows = []

    def row(self, *cells):
        """Add a row; numbers are shown with three digits."""
        self.rows.append([cell if isinstance(cell, str) else f"{cell:.3g}" for cell in cells])


def pytest_configure(config):
    config.stash[TABLES] = {name: Table() for name in HEADINGS}


@pytest.fixture
def table(request):
    """Ratios to the released code's loop."""
    return request.config.stash[TABLES]["table"]


@pytest.fixture
def stages(request):
    """What stages cost by themselves, and what they reach together."""
    return request.config.stash[TABLES]["stages"]


def pytest_terminal_summary(terminalreporter, config):
    for name, headings in HEADINGS.items():
        rows = config.stash[TABLES][name].rows
        if rows:
            terminalreporter.section(TITLES[name])
            widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
            for row in (headings, *rows):
                line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
                terminalreporter.write_line(line.rstrip())
