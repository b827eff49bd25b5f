"""Writes a network of `encoders.zoo.mediapipe` as a TensorFlow Lite file, operator by operator, as MediaPipe's are."""

import flatbuffers
import numpy as np
import tflite
from torch import nn

from encoders.zoo.mediapipe import InvertedResidual, SeparableResidual

OPERATORS, OPTIONS, KINDS = tflite.BuiltinOperator, tflite.BuiltinOptions, tflite.TensorType
SAME, VALID = tflite.Padding.SAME, tflite.Padding.VALID
NONE, RELU6 = tflite.ActivationFunctionType.NONE, tflite.ActivationFunctionType.RELU6


class Graph:
    """A network of one input and one output, whose tensors are channels last."""

    def __init__(self, side):
        self.buffers, self.tensors, self.operators = [b""], [], []
        self.input = self.tensor((1, side, side, 3))

    def tensor(self, shape, kind=KINDS.FLOAT32, values=None):
        self.buffers.append(b"" if values is None else values.tobytes())
        self.tensors.append((tuple(map(int, shape)), kind, len(self.buffers) - 1))
        return len(self.tensors) - 1

    def constant(self, values):
        """Store float16 and widen it by an operator."""
        stored = self.tensor(values.shape, KINDS.FLOAT16, values.astype(np.float16))
        return self.operator(OPERATORS.DEQUANTIZE, [stored], values.shape)

    def operator(self, kind, inputs, shape, options=0, **settings):
        output = self.tensor(shape)
        self.operators.append((kind, inputs, output, options, settings))
        return output

    def shape(self, number):
        return self.tensors[number][0]

    def weights(self, layer, *axes):
        return [self.constant(layer.weight.numpy().transpose(axes)), self.constant(layer.bias.numpy())]

    def activate(self, at, activation):
        if isinstance(activation, nn.PReLU):
            return self.operator(
                OPERATORS.PRELU, [at, self.constant(activation.weight.numpy()[None, None])], self.shape(at)
            )
        return at

    def convolve(self, at, block):
        layer, side, padding = block.conv, self.shape(at)[1], SAME
        border = block.pad.padding if hasattr(block, "pad") else (0, 0)
        stride = layer.stride[0]
        if stride == 2 and border[0] == border[1]:
            table = np.array([[0, 0], border[:2], border[:2], [0, 0]], np.int32)
            wide = side + sum(border[:2])
            inputs = [at, self.tensor(table.shape, KINDS.INT32, table)]
            at, padding = (
                self.operator(OPERATORS.PAD, inputs, (1, wide, wide, layer.in_channels), OPTIONS.PadOptions),
                VALID,
            )
        activation = getattr(block, "activation", None)
        settings = {
            "Padding": padding,
            "StrideW": stride,
            "StrideH": stride,
            "DilationWFactor": 1,
            "DilationHFactor": 1,
        }
        settings["FusedActivationFunction"] = RELU6 if isinstance(activation, nn.ReLU6) else NONE
        shape = (1, side // stride, side // stride, layer.out_channels)
        if layer.groups > 1:
            inputs = [at, *self.weights(layer, 1, 2, 3, 0)]
            kind, options = OPERATORS.DEPTHWISE_CONV_2D, OPTIONS.DepthwiseConv2DOptions
            settings["DepthMultiplier"] = 1
        else:
            inputs = [at, *self.weights(layer, 0, 2, 3, 1)]
            kind, options = OPERATORS.CONV_2D, OPTIONS.Conv2DOptions
        return self.activate(self.operator(kind, inputs, shape, options, **settings), activation)

    def add(self, at, other, activation=NONE):
        return self.operator(
            OPERATORS.ADD, [at, other], self.shape(at), OPTIONS.AddOptions, FusedActivationFunction=activation
        )

    def separable(self, at, block):
        beside, (_, side, _, channels) = at, self.shape(at)
        if isinstance(block.halve, nn.MaxPool2d):
            side //= 2
            beside = self.operator(
                OPERATORS.MAX_POOL_2D,
                [at],
                (1, side, side, channels),
                OPTIONS.Pool2DOptions,
                **{"Padding": VALID, "StrideW": 2, "StrideH": 2, "FilterWidth": 2, "FilterHeight": 2},
            )
        if block.more:
            table = np.array([[0, 0], [0, 0], [0, 0], [0, block.more]], np.int32)
            inputs = [beside, self.tensor(table.shape, KINDS.INT32, table)]
            beside = self.operator(OPERATORS.PAD, inputs, (1, side, side, channels + block.more), OPTIONS.PadOptions)
        at = self.convolve(self.convolve(at, block.depthwise), block.pointwise)
        fused = RELU6 if isinstance(block.activation, nn.ReLU6) else NONE
        return self.activate(self.add(beside, at, fused), block.activation)

    def network(self, at, module):
        """Append a network's operators and return the tensor that it gives."""
        if isinstance(module, SeparableResidual):
            return self.separable(at, module)
        if isinstance(module, InvertedResidual):
            end = self.network(at, module.parts)
            return self.add(end, at) if module.adds else end
        if hasattr(module, "conv"):
            return self.convolve(at, module)
        for part in module:
            at = self.network(at, part)
        return at

    def file(self, output):
        """Return the file's bytes."""
        builder = flatbuffers.Builder(1 << 16)
        buffers = [self._buffer(builder, content) for content in self.buffers]
        tensors = [self._tensor(builder, number) for number in range(len(self.tensors))]
        codes = sorted({kind for kind, *_ in self.operators})
        opcodes = [self._table(builder, "OperatorCode", BuiltinCode=c, DeprecatedBuiltinCode=c) for c in codes]
        operators = [self._operator(builder, codes, operator) for operator in self.operators]
        network = self._table(
            builder,
            "SubGraph",
            Tensors=self._offsets(builder, tensors),
            Inputs=self._numbers(builder, [self.input]),
            Outputs=self._numbers(builder, [output]),
            Operators=self._offsets(builder, operators),
        )
        model = self._table(
            builder,
            "Model",
            Version=3,
            OperatorCodes=self._offsets(builder, opcodes),
            Subgraphs=self._offsets(builder, [network]),
            Buffers=self._offsets(builder, buffers),
        )
        builder.Finish(model, file_identifier=b"TFL3")
        return bytes(builder.Output())

    def _buffer(self, builder, content):
        return self._table(builder, "Buffer", **({"Data": builder.CreateByteVector(content)} if content else {}))

    def _tensor(self, builder, number):
        shape, kind, buffer = self.tensors[number]
        name, extents = builder.CreateString(f"tensor {number}"), self._numbers(builder, shape)
        return self._table(builder, "Tensor", Shape=extents, Type=kind, Buffer=buffer, Name=name)

    def _operator(self, builder, codes, operator):
        kind, inputs, output, options, settings = operator
        fields = {"Inputs": self._numbers(builder, inputs), "Outputs": self._numbers(builder, [output])}
        if options:
            names = {number: name for name, number in vars(OPTIONS).items() if not name.startswith("_")}
            fields |= {
                "BuiltinOptions": self._table(builder, names[options], **settings),
                "BuiltinOptionsType": options,
            }
        return self._table(builder, "Operator", OpcodeIndex=codes.index(kind), **fields)

    def _table(self, builder, kind, **fields):
        getattr(tflite, f"{kind}Start")(builder)
        for name, value in fields.items():
            getattr(tflite, f"{kind}Add{name}")(builder, value)
        return getattr(tflite, f"{kind}End")(builder)

    def _numbers(self, builder, numbers):
        return builder.CreateNumpyVector(np.array(numbers, np.int32))

    def _offsets(self, builder, offsets):
        builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            builder.PrependUOffsetTRelative(offset)
        return builder.EndVector()


def written(network, side):
    """Return a network of convolutions, with the numbers it has, as a file that sees images of ``side`` pixels."""
    graph = Graph(side)
    return graph.file(graph.network(graph.input, network))
