"""The firmware's encoder against TFLite Micro, value for value; its arithmetic over whole ranges; its limits."""

import itertools
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import cffi
import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from tflite_micro import runtime

from convert.bench import (
    OUTSIDE,
    call_graph,
    code_bytes,
    compile_agent,
    count_flash,
    count_rv32,
    differing,
    most_stack,
    random_embeddings,
    valid_embeddings,
)
from convert.bundle import (
    Calibration,
    assemble,
    features_section,
    golden_section,
    labels_section,
    read_sections,
    values_section,
)
from convert.fixed_point import exponentials, high_mul, quantize_multiplier, requantize, rounding_shift, sum_multipliers
from convert.flatbuffer import convert, read_encoder
from convert.reference import Reference
from train.agentlib import Agent, constants, ffi, library
from train.errors import UserError
from train.examples import Example, Slot, Value
from train.labels import Labels
from train.student import LOGIT_LIMIT, MASK_MARGIN, Shape, Student

AGENT = ROOT / "firmware" / "agent"
SOURCES = sorted(AGENT.glob("*.c"))
STRICT = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-Wshadow", "-Wconversion"]
KB = 1024

MOST_STACK = 2 * KB
MOST_CODE = 14.6 * KB
MOST_CODE_WITH_PROTOCOL = 22.4 * KB


