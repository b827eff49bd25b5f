"""Compute an encoder with OpenVINO on a CPU: export it, convert the program, and compile that.

`openvino` is imported without its telemetry, and its converter, which reports every conversion, is not used: only the
frontend below it. So nothing is sent.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..backend import WITH_TORCH
from ..base import Encoder
from ..errors import BackendRefused
from ..memory import is_out_of_memory
from ..precision import BFLOAT16, FLOAT16, FLOAT32
from . import graphs
from .export import IMAGES, Exported, export, first_line, run_stem, stem_layer, tensors_of
from .graphs import Graph

_PRECISIONS = {FLOAT32: "f32", BFLOAT16: "bf16", FLOAT16: "f16"}
_GROUP = IMAGES
"""Images computed at a time: larger groups are up to 10 % slower. No image's feature depends on the others."""

_TELEMETRY = "openvino_telemetry"
_INPUT_TYPES = {torch.float32, torch.float64, torch.float16}
"""Types of numbers that become inputs of a kept network; numpy has all of them."""

_FEW = 16
"""A constant of at most so many numbers is the program's own, such as the mean of the colours, not made of weights."""


def compile_forward(
    encoder: Encoder, precision: str, *, stem: bool = False, callers: int | None = None
) -> Callable[[Tensor], Tensor]:
    """Return an encoder's ``forward``, computed by OpenVINO; threads may call it at the same time.

    It has the weights that the encoder has now; later changes to them have no effect on it.

    Args:
        encoder: frozen, on the CPU.
        precision: float32, bfloat16 or float16.
        callers: threads that call it at the same time, each of which computes on one core; None for one caller that
            computes with as many threads as torch has now.
        stem: whether the network up to its first BatchNorm stays in PyTorch, where that layer's statistics can move.

    Returns:
        From (N, 3, 224, 224) float32 pixels to (N, feature_dim) float32 features.

    Raises:
        BackendRefused: OpenVINO cannot convert this network, or not compute in this format here.
    """
    layer = stem_layer(encoder) if stem else None
    ov = _openvino()
    model = _with_numbers(ov, _graph(ov, encoder, layer), tensors_of(encoder))
    format_ = _PRECISIONS[precision]
    settings = {
        "INFERENCE_PRECISION_HINT": format_,
        "INFERENCE_NUM_THREADS": callers or torch.get_num_threads(),
        "NUM_STREAMS": callers or 1,
        "ENABLE_CPU_PINNING": False,  # several runs share a machine
    }
    with _refusing(encoder, "compile its network"):
        compiled = ov.Core().compile_model(model, "CPU", settings)
    used = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    if used != format_:
        raise BackendRefused(f"OpenVINO computes in {used} on this CPU, not in {precision}; {WITH_TORCH}")
    return _Forward(encoder, layer, compiled)


