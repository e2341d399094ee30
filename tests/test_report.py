"""The report: one page that needs nothing else, and the figures that it shows."""

import copy
import hashlib
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from convert.diagnosis import diagnose, hear
from convert.pipeline import read_bench, refresh_reports
from convert.report import ENCODER, bench_picture, page, picture
from convert.results import Model, Results
from train.agentlib import Agent
from train.examples import Example, Slot, read_jsonl
from train.labels import Labels

SECTIONS = ["trained", "answers", "learning", "intents", "slots", "rejection", "rounding", "size", "instructions"]
VOID = {"meta", "br", "path", "use", "rect"}


class Page(HTMLParser):
    """What a browser would take from a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="session")
def record(agent_folder: Path) -> dict[str, Any]:
    return dict(json.loads((agent_folder / "student.json").read_text()))


@pytest.fixture(scope="session")
def metrics(agent_folder: Path) -> dict[str, Any]:
    return dict(json.loads((agent_folder / "metrics.json").read_text()))


@pytest.fixture(scope="session")
def text(agent_folder: Path) -> str:
    """The page that conversion wrote."""
    return (agent_folder / "report.html").read_text(encoding="utf-8")


def test_the_page_is_of_the_metrics_beside_it(text: str, record: dict[str, Any], metrics: dict[str, Any]) -> None:
    assert page(record, metrics) == text


def test_nothing_is_loaded_and_nothing_runs(text: str) -> None:
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)", text)
    found = Page(text)
    assert not {tag for tag, _ in found.tags} & {"script", "link", "img", "iframe", "object", "base", "form"}
    for _, attributes in found.tags:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("href", "xlink:href", "src"):
            assert (attributes.get(name) or "#").startswith("#")


def test_it_is_well_formed_and_has_every_section(text: str) -> None:
    found = Page(text)
    assert found.open == []
    assert [section["id"] for section in found.all("section")] == SECTIONS
    assert [link["href"] for link in found.all("a")] == [f"#{name}" for name in SECTIONS]
    assert len(found.all("svg")) == 5


def test_pictures_have_the_colours_of_the_page(text: str) -> None:
    body = text[text.index("<body>") :]
    assert "var(--ink)" in body
    assert set(re.findall(r"#[0-9a-f]{6}\b", body)) <= {"#ffffff"}


def test_text_is_escaped(record: dict[str, Any], metrics: dict[str, Any]) -> None:
    nasty = "<b onclick='x'>&amp;\"</b>"

    def spoil(value: Any) -> Any:
        """The same with nasty text for every text, keys too."""
        if isinstance(value, dict):
            return {key: spoil(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [spoil(inner) for inner in value]
        return nasty if isinstance(value, str) else value

    spoilt_record, spoilt = copy.deepcopy(record), copy.deepcopy(metrics)
    for key in ("data", "language", "provenance", "schedule", "shape"):
        spoilt_record[key] = spoil(record[key])
    spoilt_record["provenance"]["data"][nasty] = {nasty: 1}
    for key in ("name", "confusions", "intents", "slots", "rounding"):
        spoilt[key] = spoil(metrics[key])
    spoilt["calibration"] = spoil(metrics["calibration"])
    for key in ("bytes", "operators"):
        spoilt[key][nasty] = 1
    text = page(spoilt_record, spoilt)
    found = Page(text)
    assert found.open == []
    assert found.all("b") == []
    assert "&lt;b onclick" in text


def test_data_without_valid_or_out_of_scope(record: dict[str, Any], metrics: dict[str, Any]) -> None:
    other = copy.deepcopy(metrics)
    other["data"]["valid"] = {"sentences": 0, "out_of_scope": 0}
    other["firmware"]["out_of_scope"] = {"n": 0, "accepted": 0}
    other["confusions"], other["slots"] = [], []
    text = page(record, other)
    assert "no validation part" in text
    assert "no sentence out of scope" in text
    assert "no slots" in text
    assert len(Page(text).all("svg")) == 3


@pytest.fixture
def bench() -> dict[str, Any]:
    """Figures as convert.bench measures them, made up."""
    kinds = {kind: 1000 * (i + 1) for i, kind in enumerate((*ENCODER, "protocol", "text", "embedding", "decoding"))}
    flash = {"different": 10, "fetched": 4321, "weights_in_sram": 98}
    return {
        "rv32imc": {"1": kinds, "32": {kind: 30 * count for kind, count in kinds.items()}},
        "macs": {"1": 66_000, "32": 990_000},
        "flash": {"1": flash, "32": flash},
        "line_to_answer": {"sentence": "turn <it> on", "rv32imc": kinds, "flash": flash, "not_the_encoder": 0.1},
    }


def test_instructions_are_drawn_if_they_were_counted(
    record: dict[str, Any], metrics: dict[str, Any], bench: dict[str, Any]
) -> None:
    without, text = page(record, metrics), page(record, metrics, (), bench)
    assert "make bench" in without
    assert "make bench" not in text
    found = Page(text)
    assert found.open == []
    assert len(found.all("svg")) == len(Page(without).all("svg")) + 1
    assert "turn &lt;it&gt; on" in text
    assert "<td class=n>1.00</td><td class=n>4,321</td><td class=n>98</td>" in text
    bench["flash"] = {}
    assert "copied" not in page(record, metrics, (), bench)
    assert bench_picture({"home": bench, "notes": bench}).count(">positions<") == 2


def test_only_figures_of_the_very_bundle_are_shown(bundle: Path, tmp_path: Path, bench: dict[str, Any]) -> None:
    path = tmp_path / "bench.json"
    agent = bundle.read_bytes()
    assert read_bench(path, agent) is None
    for content, found in ((agent, True), (b"another", False)):
        figures = {**bench, "sha256": hashlib.sha256(content).hexdigest()}
        path.write_text(json.dumps({"agents": {"notes": {**bench, "sha256": ""}, "home": figures}}))
        assert read_bench(path, agent) == (figures if found else None)


def test_reports_are_refreshed_but_those_of_other_versions_and_of_trainings_under_way(
    agent_folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(agent_folder, tmp_path / "agent")
    (tmp_path / "agent" / "report.html").unlink()
    for name, files in (("older", ("student.json", "metrics.json")), ("training", ("metrics.json",))):
        (tmp_path / name).mkdir()
        for file in files:
            (tmp_path / name / file).write_text("{}")
    refresh_reports(tmp_path)
    assert [path.parent.name for path in tmp_path.glob("*/report.html")] == ["agent"]


def test_benchmarks_are_shown_beside_published_models(record: dict[str, Any], metrics: dict[str, Any]) -> None:
    figures = {"intent_accuracy": 0.97, "slot_f1": 0.9, "exact": 0.8, "out_of_scope": {"n": 0, "accepted": 0}}
    models = [
        Model(step, rounding, seed, 1000, size, 10, {"test": figures})
        for step, rounding, size in (("teacher", "float", 4000), ("labels", "int8", 900), ("distilled", "int8", 900))
        for seed in (1, 2)
    ]
    sentences = {"train": 13084, "valid": 700, "test": 700}
    full = Results("snips", None, sentences, 10, "test", {}, models)
    few = Results("snips", 10, sentences, 10, "test", {}, models)
    own = Results("<b>", None, sentences, 10, "test", {}, models)
    text = page({**record, "data": "<b>"}, metrics, [few, full, own])
    found = Page(text)
    assert found.open == []
    assert found.all("b") == []
    assert [section["id"] for section in found.all("section")] == [*SECTIONS, "compression"]
    assert len(found.all("svg")) == 7, "two of size against accuracy"
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)", text)
    section = text[text.index('<section id="compression">') :]
    assert section.index("&lt;b&gt;") < section.index("snips"), "its own data comes first"
    for said in ("97.0 ± 0.0", "JointBERT", "arXiv 1902.10909", "10 per intent", "distillation", "700 sentences"):
        assert said in section


def test_a_picture_stands_alone() -> None:
    figures = {"intent_accuracy": 0.97, "slot_f1": None, "exact": 0.97, "out_of_scope": {"n": 0, "accepted": 0}}
    results = Results(
        "x", None, {"valid": 9}, 5, "valid", {}, [Model("labels", "int8", 1, 9, 90, 9, {"valid": figures})]
    )
    root = ElementTree.fromstring(picture(results))
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "--ink" in (root[0].text or "")


# ---- the figures ----


def test_the_metrics_are_those_of_the_firmware(bundle: Path, agent_folder: Path, metrics: dict[str, Any]) -> None:
    valid = read_jsonl(agent_folder / "data" / "valid.jsonl")
    agent = Agent(bundle.read_bytes())
    assert diagnose(hear(agent, valid)) == {
        key: metrics[key] for key in ("firmware", "intents", "confusions", "slots", "calibration")
    }
    answers = [agent.parse(example.text) for example in valid]
    right = [a.accepted and a.intent == e.intent for a, e in zip(answers, valid, strict=True) if e.intent]
    assert metrics["firmware"]["intent_accuracy"] == pytest.approx(sum(right) / len(right), abs=1e-6)
    assert metrics["firmware"]["n"] == len(valid) == metrics["data"]["valid"]["sentences"]
    wrong = [row["n"] for row in metrics["confusions"]]
    assert sum(wrong) + sum(row["right"] for row in metrics["intents"]) == len(valid)
    assert wrong == sorted(wrong, reverse=True)


def test_every_class_is_listed_with_its_slots(record: dict[str, Any], metrics: dict[str, Any]) -> None:
    area, level = Slot("area", 0, 1), Slot("level", 2, 3)
    dims = [Example(f"a {i}", "Dim", (area, level) if i % 2 else (area,), (("domain", "light"),)) for i in range(200)]
    labels = Labels.of([*dims, Example("a b", "Stop"), Example("c", None)])
    found = page({**record, "labels": labels.to_json()}, metrics)
    assert "2 intents, by what they imply 2 classes" in found
    assert "<tr><td>Dim</td><td>domain=light</td><td>area</td><td>level</td></tr>" in found
    assert "<tr><td>Stop</td><td></td><td></td><td></td></tr>" in found


def test_slots_and_scores_add_up(metrics: dict[str, Any]) -> None:
    slots = metrics["slots"]
    right, spans = sum(s["right"] for s in slots), sum(s["gold"] + s["found"] for s in slots)
    assert metrics["firmware"]["slot_f1"] == pytest.approx(2 * right / spans, abs=1e-6)
    bins = metrics["calibration"]["reliability"]
    assert sum(b["n"] for b in bins) == metrics["firmware"]["n"] - metrics["firmware"]["errors"]
    assert all(b["low"] <= b["score"] <= b["high"] and 0 <= b["right"] <= 1 for b in bins)
    thresholds, rejected, accepted = zip(*metrics["calibration"]["curve"], strict=True)
    assert list(rejected) == sorted(rejected)
    assert list(accepted) == sorted(accepted, reverse=True)
    at = max(i for i, t in enumerate(thresholds) if t <= metrics["threshold"])
    outside = metrics["firmware"]["out_of_scope"]
    assert accepted[at] >= outside["accepted"] / outside["n"] - 1e-4


def test_a_sentence_that_the_firmware_refuses_counts_as_rejected(bundle: Path) -> None:
    heard = hear(Agent(bundle.read_bytes()), [Example("word " * 60, "HassTurnOn"), Example("!", None)])
    found = diagnose(heard)
    assert found["firmware"]["errors"] >= 1
    assert found["firmware"]["in_scope"] == {"n": 1, "rejected": 1}


def test_rounding_is_small_and_said_of_every_activation(metrics: dict[str, Any], record: dict[str, Any]) -> None:
    activations = metrics["rounding"]["activations"]
    layers = len(record["shape"]["heads"])
    parts = ["input", *(f"layer {i + 1}" for i in range(layers)), "heads"]
    assert list(dict.fromkeys(a["part"] for a in activations)) == parts
    assert [a["name"] for a in activations if a["part"] == "input"] == ["embedding", "convolution"]
    assert [a["name"] for a in activations if a["part"] == "heads"] == ["norm", "class_head", "tag_head"]
    assert all(0 < a["error"] < 0.5 and 0 <= a["beyond"] < 0.1 for a in activations)
    for head in ("classes", "tags"):
        logits = metrics["rounding"]["logits"][head]
        assert 0 < logits["error"] < 0.5
        assert 0.8 < logits["same"] <= 1


def test_weights_are_in_the_bundle(metrics: dict[str, Any], agent_folder: Path) -> None:
    weights = {(w["part"], w["name"]): w["bytes"] for w in metrics["weights"]}
    inside = sum(size for key, size in weights.items() if key != ("input", "embedding"))
    assert inside < metrics["bytes"]["flatbuffer"]
    assert weights["input", "embedding"] < metrics["bytes"]["features"]
    biases = metrics["parameters"] - 2 * inside  # in 4 bits
    table = json.loads((agent_folder / "student.json").read_text())["shape"]
    assert biases - table["rows"] * table["embed"] < 2000
