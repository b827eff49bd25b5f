"""The presets: what each sets otherwise than the defaults of `benchmark.config`."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, Literal

from .errors import ConfigError
from .overrides import nearest

PresetName = Literal["quickstart", "small", "paper", "imitation", "cortexbench", "r3m"]

RANDOM_ALLOWED = ("quickstart",)
"""Presets under which an encoder without weights runs on random ones, and is called so everywhere."""

BUILTIN_REFUSED = ("paper",)
"""Presets under which the weights that ship with the package are taken only if they are asked for."""

_CLONING: dict[str, Any] = {
    "algorithm": "bc",
    "policy_hidden": [256, 256, 256],
    "bc_epochs": 100,
    "bc_batch_size": 256,
    "bc_learning_rate": 1e-3,
    "bc_minibatches": "shuffled",
}

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
    "imitation": {
        "observation": {"history": 3, "fusion": "flare"},
        "policy": {"head": "batchnorm_mlp"},
        "demonstrations": {"episodes": 25},
        "rollout": {"slots": 25},
        "learner": _CLONING,
        "evaluation": {"episodes": 25, "every": 100},
    },
    "cortexbench": {
        "observation": {"history": 3, "fusion": "flare"},
        "policy": {"head": "batchnorm_mlp"},
        "demonstrations": {"episodes": 100},
        "rollout": {"slots": 25},
        "learner": _CLONING,
        "evaluation": {"episodes": 25, "every": 5, "seeds": "training", "held_out_episodes": 200},
    },
    "r3m": {
        "policy": {"head": "batchnorm_mlp"},
        "demonstrations": {"episodes": 25},
        "rollout": {"slots": 25},
        "learner": {
            **_CLONING,
            **{"policy_hidden": [256, 256], "bc_epochs": 20, "bc_batch_size": 32, "bc_steps_per_epoch": 1000},
        },
        "evaluation": {"episodes": 50, "seeds": "training", "held_out_episodes": 200},
    },
}


@dataclass(frozen=True)
class Protocol:
    """What the command line runs under a preset where no task and no seed is named.

    Attributes:
        tasks: a list of tasks, or the name of a group.
        seeds: of the runs.
        selection: which policy of a run the protocol reports: the ``last`` or the ``best`` of the evaluations.
        published_tasks: the tasks of the published protocol; on any other one, the preset is only like it.
    """

    tasks: str = "all"
    seeds: str = "0"
    selection: Literal["last", "best"] = "last"
    published_tasks: tuple[str, ...] = ()


PROTOCOLS: dict[str, Protocol] = {
    "imitation": Protocol("every", "0,1,2"),
    "cortexbench": Protocol("pen,relocate", "100,200,300", "best", ("pen", "relocate")),
    "r3m": Protocol("pen,relocate", "100,200,300", "best", ("pen", "relocate")),
}
"""The presets that are protocols of imitation: everything else of theirs is in `PRESETS`."""


def preset_settings(preset: str) -> dict[str, Any]:
    """Return a copy of what a preset sets.

    Raises:
        ConfigError: there is no such preset.
    """
    if preset not in PRESETS:
        raise ConfigError(f"unknown preset '{preset}': {nearest(preset, PRESETS)}")
    return copy.deepcopy(PRESETS[preset])
