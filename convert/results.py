"""What a benchmark found: figures of every model and seed, their means and spreads, and published models."""

from __future__ import annotations

import contextlib
import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

RESULTS = "results.json"

STEPS = {
    "teacher": "teacher",
    "labels": "student, labels alone",
    "distilled": "student, distilled",
    "pruned": "student, pruned",
}
"""In the order of the table."""
LEARNT = (("teacher", "float"), ("labels", "int8"), ("distilled", "int8"))
"""What shows how much a teacher gives with few labels."""
FIGURES = {"intent_accuracy": "intent", "slot_f1": "slot F1", "exact": "exact", "recall": "oos recall"}
"""Of train.metrics, and the share of sentences out of scope that is rejected."""


@dataclass(frozen=True)
class Model:
    """One model of one seed, measured."""

    step: str
    """Of STEPS."""
    rounding: str
    """``float``: in Keras; ``int8``: on the native firmware."""
    seed: int
    parameters: int
    bytes: int
    """Of the agent bundle; of a float model, four for each parameter."""
    macs: int
    """Multiply-accumulates for a sentence of median length."""
    measured: dict[str, dict[str, Any]]
    """Per part (``valid``, ``test``): the figures of train.metrics. A part without sentences is missing."""

    def figure(self, name: str, part: str) -> float | None:
        """One of FIGURES, 0 … 1; ``None`` where there is nothing to count."""
        figures = self.measured[part]
        if name == "recall":
            outside = figures["out_of_scope"]
            return 1 - outside["accepted"] / outside["n"] if outside["n"] else None
        value: float | None = figures[name]
        return value


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds."""

    mean: float
    spread: float | None
    """Standard deviation of the sample; ``None`` of a single seed."""
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Estimate:
        """Of one value a seed."""
        return cls(statistics.mean(values), statistics.stdev(values) if len(values) > 1 else None, len(values))


@dataclass(frozen=True)
class Results:
    """What was measured on one data set with one amount of labels."""

    data: str
    labels_per_intent: int | None
    """``None``: all that there are."""
    sentences: dict[str, int]
    """Labelled ones of training, and those of the parts: ``train``, ``valid``, ``test``."""
    positions: int
    """Of the sentence that ``macs`` counts: the median number of words, and one."""
    part: str
    """Whose figures are shown: ``test``, or ``valid``."""
    settings: dict[str, Any]
    models: list[Model]

    @property
    def title(self) -> str:
        """Data set and amount of labels."""
        amount = f", {self.labels_per_intent} labelled sentences per intent" if self.labels_per_intent else ""
        return f"{self.data}{amount}"

    def rows(self) -> list[tuple[str, str]]:
        """The (step, rounding) that were measured, in the order of the table."""
        found = {(m.step, m.rounding) for m in self.models}
        return [(step, rounding) for step in STEPS for rounding in ("float", "int8") if (step, rounding) in found]

    def of(self, step: str, rounding: str) -> list[Model]:
        """The models of a row, by seed."""
        return sorted((m for m in self.models if (m.step, m.rounding) == (step, rounding)), key=lambda m: m.seed)

    def estimate(self, step: str, rounding: str, figure: str) -> Estimate | None:
        """A figure of a row."""
        values = [m.figure(figure, self.part) for m in self.of(step, rounding)]
        known = [v for v in values if v is not None]
        return Estimate.of(known) if known else None

    def difference(self, row: tuple[str, str], other: tuple[str, str], figure: str) -> Estimate | None:
        """By how much ``row`` is better than ``other``, seed by seed."""
        before = {m.seed: m.figure(figure, self.part) for m in self.of(*other)}
        pairs = [(m.figure(figure, self.part), before.get(m.seed)) for m in self.of(*row)]
        known = [a - b for a, b in pairs if a is not None and b is not None]
        return Estimate.of(known) if known else None

    def effects(self) -> list[tuple[str, tuple[str, str], tuple[str, str]]]:
        """What there is to compare: a title, the row and the one without the step."""
        rows = self.rows()
        known = [
            ("distillation", ("distilled", "int8"), ("labels", "int8")),
            ("pruning", ("pruned", "int8"), ("distilled", "int8")),
            *(("int8, " + STEPS[s].removeprefix("student, "), (s, "int8"), (s, "float")) for s in STEPS),
        ]
        return [(title, row, other) for title, row, other in known if row in rows and other in rows]

    def to_json(self) -> dict[str, Any]:
        """A JSON object that :meth:`from_json` takes."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Results:
        """The inverse of :meth:`to_json`."""
        return cls(**{**record, "models": [Model(**model) for model in record["models"]]})


def read_all(folder: Path) -> list[Results]:
    """The results of all benchmarks below a folder, but of those that another version made: data sets by name, most
    labels first."""
    found = []
    for path in folder.glob(f"*/*/{RESULTS}"):
        with contextlib.suppress(ValueError, KeyError, TypeError):
            found.append(Results.from_json(json.loads(path.read_text())))
    return sorted(found, key=lambda r: (r.data, r.labels_per_intent is not None, -(r.labels_per_intent or 0)))


# ---- tables ----


