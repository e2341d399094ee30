"""``python -m convert.benchmark``: what each step of compression gives and costs on a data set, over several seeds.

For every seed it trains and measures a row of models: the teacher, fine-tuned; a student of the labels alone; one that
the teacher taught; one that was pruned. Students are measured in float, in Keras, and as agent bundles by the native
firmware's code. Nothing is chosen on the test part: training sees no part but its own, and the score is fitted to
validation.

Every model that is finished is kept, under a name that depends on its data and settings; the same command goes on where
it was interrupted.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import json
import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from convert import report
from convert.options import Options
from convert.results import RESULTS, STEPS, Model, Results, effects_table, markdown, table
from train import datasets
from train.command_line import HelpFormatter, reporting, share, whole
from train.cost import CHIPS, Budget, weight_bytes
from train.datasets import DataSet
from train.errors import UserError
from train.examples import Example, example_to_json, read_jsonl, write_atomic
from train.metrics import Prediction, measure
from train.presets import LEAST_EPOCHS, PRESETS, Preset, Tuning
from train.quiet import native_silence

with native_silence():
    import keras
    import tensorflow as tf

    from convert import pipeline as conversion
    from convert.calibration import Scored, calibrate
    from convert.decoding import Decoder, Heads
    from convert.diagnosis import hear
    from train import pipeline
    from train.agentlib import Agent, featurize
    from train.encoding import Vocabulary, encode, encode_words, median_positions
    from train.labels import Labels
    from train.student import Shape, Student
    from train.teacher import JointTeacher, Teacher, default_folder
    from train.training import Schedule, predict

TABLE, PICTURE = "results.md", "results.svg"
DONE = "model.json"
"""The last file that is written of a finished model."""
TAUGHT = ("distilled", "pruned")
"""Steps that need a fine-tuned teacher."""
FLOAT_BYTES = 4
WIDTH = 112
"""Columns that the table needs; a narrower terminal wraps it."""
WAIT = 10
"""Seconds until a process that has nothing left looks again at what another one is at."""

tf.get_logger().setLevel("ERROR")  # a benchmark traces the same functions for every model, which TensorFlow warns of


@dataclass(frozen=True)
class Plan:
    """How the models are made."""

    preset: Preset
    epochs: int
    teacher: Path
    labels_per_intent: int | None = None
    """Labelled sentences of training that are kept of every intent; the others lose their labels. ``None``: all."""
    budget: Budget | None = None
    """What a pruned student may cost; ``None``: :func:`half_encoder`."""
    soft_labels: int | None = None
    """Sentences that the teacher labels; ``None``: as the preset has it; with few labels, as many as lost theirs."""
    threshold: float = 0.5
    """The score that an answer must have. With half, and every sentence counted alike, most are answered rightly."""

    def settings(self, step: str, checkpoint: str) -> dict[str, Any]:
        """What a step's models depend on beside data and seed; ``checkpoint`` names the teacher's weights."""
        settings: dict[str, Any] = {**asdict(self), "teacher": checkpoint}
        preset = settings["preset"]
        unused = {
            "teacher": (("epochs", "budget", "soft_labels"), ("distillation", "batch", "learning_rate")),
            "labels": (("teacher", "budget", "soft_labels"), ("distillation", "tuning")),
            "distilled": (("budget",), ()),
        }
        of_plan, of_preset = unused.get(step, ((), ()))
        for name in of_plan:
            del settings[name]
        for name in ("size", "seen", "least", *of_preset):  # the data and the plan's epochs say them
            del preset[name]
        return settings


def few_labels(data: DataSet, count: int, seed: int) -> DataSet:
    """The data set with ``count`` labelled sentences of every intent, drawn with the seed; the others as plain text.

    Where a slot would be left without an example, one more sentence is kept.
    """
    order = random.Random(f"{seed}/few labels").sample(data.train, len(data.train))
    quota: Counter[str | None] = Counter()
    seen: set[str] = set()
    chosen: list[Example] = []

    def take(wanted: Callable[[Example], bool]) -> None:
        for example in [e for e in order if e not in taken]:
            if wanted(example):
                chosen.append(example)
                taken.add(example)
                quota[example.intent] += 1
                seen.update(slot.slot for slot in example.slots)

    taken: set[Example] = set()
    take(lambda e: quota[e.intent] < count and not {s.slot for s in e.slots} <= seen)
    take(lambda e: quota[e.intent] < count)
    take(lambda e: not {s.slot for s in e.slots} <= seen)
    texts = dict.fromkeys(e.text for e in order if e not in taken)
    return replace(
        data,
        train=chosen,
        unlabelled=[*data.unlabelled, *texts],
        provenance={**data.provenance, "labels_per_intent": count, "labels_seed": seed},
    )


# ---- measuring ----


def teacher_heads(joint: JointTeacher, texts: Sequence[str]) -> list[Heads | None]:
    """What a fine-tuned teacher says of sentences; ``None`` of those without a word."""
    found: list[Heads | None] = [None] * len(texts)
    for i, classes, tags in joint.label(texts):
        if len(tags):
            found[i] = Heads(joint.words(texts[i]), classes, tags)
    return found


def student_heads(student: Student, texts: Sequence[str]) -> list[Heads | None]:
    """What a student says of sentences with nothing rounded; ``None`` of those without a word."""
    vocabulary = Vocabulary(student.shape.rows, student.shape.positions)
    words = [vocabulary.words(text) for text in texts]
    known = [i for i, (tokens, _) in enumerate(words) if tokens]
    data = encode_words([words[i][1] for i in known], vocabulary.positions)
    found: list[Heads | None] = [None] * len(texts)
    quantized, student.quantized = student.quantized, False
    for at, classes, tags in predict(student, data, tf.constant(vocabulary.pieces())):
        found[known[at]] = Heads(words[known[at]][0], classes, tags)
    student.quantized = quantized
    return found


def parts_of(data: DataSet) -> dict[str, list[Example]]:
    """The parts that are measured."""
    return {name: part for name, part in (("valid", data.valid), ("test", data.test)) if part}


def measure_float(
    heads_of: Callable[[Sequence[str]], list[Heads | None]], data: DataSet, labels: Labels, threshold: float
) -> dict[str, dict[str, Any]]:
    """The figures of a float model on each part; its score is fitted to validation."""
    said = {name: heads_of([e.text for e in part]) for name, part in parts_of(data).items()}
    pairs = zip(said["valid"], data.valid, strict=True)
    known = [(heads, labels.class_of(example)) for heads, example in pairs if heads]
    scored = Scored(
        np.stack([heads.classes for heads, _ in known]).astype(np.float64),
        np.stack([heads.shortfalls(labels) for heads, _ in known]),
        np.array([gold for _, gold in known]),
    )
    decoder = Decoder(labels, calibrate(scored, labels, threshold, by_sentence=True))
    return {name: _figures(part, [decoder.predict(h) for h in said[name]]) for name, part in parts_of(data).items()}


def measure_int8(bundle: bytes, data: DataSet) -> dict[str, dict[str, Any]]:
    """The figures of the native firmware's code with a bundle on each part."""
    agent = Agent(bundle)
    return {name: _figures(part, [h.guess for h in hear(agent, part)]) for name, part in parts_of(data).items()}


