"""``python -m train search``: which shapes are worth their bytes and their time, within a budget, on a named chip.

Optuna's multi-objective TPE (Ozaki et al. 2020) draws sizes and how far to prune them; what would not fit is not
trained. Trials stand in a journal in ``--out``: the same command goes on with an interrupted search, and as many
processes as run it, on one machine or on several that share the folder, share the work.
"""

from __future__ import annotations

import hashlib
import io
import json
import shlex
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.storages.journal import JournalFileBackend, JournalStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState
from rich.console import Console
from rich.table import Table

from train.cost import CHIPS, Budget, Cost, Pricing, weight_bytes
from train.datasets import CACHE, DataSet
from train.distillation import lexical_targets, lexicon
from train.encoding import Vocabulary, encode
from train.errors import OutOfReach, UserError
from train.examples import write_atomic
from train.labels import Labels
from train.pipeline import lessons, pricing
from train.presets import PRESETS
from train.pruning import Pruner, describe
from train.student import Shape, Student
from train.teacher import Teacher
from train.training import Epoch, Schedule, train

JOURNAL, RESULT, PICTURE = "search.journal", "search.json", "search.svg"
STUDY = "shapes"
MORE, LESS = StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE
DIRECTIONS = (MORE, LESS, LESS)
"""Of the goals: exact, bytes, ms."""


@dataclass(frozen=True)
class Plan:
    """What a search is for. Processes that share a folder must agree on it."""

    data: str
    language: str
    budget: Budget
    chip: str
    epochs: int
    """Of a trial; fewer than a whole training has."""
    seed: int
    teacher: str | None
    """Digest of the teacher whose word vectors are learnt."""
    preset: str
    """Whose shape and schedule a trial has, but for what is searched."""
    sentences: str
    """Digest of those to train on and to watch."""


