"""Sealed tensor files of run folders and trainings, read whole; see `encoders.weights.sealed`."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from encoders.weights.sealed import DIGEST, digest, split

from ..errors import FolderError
from . import atomic


class Sealed(NamedTuple):
    """The content of a file that was checked.

    Attributes:
        content: the file, for `safetensors.numpy.load` or `safetensors.torch.load`.
        metadata: its metadata without the digest.
        sealed: whether it had a digest; files written before there were digests have none.
    """

    content: bytes
    metadata: dict[str, str]
    sealed: bool


def read(path: Path, keys: set[str], remedy: str) -> Sealed:
    """Read a file that `encoders.weights.sealed.seal` made, or one written before without a digest.

    Args:
        path: the file.
        keys: of the metadata.
        remedy: what the message of a failure advises.

    Raises:
        FolderError: the file is damaged: its digest does not match, or it is not such a file.
    """
    content = atomic.read_bytes(path, remedy)
    try:
        header, metadata, tensors = split(content)
        if metadata.keys() - {DIGEST} != keys:
            raise ValueError("its metadata is not that of a checkpoint")
        known = metadata.pop(DIGEST, None)
        if known is not None and known != digest(header, metadata, [tensors]):
            raise ValueError("its content does not match its digest")
    except ValueError as error:
        raise FolderError(f"{path} is damaged ({error}); {remedy}") from error
    return Sealed(content, metadata, known is not None)


def require_whole(path: Path, remedy: str) -> None:
    """Make sure that a file without a digest is at least whole: a readable header, and all of the tensors it names.

    Raises:
        FolderError: it is not.
    """
    content = atomic.read_bytes(path, remedy)
    try:
        header, _, tensors = split(content)
        if max((entry["data_offsets"][1] for entry in header.values()), default=0) != len(tensors):
            raise ValueError("it is cut short or too long")
    except (ValueError, TypeError, LookupError) as error:
        raise FolderError(f"{path} is damaged ({error}); {remedy}") from error
