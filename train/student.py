"""The student: a transformer encoder whose every activation has the range that int8 will give it.

One forward pass serves training, evaluation and export. It is the graph that firmware/agent/encoder.c computes, in
the same order and with the same names: hashed pieces are summed into word embeddings, a convolution mixes
neighbours, pre-norm layers follow whose norm is x / |x| (RMSNorm with its constant in the next weights), and two
linear heads read the class from the first position and a tag from every other.

Activations are quantized as in training-aware quantization with learned ranges (Jain et al. 2020, "Trained
Quantization Thresholds"): symmetric int8, so that no zero point is left but that of a ReLU.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from train.agentlib import constants
from train.errors import UserError

LOGIT_LIMIT = 8.0
"""Attention logits are clipped to ±8 ..."""
MASK_MARGIN = 14.6
"""... and masked ones pushed this far below any other, where TFLite's softmax gives exactly zero (Q12.19
sum)."""


@dataclass(frozen=True)
class Shape:
    """The sizes of a student. Heads and hidden neurons are given per layer, so that pruning can change
    them."""

    classes: int
    tags: int
    positions: int = 32
    """Words of a sentence + 1."""
    rows: int = 3552
    """Of the embedding table; the first ``positions`` belong to positions, the rest are hash buckets."""
    embed: int = 32
    embed_bits: int = 4
    width: int = 64
    kernel: int = 3
    heads: tuple[int, ...] = (4, 4)
    head_width: int = 16
    hidden: tuple[int, ...] = (96, 96)
    per_channel: bool = False
    """Weights of 8 bits have a scale per output, not per matrix; those of the convolution always do."""
    weight_bits: int = 8
    """Of a weight, 4 or 8."""

    def __post_init__(self) -> None:
        """Refuses what the firmware does not take, or what 4 bits cannot store.

        Raises:
            UserError: names the size, and what it may be.
        """
        limits = constants()
        width = limits["UB_MAX_WIDTH"]
        all_heads = tuple(heads * self.head_width for heads in self.heads)
        for name, sizes, least, most in (
            ("classes", (self.classes,), 1, limits["UB_MAX_CLASSES"]),
            ("tags", (self.tags,), 1, limits["UB_MAX_TAGS"]),
            ("positions", (self.positions,), 2, limits["UB_MAX_POSITIONS"]),
            ("rows", (self.rows,), self.positions + 1, 0xFFFF),
            ("embed", (self.embed,), 2, width),
            ("width", (self.width,), 2, width),
            ("kernel", (self.kernel,), 1, 2 * limits["UB_MAX_POSITIONS"]),
            ("head_width", (self.head_width,), limits["UB_MIN_HEAD"], width),
            ("heads times head_width", all_heads, 1, width),
            ("hidden", self.hidden, 1, limits["UB_MAX_HIDDEN"]),
            ("the number of layers", (len(self.heads),), 0, limits["UB_MAX_LAYERS"]),
        ):
            for size in sizes:
                if not least <= size <= most:
                    raise UserError(f"{name} is {size}: the firmware takes {least} to {most}")
        if len(self.heads) != len(self.hidden):
            raise UserError(f"heads are of {len(self.heads)} layers and hidden of {len(self.hidden)}; give as many")
        if self.macs(self.positions) > limits["UB_MAX_MACS"]:
            raise UserError(
                f"a sentence of full length takes {self.macs(self.positions):,} multiply-accumulates: the firmware "
                f"takes {limits['UB_MAX_MACS']:,}; make the student smaller, or its positions fewer"
            )
        if self.kernel % 2 == 0 or self.embed % 2 or self.embed_bits not in (4, 8):
            raise UserError(
                f"kernel is {self.kernel}, embed {self.embed}, embed_bits {self.embed_bits}: the firmware takes an odd "
                "kernel, an even embed, and 4 or 8 bits"
            )
        inputs = (self.width, *self.hidden, *all_heads)
        if self.weight_bits not in (4, 8) or (
            self.weight_bits == 4 and (self.per_channel or any(size % 2 for size in inputs))
        ):
            raise UserError(
                f"weight_bits is {self.weight_bits}: it is 8, or 4, which takes even sizes (here "
                f"{', '.join(map(str, inputs))}) and no per_channel"
            )

    def to_json(self) -> dict[str, Any]:
        """A JSON object of all sizes."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Shape:
        """The inverse of :meth:`to_json`."""
        return cls(**{**data, "heads": tuple(data["heads"]), "hidden": tuple(data["hidden"])})

    def macs(self, positions: int) -> int:
        """Multiply-accumulates of a sentence of ``positions`` - 1 words."""
        per_position = self.kernel * self.embed * self.width + self.tags * self.width
        for heads, hidden in zip(self.heads, self.hidden, strict=True):
            all_heads = heads * self.head_width
            per_position += 4 * self.width * all_heads + 2 * self.width * hidden + 2 * positions * all_heads
        return positions * per_position + self.classes * self.width - self.tags * self.width


