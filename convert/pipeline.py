"""From a trained student on disk to an agent bundle that is proven to be the same."""

from __future__ import annotations

import collections
import contextlib
import hashlib
import importlib.metadata
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from rich.console import Console
from rich.progress import track

from convert import report
from convert.bundle import (
    Calibration,
    Golden,
    assemble,
    features_section,
    golden_section,
    labels_section,
    read_sections,
    values_section,
)
from convert.calibration import Scored, calibrate, tag_shortfalls
from convert.diagnosis import diagnose, hear
from convert.flatbuffer import Encoder, convert, operator_names, read_encoder
from convert.options import Options
from convert.reference import Reference, arena_bytes
from convert.results import read_all
from convert.rounding import activation_errors, logit_errors
from train import datasets, pipeline
from train.agentlib import Agent, constants, featurize
from train.cost import GOLDEN
from train.encoding import Encoded, Vocabulary, encode, sample
from train.errors import UserError
from train.examples import Example, write_atomic
from train.labels import Labels
from train.student import Student
from train.training import accuracy, evaluate

BUNDLE, FLATBUFFER, METRICS, REPORT = "agent.bundle", "student.tflite", "metrics.json", "report.html"
BENCHMARK = "benchmark"
"""Folder beside an agent's own that convert.benchmark writes its results to."""
BENCH = "bench.json"
"""File beside it that convert.bench writes what the engine costs to."""
CHECKED = 500
"""Sentences on which the firmware's code is compared with TFLite Micro, value for value."""
FOLLOWED = 500
"""Sentences in which the rounding of every activation is followed."""


