"""How far a suite is from the paper: its settings beside the paper's, from the runs' own records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from benchmark.config import configure
from benchmark.presets import PROTOCOLS
from tasks.cards import CARDS, GROUPS

from .collect import Suite

if TYPE_CHECKING:
    import pandas

FIRST_LOOK = (
    "This is a first look, not a result: few demonstrations are cloned, and an evaluation has few episodes. "
    "`--preset small` shows learning; `--preset paper` has the paper's settings."
)
SMALL = (
    "These runs are scaled down from the paper's so that one workstation makes them in an afternoon: learning is "
    "visible, the numbers are not the paper's."
)

PROTOCOL = (
    "These policies clone demonstrations and are not improved by DAPG: they compare encoders by few-shot imitation, "
    "and are not the paper's numbers."
)

_SETTINGS: Mapping[str, str] = {
    "learner.algorithm": "learner",
    "learner.bc_epochs": "epochs of cloning",
    "policy.head": "head of the policy",
    "observation.history": "frames that a policy sees",
    "observation.fusion": "fusion of their features",
    "learner.iterations": "DAPG iterations",
    "learner.trajectories_per_iteration": "trajectories an iteration",
    "demonstrations.episodes": "demonstrations",
    "rollout.horizon": "steps of an episode",
    "evaluation.episodes": "episodes of an evaluation",
    "evaluation.seeds": "initial states of evaluations",
    "evaluation.held_out_episodes": "held-out episodes that judge a policy",
    "rollout.quality": "rendering",
    "demonstrations.source": "source of demonstrations",
    "demonstrations.scene": "scene of demonstrations",
    "demonstrations.until": "demonstrations act until",
    "objects": "objects",
    "physics": "physics",
}
"""Settings by their dotted name: what they are called here."""


def scaled_down(suite: Suite) -> str:
    """Return what a reader has to know of the suite's scale, in words; empty for the paper's own settings."""
    words = {"quickstart": FIRST_LOOK, "small": SMALL} | dict.fromkeys(PROTOCOLS, PROTOCOL)
    return words.get(suite.preset, "")


def settings_table(suite: Suite) -> pandas.DataFrame:
    """Return settings of this suite's runs beside the paper's on the same tasks, a row each; ranges where tasks differ.

    Columns: ``setting``, ``here``, ``paper``.
    """
    import pandas

    runs = [run for run in suite.runs.to_dict("records") if run["config"]]
    paper = [_paper(task) for task in sorted({str(run["task"]) for run in runs}) if task in GROUPS["all"]]
    rows = []
    for dotted, name in _SETTINGS.items():
        here = _span(_value(run["config"], dotted) for run in runs if _counts(dotted, run["config"]))
        if here:
            rows.append({"setting": name, "here": here, "paper": _span(_value(config, dotted) for config in paper)})
    return pandas.DataFrame(rows, columns=["setting", "here", "paper"])


def _paper(task: str) -> dict[str, Any]:
    """Return the paper's settings of a task, with every number filled in."""
    return configure("paper", task=task, encoder="rrl").resolve(CARDS[task]).model_dump(mode="json")


def _counts(dotted: str, config: Mapping[str, Any]) -> bool:
    """Return whether a setting has a meaning in a run: one that clones alone samples no trajectories."""
    return dotted != "learner.trajectories_per_iteration" or _value(config, "learner.algorithm") != "bc"


def _value(config: Mapping[str, Any], dotted: str) -> Any:
    value: Any = config
    for key in dotted.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _span(values: Iterable[Any]) -> str:
    found = {value for value in values if value is not None and not isinstance(value, (dict, list))}
    if not found:
        return ""
    if all(isinstance(value, (int, float)) for value in found):
        low, high = min(found), max(found)
        return f"{low:g}" if low == high else f"{low:g} to {high:g}"
    return ", ".join(sorted(map(str, found)))
