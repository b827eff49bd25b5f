"""Pictures of a task: the film strip of an episode, the contact sheet of its backgrounds, and a live view.

Source: the strip follows figure 3 of the paper; the looks on the sheet are those of its table 3.
"""

from __future__ import annotations

import io
import itertools
import os
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

import tasks
from tasks.base import Task
from tasks.cards import TaskCard
from tasks.demonstrations.dataset import Episode
from tasks.demonstrations.rollout import collect
from tasks.engine import mujoco
from tasks.experts import Actor
from tasks.rendering.qualities import Quality
from tasks.rendering.render import Frame, Renderer
from tasks.scene.backgrounds import BACKGROUNDS, Background

from ..errors import GraphicsError
from ..store.video import FRAMES_PER_SECOND

ATTEMPTS = 5
SHEET_COLUMNS = 4

Colour = tuple[int, int, int]
PAPER: Colour = (255, 255, 255)
INK: Colour = (24, 24, 27)
GREY: Colour = (108, 108, 115)
GREEN: Colour = (8, 122, 74)
RED: Colour = (176, 48, 38)

TITLE_SIZE, TEXT_SIZE, LABEL_SIZE = 22, 16, 15
LINE_SPACING = 1.4
MARGIN, GUTTER, LABEL_HEIGHT = 8, 6, 24
DOTS_PER_INCH = 200

VIEWER_LACKS = "no window for the viewer ({reason}); run it on a desktop, or leave --interactive out for a picture"


class Text(NamedTuple):
    """A text in one size and colour.

    Attributes:
        words: lines break between any two of them.
        size: of the letters, in pixels.
        colour: red, green and blue.
        gap: room after the words, in pixels.
    """

    words: str
    size: int = TEXT_SIZE
    colour: Colour = GREY
    gap: int = 0


@dataclass(frozen=True, eq=False)
class Film:
    """Some frames of one episode, and how the whole episode went.

    Attributes:
        frames: (224, 224, 3) uint8 each, evenly spaced from the first state to the success, or else to the last state.
        steps: control steps taken before each frame.
        goals: whether the step before each frame reached the goal.
        length: control steps of the episode.
        total_reward: undiscounted return.
        succeeded: control steps after which the episode met its task's rule; None where it did not.
    """

    frames: tuple[Frame, ...]
    steps: tuple[int, ...]
    goals: tuple[bool, ...]
    length: int
    total_reward: float
    succeeded: int | None


def expert_episode(task: Task, expert: Actor, seed: int) -> Episode:
    """Return the expert's first success from the seeds ``seed``, ``seed + 1``, ...; after five, its best failure."""
    failures = []
    for number in range(seed, seed + ATTEMPTS):
        found = collect(task, expert, episodes=1, first_seed=number, stochastic=False, successful_only=False)
        episode = found.episodes[0]
        if episode.success:
            return episode
        failures.append(episode)
    return max(failures, key=lambda episode: episode.total_reward)


def film(
    task: Task, initial_state: Mapping[str, npt.ArrayLike], actions: npt.ArrayLike, count: int, quality: Quality
) -> Film:
    """Take actions in slot 0 and draw frames through the task's camera.

    What follows a success shows little that is new, so the frames end with it; the episode does not.

    Args:
        task: where to act.
        initial_state: as `tasks.base.Task.initial_state` gives it.
        actions: (T, action_dim); the episode is shorter where it terminates early.
        count: number of frames.
        quality: of the frames.

    Raises:
        RenderError: no frame can be drawn here.
    """
    task.restore([initial_state], [0])
    states, goals, total = [task.get_state([0])], [False], 0.0
    for action in np.asarray(actions):
        reading = task.step(action[None], [0])
        states.append(task.get_state([0]))
        goals.append(bool(reading.goal[0]))
        total += float(reading.reward[0])
        if reading.terminated[0]:
            break
    met = np.flatnonzero(np.cumsum(goals) >= task.card.goal_steps)
    succeeded = int(met[0]) if len(met) else None
    last = len(states) - 1 if succeeded is None else succeeded
    steps = np.linspace(0, last, count).round().astype(int).tolist()
    data = mujoco.MjData(task.model)
    frames = []
    with Renderer(task.model, task.card.camera, quality) as renderer:
        for step in steps:
            task.set_state(states[step], [0])
            task.load_data(0, data)
            frames.append(renderer.render(data))
    shown = tuple(goals[step] for step in steps)
    return Film(tuple(frames), tuple(steps), shown, len(states) - 1, total, succeeded)


