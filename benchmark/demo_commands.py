"""What ``bench demos`` does: experts and demonstrations between files, tasks and films."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np

import tasks
from tasks import experts
from tasks.demonstrations import Demonstrations, import_dapg
from tasks.errors import PickleError
from tasks.expert_rollout import collect, evaluate, replay
from tasks.experts import Expert

from . import atomic
from .config import DEMONSTRATION_SEED, HELD_OUT_SEED, usable_cores
from .demonstrations import COLLECTING_SLOTS, imported_path
from .errors import ConfigError
from .film import Frame, save_video
from .store import RunFolder

RECORDED_SETTINGS = ("seed", "physics", "reward", "objects", "scene", "learner", "rollout")


def task_options(task: str, objects: str | None, scene: str) -> tuple[dict[str, Any], int]:
    """Options and horizon of the ``matched`` (rollouts') or the ``released`` demonstrations' scene of a task.

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
    """A line a task: its shipped expert and its imported demonstrations."""
    for name in tasks.names():
        if name in experts.shipped_names():
            scores = experts.shipped_card(name)["evaluation"]["mean_action"]
            measured = f"success {scores['success']:.2f}, return {scores['return']:.0f}, {scores['episodes']} episodes"
            expert = f"expert: {measured}"
        else:
            expert = "no shipped expert"
        path = imported_path(name)
        imported = f"imported: {len(Demonstrations.load(path))} episodes, {path}" if path.is_file() else "none imported"
        yield f"{name:8} {expert}; {imported}"


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
    actor = Expert.load(expert) if expert else experts.shipped(task)
    options, horizon = task_options(task, objects, scene)
    found = collect(
        tasks.make(task, slots=min(COLLECTING_SLOTS, episodes), threads=usable_cores(), **options),
        actor,
        episodes=episodes,
        horizon=horizon,
        first_seed=DEMONSTRATION_SEED if seed is None else seed,
        successful_only=successful_only,
        stochastic=stochastic,
        metadata={"expert": expert.name if expert else "shipped"},
    )
    found.save(out)
    return found


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
    """Film one demonstration, in the scene it was made in, and say what it shows."""
    from tasks.engine import mujoco
    from tasks.render import Quality, Renderer

    if source is None:
        found = collect(
            tasks.make(
                task, slots=min(COLLECTING_SLOTS, episode + 1), threads=usable_cores(), objects=objects or "builtin"
            ),
            experts.shipped(task),
            episodes=episode + 1,
            first_seed=DEMONSTRATION_SEED,
        )
    else:
        found = Demonstrations.load(source)
    if episode >= len(found) or found.task != task:
        raise ConfigError(f"{source}: has {len(found)} episodes of {found.task}; no episode {episode} of {task}")
    chosen = found.episodes[episode]
    simulated = tasks.make(task, **found.metadata.get("scene", {}), background=background)
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


def import_to_cache(file: Path, task: str, episodes: int | None, objects: str | None = None) -> str:
    """Store published demonstrations, or rollouts of a published policy, where the paper preset finds them.

    A policy is rolled out in the scene of the released demonstrations, with the official meshes by default.
    """
    card = tasks.card(task)
    if not file.is_file():
        raise ConfigError(f"there is no file {file}; give the path of a DAPG or mjrl pickle, or of our .npz")
    if file.suffix == ".npz":
        found = Demonstrations.load(file)
        if found.task != task:
            raise ConfigError(f"{file} holds demonstrations of {found.task}, not of {task}")
        found = found.first(episodes or len(found))
    else:
        found = _from_pickle(file, task, episodes or card.demonstrations, objects or _released_objects(task))
    path = imported_path(task)
    with atomic.naming_failures(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    found.save(path)
    return f"{path}: {len(found)} episodes of {task}, {found.success_rate:.0%} successful when replayed here"


def _released_objects(task: str) -> str:
    return "ycb" if tasks.card(task).source == "DexMV" else "builtin"


def _from_pickle(file: Path, task: str, episodes: int, objects: str) -> Demonstrations:
    from tasks.pickles import load_mjrl_policy

    options, horizon = task_options(task, objects, "released")
    simulators = tasks.make(task, slots=COLLECTING_SLOTS, threads=usable_cores(), **options)
    try:
        policy = load_mjrl_policy(file)
    except PickleError as not_a_policy:
        try:
            return replay(simulators, import_dapg(file, task, episodes))
        except tasks.errors.TaskError as not_demonstrations:
            raise ConfigError(f"{file}: {not_demonstrations}; as a policy: {not_a_policy}") from None
    return collect(
        simulators,
        policy,
        episodes=episodes,
        first_seed=DEMONSTRATION_SEED,
        horizon=horizon,
        successful_only=False,
    )


def export_expert(folder: Path, out: Path, episodes: int) -> str:
    """Turn the final policy of a state-based run into an expert with a card, and say how good it is."""
    run = RunFolder(folder)
    found = run.load_checkpoint()
    if found is None:
        raise ConfigError(f"{folder} holds no run with a checkpoint; run `bench run --encoder state --task TASK` first")
    config = run.config
    if config["encoder"] != "state":
        raise ConfigError(
            f"{folder} is a run of {config['encoder']}; an expert acts on state observations (--encoder state)"
        )
    expert = expert_from(found[0])
    card: dict[str, Any] = {
        "task": config["task"],
        "trained_by": "bench run --encoder state",
        "settings": {key: config[key] for key in RECORDED_SETTINGS},
        "demonstrations": next(row["demonstrations"] for row in run.metrics() if "demonstrations" in row),
        "iterations_done": found[1]["iteration"],
        "environment_steps": found[1]["steps"],
        "evaluation": {},
    }
    expert = expert.rounded("single")
    scene = {"physics": config["physics"], "objects": config["objects"], **config["scene"]}
    simulators = tasks.make(config["task"], slots=COLLECTING_SLOTS, threads=usable_cores(), **scene)
    for name, stochastic in (("mean_action", False), ("stochastic", True)):
        returns, successes = evaluate(
            simulators, expert, episodes=episodes, first_seed=HELD_OUT_SEED + 10_000, stochastic=stochastic
        )
        card["evaluation"][name] = {
            "episodes": episodes,
            "return": round(float(returns.mean()), 2),
            "return_std": round(float(returns.std()), 2),
            "success": float(successes.mean()),
        }
    expert.save(out, card)
    scores = card["evaluation"]["mean_action"]
    return (
        f"{out}: success {scores['success']:.2f}, return {scores['return']:.1f} over {episodes} episodes, mean action"
    )


def expert_from(tensors: dict[str, Any]) -> Expert:
    """The policy of a checkpoint as plain arrays."""
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
