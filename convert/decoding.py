"""From float logits to an answer, by the rules of firmware/agent/decode.c: for models that are on no chip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from convert.bundle import Calibration
from convert.calibration import best_intents, tag_shortfalls
from train.agentlib import Token, best_tags
from train.examples import Slot
from train.labels import OUTSIDE, Labels
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
        """:func:`tag_shortfalls` in the unit of the logits, float64 [C]."""
        steps, step = rounded(self.tags)
        return np.asarray(tag_shortfalls(steps, labels) * step)


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
        """The spans of the likeliest tags; a slot that is never said twice keeps one, the surer."""
        logits, _ = rounded(heads.tags)
        tags, _ = best_tags(logits, self.labels.masks[klass])
        margins = logits[np.arange(len(tags)), tags].astype(int) - logits[:, OUTSIDE]
        spans: list[_Span] = []
        for token, (tag, margin) in enumerate(zip(tags.tolist(), margins.tolist(), strict=True)):
            if tag == OUTSIDE:
                continue
            slot, begins = (tag - 1) // 2, tag % 2 == 1
            if begins:
                spans.append(_Span(slot, token, token + 1, margin))
            else:
                spans[-1].to, spans[-1].margin = token + 1, spans[-1].margin + margin
        kept: list[_Span] = []
        for span in spans:
            other = next((k for k in kept if k.slot == span.slot and span.slot in self.labels.single), None)
            if other is not None and other.to == span.begin:
                other.to, other.margin = span.to, other.margin + span.margin
            elif other is None or other.margin < span.margin:
                kept = [k for k in kept if k is not other] + [span]
        return tuple(
            Slot(self.labels.slots[s.slot], heads.tokens[s.begin].start, heads.tokens[s.to - 1].end) for s in kept
        )


@dataclass
class _Span:
    slot: int
    begin: int
    to: int
    """Tokens, end exclusive."""
    margin: int
    """By how much its tags' logits exceed that of OUTSIDE, summed."""
