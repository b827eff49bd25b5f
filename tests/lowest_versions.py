"""Requirements for tox, read from pyproject.toml: the package's own and those of its ``test`` extra.

``python tests/lowest_versions.py FILE`` writes the lowest versions allowed, as pip constraints.
``python tests/lowest_versions.py --without NAME FILE`` writes the requirements as they are, but for one package.
What these packages depend on in turn is left to pip.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PYPROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"
LOWER = (">=", "==", "~=")


def requirements(pyproject: Path = PYPROJECT) -> list[Requirement]:
    """Return the package's requirements on this system and those of its ``test`` extra."""
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    listed = (*project["dependencies"], *project["optional-dependencies"]["test"])
    return [one for one in map(Requirement, listed) if one.marker is None or one.marker.evaluate()]


def lowest(requirement: Requirement) -> str:
    """Return the pin to the lowest version that a requirement allows: ``scipy>=1.15`` gives ``scipy==1.15``.

    Raises:
        ValueError: it does not state exactly one lower bound.
    """
    bounds = [one.version for one in requirement.specifier if one.operator in LOWER]
    if len(bounds) != 1:
        raise ValueError(f"pyproject.toml: '{requirement}' needs exactly one lower bound")
    return f"{requirement.name}=={bounds[0]}"


def main() -> None:
    """Write one requirement per line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--without", metavar="NAME")
    parser.add_argument("file", type=Path)
    given = parser.parse_args()
    if given.without:
        dropped = canonicalize_name(given.without)
        lines = [str(one) for one in requirements() if canonicalize_name(one.name) != dropped]
    else:
        lines = [lowest(one) for one in requirements()]
    given.file.parent.mkdir(parents=True, exist_ok=True)
    given.file.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
