"""The paper's ablations as lists of runs: which encoders, with which stages, on which tasks.

Source: H-InDex, Figures 5 to 9 and 12, Table 3.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from tasks.cards import GROUPS

from ..config import RunConfig, configure
from ..errors import ConfigError

MOMENTA = (0.0, 0.1, 0.01, 0.001)
SHIFTED_TASK = "relocate-potted_meat_can"


@dataclass(frozen=True)
class Variant:
    """An encoder and what is set differently for it: dotted settings, such as ``ema.momentum=0.0``."""

    encoder: str
    settings: tuple[str, ...] = ()
    options: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Ablation:
    """A question and the runs that answer it.

    Attributes:
        name: on the command line.
        question: in words.
        figures: of the paper.
        variants: compared with each other.
        tasks: by default; empty for all twelve.
        evaluate_backgrounds: whether the finished policies are also run under the shifted backgrounds.
    """

    name: str
    question: str
    figures: str
    variants: tuple[Variant, ...]
    tasks: tuple[str, ...] = ()
    evaluate_backgrounds: bool = False


_WITHOUT_STAGE_3 = ("ema.momentum=0.0",)
ABLATIONS = {
    ablation.name: ablation
    for ablation in (
        Ablation(
            "stages",
            "what each stage adds: ImageNet's weights, Stage 1, Stages 1 and 2, all three",
            "Figures 6a and 9",
            (Variant("rrl"), Variant("frankmocap_hand"), Variant("hindex", _WITHOUT_STAGE_3), Variant("hindex")),
        ),
        Ablation(
            "momentum",
            "how fast the statistics of Stage 3 should move",
            "Figure 6b",
            tuple(Variant("hindex", (f"ema.momentum={momentum}",)) for momentum in MOMENTA),
        ),
        Ablation(
            "adaptation",
            "what Stage 2 should change: nothing, BatchNorm's scales and offsets, everything",
            "Figures 6c, 7 and 8",
            (
                Variant("hindex", _WITHOUT_STAGE_3, (("adapt", "none"),)),
                Variant("hindex", _WITHOUT_STAGE_3),
                Variant("hindex", _WITHOUT_STAGE_3, (("adapt", "all"),)),
            ),
        ),
        Ablation(
            "vanilla",
            "other networks as they are: hands, bodies, videos, ImageNet; all ResNet-50",
            "Figure 5",
            tuple(
                Variant(name) for name in ("frankmocap_hand", "frankmocap_body", "alphapose", "r3m", "rrl", "hindex")
            ),
        ),
        Ablation(
            "background",
            "what is left when the table looks different",
            "Figure 12 and Table 3",
            (Variant("hindex"), Variant("vc1")),
            tasks=(SHIFTED_TASK,),
            evaluate_backgrounds=True,
        ),
    )
}


def ablation(name: str) -> Ablation:
    """Return the ablation of this name.

    Raises:
        ConfigError: no ablation has this name.
    """
    if name not in ABLATIONS:
        near = difflib.get_close_matches(name, ABLATIONS, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"available: {', '.join(ABLATIONS)}"
        raise ConfigError(f"unknown ablation '{name}': {hint}")
    return ABLATIONS[name]


def runs_of(
    chosen: Ablation,
    *,
    preset: str,
    task_names: Sequence[str] = (),
    seeds: Sequence[int] = (0,),
    overrides: Sequence[str] = (),
    **options: object,
) -> list[RunConfig]:
    """Return the configurations of an ablation's runs by task, then seed, so that each comparison is soon complete.

    Args:
        chosen: the ablation.
        preset: of all runs.
        task_names: instead of the ablation's own.
        seeds: of every variant.
        overrides: ``key=value`` settings of all runs.
        **options: fields of `RunConfig` for all runs.

    Raises:
        ConfigError: a setting is wrong.
    """
    names = list(task_names) or list(chosen.tasks or GROUPS["all"])
    return [
        configure(
            preset,
            [*overrides, *variant.settings],
            task=task,
            seed=seed,
            encoder=variant.encoder,
            **(options | dict(variant.options)),
        )
        for task in names
        for seed in seeds
        for variant in chosen.variants
    ]
