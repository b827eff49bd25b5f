"""The presets: what each sets otherwise than the defaults of `benchmark.config`."""

from __future__ import annotations

import copy
from typing import Any, Literal

from .errors import ConfigError
from .overrides import nearest

PresetName = Literal["quickstart", "small", "paper"]

RANDOM_ALLOWED = ("quickstart",)
"""Presets under which an encoder without weights runs on random ones, and is called so everywhere."""

BUILTIN_REFUSED = ("paper",)
"""Presets under which the weights that ship with the package are taken only if they are asked for."""

PRESETS: dict[str, dict[str, Any]] = {
    "quickstart": {
        "demonstrations": {"episodes": 15, "until": "success"},
        "rollout": {"slots": 4, "group": 2},
        "learner": {"bc_epochs": 40, "iterations": 0, "trajectories_per_iteration": 4},
        "evaluation": {"episodes": 4},
    },
    "small": {
        "rollout": {"slots": 20},
        "learner": {"iterations": 20, "trajectories_per_iteration": 20},
        "adaptation": {"steps": 3000, "batch": 8},
        "evaluation": {"episodes": 10, "every": 5, "untrained": True},
    },
    "paper": {
        "objects": "ycb",
        "precision": "float32",
        "backend": "torch",
        "demonstrations": {"source": "imported", "successful_only": False, "scene": "released"},
        "adaptation": {
            **{"size": 224, "steps": 100_000, "batch": 8, "learning_rate": 1e-4, "cool_down": 0.0},
            "camera": "released",
        },
        "rollout": {"slots": 25, "quality": "paper"},
        "evaluation": {"seeds": "training"},
    },
}


def preset_settings(preset: str) -> dict[str, Any]:
    """Return a copy of what a preset sets.

    Raises:
        ConfigError: there is no such preset.
    """
    if preset not in PRESETS:
        raise ConfigError(f"unknown preset '{preset}': {nearest(preset, PRESETS)}")
    return copy.deepcopy(PRESETS[preset])
