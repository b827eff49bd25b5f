"""The work of ``bench demos``: collect, play and list demonstrations; export experts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np

import tasks
from tasks import experts
from tasks.cards import CARDS
from tasks.demonstrations.dataset import Demonstrations
from tasks.demonstrations.rollout import card_scores, collect
from tasks.errors import DemonstrationError
from tasks.experts import Expert

from ..config import DEMONSTRATION_SEED, HELD_OUT_SEED
from ..errors import ConfigError
from ..store.run_folder import RunFolder, check_writable
from ..store.video import Frame, save_video
from .sources import COLLECTING_SLOTS, collecting_task, imported_path, load, recorded_scene

RECORDED_SETTINGS = ("seed", "physics", "reward", "objects", "scene", "learner", "rollout")


def task_options(task: str, objects: str | None, scene: str) -> tuple[dict[str, Any], int]:
    """Return options and horizon of a task's scene: ``matched`` to the rollouts, or of the ``released`` demonstrations.

    Raises:
        ConfigError: there is no such scene.
    """
    if scene not in ("matched", "released"):
        raise ConfigError(f"scene is 'matched' or 'released', got {scene!r}")
    card = tasks.card(task)
    options: dict[str, Any] = {"objects": objects or "builtin"}
    if scene == "released":
        return options | dict(card.demonstration_scene), card.demonstration_horizon or card.horizon
    return options, card.horizon


def overview() -> Iterator[str]:
    """Yield one line per task: its shipped expert and its imported demonstrations."""
    for name in tasks.names():
        if name not in CARDS:
            expert = "a task from outside"
        elif name in experts.shipped_names():
            scores = experts.shipped_card(name)["evaluation"]["mean_action"]
            measured = f"success {scores['success']:.2f}, return {scores['return']:.0f}, {scores['episodes']} episodes"
            expert = f"expert: {measured}"
        else:
            expert = "no shipped expert"
        yield f"{name:8} {expert}; {_imported(imported_path(name))}"


def _imported(path: Path) -> str:
    if not os.path.isfile(path):
        return "none imported"
    try:
        return f"imported: {len(Demonstrations.load(path))} episodes, {path}"
    except DemonstrationError as error:
        return f"imported, but {error}"


def collect_to(
    task: str,
    out: Path,
    *,
    episodes: int,
    seed: int | None,
    expert: Path | None,
    successful_only: bool,
    stochastic: bool,
    objects: str | None = None,
    scene: str = "matched",
) -> Demonstrations:
    """Roll out the shipped expert, or one from a file, and save the episodes."""
    _check_out(out)
    actor = Expert.load(expert) if expert else tasks.expert(task)
    options, horizon = task_options(task, objects, scene)
    demonstrations = collect(
        collecting_task(task, episodes, options),
        actor,
        episodes=episodes,
        horizon=horizon,
        first_seed=DEMONSTRATION_SEED if seed is None else seed,
        successful_only=successful_only,
        stochastic=stochastic,
        metadata={"expert": expert.name if expert else "shipped"},
    )
    demonstrations.save(out)
    return demonstrations


def play(
    task: str,
    out: Path,
    *,
    source: Path | None,
    episode: int,
    quality: str,
    objects: str | None = None,
    background: int = 0,
) -> str:
    """Film one demonstration in the scene that it was made in, and return a summary."""
    from tasks.engine import mujoco
    from tasks.rendering.qualities import Quality
    from tasks.rendering.render import Renderer

    _check_out(out)
    if source is None:
        demonstrations = collect(
            collecting_task(task, episode + 1, {"objects": objects or "builtin"}),
            tasks.expert(task),
            episodes=episode + 1,
            first_seed=DEMONSTRATION_SEED,
        )
    else:
        demonstrations = load(source, task)
    if episode >= len(demonstrations):
        raise ConfigError(f"{source}: has {len(demonstrations)} episodes of {task}; no episode {episode}")
    chosen = demonstrations.episodes[episode]
    simulated = tasks.make(task, **recorded_scene(demonstrations), background=background)
    data = mujoco.MjData(simulated.model)
    frames: list[Frame] = []
    with Renderer(simulated.model, simulated.card.camera, cast("Quality", quality)) as renderer:
        simulated.restore([chosen.initial_state])
        goals, total = 0, 0.0
        for action in chosen.actions:
            simulated.load_data(0, data)
            frames.append(renderer.render(data))
            reading = simulated.step(action[None])
            goals += int(reading.goal[0])
            total += float(reading.reward[0])
    save_video(out, frames)
    return f"{out}: {len(frames)} steps, return {total:.1f}, goal reached on {goals} steps"


def _check_out(out: Path) -> None:
    """Check before the work that its result can be written.

    Raises:
        BenchError: it cannot.
    """
    if out.is_dir():
        raise ConfigError(f"--out {out} is a folder; give the path of a file")
    check_writable(out.parent)


def export_expert(folder: Path, out: Path, episodes: int) -> str:
    """Turn the final policy of a state-based run into an expert with a card, and return a summary of its quality."""
    _check_out(out)
    run = RunFolder(folder)
    checkpoint = run.load_checkpoint()
    if checkpoint is None:
        raise ConfigError(f"{folder} holds no run with a checkpoint; run `bench run --encoder state --task TASK` first")
    config = run.config
    if config["encoder"] != "state":
        raise ConfigError(
            f"{folder} is a run of {config['encoder']}; an expert acts on state observations (--encoder state)"
        )
    expert = expert_from(checkpoint[0])
    card: dict[str, Any] = {
        "task": config["task"],
        "trained_by": "bench run --encoder state",
        "settings": {key: config[key] for key in RECORDED_SETTINGS},
        "demonstrations": next(row["demonstrations"] for row in run.metrics() if "demonstrations" in row),
        "iterations_done": checkpoint[1]["iteration"],
        "environment_steps": checkpoint[1]["steps"],
        "evaluation": {},
    }
    expert = expert.rounded("single")
    scene = {"physics": config["physics"], "objects": config["objects"], **config["scene"]}
    simulators = collecting_task(config["task"], COLLECTING_SLOTS, scene)
    for name, stochastic in (("mean_action", False), ("stochastic", True)):
        card["evaluation"][name] = card_scores(
            simulators, expert, episodes=episodes, first_seed=HELD_OUT_SEED + 10_000, stochastic=stochastic
        )
    expert.save(out, card)
    mean_action = card["evaluation"]["mean_action"]
    success, reward = mean_action["success"], mean_action["return"]
    return f"{out}: success {success:.2f}, return {reward:.1f} over {episodes} episodes, mean action"


def expert_from(tensors: dict[str, Any]) -> Expert:
    """Return the policy of a checkpoint as an expert of plain arrays."""
    policy = {name.removeprefix("policy."): array for name, array in tensors.items() if name.startswith("policy.")}
    arrays: dict[str, Any] = {}
    while (layer := f"layers.{len(arrays) // 2}") + ".weight" in policy:
        index = len(arrays) // 2
        arrays[f"W{index}"], arrays[f"b{index}"] = policy[f"{layer}.weight"], policy[f"{layer}.bias"]
    arrays |= {
        "in_shift": policy["observation_shift"],
        "in_scale": policy["observation_scale"],
        "out_shift": policy["action_shift"],
        "out_scale": policy["action_scale"],
        "log_std": policy["log_std"],
    }
    return Expert.from_arrays({name: np.asarray(array, np.float64) for name, array in arrays.items()})
