"""An expert: a Gaussian policy on the privileged state observation, as plain arrays.

The mean is ``out_shift + out_scale * MLP((observation - in_shift) / (in_scale + 1e-8))`` with tanh hidden layers, and a
stochastic action adds ``exp(log_std)`` times standard normal noise. Source: the policies of DAPG and DexMV.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors
from safetensors.numpy import save as save_safetensors

from ..errors import ExpertError
from ..files import expanded, write_whole

if TYPE_CHECKING:
    from importlib.abc import Traversable

FloatArray = npt.NDArray[np.float64]
Precision = Literal["single", "half"]

SCALE_EPSILON = 1e-8
_VECTORS = ("in_shift", "in_scale", "out_shift", "out_scale", "log_std")


@dataclass(frozen=True, eq=False)
class Expert:
    """A tanh network with Gaussian noise; all arrays float64 and read-only.

    Attributes:
        weights: one (outputs, inputs) matrix a layer.
        biases: one (outputs,) vector a layer.
        observation_shift: (d,) subtracted from observations.
        observation_scale: (d,) divides them, 1e-8 added.
        action_shift: (nu,) added to the network's output.
        action_scale: (nu,) multiplies it first.
        log_std: (nu,) natural logarithm of the standard deviation of the noise, in action units.

    Raises:
        ExpertError: the shapes do not fit together, or a number is not finite.
    """

    weights: tuple[FloatArray, ...]
    biases: tuple[FloatArray, ...]
    observation_shift: FloatArray
    observation_scale: FloatArray
    action_shift: FloatArray
    action_scale: FloatArray
    log_std: FloatArray

    def __post_init__(self) -> None:
        for name in ("weights", "biases"):
            object.__setattr__(self, name, tuple(_frozen(array, name) for array in getattr(self, name)))
        for name in ("observation_shift", "observation_scale", "action_shift", "action_scale", "log_std"):
            object.__setattr__(self, name, _frozen(getattr(self, name), name))
        if not self.weights or len(self.weights) != len(self.biases):
            raise ExpertError(f"expert: {len(self.weights)} weights, {len(self.biases)} biases; a layer needs one each")
        width = self.observation_shift.size
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            if weight.ndim != 2 or weight.shape != (bias.size, width) or bias.ndim != 1:
                found = f"weight {weight.shape} and bias {bias.shape}"
                raise ExpertError(f"expert: layer {layer} has {found}, expected (n, {width}) and (n,)")
            width = bias.size
        for name, size in (
            ("observation_shift", self.observation_dim),
            ("observation_scale", self.observation_dim),
            ("action_shift", self.action_dim),
            ("action_scale", self.action_dim),
            ("log_std", self.action_dim),
        ):
            if getattr(self, name).shape != (size,):
                raise ExpertError(f"expert: {name} has shape {getattr(self, name).shape}, expected ({size},)")

    @property
    def observation_dim(self) -> int:
        """Length of the observations it reads."""
        return int(self.weights[0].shape[1])

    @property
    def action_dim(self) -> int:
        """Length of its actions."""
        return int(self.weights[-1].shape[0])

    @property
    def sha256(self) -> str:
        """Hash of the values, whatever precision or file they came from."""
        digest = hashlib.sha256()
        for name, array in sorted(self.arrays().items()):
            digest.update(f"{name} {array.shape};".encode())
            digest.update(array.astype("<f8").tobytes())
        return digest.hexdigest()

    def mean(self, observations: npt.ArrayLike) -> FloatArray:
        """Return the mean actions.

        Every row is computed by itself, so a row's result does not depend on the others, bit for bit.

        Args:
            observations: (n, observation_dim).

        Returns:
            (n, action_dim) float64, not clipped.

        Raises:
            ExpertError: the observations have another length.
        """
        inputs = np.asarray(observations, np.float64)
        if inputs.ndim != 2 or inputs.shape[1] != self.observation_dim:
            raise ExpertError(f"expert: observations of shape {inputs.shape}, expected (n, {self.observation_dim})")
        hidden = (inputs - self.observation_shift) / (self.observation_scale + SCALE_EPSILON)
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            hidden = np.matmul(weight, hidden[:, :, None])[:, :, 0] + bias
            if layer < len(self.weights) - 1:
                hidden = np.tanh(hidden)
        result: FloatArray = self.action_shift + self.action_scale * hidden
        return result

    def sample(self, observations: npt.ArrayLike, noise: npt.ArrayLike) -> FloatArray:
        """Return actions with the given standard normal noise, (n, action_dim), not clipped."""
        result: FloatArray = self.mean(observations) + np.exp(self.log_std) * np.asarray(noise, np.float64)
        return result

    def arrays(self) -> dict[str, FloatArray]:
        """Return the arrays as files name them: W0, b0, W1, ..., in_shift, in_scale, out_shift, out_scale, log_std."""
        layers = {f"W{i}": weight for i, weight in enumerate(self.weights)}
        layers |= {f"b{i}": bias for i, bias in enumerate(self.biases)}
        vectors = (self.observation_shift, self.observation_scale, self.action_shift, self.action_scale, self.log_std)
        return layers | dict(zip(_VECTORS, vectors, strict=True))

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.ArrayLike]) -> Expert:
        """Build an expert from arrays named as `arrays` names them; keys ``n`` and ``m`` are ignored.

        Raises:
            ExpertError: an array is missing or unknown, or they do not fit together.
        """
        layers = sum(f"W{i}" in arrays for i in range(len(arrays)))
        needed = [f"{kind}{i}" for i in range(layers or 1) for kind in "Wb"] + list(_VECTORS)
        if missing := [name for name in needed if name not in arrays]:
            raise ExpertError(f"expert: no array {missing[0]!r}; needed are {', '.join(needed)}")
        if unknown := sorted(set(arrays) - set(needed) - {"n", "m"}):
            raise ExpertError(f"expert: array {unknown[0]!r} is not known; needed are {', '.join(needed)}")
        try:
            values = {name: np.asarray(arrays[name], np.float64) for name in needed}
        except (TypeError, ValueError) as error:
            raise ExpertError(f"expert: an array does not hold numbers ({error})") from error
        return cls(
            tuple(values[f"W{i}"] for i in range(layers)),
            tuple(values[f"b{i}"] for i in range(layers)),
            *(values[name] for name in _VECTORS),
        )

    def rounded(self, precision: Precision) -> Expert:
        """Return the expert as a file in this precision holds it."""
        dtype = _dtype(precision)
        with np.errstate(over="ignore"):  # an overflow is refused as not finite
            return Expert.from_arrays({name: array.astype(dtype) for name, array in self.arrays().items()})

    def save(self, path: str | Path, card: Mapping[str, Any], precision: Precision = "single") -> Expert:
        """Write ``path`` (safetensors) and its card beside it (``.json``), the hash of the stored values added.

        Returns:
            The expert as stored, which is the one to evaluate and to quote.

        Raises:
            ExpertError: a number does not fit the precision, or the files cannot be written.
        """
        path, dtype = expanded(path), _dtype(precision)
        stored = self.rounded(precision)
        content = save_safetensors({name: array.astype(dtype) for name, array in stored.arrays().items()})
        described = {**card, "sha256": stored.sha256, "precision": precision}
        try:
            write_whole(path, content)
            write_whole(card_path(path), (json.dumps(described, indent=2, sort_keys=True) + "\n").encode())
        except OSError as error:
            raise ExpertError(f"{path}: cannot be written ({error.strerror}); choose another folder") from error
        return stored

    @classmethod
    def load(cls, path: str | Path) -> Expert:
        """Read what `save` wrote, and check its hash if a card lies beside it.

        Raises:
            ExpertError: the file is missing, broken, or not the one its card describes.
        """
        path = expanded(path)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ExpertError(f"{path}: cannot be read ({error.strerror}); give an expert's file") from error
        return _parse(content, read_card(path) if card_path(path).exists() else {}, str(path))


def card_path(path: str | Path) -> Path:
    """Return the path of the card beside an expert's file."""
    return expanded(path).with_suffix(".json")


