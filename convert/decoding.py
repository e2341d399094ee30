"""From float logits to an answer, by the rules of firmware/agent/decode.c: for models that are on no chip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from convert.bundle import Calibration
from convert.calibration import best_intents, tag_shortfalls
from train.agentlib import Token, find_spans
from train.examples import Slot
from train.labels import Labels
from train.metrics import Prediction
from train.training import rounded


@dataclass(frozen=True)
class Heads:
    """What a model says of a sentence."""

    tokens: Sequence[Token]
    classes: np.ndarray
    """float [C], logits."""
    tags: np.ndarray
    """float [tokens, T], logits."""

    def shortfalls(self, labels: Labels) -> np.ndarray:
        """:func:`tag_shortfalls` in the unit of the logits, float64 [C]; at most as far as int8 reaches."""
        steps, step = rounded(self.tags)
        return np.asarray(np.minimum(tag_shortfalls(steps, labels), 255) * step)


class Decoder:
    """Turns logits into predictions.

    Args:
        labels: of the model.
        calibration: how its logits become a score, and which score is enough.
    """

    def __init__(self, labels: Labels, calibration: Calibration) -> None:
        self.labels, self.calibration = labels, calibration
        self._classes = [np.flatnonzero(labels.intent_of == i) for i in range(len(labels.intents))]

    def predict(self, heads: Heads | None) -> Prediction:
        """The answer to a sentence; ``None`` is one without a word."""
        if heads is None:
            return Prediction(None, error="empty")
        logits = heads.classes.astype(np.float64) - self.calibration.tag_weight * heads.shortfalls(self.labels)
        (intent,), (score,) = best_intents(
            logits[None], self.labels, self.calibration.temperature, self.calibration.others
        )
        if score < self.calibration.threshold:
            return Prediction(None)
        own = self._classes[intent]
        best = own[logits[own].argmax()]
        return Prediction(self.labels.intents[intent], self._slots(heads, best), self.labels.classes[best][1])

    def _slots(self, heads: Heads, klass: int) -> tuple[Slot, ...]:
        logits, _ = rounded(heads.tags)
        spans = find_spans(logits, self.labels.masks[klass], self.labels.bits(self.labels.single))
        return tuple(
            Slot(self.labels.slots[slot], heads.tokens[begin].start, heads.tokens[end - 1].end)
            for slot, begin, end in spans
        )