def run(folder: Path, options: Options, console: Console) -> dict[str, Any]:
    """Converts ``folder``'s student; writes the agent, its metrics and its report beside it.

    Raises:
        UserError: the int8 model loses more than ``options.most_loss``.
        AssertionError: the firmware's code and TFLite Micro disagree, which is a bug here.
    """
    student, labels, record = pipeline.load(folder)
    name = options.name
    if name is None:
        name = re.sub("[^A-Za-z0-9._-]+", "_", f"{record['data']}-{record['language']}")[:32]
    elif not re.fullmatch("[A-Za-z0-9._-]{1,32}", name):
        raise UserError(f"--name {name!r}: an agent's name has 1 to 32 of the characters A-Z a-z 0-9 . _ -")
    if not (folder / datasets.DATA).is_dir():
        raise UserError(f"{folder / datasets.DATA} is missing; train a student first: python -m train --out {folder}")
    data = datasets.load(str(folder / datasets.DATA), data_dir=None, cache_dir=folder)
    usable = [
        e
        for e in data.watched
        if len(e.text.encode()) <= constants()["UB_MAX_TEXT"]
        and 0 < len(featurize(e.text, 2, 1)) < student.shape.positions
    ]
    if not usable:
        raise UserError(f"no sentence of validation has 1 to {student.shape.positions - 1} words, as the agent takes")
    vocabulary = Vocabulary(student.shape.rows, student.shape.positions)
    encoded = encode(usable, labels, vocabulary)
    pieces = tf.constant(vocabulary.pieces())

    with console.status("converting to int8"):
        flatbuffer = convert(student)
    operators = collections.Counter(operator_names(schema.ModelT.InitFromPackedBuf(flatbuffer, 0)))
    encoder = read_encoder(flatbuffer)
    scales = (encoder.class_scale, encoder.tag_scale)
    step = float(student.table_step)
    table = np.round(np.asarray(student.quantized_table()) / step).astype(np.int64)
    features = features_section(table, student.shape.positions, student.shape.embed_bits)
    values = values_section(labels, data.values, data.numeric_slots)

    def bundle_of(calibration: Calibration, golden: Sequence[Golden], manifest: dict[str, Any]) -> bytes:
        return assemble(
            manifest,
            labels=labels_section(labels, data.numeric_slots, scales, calibration),
            features=features,
            values=values,
            golden=golden_section(golden),
            flatbuffer=flatbuffer,
        )

    # The firmware's own code computes the embeddings, TFLite Micro what follows; then both compute all.
    agent = Agent(bundle_of(Calibration(1.0, 0.0), (), {"name": name}))
    reference = Reference(flatbuffer)
    outputs = [
        reference.encode(agent.embed(e.text))
        for e in track(
            usable, "TFLite Micro on validation", console=console, transient=True, disable=not console.is_terminal
        )
    ]
    for example, (classes, tags) in sample(list(zip(usable, outputs, strict=True)), CHECKED, seed=0):
        ours = agent.encode(agent.embed(example.text))
        if not (np.array_equal(ours[0], classes) and np.array_equal(ours[1], tags)):
            raise AssertionError(f"the firmware's encoder and TFLite Micro disagree on {example.text!r}")

    int8 = _shares(*accuracy(((i, *heads) for i, heads in enumerate(outputs)), encoded, labels))
    floating = _shares(*_float_accuracy(student, encoded, pieces, labels))
    scored = Scored(
        np.stack([c for c, _ in outputs]) * encoder.class_scale,
        np.stack([tag_shortfalls(t, labels) for _, t in outputs]) * encoder.tag_scale,
        np.array([labels.class_of(e) for e in usable]),
        least=-128 * encoder.class_scale,
    )
    calibration = calibrate(scored, labels, options.threshold, by_sentence=options.by_sentence)
    if not any(e.intent is None for e in usable):
        console.print(
            "validation has no sentence out of scope: "
            + (
                f"what a score of {calibration.threshold:g} accepts of them is not known"
                if calibration.threshold
                else "everything is taken for a command"
            )
        )
    chosen = sample(list(zip(usable, outputs, strict=True)), GOLDEN, seed=1)
    golden = [Golden(e.text, agent.embed(e.text), c, t) for e, (c, t) in chosen]
    versions = {p: importlib.metadata.version(p) for p in ("tensorflow", "tflite-micro")}
    figures = {
        "validation": {"sentences": len(usable), "float": floating, "int8": int8},
        "temperature": round(calibration.temperature, 4),
        "threshold": calibration.threshold,
        "others": calibration.others,
        "tag_weight": calibration.tag_weight,
    }
    tflm_arena = arena_bytes(flatbuffer)
    manifest = {
        "name": name,
        "languages": [record["language"]],
        "seed": record["schedule"]["seed"],
        "data": record["data"],
        "versions": {**record["provenance"]["versions"], **versions},
        "tflm_arena": tflm_arena,
        **figures,
    }
    bundle = bundle_of(calibration, golden, manifest)
    final = Agent(bundle)
    if (failed := final.failed_golden()) is not None:
        raise AssertionError(f"golden sentence {golden[failed].text!r} gives other numbers")
    with console.status("measuring what the firmware answers"):
        followed = encode(sample(usable, FOLLOWED, seed=2), labels, vocabulary)
        diagnosis = diagnose(hear(final, data.watched))
        rounding = {
            "activations": activation_errors(student, followed, pieces),
            "logits": logit_errors(student, encoded, pieces, labels, outputs, scales),
        }
    metrics = {
        "name": name,
        "data": {part: _count(getattr(data, part)) for part in ("train", "valid", "test")},
        **figures,
        **diagnosis,
        "rounding": rounding,
        "weights": _weights(encoder, len(table) * student.shape.embed * student.shape.embed_bits // 8),
        "operators": dict(operators),
        "checked_sentences": min(CHECKED, len(usable)),
        "bytes": {"bundle": len(bundle), **{name: len(data) for name, data in read_sections(bundle).items()}},
        "arena": {"firmware": final.arena_bytes, "tflite_micro": tflm_arena},
        "parameters": sum(int(np.prod(v.shape)) for v in student.trainable_variables),
        "macs": {str(n): student.shape.macs(n) for n in (9, student.shape.positions)},
    }
    if floating["exact"] - int8["exact"] > options.most_loss:
        raise UserError(
            f"int8 gets {int8['exact']:.1%} of validation exactly right, float {floating['exact']:.1%}: more than "
            f"--most-loss {options.most_loss:.1%} is lost; train longer (--epochs), or allow more"
        )
    most = ((record["pruned"] or {}).get("budget") or {}).get("bytes")
    if most is not None and len(bundle) > most:
        console.print(f"the bundle has {len(bundle):,} bytes, {len(bundle) - most:,.0f} more than its budget")
    page = report_page(folder, record, metrics, bundle)
    # What takes long is done, so that an interruption hardly falls between these; make goes by the last.
    write_atomic(folder / FLATBUFFER, flatbuffer)
    write_atomic(folder / BUNDLE, bundle)
    write_atomic(folder / REPORT, page)
    write_atomic(folder / METRICS, json.dumps(metrics, indent=1) + "\n")
    return metrics


def report_page(folder: Path, record: dict[str, Any], metrics: dict[str, Any], bundle: bytes) -> str:
    """An agent's report, with what was measured of it and of others and lies beside its folder."""
    beside = folder.resolve().parent
    return report.page(record, metrics, read_all(beside / BENCHMARK), read_bench(beside / BENCH, bundle))


def read_bench(path: Path, bundle: bytes) -> dict[str, Any] | None:
    """What :func:`convert.bench.measure` found for this very bundle; None if it was not measured."""
    if not path.is_file():
        return None
    digest = hashlib.sha256(bundle).hexdigest()
    try:
        agents: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["agents"]
        return next((figures for figures in agents.values() if figures.get("sha256") == digest), None)
    except (ValueError, KeyError, TypeError, AttributeError):  # of another version
        return None


def refresh_reports(folder: Path) -> None:
    """Writes the reports of all agents in a folder anew, but of those that another version made, or that are in the
    making."""
    for path in folder.glob(f"*/{METRICS}"):
        with contextlib.suppress(FileNotFoundError, KeyError, ValueError, TypeError, AttributeError):
            record = json.loads((path.parent / pipeline.STUDENT_JSON).read_text(encoding="utf-8"))
            metrics, bundle = json.loads(path.read_text(encoding="utf-8")), (path.parent / BUNDLE).read_bytes()
            write_atomic(path.parent / REPORT, report_page(path.parent, record, metrics, bundle))


def _float_accuracy(student: Student, encoded: Encoded, pieces: tf.Tensor, labels: Labels) -> tuple[float, float]:
    """:func:`accuracy` of the student with nothing rounded."""
    student.quantized = False
    found = evaluate(student, encoded, pieces, labels)
    student.quantized = True
    return found


def _shares(intent: float, exact: float) -> dict[str, float]:
    return {"intent": round(intent, 4), "exact": round(exact, 4)}


def _count(examples: Sequence[Example]) -> dict[str, int]:
    """How many sentences there are, and how many of them are out of scope."""
    return {"sentences": len(examples), "out_of_scope": sum(e.intent is None for e in examples)}


def _weights(encoder: Encoder, table_bytes: int) -> list[dict[str, Any]]:
    """Bytes of the embedding table and of every matrix: ``part`` and ``name`` as those of activations."""
    matrices = [("input", "convolution", encoder.convolution)]
    for i, layer in enumerate(encoder.layers):
        names = ("query", "key", "value", "output", "up", "down")
        matrices += [(f"layer {i + 1}", name, getattr(layer, name)) for name in names]
    matrices += [("heads", "class_head", encoder.class_head), ("heads", "tag_head", encoder.tag_head)]
    return [
        {"part": "input", "name": "embedding", "bytes": table_bytes},
        *({"part": part, "name": name, "bytes": m.bytes} for part, name, m in matrices),
    ]
