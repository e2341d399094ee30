"""From a data set to a trained student on disk."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import io
import json
import random
import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from train import datasets
from train.agentlib import featurize
from train.augment import rewritten, with_question_marks
from train.cost import CHIPS, Budget, Chip, Pricing, golden_bytes, label_bytes
from train.datasets import CACHE, DataSet
from train.distillation import Paraphraser, lexical_targets, lexicon, soft_targets, unlabelled_text
from train.encoding import Encoded, Vocabulary, encode, median_positions, splits_a_word
from train.errors import UserError
from train.examples import Example, write_atomic
from train.labels import Labels
from train.learner import Checkpoint
from train.presets import Preset
from train.pruning import Pruner, describe
from train.student import Shape, Student
from train.teacher import JointTeacher, Teacher
from train.training import Epoch, LexicalTargets, Schedule, SoftTargets, train

STUDENT_JSON, STUDENT_NPZ = "student.json", "student.npz"
CHECKPOINT = "checkpoint.npz"
PACKAGES = ("tensorflow", "keras", "numpy", "keras-hub", "tokenizers")
"""Those that decide on the result."""


def run(
    data: DataSet,
    out: Path,
    *,
    preset: Preset,
    schedule: Schedule,
    console: Console,
    teacher: Path | None = None,
    shape: dict[str, Any] | None = None,
    budget: Budget | None = None,
    chip: Chip = CHIPS["esp32c3"],
) -> Student:
    """Trains a student on a data set and writes both to ``out``.

    A run that was interrupted is taken up at its last whole epoch by the same call, and gives the same student.

    Args:
        data: labelled sentences.
        out: folder; gets ``student.json``, ``student.npz`` and ``data/``.
        preset: sizes.
        schedule: how to train; its epochs are the preset's.
        console: where progress is shown.
        teacher: folder of a pretrained encoder to distil; ``None``: labels alone.
        shape: sizes that differ from the preset's.
        budget: what the student may cost at the median sentence; it is pruned to it.
        chip: whose time the budget means.

    Raises:
        UserError: the budget cannot be reached, or the sizes are beyond what the firmware takes.
    """
    labels = Labels.of(data.train)
    labels.require(data.valid, f"{data.name}'s valid part")
    sizes = Shape(classes=len(labels.classes), tags=labels.tags, **{**preset.shape, **(shape or {})})
    vocabulary = Vocabulary(sizes.rows, sizes.positions)
    with console.status("hashing words"):
        written = lessons(data, preset, schedule.seed)
        marked = with_question_marks(written, random.Random(schedule.seed))
        train_data, valid_data = (encode(part, labels, vocabulary) for part in (marked, data.watched))
    ways = f", written in {len(written):,} ways" if len(written) > len(data.train) else ""
    console.print(
        f"{data.name}: {len(data.train):,} sentences to train on{ways}, {len(valid_data):,} to watch; "
        f"{len(labels.intents)} intents in {sizes.classes} classes, {len(labels.slots)} slots"
    )
    texts = Counter(example.text for example in dict.fromkeys(data.train))
    if long := [t for t in texts if len(t) >= sizes.positions and len(featurize(t, 2, 1)) >= sizes.positions]:
        console.print(
            f"{len(long):,} sentences to train on, such as {long[0]!r}, have more than {sizes.positions - 1} words: "
            "the agent refuses these, and training sees no more of them"
        )
    if torn := [text for text, count in texts.items() if count > 1]:
        console.print(f"{len(torn):,} sentences to train on, such as {torn[0]!r}, have more than one label")
    if split := [e.text for e in data.watched if splits_a_word(e, vocabulary.words(e.text)[0])]:
        console.print(
            f"{len(split):,} of {len(data.watched):,} sentences to watch, such as {split[0]!r}, have a slot that "
            "begins or ends inside a word, as no answer's can: the agent's slots are whole words"
        )
    price = pricing(data, labels, train_data, chip)
    if not budget and (needs := price(sizes).arena) > chip.arena:
        raise UserError(
            f"a student of these sizes needs {needs:,.0f} bytes of working memory, the firmware has {chip.arena:,}; "
            "choose a smaller width, fewer heads or hidden neurons (--shape)"
        )
    prune = None
    if budget:
        console.print(f"before pruning: {describe(vars(price(sizes)))}, at {price.positions - 1} words")
        prune = Pruner(sizes, budget, price, train_data, vocabulary.pieces(), console.print, seed=schedule.seed)
    pretrained = Teacher(teacher, CACHE) if teacher else None
    if pretrained:
        _ = pretrained.backbone  # one that cannot be read shall say so before anything is lost
    if (out / STUDENT_JSON).exists():  # what it was trained on is about to go
        (out / STUDENT_JSON).unlink()
    datasets.save(data, out / datasets.DATA)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        lexical, soft = None, None
        if pretrained:
            lexical, soft = _distil(pretrained, data, written, labels, vocabulary, preset, schedule, progress, console)
        student = Student(sizes, dropout=schedule.dropout, seed=schedule.seed)
        pieces = vocabulary.pieces()
        told = (sizes, schedule, budget, price(sizes), labels, train_data, valid_data, pieces, lexical, soft)
        checkpoint = Checkpoint(out / CHECKPOINT, digest(told))
        if saved := checkpoint.load():
            console.print(f"an interrupted run is taken up after epoch {len(saved.epochs)}")
        history: list[Epoch] = []
        task = progress.add_task("training", total=None)

        def step(done: int, steps: int, loss: float) -> None:
            progress.update(task, completed=done, total=steps, description=f"training, loss {loss:.3f}")

        watched = "validation" if data.valid else "training"

        def finished(epoch: Epoch) -> None:
            history.append(epoch)
            console.print(
                f"epoch {epoch.epoch}/{schedule.epochs}{' int8' if epoch.quantized else ''}: loss {epoch.loss:.3f}, "
                f"{watched} intent {epoch.valid_intent:.1%}, intent and all slots {epoch.valid_exact:.1%}"
            )

        student = train(
            student,
            train_data,
            valid_data,
            pieces,
            labels,
            schedule,
            step,
            finished,
            lexical,
            soft,
            prune=prune,
            checkpoint=checkpoint,
        )
    lesson = {"checkpoint": pretrained.digest, **asdict(preset.distillation)} if pretrained else None
    pruned = {"from": sizes.to_json(), "budget": budget.limits} if budget else None
    cost = vars(price(student.shape))
    save(student, labels, data, schedule, history, lesson, out, lessons=len(written), pruned=pruned, cost=cost)
    checkpoint.remove()
    return student


def lessons(data: DataSet, preset: Preset, seed: int) -> Sequence[Example]:
    """What a student, or a teacher, learns from: the training part, and more of it where people wrote few sentences."""
    if data.generated:
        return data.train
    return rewritten(data.train, preset.least, random.Random(f"{seed}/rewritten"), english=data.english)


def pricing(data: DataSet, labels: Labels, encoded: Encoded, chip: Chip) -> Pricing:
    """What prices a data set's students, at its median sentence."""
    of_data = label_bytes(labels, data.values, data.numeric_slots) + golden_bytes([e.text for e in data.watched])
    return Pricing(of_data, median_positions(encoded.lengths), chip)


