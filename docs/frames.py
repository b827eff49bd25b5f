"""Draw every task of the paper in every quality, and measure what a frame costs: ``python docs/frames.py``.

It writes ``qualities.jpg`` beside it, the picture of a few tasks that the report's page shows, and to standard output
the table of ``docs/validation.md``. Costs are processor time of the whole process, all threads, the least of many
rounds in which the qualities take turns: other work on the machine only ever adds to it.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from skimage.metrics import structural_similarity

import tasks
from tasks import experts
from tasks.base import Task
from tasks.cards import GROUPS
from tasks.engine import mujoco
from tasks.rendering.qualities import DRAWINGS
from tasks.rendering.render import Frame, Renderer

PICTURE = Path(__file__).resolve().with_name("qualities.jpg")
PAGE_PICTURE = Path(__file__).resolve().parents[1] / "reports" / "page" / "assets" / "qualities.jpg"
PAGE_TASKS = ("hammer", "door", "pen", "pour", "relocate-mug", "relocate-sugar_box")
STATES = (0, 20, 40)
"""Steps of the expert after which a frame is compared and timed."""
PICTURED = 40
ROUNDS, REPEATS = 12, 3

SIDE, GAP, LABEL, COLUMNS = 176, 4, 20, 2
JPEG_QUALITY = 86

Frames = Mapping[str, list[Frame]]


def main() -> None:
    """Write the picture and the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", nargs="*", default=GROUPS["all"], help="only these")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of the timing")
    parser.add_argument("--picture", type=Path, default=PICTURE, help="where the picture of all of them goes")
    parser.add_argument("--page-picture", type=Path, default=PAGE_PICTURE, help="where the report's goes")
    chosen = parser.parse_args()
    os.environ.setdefault("LP_NUM_THREADS", "1")  # of Mesa's software driver, as in the workers
    frames = {}
    heading = ["task", *(f"{quality}, ms" for quality in DRAWINGS), *(f"{quality}, SSIM" for quality in others())]
    sys.stdout.write(f"| {' | '.join(heading)} |\n{'|---' * len(heading)}|\n")
    for name in chosen.task:
        frames[name], costs = look(name, chosen.rounds)
        likeness = [f"{similarity(frames[name], quality):.3f}" for quality in others()]
        row = [name, *(f"{costs[quality]:.1f}" for quality in DRAWINGS), *likeness]
        sys.stdout.write(f"| {' | '.join(row)} |\n")
        sys.stdout.flush()
    some = {name: drawn for name, drawn in frames.items() if name in PAGE_TASKS} or frames
    for path, shown in ((chosen.picture, frames), (chosen.page_picture, some)):
        side_by_side(shown).save(path, quality=JPEG_QUALITY, optimize=True, progressive=True)


def others() -> list[str]:
    """Return the qualities besides the paper's."""
    return [quality for quality in DRAWINGS if quality != "paper"]


def look(name: str, rounds: int) -> tuple[Frames, dict[str, float]]:
    """Return a task's frames in each quality at `STATES`, and the milliseconds of processor time that one costs."""
    task = tasks.make(name)
    data = [state(task, steps) for steps in STATES]
    with ExitStack() as stack:
        renderers = {
            quality: stack.enter_context(Renderer(task.model, task.card.camera, quality))  # type: ignore[arg-type]
            for quality in DRAWINGS
        }
        frames = {quality: [renderer.render(one) for one in data] for quality, renderer in renderers.items()}
        costs = dict.fromkeys(DRAWINGS, np.inf)
        for _ in range(rounds):
            for quality, renderer in renderers.items():
                renderer.render(data[0])
                began = time.process_time()
                for one in data * REPEATS:
                    renderer.render(one)
                spent = 1e3 * (time.process_time() - began) / (len(data) * REPEATS)
                costs[quality] = min(costs[quality], spent)
    return frames, costs


def state(task: Task, steps: int) -> mujoco.MjData:
    """Return the simulation after so many steps of the task's expert."""
    expert = experts.shipped(task.card.name)
    reading = task.reset([0])
    for _ in range(steps):
        reading = task.step(expert.mean(reading.observation))
    data = mujoco.MjData(task.model)
    task.load_data(0, data)
    return data


def similarity(frames: Frames, quality: str) -> float:
    """Return the mean structural similarity of a quality's frames to the paper's."""
    pairs = zip(frames[quality], frames["paper"], strict=True)
    return float(np.mean([structural_similarity(left, right, channel_axis=2) for left, right in pairs]))


def side_by_side(frames: Mapping[str, Frames]) -> Image.Image:
    """Return one picture: a row per task, a column per quality, in two halves."""
    count = len(DRAWINGS)
    rows = -(-len(frames) // COLUMNS)
    half = count * (SIDE + GAP) + GAP
    sheet = Image.new("RGB", (COLUMNS * half - GAP, rows * (SIDE + LABEL + GAP)), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for number, (name, drawn) in enumerate(frames.items()):
        left, top = number // rows * half, number % rows * (SIDE + LABEL + GAP)
        for column, quality in enumerate(DRAWINGS):
            x = left + column * (SIDE + GAP)
            pen.text((x + 2, top + 2), f"{name.removeprefix('relocate-')} · {quality}", "black", font)
            frame = Image.fromarray(drawn[quality][STATES.index(PICTURED)])
            sheet.paste(frame.resize((SIDE, SIDE), Image.Resampling.LANCZOS), (x, top + LABEL))
    return sheet


if __name__ == "__main__":
    main()
