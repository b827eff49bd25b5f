"""Read the weights of a network in a TensorFlow Lite file; its graph is not kept.

Source: the schema of the file, as the package ``tflite`` has it.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import WeightsInvalid

SUFFIX = ".tflite"
_IDENTIFIER, _IDENTIFIER_BEGINS = b"TFL3", 4
_DAMAGED = (struct.error, IndexError, ValueError, TypeError, AttributeError, OverflowError)
"""What reading a damaged flatbuffer raises: offsets beyond its end, and tables that are none."""


def read(path: Path) -> dict[str, Tensor]:
    """Return the weights of the layers that the network's first output depends on, in the order of computation.

    Layers are convolutions, depthwise convolutions, linear layers and parametric rectifiers. Their tensors have torch's
    shapes and are called ``000.weight``, ``000.bias``, ``001.weight``, ...; they are float16 or float32, as stored.

    Raises:
        WeightsInvalid: the file is damaged or none of TensorFlow Lite, or its weights are quantised.
        OSError: the file cannot be read.
    """
    content = path.read_bytes()
    if content[_IDENTIFIER_BEGINS:][: len(_IDENTIFIER)] != _IDENTIFIER:
        raise WeightsInvalid(f"weights {path}: is not a file of TensorFlow Lite; fetch it again")
    try:
        return _Graph(content).weights()
    except _DAMAGED as error:
        reason = f"{type(error).__name__}: {str(error)[:120]}"
        raise WeightsInvalid(f"weights {path}: is damaged ({reason}); fetch it again") from error


class _Graph:
    """The only network of a file, by the numbers of its tensors and operators."""

    def __init__(self, content: bytes) -> None:
        import tflite

        self._schema = tflite
        self._model: Any = tflite.Model.GetRootAsModel(content, 0)
        self._network = self._model.Subgraphs(0)
        self._operators = [self._network.Operators(n) for n in range(self._network.OperatorsLength())]
        self._maker = {
            int(output): number
            for number, operator in enumerate(self._operators)
            for output in operator.OutputsAsNumpy()
        }

    def weights(self) -> dict[str, Tensor]:
        kinds = self._schema.BuiltinOperator
        outer_last = {kinds.CONV_2D: (0, 3, 1, 2), kinds.DEPTHWISE_CONV_2D: (3, 0, 1, 2), kinds.FULLY_CONNECTED: (0, 1)}
        weights: dict[str, Tensor] = {}
        layers = 0
        for number in sorted(self._before_the_first_output()):
            operator = self._operators[number]
            kind, inputs = self._kind(operator), [int(each) for each in operator.InputsAsNumpy()]
            if kind in outer_last:
                weights[f"{layers:03}.weight"] = self._constant(inputs[1]).permute(outer_last[kind]).contiguous()
                weights[f"{layers:03}.bias"] = self._constant(inputs[2])
            elif kind == kinds.PRELU:
                weights[f"{layers:03}.weight"] = self._constant(inputs[1]).reshape(-1)
            else:
                continue
            layers += 1
        return weights

    def _before_the_first_output(self) -> set[int]:
        """Return the operators that the first output depends on."""
        found: set[int] = set()
        tensors = [int(self._network.Outputs(0))]
        while tensors:
            number = self._maker.get(tensors.pop())
            if number is not None and number not in found:
                found.add(number)
                tensors += [int(each) for each in self._operators[number].InputsAsNumpy()]
        return found

    def _kind(self, operator: Any) -> int:
        code = self._model.OperatorCodes(operator.OpcodeIndex())
        # Up to code 127 the older field has it; files of before 2020 have no other.
        return int(max(code.BuiltinCode(), code.DeprecatedBuiltinCode()))

    def _constant(self, number: int) -> Tensor:
        """Return a tensor that is stored, directly or in a smaller format that one operator widens."""
        maker = self._maker.get(number)
        if maker is not None and self._kind(self._operators[maker]) == self._schema.BuiltinOperator.DEQUANTIZE:
            number = int(self._operators[maker].Inputs(0))
        tensor = self._network.Tensors(number)
        stored = {self._schema.TensorType.FLOAT32: "<f4", self._schema.TensorType.FLOAT16: "<f2"}.get(tensor.Type())
        if stored is None:
            raise ValueError(f"weights of type {tensor.Type()}, neither float32 nor float16")
        values = np.frombuffer(self._model.Buffers(tensor.Buffer()).DataAsNumpy().tobytes(), stored)
        return torch.from_numpy(values.reshape(tensor.ShapeAsNumpy()).copy())
