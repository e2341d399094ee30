"""Turning logits into a score that can be trusted. Fitted on validation data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from convert.bundle import Calibration
from train.agentlib import best_tags
from train.labels import Labels


@dataclass(frozen=True)
class Scored:
    """What a model says of labelled sentences."""

    logits: np.ndarray
    """float64 [N, C], of the classes."""
    shortfalls: np.ndarray
    """float64 [N, C], :func:`tag_shortfalls` in the unit of the logits."""
    classes: np.ndarray
    """int [N]"""
    least: float = -np.inf
    """What no logit less its shortfall falls below; on the chip they are int8."""


def tag_shortfalls(tags: np.ndarray, labels: Labels) -> np.ndarray:
    """By how much the likeliest tags that each class allows are behind the likeliest of all, int [C].

    tags: the words' logits, int8 [words, T].
    """
    _, most = best_tags(tags, labels.any_slots)
    behind = {masks: most - best_tags(tags, masks)[1] for masks in set(labels.masks)}
    return np.array([behind[masks] for masks in labels.masks])


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Over the last axis."""
    shifted = logits - logits.max(-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(-1, keepdims=True)))


def fit_temperature(logits: np.ndarray, classes: np.ndarray) -> float:
    """The temperature of least negative log-likelihood (Guo et al. 2017), by golden-section search in 0.05 … 5.

    logits: float64 [N, C]; classes: the right ones, int [N].
    """

    def loss(temperature: float) -> float:
        return -float(log_softmax(logits / temperature)[np.arange(len(classes)), classes].mean())

    low, high = 0.05, 5.0
    ratio = (5**0.5 - 1) / 2
    while high - low > 1e-3:
        a, b = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, b) if loss(a) < loss(b) else (a, high)
    return (low + high) / 2


def best_intents(
    logits: np.ndarray, labels: Labels, temperature: float, others: float
) -> tuple[np.ndarray, np.ndarray]:
    """Of logits [N, C], from which the tags' shortfalls have been taken, the best intents, int [N], and their scores,
    float64 [N], by firmware/agent/decode.c's rule.

    The best intent is that of the likeliest class. The score weighs its probability against "out of scope", and
    ``others`` times against the other intents.
    """
    p = np.exp(log_softmax(logits / temperature))
    intent_of = labels.intent_of
    intents = intent_of[np.where(intent_of < 0, -np.inf, logits).argmax(1)]
    best, outside = (p * (intent_of == intents[:, None])).sum(1), p[:, intent_of == -1].sum(1)
    against = outside + others * (1 - best - outside)
    return np.asarray(intents), np.asarray(best / (best + against))


OTHERS = (1.0, 0.5, 0.25, 0.125, 0.0)
"""Weights of other intents in the score that are tried. Where training had much that is out of scope, its class alone
tells best what is no command; where it had little, that no intent stands out tells more."""


TAG_WEIGHTS = (0.5, 0.75, 0.25, 1.0, 0.0)
"""Weights of the tags beside the classes that are tried, a fair one first. With 1 both heads' likelihoods multiply, as
if they were independent, which makes them too sure."""


def calibrate(scored: Scored, labels: Labels, threshold: float, *, by_sentence: bool = False) -> Calibration:
    """Temperature, and the weights of the tags and of other intents in the score, for the score that is enough.

    The temperature is fitted for every weight of the tags. The weights are those with which fewest sentences are
    answered wrongly, commands by another intent or none and what is out of scope by any, both shares counted alike, or
    ``by_sentence`` every sentence. Where training had nothing out of scope, everything is accepted: ``threshold`` is 0.
    """
    gold = labels.intent_of[scored.classes]
    inside = gold >= 0
    outside = ~inside
    if not (labels.intent_of < 0).any():
        threshold = 0.0
    weight = outside.sum() / max(1, inside.sum()) if by_sentence else 1.0
    found: list[tuple[float, Calibration]] = []
    for tag_weight in TAG_WEIGHTS:
        logits = np.maximum(scored.logits - tag_weight * scored.shortfalls, scored.least)
        temperature = fit_temperature(logits, scored.classes)
        for others in OTHERS:
            intents, scores = best_intents(logits, labels, temperature, others)
            answered = scores >= threshold
            right = (answered & inside & (intents == gold)).sum()
            accepted = (answered & outside).sum()
            cost = 1 - right / max(1, inside.sum()) + weight * accepted / max(1, outside.sum())
            found.append((float(cost), Calibration(temperature, threshold, others, tag_weight)))
    return min(found, key=lambda one: one[0])[1]


def risk_curve(scores: Sequence[float], inside: Sequence[bool]) -> list[tuple[float, float, float]]:
    """(threshold, share of commands rejected, share of other sentences accepted) at a hundred thresholds."""
    s, i = np.asarray(scores), np.asarray(inside, bool)
    return [
        (t, float((s[i] < t).mean()) if i.any() else 0.0, float((s[~i] >= t).mean()) if (~i).any() else 0.0)
        for t in np.arange(0, 1.0001, 0.01)
    ]
