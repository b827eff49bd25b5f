"""Which runs belong together: a preset, an asset pack, a physics mode and a results version."""

from __future__ import annotations

from .config import RunConfig, configure
from .identity import identity_hash
from .versions import RESULTS_VERSION

PACK = "builtin"
"""The objects of the scenes; the Adroit tasks bring their own."""

# What may differ between the runs of one suite: the cell's coordinates, and what changes no number.
_FREE = {"task", "encoder", "seed", "weights", "physics", "device", "torch_threads", "workers", "egl_device"}


def suite_name(config: RunConfig) -> str:
    """The folder name of a resolved configuration's suite; settings unlike the preset's add their hash.

    >>> suite_name(configure("quickstart", task="door", encoder="rrl"))
    'quickstart-builtin-paper-r1'
    """
    name = f"{config.preset}-{PACK}-{config.physics}-r{RESULTS_VERSION}"
    import tasks

    plain = configure(config.preset, task=config.task, encoder=config.encoder).resolve(tasks.card(config.task))
    own, usual = (each.resolve(tasks.card(config.task)).model_dump(mode="json", exclude=_FREE) for each in (config, plain))
    changed = {
        f"{part}.{key}" if isinstance(value, dict) else part: entry
        for part, value in own.items()
        for key, entry in (value.items() if isinstance(value, dict) else [(part, value)])
        if entry != (usual[part][key] if isinstance(value, dict) else usual[part])
    }
    return f"{name}+{identity_hash(changed)[:8]}" if changed else name