class ActivationRange(keras.layers.Layer):
    """Where an activation is quantized to int8.

    Until :attr:`Student.quantized` is set it passes values through and follows the largest magnitude of a
    batch; then it
    rounds to ``limit`` / 127 steps, and ``limit`` is learned with the weights.

    Args:
        relu: the activation is not negative: 0 … limit instead of ±limit.
        fixed: the range is given, (least, most), and not learned.
    """

    def __init__(self, name: str, *, relu: bool = False, fixed: tuple[float, float] | None = None) -> None:
        super().__init__(name=name)
        self.relu, self.fixed = relu, fixed
        self.limit = self.add_weight(name="limit", shape=(), initializer="ones", trainable=fixed is None)

    def bounds(self) -> tuple[Any, Any]:
        """The real values of int8 -128 and 127."""
        if self.fixed:
            return self.fixed
        limit = tf.maximum(tf.convert_to_tensor(self.limit), 1e-3)
        return (tf.zeros(()), limit) if self.relu else (-limit * 128 / 127, limit)

    def observe(self, x: tf.Tensor) -> None:
        """Follows the range of a float activation: the moving average of a batch's largest magnitude."""
        most = tf.reduce_max(tf.abs(x))
        limit = tf.convert_to_tensor(self.limit)
        self.limit.assign(tf.where(limit == 1.0, most, 0.98 * limit + 0.02 * most))

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Rounds to the 256 values of the range, passing gradients straight through inside it."""
        least, most = self.bounds()
        return tf.quantization.fake_quant_with_min_max_vars(x, least, most, num_bits=8)


def quantize_weights(w: tf.Tensor, axis: int | None) -> tf.Tensor:
    """Rounds weights as TFLite's converter does, symmetric in ±127 steps, with a straight-through gradient.

    ``axis``: of the outputs, for a scale each; ``None`` for one scale.
    """
    others = None if axis is None else [i for i in range(len(w.shape)) if i != axis % len(w.shape)]
    scale = tf.reduce_max(tf.abs(w), axis=others, keepdims=axis is not None) / 127 + 1e-12
    return w + tf.stop_gradient(tf.round(w / scale) * scale - w)


STEPS_4BIT = 7
"""Of 4 bits, either way."""
CLIPPING = (1.0, 0.9, 0.8, 0.7, 0.6)
"""Shares of the largest weight that are tried as the range of 4 bits."""


def quantize_weights_4bit(w: tf.Tensor) -> tf.Tensor:
    """Rounds weights to ±:data:`STEPS_4BIT` steps of one scale, with a straight-through gradient.

    Larger weights are clipped where that leaves the smaller squared error (Banner et al. 2019).
    """
    scales = tf.reduce_max(tf.abs(w)) * tf.constant(CLIPPING) / STEPS_4BIT + 1e-12
    rounded = [tf.clip_by_value(tf.round(w / scale), -STEPS_4BIT, STEPS_4BIT) * scale for scale in tf.unstack(scales)]
    best = tf.argmin([tf.reduce_sum((r - w) ** 2) for r in rounded])
    return w + tf.stop_gradient(tf.gather(tf.stack(rounded), best) - w)


class Student(keras.Model):
    """The model.

    Args:
        shape: its sizes.
        dropout: share of activations, and of words' own pieces, that are dropped in training.
        seed: of the initial weights.
    """

    def __init__(self, shape: Shape, *, dropout: float = 0.1, seed: int = 1) -> None:
        super().__init__(name="student")
        self.shape, self.dropout = shape, dropout
        self.quantized = False
        """Whether activations and weights are rounded as on the chip."""
        self._observing = False
        self._seeds = keras.random.SeedGenerator(seed)
        self._first_seed = 1000 * (seed ^ 1)  # of the matrices: every seed has a thousand of its own
        d, norm_gain = shape.width, math.sqrt(shape.width)
        self.table = self.add_weight(
            name="table",
            shape=(shape.rows, shape.embed),
            initializer=keras.initializers.RandomNormal(stddev=0.1, seed=seed),
        )
        self.table_limit = self.add_weight(name="table_limit", shape=(), initializer="ones")
        self.gains: dict[str, float] = {}
        self.matrices: dict[str, keras.Variable] = {}
        self.biases: dict[str, keras.Variable] = {}
        self.ranges: dict[str, ActivationRange] = {}
        self._matrix("convolution", shape.kernel * shape.embed, d)
        self._range("convolution")
        for i, (heads, hidden) in enumerate(zip(shape.heads, shape.hidden, strict=True)):
            attended = heads * shape.head_width
            self._matrix(f"query{i}", d, attended, gain=norm_gain / math.sqrt(shape.head_width))
            self._matrix(f"key{i}", d, attended, bias=False, gain=norm_gain)
            self._matrix(f"value{i}", d, attended, bias=False, gain=norm_gain)
            self._matrix(f"output{i}", attended, d)
            self._matrix(f"up{i}", d, hidden, gain=norm_gain)
            self._matrix(f"down{i}", hidden, d)
            for name in ("query", "key", "value", "context", "output", "attended", "down", "fed"):
                self._range(f"{name}{i}")
            self._range(f"up{i}", relu=True)
        self._matrix("class_head", d, shape.classes, gain=norm_gain)
        self._matrix("tag_head", d, shape.tags, gain=norm_gain)
        self._range("class_head")
        self._range("tag_head")
        self._range("norm", fixed=(-1.0, 127 / 128))
        self._range("logits", fixed=(-LOGIT_LIMIT, LOGIT_LIMIT * 127 / 128))
        self._range("masked", fixed=(-LOGIT_LIMIT - MASK_MARGIN, LOGIT_LIMIT))
        self._range("probabilities", fixed=(0.0, 255 / 256))
        self.built = True

    def _matrix(self, name: str, inputs: int, outputs: int, *, bias: bool = True, gain: float = 1.0) -> None:
        # The gain is a constant that scales the weight where it is used: one learning rate then fits every matrix.
        self.gains[name] = gain
        init = keras.initializers.GlorotUniform(seed=self._first_seed + len(self.matrices) + 1)
        self.matrices[name] = self.add_weight(name=name, shape=(inputs, outputs), initializer=init)
        if bias:
            self.biases[name] = self.add_weight(name=f"{name}_bias", shape=(outputs,), initializer="zeros")

    def _range(self, name: str, *, relu: bool = False, fixed: tuple[float, float] | None = None) -> None:
        self.ranges[name] = ActivationRange(f"{name}_range", relu=relu, fixed=fixed)

    # ---- pieces of the forward pass ----

    def weight(self, name: str) -> tf.Tensor:
        """``[inputs, outputs]`` of a matrix as it is used, not rounded."""
        return tf.convert_to_tensor(self.matrices[name]) * self.gains[name]

    def quantized_weight(self, w: tf.Tensor, *, per_channel: bool) -> tf.Tensor:
        """A weight rounded to :attr:`Shape.weight_bits`; of 8, with a scale per output if ``per_channel``."""
        if self.shape.weight_bits == 4:
            return quantize_weights_4bit(w)
        return quantize_weights(w, -1 if per_channel else None)

    def in_range(self, name: str, x: tf.Tensor) -> tf.Tensor:
        """An activation with the range of ``name``."""
        spot = self.ranges[name]
        if self.quantized:
            return spot(x)
        if self._observing and spot.fixed is None:
            spot.observe(x)
        return x

    def linear(self, name: str, x: tf.Tensor, activation: Callable[[tf.Tensor], tf.Tensor] | None = None) -> tf.Tensor:
        """``x`` [..., inputs] through a matrix, its bias, an activation, its range."""
        w = self.weight(name)
        if self.quantized:
            w = self.quantized_weight(w, per_channel=self.shape.per_channel)
        # The bias goes on before the reshape, where the converter fuses it.
        y = tf.matmul(tf.reshape(x, (-1, w.shape[0])), w)
        if name in self.biases:
            y += tf.convert_to_tensor(self.biases[name])
        y = self.in_range(name, activation(y) if activation else y)
        return tf.reshape(y, tf.concat([tf.shape(x)[:-1], [w.shape[1]]], 0))

    def normalize(self, x: tf.Tensor) -> tf.Tensor:
        """x / |x| over the last axis."""
        return self.in_range("norm", tf.math.l2_normalize(x, axis=-1, epsilon=1e-6))

    def quantized_table(self) -> tf.Tensor:
        """The embedding table [rows, E] on its grid of ``2 ** embed_bits - 1`` values."""
        table = tf.convert_to_tensor(self.table)
        if not self.quantized:
            return table
        limit = tf.maximum(tf.convert_to_tensor(self.table_limit), 1e-4)
        bits = self.shape.embed_bits
        return tf.quantization.fake_quant_with_min_max_vars(table, -limit, limit, num_bits=bits, narrow_range=True)

    @property
    def table_step(self) -> tf.Tensor:
        """The real value of 1 in the quantized embedding table, and in the encoder's input."""
        return tf.convert_to_tensor(self.table_limit) / (2 ** (self.shape.embed_bits - 1) - 1)

    def _padded_table(self) -> tf.Tensor:
        return tf.concat([self.quantized_table(), tf.zeros((1, self.shape.embed))], 0)

    def word_vectors(self, pieces: tf.Tensor) -> tf.Tensor:
        """The vectors [W, E] of words, given as rows [W, most], without a position."""
        return tf.reduce_sum(tf.gather(self._padded_table(), pieces), 1)

    def embed(self, words: tf.Tensor, pieces: tf.Tensor, training: bool) -> tf.Tensor:
        """``words`` [B, n] and the vocabulary's ``pieces`` to the encoder's input [B, n + 1, E]; zeros where
        no word is."""
        table = self._padded_table()
        distinct, index = tf.unique(tf.reshape(words, [-1]))
        rows = tf.gather(pieces, distinct)
        if training and self.dropout:
            # Without its own piece, which comes first, a word must be read from its parts, as an unknown word is.
            own = keras.random.uniform((tf.shape(rows)[0], 1), seed=self._seeds) < 2 * self.dropout
            first = tf.range(tf.shape(rows)[1])[None, :] == 0
            has_parts = rows[:, 1:2] != self.shape.rows
            rows = tf.where(own & first & has_parts, self.shape.rows, rows)
        x = tf.reduce_sum(tf.gather(table, rows), 1)
        x = tf.gather(x, tf.reshape(index, tf.shape(words)))
        here = tf.cast(words != 0, tf.float32)[..., None]
        if training and self.dropout:
            # Now and then a word is hidden altogether, so that its neighbours must tell what it is.
            x *= tf.cast(keras.random.uniform(tf.shape(here), seed=self._seeds) >= self.dropout / 2, tf.float32)
        x = (x + table[None, 1 : tf.shape(words)[1] + 1]) * here
        x = tf.concat([tf.repeat(table[None, :1], tf.shape(words)[0], 0), x], 1)
        if not self.quantized:
            return x
        return tf.quantization.fake_quant_with_min_max_vars(x, -128 * self.table_step, 127 * self.table_step)

    def convolve(self, x: tf.Tensor) -> tf.Tensor:
        """[B, n, E] to [B, n, D]: every position sees its neighbours, and zeros beyond the ends."""
        s = self.shape
        w = self.weight("convolution")
        if self.quantized:
            w = self.quantized_weight(w, per_channel=True)
        kernel = tf.reshape(w, (s.kernel, 1, s.embed, s.width))
        y = tf.nn.conv2d(x[:, :, None, :], kernel, 1, "SAME") + tf.convert_to_tensor(self.biases["convolution"])
        return self.in_range("convolution", y[:, :, 0, :])

    def attend(self, layer: int, h: tf.Tensor, mask: tf.Tensor, training: bool) -> tf.Tensor:
        """[B, n, D] to the context of all heads [B, n, A]; ``mask`` [B, 1, 1, n] is added to the logits."""
        heads, width = self.shape.heads[layer], self.shape.head_width
        split = (-1, tf.shape(h)[1], heads, width)
        q, k, v = (
            tf.transpose(tf.reshape(self.linear(f"{name}{layer}", h), split), (0, 2, 1, 3))
            for name in ("query", "key", "value")
        )
        logits = tf.matmul(q, k, transpose_b=True)
        logits = (
            self.in_range("logits", logits) if self.quantized else tf.clip_by_value(logits, -LOGIT_LIMIT, LOGIT_LIMIT)
        )
        p = self.in_range("probabilities", tf.nn.softmax(self.in_range("masked", logits + mask)))
        p = self.drop(p, training)
        context = tf.transpose(tf.matmul(p, v), (0, 2, 1, 3))
        return self.in_range(f"context{layer}", tf.reshape(context, (-1, tf.shape(h)[1], heads * width)))

    def drop(self, x: tf.Tensor, training: bool) -> tf.Tensor:
        """Dropout, whose share is rounded to 256ths."""
        gone = round(256 * self.dropout)
        if not (training and gone):
            return x
        # A byte for each activation: the 32 bits that Keras draws took a tenth of a step's time.
        count = tf.size(x)
        bits = tf.random.stateless_uniform((count // 4 + 1,), self._seeds.next(), None, None, tf.uint32)
        drawn = tf.reshape(tf.reshape(tf.bitcast(bits, tf.uint8), (-1,))[:count], tf.shape(x))
        return x * (tf.cast(drawn >= gone, tf.float32) * (256 / (256 - gone)))

    # ---- the forward pass ----

    def encode(self, x: tf.Tensor, mask: tf.Tensor, training: bool = False) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """The encoder.

        Args:
            x: embeddings [B, n, E].
            mask: [B, 1, 1, n], 0 where there is a token and at most ``-2 LOGIT_LIMIT - MASK_MARGIN``
            elsewhere.
            training: whether to drop.

        Returns:
            Logits of the classes [B, C] and of the tags [B, n - 1, T], and the normalized states [B, n, D]
            they come from.
        """
        x = self.drop(self.convolve(x), training)
        for i in range(len(self.shape.heads)):
            branch = self.linear(f"output{i}", self.attend(i, self.normalize(x), mask, training))
            x = self.in_range(f"attended{i}", x + self.drop(branch, training))
            branch = self.linear(f"down{i}", self.linear(f"up{i}", self.normalize(x), tf.nn.relu))
            x = self.in_range(f"fed{i}", x + self.drop(branch, training))
        h = self.normalize(x)
        return self.linear("class_head", h[:, 0]), self.linear("tag_head", h[:, 1:]), h

    def call(
        self, words: tf.Tensor, pieces: tf.Tensor, training: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """``words`` int32 [B, n - 1] and the vocabulary's ``pieces`` to what :meth:`encode` returns."""
        self._observing = training
        x = self.embed(words, pieces, training)
        masked = tf.pad(tf.cast(words == 0, tf.float32), ((0, 0), (1, 0)))
        mask = -(2 * LOGIT_LIMIT + MASK_MARGIN) * masked[:, None, None, :]
        return self.encode(x, mask, training)

    def start_quantizing(self) -> None:
        """From here on rounds as the chip does; the table's range is set to what clips least of a normal
        distribution."""
        deviation = float(np.std(np.asarray(self.table)[self.shape.positions :]))
        # 2.95 standard deviations minimise the squared error of 15 levels, 4.4 of 255 (Banner et al. 2019).
        self.table_limit.assign(deviation * (2.95 if self.shape.embed_bits == 4 else 4.4))
        self.quantized = True
