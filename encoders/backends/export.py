"""An encoder's network as a program of torch.export, whole or from the end of its stem on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.export.graph_signature import InputKind

from ..backend import WITH_TORCH
from ..base import IMAGE_SIZE, Encoder
from ..ema_batchnorm import batchnorm_layers
from ..errors import BackendRefused
from ..memory import is_out_of_memory

IMAGES = 4
"""Images of the example; not 0 or 1, which torch.export takes for constants."""

_MOST_IMAGES = 1 << 20
_RESIZES = ("aten.upsample_", "aten._upsample_")


@dataclass(frozen=True)
class Exported:
    """A program, and what it computes with.

    Attributes:
        program: from (N, 3, 224, 224) pixels or, after a stem, the (N, C, H, W) maps that leave it, to
            (N, feature_dim) features.
        numbers: the encoder's parameters and buffers that it uses, by their names in the encoder.
    """

    program: ExportedProgram
    numbers: dict[str, Tensor]


def export(encoder: Encoder, stem: str | None = None) -> Exported:
    """Export a frozen encoder for batches of any size or, where its code does not allow that, of `IMAGES`.

    Args:
        encoder: on the CPU, in evaluation mode.
        stem: the layer that ends the stem, which stays outside; None exports the whole encoder.

    Raises:
        BackendRefused: the network cannot be exported, or not split after this layer.
    """
    network: nn.Module = encoder
    begin = torch.rand(IMAGES, 3, IMAGE_SIZE, IMAGE_SIZE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        if stem is not None:
            images, begin = begin, run_stem(encoder, stem, begin)
            network = _AfterStem(encoder, stem)
            _require_split(network, images[:1], begin[:1])
        program = _program(network, begin, encoder.name)
    _leave_out_idle_resizes(program)
    return Exported(program, _numbers(program, encoder, "" if stem is None else "encoder."))


def _program(network: nn.Module, example: Tensor, name: str) -> ExportedProgram:
    batch = {0: Dim("batch", min=1, max=_MOST_IMAGES)}
    try:
        return torch.export.export(network, (example,), dynamic_shapes=(batch,), strict=False)
    except Exception as error:  # the encoder's author may have written anything
        if is_out_of_memory(error):
            raise
    try:  # code such as len(images) takes the size for a constant
        return torch.export.export(network, (example,), strict=False)
    except Exception as error:
        what = f"encoder '{name}': torch.export cannot export it ({first_line(error)})"
        raise BackendRefused(f"{what}; {WITH_TORCH}") from error


def stem_layer(encoder: Encoder) -> str:
    """Return the name of the layer that ends the stem: the first BatchNorm, whose statistics move in Stage 3.

    Raises:
        BackendRefused: there is none.
    """
    first = next(iter(batchnorm_layers(encoder)), None)
    if first is None:
        raise BackendRefused(f"encoder '{encoder.name}': has no BatchNorm that could end its stem; {WITH_TORCH}")
    return first


def run_stem(encoder: Encoder, layer: str, pixels: Tensor) -> Tensor:
    """Run an encoder until a layer was called, whatever module stands there now, and return that layer's output.

    Raises:
        BackendRefused: the layer is not called.
    """

    def stop(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        raise _Reached(output)

    handle = encoder.get_submodule(layer).register_forward_hook(stop)
    try:
        encoder(pixels)
    except _Reached as reached:
        return reached.maps
    finally:
        handle.remove()
    raise _cannot_split(encoder.name, layer)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its type, to be quoted in a message."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:200]


class _Reached(BaseException):
    """The stem's end; no Exception, which the encoder's own code might catch."""

    def __init__(self, maps: Tensor) -> None:
        self.maps = maps


class _AfterStem(nn.Module):
    """An encoder in which a layer's output is replaced by maps from outside.

    Attributes:
        calls: how often that happened in the last forward pass.
    """

    def __init__(self, encoder: Encoder, layer: str) -> None:
        super().__init__()
        self.encoder, self.layer, self.calls = encoder, layer, 0

    def forward(self, maps: Tensor, images: Tensor | None = None) -> Tensor:
        """Map (N, C, H, W) maps to features; what the images are plays no part where the encoder can be split."""
        if images is None:
            images = maps.new_zeros(maps.shape[0], 3, IMAGE_SIZE, IMAGE_SIZE)
        self.calls = 0

        def give(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            self.calls += 1
            return maps

        handle = self.encoder.get_submodule(self.layer).register_forward_hook(give)
        try:
            features: Tensor = self.encoder(images)
        finally:
            handle.remove()
        return features


def _require_split(network: _AfterStem, images: Tensor, maps: Tensor) -> None:
    """Make sure that images reach the features through the layer alone, called once.

    Raises:
        BackendRefused: they do not.
    """
    features = network(maps.clone(), images)
    if network.calls != 1 or not torch.equal(features, network(maps.clone(), 1 - images)):
        raise _cannot_split(network.encoder.name, network.layer)


def _cannot_split(name: str, layer: str) -> BackendRefused:
    return BackendRefused(
        f"encoder '{name}': cannot be split after its first BatchNorm '{layer}', whose statistics move: not everything "
        f"passes through it, once; {WITH_TORCH}"
    )


def _leave_out_idle_resizes(program: ExportedProgram) -> None:
    """Leave out resizes to the same size: timm exports one of a position embedding, in a kind OpenVINO lacks."""
    graph = program.graph_module.graph
    for node in list(graph.nodes):
        if node.op != "call_function" or not str(node.target).startswith(_RESIZES):
            continue
        source = node.args[0]
        if source.meta["val"].shape == node.meta["val"].shape:
            node.replace_all_uses_with(source)
            graph.erase_node(node)
    program.graph_module.recompile()


def _numbers(program: ExportedProgram, encoder: Encoder, prefix: str) -> dict[str, Tensor]:
    """Return the parameters and buffers that a program uses; their names in it begin with ``prefix``."""
    users = {node.name: node.users for node in program.graph_module.graph.nodes if node.op == "placeholder"}
    kinds = (InputKind.PARAMETER, InputKind.BUFFER)
    used = [spec for spec in program.graph_signature.input_specs if spec.kind in kinds and users[spec.arg.name]]
    tensors = tensors_of(encoder)
    return {name: tensors[name] for name in (str(spec.target).removeprefix(prefix) for spec in used)}


def tensors_of(encoder: Encoder) -> dict[str, Tensor]:
    """Return all parameters and buffers by name, those that the state dict leaves out too."""
    named = [*encoder.named_parameters(remove_duplicate=False), *encoder.named_buffers(remove_duplicate=False)]
    return {name: tensor.detach() for name, tensor in named}
