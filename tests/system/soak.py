"""An hour of short runs that are killed at random: ``python tests/system/soak.py OUT --minutes 60``.

One sweep of eight runs, state and pixels on two tasks, is done undisturbed. Then it is begun again and again in fresh
folders, while its process or one of its workers is killed at random moments, and begun again until it is done. Every
time the finished runs must be those of the undisturbed sweep to the bit, nothing may be left behind, and neither memory
nor open files may grow from round to round. A line a round goes to ``OUT/rounds.jsonl``; the exit status is 1 where
something was wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from benchmark.store.identity import file_hash

SETTINGS = (
    *("demonstrations.episodes=3", "rollout.horizon=12", "rollout.slots=2"),
    *("rollout.group=1", "learner.bc_epochs=4", "learner.iterations=4", "learner.trajectories_per_iteration=4"),
    *("learner.policy_hidden=[8]", "learner.value_hidden=[8]", "evaluation.episodes=2", "evaluation.video=false"),
)
PLUGIN = """
import torch

from encoders import Encoder


class Soaked(Encoder, name="soaked"):
    feature_dim = 48

    def __init__(self, weights=None):
        super().__init__()
        self.pool = torch.nn.AdaptiveAvgPool2d(4)

    def forward(self, images):
        return self.pool(images).flatten(1)
"""
COMPARED = ("checkpoint.safetensors", "episodes.parquet")
SAMPLE_SECONDS = 0.5
FEWEST_ROUNDS = 3


def command(out: Path, plugin: Path) -> list[str]:
    """Return the sweep's command."""
    settings = [part for setting in SETTINGS for part in ("--set", setting)]
    which = ["--encoder", f"state,{plugin}:Soaked", "--task", "door,pen", "--seed", "0,1"]
    return [
        sys.executable,
        "-c",
        "from benchmark.cli.app import main; main()",
        "run",
        *which,
        "--workers",
        "1",
        "--out",
        str(out),
        *settings,
    ]


def results(out: Path) -> dict[str, str]:
    """Return the hashes of what the runs in a folder ended with."""
    return {str(path.relative_to(out)): file_hash(path) for name in COMPARED for path in sorted(out.rglob(name))}


def left_behind(out: Path) -> list[str]:
    """Return files that only a run in progress may have."""
    return [str(path.relative_to(out)) for path in out.rglob("*") if path.suffix in (".tmp", ".partial")]


def watch(process: subprocess.Popen[bytes], until: float) -> tuple[float, int, int | None]:
    """Look at a sweep until it ends, or until a time.

    Returns:
        The most megabytes and open files of it and its workers, and its exit status, None while it runs.
    """
    memory, files = 0.0, 0
    while process.poll() is None and time.monotonic() < until:
        try:
            family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
            memory = max(memory, sum(each.memory_info().rss for each in family) / 1e6)
            files = max(files, sum(each.num_fds() for each in family))
        except psutil.Error:  # it ended between two looks
            pass
        time.sleep(SAMPLE_SECONDS)
    return memory, files, process.poll()


def kill(process: subprocess.Popen[bytes], chance: random.Random) -> str:
    """Kill a sweep, or one of its workers; return which, empty where it was too late."""
    try:
        workers = psutil.Process(process.pid).children(recursive=True)
        victim = chance.choice(workers) if workers and chance.random() < 0.3 else psutil.Process(process.pid)
        victim.send_signal(signal.SIGKILL)
    except psutil.Error:
        return ""
    if victim.pid != process.pid:
        return "worker"
    process.wait()
    _, alive = psutil.wait_procs(workers, timeout=20)
    return "orphan" if alive else "sweep"


def one_round(out: Path, plugin: Path, chance: random.Random | None) -> dict[str, object]:
    """Do the sweep to its end, killed by chance; return what was seen."""
    memory, files, kills, began, line = 0.0, 0, {"sweep": 0, "worker": 0, "orphan": 0}, time.monotonic(), ""
    while True:
        process = subprocess.Popen(command(out, plugin), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        status = None
        while status is None:
            pause = chance.expovariate(1 / 25) if chance else 3600.0
            seen, opened, status = watch(process, time.monotonic() + pause)
            memory, files = max(memory, seen), max(files, opened)
            if status is None and chance is not None:
                killed = kill(process, chance)
                if killed:
                    kills[killed] += 1
                if killed in ("sweep", "orphan"):
                    break
        assert process.stderr is not None
        if status is not None:
            line = process.stderr.read().decode()[-300:].strip()
            break
    return {
        **{"exit": status, "seconds": round(time.monotonic() - began), "kills": kills},
        **{"megabytes": round(memory), "open_files": files, "left_behind": left_behind(out)},
        **({"said": line} if status else {}),
    }


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """Soak, and say whether all was well."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    plugin = given.out / "soaked.py"
    plugin.write_text(PLUGIN)
    chance, end, rounds = random.Random(given.seed), time.monotonic() + 60 * given.minutes, []
    shared = set(os.listdir("/dev/shm"))
    expected: dict[str, str] = {}
    while len(rounds) < FEWEST_ROUNDS or time.monotonic() < end:
        out = given.out / f"round-{len(rounds)}"
        found = one_round(out, plugin, chance if rounds else None)
        ended = results(out)
        expected = expected or ended
        found |= {"round": len(rounds), "runs": len(ended) // len(COMPARED), "equal": bool(ended) and ended == expected}
        found["shared_memory"] = sorted(set(os.listdir("/dev/shm")) - shared)
        rounds.append(found)
        with (given.out / "rounds.jsonl").open("a") as file:
            file.write(json.dumps(found) + "\n")
        say(json.dumps(found))
        shutil.rmtree(out, ignore_errors=True)
    wrong = [
        each for each in rounds if each["exit"] or not each["equal"] or each["left_behind"] or each["shared_memory"]
    ]
    wrong += [each for each in rounds if each["kills"]["orphan"]]
    kills = {kind: sum(each["kills"][kind] for each in rounds) for kind in ("sweep", "worker")}
    memory = [each["megabytes"] for each in rounds]
    half = len(memory) // 2
    say(
        f"{len(rounds)} rounds, {sum(each['runs'] for each in rounds)} runs, killed {kills}; {len(wrong)} wrong; most "
        f"memory {max(memory[:half])} MB in the first half, {max(memory[half:])} MB in the second; open files "
        f"{min(each['open_files'] for each in rounds)} to {max(each['open_files'] for each in rounds)}"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
