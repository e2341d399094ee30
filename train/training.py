"""Training a student: float first, then rounding as the chip does, on one cosine schedule."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass

import keras
import numpy as np
import tensorflow as tf

from train.agentlib import best_tags
from train.encoding import PAD_WORD, Encoded
from train.errors import UserError
from train.labels import OUTSIDE, Labels
from train.learner import Checkpoint, Learner, Saved, State
from train.presets import LEAST_EPOCHS, Preset
from train.quiet import uninterrupted
from train.student import Shape, Student

BATCH = (tf.TensorSpec((None, None), tf.int32), tf.TensorSpec((None,), tf.int32), tf.TensorSpec((None, None), tf.int32))
"""Words [B, n - 1], classes [B], tags [B, n - 1]."""
SOFT_BATCH = (
    tf.TensorSpec((None, None), tf.int32),
    tf.TensorSpec((None, None), tf.float16),
    tf.TensorSpec((None, None, None), tf.float16),
)
"""Words [B, n - 1], a teacher's logits of the classes [B, C] and its marginals of the tags [B, n - 1, T]."""

SHARES = 2
"""A step's sentences are computed in so many shares side by side: two cores take a fifth less time, and how many there
are makes no difference to the result."""


@dataclass(frozen=True)
class Schedule:
    """How a student is trained."""

    epochs: int = 12
    """At least :data:`train.presets.LEAST_EPOCHS`."""
    batch: int = 64
    learning_rate: float = 4e-3
    weight_decay: float = 0.0
    """What every step takes off the matrices, as a share of them and of the learning rate (Loshchilov and Hutter
    2019)."""
    dropout: float = 0.1
    """Share of activations, and of words' own pieces, that are dropped."""
    quantized_share: float = 0.35
    """Last part of training in which activations and weights are rounded."""
    class_smoothing: float = 0.02
    """Label smoothing of the class; little, for its probability decides on rejection."""
    swap: float = 0.2
    """Share of words in open slots that are swapped for others that stand there: "the front gym"."""
    open_slot: int = 40
    """A slot that begins, or goes on, with this many different words in training is open."""
    seed: int = 1

    def __post_init__(self) -> None:
        """
        Raises:
            UserError: there are no epochs before rounding begins, in which ranges are seen and pruning cuts.
        """
        if self.epochs < LEAST_EPOCHS:
            raise UserError(f"training needs at least {LEAST_EPOCHS} epochs, not {self.epochs}")

    @classmethod
    def of(cls, preset: Preset, epochs: int, seed: int) -> Schedule:
        """As a preset has it."""
        return cls(
            epochs=epochs,
            batch=preset.batch,
            learning_rate=preset.learning_rate,
            weight_decay=preset.weight_decay,
            dropout=preset.dropout,
            seed=seed,
        )

    @property
    def float_epochs(self) -> int:
        """Epochs before rounding begins."""
        return self.epochs - max(1, round(self.epochs * self.quantized_share))


@dataclass(frozen=True)
class LexicalTargets:
    """What a teacher makes of single words."""

    pieces: np.ndarray
    """int32 [W, most]: the rows of every word."""
    vectors: np.ndarray
    """float32 [W, K]: what the student's word vector must predict, linearly."""
    weight: float = 1.0
    """Of the squared error in the loss."""
    batch: int = 256
    """Words a step."""


@dataclass(frozen=True)
class SoftTargets:
    """Sentences that a teacher has labelled; a step sees as many of them as of those with labels of their own."""

    data: Encoded
    """M sentences; their own labels are not used."""
    classes: np.ndarray
    """float16 [M, C], the teacher's logits."""
    tags: np.ndarray
    """float16 [M, L - 1, T], the teacher's :func:`tag_marginals`."""
    temperature: float = 2.0
    """Of the classes."""
    weight: float = 1.0
    """Of the divergence in the loss."""


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


Prune = Callable[[Learner, float], tuple[Shape, State] | None]
"""Asked after every step of the float part, given the share of it that is done: the sizes and the state of a smaller
student, or ``None``."""


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
    """:func:`accuracy` of a student."""
    return accuracy(((i, c, rounded(t)[0]) for i, c, t in predict(student, data, pieces)), data, labels)


