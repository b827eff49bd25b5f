"""Makes a small wheel in place of a published one, and lets pip find it in a folder."""

import hashlib
import zipfile
from dataclasses import replace

import encoders
from encoders import cards

TAGS_OF_ANOTHER_MACHINE = "cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64"


def make_wheel(folder, members, tags="py3-none-any"):
    """Write the wheel made-1.0 with these members and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"made-1.0-{tags}.whl"
    about = {
        "made-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: made\nVersion: 1.0\n",
        "made-1.0.dist-info/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tags}\n".encode(),
        "made-1.0.dist-info/RECORD": b"",
    }
    with zipfile.ZipFile(path, "w") as wheel:
        for name, content in {**members, **about}.items():
            wheel.writestr(zipfile.ZipInfo(name), content)
    return path


def publish_in_wheel(monkeypatch, path, name="efficientnet_lite0", content=b"", filename="w.pth"):
    """Let an encoder's card say that its official file lies in this wheel."""
    encoders.get(name)  # a class that is imported later would keep the changed card
    card = cards.CARDS[name]
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    wheel = cards.Wheel("made", "1.0", path.name, digest, path.stat().st_size)
    source = cards.Source(
        filename, wheel.url, sha256=hashlib.sha256(content).hexdigest(), size=len(content), wheel=wheel
    )
    monkeypatch.setitem(cards.CARDS, name, replace(card, sources=(source,)))
    return source


def pip_finds(monkeypatch, folder):
    """Let pip look into a folder and nowhere else."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
