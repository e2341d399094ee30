"""What PlatformIO builds: the boards' start-up, images and sizes, and that all boards say the same."""

import importlib
import json
import os
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, BuildFirmware, run_platformio
from elftools.elf.elffile import ELFFile

from convert.bundle import read_sections
from train.agentlib import constants

sys.path.insert(0, str(ROOT / "firmware" / "platforms" / "bare"))
size_report: Any = importlib.import_module("size_report")
DROM, IROM, SRAM = 0x3C000000, 0x42000000, 0x3FC80000
KB = 1024


def talk(program: Path, data: bytes, *arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([program, *arguments], input=data, capture_output=True, timeout=20, check=False)


class Simulated:
    """The ESP32-C3's firmware in labwired."""

    def __init__(self, elf: Path) -> None:
        labwired = pytest.importorskip("labwired")
        self.chip = labwired.Sim(str(elf), chip="esp32c3", uart="uart0")

    def wait(self, pattern: bytes, seconds: float = 2) -> bytes:
        """Run until the output matches; seconds of the chip's time."""
        seen = bytearray()
        for _ in range(int(seconds / 0.002)):
            self.chip.run_for(0.002)
            seen += self.chip.read_uart_bytes()
            if re.search(pattern, seen):
                return bytes(seen)
        raise AssertionError(f"{pattern!r} is not in {bytes(seen)!r}")

    def ask(self, line: bytes) -> bytes:
        self.chip.send_bytes(line + b"\n")
        return self.wait(rb"[=!].*\n").strip()


def without_time(reply: bytes) -> bytes:
    return re.sub(rb',"us":\d+}', b"}", reply)


# ---- the build ----


def test_a_missing_bundle_is_named(tmp_path: Path) -> None:
    done = run_platformio("native", tmp_path / "absent.bundle", tmp_path / "build")
    assert done.returncode != 0
    assert str(tmp_path / "absent.bundle") in done.stderr
    assert "make agent" in done.stderr
    assert "Traceback" not in done.stderr


def test_another_bundle_makes_another_firmware(tmp_path: Path) -> None:
    bundle = tmp_path / "agent.bundle"
    magic, version = constants()["UB_MAGIC"], constants()["UB_VERSION"]
    for content, warning in (
        (b"the first of them", "no agent bundle"),
        (struct.pack("<IIIHH", magic, 0, 16, version - 1, 0), f"version {version - 1}, the firmware's {version}"),
        (struct.pack("<IIIHH", magic, 0, 16, version, 0) + b"the third of them", ""),
    ):
        bundle.write_bytes(content)
        done = run_platformio("native", bundle, tmp_path / "build")
        assert done.returncode == 0, done.stdout + done.stderr
        assert content in (tmp_path / "build" / "native" / "program").read_bytes()
        assert warning in done.stderr
        assert ("Warning" in done.stderr) == bool(warning)


# ---- native ----


def test_native_ends_with_its_input(native_program: Path) -> None:
    done = talk(native_program, b"/help\n/help")
    assert done.returncode == 0
    assert done.stdout.count(b"\n") == 2, "the banner and one reply: the second line has no end"


def test_native_answers_without_waiting_for_more(native_program: Path) -> None:
    with subprocess.Popen([native_program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline().startswith(b"#hello ")
        process.stdin.write(b"/help\n")
        process.stdin.flush()
        assert process.stdout.readline().startswith(b"={")


def test_native_with_a_broken_bundle(native_program: Path, broken_bundle: Path) -> None:
    for arguments in ([], [broken_bundle]):
        banner, reply = talk(native_program, b"turn on the light\n", *arguments).stdout.splitlines()
        assert banner.endswith(b" agent=none crc=00000000")
        assert json.loads(reply[1:])["error"] == "agent"


@pytest.mark.parametrize("arguments", [["absent.bundle"], ["a", "b"], ["--help"], ["."]])
def test_native_names_a_wrong_argument(native_program: Path, arguments: list[str]) -> None:
    done = talk(native_program, b"", *arguments)
    assert done.returncode == 2
    assert not done.stdout
    assert arguments[-1].encode() in done.stderr


def test_native_refuses_a_huge_bundle(native_program: Path, tmp_path: Path) -> None:
    huge = tmp_path / "huge.bundle"
    huge.write_bytes(bytes(1024 * KB + 1))
    done = talk(native_program, b"", huge)
    assert done.returncode == 2
    assert b"huge.bundle" in done.stderr


# ---- ESP32-C3 ----


@pytest.fixture(scope="session")
def bare_c3(build_firmware: BuildFirmware, broken_bundle: Path) -> Path:
    return build_firmware("c3", broken_bundle)


def sections(elf: Path) -> dict[str, int]:
    with elf.open("rb") as file:
        return {section.name: section["sh_size"] for section in ELFFile(file).iter_sections()}


def symbols(elf: Path) -> dict[str, int]:
    with elf.open("rb") as file:
        table: Any = ELFFile(file).get_section_by_name(".symtab")
        return {symbol.name: symbol["st_value"] for symbol in table.iter_symbols()}


def test_c3_image_boots_directly(bare_c3: Path, broken_bundle: Path) -> None:
    image = (bare_c3 / "firmware.bin").read_bytes()
    names = symbols(bare_c3 / "firmware.elf")
    assert image[:8] == bytes.fromhex("1d04dbae") * 2
    assert names["_start"] == IROM + 8
    at = names["ub_bundle"] - DROM
    assert at % 16 == 0
    assert image[at : names["ub_bundle_end"] - DROM] == broken_bundle.read_bytes()
    assert (names["_data_load"] - DROM) + (names["_data_end"] - names["_data_start"]) == len(image)
    assert names["_stack_bottom"] == SRAM, "nothing may lie below the stack"


def test_c3_takes_little(bare_c3: Path) -> None:
    size = sections(bare_c3 / "firmware.elf")
    assert size[".text"] + size[".rodata"] + size[".hot"] <= 48 * KB
    assert size[".stack"] + size[".data"] + size[".bss"] <= 48 * KB


def test_c3_has_no_heap_no_float_no_stdio(bare_c3: Path) -> None:
    unwanted = re.compile(r"_?(malloc|calloc|realloc|free|sbrk|.*printf)|__\w+[sd]f[23]?|__(fix|float)\w+")
    assert not [name for name in symbols(bare_c3 / "firmware.elf") if unwanted.fullmatch(name)]


def test_c3_boots_and_answers(bare_c3: Path) -> None:
    board = Simulated(bare_c3 / "firmware.elf")
    assert b"#hello proto=1 fw=0.1.0 board=c3 agent=none crc=00000000\n" in board.wait(rb"#hello .*\n")
    assert json.loads(board.ask(b"/info")[1:])["hz"] == 160_000_000
    stats = json.loads(board.ask(b"/stats")[1:])
    assert 0 < stats["stack"] < 8 * KB
    assert stats["uptime_ms"] > 0
    assert json.loads(board.ask(b"x" * 10_000)[1:])["error"] == "long"
    assert json.loads(board.ask(b"x")[1:])["error"] == "agent"


@pytest.mark.parametrize(
    ("symbol", "value", "note"),
    [
        ("_stack_bottom", 0, rb"\n#panic stack\n"),
        ("receive_uart", 0x00000073, rb"\n#panic cause=0000000B epc=42[0-9A-F]{6} tval=00000000\n"),  # ecall
    ],
)
def test_c3_says_why_it_resets(bare_c3: Path, symbol: str, value: int, note: bytes) -> None:
    board = Simulated(bare_c3 / "firmware.elf")
    board.wait(rb"#hello .*\n")
    board.chip.write_u32(symbols(bare_c3 / "firmware.elf")[symbol], value)
    board.wait(note + rb"(.*\n)*#hello .*\n")


@pytest.fixture
def fake_esptool(tmp_path: Path) -> dict[str, str]:
    """An environment whose esptool logs its arguments and says the revision that it is told."""
    (tmp_path / "esptool.py").write_text(
        "import os, sys\n"
        "open(os.environ['ESPTOOL_LOG'], 'a').write(' '.join(sys.argv[1:]) + '\\n')\n"
        "print('Chip type: ESP32-C3 (QFN32) (' + os.environ['ESPTOOL_SAYS'] + ')')\n"
    )
    return {**os.environ, "PYTHONPATH": str(tmp_path), "ESPTOOL_LOG": str(tmp_path / "log")}


@pytest.mark.parametrize(
    ("says", "written"),
    [("revision v0.3", True), ("revision v0.4", True), ("revision v1.1", True), ("revision v0.2", False), ("?", False)],
)
def test_only_chips_that_can_boot_directly_are_flashed(fake_esptool: dict[str, str], says: str, written: bool) -> None:
    script = ROOT / "firmware" / "platforms" / "bare" / "flash.py"
    done = subprocess.run(
        [sys.executable, script, "PORT", "460800", "firmware.bin"],
        env={**fake_esptool, "ESPTOOL_SAYS": says},
        capture_output=True,
        text=True,
        check=False,
    )
    log = Path(fake_esptool["ESPTOOL_LOG"]).read_text().splitlines()
    connection = "--chip esp32c3 --port PORT --baud 460800 "
    assert log == [connection + "chip-id"] + [connection + "write-flash 0x0 firmware.bin"] * written
    assert done.returncode == (0 if written else 2)


# ---- QEMU ----


def test_virt_boots_and_answers(build_firmware: BuildFirmware, broken_bundle: Path) -> None:
    qemu = shutil.which("qemu-system-riscv32")
    if qemu is None:
        pytest.skip("no qemu-system-riscv32: apt install qemu-system-misc")
    elf = build_firmware("virt", broken_bundle) / "firmware.elf"
    machine = "-M virt -bios none -nographic -monitor none -serial stdio -icount shift=0 -kernel"
    with subprocess.Popen([qemu, *machine.split(), elf], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        try:
            process.stdin.write(b"/stats\n")
            process.stdin.flush()
            lines = [process.stdout.readline() for _ in range(3)]
        finally:
            process.kill()
    assert lines[:2] == [b"\n", b"#hello proto=1 fw=0.1.0 board=virt agent=none crc=00000000\n"]
    assert 0 < json.loads(lines[2][1:])["stack"] < 8 * KB


# ---- with the agent ----

SENTENCES = (
    "turn on the kitchen light",
    "dim the bedroom to thirty percent",
    "is the front door locked",
    "what is the capital of France",
    "Schalte das Licht in der Küche ein",
    "\ttabs and\x01controls ",
    "日本語",
    "...!",
    "word " * 80,
)
INVALID = (b"\xff", b"caf\xc3", b"\xed\xa0\x80", b"\xc0\x80")


def test_native_serves_the_agent(native_program: Path, bundle: Path) -> None:
    prompts = [text.encode() for text in SENTENCES]
    done = talk(native_program, b"/info\n/selftest\n" + b"".join(p + b"\n" for p in prompts), bundle)
    replies = done.stdout.splitlines()[1:]
    info, selftest = (json.loads(reply[1:]) for reply in replies[:2])
    assert info["bytes"] == bundle.stat().st_size
    assert info["arena"] <= info["arena_limit"]
    assert selftest["passed"] is True
    assert selftest["golden"] > 0
    assert len(replies) == 2 + len(prompts)
    for prompt, reply in zip(prompts, replies[2:], strict=True):
        answer = json.loads(reply[1:])
        if reply[:1] == b"=":
            assert all(s["text"].encode() == prompt[s["start"] : s["end"]] for s in answer["slots"])
    assert [json.loads(reply[1:]).get("error") for reply in replies[-2:]] == ["empty", "words"]


def test_what_is_no_utf8_is_refused(native_program: Path, bundle: Path) -> None:
    replies = talk(native_program, b"".join(line + b"\n" for line in INVALID), bundle).stdout.splitlines()[1:]
    assert [json.loads(reply[1:])["error"] for reply in replies] == ["utf8"] * len(INVALID)


def test_the_agent_is_small(c3_elf: Path) -> None:
    agent = size_report.agent_bytes(c3_elf.with_suffix(".map"))
    assert 10 * KB < agent <= 20.5 * KB, "code and constants of the library with protocol and update, linked"


def test_native_and_simulated_c3_say_the_same(native_program: Path, bundle: Path, c3_elf: Path) -> None:
    lines = [text.encode() for text in SENTENCES] + list(INVALID)
    native = talk(native_program, b"".join(line + b"\n" for line in lines), bundle).stdout.splitlines()[1:]
    board = Simulated(c3_elf)
    board.wait(rb"#hello .*\n")
    replies = [board.ask(line) for line in lines]
    assert [without_time(reply) for reply in replies] == [without_time(reply) for reply in native]
    times = [json.loads(reply[1:])["us"] for reply in replies if reply[:1] == b"="]
    assert min(times) > 0
    assert json.loads(board.ask(b"/stats")[1:])["stack"] < 8 * KB
    assert json.loads(board.ask(b"/selftest")[1:])["passed"] is True


@pytest.mark.parametrize("in_sram", [True, False])
def test_c3_reads_weights_where_the_build_says(
    c3_elf: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_sram: bool
) -> None:
    elf = c3_elf
    if not in_sram:
        monkeypatch.setenv("PLATFORMIO_BUILD_FLAGS", "-DUB_WEIGHTS_IN_SRAM=0")
        done = run_platformio("c3", bundle, tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        elf = tmp_path / "c3" / "firmware.elf"
    board = Simulated(elf)
    board.wait(rb"#hello .*\n")
    copied = [len(read_sections(bundle.read_bytes())[name]) for name in ("encoder", "flatbuffer")]
    info = json.loads(board.ask(b"/info")[1:])
    assert info["weights_in_ram"] == (sum(-(-length // 16) * 16 for length in copied) if in_sram else 0)
    # The copy is what is read: spoiling it spoils the answers.
    first = symbols(elf)["_free_start"]
    for at in range(first + copied[0], first + sum(copied), 64):
        board.chip.write_u32(at & ~3, 0x55AA55AA)
    assert board.ask(b"/selftest").startswith(b"!" if in_sram else b"=")
