"""A student as a full int8 TFLite flatbuffer, and the flatbuffer as the encoder that the firmware runs.

The graph takes ``embedding`` int8 [1, L, E] and ``mask`` int8 [1, 1, 1, L] (zero point where a word is, -128 where none
is) and gives ``classes`` int8 [1, C] and ``tags`` int8 [1, L - 1, T]. The embedding table stays outside: a
microcontroller looks up the rows of a sentence's words without touching the rest.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema

from convert.fixed_point import product_scale
from train.errors import UserError
from train.quiet import native_silence
from train.student import LOGIT_LIMIT, MASK_MARGIN, STEPS_4BIT, Student

OPERATORS = frozenset(
    [
        "ADD",
        "BATCH_MATMUL",
        "CONV_2D",
        "FULLY_CONNECTED",
        "L2_NORMALIZATION",
        "RESHAPE",
        "SOFTMAX",
        "STRIDED_SLICE",
        "TRANSPOSE",
    ]
)
"""What a student may become: all of them run on int8 in TFLite Micro, and the firmware's encoder knows each."""

_OPERATOR_NAMES = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}


def convert(student: Student) -> bytes:
    """The flatbuffer of a student whose ranges are trained.

    Raises:
        UserError: the converter left a float tensor or an operator that TFLite Micro's int8 lacks; names it.
    """
    shape, step = student.shape, float(student.table_step)
    least_mask = -(2 * LOGIT_LIMIT + MASK_MARGIN)
    inputs = (
        tf.TensorSpec((1, shape.positions, shape.embed), tf.float32, "embedding"),
        tf.TensorSpec((1, 1, 1, shape.positions), tf.float32, "mask"),
    )

    @tf.function(input_signature=inputs)
    def graph(embedding: tf.Tensor, mask: tf.Tensor) -> dict[str, tf.Tensor]:
        embedding = tf.quantization.fake_quant_with_min_max_args(embedding, -128 * step, 127 * step)
        mask = tf.quantization.fake_quant_with_min_max_args(mask, least_mask, 0.0)
        classes, tags, _ = student.encode(embedding, mask)
        return {"classes": classes, "tags": tags}

    def representative() -> Iterator[list[np.ndarray]]:
        # Every range is in the graph already; the converter only wants to see some input.
        rng = np.random.default_rng(0)
        embedding = rng.integers(-64, 64, inputs[0].shape) * step
        yield [embedding.astype(np.float32), np.zeros(inputs[1].shape, np.float32)]

    with native_silence(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        converter = tf.lite.TFLiteConverter.from_concrete_functions([graph.get_concrete_function()])
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = representative
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
        converter._experimental_disable_per_channel_quantization_for_dense_layers = not shape.per_channel
        model = schema.ModelT.InitFromPackedBuf(converter.convert(), 0)
    _check(model)
    if shape.weight_bits == 4:
        _narrow(model)
    return _slim(model)


def operator_names(model: Any) -> list[str]:
    """The operators of a model, in the order in which they run."""
    codes = [_OPERATOR_NAMES[max(c.builtinCode, c.deprecatedBuiltinCode)] for c in model.operatorCodes]
    return [codes[o.opcodeIndex] for o in model.subgraphs[0].operators]


def _check(model: Any) -> None:
    unknown = sorted(set(operator_names(model)) - OPERATORS)
    if unknown:
        raise UserError(
            f"the model needs {', '.join(unknown)}, which the firmware lacks; it knows {', '.join(sorted(OPERATORS))}"
        )
    kept = (schema.TensorType.INT8, schema.TensorType.INT32)
    for tensor in model.subgraphs[0].tensors:
        if tensor.type not in kept:
            raise UserError(f"tensor {tensor.name.decode()} was not quantized to int8; give every activation a range")


def _narrow(model: Any) -> None:
    """Stores in 4 bits, with one scale a matrix, the weights that training rounded so; the converter knows 8 alone.

    Of a convolution it gave every output a scale, by its largest weight. The largest weight of all has the last step.
    """
    graph = model.subgraphs[0]
    for name, operator in zip(operator_names(model), graph.operators, strict=True):
        if name not in ("CONV_2D", "FULLY_CONNECTED"):
            continue
        weights, *rest = (graph.tensors[t] for t in operator.inputs[1:] if t >= 0)
        values = np.frombuffer(bytes(model.buffers[weights.buffer].data), np.int8).reshape(weights.shape[0], -1)
        scales = weights.quantization.scale
        step = ((scales * values.any(1)).max() or scales.max()) * np.float32(127 / STEPS_4BIT)
        ratios = (scales / step)[:, None]
        weights.type = schema.TensorType.INT4
        _replace(model, weights, step, pack_nibbles(np.round(values * ratios).astype(np.int8).ravel()))
        for bias in rest:
            sums = np.frombuffer(bytes(model.buffers[bias.buffer].data), np.int32)
            of_input = bias.quantization.scale[0] / scales[0]
            _replace(model, bias, of_input * step, np.round(sums * ratios[:, 0]).astype(np.int32).view(np.uint8))


def _replace(model: Any, tensor: Any, scale: np.float32, data: np.ndarray) -> None:
    """Gives a tensor other data, of one scale. (Equal tensors share a buffer.)"""
    tensor.quantization.scale = np.array([scale], np.float32)
    tensor.quantization.zeroPoint = np.zeros(1, np.int64)
    tensor.buffer = len(model.buffers)
    model.buffers.append(schema.BufferT())
    model.buffers[-1].data = data


def pack_nibbles(values: np.ndarray) -> np.ndarray:
    """The lower four bits of integers [..., n], n even, as TFLite's INT4: uint8 [..., n / 2], the first one lower."""
    nibbles = values & 15
    return (nibbles[..., 0::2] | nibbles[..., 1::2] << 4).astype(np.uint8)


def unpack_nibbles(packed: np.ndarray) -> np.ndarray:
    """The inverse of :func:`pack_nibbles`, int8."""
    nibbles = np.stack([packed & 15, packed >> 4], 1).reshape(-1)
    return ((nibbles ^ 8).astype(np.int8) - 8).astype(np.int8)


class _Builder(flatbuffers.Builder):
    """A builder that stores equal arrays once: a shape, a scale or a zero point takes more than a weight."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._arrays: dict[tuple[str, bytes], int] = {}

    def CreateNumpyVector(self, x: np.ndarray) -> int:
        key = (x.dtype.str, x.tobytes())
        if key not in self._arrays:
            self._arrays[key] = super().CreateNumpyVector(x)
        return self._arrays[key]


def _slim(model: Any) -> bytes:
    """The flatbuffer without what nothing reads: inner names, signatures, metadata, observed ranges, data."""
    graph = model.subgraphs[0]
    buffers = [schema.BufferT()]  # the first one is that of tensors without data
    places: dict[int, int] = {}
    by_rank = ((graph.inputs, {3: b"embedding", 4: b"mask"}), (graph.outputs, {2: b"classes", 3: b"tags"}))
    names = {int(t): kinds[len(graph.tensors[t].shape)] for ends, kinds in by_rank for t in ends}
    for index, tensor in enumerate(graph.tensors):
        tensor.name = names.get(index)
        if tensor.quantization is not None:
            tensor.quantization.min = tensor.quantization.max = None
            if tensor.quantization.scale is None:
                tensor.quantization = None
        tensor.shapeSignature = None
        buffer = model.buffers[tensor.buffer]
        if buffer.data is None:
            tensor.buffer = 0
            continue
        if tensor.buffer not in places:
            places[tensor.buffer] = len(buffers)
            buffers.append(buffer)
        tensor.buffer = places[tensor.buffer]
    model.buffers = buffers
    model.signatureDefs = model.metadata = model.metadataBuffer = None
    model.description = b""
    graph.name = b""
    builder = _Builder(1 << 17)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


# ---- the flatbuffer as an encoder --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Matrix:
    """A FULLY_CONNECTED or CONV_2D: weights, int8 [rows, columns], and how their sums become int8."""

    offset: int
    """Of the weights in the flatbuffer, bytes."""
    weights: np.ndarray
    bias_offset: int
    """Of the bias in the flatbuffer, bytes; 0 if there is none."""
    bias: np.ndarray
    """int64 [rows]."""
    scales: np.ndarray
    """float64 [rows] or [1]: input scale * weight scale / output scale."""
    input_zero: int
    output_zero: int
    relu: bool
    bits: int = 8
    """Of a stored weight."""

    @property
    def bytes(self) -> int:
        """Of all weights."""
        return self.weights.size * self.bits // 8


@dataclass(frozen=True)
class Sum:
    """An ADD; scales and zero points of a, b and the output."""

    scales: tuple[float, float, float]
    zeros: tuple[int, int, int]


@dataclass(frozen=True)
class Layer:
    """A layer of the encoder, as ub_layer of firmware/agent/bundle_format.h."""

    query: Matrix
    key: Matrix
    value: Matrix
    output: Matrix
    up: Matrix
    down: Matrix
    attention_residual: Sum
    feed_forward_residual: Sum
    logits: float
    """Scale of q k^T: from int32 to int8."""
    context: float
    mask: Sum
    softmax_scale: float
    heads: int
    attention_zero: int
    feed_forward_zero: int


@dataclass(frozen=True)
class Encoder:
    """Everything that the firmware's encoder needs to know of a flatbuffer."""

    positions: int
    embed: int
    kernel: int
    convolution: Matrix
    layers: tuple[Layer, ...]
    class_head: Matrix
    tag_head: Matrix
    final_zero: int
    embedding_scale: float
    class_scale: float
    tag_scale: float


class _Graph:
    """A flatbuffer's tensors and operators, walked backwards from the outputs."""

    TRANSPARENT = frozenset(("RESHAPE", "TRANSPOSE", "STRIDED_SLICE"))

    def __init__(self, flatbuffer: bytes) -> None:
        self.bytes = flatbuffer
        self.view = schema.Model.GetRootAs(flatbuffer, 0)
        self.model = schema.ModelT.InitFromPackedBuf(flatbuffer, 0)
        self.tensors = self.model.subgraphs[0].tensors
        self.operators = list(zip(operator_names(self.model), self.model.subgraphs[0].operators, strict=True))
        self.made = {o.outputs[0]: (name, o) for name, o in self.operators}
        self.named = {t.name.decode(): i for i, t in enumerate(self.tensors) if t.name}

    def source(self, tensor: int, kind: str) -> Any:
        """The operator of ``kind`` that made a tensor, looking through those that only move data."""
        name, operator = self.made[tensor]
        while name in self.TRANSPARENT:
            name, operator = self.made[operator.inputs[0]]
        if name != kind:
            raise UserError(
                f"the flatbuffer has {name} where the firmware's encoder has {kind}; it is of another architecture"
            )
        return operator

    def kind(self, tensor: int) -> str:
        name, operator = self.made[tensor]
        while name in self.TRANSPARENT:
            name, operator = self.made[operator.inputs[0]]
        return name

    def scale(self, tensor: int) -> float:
        return float(self.tensors[tensor].quantization.scale[0])

    def zero(self, tensor: int) -> int:
        return int(self.tensors[tensor].quantization.zeroPoint[0])

    def shape(self, tensor: int) -> list[int]:
        return [int(s) for s in self.tensors[tensor].shape]

    def constant(self, tensor: int, dtype: Any) -> np.ndarray:
        data = bytes(self.model.buffers[self.tensors[tensor].buffer].data)
        narrow = self.bits(tensor) == 4
        values = unpack_nibbles(np.frombuffer(data, np.uint8)) if narrow else np.frombuffer(data, dtype)
        return values.reshape(self.shape(tensor))

    def bits(self, tensor: int) -> int:
        """Of a weight."""
        return 4 if self.tensors[tensor].type == schema.TensorType.INT4 else 8

    def offset(self, tensor: int) -> int:
        buffer = self.view.Buffers(self.tensors[tensor].buffer)
        table = buffer._tab
        return int(table.Vector(table.Offset(4)))

    def product_scale(self, a: int, b: int, output: int) -> float:
        return product_scale(self.scale(a), self.scale(b), self.scale(output))

    def matrix(self, operator: Any) -> Matrix:
        x, w = operator.inputs[0], operator.inputs[1]
        y = operator.outputs[0]
        weights = self.constant(w, np.int8)
        weights = weights.reshape(weights.shape[0], -1)
        bias, bias_offset = np.zeros(len(weights), np.int64), 0
        if len(operator.inputs) > 2 and operator.inputs[2] >= 0:
            bias += self.constant(operator.inputs[2], np.int32).reshape(-1)
            bias_offset = self.offset(operator.inputs[2])
        scales = np.array(
            [product_scale(self.scale(x), float(s), self.scale(y)) for s in self.tensors[w].quantization.scale]
        )
        relu = operator.builtinOptions.fusedActivationFunction == schema.ActivationFunctionType.RELU
        return Matrix(
            self.offset(w), weights, bias_offset, bias, scales, self.zero(x), self.zero(y), relu, self.bits(w)
        )

    def sum(self, operator: Any, first: int) -> Sum:
        a, b = operator.inputs
        if a != first:
            a, b = b, a
        spots = (a, b, operator.outputs[0])
        s = tuple(self.scale(t) for t in spots)
        z = tuple(self.zero(t) for t in spots)
        return Sum((s[0], s[1], s[2]), (z[0], z[1], z[2]))


def read_encoder(flatbuffer: bytes) -> Encoder:
    """Finds the encoder's parts in a flatbuffer by following it from its outputs to its inputs.

    Raises:
        UserError: it is not one of this project's students.
    """
    g = _Graph(flatbuffer)
    class_head = g.source(g.named["classes"], "FULLY_CONNECTED")
    tag_head = g.source(g.named["tags"], "FULLY_CONNECTED")
    stream = g.source(class_head.inputs[0], "L2_NORMALIZATION").inputs[0]
    final_zero = g.zero(stream)
    layers: list[Layer] = []
    while g.kind(stream) == "ADD":
        layer, stream = _read_layer(g, stream)
        layers.insert(0, layer)
    convolution = g.source(stream, "CONV_2D")
    positions, embed = g.shape(g.named["embedding"])[1:]
    return Encoder(
        positions=positions,
        embed=embed,
        kernel=g.shape(convolution.inputs[1])[1],
        convolution=g.matrix(convolution),
        layers=tuple(layers),
        class_head=g.matrix(class_head),
        tag_head=g.matrix(tag_head),
        final_zero=final_zero,
        embedding_scale=g.scale(g.named["embedding"]),
        class_scale=g.scale(g.named["classes"]),
        tag_scale=g.scale(g.named["tags"]),
    )


def _branch(g: _Graph, add: Any) -> tuple[int, int]:
    """The inputs of a residual ADD: the stream and the branch, which a FULLY_CONNECTED made."""
    a, b = add.inputs
    return (b, a) if g.kind(a) == "FULLY_CONNECTED" else (a, b)


def _read_layer(g: _Graph, tensor: int) -> tuple[Layer, int]:
    """The layer whose output is ``tensor``, and the tensor that enters it."""
    fed = g.source(tensor, "ADD")
    stream, branch = _branch(g, fed)
    down = g.source(branch, "FULLY_CONNECTED")
    up = g.source(down.inputs[0], "FULLY_CONNECTED")
    feed_forward = g.source(up.inputs[0], "L2_NORMALIZATION").inputs[0]

    attended = g.source(stream, "ADD")
    entered, branch = _branch(g, attended)
    output = g.source(branch, "FULLY_CONNECTED")
    context = g.source(output.inputs[0], "BATCH_MATMUL")
    softmax = g.source(context.inputs[0], "SOFTMAX")
    masked = g.source(softmax.inputs[0], "ADD")
    mask = g.named["mask"]
    product = g.source(masked.inputs[0] if masked.inputs[1] == mask else masked.inputs[1], "BATCH_MATMUL")
    query, key = (g.source(t, "FULLY_CONNECTED") for t in product.inputs)
    value = g.source(context.inputs[1], "FULLY_CONNECTED")

    layer = Layer(
        query=g.matrix(query),
        key=g.matrix(key),
        value=g.matrix(value),
        output=g.matrix(output),
        up=g.matrix(up),
        down=g.matrix(down),
        attention_residual=g.sum(attended, entered),
        feed_forward_residual=g.sum(fed, stream),
        logits=g.product_scale(product.inputs[0], product.inputs[1], product.outputs[0]),
        context=g.product_scale(context.inputs[0], context.inputs[1], context.outputs[0]),
        mask=g.sum(masked, product.outputs[0]),
        softmax_scale=g.scale(softmax.inputs[0]),
        heads=g.shape(product.outputs[0])[1],
        attention_zero=g.zero(g.source(query.inputs[0], "L2_NORMALIZATION").inputs[0]),
        feed_forward_zero=g.zero(feed_forward),
    )
    return layer, entered
