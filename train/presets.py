"""What a training run costs and gives."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

LEAST_EPOCHS = 2
"""Passes over training data: in the last, activations are rounded to ranges that were seen in those before."""


@dataclass(frozen=True)
class Tuning:
    """How a teacher is fine-tuned on labelled sentences."""

    examples: int = 8_000
    """At most so many are taken, drawn with the seed."""
    seen: int = 8_000
    """Sentences that fine-tuning sees, each as often as it takes, but at most 20 times."""
    batch: int = 32
    learning_rate: float = 2e-4
    frozen_layers: int = 2
    """Lowest layers that stay as they are, beside the embeddings."""
    seed: int = 1

    def epochs(self, sentences: int) -> int:
        """Passes over so many sentences."""
        return max(1, min(20, self.seen // max(1, sentences)))


@dataclass(frozen=True)
class Distillation:
    """How much is asked of a teacher."""

    words: int = 12_000
    """Commonest words of the teacher's vocabulary whose vectors the student learns, beside those of its own data."""
    components: int = 48
    """Principal components of a word's vector that are kept."""
    sentences: int = 10_000
    """Sentences that the teacher labels (:func:`train.distillation.unlabelled_text`). They pay where people wrote what
    the teacher was fine-tuned on; one that knows templates alone knows no more than its student."""
    public_text: bool = False
    """Whether those of public data sets are among them."""
    neighbours: int = 6
    """A word is swapped for one of its nearest so many ..."""
    least_similarity: float = 0.45
    """... whose cosine with it is at least this."""


@dataclass(frozen=True)
class Preset:
    """What a run costs and gives."""

    size: int | None
    """Generated training sentences; ``None``: the data set's own size."""
    seen: int
    """Sentences that training sees, each as often as it takes."""
    shape: dict[str, Any] = field(default_factory=dict)
    """Sizes that differ from :class:`Shape`'s."""
    batch: int = 128
    """Of :class:`train.training.Schedule`, as all below. With twice as many sentences a step training takes a sixth
    less time; where it has steps enough, home learns no less."""
    learning_rate: float = 4e-3
    weight_decay: float = 0.05
    """Of :class:`train.training.Schedule`. On home's validation part, two seeds: half a point more of intents and of
    intents with all slots."""
    dropout: float = 0.04
    """Of :class:`train.training.Schedule`. Home's student is too small to learn all of its sentences by heart: with 0.1
    it is right on 90.6% of the commands that it was trained on, and on fewer of people's, by five in a hundred."""
    distillation: Distillation = Distillation()
    tuning: Tuning = Tuning()
    least: int = 5_000
    """Sentences; of fewer that people wrote more are made (:func:`train.augment.rewritten`)."""

    def asking(self, sentences: int | None, *, generated: bool) -> Preset:
        """With so many sentences for the teacher to label; ``None``: its own number, but none for generated data."""
        if sentences is None:
            sentences = 0 if generated else self.distillation.sentences
        return replace(self, distillation=replace(self.distillation, sentences=sentences))

    def epochs(self, sentences: int) -> int:
        """Passes over so many training sentences; at most 60, for little data is soon known by heart."""
        return max(LEAST_EPOCHS, min(60, round(self.seen / max(1, sentences))))


WIDE: dict[str, Any] = {"rows": 3840, "width": 96, "heads": (6, 6), "hidden": (144, 144), "weight_bits": 4}
"""Of a bundle of 160 kB. Of the same bytes, with one seed, a width of 112 and 2,352 rows have a point less of
intents with all slots on home's validation part; and rows cost no time."""

PRESETS = {
    "default": Preset(size=None, seen=6_000_000, shape=WIDE, batch=256, learning_rate=5.6e-3),
    "quick": Preset(size=80_000, seen=320_000, shape=WIDE, distillation=Distillation(words=4_000, sentences=4_000)),
    # For the public benchmarks: a bundle of at most 300 KB.
    "large": Preset(
        size=None,
        seen=500_000,
        shape={"rows": 5120, "embed": 40, "width": 128, "heads": (8, 8), "hidden": (192, 192), "weight_bits": 4},
        batch=64,
        weight_decay=0.0,  # 0.02 and 0.1 gave nothing on SNIPS
        dropout=0.1,
        distillation=Distillation(sentences=50_000, public_text=True),
        # 6 passes over SNIPS, 10 over HWU64, whose teacher has 2 points more of slot F1 with 12 than with 6.
        tuning=Tuning(examples=20_000, seen=91_000, learning_rate=1.5e-4, frozen_layers=0),
    ),
}
