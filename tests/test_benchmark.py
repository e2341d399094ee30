"""The benchmark: what is measured, that it is the same on every way, and that an interrupted one goes on."""

import contextlib
import io
import json
import shutil
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from convert import benchmark
from convert import pipeline as conversion
from convert.benchmark import Plan, few_labels, main, make_student, measure_int8, run, student_heads, teacher_heads
from convert.bundle import Calibration, read_sections
from convert.calibration import Scored, best_intents, calibrate
from convert.decoding import Decoder, Heads
from convert.diagnosis import hear
from convert.flatbuffer import read_encoder
from convert.results import Estimate, Model, Results, effects_table, labels_table, markdown, percent, read_all, table
from train import datasets, pipeline
from train.agentlib import Agent, Token, featurize
from train.cost import Budget
from train.datasets import DataSet
from train.examples import Example, Slot
from train.labels import Labels
from train.presets import PRESETS

QUIET = Console(quiet=True)


def figures(intent: float, exact: float | None = None, accepted: int = 0) -> dict[str, Any]:
    """A part's figures as train.metrics gives them."""
    return {
        "n": 10,
        "intent_accuracy": intent,
        "slot_f1": exact,
        "exact": intent if exact is None else exact,
        "out_of_scope": {"n": 4, "accepted": accepted},
    }


def model(step: str, rounding: str, seed: int, intent: float, exact: float | None = None, **more: Any) -> Model:
    """A measured model."""
    return Model(step, rounding, seed, 100, more.get("bytes", 400), 5, {"test": figures(intent, exact)})


def results(*models: Model, labels: int | None = None) -> Results:
    """Results of a data set with a test part."""
    return Results("snips", labels, {"train": 9, "valid": 5, "test": 10}, 4, "test", {}, list(models))


THREE = results(
    *(model("labels", "int8", seed, 0.9, exact) for seed, exact in ((1, 0.80), (2, 0.82), (3, 0.84))),
    *(model("distilled", "int8", seed, 0.9, exact) for seed, exact in ((3, 0.87), (1, 0.81), (2, 0.84))),
    model("distilled", "float", 1, 0.9, 0.815),
)


# ---- figures ----


def test_differences_are_taken_seed_by_seed() -> None:
    gain = THREE.difference(("distilled", "int8"), ("labels", "int8"), "exact")
    assert gain is not None
    assert gain.mean == pytest.approx(0.02)
    assert gain.spread == pytest.approx(0.01), "smaller than that of either row, 0.02 and 0.03"
    single = THREE.difference(("distilled", "int8"), ("distilled", "float"), "exact")
    assert single is not None
    assert single.mean == pytest.approx(-0.005)
    assert (single.spread, single.n) == (None, 1)


def test_tables_show_mean_and_spread_in_points() -> None:
    head, rows = table(THREE)
    assert head == ["", "intent", "slot F1", "exact", "oos recall", "parameters", "bytes", "MACs"]
    assert [row[0] for row in rows] == [
        "student, labels alone, int8",
        "student, distilled, float",
        "student, distilled, int8",
    ]
    assert rows[0][1:4] == ["90.0 ± 0.0", "82.0 ± 2.0", "82.0 ± 2.0"]
    assert rows[1][3:6] == ["81.5", "100.0", "100"], "one seed has no spread"
    assert effects_table(THREE)[1] == [
        ["distillation", "+0.0 ± 0.0", "+2.0 ± 1.0", "+2.0 ± 1.0", "+0.0 ± 0.0"],
        ["int8, distilled", "+0.0", "-0.5", "-0.5", "+0.0"],
    ]
    assert percent(Estimate(-1e-9, None, 1), signed=True) == "+0.0"
    assert percent(None) == "–"