def digest_of(data: DataSet) -> str:
    """Of a data set's sentences, as a plan has it."""
    return hashlib.sha256(repr((data.train, data.watched)).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Candidate:
    """What a trial tries."""

    sizes: dict[str, Any]
    """Those of Shape that are searched."""
    kept: float
    """Share of the encoder's weights that pruning leaves; 1: it is not pruned."""

    def budget(self, shape: Shape, whole: Cost, budget: Budget) -> Budget | None:
        """What its student is pruned to: its own share, and the budget of the search; ``None``: nothing is."""
        if self.kept == 1:
            return None
        pruned = whole.bytes - (1 - self.kept) * weight_bytes(shape)
        return replace(budget, bytes=min(pruned, budget.bytes or pruned))


def suggest(trial: Trial) -> Candidate:
    """Draws a candidate."""
    layers = trial.suggest_int("layers", 1, 3)
    heads = trial.suggest_int("heads", 1, 6)
    hidden = trial.suggest_int("hidden", 32, 256, step=32)
    sizes = {
        "rows": trial.suggest_int("rows", 1024, 5120, step=512),
        "embed": trial.suggest_int("embed", 16, 48, step=8),
        "width": trial.suggest_int("width", 32, 112, step=16),
        "heads": (heads,) * layers,
        "hidden": (hidden,) * layers,
    }
    return Candidate(sizes, trial.suggest_categorical("kept", [1.0, 0.7, 0.5]))


SMALLEST = {"rows": 1024, "embed": 16, "width": 32, "heads": (1,), "hidden": (32,)}


@dataclass(frozen=True)
class Outcome:
    """What a candidate came to."""

    shape: Shape
    cost: Cost
    intent: float
    exact: float
    """Share of validation sentences with the right intent and all slots."""


Try = Callable[[Candidate], Outcome]


class Trainer:
    """Trains candidates on a data set, briefly.

    Args:
        data: labelled sentences.
        plan: for how long, and to what budget.
        teacher: folder of the pretrained encoder whose word vectors are learnt beside the labels.

    Raises:
        UserError: there is no time to prune, or the data cannot be learnt from or watched.
    """

    def __init__(self, data: DataSet, plan: Plan, teacher: Path | None) -> None:
        self.data, self.plan, self.preset = data, plan, PRESETS[plan.preset]
        self.labels = Labels.of(data.train)
        self.labels.require(data.valid, f"{data.name}'s valid part")
        self.schedule = Schedule.of(self.preset, plan.epochs, plan.seed)
        self.lessons = lessons(data, self.preset, plan.seed)
        self.words = lexicon(Teacher(teacher, CACHE), self.lessons, self.preset.distillation) if teacher else None
        encoded, _ = (encode(part, self.labels, Vocabulary(64, 32)) for part in (data.train, data.watched))
        self.price = pricing(data, self.labels, encoded, CHIPS[plan.chip])

    def shape(self, sizes: dict[str, Any]) -> Shape:
        """All sizes of a student of this data set."""
        return Shape(classes=len(self.labels.classes), tags=self.labels.tags, **{**self.preset.shape, **sizes})

    def __call__(self, candidate: Candidate) -> Outcome:
        """Trains one.

        Raises:
            OutOfReach: it cannot be pruned to its budget.
        """
        shape = self.shape(candidate.sizes)
        vocabulary = Vocabulary(shape.rows, shape.positions)
        parts = (self.lessons, self.data.watched)
        train_data, valid_data = (encode(part, self.labels, vocabulary) for part in parts)
        lexical = lexical_targets(*self.words, vocabulary, self.preset.distillation) if self.words else None
        pieces = vocabulary.pieces()
        prune = None
        if budget := candidate.budget(shape, self.price(shape), self.plan.budget):
            seed = self.schedule.seed
            prune = Pruner(shape, budget, self.price, train_data, pieces, lambda line: None, seed=seed)
        epochs: list[Epoch] = []
        student = train(
            Student(shape, dropout=self.schedule.dropout, seed=self.schedule.seed),
            train_data,
            valid_data,
            pieces,
            self.labels,
            self.schedule,
            lambda done, steps, loss: None,
            epochs.append,
            lexical,
            prune=prune,
        )
        last = epochs[-1]
        return Outcome(student.shape, self.price(student.shape), last.valid_intent, last.valid_exact)


def open_study(out: Path, plan: Plan, worker_seed: int) -> optuna.Study:
    """The study in a folder, new or gone on with.

    Raises:
        UserError: the folder holds another search, or one that cannot be read, or cannot be made.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        out.mkdir(parents=True, exist_ok=True)
        study = optuna.create_study(
            study_name=STUDY,
            storage=JournalStorage(JournalFileBackend(str(out / JOURNAL))),
            sampler=optuna.samplers.TPESampler(seed=worker_seed),
            directions=DIRECTIONS,
            load_if_exists=True,
        )
    except OSError as error:
        raise UserError(f"{out} cannot hold a search ({error.strerror}); give another folder with --out") from None
    except ValueError as error:
        raise UserError(f"{out / JOURNAL} is broken ({error}); delete it, and the search begins anew") from None
    told = json.loads(json.dumps(asdict(plan)))
    known = study.user_attrs.get("plan")
    if known is None:
        study.set_user_attr("plan", told)
    elif known != told:
        differs = ", ".join(
            f"{name} {known.get(name)!r}, not {told[name]!r}" for name in told if known.get(name) != told[name]
        )
        raise UserError(f"{out} holds another search ({differs}); give another folder with --out, or the same options")
    return study


def require_reach(budget: Budget, least: Cost) -> None:
    """
    Raises:
        UserError: not even the smallest student, which costs ``least``, is within the budget.
    """
    if not budget.holds(least):
        raise UserError(
            f"the budget of {describe(budget.limits)} is out of reach: the smallest student that is searched "
            f"takes {describe({name: getattr(least, name) for name in budget.limits})}"
        )


def run(
    study: optuna.Study,
    plan: Plan,
    shape_of: Callable[[dict[str, Any]], Shape],
    price: Pricing,
    attempt: Try,
    trials: int,
    console: Console,
) -> None:
    """Adds trials until there are ``trials`` that were trained, those of all processes together."""
    limits = price.limits(plan.budget)

    def objective(trial: Trial) -> tuple[float, float, float]:
        candidate = suggest(trial)
        shape = shape_of(candidate.sizes)
        expected = vars(price(shape))
        if target := candidate.budget(shape, price(shape), plan.budget):
            expected = {name: min(value, target.limits.get(name, value)) for name, value in expected.items()}
        for name, limit in limits.items():
            trial.set_constraint(name, expected[name] / limit - 1)
        if any(expected[name] > limit for name, limit in limits.items()):
            raise optuna.TrialPruned
        try:
            outcome = attempt(candidate)
        except OutOfReach as error:
            raise optuna.TrialPruned from error
        trial.set_user_attr("outcome", json.loads(json.dumps(asdict(outcome))))
        trial.set_user_attr("candidate", json.loads(json.dumps(asdict(candidate))))
        return outcome.exact, outcome.cost.bytes, outcome.cost.ms

    def said(study: optuna.Study, trial: FrozenTrial) -> None:
        if trial.state is TrialState.COMPLETE:
            outcome = trial.user_attrs["outcome"]
            done = len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))
            console.print(f"{done}/{trials}: {outcome['exact']:.1%} exact, {describe(outcome['cost'])}")

    stop = optuna.study.MaxTrialsCallback(trials, states=(TrialState.COMPLETE,))
    if len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))) < trials:
        study.optimize(objective, callbacks=[stop, said])


def dominates(a: Sequence[float], b: Sequence[float]) -> bool:
    """Whether ``a`` is as good as ``b`` in each goal, and better in one."""
    signs = [-1 if direction is MORE else 1 for direction in DIRECTIONS]
    pairs = [(s * x, s * y) for s, x, y in zip(signs, a, b, strict=True)]
    return all(x <= y for x, y in pairs) and any(x < y for x, y in pairs)


def front(trials: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that no other dominates, the most accurate first."""

    def goals(trial: dict[str, Any]) -> list[float]:
        return [trial["exact"], trial["cost"]["bytes"], trial["cost"]["ms"]]

    best = [t for t in trials if not any(dominates(goals(other), goals(t)) for other in trials)]
    return sorted(best, key=lambda t: (-float(t["exact"]), float(t["cost"]["bytes"])))


def results(
    study: optuna.Study,
    plan: Plan,
    price: Pricing,
    shape_of: Callable[[dict[str, Any]], Shape],
    arguments: Sequence[str],
    out: Path,
) -> dict[str, Any]:
    """All trained trials, the Pareto front among them, and the command that trains each into a folder of its own.

    arguments: of ``python -m train``, less those that differ from trial to trial. out: holds the folders.
    """
    found = []
    for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        candidate = Candidate(**trial.user_attrs["candidate"])
        shape = shape_of({k: tuple(v) if isinstance(v, list) else v for k, v in candidate.sizes.items()})
        command = ["python", "-m", "train", *arguments]
        command += ["--shape", json.dumps(candidate.sizes, separators=(",", ":"))]
        if target := candidate.budget(shape, price(shape), plan.budget):
            command += ["--budget", target.text]
        command += ["--out", str(out / f"trial{trial.number}")]
        found.append({"trial": trial.number, **trial.user_attrs["outcome"], "command": shlex.join(command)})
    return {"plan": asdict(plan), "words": price.positions - 1, "front": front(found), "trials": found}


def show(found: dict[str, Any], console: Console) -> None:
    """Prints the front."""
    title = f"Pareto front of {len(found['trials'])} trials; time and MACs at {found['words']} words"
    table = Table(title=title, title_justify="left")
    for name in ("exact", "kB", "ms", "MMAC", "RAM", "rows", "embed", "width", "heads", "hidden"):
        table.add_column(name, justify="right", overflow="fold")
    for entry in found["front"]:
        cost, shape = entry["cost"], entry["shape"]
        layers = ("+".join(map(str, shape[name])) for name in ("heads", "hidden"))
        table.add_row(
            f"{entry['exact']:.1%}",
            f"{cost['bytes'] / 1e3:.1f}",
            f"{cost['ms']:.2f}",
            f"{cost['macs'] / 1e6:.2f}",
            f"{cost['arena'] / 1e3:.1f}",
            *(str(shape[name]) for name in ("rows", "embed", "width")),
            *layers,
        )
    console.print(table)


def picture(found: dict[str, Any], path: Path) -> None:
    """Accuracy against bytes and against time, as SVG; the front is filled."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, 2, figsize=(10, 4.5), sharey=True, layout="constrained")
    for axes, name, scale, label in zip(
        panels, ("bytes", "ms"), (1e-3, 1), ("bundle, kB", f"ms at {found['words']} words"), strict=True
    ):
        for entries, style in ((found["trials"], {"facecolors": "none", "edgecolors": "0.6"}), (found["front"], {})):
            axes.scatter([t["cost"][name] * scale for t in entries], [100 * t["exact"] for t in entries], **style)
        if limit := found["plan"]["budget"][name]:
            axes.axvline(limit * scale, linestyle=":", color="0.4")
        axes.set(xlabel=label)
    panels[0].set(ylabel="intent and all slots right, % of validation")
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg", metadata={"Date": None})
    pyplot.close(figure)
    write_atomic(path, drawn.getvalue())


def search(
    data: DataSet,
    plan: Plan,
    out: Path,
    *,
    trials: int,
    teacher: Path | None,
    arguments: Sequence[str],
    console: Console,
) -> dict[str, Any]:
    """Searches, writes ``search.json`` and ``search.svg`` to ``out``, and returns the content of the former.

    arguments: see :func:`results`.
    """
    worker = np.random.SeedSequence()  # workers that start at once must not draw the same
    with console.status("reading the data"):
        trainer = Trainer(data, plan, teacher)
    require_reach(plan.budget, trainer.price(trainer.shape(SMALLEST)))
    study = open_study(out, plan, int(worker.generate_state(1)[0]))
    run(study, plan, trainer.shape, trainer.price, trainer, trials, console)
    found = results(study, plan, trainer.price, trainer.shape, arguments, out)
    write_atomic(out / RESULT, json.dumps(found, indent=1) + "\n")
    picture(found, out / PICTURE)
    return found
