"""The identity of a run: from what was loaded and rolled out or, for a finished run, before any of that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import encoders
import tasks
from tasks.rendering.qualities import Quality, version_entry

from .. import task_files
from ..config import RunConfig
from ..demonstrations import sources
from ..marks import IDENTITY, merged, newer_defaults, without
from ..store.provenance import RESULTS_VERSION
from .encoder import Plan
from .recorded import KnownRun, Recorded


def run_identity(config: RunConfig, *, encoder: Mapping[str, Any], demonstrations: str, device: str) -> dict[str, Any]:
    """Return everything that determines a run's results.

    Args:
        config: settled, see `benchmark.runner.context.settled_config`.
        encoder: what `encoders.Encoder.describe` returns.
        demonstrations: hash of their content.
        device: ``cpu`` or ``cuda``.
    """
    left_out = merged(without(RunConfig, IDENTITY), newer_defaults(config))
    return {
        "results_version": RESULTS_VERSION,
        "task_results_version": tasks.card(config.task).results_version_with(config.objects),
        **frames_version(config.rollout.quality, encoder),
        **task_files.identity(config.task),
        "config": config.model_dump(mode="json", exclude=left_out),
        "encoder": dict(encoder),
        "demonstrations": demonstrations,
        "device": device,
    }


def frames_version(quality: Quality, encoder: Mapping[str, Any]) -> dict[str, int]:
    """Return what an identity says of the version of the frames; nothing if the policy sees the state.

    Args:
        quality: of the frames.
        encoder: what `encoders.Encoder.describe` returns.
    """
    return version_entry(quality) if encoder.get("uses_images", True) else {}


def expected_identity(config: RunConfig, chosen: Plan, folder: KnownRun, begun: Recorded) -> dict[str, Any]:
    """Return the identity that a finished run has if it is the one that is asked for; nothing heavy is done for it.

    Class and weights of the encoder, settings, versions and files are looked at. What only work could tell is taken
    from the folder: the features' precision and backend, the result of Stage 2, and the episodes of an expert that is
    still the same.

    Args:
        config: settled.
        chosen: the encoder's plan, with the hash of its weights.
        folder: of the finished run, or the run in a pack.
        begun: what the machine decided when it was begun.

    Raises:
        FolderError: the folder is damaged.
        ConfigError, TaskError: the demonstrations that are asked for are missing or broken.
    """
    return run_identity(
        config,
        encoder=expected_encoder(chosen, folder.identity.get("encoder")),
        demonstrations=_demonstrations_hash(config, folder),
        device=begun.device or config.device.partition(":")[0],
    )


def expected_encoder(chosen: Plan, recorded: object) -> dict[str, Any]:
    """Return the part of an identity that describes the encoder, which is not loaded for it.

    Args:
        chosen: the encoder's plan, with the hash of its weights.
        recorded: that part of a finished folder's identity, for what only a loaded encoder could tell.
    """
    known = encoders.get(chosen.encoder).describe_unbuilt(chosen.origin)
    return {**(recorded if isinstance(recorded, dict) else {}), **known}


def _demonstrations_hash(config: RunConfig, folder: KnownRun) -> str:
    """Return the hash of the demonstrations that are asked for; an unchanged expert's are those of the folder."""
    if sources.locate(config.task, config.demonstrations) is None:
        experts_used = [
            row["demonstrations"].get("expert_sha256")
            for row in folder.metrics()
            if isinstance(row.get("demonstrations"), dict)
        ]
        if tasks.expert(config.task).sha256 in experts_used:
            return str(folder.identity.get("demonstrations"))
    options = config.demonstration_options(tasks.card(config.task))
    return sources.gather(config.task, config.demonstrations, options).content_hash
