"""Our own demonstrations written in the HDF5 layouts of D4RL and Minari."""

import h5py
import numpy as np


def states(demonstrations, name):
    return np.stack([episode.initial_state[name] for episode in demonstrations.episodes])


def write_d4rl(path, demonstrations, unfinished=0, ends="timeouts"):
    """As `hand_dapg_demos.py` of D4RL does: flat arrays in float32, the states before each step."""
    episodes = demonstrations.episodes
    with h5py.File(path, "w") as file:
        for name in ("observations", "actions", "rewards"):
            rows = [getattr(episode, name) for episode in episodes]
            rows += [rows[0][:unfinished]] if unfinished else []
            file.create_dataset(name, data=np.concatenate(rows).astype(np.float32), compression="gzip")
        flags = np.concatenate([np.arange(len(one)) == len(one) - 1 for one in episodes] + [np.zeros(unfinished, bool)])
        file.create_dataset("timeouts", data=flags & (ends == "timeouts"), compression="gzip")
        file.create_dataset("terminals", data=flags & (ends == "terminals"), compression="gzip")
        lengths = [len(episode) for episode in episodes]
        for name in episodes[0].initial_state:
            # Only an episode's first row matters; others are made to differ from it.
            rows = np.repeat(states(demonstrations, name), lengths, axis=0)
            first = np.cumsum([0, *lengths[:-1]])
            rows[[step for step in range(len(rows)) if step not in first]] += 1
            padding = np.zeros((unfinished, rows.shape[1]))
            file.create_dataset(f"infos/{name}", data=np.float32(np.concatenate([rows, padding])), compression="gzip")


def write_minari(path, demonstrations, state="options"):
    """As `HDF5Storage` of Minari does; where the initial state lies depends on its version."""
    with h5py.File(path, "w", track_order=True) as file:
        for number, episode in enumerate(demonstrations.episodes):
            group = file.create_group(f"episode_{number}")
            group.attrs["id"], group.attrs["total_steps"] = number, len(episode)
            extra = np.concatenate([episode.observations, episode.observations[-1:]]).astype(np.float64)
            group.create_dataset("observations", data=extra)
            group.create_dataset("actions", data=episode.actions)
            group.create_dataset("rewards", data=episode.rewards)
            group.create_dataset("terminations", data=np.zeros(len(episode), bool))
            group.create_dataset("truncations", data=np.arange(len(episode)) == len(episode) - 1)
            group.create_dataset("infos/success", data=np.zeros(len(episode) + 1, bool))
            for name, value in episode.initial_state.items():
                if state == "options":
                    group.attrs[f"options/initial_state_dict/{name}"] = value
                elif state:
                    group.create_dataset(f"{state}/{name}", data=np.stack([value] + [value + 1] * len(episode)))
