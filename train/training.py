"""Training a student: float first, then rounding as the chip does, on one cosine schedule."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from train.agentlib import best_tags
from train.encoding import Encoded
from train.examples import write_atomic
from train.labels import Labels
from train.student import Student

BATCH = (tf.TensorSpec((None, None), tf.int32), tf.TensorSpec((None,), tf.int32), tf.TensorSpec((None, None), tf.int32))
"""Words [B, n - 1], classes [B], tags [B, n - 1]."""


@dataclass(frozen=True)
class Schedule:
    """How a student is trained."""

    epochs: int = 12
    batch: int = 64
    learning_rate: float = 4e-3
    quantized_share: float = 0.35
    """Last part of training in which activations and weights are rounded."""
    class_smoothing: float = 0.02
    """Label smoothing of the class; little, for its probability decides on rejection."""
    tag_smoothing: float = 0.05
    seed: int = 1


@dataclass(frozen=True)
class Epoch:
    """What an epoch came to."""

    epoch: int
    quantized: bool
    loss: float
    valid_intent: float
    """Share of validation sentences with the right intent (null for those out of scope)."""
    valid_exact: float
    """Share with the right intent and all tags."""


def predict(
    student: Student, data: Encoded, pieces: tf.Tensor, batch: int = 256
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """The logits of every sentence: its index, classes [C], tags [words, T]."""

    @tf.function(input_signature=[tf.TensorSpec((None, None), tf.int32)])
    def forward(words: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        return student(words, pieces)

    for rows in data.batches(batch):
        most = int(data.lengths[rows].max())
        classes, tags, _ = forward(tf.constant(data.words[rows, :most]))
        for i, c, t in zip(rows, classes.numpy(), tags.numpy(), strict=True):
            yield int(i), c, t[: data.lengths[i]]


def evaluate(student: Student, data: Encoded, pieces: tf.Tensor, labels: Labels) -> tuple[float, float]:
    """Share of sentences with the right intent, and with right intent and tags."""
    intent_of = np.array([-1 if intent is None else intent for intent, _ in labels.classes])
    masks = legal_masks(labels)
    right = exact = 0
    for i, classes, tags in predict(student, data, pieces):
        intent = intent_of[classes.argmax()]
        hit = intent == intent_of[data.classes[i]]
        right += hit
        if hit and intent >= 0:
            rounded = np.round(tags * (127 / np.abs(tags).max())).astype(np.int8)
            hit = np.array_equal(best_tags(rounded, masks[intent]), data.tags[i, : len(tags)])
        exact += hit
    return right / len(data), exact / len(data)


def legal_masks(labels: Labels) -> list[bytes]:
    """Per intent, a bit for every slot that it can carry."""
    size = (len(labels.slots) + 7) // 8
    return [sum(1 << s for s in legal).to_bytes(size, "little") for legal in labels.legal]


def train(
    student: Student,
    train_data: Encoded,
    valid_data: Encoded,
    pieces: np.ndarray,
    labels: Labels,
    schedule: Schedule,
    progress: Callable[[int, int, float], None],
    finished: Callable[[Epoch], None],
) -> None:
    """Trains ``student`` in place.

    Args:
        student: the model; its ranges are observed in the float part and learned in the quantized one.
        train_data: labelled sentences.
        valid_data: labelled sentences to measure every epoch on; nothing is chosen by them.
        pieces: of the vocabulary of both.
        labels: of both.
        schedule: how long and how fast.
        progress: called with steps done, steps in all, loss.
        finished: called at the end of every epoch.
    """
    keras.utils.set_random_seed(schedule.seed)
    per_epoch = math.ceil(len(train_data) / schedule.batch)
    steps = per_epoch * schedule.epochs
    warmup = max(1, steps // 20)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, steps - warmup, warmup_target=schedule.learning_rate, warmup_steps=warmup, alpha=0.01
    )
    optimizer = keras.optimizers.Adam(rate, clipnorm=1.0, beta_2=0.99)
    optimizer.build(student.trainable_variables)
    rows = tf.constant(pieces)

    def make_step() -> Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]:
        @tf.function(input_signature=BATCH)
        def step(words: tf.Tensor, classes: tf.Tensor, tags: tf.Tensor) -> tf.Tensor:
            with tf.GradientTape() as tape:
                class_logits, tag_logits, _ = student(words, rows, training=True)
                loss = smoothed_loss(class_logits, classes, schedule.class_smoothing)
                loss += smoothed_loss(tag_logits, tags, schedule.tag_smoothing)
            variables = student.trainable_variables
            gradients = tape.gradient(loss, variables)
            pairs = [(tf.zeros_like(v) if g is None else g, v) for g, v in zip(gradients, variables, strict=True)]
            optimizer.apply_gradients(pairs)
            return loss

        return step

    done, first_quantized = 0, schedule.epochs - max(1, round(schedule.epochs * schedule.quantized_share))
    step = make_step()
    for epoch in range(schedule.epochs):
        if epoch == first_quantized:
            student.start_quantizing()
            step = make_step()  # traced anew
        total = 0.0
        for batch in train_data.batches(schedule.batch, seed=schedule.seed * 1000 + epoch):
            most = int(train_data.lengths[batch].max())
            total += float(
                step(
                    tf.constant(train_data.words[batch, :most]),
                    tf.constant(train_data.classes[batch]),
                    tf.constant(train_data.tags[batch, :most]),
                )
            )
            done += 1
            progress(done, steps, total / (done - epoch * per_epoch))
        intent, exact = evaluate(student, valid_data, rows, labels)
        finished(Epoch(epoch + 1, student.quantized, total / per_epoch, intent, exact))


def smoothed_loss(logits: tf.Tensor, targets: tf.Tensor, smoothing: float) -> tf.Tensor:
    """Cross-entropy with label smoothing (Szegedy et al. 2016), the mean over targets that are not negative."""
    log_p = tf.nn.log_softmax(logits)
    known = tf.cast(targets >= 0, tf.float32)
    hit = tf.gather(log_p, tf.maximum(targets, 0), batch_dims=len(targets.shape))
    loss = -(1 - smoothing) * hit - smoothing * tf.reduce_mean(log_p, -1)
    return tf.reduce_sum(loss * known) / tf.maximum(1.0, tf.reduce_sum(known))


def write_history(path: Path, history: list[Epoch]) -> None:
    """The epochs as JSON."""
    write_atomic(path, json.dumps([asdict(e) for e in history], indent=1) + "\n")