def tool(name: str, package: str) -> str:
    """A program's path; the test is left out where it is missing."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"no {name}: apt install {package}")
    return path


# ---- the whole encoder ----


def random_bundle(seed: int, **sizes: Any) -> tuple[Agent, Reference]:
    """A student that never learned, in both engines."""
    examples = [Example(f"word{i} and more", f"I{i}", (Slot(f"s{i % 4}", 0, 4),)) for i in range(7)]
    content, flatbuffer = random_content(Labels.of([*examples, Example("nothing", None)]), seed, **sizes)
    return Agent(content), Reference(flatbuffer)


def random_content(
    labels: Labels, seed: int, values: dict[str, dict[str, Value]] | None = None, **sizes: Any
) -> tuple[bytes, bytes]:
    """The bundle of a student that never learned, and its flatbuffer; ``values``: of slots that are all numeric."""
    values = values or {}
    student = Student(Shape(len(labels.classes), labels.tags, rows=128, **sizes))
    rng = np.random.default_rng(seed)
    for name, matrix in student.matrices.items():
        spread = rng.choice([0.3, 1.0])
        matrix.assign(rng.laplace(size=matrix.shape) * spread / np.sqrt(matrix.shape[0]))
        if name in student.biases:
            student.biases[name].assign(rng.normal(size=matrix.shape[1]) * 0.1)
    for limits in student.ranges.values():
        if not limits.fixed:
            limits.limit.assign(3.0 * rng.uniform(0.5, 1.5))
    student.start_quantizing()
    flatbuffer = convert(student)
    table = rng.integers(-7, 8, (128, student.shape.embed))
    content = assemble(
        {"name": "random"},
        labels=labels_section(labels, list(values), (0.1, 0.1), Calibration(1.0, 0.5)),
        features=features_section(table, student.shape.positions, 4),
        values=values_section(labels, values, list(values)),
        golden=golden_section([]),
        flatbuffer=flatbuffer,
    )
    return content, flatbuffer


def test_a_search_that_would_take_too_long_is_refused() -> None:
    labels = Labels.of([Example(f"word{i}", f"I{i}", (Slot(f"s{i % 20}", 0, 4),)) for i in range(200)])
    Agent(random_content(labels, 1)[0])
    demanding = replace(labels, needed=(tuple(range(20)),) * 200)
    with pytest.raises(UserError, match="refused"):
        Agent(random_content(demanding, 1)[0])


def assert_same(agent: Agent, reference: Reference, seed: int) -> None:
    """Both engines agree at sentences of every length, loud and quiet."""
    rng = np.random.default_rng(seed)
    _, positions, embed = reference.shape
    for n, loudness in itertools.product(range(1, positions + 1), (1, 16)):
        embeddings = (rng.integers(-128, 128, (n, embed)) // loudness).astype(np.int8)
        ours, theirs = agent.encode(embeddings), reference.encode(embeddings)
        np.testing.assert_array_equal(ours[0], theirs[0], err_msg=f"classes of {n} positions")
        np.testing.assert_array_equal(ours[1], theirs[1], err_msg=f"tags of {n} positions")


@pytest.mark.parametrize(
    "sizes",
    [
        {"positions": 33, "hidden": (96, 40), "heads": (4, 1)},
        {"positions": 9, "embed": 6, "width": 21, "head_width": 5, "heads": (3, 2), "hidden": (13, 50), "kernel": 5},
        {"positions": 64, "embed": 8, "width": 12, "head_width": 4, "heads": (1,), "hidden": (7,), "kernel": 1},
        {
            "positions": 12,
            "embed": 10,
            "width": 30,
            "head_width": 6,
            "heads": (2,),
            "hidden": (32,),
            "per_channel": True,
        },
        {"positions": 20, "width": 46, "head_width": 6, "heads": (3, 1), "hidden": (34, 26), "weight_bits": 4},
    ],
    ids=["default", "odd", "long", "per-channel", "4 bits"],
)
def test_every_value_is_tflite_micros(sizes: dict[str, Any]) -> None:
    assert_same(*random_bundle(3, **sizes), seed=4)


def test_every_value_of_a_trained_agent(bundle: Path, agent_folder: Path) -> None:
    assert_same(Agent(bundle.read_bytes()), Reference((agent_folder / "student.tflite").read_bytes()), seed=5)


def test_random_and_validation_sentences_are_exact(bundle: Path, agent_folder: Path) -> None:
    """A sample of what python -m convert.bench --exact goes through."""
    agent, reference = Agent(bundle.read_bytes()), Reference((agent_folder / "student.tflite").read_bytes())
    assert differing(agent, reference, random_embeddings(reference, 300)) is None
    valid = itertools.islice(valid_embeddings(agent, agent_folder / "data" / "valid.jsonl"), 100)
    assert differing(agent, reference, valid) is None


def test_assembly_gives_the_same(bundle: Path, tmp_path: Path) -> None:
    """The chip's code in QEMU against this machine's, at blocks of every size; count_rv32() compares their logits."""
    tool("qemu-system-riscv32", "qemu-system-misc")
    tool("riscv64-unknown-elf-gcc", "gcc-riscv64-unknown-elf picolibc-riscv64-unknown-elf")
    count_rv32(bundle, [f"#{n}" for n in range(1, 18)], tmp_path)


# ---- arithmetic ----


@pytest.fixture(scope="session")
def probe(tmp_path_factory: pytest.TempPathFactory) -> tuple[cffi.FFI, Any]:
    """tests/engine_probe.c, with undefined behaviour a crash."""
    path = tmp_path_factory.mktemp("probe") / "probe.so"
    source = ROOT / "tests" / "engine_probe.c"
    command = [tool("gcc", "gcc"), *STRICT, "-fsanitize=undefined", "-fsanitize-undefined-trap-on-error", "-shared"]
    subprocess.run([*command, "-fPIC", f"-I{AGENT}", "-o", path, source], check=True)
    interface = cffi.FFI()
    declarations = re.findall(r"^void probe_\w+\([^)]*\);", source.read_text(), re.M)
    interface.cdef("".join(declarations))
    return interface, interface.dlopen(str(path))


def int32s(interface: cffi.FFI, count: int) -> tuple[np.ndarray, Any]:
    """An array and its pointer."""
    array = np.zeros(count, np.int32)
    return array, interface.cast("int32_t *", interface.from_buffer(array))


@pytest.mark.parametrize("scale", [0.999, 0.5, 0.4999, 0.0137, 1 / 1024, 3e-5, 2.0**-31, 0.0])
def test_requantize_is_tflites_over_all_sums_of_a_row(probe: tuple[cffi.FFI, Any], scale: float) -> None:
    """Of 64 products of int8 and a bias as large: ±2^21."""
    interface, c = probe
    significand, shift = quantize_multiplier(scale)
    first, count = -(2**21), 2**22
    ours, pointer = int32s(interface, count)
    c.probe_requantize(first, count, significand, shift, pointer)
    np.testing.assert_array_equal(ours, requantize(np.arange(first, first + count), (significand, shift)))


def inverse_sqrt(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """GetInvSqrtQuantizedMultiplierExp of TFLite, in int64: every intermediate is checked to fit into 32 bits."""

    def fits(y: np.ndarray) -> np.ndarray:
        assert np.abs(y).max() < 2**31
        return y

    pairs = np.zeros_like(x)
    for k in range(1, 16):
        pairs = np.where(x << (2 * k) < 2**29, k, pairs)
    right = 11 - pairs
    scaled = x << (2 * pairs)
    half = rounding_shift(scaled >> 1, 1)
    y = np.full_like(x, 1 << 28)
    for _ in range(5):
        cube = fits(high_mul(high_mul(y, y), y) << 6)
        y = fits((high_mul(y, (1 << 28) + (1 << 27)) - high_mul(half, cube)) << 3)
    y = high_mul(y, 1518500250)
    return fits(np.where(right < 0, y << np.maximum(-right, 0), y)), -np.maximum(right, 0)


def test_inverse_sqrt_over_all_sums_of_squares(probe: tuple[cffi.FFI, Any]) -> None:
    """Of up to UB_MAX_WIDTH values of int8 with any zero point."""
    interface, c = probe
    most = 256 * 255**2
    for first in range(2, most + 1, 1 << 19):
        count = min(1 << 19, most + 1 - first)
        (ours, significands), (shifts, exponents) = int32s(interface, count), int32s(interface, count)
        c.probe_inverse_sqrt(first, count, significands, exponents)
        expected = inverse_sqrt(np.arange(first, first + count, dtype=np.int64))
        np.testing.assert_array_equal(ours, expected[0])
        np.testing.assert_array_equal(shifts, expected[1])


@given(st.data())
@settings(max_examples=300)
def test_sums_of_products_are_exact(probe: tuple[cffi.FFI, Any], data: st.DataObject) -> None:
    """Any weights and inputs, quiet or loud: two positions share a word only where their sums leave room."""
    interface, c = probe
    rows, columns, positions = (data.draw(st.integers(1, most)) for most in (4, 70, 8))
    zero = data.draw(st.sampled_from([0, -128]))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))

    def values(shape: tuple[int, int]) -> np.ndarray:
        extremes = rng.choice([-128, 127], shape)
        quiet = rng.integers(-128, 128, shape) // data.draw(st.sampled_from([1, 4, 16]))
        return np.where(rng.random(shape) < data.draw(st.sampled_from([0.0, 0.1, 1.0])), extremes, quiet).astype(
            np.int8
        )

    weights, inputs = values((rows, columns)), values((positions, columns))
    ours, pointer = int32s(interface, rows * positions)
    pointers = (interface.from_buffer("int8_t[]", array) for array in (weights, inputs))
    c.probe_sums(next(pointers), rows, columns, next(pointers), zero, positions, pointer)
    expected = weights.astype(np.int64) @ (inputs.astype(np.int64) - zero).T
    np.testing.assert_array_equal(ours.reshape(rows, positions), expected)


def one_operator(
    code: str, kind: str, options: Any, shapes: list[list[int]], scales: list[float], zeros: list[int]
) -> Any:
    """TFLite Micro's interpreter on one operator; the last shape, scale and zero point are the output's."""
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.subgraphs, model.buffers = 3, [graph], [schema.BufferT()]
    operator_code, operator = schema.OperatorCodeT(), schema.OperatorT()
    operator_code.builtinCode = operator_code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, code)
    operator_code.version = 2
    model.operatorCodes, graph.operators, graph.tensors = [operator_code], [operator], []
    for shape, scale, zero in zip(shapes, scales, zeros, strict=True):
        tensor, quantization = schema.TensorT(), schema.QuantizationParametersT()
        quantization.scale, quantization.zeroPoint = [scale], [zero]
        tensor.shape, tensor.type, tensor.quantization = shape, schema.TensorType.INT8, quantization
        graph.tensors.append(tensor)
    last = len(shapes) - 1
    operator.inputs = graph.inputs = list(range(last))
    operator.outputs = graph.outputs = [last]
    operator.builtinOptionsType, operator.builtinOptions = getattr(schema.BuiltinOptions, kind), options
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return runtime.Interpreter.from_bytes(bytes(builder.Output()), arena_size=1 << 20)


@pytest.mark.parametrize("scales", [(0.0679, 0.0588, 0.0952), (0.01, 0.3, 0.21), (0.05, 0.05, 0.05)])
@pytest.mark.parametrize("zeros", [(0, 0, 0), (-3, 128 - 1, 17)])
def test_add_of_all_pairs(
    probe: tuple[cffi.FFI, Any], scales: tuple[float, float, float], zeros: tuple[int, int, int]
) -> None:
    scales32 = tuple(float(np.float32(s)) for s in scales)
    values = np.arange(-128, 128).astype(np.int8)
    x, y = (v.reshape(1, -1).copy() for v in np.meshgrid(values, values))
    options = schema.AddOptionsT()
    interpreter = one_operator("ADD", "AddOptions", options, [[1, 65536]] * 3, list(scales32), list(zeros))
    interpreter.set_input(x, 0)
    interpreter.set_input(y, 1)
    interpreter.invoke()
    interface, c = probe
    ours = x.copy()
    numbers = [n for part in sum_multipliers(*scales32) for n in part] + list(zeros)
    c.probe_add(numbers, interface.from_buffer("int8_t[]", ours), interface.from_buffer("int8_t[]", y), x.size)
    np.testing.assert_array_equal(ours, interpreter.get_output(0))


def rows_of_words(width: int, count: int, seed: int) -> np.ndarray:
    """int8 [count, width]: every constant row, then random ones, loud, quiet and spiky."""
    rng = np.random.default_rng(seed)
    loudness = rng.choice([1, 4, 32], (count, 1))
    rows = rng.integers(-128, 128, (count, width)) // loudness
    rows[np.arange(count), rng.integers(0, width, count)] = rng.integers(-128, 128, count)
    rows[:256] = np.arange(-128, 128)[:, None]
    return np.asarray(rows.astype(np.int8))


@pytest.mark.parametrize("scale", [(2 * LOGIT_LIMIT + MASK_MARGIN) / 255, 1 / 16, 1.0])
@pytest.mark.parametrize("n", [1, 2, 9, 64])
def test_softmax_is_tflites(probe: tuple[cffi.FFI, Any], scale: float, n: int) -> None:
    """Of all pairs of logits where there are two, else of every constant row and random ones."""
    scale = float(np.float32(scale))
    pairs = np.stack(np.meshgrid(*[np.arange(-128, 128)] * 2), -1).reshape(-1, 2).astype(np.int8)
    x = pairs if n == 2 else rows_of_words(n, 2000, seed=n)
    options = schema.SoftmaxOptionsT()
    options.beta = 1.0
    shapes = [list(x.shape)] * 2
    interpreter = one_operator("SOFTMAX", "SoftmaxOptions", options, shapes, [scale, 1 / 256], [0, -128])
    interpreter.set_input(x, 0)
    interpreter.invoke()
    interface, c = probe
    ours, table = x.copy(), exponentials(scale).astype(np.int32)
    pointers = interface.from_buffer("int32_t[]", table), interface.from_buffer("int8_t[]", ours)
    c.probe_softmax(pointers[0], len(x), n, pointers[1])
    np.testing.assert_array_equal(ours, interpreter.get_output(0))


@pytest.mark.parametrize("zero", [-128, -3, 0, 127])
@pytest.mark.parametrize("width", [1, 21, 64, 256])
def test_normalize_is_tflites(probe: tuple[cffi.FFI, Any], zero: int, width: int) -> None:
    x = rows_of_words(width, 2000, seed=width)
    options = schema.L2NormOptionsT()
    shapes = [list(x.shape)] * 2
    interpreter = one_operator("L2_NORMALIZATION", "L2NormOptions", options, shapes, [0.1, 1 / 128], [zero, 0])
    interpreter.set_input(x, 0)
    interpreter.invoke()
    interface, c = probe
    ours = np.zeros_like(x)
    c.probe_normalize(
        interface.from_buffer("int8_t[]", x), zero, len(x), width, interface.from_buffer("int8_t[]", ours)
    )
    np.testing.assert_array_equal(ours, interpreter.get_output(0))


# ---- limits ----


@pytest.fixture(scope="session")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the agent's objects for rv32imc and their call graphs."""
    tool("riscv64-unknown-elf-gcc", "gcc-riscv64-unknown-elf picolibc-riscv64-unknown-elf")
    folder = tmp_path_factory.mktemp("objects")
    compile_agent(folder)
    return folder