def _figures(examples: Sequence[Example], guesses: Sequence[Prediction]) -> dict[str, Any]:
    figures = measure(examples, guesses).to_json()
    del figures["device_us"]
    return figures


def teacher_macs(joint: JointTeacher, texts: Sequence[str]) -> int:
    """Multiply-accumulates of the teacher for a sentence of the median number of its own tokens."""
    backbone, labels = joint.teacher.backbone, joint.labels
    tokens = round(statistics.median(len(e.ids) for e in joint.teacher.tokenizer.encode_batch(list(texts))))
    words = positions_of(texts) - 1
    width, inner = backbone.hidden_dim, backbone.intermediate_dim
    layer = tokens * (4 * width**2 + 2 * width * inner) + 2 * tokens**2 * width
    return int(backbone.num_layers * layer + width * (len(labels.classes) + words * labels.tags))


def positions_of(texts: Sequence[str]) -> int:
    """The student's positions for the median one of some sentences, however many positions it has."""
    return median_positions(len(featurize(text, 2, 1)) for text in texts)


# ---- making ----


def make_teacher(data: DataSet, plan: Plan, seed: int, console: Console) -> list[Model]:
    """Fine-tunes the teacher and measures it."""
    labels = Labels.of(data.train)
    shape = Shape(classes=len(labels.classes), tags=labels.tags, **plan.preset.shape)
    vocabulary = Vocabulary(shape.rows, shape.positions)
    joint = JointTeacher(Teacher(plan.teacher, datasets.CACHE), labels, lambda text: vocabulary.words(text)[0])
    with console.status("fine-tuning the teacher") as status:
        joint.fit(
            pipeline.lessons(data, plan.preset, seed),
            replace(plan.preset.tuning, seed=seed),
            lambda done, steps, loss: status.update(f"fine-tuning the teacher, {done}/{steps}, loss {loss:.3f}"),
        )
    with console.status("measuring the teacher"):
        measured = measure_float(lambda texts: teacher_heads(joint, texts), data, labels, plan.threshold)
    heads = sum(int(np.prod(v.shape)) for head in (joint.class_head, joint.tag_head) for v in head.trainable_variables)
    parameters = int(joint.teacher.backbone.count_params()) + heads
    macs = teacher_macs(joint, [e.text for e in data.test or data.valid])
    return [Model("teacher", "float", seed, parameters, FLOAT_BYTES * parameters, macs, measured)]


