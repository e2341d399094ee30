"""Pruning: importance, choice, and a cut that changes nothing but what it takes away."""

from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

from train.cost import CHIPS, Budget, Pricing
from train.encoding import Encoded
from train.errors import UserError
from train.learner import Learner
from train.pruning import (
    GROUP,
    MARGIN,
    Importance,
    Kept,
    Layer,
    Pruner,
    Pruning,
    choose,
    cut,
    importance,
    smallest,
)
from train.student import Shape, Student

SHAPE = Shape(3, 5, positions=8, rows=64, embed=16, width=16, heads=(3, 2), head_width=4, hidden=(12, 8))
PIECES = np.array([[64, 64], [9, 20], [10, 64], [30, 41], [63, 12]], np.int32)
PRICE = Pricing(data_bytes=1000, positions=5, chip=CHIPS["esp32c3"])
rng = np.random.default_rng(5)
WORDS = rng.integers(1, 5, (40, 7)).astype(np.int32)
DATA = Encoded(WORDS, np.full(40, 7, np.int32), (WORDS[:, 0] % 3).astype(np.int32), (WORDS > 2).astype(np.int32))
PLAN = Pruning(steps=3, batches=2, batch=20)


def student_of(shape: Shape = SHAPE) -> Student:
    """A student with biases and other weights than another seed's."""
    student = Student(shape, seed=3)
    for i, variable in enumerate(student.trainable_variables):
        if len(variable.shape) == 1:
            variable.assign(np.random.default_rng(i).normal(size=variable.shape) / 4)
    return student


def learner_of(student: Student) -> Learner:
    """With moments that differ from zero."""
    learner = Learner(student, 1e-3, seed=1, components=6)
    learner.optimizer.apply_gradients([(tf.convert_to_tensor(v) * 0.1, v) for v in learner.variables])
    return learner


def logits(student: Student) -> list[np.ndarray]:
    """What a student says."""
    return [x.numpy() for x in student(tf.constant(WORDS), tf.constant(PIECES))[:2]]


def silence(student: Student, kept: Kept) -> None:
    """Sets all weights that a part alone needs to zero, so that it is there and does nothing."""
    shape = student.shape
    table = student.table.value.numpy()
    table[:, [c for c in range(shape.embed) if c not in kept.columns]] = 0
    student.table.assign(table)
    layers = {layer.place: layer for layer in kept.layers}
    for place, (heads, hidden) in enumerate(zip(shape.heads, shape.hidden, strict=True)):
        layer = layers.get(place, Layer(place, (), ()))
        for name, count, width, parts in (
            ("output", heads, shape.head_width, layer.heads),
            ("down", hidden, 1, layer.neurons),
        ):
            matrix = student.matrices[f"{name}{place}"].value.numpy()
            for part in set(range(count)) - set(parts):
                matrix[part * width : (part + 1) * width] = 0
            student.matrices[f"{name}{place}"].assign(matrix)
            if place not in layers:
                student.biases[f"{name}{place}"].assign(np.zeros(shape.width))


@pytest.mark.parametrize(
    "kept",
    [
        Kept.all_of(SHAPE),
        Kept((Layer(0, (0, 2), (1, 4, 5, 11)), Layer(1, (1,), tuple(range(8)))), tuple(range(16))),
        Kept((Layer(1, (0, 1), (0, 1, 2, 7)),), (0, 3, 4, 5, 8, 9, 14, 15)),
    ],
)
def test_a_cut_student_says_what_the_whole_one_says_without_those_parts(kept: Kept) -> None:
    whole = student_of()
    learner = learner_of(whole)
    smaller = Learner(Student(kept.shape(SHAPE)), 1e-3, seed=9, components=6)
    smaller.restore(cut(learner.state, SHAPE, kept))
    silence(whole, kept)
    for a, b in zip(logits(whole), logits(smaller.student), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)


def test_a_cut_takes_the_moments_along() -> None:
    kept = Kept((Layer(1, (1,), (0, 2, 5, 6)),), tuple(range(8)))
    state = learner_of(student_of()).state
    smaller = cut(state, SHAPE, kept)
    np.testing.assert_array_equal(smaller["student/up0:momentum"], state["student/up1:momentum"][:, [0, 2, 5, 6]])
    np.testing.assert_array_equal(smaller["student/query0:momentum"], state["student/query1:momentum"][:, 4:8])
    np.testing.assert_array_equal(smaller["lexical_probe/kernel:momentum"], state["lexical_probe/kernel:momentum"][:8])
    np.testing.assert_array_equal(smaller["student/table:velocity"], state["student/table:velocity"][:, :8])
    assert smaller["steps"] == 1
    assert np.abs(state["student/up1:momentum"]).max() > 0


def test_importance_is_the_change_of_the_loss_to_first_order() -> None:
    student = student_of()
    one = Encoded(DATA.words[:8], DATA.lengths[:8], DATA.classes[:8], DATA.tags[:8])
    worth = importance(student, one, tf.constant(PIECES), Pruning(batches=1, batch=8), seed=0)
    assert [w.shape for w in worth.heads] == [(3,), (2,)]
    assert [w.shape for w in worth.neurons] == [(12,), (8,)]
    assert worth.columns.shape == (16,)

    from train.training import path_loss, smoothed_loss

    def loss() -> float:
        classes, tags, _ = student(tf.constant(one.words), tf.constant(PIECES))
        return float(smoothed_loss(classes, tf.constant(one.classes), 0.0) + path_loss(tags, tf.constant(one.tags)))

    def change(variable: keras.Variable, part: tuple[slice | int, ...]) -> float:
        """Of the loss, by how much a part is scaled."""
        kept, step = variable.value.numpy(), 1e-2
        values = []
        for scale in (1 + step, 1 - step):
            scaled = kept.copy()
            scaled[part] *= scale
            variable.assign(scaled)
            values.append(loss())
        variable.assign(kept)
        return abs(values[0] - values[1]) / (2 * step)

    channels = [change(student.matrices["output0"], (channel,)) for channel in range(8, 12)]
    assert worth.heads[0][2] == pytest.approx(sum(channels), rel=0.05, abs=1e-4)
    assert worth.neurons[1][3] == pytest.approx(change(student.matrices["down1"], (3,)), rel=0.05, abs=1e-4)
    assert worth.columns[7] == pytest.approx(change(student.table, (slice(None), 7)), rel=0.05, abs=1e-4)