def digest(told: Any) -> str:
    """Names a training: what it is told, what it is computed with, and this part of the project."""
    digest = hashlib.sha256()

    def add(item: Any) -> None:
        if isinstance(item, np.ndarray):
            digest.update(np.ascontiguousarray(item).tobytes())
        elif is_dataclass(item):
            for one in fields(item):
                add(getattr(item, one.name))
        elif isinstance(item, tuple | list):
            for one in item:
                add(one)
        else:
            digest.update(repr(item).encode())
        digest.update(b"\0")

    add((told, _versions(), _sources()))
    return digest.hexdigest()


@functools.cache
def _sources() -> tuple[bytes, ...]:
    return tuple(source.read_bytes() for source in sorted(Path(__file__).parent.glob("*.py")))


def _versions() -> dict[str, str]:
    return {package: importlib.metadata.version(package) for package in PACKAGES}


def _distil(
    teacher: Teacher,
    data: DataSet,
    written: Sequence[Example],
    labels: Labels,
    vocabulary: Vocabulary,
    preset: Preset,
    schedule: Schedule,
    progress: Progress,
    console: Console,
) -> tuple[LexicalTargets, SoftTargets | None]:
    """What the teacher pretrained that the labels do not say."""
    plan = preset.distillation
    with console.status("asking the teacher about words"):
        words, vectors = lexicon(teacher, written, plan)
        lexical = lexical_targets(words, vectors, vocabulary, plan)
    console.print(f"the teacher's vectors of {len(lexical.pieces):,} words")
    if not plan.sentences:
        return lexical, None
    joint = JointTeacher(teacher, labels, lambda text: vocabulary.words(text)[0])
    task = progress.add_task("fine-tuning the teacher", total=None)
    joint.fit(
        written,
        replace(preset.tuning, seed=schedule.seed),
        lambda done, steps, loss: progress.update(
            task, completed=done, total=steps, description=f"fine-tuning the teacher, loss {loss:.3f}"
        ),
    )
    progress.remove_task(task)
    texts = unlabelled_text(data, Paraphraser(words, vectors, plan), plan, schedule.seed)
    if not texts:
        console.print("there is no text for the teacher to label")
        return lexical, None
    task = progress.add_task("the teacher labels sentences", total=None)
    soft = soft_targets(joint, texts, vocabulary, lambda done, n: progress.update(task, completed=done, total=n))
    progress.remove_task(task)
    console.print(
        f"the teacher's labels of {len(soft.data):,} sentences, {len(data.unlabelled):,} unlabelled ones at hand"
    )
    return lexical, soft


