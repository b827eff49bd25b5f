"""A synthetic but realistic suite of run folders, for tests of the reports: no simulator, no network, no weights.

    python tests/unit/reports/synthetic_suite.py OUT

Every number in it is invented, and every config.json, encoder.json, card and probe says so (``"synthetic": true``).
It holds what reports have to cope with: crashed, diverged and damaged runs, missing cells, one seed only, negative
returns, a second suite, two weights of one title, a duplicate, builtin and random rows.
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import safetensors.numpy
from PIL import Image, ImageDraw

from benchmark.store import episodes
from benchmark.store.run_folder import RunFolder
from tasks.cards import CARDS, GROUPS

SUITE, OTHER_SUITE = "small-builtin-paper-r1", "quickstart-builtin-paper-r1"
TASKS = GROUPS["all"]
SHIFT_TASKS = ("relocate-potted_meat_can", "door")
BACKGROUNDS = tuple(str(number) for number in range(1, 11))
ABLATION_TASKS = ("hammer", "place_inside", "relocate-foam_brick")
EVALUATIONS, EPISODES, HORIZON = (-1, 0, 5, 10, 15, 20), 10, 100
STEPS_AN_ITERATION = 2000

SKILL = {"hindex": 0.92, "vc1": 0.70, "mvp": 0.62, "r3m": 0.66, "rrl": 0.5, "frankmocap_hand": 0.72}
SKILL |= {"frankmocap_body": 0.55, "alphapose": 0.6, "state": 1.0}
LABELS = {"rrl": "(random)", "hindex": "(builtin)", "frankmocap_hand": "(builtin)"}
VARIANTS = {"ema-0": -0.1, "ema-0.1": -0.04, "ema-0.01": 0.0, "ema-0.001": -0.02}
VARIANTS |= {"adapt-all": -0.15, "adapt-none": -0.2}
SCALE = {"hammer": 9000.0, "door": 3000.0, "pen": 2500.0, "pour": 40.0, "place_inside": 60.0}
FLOOR = {"hammer": -250.0, "door": -60.0}


@dataclass(frozen=True)
class Run:
    """One folder to write."""

    encoder: str
    task: str
    seed: int
    variant: str = ""
    suite: str = SUITE
    label: str | None = None
    weights: str = "first"
    state: str = "finished"
    offset: float = 0.0
    backgrounds: tuple[str, ...] = ()
    task_version: int | None = None

    @property
    def title(self) -> str:
        label = LABELS.get(self.encoder, "") if self.label is None else self.label
        return f"{self.encoder}{'+' if self.variant else ''}{self.variant} {label}".rstrip()

    @property
    def weights_kind(self) -> str:
        label = LABELS.get(self.encoder, "") if self.label is None else self.label
        return label.strip("()") or "official"

    @property
    def path(self) -> Path:
        return Path(self.suite, self.task, self.title, f"seed-{self.seed}")


def plan() -> list[Run]:
    """The 300 runs."""
    runs = [Run(e, t, s) for e in ("hindex", "vc1", "mvp", "r3m", "rrl") for t in TASKS for s in range(3)]
    runs = [replace(r, backgrounds=BACKGROUNDS) if shifted(r) else r for r in runs]
    vanilla = ("frankmocap_hand", "frankmocap_body", "alphapose")
    runs += [Run(e, t, s) for e in vanilla for t in ABLATION_TASKS for s in range(3)]
    changed = [(v, t) for v in VARIANTS for t in ABLATION_TASKS if v != f"ema-{CARDS[t].ema_momentum:g}"]
    runs += [Run("hindex", t, s, v) for v, t in changed for s in range(3)]
    runs += [Run("state", t, 0) for t in TASKS]  # one seed only
    runs += [Run("hindex", t, s, label="(random)") for t in TASKS for s in range(2)]
    runs += [Run(e, t, s, suite=OTHER_SUITE) for e in ("hindex", "rrl") for t in TASKS[:6] for s in range(2)]
    runs = [replace(r, **change) for r in runs if (change := accident(r)) is not None]
    return [*runs[:299], replace(Run("mvp", "pen", 0), suite=f"copied/{SUITE}")]


def shifted(run: Run) -> bool:
    return run.task in SHIFT_TASKS and run.encoder in ("hindex", "vc1")


def accident(run: Run) -> dict[str, object] | None:
    """What befalls a run of the plan: changes of it, or None where it was never started."""
    place = (run.title, run.task, run.seed)
    if run.suite != SUITE:
        return {}
    if place == ("mvp", "pour", 1):
        return {"state": "crashed"}
    if place == ("r3m", "door", 2):
        return {"state": "diverged"}
    if place == ("r3m", "pen", 0):
        return {"state": "damaged"}
    if run.encoder == "vc1" and run.task == "relocate-mug":
        return None
    if place[:2] == ("mvp", "relocate-sugar_box") and run.seed:
        return None
    if run.task == "hammer":
        return {"offset": -12000.0}  # every encoder's best return is negative
    if run.encoder == "r3m" and run.seed == 2:
        return {"weights": "second"}
    return {}


def write_suite(out: Path, runs: list[Run] | None = None, *, sides: bool = True, films: bool = True) -> Path:
    """Write run folders, and probe and adaptation folders beside them, below `out`.

    Args:
        out: the folder of all runs.
        runs: which; the whole `plan` by default.
        sides: whether to write the probe's and Stage 2's results too.
        films: whether runs have pictures and a video.
    """
    for run in plan() if runs is None else runs:
        write_run(out, run, films=films)
    if sides:
        for encoder in ("hindex (builtin)", "vc1", "r3m", "rrl (random)"):
            for task in TASKS:
                write_probe(out, encoder, task)
        for task in TASKS[:4]:
            write_adaptation(out, task)
    return out


def write_run(out: Path, run: Run, *, films: bool = True) -> Path:
    """Write one run folder as the runner does, from invented numbers."""
    path = out / run.path
    path.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(list(hashlib.sha256(str(run.path).encode()).digest()))
    for name, content in records(run).items():
        (path / name).write_text(json.dumps(content, indent=2) + "\n")
    means = learning_curve(run, random)
    done = 3 if run.state in ("crashed", "diverged") else len(EVALUATIONS)
    rows = [row for k in range(done) for row in evaluation(run, EVALUATIONS[k], means[k], random)]
    for background in run.backgrounds:
        loss = (0.12 if run.encoder == "hindex" else 0.3) * random.uniform(0.3, 2)
        rows += evaluation(run, EVALUATIONS[-1], means[-1] - loss * abs(means[-1]), random, background)
    if is_judged(run) and run.state != "crashed":
        rows += judged(run, rows)
    episodes.append(path / "episodes.parquet", rows)
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in metrics(run, rows, random)))
    if films:
        write_film(path, run)
    if run.state in ("finished", "altered"):
        RunFolder(path).finish()
    if run.state == "damaged":
        (path / "episodes.parquet").write_bytes(b"PAR1 these are not episodes")
    if run.state == "altered":
        episodes.append(path / "episodes.parquet", evaluation(run, EVALUATIONS[-1] + 1, 1e6, random))
    return path


def records(run: Run) -> dict[str, dict[str, object]]:
    """config.json, identity.json, encoder.json and machine.json."""
    stage, _, value = run.variant.partition("-")
    adapted = run.encoder == "hindex"
    momentum = (float(value) if stage == "ema" else CARDS[run.task].ema_momentum) if adapted else 0.0
    adapt = (value if stage == "adapt" else "affine") if adapted else "none"
    ema = {"momentum": momentum, "scope": "stem", "reset": "iteration", "streams": 4}
    stages = {"adapt": adapt, "ema": ema, "precision": "float32", "normalise": "auto"}
    config = {"preset": run.suite.rpartition("/")[2].split("-")[0], "task": run.task, "encoder": run.encoder}
    config |= {"seed": run.seed, "objects": "builtin", "physics": "paper", "background": 0, "synthetic": True, **stages}
    config |= {"learner": {"iterations": EVALUATIONS[-1]}, "evaluation": {"episodes": EPISODES, "every": 5}}
    config["evaluation"] |= {"held_out_episodes": EPISODES} if is_judged(run) else {}
    digest = sha(f"{run.encoder} {run.weights_kind} {run.weights}")
    changed = {"mode": adapt, "source": "shipped", "sha256": sha(f"{digest} {run.task} {adapt}"), "card": {}}
    adaptation = None if adapt == "none" else changed
    encoder = {
        "title": run.title,
        "name": run.encoder,
        "synthetic": True,
        "weights": {"kind": run.weights_kind, "sha256": digest, "label": run.title.partition(" ")[2]},
        "card": card(run.encoder),
        "adaptation": adaptation,
        "ema": ema,
    }
    told = {"name": run.encoder, "weights": run.weights_kind, "weights_sha256": digest}
    told["adaptation_sha256"] = changed["sha256"] if adaptation else None
    identity = {"results_version": 1, "config": config, "encoder": told, "device": "cpu"}
    identity["demonstrations"] = sha(f"demonstrations of {run.task}")
    identity |= {} if run.task_version is None else {"task_results_version": run.task_version}
    machine = {"version": "0.0.0", "results_version": 1, "commit": "0" * 40, "python": "3.11.0", "cpu": "Synthetic CPU"}
    machine |= {"packages": {"torch": "2.14.1", "mujoco": "3.17.0"}, "platform": "synthetic", "cpu_count": 2}
    return {"config.json": config, "identity.json": identity, "encoder.json": encoder, "machine.json": machine}


def card(encoder: str) -> dict[str, object]:
    free = encoder in ("r3m", "rrl", "mvp", "state")
    return {
        "name": encoder,
        "architecture": "ViT-B/16" if encoder == "vc1" else "ViT-S/16" if encoder == "mvp" else "ResNet-50",
        "feature_dim": {"vc1": 768, "mvp": 384, "state": 0}.get(encoder, 2048),
        "feature": "class token" if encoder in ("vc1", "mvp") else "pooled",
        "parameters": {"vc1": 85_798_656, "mvp": 21_665_664, "state": 0}.get(encoder, 23_508_032),
        "licence": "MIT" if free else "CC BY-NC 4.0",
        "commercial_use": free,
        "citation": f"Synthetic et al., the {encoder} of these tests, 2026",
        "deviations": ["synthetic: nothing of this was measured"],
        "sources": [],
        "synthetic": True,
    }


def learning_curve(run: Run, random: np.random.Generator) -> np.ndarray:
    """(evaluations,) mean returns: a saturating curve, slower for worse encoders, with a failing seed now and then."""
    number = TASKS.index(run.task) if run.task in TASKS else len(TASKS)
    skill = SKILL[run.encoder] + VARIANTS.get(run.variant, 0.0) - (0.35 if run.label == "(random)" else 0.0)
    skill += 0.06 * np.sin(3.1 * number + len(run.encoder)) + 0.06 * random.standard_normal()
    if random.random() < 0.06:
        skill *= 0.4
    level = max(0.02, skill) * (0.55 + 0.45 * np.cos(number) ** 2)
    progress = np.maximum(np.array(EVALUATIONS) + 1.0, 0.0) / 21.0
    shape = (1 - np.exp(-progress / (0.6 - 0.35 * min(skill, 1.0)))) + 0.03 * random.standard_normal(len(EVALUATIONS))
    return FLOOR.get(run.task, 0.0) + SCALE.get(run.task, 100.0) * level * shape + run.offset


def evaluation(
    run: Run, iteration: int, mean: float, random: np.random.Generator, background: str = episodes.OWN_BACKGROUND
) -> list[dict[str, object]]:
    scale = SCALE.get(run.task, 100.0)
    returns = mean + 0.1 * scale * random.standard_normal(EPISODES)
    chance = np.clip((mean - run.offset) / scale, 0, 1)
    successes = [bool(random.random() < chance) for _ in range(EPISODES)]
    return [
        {
            "iteration": iteration,
            "background": background,
            "seed": 1_000_000_000 + k,
            "return": float(returns[k]),
            "success": success,
            "length": HORIZON,
            "goal_steps": 40 if success else 3,
            "goal_at_end": success,
            "split": episodes.SCHEDULE,
        }
        for k, success in enumerate(successes)
    ]


def is_judged(run: Run) -> bool:
    return run.task == "pen" and not run.variant


def judged(run: Run, rows: list[dict[str, object]]) -> list[dict[str, object]]:
    """Held-out episodes of the last policy and of the best one, a little worse than those that chose it."""
    random = np.random.default_rng([run.seed, len(run.encoder)])
    means = {i: np.mean([r["return"] for r in rows if r["iteration"] == i]) for i in EVALUATIONS}
    rates = {i: np.mean([r["success"] for r in rows if r["iteration"] == i]) for i in EVALUATIONS}
    best = max(EVALUATIONS, key=lambda i: (rates[i], means[i], -i))
    found = [row for i in {EVALUATIONS[-1], best} for row in evaluation(run, i, means[i] - 10.0, random)]
    return [row | {"seed": row["seed"] + 500_000_000, "split": episodes.HELD_OUT} for row in found]


def metrics(run: Run, rows: list[dict[str, object]], random: np.random.Generator) -> list[dict[str, object]]:
    """One line per iteration, with the keys of the runner's."""
    own = [row for row in rows if (row["background"], row["split"]) == (episodes.OWN_BACKGROUND, episodes.SCHEDULE)]
    last = max(int(row["iteration"]) for row in own)
    speed = {"state": 900.0, "vc1": 14.0, "mvp": 31.0}.get(run.encoder, 24.0) * random.uniform(0.9, 1.1)
    lines = []
    for iteration in range(last + 1):
        rolled = STEPS_AN_ITERATION / speed
        seconds = {"simulate": 0.2 * rolled, "encode": 0.75 * rolled, "act": 0.05 * rolled}
        seconds |= {"update": 1.5} if iteration else {"clone": 6.0}
        line = {"iteration": iteration, "steps": STEPS_AN_ITERATION * iteration, "seconds": seconds}
        line |= {"steps_per_second": speed, "memory_mb": 1200.0 + 10 * iteration + (400 if run.encoder == "vc1" else 0)}
        line |= {"kl": 0.025, "skipped": run.state == "diverged" and iteration > last - 3, "unstable": 0}
        here = [row for row in own if row["iteration"] == iteration]
        if here:
            line["evaluation_return"] = float(np.mean([row["return"] for row in here]))
            line["evaluation_success"] = float(np.mean([row["success"] for row in here]))
        lines.append(line)
    return lines


