"""Turning logits into a score that can be trusted, and choosing the score that is enough. Fitted on validation data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from convert.bundle import Calibration
from train.labels import Labels


@dataclass(frozen=True)
class Scored:
    """What the int8 model says of labelled sentences."""

    logits: np.ndarray
    """float64 [N, C]"""
    classes: np.ndarray
    """int [N]"""


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Over the last axis."""
    shifted = logits - logits.max(-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(-1, keepdims=True)))


def fit_temperature(scored: Scored) -> float:
    """The temperature of least negative log-likelihood (Guo et al. 2017), by golden-section search in 0.05 … 5."""

    def loss(temperature: float) -> float:
        return -float(log_softmax(scored.logits / temperature)[np.arange(len(scored.classes)), scored.classes].mean())

    low, high = 0.05, 5.0
    ratio = (5**0.5 - 1) / 2
    while high - low > 1e-3:
        a, b = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, b) if loss(a) < loss(b) else (a, high)
    return (low + high) / 2


def best_intents(
    logits: np.ndarray, labels: Labels, temperature: float, others: float
) -> tuple[np.ndarray, np.ndarray]:
    """Of logits [N, C] the best intents, int [N], and their scores, float64 [N], by firmware/agent/decode.c's rule.

    The score weighs the best intent against "out of scope", and ``others`` times against the other intents.
    """
    p = np.exp(log_softmax(logits / temperature))
    intent_of = np.array([-1 if i is None else i for i, _ in labels.classes])
    sums = np.stack([p[:, intent_of == i].sum(1) for i in range(len(labels.intents))], 1)
    best, outside = sums.max(1), p[:, intent_of == -1].sum(1)
    against = outside + others * (1 - best - outside)
    return np.asarray(sums.argmax(1)), np.asarray(best / (best + against))


OTHERS = (1.0, 0.5, 0.25, 0.125, 0.0)
"""Weights of other intents in the score that are tried. Where training had much that is out of scope, its class alone
tells best what is no command; where it had little, that no intent stands out tells more."""


def calibrate(scored: Scored, labels: Labels, most_accepted: float, *, by_sentence: bool = False) -> Calibration:
    """Temperature, threshold, and the weight of other intents in the score.

    Weight and threshold are those at which fewest sentences are wrongly rejected or accepted, both shares counted
    alike, or ``by_sentence`` every sentence, among those that accept at most ``most_accepted`` of what is out of scope.
    Without such sentences everything is accepted.
    """
    temperature = fit_temperature(scored)
    inside = np.array([labels.classes[c][0] is not None for c in scored.classes])
    if inside.all() or not inside.any():
        return Calibration(temperature, 0.0)
    thresholds = np.arange(0, 10001) / 10000
    weight = (~inside).sum() / inside.sum() if by_sentence else 1.0

    def cheapest(others: float) -> tuple[float, float]:
        _, scores = best_intents(scored.logits, labels, temperature, others)
        rejected = np.searchsorted(np.sort(scores[inside]), thresholds) / inside.sum()
        accepted = 1 - np.searchsorted(np.sort(scores[~inside]), thresholds) / (~inside).sum()
        cost = np.where(accepted <= most_accepted, rejected + weight * accepted, 2 + weight + accepted)
        best = np.flatnonzero(cost == cost.min())
        return float(cost.min()), float(thresholds[best[len(best) // 2]])

    found = {others: cheapest(others) for others in OTHERS}
    others = min(found, key=lambda o: found[o][0])
    return Calibration(temperature, found[others][1], others)


def risk_curve(scores: Sequence[float], inside: Sequence[bool]) -> list[tuple[float, float, float]]:
    """(threshold, share of commands rejected, share of other sentences accepted) at a hundred thresholds."""
    s, i = np.asarray(scores), np.asarray(inside, bool)
    return [
        (t, float((s[i] < t).mean()) if i.any() else 0.0, float((s[~i] >= t).mean()) if (~i).any() else 0.0)
        for t in np.arange(0, 1.0001, 0.01)
    ]