def test_stack_is_bounded(objects: Path) -> None:
    """The deepest path from a received byte, the board's own functions not counted; no function calls itself."""
    assert most_stack(objects, "ub_session_feed") <= MOST_STACK
    assert most_stack(objects, "ub_open") <= MOST_STACK


def test_code_is_small(objects: Path) -> None:
    """The agent as a library, which may leave out the line protocol and the update, and with them."""
    sizes = code_bytes(objects)
    assert sum(size for name, size in sizes.items() if name not in OUTSIDE) <= MOST_CODE
    assert sum(sizes.values()) <= MOST_CODE_WITH_PROTOCOL


def test_headers_serve_cpp(tmp_path: Path) -> None:
    used = {"agent": "ub_parse", "protocol": "ub_session_feed", "text": "ub_pieces", "update": "ub_update_start"}
    lines = [f'#include "{header}.h"\n' for header in used]
    lines += [f"extern const void *const use_of_{name} = (void *){name};\n" for name in used.values()]
    (tmp_path / "app.cpp").write_text("".join(lines))
    command = [tool("g++", "g++"), "-Wall", "-Wextra", "-Werror", f"-I{AGENT}", "-c", "app.cpp"]
    subprocess.run(command, cwd=tmp_path, check=True)
    symbols = subprocess.run(
        [tool("nm", "binutils"), "app.o"], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert {*used.values()} <= {*symbols.stdout.split()}


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("20.5", "20.5"),
        ("20,5", "20.5"),
        ("1,000", "1000"),
        ("1,000,000", "1000000"),
        ("1,000.5", "1000.5"),
        ("1,000,5", None),
        ("1,0000", "1.0000"),
        ("\N{EN DASH}5", "-5"),
        ("\N{ARABIC LETTER MARK}-\N{ARABIC-INDIC DIGIT FIVE}", "-5"),
        ("\N{ARABIC-INDIC DIGIT TWO}\N{ARABIC DECIMAL SEPARATOR}\N{ARABIC-INDIC DIGIT FIVE}", "2.5"),
        ("5\N{VARIATION SELECTOR-16}\N{COMBINING ENCLOSING KEYCAP}", "5"),
        ("0,500", "0.500"),
        ("-0,125", "-0.125"),
        ("10,500", "10500"),
        ("100,500", "100500"),
        ("1234,567", "1234.567"),
        ("007", "7"),
        ("12:30", None),
        (".5", "0.5"),
        ("-.25", "-0.25"),
        ("1.5.5", None),
        ("1,5.3", None),
        ("½", "0.5"),
        ("2¼", "2.25"),
        ("-12¾", "-12.75"),
        ("1,000½", "1000.5"),
        ("1.5½", None),
        ("½5", None),
        ("0½", "0.5"),
        ("123456789¾", "123456789.75"),
        ("-1234567890.5", None),
        ("1234567890", None),
        ("0" * 41 + "5", None),
    ],
)
def test_what_digits_mean(text: str, number: str | None) -> None:
    token, out = ffi().new("ub_token *"), ffi().new("char[]", constants()["UB_NUMBER_CHARS"])
    raw = text.encode()
    assert library().ub_tokenize(raw, len(raw), token, 1) == 1
    known = library().ub_number_json(raw, token, out)
    assert (ffi().string(out).decode() if known else None) == number


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("30", 30),
        ("30 percent", 30),
        ("45 PERCENT", 45),
        ("45 per cent", None),
        ("minus 30", None),
        ("3 hundred", 300),
        ("4 hundred", None),
        ("half", 50),
        ("half 30", None),
        ("30 40", None),
    ],
)
def test_a_number_has_a_value_beside_words_that_left_it_as_it_is(text: str, value: int | None) -> None:
    labels = Labels.of([Example("30 percent", "Set", (Slot("level", 0, 10),))])
    values: dict[str, Value] = {"30 percent": 30, "50 percent": 50, "3 hundred": 300, "half": 50}
    agent = Agent(random_content(labels, 1, {"level": values})[0])
    raw, answer = text.encode(), ffi().new("ub_answer *")
    count = answer.token_count = library().ub_tokenize(raw, len(raw), answer.tokens, 8)
    tags = np.zeros((count, 3), np.int8)
    tags[0, 1], tags[1:, 2] = 100, 100
    parts = [np.zeros(1, np.int8), tags, np.zeros((count, 3), np.uint8)]
    types = ("int8_t[]", "int8_t[]", "uint8_t[]")
    logits = ffi().new("ub_logits *", list(map(ffi().from_buffer, types, parts)))
    library().ub_decode(agent._agent, raw, logits, answer)
    (slot,) = agent._slots(answer)
    assert (slot.start, slot.end) == (0, len(raw))
    if slot.value:
        assert json.loads(ffi().string(slot.value)) == value
    elif slot.number == constants()["UB_NONE"]:
        assert value is None
    else:
        token = answer.tokens[slot.number]
        assert int(raw[token.start : token.end]) == value