def read_card(path: str | Path) -> dict[str, Any]:
    """Return the card beside an expert's file.

    Raises:
        ExpertError: it is missing or broken.
    """
    return _parse_card(card_path(path))


def shipped_names() -> list[str]:
    """Tasks that an expert ships for."""
    files = resources.files(__package__).iterdir()
    return sorted(file.name.removesuffix(".safetensors") for file in files if file.name.endswith(".safetensors"))


def shipped(task_name: str) -> Expert:
    """Return the expert that ships with the package for a task.

    Raises:
        ExpertError: there is none.
    """
    card, name = shipped_card(task_name), f"{task_name}.safetensors"
    return _parse(resources.files(__package__).joinpath(name).read_bytes(), card, name)


def shipped_card(task_name: str) -> dict[str, Any]:
    """Return that expert's card: training, return and success, hash.

    Raises:
        ExpertError: there is no such expert, or no card.
    """
    if task_name not in (names := shipped_names()):
        there = f"experts ship for {', '.join(names)}" if names else "no expert ships with this installation"
        raise ExpertError(f"no expert for task {task_name!r}: {there}; give an expert's file, or import demonstrations")
    return _parse_card(resources.files(__package__).joinpath(f"{task_name}.json"))


def _parse(content: bytes, card: Mapping[str, Any], where: str) -> Expert:
    try:
        expert = Expert.from_arrays(load_safetensors(content))
    except (SafetensorError, KeyError) as error:  # KeyError: a number type that numpy lacks
        raise ExpertError(f"{where}: broken or not safetensors ({error}); fetch or train it again") from error
    except ExpertError as error:
        raise ExpertError(f"{where}: {error}") from error
    if card.get("sha256", expert.sha256) != expert.sha256:
        raise ExpertError(f"{where}: does not match its card (sha256 {card['sha256']}); restore one of the two")
    return expert


def _parse_card(file: Path | Traversable) -> dict[str, Any]:
    try:
        card = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ExpertError(f"{file}: not a readable card ({error}); restore it or remove it") from error
    if not isinstance(card, dict):
        raise ExpertError(f"{file}: a card is a JSON object; restore it or remove it")
    return card


def _dtype(precision: str) -> np.dtype[Any]:
    try:
        return np.dtype({"single": np.float32, "half": np.float16}[precision])
    except KeyError:
        raise ExpertError(f"expert: precision is 'single' or 'half', got {precision!r}") from None


def _frozen(array: npt.ArrayLike, name: str) -> FloatArray:
    copy = np.array(array, np.float64, order="C")
    if not np.isfinite(copy).all():
        raise ExpertError(f"expert: {name} holds a number that is not finite")
    copy.setflags(write=False)
    return copy
