"""How good an agent is on labelled sentences.

Definitions, the same in ``--json``, the table and the README. A rejected sentence has the intent null and no
slots; a sentence that the agent answers with an error (too many words for it, say) counts as rejected, and as
one of ``errors``.

n                  all sentences
intent_accuracy    of the sentences in scope (gold intent not null): predicted intent equals the gold one;
                   a rejected one is wrong
slot_f1            micro F1 over spans, as conlleval and seqeval compute it, 0 … 1: a span counts if slot,
                   start and end are right; over all sentences, so a slot in one out of scope is a false one
exact              of the sentences in scope: intent and every span right
out_of_scope       n of them (gold intent null), and how many the agent accepted
in_scope           n of them, and how many the agent rejected
implied_accuracy   of the sentences in scope: not rejected, and the implied slots are the gold ones; null for a file
                   without any
value_accuracy     of the gold slots with a normalised value: found, and with that value
device_us          50th and 95th percentile (nearest rank) of the device's time for an answer, microseconds

A figure with nothing to count is null.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from train.examples import Example, Slot


@dataclass(frozen=True)
class Prediction:
    """What the agent made of one sentence."""

    intent: str | None
    slots: tuple[Slot, ...] = ()
    implied: tuple[tuple[str, Any], ...] = ()
    """Sorted by name, as in Example."""
    us: int | None = None
    """Device time; None if there was an error."""
    error: str | None = None
    """The agent's error word, if it gave no answer."""


@dataclass(frozen=True)
class OutOfScope:
    n: int
    accepted: int


@dataclass(frozen=True)
class InScope:
    n: int
    rejected: int


@dataclass(frozen=True)
class Percentiles:
    p50: float | None
    p95: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> "Percentiles":
        return cls(percentile(values, 50), percentile(values, 95))


@dataclass(frozen=True)
class Metrics:
    """The figures that this module's docstring defines."""

    n: int
    intent_accuracy: float | None
    slot_f1: float | None
    exact: float | None
    out_of_scope: OutOfScope
    in_scope: InScope
    implied_accuracy: float | None
    value_accuracy: float | None
    device_us: Percentiles
    errors: int

    def to_json(self) -> dict[str, Any]:
        """The figures as a JSON object, fractions with six decimals."""
        return {key: round(value, 6) if isinstance(value, float) else value for key, value in asdict(self).items()}


def measure(examples: Sequence[Example], predictions: Sequence[Prediction]) -> Metrics:
    """The metrics of predictions for as many examples, in the same order."""
    pairs = list(zip(examples, predictions, strict=True))
    inside = [(gold, guess) for gold, guess in pairs if gold.intent is not None]
    outside = [guess for gold, guess in pairs if gold.intent is None]
    right, gold_spans, guessed_spans = 0, 0, 0
    for gold, guess in pairs:
        wanted, found = spans(gold.slots), spans(guess.slots)
        right += len(wanted & found)
        gold_spans += len(wanted)
        guessed_spans += len(found)
    values = [
        Slot(slot.slot, slot.start, slot.end, slot.value) in guess.slots
        for gold, guess in pairs
        for slot in gold.slots
        if slot.value is not None
    ]
    has_implied = any(gold.implied for gold in examples)
    return Metrics(
        n=len(pairs),
        intent_accuracy=_share([gold.intent == guess.intent for gold, guess in inside]),
        slot_f1=2 * right / (gold_spans + guessed_spans) if gold_spans + guessed_spans else None,
        exact=_share([is_exact(gold, guess) for gold, guess in inside]),
        out_of_scope=OutOfScope(len(outside), sum(guess.intent is not None for guess in outside)),
        in_scope=InScope(len(inside), sum(guess.intent is None for _, guess in inside)),
        implied_accuracy=_share([guess.intent is not None and gold.implied == guess.implied for gold, guess in inside])
        if has_implied
        else None,
        value_accuracy=_share(values),
        device_us=Percentiles.of([guess.us for guess in predictions if guess.us is not None]),
        errors=sum(guess.error is not None for guess in predictions),
    )


def is_exact(gold: Example, guess: Prediction) -> bool:
    """Intent (null for a sentence out of scope) and all spans are right."""
    return gold.intent == guess.intent and spans(gold.slots) == spans(guess.slots)


def confusions(
    examples: Sequence[Example], predictions: Sequence[Prediction]
) -> Counter[tuple[str | None, str | None]]:
    """How often a gold intent got another one: (gold, predicted) → count."""
    pairs = zip(examples, predictions, strict=True)
    return Counter((gold.intent, guess.intent) for gold, guess in pairs if gold.intent != guess.intent)


def spans(slots: Sequence[Slot]) -> set[tuple[str, int, int]]:
    """(slot, start, end) of each."""
    return {(slot.slot, slot.start, slot.end) for slot in slots}


def percentile(values: Sequence[float], percent: int) -> float | None:
    """The nearest-rank percentile; None of nothing."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)] if ordered else None


def _share(hits: Sequence[bool]) -> float | None:
    return sum(hits) / len(hits) if hits else None