def test_a_sentence_that_cannot_be_read_leaves_no_answer() -> None:
    agent = random_bundle(1)[0]
    for text, status in ((b"", "EMPTY"), (b"\xff", "UTF8"), (b"a" * 513, "WORDS"), (b"a " * 64, "WORDS")):
        answer = ffi().new("ub_answer *", {"accepted": True, "slot_count": 1})
        assert library().ub_parse(agent._agent, text, len(text), answer) == getattr(library(), f"UB_ERROR_{status}")
        assert not answer.accepted
        assert answer.slot_count == 0


def test_code_calls_neither_heap_nor_float(objects: Path) -> None:
    """Not even a helper of the compiler for float, and no instruction of it (assembly might)."""
    files = sorted(objects.glob("*.o"))
    listing = subprocess.run(
        ["riscv64-unknown-elf-objdump", "-dr", *map(str, files)], capture_output=True, text=True, check=True
    ).stdout
    mnemonics = set(re.findall(r"^ +[0-9a-f]+:\t[0-9a-f ]+\t([a-z][a-z0-9.]*)", listing, re.M))
    assert {"mul", "lw", "ret"} <= mnemonics
    assert not [m for m in mnemonics if re.match(r"c?\.?f(?!ence)", m)], mnemonics
    undefined = subprocess.run(
        ["riscv64-unknown-elf-nm", "-u", *map(str, files)], capture_output=True, text=True, check=True
    ).stdout
    sizes = subprocess.run(
        ["riscv64-unknown-elf-size", *map(str, files)], capture_output=True, text=True, check=True
    ).stdout
    assert all(line.split()[1:3] == ["0", "0"] for line in sizes.splitlines()[1:]), "writable data"
    missing = set(re.findall(r"U (\w+)", undefined)) - {s.split(":")[-1] for s in call_graph(objects)[0]}
    assert not [n for n in missing if re.search(r"[sdt]f\d?$|[sdt]f[sdt]i|si[sdt]f|alloc|free|printf|str(?!len)", n)], (
        missing
    )


