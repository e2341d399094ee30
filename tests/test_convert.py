"""Conversion: the flatbuffer is int8 throughout, the bundle is what the firmware takes and nothing else is."""

import collections
import json
import math
import random
import shutil
import struct
import zlib
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from test_engine import one_operator

from convert.__main__ import main
from convert.bundle import SECTION_NAMES, Golden, assemble, golden_section, read_manifest, read_sections
from convert.calibration import Scored, best_intents, calibrate, fit_temperature, tag_shortfalls
from convert.fixed_point import product_scale, quantize_multiplier, requantize
from convert.flatbuffer import OPERATORS, convert, operator_names, pack_nibbles, read_encoder, unpack_nibbles
from convert.reference import Reference
from train import pipeline
from train.agentlib import Agent, constants, ffi, library
from train.errors import UserError
from train.examples import Example, Slot, read_jsonl, write_jsonl
from train.labels import Labels
from train.student import Shape, Student, quantize_weights_4bit


@pytest.fixture(scope="session")
def content(bundle: Path) -> bytes:
    """The bytes of the small agent's bundle."""
    return bundle.read_bytes()


@pytest.fixture(scope="session")
def sentences(agent_folder: Path) -> list[str]:
    """Sentences of the test part."""
    return [example.text for example in read_jsonl(agent_folder / "data" / "test.jsonl")]


def with_crc(content: bytes | bytearray) -> bytes:
    """The same with the CRC made right."""
    covered = ffi().offsetof("ub_header", "length")
    fixed = bytearray(content)
    struct.pack_into("<I", fixed, ffi().offsetof("ub_header", "crc32"), zlib.crc32(fixed[covered:]))
    return bytes(fixed)


# ---- bundle ----


def test_bundle_opens_and_says_what_it_is(content: bytes, agent_folder: Path) -> None:
    agent = Agent(content)
    assert agent.failed_golden() is None
    manifest = read_manifest(content)
    assert manifest["name"] == "home-en"
    assert manifest["languages"] == ["en"]
    assert manifest["seed"] == 1
    assert {"tensorflow", "keras", "tflite-micro"} <= set(manifest["versions"])
    metrics = json.loads((agent_folder / "metrics.json").read_text())
    assert metrics["bytes"]["bundle"] == len(content)
    assert metrics["arena"]["firmware"] == agent.arena_bytes
    assert read_sections(content)["flatbuffer"] == (agent_folder / "student.tflite").read_bytes()


def test_bundle_is_small(content: bytes) -> None:
    assert len(content) <= 160_000
    assert Agent(content).arena_bytes <= 24 * 1024