def accuracy(said: Iterable[tuple[int, np.ndarray, np.ndarray]], data: Encoded, labels: Labels) -> tuple[float, float]:
    """Share of sentences with the right intent (out of scope is one), and with right intent and tags; none is rejected.

    said: of every sentence its index, and the logits of its classes [C] and of its words' tags, int8 [words, T].
    """
    right = exact = 0
    for i, classes, tags in said:
        best = classes.argmax()
        hit = bool(labels.intent_of[best] == labels.intent_of[data.classes[i]])
        right += hit
        if hit and labels.intent_of[best] >= 0:
            hit = np.array_equal(best_tags(tags, labels.masks[best])[0], data.tags[i, : len(tags)])
        exact += hit
    return right / len(data), exact / len(data)


def rounded(logits: np.ndarray) -> tuple[np.ndarray, float]:
    """Logits as int8, the largest of a sentence at 127, for :func:`best_tags`; and what a step of them is."""
    most = max(np.abs(logits).max(), 1e-9)
    return np.round(logits * (127 / most)).astype(np.int8), float(most) / 127


def train(
    student: Student,
    train_data: Encoded,
    valid_data: Encoded,
    pieces: np.ndarray,
    labels: Labels,
    schedule: Schedule,
    progress: Callable[[int, int, float], None],
    finished: Callable[[Epoch], None],
    lexical: LexicalTargets | None = None,
    soft: SoftTargets | None = None,
    *,
    prune: Prune | None = None,
    checkpoint: Checkpoint | None = None,
) -> Student:
    """Trains ``student`` in place and returns it, or the smaller one that pruning made of it.

    Args:
        student: the model; its ranges are observed in the float part and learned in the quantized one.
        train_data: labelled sentences.
        valid_data: labelled sentences to measure every epoch on; nothing is chosen by them.
        pieces: of the vocabulary of both.
        labels: of both.
        schedule: how long and how fast.
        progress: called with steps done, steps in all, loss.
        finished: called at the end of every epoch.
        lexical: a teacher's word vectors to learn beside the labels.
        soft: a teacher's labels of other sentences to learn beside them.
        prune: cuts the student in the float part; what follows is its recovery.
        checkpoint: where every epoch is put aside, and an interrupted training is taken up: it ends as if it had not
            been interrupted.
    """
    keras.utils.set_random_seed(schedule.seed)
    per_epoch = math.ceil(len(train_data) / schedule.batch)
    steps = per_epoch * schedule.epochs
    warmup = max(1, steps // 20)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, max(1, steps - warmup), warmup_target=schedule.learning_rate, warmup_steps=warmup, alpha=0.01
    )
    components = lexical.vectors.shape[1] if lexical else 0
    epochs: list[Epoch] = []
    saved = checkpoint.load() if checkpoint else None
    if saved:
        epochs = [Epoch(**e) for e in saved.epochs]
        student = Student(saved.shape, dropout=student.dropout)
        student.quantized = epochs[-1].quantized
        for e in epochs:
            finished(e)

    def learner_of(student: Student) -> Learner:
        return Learner(student, rate, schedule.weight_decay, seed=schedule.seed, components=components)

    learner = learner_of(student)
    if saved:
        learner.restore(saved.state)
    if lexical:
        known_pieces, known_vectors = tf.constant(lexical.pieces), tf.constant(lexical.vectors)

    def lexical_loss(lexical: LexicalTargets) -> tf.Tensor:
        chosen = keras.random.randint((lexical.batch,), 0, len(lexical.pieces), seed=learner.seeds)
        guess = learner.probe(learner.student.word_vectors(tf.gather(known_pieces, chosen)))
        return tf.reduce_mean(tf.reduce_sum((guess - tf.gather(known_vectors, chosen)) ** 2, 1))

    rows = tf.constant(pieces)
    pool, start, count = (tf.constant(a) for a in open_words(train_data, labels.tags, schedule.open_slot))
    swap = schedule.swap if len(pool) else 0.0

    def swapped(words: tf.Tensor, tags: tf.Tensor) -> tf.Tensor:
        at = tf.maximum(tags, 0)
        choices = tf.gather(count, at)
        drawn, moved = (keras.random.uniform(tf.shape(words), seed=learner.seeds) for _ in range(2))
        chosen = tf.cast(drawn * tf.cast(choices, tf.float32), tf.int32)
        other = tf.gather(pool, tf.minimum(tf.gather(start, at) + chosen, len(pool) - 1))
        return tf.where((choices > 0) & (moved < swap), other, words)

    def make_step() -> Callable[..., tf.Tensor]:
        student, variables = learner.student, learner.variables

        @tf.function(input_signature=(*BATCH, *(SOFT_BATCH if soft else ())))
        def step(
            words: tf.Tensor,
            classes: tf.Tensor,
            tags: tf.Tensor,
            soft_words: tf.Tensor = None,
            soft_classes: tf.Tensor = None,
            soft_tags: tf.Tensor = None,
        ) -> tf.Tensor:
            if swap:
                words = swapped(words, tags)
            with tf.GradientTape() as tape:
                losses = []
                for share in (slice(first, None, SHARES) for first in range(SHARES)):
                    class_logits, tag_logits, _ = student(words[share], rows, training=True)
                    losses.append(smoothed_loss(class_logits, classes[share], schedule.class_smoothing))
                    losses.append(path_loss(tag_logits, tags[share]))
                    if soft:
                        asked = soft_words[share]
                        class_logits, tag_logits, _ = student(asked, rows, training=True)
                        divergence = soft_loss(class_logits, soft_classes[share], soft.temperature)
                        divergence += soft_path_loss(tag_logits, soft_tags[share], asked != PAD_WORD)
                        losses.append(soft.weight * divergence)
                loss = tf.add_n(losses) / SHARES
                if lexical:
                    loss += lexical.weight * lexical_loss(lexical)
            gradients = tape.gradient(loss, variables)
            pairs = [(tf.zeros_like(v) if g is None else g, v) for g, v in zip(gradients, variables, strict=True)]
            learner.optimizer.apply_gradients(pairs)
            return loss

        return step

    done = len(epochs) * per_epoch
    soft_batches = itertools.islice(_soft_batches(soft, schedule), done, None) if soft else iter(())
    step = make_step()
    for epoch in range(len(epochs), schedule.epochs):
        if epoch == schedule.float_epochs:
            learner.student.start_quantizing()
            step = make_step()  # traced anew
        total = 0.0
        for batch in _shared(train_data.batches(schedule.batch, seed=schedule.seed * 1000 + epoch)):
            most = int(train_data.lengths[batch].max())
            arrays = [train_data.words[batch, :most], train_data.classes[batch], train_data.tags[batch, :most]]
            if soft:
                arrays += next(soft_batches)
            with uninterrupted():
                total += float(step(*map(tf.constant, arrays)))
            done += 1
            progress(done, steps, total / (done - epoch * per_epoch))
            float_part = done / (schedule.float_epochs * per_epoch)
            if prune and float_part <= 1 and (smaller := prune(learner, float_part)):
                student = Student(smaller[0], dropout=student.dropout)
                learner = learner_of(student)
                learner.restore(smaller[1])
                step = make_step()
        with uninterrupted():
            intent, exact = evaluate(learner.student, valid_data, rows, labels)
        epochs.append(Epoch(epoch + 1, learner.student.quantized, total / per_epoch, intent, exact))
        if checkpoint:
            checkpoint.save(Saved(learner.student.shape, [asdict(e) for e in epochs], learner.state))
        finished(epochs[-1])
    return learner.student