def test_weights_are_most_of_what_is_read_in_flash(bundle: Path, tmp_path: Path) -> None:
    tool("riscv64-unknown-elf-gcc", "gcc-riscv64-unknown-elf picolibc-riscv64-unknown-elf")
    tool("qemu-system-riscv32", "qemu-system-misc")
    flatbuffer = read_sections(bundle.read_bytes())["flatbuffer"]
    encoder = read_encoder(flatbuffer)
    weights = sum(
        getattr(layer, m).bytes for layer in encoder.layers for m in ("query", "key", "value", "output", "up", "down")
    )
    one, many = count_flash(bundle, ["#1", "#32"], tmp_path)
    for counts in (one, many):
        assert weights / 32 < counts["different"] <= counts["fetched"]
        assert counts["weights_in_sram"] < counts["fetched"] / 20
    assert one["fetched"] < 1.2 * one["different"], "at one position nothing is read twice"
    assert many["fetched"] > one["fetched"]


@pytest.mark.parametrize("source", SOURCES, ids=lambda p: p.name)
def test_gcc_analyzer_finds_nothing(source: Path, tmp_path: Path) -> None:
    command = [tool("gcc", "gcc"), *STRICT, "-fanalyzer", f"-I{AGENT}", "-c", str(source), "-o", str(tmp_path / "o")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# ---- fuzzing ----


@pytest.mark.parametrize("target", ["bundle", "text", "protocol", "update"])
def test_fuzzing_finds_nothing(target: str, bundle: Path, tmp_path: Path) -> None:
    """A bounded while; tests/fuzz/*.c say what must hold. By hand: the same command with another -max_total_time."""
    clang = tool("clang", "clang libclang-rt-dev")
    program, corpus = tmp_path / target, tmp_path / "corpus"
    flags = ["-std=c11", "-O1", "-g", "-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all"]
    source = ROOT / "tests" / "fuzz" / f"{target}.c"
    built = subprocess.run(
        [clang, *flags, f"-I{AGENT}", *map(str, [source, *SOURCES]), "-o", str(program)], capture_output=True, text=True
    )
    if "libclang_rt" in built.stderr:
        pytest.skip("clang has no libFuzzer: apt install libclang-rt-dev")
    assert built.returncode == 0, built.stderr
    corpus.mkdir()
    seeds = {
        "bundle": bundle.read_bytes(),
        "text": "Turn the Küche light to 20.5 %, it's 灯 1,000".encode(),
        "protocol": b"/info\n@17 turn on *0000\n/stats\r\n/selftest\n/parse x\n",
        "update": b"\0turn on the kitchen light\n\0/update begin 256 9F41B3A5\n\x02@1 /update data 0 AAAA\n\1/update\n"
        b"\0/update activate\n\x08/info\n",
    }
    (tmp_path / "agent.bundle").write_bytes(bundle.read_bytes())
    (corpus / "seed").write_bytes(seeds[target])
    limits = ["-max_total_time=4", "-max_len=200000", "-seed=1", f"-artifact_prefix={tmp_path}/"]
    done = subprocess.run([program, *limits, corpus], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-4000:]
