"""How far int8 takes every activation of a student from what it is in float."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import tensorflow as tf

from train.agentlib import best_tags
from train.encoding import Encoded
from train.labels import Labels
from train.student import Student
from train.training import predict


@dataclass(frozen=True)
class Activation:
    """An activation of one batch."""

    part: str
    """``input``, ``layer 1`` …, ``heads``."""
    name: str
    value: np.ndarray
    least: float
    """The range that int8 has for it."""
    most: float


class _Tapped(Student):
    """A copy of a student that keeps what passes its ranges."""

    def __init__(self, student: Student) -> None:
        super().__init__(student.shape)
        for mine, theirs in zip(self.variables, student.variables, strict=True):
            mine.assign(theirs)
        self._tap: Any = None

    def activations(self, words: np.ndarray, pieces: tf.Tensor, *, quantized: bool) -> list[Activation]:
        """Every activation of sentences of one length, in the order in which they are computed."""
        found: list[Activation] = []

        def keep(name: str, x: tf.Tensor, bounds: tuple[Any, Any]) -> None:
            done = sum(a.name == "fed" for a in found)
            layers = len(self.shape.heads)
            inside = f"layer {done + 1}" if done < layers else "heads"
            part = "input" if name in ("embedding", "convolution") else inside
            least, most = (float(b) for b in bounds)
            found.append(Activation(part, name.rstrip("0123456789"), x.numpy(), least, most))

        self.quantized, self._tap = quantized, keep
        self(tf.constant(words), pieces)
        return found

    def in_range(self, name: str, x: tf.Tensor) -> tf.Tensor:
        y = super().in_range(name, x)
        if name != "logits":  # clipped, not rounded, in float; they follow as masked ones
            self._tap(name, y, self.ranges[name].bounds())
        return y

    def embed(self, words: tf.Tensor, pieces: tf.Tensor, training: bool) -> tf.Tensor:
        y = super().embed(words, pieces, training)
        self._tap("embedding", y, (-128 * self.table_step, 127 * self.table_step))
        return y


def activation_errors(student: Student, data: Encoded, pieces: tf.Tensor) -> list[dict[str, Any]]:
    """The error of every activation of a rounded student, that of all before it included.

    The student rounds its activations as TFLite does but for the last bit, and its weights too.

    Returns:
        In the order of computation: ``part`` and ``name`` of the activation, ``error``: root mean square of the
        difference over that of the float value, ``beyond``: share of float values outside the range.
    """
    tapped = _Tapped(student)
    sums: dict[tuple[str, str], np.ndarray] = {}
    by_length = np.argsort(data.lengths, kind="stable")
    for length, rows in groupby(by_length, key=lambda i: int(data.lengths[i])):
        words = data.words[list(rows), :length]
        floating, rounded = (tapped.activations(words, pieces, quantized=q) for q in (False, True))
        for f, q in zip(floating, rounded, strict=True):
            beyond = (f.value < f.least) | (f.value > f.most)
            terms = [((q.value - f.value) ** 2).sum(), (f.value**2).sum(), beyond.sum(), f.value.size]
            sums[f.part, f.name] = sums.get((f.part, f.name), 0) + np.array(terms, np.float64)
    return [
        {"part": part, "name": name, "error": _ratio(noise, signal), "beyond": round(float(beyond / size), 6)}
        for (part, name), (noise, signal, beyond, size) in sums.items()
    ]


def logit_errors(
    student: Student,
    data: Encoded,
    pieces: tf.Tensor,
    labels: Labels,
    outputs: Sequence[tuple[np.ndarray, np.ndarray]],
    scales: tuple[float, float],
) -> dict[str, dict[str, float]]:
    """How TFLite Micro's logits differ from those of the student with nothing rounded.

    Args:
        student: the student.
        data: N sentences.
        pieces: of their vocabulary.
        labels: the student's.
        outputs: int8 logits of the N sentences: classes, tags.
        scales: real value of a step of either.

    Returns:
        Of ``classes`` and ``tags``: ``error`` as in :func:`activation_errors`, ``steps``: the mean absolute difference
        in steps, ``same``: the share of sentences with the same likeliest class, or of words with the same tag of those
        that are likeliest together.
    """
    student.quantized = False
    floating = {i: (classes, tags) for i, classes, tags in predict(student, data, pieces)}
    student.quantized = True
    result = {}
    for head, (kind, scale) in enumerate(zip(("classes", "tags"), scales, strict=True)):
        f = np.concatenate([np.atleast_2d(floating[i][head]) for i in range(len(data))])
        q = np.concatenate([np.atleast_2d(output[head]) for output in outputs]) * scale
        result[kind] = {
            "error": _ratio(((q - f) ** 2).sum(), (f**2).sum()),
            "steps": round(float(np.abs(q - f).mean() / scale), 4),
            "same": round(float((q.argmax(1) == f.argmax(1)).mean()), 4),
        }
    same = [
        best_tags(np.clip(np.rint(floating[i][1] / scales[1]), -128, 127).astype(np.int8), labels.any_slots)[0]
        == best_tags(tags, labels.any_slots)[0]
        for i, (_, tags) in enumerate(outputs)
    ]
    result["tags"]["same"] = round(float(np.concatenate(same).mean()), 4)
    return result


def _ratio(noise: float, signal: float) -> float:
    return round(float(np.sqrt(noise / signal)), 5) if signal else 0.0