def _shared(batches: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """Batches of which every share has a sentence, the same one if need be."""
    return (np.resize(batch, max(len(batch), SHARES)) for batch in batches)


def _soft_batches(soft: SoftTargets, schedule: Schedule) -> Iterator[list[np.ndarray]]:
    """Batches of a teacher's labels, without end."""
    for epoch in itertools.count():
        for batch in _shared(soft.data.batches(schedule.batch, seed=schedule.seed * 7919 + epoch)):
            most = int(soft.data.lengths[batch].max())
            yield [soft.data.words[batch, :most], soft.classes[batch], soft.tags[batch, :most]]


def soft_loss(logits: tf.Tensor, targets: tf.Tensor, temperature: float) -> tf.Tensor:
    """Cross-entropy with a teacher's softened distribution (Hinton et al. 2015), times T²."""
    p = tf.nn.softmax(tf.cast(targets, tf.float32) / temperature)
    return -(temperature**2) * tf.reduce_mean(tf.reduce_sum(p * tf.nn.log_softmax(logits / temperature), -1))


def open_words(data: Encoded, tags: int, least: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The words that may stand for each other in an open slot: those that begin it, and those that continue it.

    Returns them tag after tag, and where each tag's begin and how many there are, int32 [T]; none for a tag with fewer
    than ``least``, whose words have a meaning of their own.
    """
    found = [np.unique(data.words[data.tags == tag]) for tag in range(tags)]
    kept = [words if tag != OUTSIDE and len(words) >= least else words[:0] for tag, words in enumerate(found)]
    count = np.array([len(words) for words in kept], np.int32)
    return np.concatenate(kept).astype(np.int32), np.cumsum(count, dtype=np.int32) - count, count


def path_loss(logits: tf.Tensor, tags: tf.Tensor) -> tf.Tensor:
    """Negative log-likelihood of the right tags among all sequences of tags that decoding may choose, per word.

    A conditional random field (Lafferty et al. 2001) whose transitions are not learned: I-x may follow B-x and I-x
    alone, all else is free. What training maximizes is then what :func:`best_tags` searches: 4 points more SNIPS
    sentences with all slots right than by the cross-entropy of each word, and nothing more to compute on the chip.

    Args:
        logits: [B, n, T], tags ordered O, B-0, I-0, B-1, I-1, ...
        tags: int32 [B, n], -1 behind the last word of a sentence.
    """
    words = tf.cast(tags >= 0, tf.float32)
    right = tf.reduce_sum(tf.gather(logits, tf.maximum(tags, 0), batch_dims=2) * words, 1)
    return tf.reduce_sum(log_partition(logits, tags >= 0) - right) / tf.reduce_sum(words)


def soft_path_loss(logits: tf.Tensor, marginals: tf.Tensor, known: tf.Tensor) -> tf.Tensor:
    """Cross-entropy with a teacher's distribution over the same sequences, per word.

    A sequence weighs the sum of its tags' logits, so all that counts of the teacher's distribution is how likely each
    tag is at each word.

    Args:
        logits: [B, n, T], the student's.
        marginals: [B, n, T], the teacher's :func:`tag_marginals`.
        known: bool [B, n], where there is a word.
    """
    right = tf.reduce_sum(logits * tf.cast(marginals, tf.float32), (1, 2))
    return tf.reduce_sum(log_partition(logits, known) - right) / tf.reduce_sum(tf.cast(known, tf.float32))


def tag_marginals(logits: tf.Tensor, known: tf.Tensor) -> tf.Tensor:
    """How likely each tag is at each word over all sequences that decoding may choose, [B, n, T]; 0 where none is."""
    with tf.GradientTape() as tape:
        tape.watch(logits)
        total = tf.reduce_sum(log_partition(logits, known))
    return tape.gradient(total, logits)


def log_partition(logits: tf.Tensor, known: tf.Tensor) -> tf.Tensor:
    """The log of the summed weights of all sequences of tags that decoding may choose, [B]."""
    outside, begins, goes_on = logits[..., :1], logits[..., 1::2], logits[..., 2::2]

    # Of all sequences up to a word, by their last tag.
    def next_word(
        i: tf.Tensor, o: tf.Tensor, b: tf.Tensor, g: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        before, here = tf.reduce_logsumexp(tf.concat([o, b, g], 1), 1, keepdims=True), known[:, i, None]
        same = tf.maximum(b, g) + tf.math.softplus(-tf.abs(b - g))
        return (
            i + 1,
            tf.where(here, outside[:, i] + before, o),
            tf.where(here, begins[:, i] + before, b),
            tf.where(here, goes_on[:, i] + same, g),
        )

    slots = tf.TensorShape((None, begins.shape[-1]))
    _, *last = tf.while_loop(
        lambda i, *_: i < tf.shape(logits)[1],
        next_word,
        (1, outside[:, 0], begins[:, 0], tf.fill(tf.shape(begins[:, 0]), -1e4)),
        shape_invariants=(tf.TensorShape(()), tf.TensorShape((None, 1)), slots, slots),
    )
    return tf.reduce_logsumexp(tf.concat(last, 1), 1)


def smoothed_loss(logits: tf.Tensor, targets: tf.Tensor, smoothing: float) -> tf.Tensor:
    """Cross-entropy with label smoothing (Szegedy et al. 2016), the mean over targets that are not negative."""
    log_p = tf.nn.log_softmax(logits)
    known = tf.cast(targets >= 0, tf.float32)
    hit = tf.gather(log_p, tf.maximum(targets, 0), batch_dims=len(targets.shape))
    loss = -(1 - smoothing) * hit - smoothing * tf.reduce_mean(log_p, -1)
    return tf.reduce_sum(loss * known) / tf.maximum(1.0, tf.reduce_sum(known))
