"""Structured pruning: a student is cut, in training, to a smaller dense one that keeps within a budget.

What can go: attention heads, neurons of the feed-forward layers, whole layers, and columns of the embedding table.
What a channel is worth is the first-order change of the loss without it, |Σ gradient · weight| over its weights, the
mean over batches (Molchanov et al. 2019; Michel et al. 2019); what a head or a layer is worth, the sum of its channels.
In some steps, between which training goes on, those parts are removed that are worth least for what they cost.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import tensorflow as tf

from train.cost import Budget, Cost, Pricing, within
from train.encoding import Encoded
from train.errors import OutOfReach
from train.learner import Learner, State
from train.student import Shape, Student
from train.training import BATCH, path_loss, smoothed_loss

GROUP = 4
"""Neurons and columns go by so many: the engine multiplies four at a time."""
LEAST_COLUMNS = 2 * GROUP
MARGIN = 0.005
"""Share of a bundle's bytes by which its prediction may be too low."""
COLUMN_WORTH = 8.0
"""First order underrates the columns, from which all else is computed: on SNIPS, students that never had 16 of 32
(28 kB) were 1.9 points worse, those that never had half of the heads and neurons (49 kB) 0.4."""


@dataclass(frozen=True)
class Pruning:
    """How a student is pruned."""

    steps: int = 5
    begins: float = 0.02
    """Share of the float part of training before the first step ..."""
    ends: float = 0.25
    """... and before the last; what is left is for recovery. On SNIPS's validation part, int8, three seeds, half the
    encoder cost 0.5 points exact; between 0.15 and 0.5 1.3. Never had, it cost 1.8 (two seeds)."""
    batches: int = 64
    """Of training sentences, by which importance is measured before each step ..."""
    batch: int = 16
    """... of so many sentences."""


@dataclass(frozen=True)
class Importance:
    """What every part of a student is worth: the loss that its removal would cost, to first order."""

    heads: tuple[np.ndarray, ...]
    """float [heads] per layer."""
    neurons: tuple[np.ndarray, ...]
    """float [hidden] per layer."""
    columns: np.ndarray
    """float [embed]."""


@dataclass(frozen=True)
class Layer:
    """What is kept of a layer: its place in the student that is cut, and the indices of its parts."""

    place: int
    heads: tuple[int, ...]
    neurons: tuple[int, ...]


@dataclass(frozen=True)
class Kept:
    """What is kept of a student."""

    layers: tuple[Layer, ...]
    columns: tuple[int, ...]

    @classmethod
    def all_of(cls, shape: Shape) -> Kept:
        """Everything."""
        sizes = enumerate(zip(shape.heads, shape.hidden, strict=True))
        layers = tuple(Layer(i, tuple(range(heads)), tuple(range(hidden))) for i, (heads, hidden) in sizes)
        return cls(layers, tuple(range(shape.embed)))

    def shape(self, shape: Shape) -> Shape:
        """The sizes of what is kept of ``shape``."""
        heads, hidden = (tuple(len(getattr(layer, part)) for layer in self.layers) for part in ("heads", "neurons"))
        return replace(shape, heads=heads, hidden=hidden, embed=len(self.columns))


