"""The tasks as gymnasium environments: importing this module registers ``hindex_bench/<task>``.

``gymnasium.make("tasks.gymnasium_envs:hindex_bench/door")`` imports it by itself. It imports neither MuJoCo nor torch.
"""

from __future__ import annotations

import gymnasium

from .cards import CARDS

NAMESPACE = "hindex_bench"

for _card in CARDS.values():
    gymnasium.register(
        id=f"{NAMESPACE}/{_card.name}",
        entry_point="tasks.gymnasium_env:TaskEnv",
        max_episode_steps=_card.horizon,
        kwargs={"task": _card.name},
    )