def make_student(step: str, data: DataSet, plan: Plan, seed: int, folder: Path, console: Console) -> list[Model]:
    """Trains a student, converts it, and measures it with nothing rounded and on the firmware."""
    asked = plan.soft_labels
    if asked is None and plan.labels_per_intent is not None:
        asked = len(data.unlabelled)
    pipeline.run(
        replace(data, test=[]),  # what is measured in the end has no business there
        folder,
        preset=plan.preset.asking(asked, generated=data.generated),
        schedule=Schedule.of(plan.preset, plan.epochs, seed),
        console=console,
        teacher=None if step == "labels" else plan.teacher,
        budget=(plan.budget or half_encoder(data, plan.preset)) if step == "pruned" else None,
    )
    # The benchmark is to show what int8 loses, so no loss is too much.
    metrics = conversion.run(folder, Options(most_loss=1.0, threshold=plan.threshold, by_sentence=True), console)
    student, labels, _ = pipeline.load(folder)
    macs = student.shape.macs(positions_of([e.text for e in data.test or data.valid]))
    parameters, bundle = metrics["parameters"], (folder / conversion.BUNDLE).read_bytes()
    rounded = measure_int8(bundle, data)
    unrounded = measure_float(lambda texts: student_heads(student, texts), data, labels, plan.threshold)
    return [
        Model(step, "float", seed, parameters, FLOAT_BYTES * parameters, macs, unrounded),
        Model(step, "int8", seed, parameters, len(bundle), macs, rounded),
    ]


def half_encoder(data: DataSet, preset: Preset) -> Budget:
    """The bytes of the preset's student less half of its encoder's weights."""
    labels = Labels.of(data.train)
    shape = Shape(classes=len(labels.classes), tags=labels.tags, **preset.shape)
    encoded = encode(data.train, labels, Vocabulary(shape.rows, shape.positions))
    price = pipeline.pricing(data, labels, encoded, CHIPS["esp32c3"])
    return Budget(bytes=price(shape).bytes - weight_bytes(shape) / 2)


def make(step: str, data: DataSet, plan: Plan, seed: int, folder: Path, console: Console) -> list[Model]:
    """Makes and measures the models of a step."""
    keras.backend.clear_session()
    if step == "teacher":
        return make_teacher(data, plan, seed, console)
    return make_student(step, data, plan, seed, folder, console)


def read(folder: Path) -> list[Model]:
    """The models that were finished in a folder; none if they were not."""
    try:
        return [Model(**record) for record in json.loads((folder / DONE).read_text())["models"]]
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):  # or another version's
        return []


def _sources() -> list[bytes]:
    """What the figures depend on beside train/: conversion and the firmware's agent."""
    here = Path(__file__).parent
    found = (*here.glob("*.py"), *(here.parent / "firmware" / "agent").glob("*.[ch]"))
    return [path.read_bytes() for path in sorted(found)]


