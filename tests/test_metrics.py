"""The metrics, against seqeval and against counting by hand."""

import random

import pytest
from seqeval.metrics import f1_score

from train.examples import Example, Slot
from train.metrics import Prediction, confusions, measure, percentile

WORDS = ["abc", "def", "ghi", "jkl", "mno", "pqr"]
TEXT = " ".join(WORDS)


def random_slots(rng: random.Random) -> tuple[Slot, ...]:
    """Slots on whole words of TEXT."""
    slots, word = [], 0
    while word < len(WORDS):
        length = rng.randint(1, 2)
        if rng.random() < 0.5 and word + length <= len(WORDS):
            slots.append(Slot(rng.choice("xyz"), 4 * word, 4 * (word + length) - 1))
            word += length
        else:
            word += 1
    return tuple(slots)


def bio(slots: tuple[Slot, ...]) -> list[str]:
    tags = ["O"] * len(WORDS)
    for slot in slots:
        first, last = slot.start // 4, slot.end // 4
        tags[first] = f"B-{slot.slot}"
        for word in range(first + 1, last + 1):
            tags[word] = f"I-{slot.slot}"
    return tags


def test_slot_f1_is_seqevals() -> None:
    rng = random.Random(3)
    gold = [random_slots(rng) for _ in range(200)]
    guess = [slots if rng.random() < 0.4 else random_slots(rng) for slots in gold]
    metrics = measure([Example(TEXT, "A", slots) for slots in gold], [Prediction("A", slots, us=1) for slots in guess])
    expected = f1_score([bio(slots) for slots in gold], [bio(slots) for slots in guess])
    assert 0.3 < expected < 0.9
    assert metrics.slot_f1 == pytest.approx(expected, abs=1e-12)


def test_counting_by_hand() -> None:
    light = Slot("area", 0, 3)
    thirty = Slot("brightness", 4, 7, 30)
    on = (("domain", "light"),)
    examples = [
        Example(TEXT, "On", (light,), on),
        Example(TEXT, "On", (light,), on),
        Example(TEXT, "Dim", (light, thirty)),
        Example(TEXT, "Dim", (thirty,)),
        Example(TEXT, None),
        Example(TEXT, None),
        Example(TEXT, None),
    ]
    predictions = [
        Prediction("On", (light,), on, us=10),
        Prediction("Off", (light,), (), us=20),
        Prediction("Dim", (light, Slot("brightness", 4, 7, 3)), us=30),
        Prediction(None, us=40),
        Prediction(None, us=50),
        Prediction("On", (light,), us=60),
        Prediction(None, error="words"),
    ]
    metrics = measure(examples, predictions)
    assert metrics.to_json() == {
        "n": 7,
        "intent_accuracy": 0.5,
        "slot_f1": 0.8,  # 4 right of 5 in gold and 5 predicted
        "exact": 0.5,
        "out_of_scope": {"n": 3, "accepted": 1},
        "in_scope": {"n": 4, "rejected": 1},
        "implied_accuracy": 0.5,
        "value_accuracy": 0.0,
        "device_us": {"p50": 30, "p95": 60},
        "errors": 1,
    }
    assert confusions(examples, predictions) == {("On", "Off"): 1, ("Dim", None): 1, (None, "On"): 1}


def test_nothing_to_count_is_null() -> None:
    metrics = measure([Example(TEXT, None)], [Prediction(None, error="words")]).to_json()
    for key in ("intent_accuracy", "slot_f1", "exact", "implied_accuracy", "value_accuracy"):
        assert metrics[key] is None
    assert metrics["device_us"] == {"p50": None, "p95": None}


def test_values_must_be_right() -> None:
    gold = [Example(TEXT, "Dim", (Slot("brightness", 4, 7, 30),))]
    assert measure(gold, [Prediction("Dim", (Slot("brightness", 4, 7, 30.0),))]).value_accuracy == 1
    assert measure(gold, [Prediction("Dim", (Slot("brightness", 4, 7),))]).value_accuracy == 0
    assert measure(gold, [Prediction("Dim", (Slot("volume", 4, 7, 30),))]).value_accuracy == 0


def test_percentiles_are_nearest_rank() -> None:
    values = list(range(100, 0, -1))
    assert (percentile(values, 50), percentile(values, 95), percentile([7], 95)) == (50, 95, 7)