def save(
    student: Student,
    labels: Labels,
    data: DataSet,
    schedule: Schedule,
    history: list[Epoch],
    lesson: dict[str, Any] | None,
    out: Path,
    *,
    lessons: int,
    pruned: dict[str, Any] | None,
    cost: dict[str, float],
) -> None:
    """Writes a trained student: weights as ``student.npz``, everything else as ``student.json``.

    For the record: ``lesson``, the teacher and what was asked of it; ``lessons``, how many sentences it learned from;
    ``pruned``, sizes before pruning and the budget; ``cost``, what the student is predicted to cost.
    """
    weights: dict[str, Any] = {v.path.replace("/", "."): v.numpy() for v in student.variables if v.dtype == "float32"}
    buffer = io.BytesIO()
    np.savez(buffer, **weights)
    write_atomic(out / STUDENT_NPZ, buffer.getvalue())
    record = {
        "data": data.name,
        "language": data.language,
        "shape": student.shape.to_json(),
        "labels": labels.to_json(),
        "schedule": asdict(schedule),
        "history": [asdict(e) for e in history],
        "teacher": lesson,
        "lessons": lessons,
        "pruned": pruned,
        "predicted_cost": cost,
        "provenance": {
            "data": data.provenance,
            "versions": _versions(),
        },
    }
    write_atomic(out / STUDENT_JSON, json.dumps(record, ensure_ascii=False, indent=1) + "\n")


def load(folder: Path) -> tuple[Student, Labels, dict[str, Any]]:
    """A student from disk, ready to round as the chip does, its labels, and all of ``student.json``.

    Raises:
        UserError: there is none in the folder, or another version of this project trained it.
    """
    try:
        record: dict[str, Any] = json.loads((folder / STUDENT_JSON).read_text(encoding="utf-8"))
        weights = np.load(folder / STUDENT_NPZ)
        student, labels = Student(Shape.from_json(record["shape"])), Labels.from_json(record["labels"])
        for variable in student.variables:
            if variable.dtype == "float32":
                array = weights[name := variable.path.replace("/", ".")]
                if array.shape != tuple(variable.shape):
                    raise ValueError(f"{name} is {array.shape}, not {tuple(variable.shape)}")
                variable.assign(array)
        known = ("data", "language", "schedule", "history", "teacher", "lessons", "pruned", "provenance")
        _ = [record[key] for key in known]
    except FileNotFoundError as error:
        raise UserError(f"{error.filename} is missing; train a student first: python -m train --out {folder}") from None
    except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise UserError(f"the student in {folder} cannot be read ({error}); train it again") from None
    except (KeyError, TypeError) as error:
        raise UserError(f"the student in {folder} is of another version ({error} is amiss); train it again") from None
    student.quantized = True
    return student, labels, record
