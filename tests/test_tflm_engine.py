"""TFLite Micro as the second engine: what its C++ relies on, and how the agent uses it.

The C++ itself needs the vendor's SDK and is not compiled here (docs/boards.md says how it was tried).
"""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from tflite_micro import runtime

from convert.bundle import read_manifest, read_sections
from convert.flatbuffer import OPERATORS, read_encoder

FIRMWARE = ROOT / "firmware"


# ---- what the C++ relies on ----


def test_every_operator_of_a_student_is_registered_and_no_other() -> None:
    source = (FIRMWARE / "tflm" / "tflm.cc").read_text()
    registered = re.findall(r"operators_\.Add(\w+)\(\)", source)
    assert sorted(name.upper() for name in registered) == sorted(name.replace("_", "") for name in OPERATORS)
    room = re.search(r"MicroMutableOpResolver<(\d+)>", source)
    assert room is not None
    assert int(room[1]) == len(registered)


def test_the_build_finds_the_arena_in_the_bundle(bundle: Path) -> None:
    """By the pattern that CMake looks for in the file."""
    script = (FIRMWARE / "tflm" / "CMakeLists.txt").read_text()
    pattern = re.search(r'set\(member "(.*)"\)', script)
    assert pattern is not None
    content = bundle.read_bytes()
    found = re.findall(pattern[1].replace("\\", "").encode(), content)
    assert [int(f) for f in found] == [read_manifest(content)["tflm_arena"]]


def test_the_flatbuffer_fits_the_interpreter(bundle: Path) -> None:
    """The manifest's arena is enough and not much more than enough; inputs and outputs are told apart by their rank."""
    content = bundle.read_bytes()
    flatbuffer = read_sections(content)["flatbuffer"]
    arena = read_manifest(content)["tflm_arena"]
    with pytest.raises(RuntimeError):
        runtime.Interpreter.from_bytes(flatbuffer, arena_size=arena * 3 // 4)
    interpreter = runtime.Interpreter.from_bytes(flatbuffer, arena_size=arena)
    interpreter.invoke()

    encoder = read_encoder(flatbuffer)
    classes, tags = (len(head.weights) for head in (encoder.class_head, encoder.tag_head))
    inputs = [interpreter.get_input_details(i) for i in range(2)]
    outputs = [interpreter.get_output_details(i) for i in range(2)]
    assert {str(end["dtype"]) for end in inputs + outputs} == {"<class 'numpy.int8'>"}
    assert sorted(tuple(i["shape"]) for i in inputs) == sorted(
        [(1, encoder.positions, encoder.embed), (1, 1, 1, encoder.positions)]
    )
    assert sorted(tuple(o["shape"]) for o in outputs) == sorted([(1, classes), (1, encoder.positions - 1, tags)])


# ---- how the agent uses it ----


@pytest.fixture(scope="module")
def two_engines(tmp_path_factory: pytest.TempPathFactory, bundle: Path) -> Path:
    """The native firmware with a stand-in for the second engine."""
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("no gcc: apt install gcc")
    program = tmp_path_factory.mktemp("engines") / "program"
    boards, agent = FIRMWARE / "boards", FIRMWARE / "agent"
    sources = [
        *agent.glob("*.c"),
        boards / "native" / "main.c",
        boards / "bundle.S",
        ROOT / "tests" / "second_engine.c",
    ]
    command = [compiler, "-std=c11", "-O1", "-Wall", "-Wextra", "-Wshadow", "-Wconversion", "-Werror", "-DUB_TFLM"]
    command += [f'-DUB_BUNDLE_FILE="{bundle}"', f"-I{agent}", f"-I{boards}", f"-I{FIRMWARE / 'monocypher'}"]
    subprocess.run([*command, "-o", program, *sources], check=True)
    return program


def ask(program: Path, fault: str, *lines: str) -> list[Any]:
    """The replies to some lines."""
    done = subprocess.run(
        [program],
        input="".join(f"{line}\n" for line in lines),
        env={"SECOND_ENGINE": fault},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    replies = [json.loads(reply[1:]) for reply in done.stdout.splitlines() if reply[:1] in ("=", "!")]
    for reply in replies:
        reply.pop("us", None)
    return replies


PROMPT = "turn on the kitchen light"


def test_both_engines_are_compared(two_engines: Path) -> None:
    result, answer = ask(two_engines, "", "/selftest", PROMPT)
    assert result["passed"] is True
    assert result["engines"] == ["tflm", "own"]
    assert "intent" in answer


def test_a_second_engine_that_differs_fails_the_selftest(two_engines: Path) -> None:
    failure, answer = ask(two_engines, "wrong", "/selftest", PROMPT)
    assert failure["error"] == "selftest"
    assert answer != ask(two_engines, "", PROMPT)[0], "the second engine is the one that answers"


def test_a_bundle_that_the_second_engine_cannot_hold_is_refused(two_engines: Path) -> None:
    info, failure = ask(two_engines, "small", "/info", PROMPT)
    assert info["agent"] is None
    assert failure["error"] == "agent"
    assert "memory" in failure["message"]


def test_native_firmware_has_one_engine(native_program: Path, bundle: Path) -> None:
    done = subprocess.run([native_program, bundle], input="/selftest\n", capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[1][1:])["engines"] == ["own"]