def background_frames(name: str, seed: int, quality: Quality, **options: Any) -> list[Frame]:
    """Return one initial state under every background, in their order.

    Args:
        name: of the task.
        seed: of the reset, the same for all.
        quality: of the frames.
        **options: of the task, without its background.
    """
    frames = []
    for look in BACKGROUNDS:
        task = tasks.make(name, background=look.number, **options)
        task.reset([seed])
        data = mujoco.MjData(task.model)
        task.load_data(0, data)
        with Renderer(task.model, task.card.camera, quality) as renderer:
            frames.append(renderer.render(data))
    return frames


def strip(shown: Film, title: str, details: Sequence[str], verdict: str = "") -> Frame:
    """Return a film's frames side by side above one caption.

    Args:
        shown: the film.
        title: the task's name.
        details: what stands after it in grey.
        verdict: what stands at the end in the colour of success or failure.

    Returns:
        (height, width, 3) uint8.
    """
    labels = [
        Text(f"step {step} · goal" if goal else f"step {step}", LABEL_SIZE, GREEN if goal else GREY)
        for step, goal in zip(shown.steps, shown.goals, strict=True)
    ]
    grey = " · ".join([*details, ""] if verdict else details)
    colour = RED if shown.succeeded is None else GREEN
    line = [Text(title, TITLE_SIZE, INK, gap=8), Text(grey), Text(verdict, TEXT_SIZE, colour)]
    tiles = mosaic(shown.frames, labels, len(shown.frames))
    width = tiles.shape[1]
    height = MARGIN + _write(_ruler(), [line], (0, 0), width - 2 * MARGIN)
    picture = Image.new("RGB", (width, tiles.shape[0] + height), PAPER)
    picture.paste(Image.fromarray(tiles))
    _write(ImageDraw.Draw(picture), [line], (MARGIN, tiles.shape[0]), width - 2 * MARGIN)
    return np.asarray(picture)


def contact_sheet(frames: Sequence[Frame], card: TaskCard, details: Sequence[str]) -> Frame:
    """Return the frames of `background_frames`, each with its background's number and name.

    The caption, a title and a line for each of the details, fills the cell that is left free.

    Returns:
        (height, width, 3) uint8.
    """
    labels = [Text(f"{look.number} · {look_name(card, look)}", LABEL_SIZE, INK) for look in BACKGROUNDS]
    picture = Image.fromarray(mosaic(frames, labels, SHEET_COLUMNS))
    row, column = divmod(len(frames), SHEET_COLUMNS)
    size = frames[0].shape[0]
    corner = (MARGIN + column * (size + GUTTER) + 2 * GUTTER, MARGIN + row * (size + LABEL_HEIGHT + GUTTER))
    caption = [[Text(card.name, TITLE_SIZE, INK)], *([Text(detail)] for detail in details)]
    _write(ImageDraw.Draw(picture), caption, corner, size - 2 * GUTTER)
    return np.asarray(picture)


def look_name(card: TaskCard, look: Background) -> str:
    """Return the name of a background in a task, which may have a training scene of its own."""
    return look.name if look.number else f"{card.training_background or look.name} (training)"


