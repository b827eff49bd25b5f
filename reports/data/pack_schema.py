"""What every run in a pack of results has to say, as a JSON Schema of its ``runs.json``.

A report takes runs that say less, such as those from before ``encoder.json``; for results that others are to trust,
`bench results check` asks for all of this.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from benchmark.store.run_folder import CONFIG, ENCODER, IDENTITY, MACHINE

from .records import Card, Count, Record, Text, first_fault

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Evaluation(Record):
    episodes: Annotated[Count, Field(ge=1)]


class _Config(Record):
    """The resolved settings; more than these may be there."""

    preset: Text
    task: Text
    encoder: Text
    seed: Count
    objects: Text
    physics: Text
    evaluation: _Evaluation


class _DescribedEncoder(Record):
    weights: Text | None
    weights_sha256: Sha256 | None


class _Identity(Record):
    """The fields that determine the results."""

    results_version: Annotated[Count, Field(ge=1)]
    config: dict[str, Any]
    encoder: _DescribedEncoder
    demonstrations: Sha256
    device: Literal["cpu", "cuda"]


class _Weights(Record):
    kind: Text
    sha256: Sha256 | None
    label: Text


class _Encoder(Record):
    """The encoder: its weights, its Stage 2, its card (null for a class without one)."""

    title: Text
    weights: _Weights
    adaptation: dict[str, Any] | None
    card: Card | None


class _Machine(Record):
    version: Text
    python: Text
    platform: Text
    cpu: Text
    packages: dict[str, str]


class _Files(Record):
    """The JSON files of a run folder, by name."""

    config: _Config = Field(validation_alias=CONFIG, serialization_alias=CONFIG)
    identity: _Identity = Field(validation_alias=IDENTITY, serialization_alias=IDENTITY)
    encoder: _Encoder = Field(validation_alias=ENCODER, serialization_alias=ENCODER)
    machine: _Machine = Field(validation_alias=MACHINE, serialization_alias=MACHINE)


class _Run(Record):
    suite: Text
    task: Text
    encoder: Text
    seed: Count
    files: _Files
    sha256: dict[str, Sha256]


class _Runs(Record):
    """``runs.json`` of a pack of H-InDex Bench results."""

    runs: list[_Run]


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of ``runs.json``."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **_Runs.model_json_schema(by_alias=True)}


def fault_of(files: dict[str, Any]) -> str:
    """Return in what the JSON files of a run fall short of the schema, on one line; empty where in nothing."""
    try:
        _Files.model_validate(files)
    except ValidationError as error:
        return first_fault(error)
    return ""