def run(
    data: DataSet, plan: Plan, *, seeds: int, steps: Sequence[str], part: str, out: Path, console: Console
) -> Results:
    """Makes and measures what is not there yet; writes results, tables and picture after every model.

    Several processes can work on the same benchmark: each takes what no other is at.

    Args:
        data: with a validation part.
        plan: how the models are made.
        seeds: how many; 1, 2 ...
        steps: of STEPS, in order.
        part: whose figures are shown.
        out: folder of the results; every model gets one in it.
        console: where progress is shown.
    """
    checkpoint, code = Teacher(plan.teacher, datasets.CACHE).digest, pipeline.digest(_sources())
    told = "".join(json.dumps(example_to_json(e)) for e in (*data.train, *data.valid, *data.test))
    if data.values:
        told += json.dumps([data.values, data.numeric_slots])
    unlabelled = "\0".join(data.unlabelled)

    def folder_of(step: str, seed: int) -> Path:
        settings = json.dumps(plan.settings(step, checkpoint), default=str)
        key = hashlib.sha256((settings + told + (unlabelled if step in TAUGHT else "")).encode())
        return out / f"{step}-{seed}-{key.hexdigest()[:8]}"

    positions = positions_of([e.text for e in data.test or data.valid])
    todo = [(step, seed, folder_of(step, seed)) for seed in range(1, seeds + 1) for step in steps]

    def write() -> Results:
        results = Results(
            data.name,
            plan.labels_per_intent,
            {"train": len(data.train), **{name: len(examples) for name, examples in parts_of(data).items()}},
            positions,
            part,
            plan.settings("pruned", checkpoint),
            [model for _, _, folder in todo for model in read(folder)],
        )
        if results.models:
            write_atomic(out / RESULTS, json.dumps(results.to_json(), indent=1) + "\n")
            write_atomic(out / TABLE, markdown(results))
            write_atomic(out / PICTURE, report.picture(results))
        return results

    write()
    teachers = {seed: folder for step, seed, folder in todo if step == "teacher"}
    waiting = [item for item in todo if not read(item[2])]
    while waiting:
        for step, seed, folder in list(waiting):
            if step in TAUGHT and seed in teachers:
                with alone(teachers[seed]) as idle:
                    if not idle:  # another process fine-tunes it; this one would do so once more
                        continue
            with alone(folder) as mine:
                if not mine:
                    continue
                waiting.remove((step, seed, folder))
                started = time.monotonic()
                console.print(f"== {data.name}: {STEPS[step]}, seed {seed}")
                given = data if plan.labels_per_intent is None else few_labels(data, plan.labels_per_intent, seed)
                if not read(folder):
                    models = make(step, given, plan, seed, folder, console)
                    record = {"code": code, "models": [asdict(model) for model in models]}
                    write_atomic(folder / DONE, json.dumps(record, indent=1) + "\n")
            write()
            console.print(f"{(time.monotonic() - started) / 60:.1f} minutes; {len(waiting)} to go")
        if waiting:
            time.sleep(WAIT)
            waiting = [item for item in waiting if not read(item[2])]
    results = write()  # with what other processes made
    codes = [json.loads((folder / DONE).read_text())["code"] for _, _, folder in todo]
    if strange := sum(made_with != code for made_with in codes):
        console.print(
            f"{strange} of {len(codes)} models were made when train/, convert/, firmware/agent/ or packages were "
            f"not as they are now; to make them anew, delete {out}"
        )
    return results


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[bool]:
    """Whether no other process works in a folder; none will as long as the context lasts."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("w")
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror}); give --out another folder") from None
    with lock as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


# ---- the command ----


def show(results: Results, console: Console) -> None:
    """Prints the tables."""
    count = results.sentences[results.part]
    note = f"{count:,} sentences of the {results.part} part; mean ± standard deviation over seeds, percent"
    for title, (head, rows) in ((f"{results.title}: {note}", table(results)), ("points", effects_table(results))):
        shown = Table(title=title, title_justify="left")
        for i, name in enumerate(head):
            shown.add_column(name, justify="right" if i else "left", no_wrap=True)
        for row in rows:
            shown.add_row(*row)
        if rows:
            console.print(shown)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="python -m convert.benchmark",
        description="What each step of compression gives and costs: python -m convert.benchmark --data snips",
        formatter_class=HelpFormatter,
    )
    top.add_argument("--data", default="snips", metavar="NAME|PATH", help="as in python -m train")
    top.add_argument("--data-dir", type=Path, help="where local copies of public data sets lie")
    top.add_argument("--language", default="en", help="as in python -m train")
    top.add_argument("--test", type=Path, metavar="FILE", help="JSON lines to measure instead of the test part")
    top.add_argument("--part", choices=("valid", "test"), help="part to show (default: test, if there is one)")
    top.add_argument("--seeds", type=whole(1), default=3, help="how many runs of every model")
    top.add_argument("--steps", nargs="+", choices=STEPS, default=list(STEPS), help="what to make")
    top.add_argument("--preset", choices=PRESETS, default="large", help="as in python -m train")
    top.add_argument("--epochs", type=whole(LEAST_EPOCHS), help="passes over the training data (default: the preset's)")
    top.add_argument("--teacher", type=Path, help="as in python -m train (default: MiniLM-L6)")
    top.add_argument(
        "--budget",
        metavar="100kB",
        help="of a pruned student, as in python -m train (default: half of its encoder goes)",
    )
    top.add_argument(
        "--labels-per-intent",
        type=whole(1),
        metavar="N",
        help="keep so many labels of every intent; the rest is plain text",
    )
    top.add_argument(
        "--soft-labels",
        type=whole(1),
        metavar="N",
        help="sentences that the teacher labels (default: the preset's, or all that lost their labels)",
    )
    top.add_argument(
        "--threshold",
        type=share(),
        default=Plan.threshold,
        help="score, 0 to 1, below which a sentence is taken for no command",
    )
    top.add_argument("--out", type=Path, default=Path("build/benchmark"), help="folder of all results")
    return top


@reporting(interrupted="the same command goes on from here")
def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns its exit status."""
    options = parser().parse_args(arguments)
    console = Console(highlight=False, soft_wrap=True, markup=False)
    show(_run(options, console), Console(width=max(console.width, WIDTH), markup=False))
    return 0