def write_probe(out: Path, title: str, task: str) -> None:
    random = np.random.default_rng(len(title) * 100 + TASKS.index(task))
    rows = []
    for quantity, dimensions in (("object position", 3), ("object rotation", 6), ("hand joints", 24), ("target", 3)):
        r2 = float(np.clip(SKILL[title.split()[0]] + 0.15 * random.standard_normal(), -0.2, 0.99))
        clock = {"object position": 0.3, "object rotation": 0.1, "hand joints": 0.75}.get(quantity, 0.0)
        constant = quantity == "target" and task in ("hammer", "door")
        value = {"r2": r2, "low": r2 - 0.04, "high": min(r2 + 0.03, 1.0), "clock_r2": clock}
        value = dict.fromkeys(value) if constant else value
        names = [f"{quantity} {k}" for k in range(dimensions)]
        rows.append({"quantity": quantity, "dimensions": names, "constant": constant, **value})
    path = out / "probe" / title / f"{task}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"task": task, "title": title, "synthetic": True, "rows": rows}, indent=2))


def write_adaptation(out: Path, task: str, title: str = "hindex (builtin)") -> None:
    path = out / "adapt" / task / title
    (path / "keypoints").mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(TASKS.index(task))
    pretrained, adapted = {}, {}
    for name, channels in batchnorm_layers():
        for part, centre in (("weight", 0.3), ("bias", 0.0)):
            values = (centre + 0.15 * random.standard_normal(channels)).astype(np.float32)
            depth = 0 if name == "bn1" else int(name[5])
            moved = values + (0.02 + 0.03 * depth) * random.standard_normal(channels).astype(np.float32)
            pretrained[f"{name}.{part}"], adapted[f"{name}.{part}"] = values, moved.astype(np.float32)
    (path / "pretrained.safetensors").write_bytes(safetensors.numpy.save(pretrained))
    (path / "batchnorm.safetensors").write_bytes(safetensors.numpy.save(adapted))
    content = {"task": task, "title": title, "adapt": "affine", "steps": 300, "synthetic": True, "sha256": sha(task)}
    (path / "card.json").write_text(json.dumps(content, indent=2))
    lines = [{"step": step, "loss": float(0.2 + np.exp(-step / 80))} for step in range(0, 300, 10)]
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (path / "strip.png").write_bytes(picture(f"Stage 2 {task}", 96, 4))
    for k in range(3):
        (path / "keypoints" / f"{k}.png").write_bytes(picture(f"keypoints {k}", 96, 1))


