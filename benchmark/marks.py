"""Marks on the fields of settings: what a setting determines, and where it is given.

A field of a configuration says this once, as ``workers: Annotated[Processes, SPEED, OPTION]``. The identity of a run,
the name of its suite and the settings that ``--set`` refuses are derived from the marks.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic.fields import FieldInfo


class Mark(Enum):
    """What a setting determines (exactly one of the first three), and how it is used.

    Attributes:
        IDENTITY: it determines the results and is part of the identity.
        OUTCOME: what it leads to, such as the weights that were found, is part of the identity; the setting is not.
        SPEED: it changes no result, only the speed or what is kept beside the results.
        COMPARED: only results with the same value are comparable; another value is another suite.
        OPTION: the command line has an option for it, so ``--set`` refuses it.
        NEWER: runs from before it count as having its default, so while it has that, no identity mentions it.
    """

    IDENTITY = "identity"
    OUTCOME = "outcome"
    SPEED = "speed"
    COMPARED = "compared"
    OPTION = "option"
    NEWER = "newer"


IDENTITY, OUTCOME, SPEED, COMPARED, OPTION, NEWER = Mark


class Part(BaseModel):
    """A group of settings: frozen, and unknown keys are refused.

    Its fields have the marks of the group, except where they have marks of their own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)


class Configuration(Part):
    """All settings of one piece of work. Every field is marked.

    Raises:
        TypeError: when a subclass is defined, that a field is not marked with one of IDENTITY, OUTCOME and SPEED.
    """

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Check the marks."""
        super().__pydantic_init_subclass__(**kwargs)
        for name, field in cls.model_fields.items():
            if len(_marks(field) & {IDENTITY, OUTCOME, SPEED}) != 1:
                raise TypeError(
                    f"{cls.__name__}.{name} has no mark: annotate it with one of IDENTITY, OUTCOME and SPEED "
                    "(see benchmark/marks.py)"
                )


def marked(model: type[BaseModel], mark: Mark) -> set[str]:
    """Return the names of the fields with a mark."""
    return {name for name, field in model.model_fields.items() if mark in _marks(field)}


def without(model: type[BaseModel], mark: Mark) -> dict[str, Any]:
    """Return the fields that do not have a mark, at any depth, as ``model_dump(exclude=...)`` takes them."""
    excluded: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        marks, part = _marks(field), part_of(field)
        if marks and mark not in marks:
            excluded[name] = True
        elif part and (inner := without(part, mark)):
            excluded[name] = inner
    return excluded


def newer_defaults(model: BaseModel) -> dict[str, Any]:
    """Return the NEWER fields that have their defaults, at any depth, as ``model_dump(exclude=...)`` takes them."""
    excluded: dict[str, Any] = {}
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if NEWER in _marks(field) and value == field.default:
            excluded[name] = True
        elif isinstance(value, BaseModel) and (inner := newer_defaults(value)):
            excluded[name] = inner
    return excluded


def merged(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Return what either of two exclusions leaves out."""
    both = {**one, **other}
    for name in one.keys() & other.keys():
        if isinstance(one[name], dict) and isinstance(other[name], dict):
            both[name] = merged(one[name], other[name])
        else:
            both[name] = True
    return both


def part_of(field: FieldInfo) -> type[BaseModel] | None:
    """Return the model of a field that is a group of settings, or None."""
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _marks(field: FieldInfo) -> set[Mark]:
    return {each for each in field.metadata if isinstance(each, Mark)}