def test_data_without_slots_counts_intents() -> None:
    few = results(model("labels", "int8", 1, 0.6), model("distilled", "int8", 1, 0.7), labels=10)
    few.models[0].measured["test"]["out_of_scope"]["accepted"] = 3
    head, rows = table(few)
    assert "slot F1" not in head
    assert rows[0][head.index("oos recall")] == "25.0"
    assert labels_table([few])[1] == [["10 per intent", "–", "60.0", "70.0", "+10.0"]]
    assert "| student, distilled, int8 | 70.0 |" in markdown(few)


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    few = replace(THREE, labels_per_intent=10)
    for found, folder in ((few, "10-per-intent"), (THREE, "all-labels")):
        (tmp_path / "snips" / folder).mkdir(parents=True)
        (tmp_path / "snips" / folder / "results.json").write_text(json.dumps(found.to_json()))
    assert read_all(tmp_path) == [THREE, few]
    assert read_all(tmp_path / "none") == []


# ---- few labels ----


def test_few_labels_keep_every_slot_and_lose_no_text() -> None:
    common = [Example(f"play song {i}", "Play", (Slot("song", 5, 9),)) for i in range(40)]
    rare = [Example("play in the hall", "Play", (Slot("area", 12, 16),))]
    other = [Example(f"stop {i}", "Stop") for i in range(30)] + [Example(f"what {i}", None) for i in range(5)]
    data = DataSet("x", "en", [*common, *rare, *other], [], [])
    for seed in range(5):
        few = few_labels(data, 3, seed)
        kept = set(few.train)
        assert len(kept) == len(few.train)
        assert Counter(e.intent for e in kept) == {"Play": 3, "Stop": 3, None: 3}
        assert {s.slot for e in kept for s in e.slots} == {"song", "area"}
        assert {e.text for e in kept} | set(few.unlabelled) == {e.text for e in data.train}
        assert not {e.text for e in kept} & set(few.unlabelled)
    assert few_labels(data, 3, 1) == few_labels(data, 3, 1) != few_labels(data, 3, 2)
    assert set(few_labels(data, 1000, 1).train) == set(data.train)


# ---- measuring ----


def test_float_logits_are_decoded_as_the_firmware_does(agent_folder: Path, bundle: Path) -> None:
    metrics = json.loads((agent_folder / "metrics.json").read_text())
    content = bundle.read_bytes()
    encoder, agent = read_encoder(read_sections(content)["flatbuffer"]), Agent(content)
    labels = Labels.from_json(json.loads((agent_folder / "student.json").read_text())["labels"])
    decoder = Decoder(
        labels, Calibration(*(metrics[name] for name in ("temperature", "threshold", "others", "tag_weight")))
    )
    data = datasets.load(str(agent_folder / datasets.DATA), data_dir=None, cache_dir=agent_folder)
    examples = data.valid[:400]
    differ = []
    for example, heard in zip(examples, hear(agent, examples), strict=True):
        classes, tags = agent.encode(agent.embed(example.text))
        heads = Heads(featurize(example.text, 2, 1), classes * encoder.class_scale, tags * encoder.tag_scale)
        if decoder.predict(heads) != heard.guess:
            differ.append(example.text)
    # Logits are rounded to their own largest, the firmware's to a constant: a tie can fall otherwise.
    assert len(differ) <= 2, differ
    assert decoder.predict(None).error


def test_a_slot_that_is_never_said_twice_keeps_the_surer_span() -> None:
    labels = Labels.of([Example("a b c", "Do", (Slot("x", 0, 1),))])
    tokens = [Token(2 * i, 2 * i + 1, ()) for i in range(4)]
    outside, begins, inside = np.eye(3) * 9

    def spans(*tags: Any) -> list[tuple[int, int]]:
        guess = Decoder(labels, Calibration(1.0, 0.0)).predict(Heads(tokens, np.array([3.0]), np.stack(tags)))
        assert guess.intent == "Do"
        return [(s.start, s.end) for s in guess.slots]

    assert spans(begins, inside, outside, outside) == [(0, 3)]
    assert spans(begins, begins, outside, outside) == [(0, 3)], "neighbours are one"
    assert spans(begins, outside, begins, inside) == [(4, 7)]
    assert spans(begins, inside, outside, begins) == [(0, 3)]
    assert spans(1.5 * begins, outside, begins, begins) == [(4, 7)], "neighbours first, then the surer"