def batchnorm_layers() -> list[tuple[str, int]]:
    """Names and channels of the 53 BatchNorm layers of a ResNet-50 under torchvision's names."""
    layers = [("bn1", 64)]
    for stage, (blocks, width) in enumerate(((3, 64), (4, 128), (6, 256), (3, 512)), start=1):
        for block in range(blocks):
            sizes = {"bn1": width, "bn2": width, "bn3": 4 * width} | ({} if block else {"downsample.1": 4 * width})
            layers += [(f"layer{stage}.{block}.{name}", channels) for name, channels in sizes.items()]
    return layers


def write_film(path: Path, run: Run) -> None:
    (path / "frames").mkdir(exist_ok=True)
    for name, count in (("start", 1), ("goal", 1), ("strip", 6)):
        (path / "frames" / f"{name}.png").write_bytes(picture(run.task, 96, count))
    for background in run.backgrounds:
        (path / "frames" / f"background-{int(background):02d}.png").write_bytes(picture(f"look {background}", 96, 1))
    (path / "video.mp4").write_bytes(video(run.encoder))


@cache
def picture(text: str, size: int, count: int) -> bytes:
    shade = sha(text)
    image = Image.new("RGB", (size * count, size), f"#{shade[:6]}")
    for k in range(count):
        drawing = ImageDraw.Draw(image)
        words = f"SYNTHETIC\n{text}\n{k + 1}/{count}"
        drawing.text((size * k + 4, 4), words, fill="white", stroke_width=1, stroke_fill="black")
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


@cache
def video(encoder: str) -> bytes:
    frames = np.zeros((8, 96, 96, 3), np.uint8)
    for k in range(8):
        frames[k] = np.asarray(Image.open(io.BytesIO(picture(f"{encoder} {k}", 96, 1))))
    buffer = io.BytesIO()
    imageio.imwrite(buffer, frames, extension=".mp4", plugin="FFMPEG", fps=4, codec="libx264")
    return buffer.getvalue()


def sha(text: str) -> str:
    return hashlib.sha256(f"synthetic {text}".encode()).hexdigest()


if __name__ == "__main__":
    write_suite(Path(sys.argv[1]))
