"""``python -m convert.costs``: measures students of many shapes and fits what train/cost.py predicts with.

Each is converted, bundled and answers sentences by the firmware's own code in QEMU, which counts its instructions. They
depend a little on the numbers that are multiplied, so weights and ranges are as training leaves them: weights normally
distributed, ranges as wide as what they hold.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.progress import track

from convert.bench import count_rv32, labels_of
from convert.bundle import Calibration, assemble, features_section, golden_section, labels_section, values_section
from convert.flatbuffer import convert
from train.agentlib import Agent
from train.command_line import reporting
from train.cost import (
    COSTS,
    Terms,
    arena_terms,
    byte_terms,
    dot,
    instruction_terms,
    label_bytes,
    weight_bytes,
)
from train.examples import write_atomic
from train.student import Shape, Student

TEXT = "play some music by the rolling stones from nineteen seventy two in the bedroom upstairs and turn on one lamp"
SENTENCES = tuple(" ".join(TEXT.split()[-n:]) for n in (1, 2, 3, 5, 6, 7, 8, 10, 13, 15, 20))
SHAPES: tuple[dict[str, Any], ...] = (
    {},
    {"heads": (2,), "hidden": (64,)},
    {"heads": (6, 6), "hidden": (192, 192), "intents": 20, "slots": 39},
    {"heads": (3, 2), "hidden": (100, 44)},
    {"width": 96, "heads": (4, 4), "hidden": (192, 128), "intents": 60},
    {"width": 48, "heads": (3, 3, 3), "hidden": (96, 96, 96), "slots": 30},
    {"width": 32, "embed": 16, "heads": (2, 2), "hidden": (64, 64)},
    {"width": 80, "embed": 24, "heads": (1, 5), "hidden": (160, 40), "head_width": 8},
    {"embed": 48, "heads": (4,), "hidden": (256,), "positions": 24},
    {"width": 128, "heads": (4,), "hidden": (64,), "per_channel": True},
    {"width": 64, "heads": (2, 4), "hidden": (96, 128), "per_channel": True},
    {"weight_bits": 4},
    {"width": 96, "heads": (6, 6), "hidden": (144, 144), "intents": 58, "slots": 24, "weight_bits": 4},
    {"width": 80, "heads": (3, 2), "hidden": (100, 44), "weight_bits": 4},
)
"""Sizes that differ from Shape's; ``intents`` and ``slots`` of what is told apart."""


@dataclass(frozen=True)
class Measured:
    """What a shape came to."""

    shape: Shape
    bundle: int
    fixed: int
    """Bytes of the sections that depend on the data."""
    arena: int
    counts: list[tuple[int, dict[str, int]]]
    """Of every sentence: its positions, and instructions by kind."""


def measure(sizes: dict[str, Any], folder: Path, seed: int = 0) -> Measured:
    """Bundles a student that never learned, and runs it."""
    sizes = dict(sizes)
    labels = labels_of(sizes.pop("intents", 7), sizes.pop("slots", 10))
    student = Student(Shape(len(labels.classes), labels.tags, **{"rows": 512, **sizes}))
    rng = np.random.default_rng(seed)
    for matrix in student.matrices.values():
        matrix.assign(rng.normal(size=matrix.shape) / np.sqrt(matrix.shape[0]))
    for bias in student.biases.values():
        bias.assign(rng.normal(size=bias.shape) / 10)  # equal ones would be stored once
    shape = student.shape
    table = np.clip(np.round(rng.normal(size=(shape.rows, shape.embed)) * 2.4), -7, 7)
    student.table.assign(table * 0.1)
    words = rng.integers(shape.positions, shape.rows, (400, 7)).astype(np.int32)
    words[0] = shape.rows  # no word has no pieces
    student.dropout = 0.0
    student(tf.constant(rng.integers(1, 400, (64, shape.positions - 1))), tf.constant(words), training=True)
    student.start_quantizing()
    student.table_limit.assign(0.7)
    flatbuffer = convert(student)
    content = assemble(
        {"name": "costs"},
        labels=labels_section(labels, [], (0.1, 0.1), Calibration(1.0, 0.0)),
        features=features_section(table.astype(np.int64), shape.positions, shape.embed_bits),
        values=values_section(labels, {}, []),
        golden=golden_section([]),
        flatbuffer=flatbuffer,
    )
    path = folder / "costs.bundle"
    path.write_bytes(content)
    found = count_rv32(path, SENTENCES, folder)
    counts = [(len(s.split()) + 1, c) for s, c in zip(SENTENCES, found, strict=True)]
    table_bytes = shape.rows * shape.embed * shape.embed_bits // 8
    return Measured(shape, len(content), table_bytes + label_bytes(labels, {}, []), Agent(content).arena_bytes, counts)