def _run(options: argparse.Namespace, console: Console) -> Results:
    preset = PRESETS[options.preset]
    data = datasets.load(
        options.data,
        data_dir=options.data_dir,
        language=options.language,
        size=preset.size,
        cache_dir=datasets.CACHE,
    )
    if data.language != "en" and not options.teacher:
        raise UserError(f"the data is in {data.language!r}, the default teacher knows English: give one with --teacher")
    if options.test:
        data.test = read_jsonl(options.test)
    if not data.valid:
        raise UserError(f"data set {data.name} has no validation part; the score is fitted to it")
    part = options.part or ("test" if data.test else "valid")
    if part not in parts_of(data):
        raise UserError(f"data set {data.name} has no {part} part; give --test FILE, or show --part valid")
    plan = Plan(
        preset,
        options.epochs or preset.epochs(len(data.train)),
        options.teacher or default_folder(),
        options.labels_per_intent,
        Budget.parse(options.budget) if options.budget is not None else None,
        options.soft_labels,
        options.threshold,
    )
    if plan.labels_per_intent:
        # As many steps as with all labels; a teacher soon knows the few by heart.
        plan = replace(plan, preset=replace(preset, tuning=Tuning(), least=len(data.train)))
    else:
        data = datasets.with_public_text(data, options.data_dir, cache_dir=datasets.CACHE, say=console.print)
    amount = f"{plan.labels_per_intent}-per-intent" if plan.labels_per_intent else "all-labels"
    out = options.out / data.name / amount
    results = run(
        data,
        plan,
        seeds=options.seeds,
        steps=[step for step in STEPS if step in options.steps],
        part=part,
        out=out,
        console=console,
    )
    conversion.refresh_reports(options.out.parent)
    console.print(f"written: {out / RESULTS}, {TABLE} and {PICTURE} beside it, every model in its own folder there")
    return results


if __name__ == "__main__":
    sys.exit(main())
