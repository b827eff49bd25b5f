"""Pickles that run something, or take long or much, for the tests of every reader of pickles."""

import builtins
import io
import os
import pickle
import shutil
import struct
import subprocess
import zipfile

import numpy as np


class Runs:
    """Pickles as a call."""

    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


def text(value):
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def name(full):
    module, _, attribute = full.rpartition(".")
    return f"c{module}\n{attribute}\n".encode()


def calls(probe):
    """Pickles that would make a file ``probe``, by every way there is to call something."""
    command, code = f"touch {probe}", f"open({str(probe)!r}, 'w').close()"
    argument, proto = text(command), b"\x80\x02"
    return {
        "reduce": proto + name("os.system") + argument + b"\x85R.",
        "reduce, posix": proto + name("posix.system") + argument + b"\x85R.",
        "stack global": b"\x80\x04\x8c\x02os\x8c\x06system\x93" + argument + b"\x85R.",
        "inst": b"(S'" + command.encode() + b"'\nios\nsystem\n.",
        "obj": proto + b"(" + name("os.system") + argument + b"o.",
        "newobj": proto + name("subprocess.Popen") + argument + b"\x85\x81.",
        "newobj ex": b"\x80\x04\x8c\x0asubprocess\x8c\x05Popen\x93" + argument + b"\x85}\x92.",
        "memo": proto + name("os.system") + b"q\x000" + argument + b"\x85q\x010h\x00h\x01R.",
        "eval": proto + name("__builtin__.eval") + text(f"__import__('os').system({command!r})") + b"\x85R.",
        "exec": proto + name("builtins.exec") + text(code) + b"\x85R.",
        "exec, protocol 0": pickle.dumps(Runs(exec, code), 0),
        "python 2": b"c__builtin__\nexecfile\n(S'x'\ntR.",
        "open": pickle.dumps(Runs(open, str(probe), "w")),
        "copyfile": pickle.dumps(Runs(shutil.copyfile, "/etc/hostname", str(probe))),
        "subprocess": pickle.dumps(Runs(subprocess.call, ["touch", str(probe)])),
        "pickle in pickle": pickle.dumps(Runs(pickle.loads, pickle.dumps(Runs(os.system, command)))),
        "beside arrays": pickle.dumps({"actions": np.zeros(3), "x": Runs(os.system, command)}),
        "in an object array": pickle.dumps(np.array([Runs(os.system, command)], dtype=object)),
        "getattr chain": pickle.dumps(Runs(getattr, Runs(builtins.__import__, "os"), "system")),
        "getattr": proto + name("__builtin__.getattr") + name("os.system") + text("__call__") + b"\x86R.",
        "inert getattr": (
            proto + name("__builtin__.getattr") + name("torch.os") + text("system") + b"\x86R" + argument + b"\x85R."
        ),
        "dotted name": b"\x80\x04\x8c\x05torch\x8c\x09os.system\x93" + argument + b"\x85R.",
        "dotted module": proto + name("torch.os.system") + argument + b"\x85R.",
        "dotted numpy": b"\x80\x04\x8c\x05numpy\x8c\x0bf2py.os.sys\x93.",
        "runpy": proto + name("runpy._run_code") + argument + b"\x85R.",
        "numpy": proto + name("numpy.testing._private.utils.runstring") + text(code) + b"}\x86R.",
        "build on a class": proto + name("collections.OrderedDict") + b"}" + text("x") + argument + b"sb.",
        "build": proto + name("collections.OrderedDict") + b")R}" + text("__reduce__") + name("os.system") + b"sb.",
        "slots": proto + name("torch._utils._rebuild_tensor_v2") + b"N}" + text("__code__") + argument + b"s\x86b)R.",
        "torch.load": proto + name("torch.load") + argument + b"\x85R.",
        "hub": proto + name("torch.hub.load") + argument + b"\x85R.",
        "model zoo": proto + name("torch.utils.model_zoo.load_url") + argument + b"\x85R.",
    }


INERT = {"dotted name", "dotted module", "dotted numpy", "slots", "inert getattr", "model zoo", "in an object array"}
"""The ways that mean nothing to a reader of checkpoints, which leaves a placeholder."""


def nested(payload):
    """The same pickle as the value of a state dict's key."""
    head = payload[:2] if payload[:1] == b"\x80" else b""
    return head + b"}" + text("state_dict") + b"}" + text("conv1.weight") + payload[len(head) : -1] + b"ss."


PAIRS = b")" + 40 * b"2\x86"
"""A tuple of pairs of pairs: 40 objects, 2 ** 40 when written out."""

COLLIDING = b"".join(b"\x8a\x0a" + ((2**61 - 1) * i).to_bytes(10, "little") for i in range(1, 40_001))
PAIR = b"J" + struct.pack("<i", 0) + b"K\x01\x86"