def importance(student: Student, data: Encoded, pieces: tf.Tensor, plan: Pruning, seed: int) -> Importance:
    """Measures what the parts of a student are worth.

    Args:
        student: in its float part.
        data: labelled sentences.
        pieces: of their vocabulary.
        plan: how many sentences are asked.
        seed: of their choice.
    """
    layers = range(len(student.shape.heads))
    watched = [student.table, *(student.matrices[f"{name}{i}"] for i in layers for name in ("output", "down"))]

    @tf.function(input_signature=BATCH)
    def products(words: tf.Tensor, classes: tf.Tensor, tags: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            class_logits, tag_logits, _ = student(words, pieces)
            loss = smoothed_loss(class_logits, classes, 0.0) + path_loss(tag_logits, tags)
        table, *others = [
            tf.convert_to_tensor(v) * g for v, g in zip(watched, tape.gradient(loss, watched), strict=True)
        ]
        # A head counts by its channels, as a layer by its neurons: what one adds and another takes away is not nothing.
        return [tf.abs(tf.reduce_sum(table, 0)), *(tf.abs(tf.reduce_sum(p, 1)) for p in others)]

    totals: list[np.ndarray] = []
    count = 0
    for rows in data.batches(plan.batch, seed=seed):
        most = int(data.lengths[rows].max())
        found = products(*map(tf.constant, (data.words[rows, :most], data.classes[rows], data.tags[rows, :most])))
        totals = [a + b.numpy() for a, b in zip(totals, found, strict=True)] if totals else [f.numpy() for f in found]
        count += 1
        if count == plan.batches:
            break
    columns, *others = [total / count for total in totals]
    heads = (channels.reshape(-1, student.shape.head_width).sum(1) for channels in others[::2])
    return Importance(tuple(heads), tuple(others[1::2]), columns)


def removals(kept: Kept, worth: Importance) -> Iterator[tuple[float, Kept]]:
    """What could go next, of each kind in each place: what it is worth, and what is kept then."""
    for at, layer in enumerate(kept.layers):

        def with_layer(*changed: Layer, at: int = at) -> Kept:
            return replace(kept, layers=(*kept.layers[:at], *changed, *kept.layers[at + 1 :]))

        heads, neurons = worth.heads[layer.place], worth.neurons[layer.place]
        if len(layer.heads) > 1:
            gone, left = least(layer.heads, heads, 1)
            yield heads[gone].sum(), with_layer(replace(layer, heads=left))
        if len(layer.neurons) > GROUP:
            gone, left = least(layer.neurons, neurons, len(layer.neurons) % GROUP or GROUP)
            yield neurons[gone].sum(), with_layer(replace(layer, neurons=left))
        if len(kept.layers) > 1:
            yield heads[list(layer.heads)].sum() + neurons[list(layer.neurons)].sum(), with_layer()
    if len(kept.columns) > LEAST_COLUMNS:
        gone, left = least(kept.columns, worth.columns, len(kept.columns) % GROUP or GROUP)
        yield COLUMN_WORTH * worth.columns[gone].sum(), replace(kept, columns=left)


def least(parts: tuple[int, ...], worth: np.ndarray, count: int) -> tuple[list[int], tuple[int, ...]]:
    """The ``count`` of some parts that are worth least, and the others."""
    gone = sorted(parts, key=lambda part: float(worth[part]))[:count]
    return gone, tuple(part for part in parts if part not in gone)


def choose(shape: Shape, worth: Importance, price: Callable[[Shape], Cost], limits: dict[str, float]) -> Kept:
    """What to keep so that each cost is within its limit: what goes is worth least for what it costs.

    A removal counts by the share of the excess that it takes away, the sum over the costs that are beyond their limits;
    what it takes away beyond that counts for nothing.

    Raises:
        OutOfReach: nothing more can go.
    """
    kept = Kept.all_of(shape)
    while True:
        cost = price(kept.shape(shape))
        excess = {name: getattr(cost, name) - limit for name, limit in limits.items()}
        excess = {name: beyond for name, beyond in excess.items() if beyond > 0}
        if not excess:
            return kept
        best: tuple[float, Kept] | None = None
        for value, smaller in removals(kept, worth):
            after = price(smaller.shape(shape))
            gain = sum(min(1.0, max(0.0, getattr(cost, n) - getattr(after, n)) / excess[n]) for n in excess)
            if gain > 0 and (best is None or value / gain < best[0]):
                best = (value / gain, smaller)
        if best is None:
            raise OutOfReach(f"no smaller student is within {describe(limits)}")
        kept = best[1]


def cut(state: State, shape: Shape, kept: Kept) -> State:
    """The state of a training of which only some parts are kept: weights and the optimizer's moments alike."""
    columns = np.array(kept.columns)
    window = (np.arange(shape.kernel)[:, None] * shape.embed + columns).ravel()
    taken: dict[str, tuple[int, np.ndarray]] = {
        "student/table": (1, columns),
        "student/convolution": (0, window),
        "lexical_probe/kernel": (0, columns),
    }
    places = {layer.place: (new, layer) for new, layer in enumerate(kept.layers)}
    for place, (_, layer) in places.items():
        attended = (np.array(layer.heads)[:, None] * shape.head_width + np.arange(shape.head_width)).ravel()
        neurons = np.array(layer.neurons)
        for name in ("query", "key", "value"):
            taken[f"student/{name}{place}"] = (1, attended)
        taken |= {
            f"student/query{place}_bias": (0, attended),
            f"student/output{place}": (0, attended),
            f"student/up{place}": (1, neurons),
            f"student/up{place}_bias": (0, neurons),
            f"student/down{place}": (0, neurons),
        }
    result: State = {}
    for name, array in state.items():
        path, *_ = name.split(":")
        new_name = name
        if numbered := re.match(r"((?:student/)?[a-z]+)(\d+)", name):
            if int(numbered[2]) not in places:
                continue
            new_name = f"{numbered[1]}{places[int(numbered[2])][0]}{name[numbered.end() :]}"
        axis, indices = taken.get(path, (0, None))
        result[new_name] = array if indices is None else array.take(indices, axis)
    return result


def smallest(shape: Shape) -> Shape:
    """What is left of a student if all goes that can."""
    return replace(shape, heads=(1,), hidden=(GROUP,), embed=min(shape.embed, LEAST_COLUMNS))


class Pruner:
    """Prunes a student in the course of its training.

    Args:
        shape: the sizes that training begins with.
        budget: what the student may cost in the end; its working memory must be what the chip's firmware has, too.
        price: what a student costs.
        data: labelled sentences to measure importance on.
        pieces: of their vocabulary.
        said: called with a line for each step.
        seed: of the sentences.
        plan: how.

    Raises:
        OutOfReach: the budget cannot be reached; says what can.
    """

    def __init__(
        self,
        shape: Shape,
        budget: Budget,
        price: Pricing,
        data: Encoded,
        pieces: np.ndarray,
        said: Callable[[str], None],
        *,
        seed: int,
        plan: Pruning | None = None,
    ) -> None:
        self.price, self.data, self.said, self.seed = price, data, said, seed
        self.plan = plan or Pruning()
        self.pieces = tf.constant(pieces)
        self.start = price(shape)
        self.limits = price.limits(replace(budget, bytes=budget.bytes and budget.bytes * (1 - MARGIN)))
        last = price(smallest(shape))
        if not within(last, self.limits):
            raise OutOfReach(
                f"the budget of {describe(budget.limits)} cannot be reached by pruning: with these labels, "
                f"{shape.rows} rows and width {shape.width} the smallest student takes "
                f"{describe({name: getattr(last, name) for name in self.limits})}; "
                f"{MARGIN:.1%} of the bytes are kept back; allow more, or begin with fewer rows or less width"
            )

    def __call__(self, learner: Learner, share: float) -> tuple[Shape, State] | None:
        """The smaller student, if a step of pruning is due when ``share`` of the float part is done."""
        due = int((np.linspace(self.plan.begins, self.plan.ends, self.plan.steps) <= share).sum())
        limits = {
            name: (limit if due == self.plan.steps else max(limit, start + (limit - start) * due / self.plan.steps))
            for name, limit in self.limits.items()
            for start in (float(getattr(self.start, name)),)
        }
        shape = learner.student.shape
        if not due or within(self.price(shape), limits):
            return None
        worth = importance(learner.student, self.data, self.pieces, self.plan, self.seed * 100 + due)
        kept = choose(shape, worth, self.price, limits)
        smaller = kept.shape(shape)
        cost = self.price(smaller)
        self.said(f"pruned {due}/{self.plan.steps}: {changes(shape, smaller)}; now {describe(vars(cost))}")
        return smaller, cut(learner.state, shape, kept)


def changes(before: Shape, after: Shape) -> str:
    """What a step took away, in words."""
    parts = []
    for name, old, new in (
        ("layers", len(before.heads), len(after.heads)),
        ("heads", sum(before.heads), sum(after.heads)),
        ("neurons", sum(before.hidden), sum(after.hidden)),
        ("embedding columns", before.embed, after.embed),
    ):
        if new < old:
            parts.append(f"{old} to {new} {name}")
    return ", ".join(parts)


def describe(costs: dict[str, float]) -> str:
    """Costs with their units."""
    units = {"bytes": (1e3, "kB"), "macs": (1e6, "MMAC"), "ms": (1.0, "ms"), "arena": (1e3, "kB of RAM")}
    return ", ".join(f"{costs[name] / scale:.3g} {unit}" for name, (scale, unit) in units.items() if name in costs)