def percent(estimate: Estimate | None, *, signed: bool = False) -> str:
    """``98.3 ± 0.2``, in points of a hundred."""
    if estimate is None:
        return "–"
    spread = "" if estimate.spread is None else f" ± {100 * estimate.spread:.1f}"
    points = round(100 * estimate.mean, 1) + 0.0  # no negative zero
    return f"{points:{'+' if signed else ''}.1f}{spread}"


def figures_of(results: Results) -> list[str]:
    """Those of FIGURES that the data set has."""
    return [f for f in FIGURES if any(m.figure(f, results.part) is not None for m in results.models)]


def table(results: Results) -> tuple[list[str], list[list[str]]]:
    """Head and rows of every model: accuracies as mean ± standard deviation over seeds, sizes as means."""
    figures = figures_of(results)
    head = ["", *(FIGURES[f] for f in figures), "parameters", "bytes", "MACs"]
    rows = []
    for step, rounding in results.rows():
        models = results.of(step, rounding)
        sizes = [
            f"{round(statistics.mean(getattr(m, key) for m in models)):,}" for key in ("parameters", "bytes", "macs")
        ]
        estimates = [percent(results.estimate(step, rounding, f)) for f in figures]
        rows.append([f"{STEPS[step]}, {rounding}", *estimates, *sizes])
    return head, rows


def effects_table(results: Results) -> tuple[list[str], list[list[str]]]:
    """Head and rows of what each step gives and costs, in points."""
    figures = figures_of(results)
    rows = [
        [title, *(percent(results.difference(row, other, f), signed=True) for f in figures)]
        for title, row, other in results.effects()
    ]
    return ["", *(FIGURES[f] for f in figures)], rows


def figure_of(results: Results) -> str:
    """The one of FIGURES that counts most: exact, or intent where there are no slots."""
    return "exact" if "slot_f1" in figures_of(results) else "intent_accuracy"


def labels_table(amounts: Sequence[Results]) -> tuple[list[str], list[list[str]]]:
    """Head and rows of what a teacher gives, by amount of labels: the figure that counts most."""
    rows = []
    for results in amounts:
        figure = figure_of(results)
        estimates = [percent(results.estimate(step, rounding, figure)) for step, rounding in LEARNT]
        gain = percent(results.difference(LEARNT[-1], LEARNT[-2], figure), signed=True)
        amount = f"{results.labels_per_intent} per intent" if results.labels_per_intent else "all"
        rows.append([amount, *estimates, gain])
    return ["labels", *(f"{STEPS[step]}, {rounding}" for step, rounding in LEARNT), "points"], rows


def markdown(results: Results) -> str:
    """Both tables, and what they are of."""

    def lines(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
        head = list(head)
        ruler = ["---", *("---:" for _ in head[1:])]
        return "".join(f"| {' | '.join(cells)} |\n" for cells in (head, ruler, *rows))

    seeds = len({m.seed for m in results.models})
    effects = effects_table(results)
    count = results.sentences[results.part]
    text = f"{results.title}: {count:,} sentences of the {results.part} part, {seeds} seed{'s' * (seeds > 1)}\n\n"
    text += lines(*table(results))
    return text + ("\n" + lines(*effects) if effects[1] else "")


# ---- published models ----


@dataclass(frozen=True)
class Published:
    """A model of others: its figures as published, on the same test part."""

    name: str
    data: str
    intent_accuracy: float
    slot_f1: float | None
    exact: float | None
    parameters: int | None
    """``None``: not published."""
    source: str

    @property
    def bytes(self) -> int | None:
        """Four for each parameter."""
        return None if self.parameters is None else 4 * self.parameters


_JOINT_BERT = "Chen et al. 2019, arXiv 1902.10909"
_REIMPLEMENTED = "github.com/monologg/JointBERT, best of its epochs"
_CO_INTERACTIVE = "Qin et al. 2021, arXiv 2010.03880"
_LIDSNET = "Agarwal et al. 2021, arXiv 2110.15717"
_HERMIT = "Vanzo et al. 2019, arXiv 1910.00912"

PUBLISHED = (
    Published("JointBERT", "snips", 0.986, 0.970, 0.928, 110_000_000, _JOINT_BERT),
    Published("JointBERT, reimplemented", "snips", 0.991, 0.969, 0.930, 110_000_000, _REIMPLEMENTED),
    Published("Joint DistilBERT", "snips", 0.980, 0.961, 0.910, 66_000_000, _REIMPLEMENTED),
    Published("Co-Interactive Transformer", "snips", 0.988, 0.959, None, None, _CO_INTERACTIVE),
    Published("LIDSNet", "snips", 0.980, None, None, 590_000, _LIDSNET),
    Published("JointBERT", "atis", 0.975, 0.961, 0.882, 110_000_000, _JOINT_BERT),
    Published("JointBERT, reimplemented", "atis", 0.979, 0.956, 0.882, 110_000_000, _REIMPLEMENTED),
    Published("Joint DistilBERT", "atis", 0.978, 0.955, 0.877, 66_000_000, _REIMPLEMENTED),
    Published("Co-Interactive Transformer", "atis", 0.977, 0.959, None, None, _CO_INTERACTIVE),
    Published("LIDSNet", "atis", 0.960, None, None, 590_000, _LIDSNET),
    Published("HERMIT", "hwu64", 0.876, 0.847, None, None, _HERMIT),
)
