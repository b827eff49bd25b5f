"""Damage files at seeded random places, as failing disks, interrupted copies, editors and cheats do.

A damage takes a file's bytes and a generator, and returns the new bytes, or None where the file does not offer what
the damage needs (two tensors of one shape, say).
"""

import io
import json
import struct
import zipfile

import numpy as np

DEEP = b"[" * 100_000 + b"]" * 100_000


def flip_bit(content, rng):
    if not content:
        return None
    place, changed = rng.integers(len(content)), bytearray(content)
    changed[place] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def truncate(content, rng):
    return content[: rng.integers(len(content))] if content else None


def empty(content, rng):
    return b"" if content else None


def zero_a_block(content, rng):
    begin = int(rng.integers(len(content) + 1))
    end = min(len(content), begin + int(rng.integers(1, 4096)))
    return content[:begin] + bytes(end - begin) + content[end:]


def drop_a_block(content, rng):
    begin = int(rng.integers(len(content) + 1))
    return content[:begin] + content[begin + int(rng.integers(1, 64)) :]


def double_a_block(content, rng):
    begin = int(rng.integers(len(content) + 1))
    end = begin + int(rng.integers(1, 64))
    return content[:end] + content[begin:end] + content[end:]


def append(content, rng):
    return content + rng.bytes(int(rng.integers(1, 64)))


def noise(content, rng):
    return rng.bytes(max(1, len(content)))


def not_utf8(content, rng):
    return b"\xff\xfe" + content


def nested_deep(content, rng):
    return DEEP


def no_object(content, rng):
    return [b"[]", b"null", b"0", b'"text"', b"{}"][rng.integers(5)]


def places(value, path=()):
    """Paths of everything in nested JSON containers."""
    yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from places(child, (*path, key))


def change_json(value, rng):
    """Change, drop or replace something at a random place in a JSON value."""
    paths = [path for path in places(value) if path]
    if not paths:
        return None
    *way, key = paths[rng.integers(len(paths))]
    parent = value
    for step in way:
        parent = parent[step]
    old = parent[key]
    news = [None, [], {}, "text", float("nan"), 10**400, -1, "two\nlines", "$x^{$", "<b>", ["a"], {"a": {}}]
    if isinstance(old, bool):
        news.append(not old)
    elif isinstance(old, (int, float)):
        news += [old + 1, old + 1000, str(old), 1e308]
    elif isinstance(old, str):
        news += [old[::-1], "", old + "x"]
    if rng.random() < 0.2:
        del parent[key]
    else:
        parent[key] = news[rng.integers(len(news))]
    return value


def edit_json(content, rng):
    try:
        changed = change_json(json.loads(content), rng)
    except ValueError:
        return None
    return None if changed is None else json.dumps(changed).encode()


def _lines(content):
    return content.splitlines(keepends=True)


def drop_line(content, rng):
    lines = _lines(content)
    if lines:
        lines.pop(rng.integers(len(lines)))
    return b"".join(lines)


def double_line(content, rng):
    lines = _lines(content)
    if not lines:
        return None
    lines.insert(rng.integers(len(lines) + 1), lines[rng.integers(len(lines))])
    return b"".join(lines)


def swap_lines(content, rng):
    lines = _lines(content)
    if len(lines) < 2:
        return None
    one, other = rng.choice(len(lines), 2, replace=False)
    lines[one], lines[other] = lines[other], lines[one]
    return b"".join(lines)


def edit_line(content, rng):
    lines = _lines(content)
    if not lines:
        return None
    place = rng.integers(len(lines))
    changed = edit_json(lines[place], rng)
    lines[place] = b"" if changed is None else changed + b"\n"
    return b"".join(lines)


def odd_line(content, rng):
    lines = _lines(content)
    odd = [b"[]\n", b"3\n", b"text\n", b"\n", b'{"iteration": "one"}\n', b'{"iteration": 1e400}\n', b"{}\n"]
    lines.insert(rng.integers(len(lines) + 1), odd[rng.integers(len(odd))])
    return b"".join(lines)


def edit_table(content, rng):
    """Change a parquet table as someone with pandas would."""
    import pandas

    table = pandas.read_parquet(io.BytesIO(content))
    if table.empty:
        return None
    row = int(rng.integers(len(table)))
    changes = [
        lambda: table.assign(**{"return": table["return"] + 1000.0}),
        lambda: table.assign(success=True),
        lambda: table.drop(index=table.index[row]),
        lambda: pandas.concat([table, table.iloc[[row]]]),
        lambda: table.iloc[::-1],
        lambda: table.iloc[:0],
        lambda: table.drop(columns=table.columns[rng.integers(table.shape[1])]),
        lambda: table.assign(iteration=table["iteration"].astype(str)),
        lambda: table.assign(iteration=table["iteration"] + 1),
        lambda: table.assign(**{"return": "much"}),
        lambda: table.assign(**{"return": float("nan")}),
        lambda: table.assign(more=1),
    ]
    buffer = io.BytesIO()
    changes[rng.integers(len(changes))]().to_parquet(buffer, index=False)
    return buffer.getvalue()


