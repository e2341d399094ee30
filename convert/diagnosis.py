"""What the firmware makes of labelled sentences, and where it is wrong: figures and examples as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from convert.calibration import risk_curve
from train.agentlib import Agent
from train.errors import UserError
from train.examples import Example, Slot, example_to_json
from train.metrics import Prediction, confusions, measure, spans

BINS = 10
EXAMPLES = 3
"""Sentences that are shown of a confusion or a slot."""
MISTAKES = 8
"""Sentences that are shown of those wrongly accepted, and of those wrongly rejected."""


@dataclass(frozen=True)
class Heard:
    """A labelled sentence and what the firmware made of it."""

    gold: Example
    guess: Prediction
    best: str | None
    """The likeliest intent, also where it is rejected."""
    score: float
    """Of that intent, 0 … 1."""


def hear(agent: Agent, examples: Sequence[Example]) -> list[Heard]:
    """Has the firmware's code answer sentences; one that it refuses counts as rejected."""
    return [_hear(agent, example) for example in examples]


def _hear(agent: Agent, example: Example) -> Heard:
    try:
        answer = agent.parse(example.text)
    except UserError as error:
        return Heard(example, Prediction(None, error=str(error)), None, 0.0)
    if not answer.accepted:
        return Heard(example, Prediction(None), answer.intent, answer.score)
    raw = example.text.encode()
    slots = tuple(Slot(slot, len(raw[:start].decode()), len(raw[:end].decode())) for slot, start, end in answer.slots)
    return Heard(example, Prediction(answer.intent, slots, answer.implied), answer.intent, answer.score)


def diagnose(heard: Sequence[Heard]) -> dict[str, Any]:
    """A JSON object.

    Returns:
        ``firmware``: the figures of train.metrics but values and time; ``intents``: how often each occurs and is right;
        ``confusions``: pairs of intents, the most frequent first, with sentences; ``slots``: F1 of each, the worst
        first, with sentences; ``calibration``: see :func:`calibration_of`.
    """
    golds, guesses = [h.gold for h in heard], [h.guess for h in heard]
    figures = measure(golds, guesses).to_json()
    return {
        "firmware": {key: figures[key] for key in figures if key not in ("value_accuracy", "device_us")},
        "intents": _intents(heard),
        "confusions": [
            {
                "gold": gold,
                "guess": guess,
                "n": n,
                "examples": [h.gold.text for h in heard if (h.gold.intent, h.guess.intent) == (gold, guess)][:EXAMPLES],
            }
            for (gold, guess), n in confusions(golds, guesses).most_common()
        ],
        "slots": _slots(heard),
        "calibration": calibration_of(heard),
    }


def _intents(heard: Sequence[Heard]) -> list[dict[str, Any]]:
    count = Counter(h.gold.intent for h in heard)
    right = Counter(h.gold.intent for h in heard if h.gold.intent == h.guess.intent)
    return [{"intent": intent, "n": n, "right": right[intent]} for intent, n in count.most_common()]


def _slots(heard: Sequence[Heard]) -> list[dict[str, Any]]:
    wanted, found, right = (Counter[str]() for _ in range(3))
    wrong: dict[str, list[Heard]] = {}
    for h in heard:
        gold, guess = spans(h.gold.slots), spans(h.guess.slots)
        wanted.update(slot for slot, _, _ in gold)
        found.update(slot for slot, _, _ in guess)
        right.update(slot for slot, _, _ in gold & guess)
        # What a rejection or another intent took away says nothing of the slot itself.
        if h.gold.intent == h.guess.intent:
            for slot in {slot for slot, _, _ in gold ^ guess}:
                wrong.setdefault(slot, []).append(h)
    rows = [
        {
            "slot": slot,
            "gold": wanted[slot],
            "found": found[slot],
            "right": right[slot],
            "f1": round(2 * right[slot] / (wanted[slot] + found[slot]), 6),
            "examples": [
                {
                    "text": h.gold.text,
                    "gold": example_to_json(h.gold)["slots"],
                    "guess": [{"slot": s.slot, "start": s.start, "end": s.end} for s in h.guess.slots],
                }
                for h in wrong.get(slot, [])[:EXAMPLES]
            ],
        }
        for slot in wanted | found
    ]
    return sorted(rows, key=lambda row: (row["f1"], row["slot"]))


def calibration_of(heard: Sequence[Heard]) -> dict[str, Any]:
    """Whether the score is the share of right intents, and what each threshold would reject and accept.

    Returns:
        ``reliability``: bins of the score, those with sentences: their bounds, how many sentences, their mean score,
        the share whose best intent is right (of a sentence out of scope none is); ``expected_error``: the mean
        difference of the two, weighted by sentences (Guo et al. 2017); ``curve``: :func:`risk_curve`; ``accepted`` and
        ``rejected``: sentences with score and best intent that are so by mistake, the clearest mistakes first.
    """
    answered = [h for h in heard if h.guess.error is None]
    scores = np.array([h.score for h in answered])
    right = np.array([h.best is not None and h.best == h.gold.intent for h in answered])
    place = np.minimum((scores * BINS).astype(int), BINS - 1)
    reliability = [
        {
            "low": b / BINS,
            "high": (b + 1) / BINS,
            "n": int((place == b).sum()),
            "score": round(float(scores[place == b].mean()), 4),
            "right": round(float(right[place == b].mean()), 4),
        }
        for b in range(BINS)
        if (place == b).any()
    ]
    total = sum(row["n"] for row in reliability)
    error = sum(row["n"] * abs(row["score"] - row["right"]) for row in reliability) / max(1, total)
    curve = risk_curve(scores.tolist(), [h.gold.intent is not None for h in answered])
    accepted = [h for h in answered if h.gold.intent is None and h.guess.intent is not None]
    rejected = [h for h in answered if h.gold.intent is not None and h.guess.intent is None]

    def shown(mistakes: list[Heard], sign: int) -> list[dict[str, Any]]:
        ordered = sorted(mistakes, key=lambda h: sign * h.score)[:MISTAKES]
        return [{"text": h.gold.text, "gold": h.gold.intent, "best": h.best, "score": h.score} for h in ordered]

    return {
        "reliability": reliability,
        "expected_error": round(error, 4),
        "curve": [[round(value, 4) for value in point] for point in curve],
        "accepted": shown(accepted, -1),
        "rejected": shown(rejected, 1),
    }