def fit(rows: Sequence[tuple[Terms, float, float]]) -> Terms:
    """Least squares: terms, what they came to, and the unit in which an error counts."""
    names = list(rows[0][0])
    left = np.array([[terms[name] / unit for name in names] for terms, _, unit in rows])
    scale = np.abs(left).max(0)
    found = np.linalg.lstsq(left / scale, np.array([value / unit for _, value, unit in rows]), rcond=1e-9)[0] / scale
    return {name: float(f"{value:.6g}") for name, value in zip(names, found, strict=True)}


def fit_all(measured: Sequence[Measured]) -> dict[str, Any]:
    """The content of costs.json."""
    sizes = [
        (byte_terms(m.shape), float(m.bundle - m.fixed - weight_bytes(m.shape)), float(m.bundle)) for m in measured
    ]
    arenas = [(arena_terms(m.shape), float(m.arena), float(m.arena)) for m in measured]
    instructions: dict[str, list[tuple[Terms, float, float]]] = {}
    for m in measured:
        for positions, counts in m.counts:
            for kind, terms in instruction_terms(m.shape, positions).items():
                row = (terms, float(counts[kind]), float(sum(counts.values())))
                instructions.setdefault(kind, []).append(row)
    return {
        "bytes": fit(sizes),
        "arena": fit(arenas),
        "instructions": {kind: fit(rows) for kind, rows in instructions.items()},
    }


def errors(found: dict[str, Any], m: Measured) -> Iterator[tuple[str, float]]:
    """How far a prediction is from what was measured, as a share of it."""
    predicted = m.fixed + weight_bytes(m.shape) + dot(byte_terms(m.shape), found["bytes"])
    yield "bytes", predicted / m.bundle - 1
    yield "arena", dot(arena_terms(m.shape), found["arena"]) / m.arena - 1
    for positions, counts in m.counts:
        kinds = instruction_terms(m.shape, positions).items()
        total = sum(dot(terms, found["instructions"][kind]) for kind, terms in kinds)
        yield "instructions", total / sum(counts.values()) - 1


@reporting()
def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m convert.costs", description="Fits what train/cost.py predicts.")
    parser.add_argument("--out", type=Path, default=COSTS, help="file for the coefficients")
    options = parser.parse_args(arguments)
    console = Console(highlight=False, markup=False)
    with tempfile.TemporaryDirectory() as name:
        measured = [measure(sizes, Path(name)) for sizes in track(SHAPES, "measuring", console=console)]
    unseen: dict[str, float] = {}
    for m in measured:
        for what, error_share in errors(fit_all([other for other in measured if other is not m]), m):
            unseen[what] = max(unseen.get(what, 0.0), abs(error_share))
    worst = {what: round(share, 4) for what, share in unseen.items()}
    made = {"made by": "python -m convert.costs", "worst error on a shape left out": worst, **fit_all(measured)}
    write_atomic(options.out, json.dumps(made, indent=1) + "\n")
    console.print(f"worst error on a shape left out: {', '.join(f'{k} {v:.1%}' for k, v in worst.items())}")
    console.print(f"written: {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
