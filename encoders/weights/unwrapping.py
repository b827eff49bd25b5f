"""Find the tensors of a network in a checkpoint: at the top level, in containers, or behind prefixes.

Training code wraps what it saves: DataParallel puts ``module.`` before every name, `torch.compile` ``_orig_mod.``,
Lightning ``model.``; others put the tensors beside an optimiser, in ``{"state_dict": ...}`` or ``{"model": ...}``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from .pickles import MODULE
from .unpickling import Placeholder

_DEEPEST = 2
_MOST_PLACES = 32
_MOST_PREFIXES = 8
_SHOWN = 3
_AVERAGES_COUNTER = "n_averaged"
"""What `torch.optim.swa_utils.AveragedModel` keeps beside its ``module.``."""


@dataclass(frozen=True)
class Candidate:
    """Named tensors at some place of a checkpoint, which may be the network's.

    Attributes:
        place: the keys that lead to them; empty for the top level.
        prefix: removed from the start of every name.
        entries: the tensors by the rest of their names.
    """

    place: tuple[str, ...]
    prefix: str
    entries: Mapping[object, object]

    @property
    def where(self) -> str:
        """Describe place and prefix, with a leading space; empty for the top level without a prefix."""
        inside = f" in {shown(self.place)}" if self.place else ""
        return inside + (f" without '{self.prefix}'" if self.prefix else "")


def unwrapped(content: Mapping[object, object]) -> Iterator[Candidate]:
    """Yield what may be a network's tensors: outer containers first, in each the full names first."""
    places: list[tuple[tuple[str, ...], Mapping[object, object]]] = [((), content)]
    for place, entries in places:  # which grows meanwhile
        if any(isinstance(name, str) and isinstance(value, (Tensor, np.ndarray)) for name, value in entries.items()):
            yield from _without_prefixes(place, entries)
        for name, inside in entries.items():
            if isinstance(name, str) and isinstance(inside, Mapping) and len(place) < _DEEPEST:
                if len(places) == _MOST_PLACES:
                    break
                places.append(((*place, name), inside))


def _without_prefixes(place: tuple[str, ...], entries: Mapping[object, object]) -> Iterator[Candidate]:
    """Yield the full names, then without the prefixes that all names share."""
    prefix = ""
    yield Candidate(place, prefix, entries)
    entries = {name: value for name, value in entries.items() if name != _AVERAGES_COUNTER}
    for _ in range(_MOST_PREFIXES):
        starts = {name.partition(".")[0] if isinstance(name, str) and "." in name else None for name in entries}
        start = starts.pop() if len(starts) == 1 else None
        if start is None:
            return
        entries = {str(name).removeprefix(f"{start}."): value for name, value in entries.items()}
        prefix += f"{start}."
        yield Candidate(place, prefix, entries)


def behind_prefixes(found: Candidate, name: str) -> Iterator[Candidate]:
    """Yield the tensors behind prefixes that only some names have.

    Args:
        found: all tensors.
        name: of a tensor of the network.
    """
    ending = f".{name}"
    prefixes = [str(one).removesuffix(name) for one in found.entries if isinstance(one, str) and one.endswith(ending)]
    for prefix in prefixes[:_MOST_PREFIXES]:
        part: dict[object, object] = {
            str(one).removeprefix(prefix): value for one, value in found.entries.items() if str(one).startswith(prefix)
        }
        yield Candidate(found.place, found.prefix + prefix, part)


def pickled_modules(content: Mapping[object, object]) -> list[tuple[str, Placeholder]]:
    """Return the entries of a checkpoint that are whole pickled modules, with their names."""
    return [
        (str(name), value)
        for name, value in content.items()
        if isinstance(value, Placeholder) and value.state == MODULE
    ]


# What to tell the user.


def whole_module(module: Placeholder, file: str, place: tuple[str, ...] = ()) -> str:
    """Explain how to get the tensors of a whole pickled module."""
    return (
        f"holds a whole pickled object ({module.origin[:80]}){f' in {shown(place)}' if place else ''} and not named "
        "tensors; where its code can be imported and you trust it, run in Python: "
        f"torch.save(torch.load('{file}', weights_only=False){_keys(place)}.state_dict(), 'tensors.pth')"
    )


def several(fitting: list[Candidate], network: str, file: str) -> str:
    """Explain that several parts of a checkpoint fit, and how to choose one."""
    places = ", ".join(f"'{'.'.join(found.place)}'" if found.place else "the file itself" for found in fitting)
    return f"holds {network} {len(fitting)} times, with other numbers: in {places}; save the one you mean: " + (
        f"torch.save(torch.load('{file}'){_keys(fitting[-1].place)}, 'tensors.pth')"
    )


def one_part(parts: list[Candidate], network: str, file: str) -> str:
    """Explain that only a part of the tensors fits, and how to extract it."""
    prefixes = " and ".join(f"'{found.prefix}'" for found in parts)
    prefix = parts[0].prefix
    return (
        f"has {network} behind {prefixes}{f' in {shown(parts[0].place)}' if parts[0].place else ''} and more tensors "
        f"beside it; keep {'the one you mean' if len(parts) > 1 else 'it alone'}: torch.save({{name[{len(prefix)}:]: t "
        f"for name, t in torch.load('{file}'){_keys(parts[0].place)}.items() if name.startswith('{prefix}')}}, "
        "'tensors.pth')"
    )


def shown(place: tuple[str, ...]) -> str:
    """Return the keys of a place in a message."""
    return "'" + ".".join(key[:40] for key in place) + "'"


def _keys(place: tuple[str, ...]) -> str:
    return "".join(f"['{key[:40]}']" for key in place)