def test_a_student_is_measured_in_float_and_on_the_firmware(
    agent_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics = json.loads((agent_folder / "metrics.json").read_text())
    data = datasets.load(str(agent_folder / datasets.DATA), data_dir=None, cache_dir=agent_folder)
    data.test = data.test[:200]
    asked: dict[str, Any] = {}
    out = tmp_path / "student"

    def trained(*_: Any, **how: Any) -> None:
        asked.update(how)
        shutil.copytree(agent_folder, out)

    monkeypatch.setattr(pipeline, "run", trained)
    monkeypatch.setattr(conversion, "run", lambda *_: metrics)
    plan = Plan(PRESETS["quick"], 3, Path("teacher"))
    make_student("pruned", data, plan, 7, out, QUIET)
    assert asked["teacher"] == Path("teacher")
    half = metrics["bytes"]["bundle"] - metrics["bytes"]["flatbuffer"] / 2
    assert asked["budget"].bytes == pytest.approx(half, rel=0.15), "half of the encoder is to go"
    shutil.rmtree(out)
    floating, rounded = make_student("labels", data, plan, 7, out, QUIET)
    assert (asked["teacher"], asked["budget"]) == (None, None)
    assert (asked["schedule"].epochs, asked["schedule"].seed) == (3, 7)
    assert rounded.measured["valid"] == {k: metrics["firmware"].get(k, v) for k, v in rounded.measured["valid"].items()}
    assert rounded.measured["test"] == measure_int8((out / "agent.bundle").read_bytes(), data)["test"]
    assert rounded.bytes == metrics["bytes"]["bundle"]
    assert floating.bytes == 4 * metrics["parameters"]
    for name in ("intent_accuracy", "exact"):
        a, b = floating.figure(name, "test"), rounded.figure(name, "test")
        assert a is not None
        assert b is not None
        assert b - 0.02 < a < 1, "the float one rejects less"


def test_sentences_without_a_word_have_no_logits(agent_folder: Path) -> None:
    student, labels, _ = pipeline.load(agent_folder)
    found = student_heads(student, ["turn on the light", "...", "stop"])
    assert [heads is not None for heads in found] == [True, False, True]
    assert found[0] is not None
    assert found[0].tags.shape == (4, labels.tags)
    assert student.quantized
    said = [(1, np.zeros(3), np.zeros((0, 3))), (0, np.zeros(3), np.zeros((1, 3)))]
    joint: Any = SimpleNamespace(label=lambda _: iter(said), words=lambda text: text.split())
    assert [heads is not None for heads in teacher_heads(joint, ["stop", "?"])] == [True, False]


def test_a_score_by_sentence_spares_the_many() -> None:
    labels = Labels.of([Example("a", "A"), Example("b", "B"), Example("c", "C"), Example("d", None)])
    # Other intents must count for what is no command to be rejected, and a tenth of the commands would be, too.
    sure, torn, strange = [9.0, 0.0, 0.0, 0.0], [3.1, 2.9, 2.9, 0.0], [3.0, 2.9, 2.9, 0.0]
    logits = np.array([sure] * 2700 + [torn] * 300 + [strange] * 100)
    classes = np.array([0] * 3000 + [3] * 100)
    scored = Scored(logits, np.zeros_like(logits), classes)

    def wrong(**how: bool) -> tuple[int, int]:
        fitted = calibrate(scored, labels, 0.5, **how)
        accepted = best_intents(logits, labels, fitted.temperature, fitted.others)[1] >= fitted.threshold
        return int((~accepted[:3000]).sum()), int(accepted[3000:].sum())

    assert wrong() == (300, 0)
    assert wrong(by_sentence=True) == (0, 100)


# ---- runs ----

LAMPS = [Example("lamp on", "On"), Example("lamp off", "Off")]
DATA = DataSet("x", "en", LAMPS, LAMPS, LAMPS)
PLAN = Plan(PRESETS["quick"], 2, Path("teacher"))


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Models are counted instead of made; what is asked for is put here."""
    asked: list[tuple[str, int]] = []

    def make(step: str, data: DataSet, plan: Plan, seed: int, folder: Path, console: Console) -> list[Model]:
        asked.append((step, seed))
        if len(asked) == 3:
            raise KeyboardInterrupt
        return [model(step, "float" if step == "teacher" else "int8", seed, 0.9, 0.8)]

    monkeypatch.setattr(benchmark, "make", make)
    monkeypatch.setattr(benchmark, "Teacher", lambda *_: SimpleNamespace(digest="weights"))
    return asked


def test_an_interrupted_benchmark_goes_on(
    made: list[tuple[str, int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def go(plan: Plan, data: DataSet = DATA, console: Console = QUIET) -> Results:
        return run(data, plan, seeds=2, steps=["teacher", "labels"], part="test", out=tmp_path, console=console)

    with pytest.raises(KeyboardInterrupt):
        go(PLAN)
    assert made == [("teacher", 1), ("labels", 1), ("teacher", 2)]
    (tmp_path / "another version").mkdir()
    (tmp_path / "another version" / benchmark.DONE).write_text('{"models": [{"size": 3}]}')
    assert benchmark.read(tmp_path / "another version") == []
    assert len(json.loads((tmp_path / "results.json").read_text())["models"]) == 2
    found = go(PLAN)
    assert made[3:] == [("teacher", 2), ("labels", 2)]
    assert found.rows() == [("teacher", "float"), ("labels", "int8")]
    assert [m.seed for m in found.of("labels", "int8")] == [1, 2]
    assert "90.0 ± 0.0" in (tmp_path / "results.md").read_text()
    assert (tmp_path / "results.svg").read_text().startswith("<svg")
    assert go(PLAN) == found
    assert len(made) == 5, "nothing is made twice"

    preset = replace(PRESETS["quick"], distillation=replace(PRESETS["quick"].distillation, sentences=5))
    go(replace(PLAN, preset=preset, budget=Budget(bytes=1)))
    assert len(made) == 5, "what the teacher is asked changes neither itself nor a student of the labels alone"
    go(replace(PLAN, epochs=3))
    assert made[5:] == [("labels", 1), ("labels", 2)]
    go(PLAN, replace(DATA, train=LAMPS[:1]))
    assert len(made) == 11, "other data, other models"

    monkeypatch.setattr(pipeline, "digest", lambda _: "other code")
    said = io.StringIO()
    go(PLAN, console=Console(file=said, width=200))
    assert len(made) == 11
    assert "4 of 4 models were made when train/" in said.getvalue()


def test_a_folder_has_one_process(tmp_path: Path) -> None:
    with benchmark.alone(tmp_path / "x") as first, benchmark.alone(tmp_path / "x") as second:
        assert (first, second) == (True, False)
    with benchmark.alone(tmp_path / "x") as again:
        assert again


def test_a_teacher_is_not_fine_tuned_by_two(
    made: list[tuple[str, int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def go(*steps: str) -> Results:
        return run(DATA, PLAN, seeds=1, steps=steps, part="test", out=tmp_path, console=QUIET)

    go("teacher")
    (folder,) = tmp_path.glob("teacher-1-*")
    done = (folder / benchmark.DONE).read_text()
    (folder / benchmark.DONE).unlink()
    with contextlib.ExitStack() as other:
        other.enter_context(benchmark.alone(folder))

        def sleep(_: float) -> None:
            assert made == [("teacher", 1)], "the student waits for its teacher"
            (folder / benchmark.DONE).write_text(done)
            other.close()

        monkeypatch.setattr(time, "sleep", sleep)
        found = go("teacher", "distilled")
    assert made == [("teacher", 1), ("distilled", 1)]
    assert found.rows() == [("teacher", "float"), ("distilled", "int8")]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--data", "FOLDER"], "no validation part"),
        (["--data", "FOLDER", "--valid"], "no test part"),
    ],
)
def test_wrong_input_is_said(options: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = '{"text": "lamp on", "intent": "On", "slots": []}\n'
    (tmp_path / "train.jsonl").write_text(line)
    if "--valid" in options:
        (tmp_path / "valid.jsonl").write_text(line)
        options = [*options[:-1], "--part", "test"]
    options = [str(tmp_path) if o == "FOLDER" else o for o in options]
    assert main([*options, "--out", str(tmp_path / "out")]) == 2
    assert said in capsys.readouterr().err
