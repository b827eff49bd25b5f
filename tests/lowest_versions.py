"""Write the lowest versions that pyproject.toml allows as pip constraints: ``python tests/lowest_versions.py FILE``.

Covers the package and its ``test`` extra. What they depend on in turn is left to pip.
"""

from __future__ import annotations

import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from packaging.requirements import Requirement

PYPROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"
LOWER = (">=", "==", "~=")


def lowest(requirement: str) -> str:
    """Turn one requirement into a pin to the lowest version it allows: ``scipy>=1.11`` to ``scipy==1.11``.

    Raises:
        ValueError: it states no lower bound.
    """
    parsed = Requirement(requirement)
    bounds = [one.version for one in parsed.specifier if one.operator in LOWER]
    if len(bounds) != 1:
        raise ValueError(f"pyproject.toml: '{requirement}' needs exactly one lower bound")
    return f"{parsed.name}=={bounds[0]}"


def pins(pyproject: Path = PYPROJECT) -> list[str]:
    """The pins of all dependencies and of the ``test`` extra."""
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    return [lowest(one) for one in (*project["dependencies"], *project["optional-dependencies"]["test"])]


if __name__ == "__main__":
    Path(sys.argv[1]).write_text("\n".join(pins()) + "\n", encoding="utf-8")
