"""Import published demonstrations of the Adroit tasks: pickles of DAPG and CortexBench, HDF5 of D4RL and Minari."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from encoders.weights.files import expanded, file_sha256
from tasks.cards import CARDS
from tasks.demonstrations.dataset import Demonstrations, Episode, FloatArray
from tasks.errors import DemonstrationError
from tasks.registry import card as card_of

from .hdf5 import read_episodes
from .pickles import load_plain


class Published(NamedTuple):
    """Demonstrations of a file, and what it shows of them.

    Attributes:
        demonstrations: as recorded.
        first_frames: of each the first image, (H, W, 3); None where the file has none.
    """

    demonstrations: Demonstrations
    first_frames: tuple[npt.NDArray[Any] | None, ...]


def import_dapg(path: str | Path, task_name: str, episodes: int | None = None) -> Demonstrations:
    """Read a DAPG demonstration file without its images, as `import_pickle` does."""
    return import_pickle(path, task_name, episodes).demonstrations


def import_pickle(path: str | Path, task_name: str, episodes: int | None = None) -> Published:
    """Read a demonstration file of DAPG (``hammer-v0_demos.pickle`` and so on) or CortexBench, which adds images.

    Observations and rewards (dense) are the file's; goal flags are off until `tasks.demonstrations.rollout.replay`
    computes all three again, as the paper does. A file without observations may have them left out.

    Args:
        path: the pickle; nothing in it is run.
        task_name: a task that recordings were published of.
        episodes: how many to keep, from the start; the number of the paper by default.

    Raises:
        DemonstrationError: the file is refused, damaged, of another task, or too short.

    Source: Rajeswaran et al. 2018, ``aravindr93/hand_dapg``; CortexBench, ``facebookresearch/eai-vc``.
    """
    _check_recorded(task_name, "DAPG")
    path = expanded(path)
    recorded = load_plain(path)
    if not isinstance(recorded, (list, tuple)) or not all(isinstance(episode, dict) for episode in recorded):
        raise DemonstrationError(f"{path}: not a list of demonstrations; give a DAPG file such as door-v0_demos.pickle")
    images = [episode.get("images") for episode in recorded]
    layout = "DAPG file" if all(shown is None for shown in images) else "CortexBench file"
    demonstrations = _imported(layout, path, task_name, recorded, len(recorded), episodes)
    return Published(demonstrations, tuple(_first_frame(shown) for shown in images[: len(demonstrations)]))


def _first_frame(images: Any) -> npt.NDArray[Any] | None:
    """Return a copy of an episode's first image, so that the others need not be kept; None where there is none."""
    return np.array(images[0]) if isinstance(images, np.ndarray) and images.ndim and len(images) else None


def import_hdf5(path: str | Path, task_name: str, episodes: int | None = None) -> Demonstrations:
    """Read a D4RL or Minari file of an Adroit task (``door-human-v1.hdf5``, ``main_data.hdf5``).

    As `import_dapg` otherwise; see `hdf5` for the layouts.

    Raises:
        DemonstrationError: h5py is not installed; or the file is broken, of another task or layout, too short, or does
            not hold the states that its episodes begin in.
    """
    _check_recorded(task_name, "D4RL's and Minari")
    wanted = card_of(task_name).demonstrations if episodes is None else episodes
    path = expanded(path)
    found = read_episodes(path, tuple(card_of(task_name).recorded_state), wanted)
    return _imported(f"{found.layout} file", path, task_name, found.episodes, found.in_file, episodes)


def _check_recorded(task_name: str, source: str) -> None:
    if not card_of(task_name).recorded_state:
        recorded = ", ".join(name for name, card in CARDS.items() if card.recorded_state)
        raise DemonstrationError(
            f"no demonstrations of {task_name!r} in {source}'s files, only of {recorded}; give the pickle of a policy, "
            "which is rolled out"
        )


def _imported(
    source: str, path: str | Path, task_name: str, recorded: Sequence[Any], in_file: int, episodes: int | None
) -> Demonstrations:
    """Return the first recorded episodes of a file as demonstrations."""
    wanted = card_of(task_name).demonstrations if episodes is None else episodes
    if not 1 <= wanted <= in_file:
        raise DemonstrationError(
            f"{path}: {wanted} demonstrations wanted, {in_file} in the file; ask for fewer (--episodes)"
        )
    kept = [_dapg_episode(one, task_name, f"{path}: demonstration {i}") for i, one in enumerate(recorded[:wanted])]
    metadata = {
        "source": source,
        "task": task_name,
        "file": Path(path).name,
        "file_sha256": file_sha256(Path(path)),
        "counts": {"in_file": in_file, "kept": wanted},
        "selection": f"the first {wanted} of the file",
        "replayed": False,
    }
    return Demonstrations(task_name, tuple(kept), metadata)


def _dapg_episode(recorded: Mapping[str, Any], task_name: str, where: str) -> Episode:
    card = card_of(task_name)
    sizes = card.recorded_state
    state = recorded.get("init_state_dict")
    if not isinstance(state, dict):
        raise DemonstrationError(f"{where}: no init_state_dict; give a DAPG file of {task_name}")
    initial = {name: _numbers(state, name, task_name, where).ravel() for name in sizes}
    for name, size in sizes.items():
        if initial[name].size != size:
            found = f"{name} has {initial[name].size} numbers, not {size}"
            raise DemonstrationError(f"{where}: {found}; is this a file of {task_name}?")
    names = ("actions", "observations", "rewards")
    if "observations" not in recorded and "images" in recorded:  # a replay computes them
        steps = len(_numbers(recorded, "actions", task_name, where))
        recorded = {**recorded, "observations": np.zeros((steps, card.observation_dim))}
    arrays = {name: _numbers(recorded, name, task_name, where) for name in names}
    for name, width in (("actions", card.action_dim), ("observations", card.observation_dim)):
        array = arrays[name]
        if array.ndim != 2 or array.shape[1] != width:
            found = f"{name} have shape {array.shape}, not (T, {width})"
            raise DemonstrationError(f"{where}: {found}; is this a file of {task_name}?")
    rewards = arrays["rewards"].ravel()
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused
        actions, observations = arrays["actions"].astype(np.float32), arrays["observations"].astype(np.float32)
    try:
        return Episode(initial, actions, observations, rewards, np.zeros(len(rewards), bool), success=False)
    except DemonstrationError as error:
        raise DemonstrationError(f"{where}: {error}") from error


def _numbers(values: Mapping[str, Any], name: str, task_name: str, where: str) -> FloatArray:
    if name not in values:
        raise DemonstrationError(f"{where}: no {name!r}; is this a file of {task_name}?")
    try:
        return np.asarray(values[name], np.float64)
    except (TypeError, ValueError):
        raise DemonstrationError(f"{where}: {name!r} does not hold numbers; the file is broken") from None