def _tensors(content):
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def _pack_tensors(header, data):
    written = json.dumps(header).encode()
    written += b" " * (-len(written) % 8)
    return struct.pack("<Q", len(written)) + written + data


def flip_in_a_tensor(content, rng):
    header, data = _tensors(content)
    return _pack_tensors(header, flip_bit(data, rng)) if data else None


def exchange_tensors(content, rng):
    header, data = _tensors(content)
    names = [name for name in header if name != "__metadata__"]
    pairs = [
        (one, other)
        for one in names
        for other in names
        if one < other
        and all(header[one][what] == header[other][what] for what in ("dtype", "shape"))
        and data[slice(*header[one]["data_offsets"])] != data[slice(*header[other]["data_offsets"])]
    ]
    if not pairs:
        return None
    one, other = pairs[rng.integers(len(pairs))]
    header[one], header[other] = header[other], header[one]
    return _pack_tensors(header, data)


def rename_tensor(content, rng):
    header, data = _tensors(content)
    names = [name for name in header if name != "__metadata__"]
    name = names[rng.integers(len(names))]
    header[name + "x"] = header.pop(name)
    return _pack_tensors(header, data)


def reshape_tensor(content, rng):
    header, data = _tensors(content)
    names = [name for name in header if name != "__metadata__" and len(header[name]["shape"]) > 1]
    if not names:
        return None
    entry = header[names[rng.integers(len(names))]]
    entry["shape"] = entry["shape"][::-1] if rng.random() < 0.5 else [int(np.prod(entry["shape"]))]
    return _pack_tensors(header, data)


def edit_tensor_metadata(content, rng):
    header, data = _tensors(content)
    if "__metadata__" not in header:
        return None
    metadata = header["__metadata__"]
    key = list(metadata)[rng.integers(len(metadata))]
    changed = edit_json(metadata[key].encode(), rng)
    if changed is None or rng.random() < 0.2:
        del metadata[key]
    else:
        metadata[key] = changed.decode()
    return _pack_tensors(header, data)


def edit_archive(content, rng):
    """Rewrite a zip file with a member dropped, cut, exchanged or given another name."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = list(members)[rng.integers(len(members))]
    other = list(members)[rng.integers(len(members))]
    changes = [
        lambda: members.pop(name),
        lambda: members.update({name: truncate(members[name], rng) or b""}),
        lambda: members.update({name: members[other], other: members[name]}),
        lambda: members.update({name + "x": members.pop(name)}),
        lambda: members.update({name: noise(members[name], rng)}),
    ]
    changes[rng.integers(len(changes))]()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for member, data in members.items():
            archive.writestr(member, data)
    return buffer.getvalue()


ANY = (flip_bit, truncate, empty, zero_a_block, drop_a_block, double_a_block, append, noise)
TEXT = (edit_json, edit_json, edit_json, no_object, nested_deep, not_utf8)
LINES = (drop_line, double_line, swap_lines, edit_line, edit_line, odd_line, nested_deep, not_utf8)
TENSORS = (
    *(flip_in_a_tensor, flip_in_a_tensor, exchange_tensors, rename_tensor, reshape_tensor),
    *(edit_tensor_metadata, edit_tensor_metadata),
)
OF_SUFFIX = {
    ".json": TEXT,
    ".jsonl": LINES,
    ".parquet": (edit_table,) * 6,
    ".safetensors": TENSORS,
    ".npz": (edit_archive,) * 4,
    ".pth": (edit_archive,) * 4,
}


def damage(path, rng):
    """Damage a file by one of the ways that suit it; the way's name."""
    if rng.random() < 0.04:
        path.unlink()
        return "removed"
    if rng.random() < 0.04:
        path.unlink()
        path.mkdir()
        return "a folder instead"
    content = path.read_bytes()
    own = OF_SUFFIX.get(path.suffix, ())
    while True:
        ways = own if own and rng.random() < 0.6 else ANY
        way = ways[rng.integers(len(ways))]
        try:
            changed = way(content, rng)
        except (ValueError, struct.error, zipfile.BadZipFile):  # the file is not what its name says
            changed = None
        if changed is not None and changed != content:
            path.write_bytes(changed)
            return way.__name__
