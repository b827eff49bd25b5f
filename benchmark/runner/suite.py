"""Which runs belong together: a preset, an asset pack, a physics mode and a results version."""

from __future__ import annotations

from typing import Any

import tasks

from ..config import NAMED_SOURCES, RunConfig, configure
from ..marks import COMPARED, without
from ..store.identity import identity_hash
from ..store.provenance import RESULTS_VERSION


def suite_name(config: RunConfig) -> str:
    """Return the folder name of a configuration's suite; settings that differ from the preset's add a hash.

    >>> suite_name(configure("quickstart", task="door", encoder="rrl"))
    'quickstart-builtin-paper-r2'
    """
    name = f"{config.preset}-{config.objects}-{config.physics}-r{RESULTS_VERSION}"
    changed = changed_settings(config)
    return f"{name}+{identity_hash(changed)[:8]}" if changed else name


def changed_settings(config: RunConfig) -> dict[str, Any]:
    """Return the settings that differ from the preset's, by dotted name."""
    usual = _settings(configure(config.preset, task=config.task, encoder=config.encoder))
    return {name: value for name, value in _settings(config).items() if value != usual[name]}


def _settings(config: RunConfig) -> dict[str, Any]:
    resolved = config.resolve(tasks.card(config.task)).model_dump(mode="json", exclude=without(RunConfig, COMPARED))
    if config.demonstrations.source not in NAMED_SOURCES:
        resolved["demonstrations"]["source"] = "file"  # its content is in the identity; where it lies does not count
    flat: dict[str, Any] = {}
    for part, value in resolved.items():
        flat |= {f"{part}.{key}": entry for key, entry in value.items()} if isinstance(value, dict) else {part: value}
    return flat