def test_every_flipped_bit_is_refused(content: bytes) -> None:
    head = ffi().sizeof("ub_header") + len(SECTION_NAMES) * ffi().sizeof("ub_section")
    rng = random.Random(1)
    places = [*range(8 * head), *(rng.randrange(8 * len(content)) for _ in range(2000))]
    damaged = bytearray(content)
    for place in places:
        damaged[place // 8] ^= 1 << place % 8
        with pytest.raises(UserError, match="refused"):
            Agent(bytes(damaged))
        damaged[place // 8] ^= 1 << place % 8
    assert bytes(damaged) == content


def test_cut_bundles_are_refused(content: bytes) -> None:
    rng = random.Random(2)
    for length in [0, 1, 4, 15, 16, 99, 100, len(content) - 1, *(rng.randrange(len(content)) for _ in range(200))]:
        with pytest.raises(UserError, match="refused"):
            Agent(content[:length])


def test_a_longer_bundle_is_refused(content: bytes) -> None:
    for extra in (b"\0", b"\0" * 16, content):
        with pytest.raises(UserError, match="too many"):
            Agent(content + extra)


def test_another_version_is_refused_as_such(content: bytes) -> None:
    other = bytearray(content)
    struct.pack_into("<H", other, ffi().offsetof("ub_header", "version"), constants()["UB_VERSION"] + 1)
    with pytest.raises(UserError, match="version"):
        Agent(with_crc(other))


def test_what_is_no_bundle_is_refused_as_such() -> None:
    with pytest.raises(UserError, match="not an agent bundle"):
        Agent(b"PK\3\4" + bytes(1000))


@pytest.mark.parametrize("kind", range(len(SECTION_NAMES)), ids=SECTION_NAMES)
def test_sections_beyond_the_end_are_refused(content: bytes, kind: int) -> None:
    place = ffi().sizeof("ub_header") + kind * ffi().sizeof("ub_section")
    for field, value in (("offset", len(content) // 16 * 16 + 16), ("length", len(content)), ("offset", 0xFFFFFFF0)):
        other = bytearray(content)
        struct.pack_into("<I", other, place + ffi().offsetof("ub_section", field), value)
        with pytest.raises(UserError, match="refused"):
            Agent(with_crc(other))


def test_what_would_break_a_reply_is_refused(content: bytes) -> None:
    sections = read_sections(content)
    labels = ffi().from_buffer("ub_labels_header *", sections["labels"])
    values = ffi().from_buffer("ub_values_header *", sections["values"])
    implied = labels.implied + 4 * labels.classes
    (end,) = struct.unpack_from("<I", sections["labels"], implied - 4)
    names = [labels.intent_names + 4 * labels.intents, labels.slot_names + 4 * labels.slots]
    places = [("labels", at, 0) for at in (implied, implied + end - 1, *names)] + [("values", values.pool, 1)]
    for name, at, first in places:
        other = bytearray(content)
        place = content.index(sections[name]) + at
        for byte in (first, ord("\n"), 0x1F, 0x80, 0xFF):  # control characters, and what is no UTF-8
            other[place] = byte
            with pytest.raises(UserError, match="refused"):
                Agent(with_crc(other))
        other[place] = ord(" ")
        assert Agent(with_crc(other)).failed_golden() is None


def test_a_selftest_that_would_take_too_long_is_refused(content: bytes) -> None:
    sections = read_sections(content)
    del sections["manifest"], sections["encoder"]
    one = Golden("on", np.zeros((2, 2), np.int8), np.zeros(1, np.int8), np.zeros((1, 1), np.int8))
    most = constants()["UB_MAX_GOLDEN"]
    Agent(assemble({}, **{**sections, "golden": golden_section([one] * most)}))
    with pytest.raises(UserError, match="refused"):
        Agent(assemble({}, **{**sections, "golden": golden_section([one] * (most + 1))}))


def test_an_encoder_that_would_take_too_long_is_refused(content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    sections = {name: bytearray(section) for name, section in read_sections(content).items() if name != "manifest"}
    encoder, limits = sections.pop("encoder"), constants()
    monkeypatch.setattr("convert.bundle.encoder_section", lambda _: bytes(encoder))
    header = ffi().new("ub_encoder_header *")
    ffi().memmove(header, bytes(encoder), ffi().sizeof("ub_encoder_header"))
    size = ffi().sizeof("ub_layer")
    layer = ffi().new("ub_layer *")
    ffi().memmove(layer, bytes(encoder[header.layer : header.layer + size]), size)
    width, hidden = header.width, limits["UB_MAX_HIDDEN"]
    for matrix, rows, columns in ((layer.up, hidden, width), (layer.down, width, hidden)):
        matrix.rows, matrix.columns, matrix.bias, matrix.weights, matrix.energy = rows, columns, 0, 0, len(encoder)
    encoder += bytes(library().ub_energy_bytes(hidden, hidden) + 16)
    sections["flatbuffer"] += bytes(hidden * width)
    struct.pack_into("<I", encoder, ffi().offsetof("ub_encoder_header", "layer"), len(encoder) & ~15)
    del encoder[len(encoder) & ~15 :]
    encoder += bytes(ffi().buffer(layer)) * limits["UB_MAX_LAYERS"]
    struct.pack_into("<H", sections["features"], ffi().offsetof("ub_features_header", "positions"), 64)
    struct.pack_into("<H", encoder, ffi().offsetof("ub_encoder_header", "positions"), 64)
    for layers in (1, limits["UB_MAX_LAYERS"]):
        sizes = {"heads": (layer.heads,) * layers, "hidden": (hidden,) * layers, "head_width": layer.head_width}
        struct.pack_into("<H", encoder, ffi().offsetof("ub_encoder_header", "layers"), layers)
        with pytest.raises(UserError) as chip:  # one layer needs too much memory, but it has passed the check
            Agent(assemble({}, **{name: bytes(section) for name, section in sections.items()}))
        assert ("contradicts itself" in str(chip.value)) == (layers > 1), layers
        shape = {"classes": header.classes, "tags": header.tags, "positions": 64, "embed": header.embed, "width": width}
        refusal = pytest.raises(UserError, match=f"the firmware takes {limits['UB_MAX_MACS']:,}")
        with refusal if layers > 1 else nullcontext():
            Shape(**shape, kernel=header.kernel, **sizes)


def test_heads_that_are_too_narrow_are_refused(content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    sections = {name: section for name, section in read_sections(content).items() if name != "manifest"}
    encoder, narrow = bytearray(sections.pop("encoder")), constants()["UB_MIN_HEAD"] - 1
    monkeypatch.setattr("convert.bundle.encoder_section", lambda _: bytes(encoder))
    Agent(assemble({}, **sections))
    header = ffi().new("ub_encoder_header *")
    ffi().memmove(header, bytes(encoder), ffi().sizeof("ub_encoder_header"))
    layer = ffi().from_buffer("ub_layer *", memoryview(encoder)[header.layer :], require_writable=True)
    assert layer.heads * layer.head_width % narrow == 0, "as many channels in other heads"
    layer.heads, layer.head_width = layer.heads * layer.head_width // narrow, narrow
    with pytest.raises(UserError, match="contradicts itself"):
        Agent(assemble({}, **sections))
    with pytest.raises(UserError, match="head_width is 3: the firmware takes 4 to"):
        Shape(2, 3, head_width=narrow)


def test_a_value_in_the_middle_of_a_character_is_refused(content: bytes) -> None:
    sections = read_sections(content)
    values = ffi().from_buffer("ub_values_header *", sections["values"])
    place = content.index(sections["values"]) + values.pool
    other = bytearray(content)
    other[place : place + 2] = "é".encode()
    assert Agent(with_crc(other)).failed_golden() is None
    text = content.index(sections["values"]) + values.entries + ffi().offsetof("ub_value", "text")
    struct.pack_into("<I", other, text, 1)
    with pytest.raises(UserError, match="refused"):
        Agent(with_crc(other))


def test_a_changed_weight_fails_the_selftest(content: bytes) -> None:
    flatbuffer = read_sections(content)["flatbuffer"]
    start = content.index(flatbuffer)
    encoder = read_encoder(flatbuffer)
    matrices = [encoder.convolution, encoder.layers[0].query, encoder.layers[-1].down, encoder.class_head]
    for matrix in matrices:
        other = bytearray(content)
        # A whole row, since one weight of many may round away.
        for i in range(matrix.bytes // len(matrix.weights)):
            other[start + matrix.offset + i] ^= 0x44
        agent = Agent(with_crc(other))
        assert agent.failed_golden() is not None


# ---- flatbuffer ----


def test_the_flatbuffer_has_no_float(agent_folder: Path) -> None:
    model = schema.ModelT.InitFromPackedBuf((agent_folder / "student.tflite").read_bytes(), 0)
    kinds = {tensor.type for tensor in model.subgraphs[0].tensors}
    assert kinds <= {schema.TensorType.INT4, schema.TensorType.INT8, schema.TensorType.INT32}
    graph = model.subgraphs[0]
    ends = [graph.tensors[i] for i in (*graph.inputs, *graph.outputs)]
    assert {(t.name, t.type) for t in ends} == {
        (name, schema.TensorType.INT8) for name in (b"embedding", b"mask", b"classes", b"tags")
    }
    operators = operator_names(model)
    assert set(operators) <= OPERATORS
    metrics = json.loads((agent_folder / "metrics.json").read_text())
    assert metrics["operators"] == dict(collections.Counter(operators))


def test_weights_are_stored_in_4_bits_with_one_scale_a_matrix(agent_folder: Path) -> None:
    encoder = read_encoder((agent_folder / "student.tflite").read_bytes())
    student, *_ = pipeline.load(agent_folder)
    matrices = {name: getattr(encoder, name) for name in ("convolution", "class_head", "tag_head")}
    for i, layer in enumerate(encoder.layers):
        for name in ("query", "key", "value", "output", "up", "down"):
            matrices[f"{name}{i}"] = getattr(layer, name)
    assert set(matrices) == set(student.matrices)
    for name, matrix in matrices.items():
        used = quantize_weights_4bit(student.weight(name)).numpy().T
        assert (matrix.bits, len(matrix.scales)) == (4, 1)
        assert np.abs(matrix.weights).max() == 7
        np.testing.assert_allclose(matrix.weights * np.abs(used).max() / 7, used, atol=1e-5)


def test_a_convolution_with_an_output_of_no_weights_is_stored_in_4_bits() -> None:
    student = Student(Shape(classes=3, tags=5, rows=64, weight_bits=4))
    rng = np.random.default_rng(1)
    weights = rng.normal(size=student.matrices["convolution"].shape)
    weights[:, 5] = 0
    student.matrices["convolution"].assign(weights)
    student.biases["convolution"].assign(rng.normal(size=weights.shape[1]))
    student.start_quantizing()
    found = read_encoder(convert(student)).convolution
    used = quantize_weights_4bit(student.weight("convolution")).numpy().T
    step = np.abs(used).max() / 7
    np.testing.assert_array_equal(found.weights, np.round(used / step))
    bias = found.bias * float(student.table_step) * step
    np.testing.assert_allclose(bias, np.asarray(student.biases["convolution"]), atol=float(student.table_step) * step)


def test_a_student_of_another_version_is_refused(agent_folder: Path, tmp_path: Path) -> None:
    for name in (pipeline.STUDENT_JSON, pipeline.STUDENT_NPZ):
        (tmp_path / name).write_bytes((agent_folder / name).read_bytes())
    record = json.loads((tmp_path / pipeline.STUDENT_JSON).read_text())
    del record["labels"]["needed"]
    (tmp_path / pipeline.STUDENT_JSON).write_text(json.dumps(record))
    with pytest.raises(UserError, match=r"another version \('needed'"):
        pipeline.load(tmp_path)


def test_nibbles_are_packed_and_unpacked() -> None:
    values = np.arange(-8, 8, dtype=np.int8)
    assert pack_nibbles(values)[:2].tolist() == [0x98, 0xBA]
    np.testing.assert_array_equal(unpack_nibbles(pack_nibbles(values)), values)


@pytest.mark.parametrize("sizes", [{"weight_bits": 5}, {"hidden": (96, 95)}, {"per_channel": True}])
def test_what_4_bits_cannot_store_is_refused(sizes: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="weight_bits"):
        Shape(classes=3, tags=5, **{"weight_bits": 4, **sizes})


def test_the_firmware_gives_the_values_of_tflite_micro(content: bytes, sentences: list[str]) -> None:
    agent = Agent(content)
    reference = Reference(read_sections(content)["flatbuffer"])
    extremes = ["on", "word " * (reference.shape[1] - 1), "Ünal's 日本語 0.5%"]
    for text in [*sentences[:100], *extremes]:
        embedding = agent.embed(text)
        ours, theirs = agent.encode(embedding), reference.encode(embedding)
        assert np.array_equal(ours[0], theirs[0]), text
        assert np.array_equal(ours[1], theirs[1]), text


def test_and_on_embeddings_that_no_sentence_has(content: bytes) -> None:
    agent = Agent(content)
    reference = Reference(read_sections(content)["flatbuffer"])
    rng = np.random.default_rng(3)
    for n in (2, 3, 9, reference.shape[1]):
        for embedding in (
            rng.integers(-128, 128, (n, reference.shape[2])).astype(np.int8),
            np.full((n, reference.shape[2]), -128, np.int8),
            np.full((n, reference.shape[2]), 127, np.int8),
        ):
            ours, theirs = agent.encode(embedding), reference.encode(embedding)
            assert np.array_equal(ours[0], theirs[0])
            assert np.array_equal(ours[1], theirs[1])


@pytest.mark.parametrize(
    ("operator", "options", "shapes"),
    [
        ("FULLY_CONNECTED", schema.FullyConnectedOptionsT(), [[1, 40], [2, 40], [1, 2]]),
        ("BATCH_MATMUL", schema.BatchMatMulOptionsT(), [[1, 1, 40], [1, 40, 2], [1, 1, 2]]),
    ],
)
def test_scales_are_multiplied_in_double_precision(operator: str, options: Any, shapes: list[list[int]]) -> None:
    rng = np.random.default_rng(6)
    sums = np.arange(-150_000, 150_000)
    tried = 0
    while tried < 5:
        a, b = (np.float32(scale) for scale in rng.uniform(0.01, 0.1, 2))
        out = np.float32(rng.uniform(750, 3000) * a * b)
        scales = product_scale(float(a), float(b), float(out)), float(a * b) / float(out)
        double, single = (np.clip(requantize(sums, quantize_multiplier(s)), -128, 127) for s in scales)
        differ = np.flatnonzero(double != single)
        if not len(differ):
            continue
        tried += 1
        x, y = products(int(sums[differ[0]]), shapes[0][-1])
        interpreter = one_operator(
            operator, f"{type(options).__name__[:-1]}", options, shapes, [float(a), float(b), float(out)], [0, 0, 0]
        )
        interpreter.set_input(x.reshape(shapes[0]), 0)
        interpreter.set_input((np.stack([y, y], int(operator == "BATCH_MATMUL"))).reshape(shapes[1]), 1)
        interpreter.invoke()
        assert interpreter.get_output(0).flat[0] == double[differ[0]]


def products(total: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Two int8 vectors whose product is ``total``."""
    x, y = np.zeros(count, np.int8), np.zeros(count, np.int8)
    for i in range(count):
        x[i] = min(127, math.isqrt(abs(total))) or 1
        y[i] = max(-127, min(127, math.trunc(total / int(x[i]))))
        total -= int(x[i]) * int(y[i])
    assert total == 0
    return x, y


# ---- calibration ----


def scored(labels: Labels, count: int, temperature: float) -> Scored:
    """Sentences whose classes are drawn from the softmax of their logits at a temperature."""
    rng = np.random.default_rng(5)
    logits = rng.normal(0, 3, (count, len(labels.classes)))
    noise = rng.gumbel(size=logits.shape)
    return Scored(logits, np.zeros_like(logits), np.argmax(logits / temperature + noise, 1))


LABELS = Labels.of(
    [Example("a", "A"), Example("b", "B", (), (("k", "1"),)), Example("c", "B", (), (("k", "2"),)), Example("d", None)]
)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_temperature_is_found(temperature: float) -> None:
    data = scored(LABELS, 20000, temperature)
    assert fit_temperature(data.logits, data.classes) == pytest.approx(temperature, rel=0.05)


@pytest.mark.parametrize("threshold", [0.5, 0.75, 0.96])
def test_of_what_is_answered_most_is_a_command(threshold: float) -> None:
    data = scored(LABELS, 20000, 2.0)
    calibration = calibrate(data, LABELS, threshold)
    assert calibration.threshold == threshold
    intents, scores = best_intents(data.logits, LABELS, calibration.temperature, calibration.others)
    gold = LABELS.intent_of[data.classes]
    command = (scores >= threshold) & ((intents == gold) | (gold < 0))
    assert (intents == gold)[command].mean() > threshold
    assert command.sum() > 2000


def test_without_examples_out_of_scope_everything_is_accepted() -> None:
    labels = Labels.of([Example("a", "A"), Example("b", "B")])
    assert calibrate(scored(labels, 500, 1.0), labels, 0.96).threshold == 0


def test_without_such_examples_in_validation_the_threshold_stands() -> None:
    data = scored(LABELS, 500, 1.0)
    inside = LABELS.intent_of[data.classes] >= 0
    commands = Scored(data.logits[inside], data.shortfalls[inside], data.classes[inside])
    assert calibrate(commands, LABELS, 0.96).threshold == 0.96


def test_other_intents_count_in_the_score_as_much_as_is_said() -> None:
    likely, torn, outside = [5.0, -9.0, -9.0, 1.0], [5.0, 4.9, -9.0, 1.0], [-9.0, -9.0, -9.0, 5.0]
    logits = np.array([likely, torn, outside])
    for others in (0.0, 0.5, 1.0):
        intents, scores = best_intents(logits, LABELS, 1.0, others)
        assert intents.tolist()[:2] == [0, 0]
        for score, other in zip(scores[:2], (0.0, math.exp(-0.1)), strict=True):
            assert score == pytest.approx(1 / (1 + math.exp(-4) + others * other), rel=1e-3)
        assert scores[2] < 1e-4


@pytest.mark.parametrize("told_by", ["out of scope", "no intent stands out"])
def test_other_intents_count_where_that_tells_commands_from_the_rest(told_by: str) -> None:
    rng = np.random.default_rng(1)
    classes = rng.integers(0, 4, 4000)
    rows, command = np.arange(4000), classes < 3
    logits = rng.normal(0, 1, (4000, 4))
    logits[rows[command], classes[command]] += 5
    if told_by == "out of scope":
        # Its class is likelier than any intent, and of a command another intent is often likely, too.
        logits[rows[command], (classes[command] + 1) % 3] += rng.choice([0, 5], command.sum())
        logits[~command] += (2, 0, 0, 3)
    calibration = calibrate(Scored(logits, np.zeros_like(logits), classes), LABELS, 0.9)
    assert (calibration.others < 0.5) == (told_by == "out of scope")


def test_one_sentence_without_the_slots_it_needs_does_not_decide_the_temperature(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("convert.calibration.TAG_WEIGHTS", (1.0,))
    data = scored(LABELS, 3000, 0.5)
    data.shortfalls[:] = 1
    expected = calibrate(data, LABELS, 0.9).temperature
    data.shortfalls[7, data.classes[7]] = 3000
    assert calibrate(data, LABELS, 0.9).temperature > 2 * expected
    bounded = replace(data, least=float(data.logits.min()) - 1)
    assert calibrate(bounded, LABELS, 0.9).temperature == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("tell", [0.0, 0.5, 1.0])
def test_tags_count_as_much_as_they_tell_of_the_class(tell: float) -> None:
    rng = np.random.default_rng(2)
    shortfalls = rng.uniform(0, 6, (4000, 4))
    logits = rng.normal(0, 2, (4000, 4))
    classes = np.argmax(logits - tell * shortfalls + rng.gumbel(size=logits.shape), 1)
    assert calibrate(Scored(logits, shortfalls, classes), LABELS, 0.5).tag_weight == tell


def test_a_class_falls_short_by_what_its_tags_cost() -> None:
    here = (Slot("area", 0, 1),)
    labels = Labels.of([*(Example(f"a {i}", "A", here) for i in range(100)), Example("b", "B"), Example("c", None)])
    assert labels.needed == ((0,), (), ())
    tags = np.array([[10, 7, 90], [20, 40, 0]], np.int8)  # O, B-area, I-area
    assert tag_shortfalls(tags, labels).tolist() == [0, 20, 20]
    assert tag_shortfalls(np.array([[10, 7, 90]], np.int8), labels).tolist() == [3, 0, 0]


def test_the_chip_scores_by_the_same_rule(content: bytes, agent_folder: Path, sentences: list[str]) -> None:
    agent, labels = Agent(content), pipeline.load(agent_folder)[1]
    encoder = read_encoder(read_sections(content)["flatbuffer"])
    manifest = read_manifest(content)
    for text in sentences[:200]:
        classes, tags = agent.encode(agent.embed(text))
        weight = manifest["tag_weight"] * encoder.tag_scale / encoder.class_scale
        steps = classes - np.round(tag_shortfalls(tags, labels) * weight)
        logits = (steps * encoder.class_scale)[None]
        (intent,), (score,) = best_intents(logits, labels, manifest["temperature"], manifest["others"])
        answer = agent.parse(text)
        assert answer.intent == labels.intents[intent]
        assert answer.score == pytest.approx(score, abs=2e-3)


# ---- the command ----


@pytest.fixture
def student(agent_folder: Path, tmp_path: Path) -> Path:
    """What training leaves, in a folder of its own."""
    folder = tmp_path / "student"
    folder.mkdir()
    for name in ("student.json", "student.npz"):
        shutil.copy(agent_folder / name, folder)
    shutil.copytree(agent_folder / "data", folder / "data")
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def fails(folder: Path, capsys: pytest.CaptureFixture[str], *options: Any) -> str:
    """The error of a conversion that must leave the folder as it was."""
    before = files(folder)
    assert main([str(folder), *map(str, options)]) == 2
    assert files(folder) == before
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    return error


def test_too_much_loss_is_refused(student: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--most-loss" in fails(student, capsys, "--most-loss=-1")


@pytest.mark.parametrize("name", ["", "two words", "x" * 33, "tab\there", "küche", '"x"'])
def test_bad_names_are_refused(student: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert "--name" in fails(student, capsys, "--name", name)


def test_a_data_sets_name_is_made_one_that_the_firmware_says(student: Path) -> None:
    record = json.loads((student / "student.json").read_text())
    (student / "student.json").write_text(json.dumps(record | {"data": "my küche"}))
    assert main([str(student), "--most-loss", "1"]) == 0
    assert read_manifest((student / "agent.bundle").read_bytes())["name"] == "my_k_che-en"


@pytest.mark.parametrize("option", ["--most-loss=nan", "--threshold=-1", "--threshold=x"])
def test_bad_shares_are_refused(option: str, student: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([str(student), option])
    assert "expected a number from" in capsys.readouterr().err


def test_a_validation_part_that_the_agent_cannot_hear_is_refused(
    student: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    examples = read_jsonl(student / "data" / "valid.jsonl")
    write_jsonl(student / "data" / "valid.jsonl", [replace(examples[0], text="so " * 40, slots=())])
    assert "no sentence of validation has 1 to 31 words" in fails(student, capsys)


def test_weights_of_another_student_are_named(student: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = json.loads((student / "student.json").read_text())
    record["shape"] |= {"hidden": [32, 32]}
    (student / "student.json").write_text(json.dumps(record))
    assert "train it again" in fails(student, capsys)


@pytest.mark.parametrize("name", ["student.json", "student.npz"])
def test_a_missing_or_broken_student_is_named(student: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    (student / name).write_bytes((student / name).read_bytes()[:-30])
    assert str(student) in fails(student, capsys)
    (student / name).unlink()
    error = fails(student, capsys)
    assert name in error
    assert "python -m train" in error
