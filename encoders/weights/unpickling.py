"""An unpickler under which nothing runs: whatever a pickle names becomes a placeholder that only remembers.

No module is imported and no function or class of a pickle's choice is called. Names that only a hostile file would
hold are refused; others, such as the optimiser or the settings beside a network's tensors, stay inert. What a small
file can make it do is bounded by `encoders.weights.foreign_files`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import IO, Any

from ..errors import WeightsInvalid
from .foreign_files import BoundedUnpickler

_SHOWN = 160
_PYTHON_2 = {"__builtin__": "builtins", "copy_reg": "copyreg"}
_CONTAINERS: dict[str, type] = {
    "collections.OrderedDict": OrderedDict,
    "builtins.set": set,
    "builtins.frozenset": frozenset,
}
_INERT_BUILTINS = frozenset(
    {"bool", "bytes", "bytearray", "complex", "dict", "float", "getattr", "int", "list", "object", "slice", "str"}
    | {"tuple", "type", "range", "long", "unicode", "xrange", "NoneType", "NotImplementedType", "Ellipsis"}
)
_INERT = frozenset({"types.SimpleNamespace", "io.BytesIO"})
_REFUSED_PACKAGES = frozenset(
    {"asyncio", "bdb", "cProfile", "code", "codeop", "commands", "ctypes", "distutils", "doctest", "ensurepip"}
    | {"fileinput", "ftplib", "http", "idlelib", "imp", "importlib", "io", "lib2to3", "linecache", "marshal"}
    | {"multiprocessing", "nt", "ntpath", "os", "pdb", "pickle", "pip", "pkgutil", "platform", "popen2", "posix"}
    | {"posixpath", "profile", "pty", "pydoc", "requests", "runpy", "setuptools", "shelve", "shutil", "signal"}
    | {"site", "smtplib", "socket", "ssl", "subprocess", "sys", "tempfile", "threading", "timeit", "trace", "types"}
    | {"urllib", "venv", "webbrowser", "zipimport", "_io", "_pickle", "_posixsubprocess", "_socket", "cloudpickle"}
)
_REFUSED = frozenset(
    {"torch.load", "torch.hub.load", "torch.jit.load", "numpy.load", "operator.attrgetter", "operator.methodcaller"}
    | {"torch.hub.load_state_dict_from_url", "torch.utils.cpp_extension.load", "functools.reduce"}
    | {"torch.serialization.load", "numpy.testing._private.utils.runstring"}
)


MODULE = "module"
"""The state that a placeholder of a whole pickled `torch.nn.Module` keeps."""


class Opaque:
    """Stands for whatever a pickle names: a class, the result of calling it, an object of it. Does nothing.

    Attributes:
        origin: the name in the pickle, such as ``torch.optim.adam.Adam``.
        args: what the pickle called it with.
        state: what the pickle set on it.
    """

    __slots__ = ("args", "state")

    origin = ""
    args: tuple[Any, ...]
    state: Any

    def __new__(cls, *args: Any, **_: Any) -> Opaque:
        """Keep the arguments; nothing is called with them."""
        made = super().__new__(cls)
        made.args = args
        made.state = None
        return made

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        """Take no entry."""

    def append(self, value: Any) -> None:
        """Take no element."""

    def extend(self, values: Any) -> None:
        """Take no elements."""

    def add(self, value: Any) -> None:
        """Take no member."""

    def __repr__(self) -> str:
        return f"Opaque({self.origin})"


class Reader(BoundedUnpickler):
    """An unpickler that makes a placeholder of every name, refuses hostile ones, and imports nothing.

    Args:
        file: the pickle, seekable; it is left where the pickle ends.
        stored: what stands for a reference to data outside of the pickle, from the reference's parts; None refuses.
    """

    def __init__(self, file: IO[bytes], stored: Callable[[Any], Any] | None = None) -> None:
        super().__init__(file)
        self._stored = stored

    def find_class(self, module: str, name: str) -> type:
        """A standard container, or the placeholder of this name.

        Raises:
            WeightsInvalid: an honest checkpoint has no use for the name.
        """
        module = _PYTHON_2.get(module, module)
        full = f"{module}.{name}"
        if full in _CONTAINERS:
            return _CONTAINERS[full]
        strange = module == "builtins" and name not in _INERT_BUILTINS
        hostile = module.partition(".")[0] in _REFUSED_PACKAGES and full not in _INERT
        if strange or hostile or full in _REFUSED:
            raise WeightsInvalid(f"holds more than tensors and settings: it names {full[:_SHOWN]}, which is refused")
        kind: type[Opaque] = self.named(full, lambda: type("Opaque", (Opaque,), {"__slots__": (), "origin": full}))
        return kind

    def persistent_load(self, pid: Any) -> Any:
        """The storage that a reference means.

        Raises:
            WeightsInvalid: there is nothing outside of this pickle.
        """
        if self._stored is None:
            raise WeightsInvalid("holds more than tensors and settings: it refers to data outside of itself")
        return self._stored(pid)


def opaque(origin: str, state: Any = None) -> Opaque:
    """Return a placeholder of this name."""
    kind: type[Opaque] = type("Opaque", (Opaque,), {"__slots__": (), "origin": origin})
    made = kind()
    made.state = state
    return made
