"""Settings as users give them: ``--set KEY=VALUE``, and one line that explains what is wrong with a value."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from .errors import ConfigError
from .marks import OPTION, marked, part_of

ModelT = TypeVar("ModelT", bound=BaseModel)


def parse(model: type[ModelT], tree: dict[str, Any], overrides: Sequence[str] = ()) -> ModelT:
    """Return a configuration from a tree of settings and what overrides change in it.

    Args:
        model: the class of the configuration.
        tree: settings by key, groups of settings as trees of their own; changed in place.
        overrides: ``key.subkey=value`` with JSON values; a value that is no JSON is a string.

    Raises:
        ConfigError: an unknown key, or a value of the wrong type or range; the message is one line.
    """
    for override in overrides:
        _apply(tree, override, marked(model, OPTION))
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(_explain(error, model)) from None


def dotted_keys(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Return the keys that ``--set`` takes, such as ``learner.step_size``."""
    keys: list[str] = []
    for name, field in model.model_fields.items():
        part = part_of(field)
        keys += dotted_keys(part, f"{prefix}{name}.") if part else [f"{prefix}{name}"]
    own = marked(model, OPTION)
    return [key for key in keys if key not in own]


def nearest(wrong: str, right: Iterable[str], prefix: str = "") -> str:
    """Return ``did you mean 'X'?`` for a name that is nearly right, else the names that are."""
    names = list(right)
    if near := difflib.get_close_matches(wrong, names, n=1):
        return f"did you mean '{prefix}{near[0]}'?"
    return f"available: {', '.join(names)}"


def _apply(tree: dict[str, Any], override: str, options: set[str]) -> None:
    dotted, separator, text = override.partition("=")
    dotted = dotted.strip()
    if not separator or not dotted:
        raise ConfigError(f"--set {override}: expected KEY=VALUE, for example --set rollout.quality=paper")
    if dotted in options:
        raise ConfigError(f"--set {override}: give --{dotted} {text} instead")
    *path, last = dotted.split(".")
    node = tree
    for key in path:
        branch = node.setdefault(key, {})
        if not isinstance(branch, dict):
            raise ConfigError(f"--set {override}: '{key}' is a value, not a group of settings")
        node = branch
    try:
        node[last] = json.loads(text)
    except RecursionError:
        raise ConfigError(f"--set {override[:40]}...: nested too deep; expected KEY=VALUE") from None
    except ValueError:  # no JSON, or a number of thousands of digits
        node[last] = text


def _explain(error: ValidationError, model: type[BaseModel]) -> str:
    """Return the first complaint in one line, with the nearest key where the key is unknown."""
    first, *others = error.errors()
    dotted = ".".join(str(part) for part in first["loc"])
    more = f" (and {len(others)} more)" if others else ""
    if first["type"] == "extra_forbidden":
        return f"unknown setting '{_short(dotted)}': {_suggestion([*map(str, first['loc'])], model)}{more}"
    words = _in_words(first["type"], first.get("ctx", {}), dotted) or first["msg"].removeprefix("Value error, ")
    return f"setting '{dotted}': {words[0].lower()}{words[1:]}, got {_short(repr(first['input']))}{more}"


def _suggestion(path: list[str], model: type[BaseModel]) -> str:
    """Return what was probably meant by an unknown key: one of another group, or a similar one of the same group."""
    *groups, wrong = path
    if elsewhere := [key for key in dotted_keys(model) if key.rpartition(".")[2] == wrong]:
        return f"did you mean '{elsewhere[0]}'?"
    for group in groups:
        model = part_of(model.model_fields[group]) or model
    return nearest(wrong, model.model_fields, "".join(f"{group}." for group in groups))


def _in_words(kind: str, bounds: Mapping[str, Any], dotted: str) -> str:
    """Return what a setting should be, for the kinds of complaint whose own words are Python's; else nothing."""
    for start, words in {
        "int_": "should be a whole number",
        "float_": "should be a number",
        "finite_number": "should be a number",
        "bool_": "should be true or false",
        "tuple_type": "should be a list, such as [256, 256]",
        "model_": f"is a group of settings; give one of them, as {dotted}.NAME=VALUE",
        "dict_": f"is a group of settings; give one of them, as {dotted}.NAME=VALUE",
        "string_type": "should be a text",
    }.items():
        if kind.startswith(start):
            return words
    template = {
        "greater_than": "greater than {gt}",
        "greater_than_equal": "at least {ge}",
        "less_than": "less than {lt}",
        "less_than_equal": "at most {le}",
        "multiple_of": "a multiple of {multiple_of}",
        "literal_error": "{expected}",
    }.get(kind)
    return f"should be {template.format(**bounds)}" if template else ""


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:60]}... ({len(text):,} characters)"