def mosaic(frames: Sequence[Frame], labels: Sequence[Text], columns: int) -> Frame:
    """Equal square frames in rows, on white, a label under each: (height, width, 3) uint8."""
    size = frames[0].shape[0]
    rows = -(-len(frames) // columns)
    width = 2 * MARGIN + columns * size + (columns - 1) * GUTTER
    height = MARGIN + rows * (size + LABEL_HEIGHT) + (rows - 1) * GUTTER
    picture = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(picture)
    for index, (frame, label) in enumerate(zip(frames, labels, strict=True)):
        row, column = divmod(index, columns)
        left, top = MARGIN + column * (size + GUTTER), MARGIN + row * (size + LABEL_HEIGHT + GUTTER)
        picture.paste(Image.fromarray(frame), (left, top))
        # A pale scene would fade into the paper without an edge.
        draw.rectangle((left, top, left + size - 1, top + size - 1), outline=(214, 214, 219))
        centre = (left + size // 2, top + size + LABEL_HEIGHT // 2)
        draw.text(centre, label.words, font=_font(label.size), fill=label.colour, anchor="mm")
    return np.asarray(picture)


def png(picture: Frame, description: str) -> bytes:
    """Return a PNG whose metadata says what it shows."""
    about = PngInfo()
    about.add_itxt("Description", description)
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", pnginfo=about, dpi=(DOTS_PER_INCH, DOTS_PER_INCH), optimize=True)
    return buffer.getvalue()


def require_display() -> None:
    """Check that a window can be opened; MuJoCo's viewer would hang otherwise.

    Raises:
        GraphicsError: there is no display, or no OpenGL window on it.
    """
    if not sys.platform.startswith("linux"):
        return
    if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise GraphicsError(VIEWER_LACKS.format(reason="neither DISPLAY nor WAYLAND_DISPLAY is set"))
    import glfw

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        window = None
        if glfw.init():
            glfw.window_hint(glfw.VISIBLE, glfw.FALSE)
            window = glfw.create_window(64, 64, "", None, None)
        said: Any = glfw.get_error()[1] or "GLFW opens none"  # typed as str, but bytes
    if not window:
        raise GraphicsError(VIEWER_LACKS.format(reason=said.decode() if isinstance(said, bytes) else said))
    glfw.destroy_window(window)
    glfw.default_window_hints()


def watch(task: Task, expert: Actor | None, seed: int) -> None:
    """Play the expert, or the resting scene, in MuJoCo's viewer until its window is closed.

    Episode k starts from the reset seed ``seed + k`` and plays at the speed of our films, a quarter of real time.

    Raises:
        GraphicsError: the viewer cannot open a window.
    """
    require_display()
    import mujoco.viewer

    data = mujoco.MjData(task.model)
    task.reset([seed])
    task.load_data(0, data)
    try:
        viewer = mujoco.viewer.launch_passive(task.model, data, show_left_ui=False, show_right_ui=False)
    except (RuntimeError, mujoco.FatalError) as error:  # on a Mac: Python has to be started as mjpython
        raise GraphicsError(VIEWER_LACKS.format(reason=error)) from error
    with viewer:
        with viewer.lock():
            viewer.cam.type = mujoco.mjtCamera.mjCAMERA_FIXED
            viewer.cam.fixedcamid = task.model.camera(task.card.camera).id
        for number in itertools.count(seed):
            observation = task.reset([number]).observation
            for _ in range(task.card.horizon):
                began = time.monotonic()
                if not viewer.is_running():
                    return
                with viewer.lock():
                    task.load_data(0, data)
                viewer.sync()
                action = np.zeros((1, task.card.action_dim)) if expert is None else expert.mean(observation)
                reading = task.step(action)
                observation = reading.observation
                if reading.terminated[0]:
                    break
                time.sleep(max(0.0, 1 / FRAMES_PER_SECOND - (time.monotonic() - began)))


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _ruler() -> ImageDraw.ImageDraw:
    """Return a canvas to measure text with."""
    return ImageDraw.Draw(Image.new("RGB", (1, 1)))


def _write(draw: ImageDraw.ImageDraw, paragraphs: Sequence[Sequence[Text]], corner: tuple[int, int], width: int) -> int:
    """Draw paragraphs, broken into lines that fit the width (pixels); returns their height."""
    left, y = corner
    for paragraph in paragraphs:
        height = round(LINE_SPACING * max(text.size for text in paragraph))
        x: float = left
        y += height
        for text in paragraph:
            font = _font(text.size)
            space = text.size / 4
            for word in text.words.split():
                advance = draw.textlength(word, font=font)
                if x > left and x + advance > left + width:
                    x, y = left, y + round(LINE_SPACING * text.size)
                draw.text((x, y - height // 4), word, font=font, fill=text.colour, anchor="ls")
                x += advance + space
            x += text.gap
    return y - corner[1]