def test_a_part_that_does_nothing_is_worth_nothing_and_goes_first() -> None:
    student = student_of()
    useless = Kept((Layer(0, (0, 2), tuple(range(4, 12))), Layer(1, (0, 1), tuple(range(8)))), tuple(range(16)))
    silence(student, useless)
    worth = importance(student, DATA, tf.constant(PIECES), PLAN, seed=0)
    assert worth.heads[0][1] == 0
    assert not worth.neurons[0][:4].any()
    assert (worth.heads[0][[0, 2]] > 0).all()
    limits = {"macs": float(SHAPE.macs(5) - 100)}
    assert choose(SHAPE, worth, PRICE, limits) in (
        replace(useless, layers=(replace(useless.layers[0], heads=(0, 1, 2)), useless.layers[1])),
        replace(useless, layers=(replace(useless.layers[0], neurons=tuple(range(12))), useless.layers[1])),
    )


def worth_of(shape: Shape, layer: float = 1.0) -> Importance:
    """Equal importance, and ``layer`` times of it in the first layer."""
    factors = [layer] + [1.0] * (len(shape.heads) - 1)
    return Importance(
        tuple(np.full(heads, 8.0 * f) for heads, f in zip(shape.heads, factors, strict=True)),
        tuple(np.full(hidden, f) for hidden, f in zip(shape.hidden, factors, strict=True)),
        np.full(shape.embed, 1e3),
    )


@pytest.mark.parametrize("share", [0.95, 0.8, 0.6])
@pytest.mark.parametrize("names", [("bytes",), ("macs",), ("ms",), ("bytes", "macs", "ms")])
def test_what_is_chosen_is_within_the_budget_and_no_smaller_than_need_be(names: tuple[str, ...], share: float) -> None:
    shape = Shape(7, 21, heads=(4, 4), hidden=(96, 96))
    whole, least = PRICE(shape), PRICE(smallest(shape))
    limits = {n: getattr(least, n) + share * (getattr(whole, n) - getattr(least, n)) for n in names}
    kept = choose(shape, worth_of(shape), PRICE, limits)
    cost = PRICE(kept.shape(shape))
    assert Budget(**limits).holds(cost)
    assert max(getattr(cost, n) / limits[n] for n in names) > 0.85
    assert all(len(layer.neurons) % GROUP == 0 for layer in kept.layers)


def test_a_layer_goes_that_is_worth_little() -> None:
    shape = Shape(7, 21, heads=(4, 4), hidden=(96, 96))
    kept = choose(shape, worth_of(shape, layer=1e-6), PRICE, {"macs": 0.6 * shape.macs(5)})
    assert [layer.place for layer in kept.layers] == [1]
    assert kept.layers[0] == Layer(1, tuple(range(4)), tuple(range(96)))


def test_a_budget_out_of_reach_is_refused_with_what_can_be_reached() -> None:
    with pytest.raises(
        UserError, match=r"0\.1 kB cannot be reached.*smallest student takes [\d.]+ kB, [\d.]+ kB of RAM; 0"
    ):
        Pruner(SHAPE, Budget(bytes=100), PRICE, DATA, PIECES, print, seed=1)
    reachable = PRICE(smallest(SHAPE))
    Pruner(SHAPE, Budget(bytes=reachable.bytes / (1 - MARGIN) + 1), PRICE, DATA, PIECES, print, seed=1)


def test_a_student_is_pruned_until_its_working_memory_fits() -> None:
    shape = replace(SHAPE, width=160, heads=(8,), head_width=16, hidden=(512,), positions=64, rows=128)
    large = PRICE(shape)
    assert large.arena > PRICE.chip.arena
    pruner = Pruner(shape, Budget(bytes=2 * large.bytes), PRICE, DATA, PIECES, print, seed=1, plan=PLAN)
    smaller = pruner(learner_of(student_of(shape)), 1.0)
    assert smaller is not None
    assert PRICE(smaller[0]).arena <= PRICE.chip.arena


def test_pruning_is_gradual_and_ends_within_the_budget() -> None:
    said: list[str] = []
    whole, least = PRICE(SHAPE), PRICE(smallest(SHAPE))
    budget = Budget(macs=(whole.macs + least.macs) / 2)
    pruner = Pruner(SHAPE, budget, PRICE, DATA, PIECES, said.append, seed=1, plan=PLAN)
    learner = learner_of(student_of())
    seen = [whole.macs]
    for share in np.linspace(0.0, 1.0, 21):
        if smaller := pruner(learner, float(share)):
            assert PLAN.begins <= share <= PLAN.ends + 0.05
            learner = Learner(Student(smaller[0]), 1e-3, seed=1, components=6)
            learner.restore(smaller[1])
            seen.append(PRICE(smaller[0]).macs)
            assert not pruner(learner, float(share)), "a step that is done is not done again"
    assert seen == sorted(seen, reverse=True)
    assert len(seen) == 1 + PLAN.steps, "in several steps"
    assert seen[-1] <= budget.limits["macs"]
    assert len(said) == len(seen) - 1
    assert "MMAC" in said[-1]