COSTLY = {
    "a key of nested pairs": b"}" + PAIRS + b"K\x01s.",
    "several keys of nested pairs": b"}(" + PAIRS + b"K\x01u.",
    "a dictionary at once": b"(" + PAIRS + b"K\x01d.",
    "a member of a set": b"\x8f(" + PAIRS + b"\x90.",
    "a member of a frozen set": b"(" + PAIRS + b"\x91.",
    "a set by a call": name("__builtin__.set") + b"]" + PAIRS + b"a\x85R.",
    "a frozen set by a call": name("__builtin__.frozenset") + PAIRS + b"\x85\x85R.",
    "a set as an object": b"(" + name("__builtin__.set") + b"]" + PAIRS + b"ao.",
    "a set as an instance": b"(]" + PAIRS + b"ai__builtin__\nset\n.",
    "a frozen set made new": name("__builtin__.frozenset") + PAIRS + b"\x85\x85\x81.",
    "an ordered dictionary": name("collections.OrderedDict") + b"]" + PAIRS + b"K\x01\x86a\x85R.",
    "a key inside of a parameter": b"}" + name("torch.nn.parameter.Parameter") + PAIRS + b"\x85RK\x01s.",
    "an array of a type that takes long to print": name("numpy.dtype") + PAIRS + b"\x85R.",
    "a deep key": b"}N" + 100_000 * b"\x85" + b"K\x01s.",
    "deep tuples": b"N" + 100_000 * b"\x85" + b".",
    "deep lists": 100_000 * b"]" + 99_999 * b"a" + b".",
    "lists of the same lists": b"]" + b"".join(b"q\x00]h\x00ah\x00a" for _ in range(40)) + b".",
    "keys that collide": b"}(" + COLLIDING.replace(b"\x8a\x0a", b"K\x01\x8a\x0a") + b"K\x01u.",
    "members that collide": b"\x8f(" + COLLIDING + b"\x90.",
    "many tuples as keys": b"}(" + 40_000 * (PAIR + b"N") + b"u.",
    "a memo of 4 billion": b"Nr\xff\xff\xff\xff.",
    "a memo of a trillion": b"Np999999999999\n.",
    "bytes of 8 gigabytes": b"\x8e" + struct.pack("<Q", 1 << 33) + b".",
    "text of 8 gigabytes": b"\x8d" + struct.pack("<Q", 1 << 33) + b".",
    "an array of 8 gigabytes": b"\x96" + struct.pack("<Q", 1 << 33) + b".",
    "a frame of 8 gigabytes": b"\x95" + struct.pack("<Q", 1 << 33) + b".",
    "text of 4 gigabytes": b"X\xff\xff\xff\xff.",
    "a number of 2 gigabytes": b"\x8b" + struct.pack("<i", 2**31 - 1) + b".",
    "a number of 10 megabytes": b"\x8b" + struct.pack("<i", 10_000_000) + 10_000_000 * b"\x7f" + b".",
    "the same arguments again and again": (
        b"(" + 100_000 * b"N" + b"tq\x000" + name("numpy.ndarray") + b"q\x010" + 50_000 * b"h\x01h\x00R0" + b"N."
    ),
    "many names": b"".join(name(f"torch.n{i}") + b"0" for i in range(50_000)) + b"N.",
    "many instructions": 3_000_000 * b"N" + b".",
    "many sets": 1_000_000 * b"\x8f" + b".",
    "the same text as bytes again and again": (
        b"(X" + struct.pack("<I", 4_000_000) + bytes(4_000_000) + text("latin1") + b"\x86q\x000("
        + name("_codecs.encode") + b"q\x010" + 2000 * b"h\x01h\x00R" + b"l."
    ),
    "arrays that share their bytes": (
        b"(" + b"B" + struct.pack("<I", 4_000_000) + bytes(4_000_000) + b"q\x000"
        b"(tq\x010" + name("numpy.ndarray") + b"q\x020" + name("numpy.core.multiarray._reconstruct") + b"q\x030"
        b"cnumpy\ndtype\nX\x02\x00\x00\x00u1K\x00K\x01\x87Rq\x040"
        + 2000 * (b"h\x03h\x02K\x00\x85h\x00\x87R(K\x01J" + struct.pack("<i", 4_000_000) + b"\x85h\x04\x89h\x00tb")
        + b"l."
    ),
    "an extension": b"\x82\x01.",
    "attributes of what makes sets": name("builtins.set") + b"N}" + text("__defaults__") + b"K\x01\x85s\x86b.",
}  # fmt: skip
"""Small pickles, without their protocol, that would take minutes or gigabytes."""


def as_torch_zip(payload):
    """A file of torch.save since 1.6 with this pickle in it."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", payload)
    return stream.getvalue()


def as_old_torch(payload):
    """A file of torch.save before 1.6 with this pickle in it."""
    head = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}]
    return b"".join(pickle.dumps(part, 2) for part in head) + payload + pickle.dumps([], 2)