class _Forward:
    """The stem in PyTorch, if there is one, and the rest in OpenVINO."""

    def __init__(self, encoder: Encoder, layer: str | None, compiled: Any) -> None:
        self._encoder, self._layer, self._compiled = encoder, layer, compiled
        self._thread = threading.local()
        self._whole_groups = compiled.input(0).partial_shape[0].is_static

    def __call__(self, pixels: Tensor) -> Tensor:
        maps = pixels if self._layer is None else run_stem(self._encoder, self._layer, pixels)
        array = maps.float().contiguous().numpy()
        groups = [array[begin : begin + _GROUP] for begin in range(0, len(array), _GROUP)]
        return torch.cat([torch.from_numpy(self._features(group)) for group in groups])

    def _features(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        count = len(images)
        if self._whole_groups and count < _GROUP:
            images = np.concatenate([images, np.repeat(images[-1:], _GROUP - count, axis=0)])
        if not hasattr(self._thread, "request"):
            self._thread.request = self._compiled.create_infer_request()
        features: NDArray[np.float32] = self._thread.request.infer(images)[0][:count].copy()
        return features


def _openvino() -> Any:
    """Import openvino without `openvino_telemetry`, which would send an event at the import and at every conversion."""
    if "openvino" in sys.modules:
        return sys.modules["openvino"]
    absent: Any = None  # what makes an import fail; then openvino has a stub of its own
    before = sys.modules.get(_TELEMETRY)
    sys.modules[_TELEMETRY] = absent
    try:
        import openvino
    finally:
        del sys.modules[_TELEMETRY]
        if before is not None:
            sys.modules[_TELEMETRY] = before
    return openvino


def _graph(ov: Any, encoder: Encoder, layer: str | None) -> Graph:
    """Return the encoder's network, from the cache or converted now."""
    path = graphs.graph_path(encoder, layer)
    kept = graphs.load(path) if path else None
    if kept is not None and kept.fits(tensors_of(encoder)):
        return kept
    graph = _convert(ov, encoder, layer)
    if path:
        graphs.store(path, graph)
    return graph


def _convert(ov: Any, encoder: Encoder, layer: str | None) -> Graph:
    layout = encoder.memory_format
    encoder.to(memory_format=torch.contiguous_format)  # another layout would be copied, not shared
    try:
        exported = export(encoder, layer)
        return _converted(ov, encoder, exported)
    finally:
        encoder.to(memory_format=layout)


def _converted(ov: Any, encoder: Encoder, exported: Exported) -> Graph:
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.fx_decoder import TorchFXPythonDecoder

    with _refusing(encoder, "convert its network"), _quiet():
        decoder = TorchFXPythonDecoder.from_exported_program(exported.program, dynamic_shapes=False)
        frontend = FrontEndManager().load_by_framework("pytorch")
        model = frontend.convert(frontend.load(decoder))
    fixed = _take_numbers_out(ov, model, exported)
    with TemporaryDirectory() as folder:
        ov.save_model(model, Path(folder) / "network.xml", compress_to_fp16=False)
        network, constants = (Path(folder, f"network.{suffix}").read_bytes() for suffix in ("xml", "bin"))
    return Graph(network, constants, fixed)


def _take_numbers_out(ov: Any, model: Any, exported: Exported) -> dict[str, str]:
    """Turn constants that are numbers of the encoder into inputs of their name.

    They are recognised by their place in memory, which OpenVINO shares with torch.

    Returns:
        sha256 by name of the numbers that the constants left over may be made of: those that became no input or, if
        there is a larger constant of unknown origin, all.
    """
    numbers = exported.numbers
    places = {each.data_ptr(): name for name, each in numbers.items() if each.dtype in _INPUT_TYPES}
    inputs: dict[str, Any] = {}
    unknown = False
    for constant in [node for node in model.get_ops() if node.get_type_name() == "Constant"]:
        data = constant.data
        name = places.get(data.ctypes.data)
        if name is None or data.shape != tuple(numbers[name].shape):
            unknown |= data.dtype.kind == "f" and data.size > _FEW
            continue
        if name not in inputs:
            inputs[name] = ov.opset13.parameter(list(data.shape), constant.get_output_element_type(0), name=name)
        _replace(constant, inputs[name])
    model.add_parameters(list(inputs.values()))
    model.validate_nodes_and_infer_types()
    return {name: graphs.sha256(each) for name, each in numbers.items() if unknown or name not in inputs}


def _with_numbers(ov: Any, graph: Graph, numbers: Mapping[str, Tensor]) -> Any:
    """Return a graph as a model of OpenVINO, with an encoder's numbers, whose memory it shares."""
    model = ov.Core().read_model(graph.network, ov.Tensor(np.frombuffer(graph.constants, np.uint8)))
    for parameter in model.get_parameters()[1:]:
        number = numbers[parameter.get_friendly_name()].contiguous().numpy()
        _replace(parameter, ov.op.Constant(number, shared_memory=True))
        model.remove_parameter(parameter)
    model.validate_nodes_and_infer_types()
    return model


def _replace(old: Any, new: Any) -> None:
    for target in old.output(0).get_target_inputs():
        target.replace_source_output(new.output(0))


@contextmanager
def _refusing(encoder: Encoder, what: str) -> Iterator[None]:
    """Say in one line that OpenVINO cannot do something with an encoder."""
    try:
        yield
    except Exception as error:
        if is_out_of_memory(error):
            raise
        # Its messages begin with the place in its own source and end with what is wrong.
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[-1][:200] if lines else first_line(error)
        raise BackendRefused(f"encoder '{encoder.name}': OpenVINO cannot {what} ({reason}); {WITH_TORCH}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Drop the warnings with tracebacks that the decoder logs about operators that torch no longer decomposes."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
