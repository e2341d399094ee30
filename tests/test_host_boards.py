"""Boards that are processes, and what is said when they fail."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fake_agent import INFO
from serial.tools import list_ports
from serial.tools.list_ports_common import ListPortInfo

from host import boards
from host.client import Client, Settings
from host.errors import NoAnswerError, NoBoardError
from train.errors import UserError

PROGRAM = f"""#!{sys.executable}
import binascii, json, os, signal, sys
info = {INFO!r}
info["agent"] = sys.argv[1] if len(sys.argv) > 1 else "built-in"
print("#hello proto=1 agent=x", flush=True)
for line in sys.stdin:
    if "crash" in line:
        print("out of luck", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGSEGV)
    if line.strip():
        body = "=" + json.dumps(dict(seq=int(line[1:].split()[0]), **info))
        print(f"{{body}} *{{binascii.crc_hqx(body.encode(), 0xFFFF):04X}}", flush=True)
"""


@pytest.fixture
def native(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program in the place of the native firmware."""
    program = tmp_path / "program"
    program.write_text(PROGRAM, encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setattr(boards, "NATIVE_PROGRAM", program)
    return program


def test_native_is_a_process_behind_a_terminal(native: Path) -> None:
    with Client("native") as agent:
        assert agent.info().agent == "built-in"
        assert agent.resets == []


def test_native_runs_another_bundle(native: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "my agent.bundle"
    bundle.touch()
    with Client("native", bundle=bundle) as agent:
        assert agent.info().agent == str(bundle)
    with pytest.raises(UserError, match="no such bundle"):
        Client("native", bundle=tmp_path / "none.bundle")


def test_native_writes_no_file_that_is_not_its_flash(native: Path, tmp_path: Path) -> None:
    file = tmp_path / "agent.bundle"
    file.write_bytes(b"UTTB and more")
    for flash, why in ((file, "not a flash"), (tmp_path, "directory"), (tmp_path / "no" / "flash", "no folder")):
        with pytest.raises(UserError, match=f"--flash {flash}: .*{why}"):
            Client("native", flash=flash)
    for start in (b"", b"\xff" * 9, b"UT\xff\xff", b"UTBA and more"):
        file.write_bytes(start)
        Client("native", flash=file).close()


def test_native_that_crashes(native: Path) -> None:
    with Client("native") as agent:
        agent.info()
        with pytest.raises(NoAnswerError, match="native ended by itself: signal 11; out of luck"):
            agent.parse("crash")


@pytest.mark.parametrize(("status", "reported"), [(0, 3), (1, 3), (2, 2)])
def test_native_that_ends_at_once(native: Path, status: int, reported: int) -> None:
    native.write_text(f"#!/bin/sh\necho bad luck >&2; exit {status}\n", encoding="utf-8")
    with Client("native", Settings(timeout=2, retries=0)) as agent, pytest.raises(NoAnswerError) as caught:
        agent.info()
    assert str(caught.value) == f"native ended by itself: exit status {status}; bad luck"
    assert caught.value.exit_status == reported, "2 is what it says of a file that it cannot use"


def test_native_that_cannot_be_run(native: Path) -> None:
    native.chmod(0o644)
    with pytest.raises(NoBoardError, match="make agent"):
        Client("native")


def test_nothing_is_left_behind(native: Path) -> None:
    before = len(os.listdir("/dev/fd"))
    for _ in range(5):
        with Client("native") as agent:
            agent.info()
    assert len(os.listdir("/dev/fd")) == before
    native.chmod(0o644)
    with pytest.raises(NoBoardError):
        Client("native")
    assert len(os.listdir("/dev/fd")) == before


def test_ports_of_boards(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One board is found by itself; of several each is named, with what can be told of it."""

    def port(name: str, description: str, vid: int | None) -> ListPortInfo:
        path = tmp_path / name
        path.touch()
        info = ListPortInfo(str(path))
        info.description, info.vid = description, vid
        return info

    ports = [port("ttyS0", "n/a", None)]
    monkeypatch.setattr(list_ports, "comports", lambda: ports)
    with pytest.raises(NoBoardError, match="no board is plugged in"):
        boards.only_port()
    ports.append(port("ttyUSB0", "CP2102N USB to UART Bridge", 0x10C4))
    assert boards.only_port() == str(tmp_path / "ttyUSB0")
    ports.append(port("ttyACM0", "USB JTAG/serial debug unit", 0x303A))
    with pytest.raises(NoBoardError, match=r"ttyACM0 \(USB JTAG.*\), .*ttyUSB0 \(CP2102N"):
        boards.only_port()

    monkeypatch.setattr(os, "access", lambda path, mode: not str(path).endswith("ACM0"))
    _, _, *choices = boards.board_choices()
    assert [(Path(choice.board).name, choice.available) for choice in choices] == [
        ("ttyACM0", False),
        ("ttyS0", True),
        ("ttyUSB0", True),
    ]
    assert "debug unit: no permission" in choices[0].description
    assert choices[1].description == "a serial port"


def test_boards_that_are_not_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boards, "NATIVE_PROGRAM", tmp_path / "none")
    monkeypatch.setattr(boards, "SIM_ELF", tmp_path / "none")
    with pytest.raises(NoBoardError, match="pio run -e native"):
        Client("native")
    with pytest.raises(NoBoardError, match="pio run -e c3"):
        Client("sim")
    native, sim, *_ = boards.board_choices()
    assert not native.available
    assert not sim.available


def test_sim_needs_the_simulator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elf = tmp_path / "firmware.elf"
    elf.touch()
    monkeypatch.setattr(boards, "SIM_ELF", elf)
    monkeypatch.setitem(sys.modules, "labwired", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(NoBoardError, match="pip install labwired"):
        Client("sim")


def test_sim_with_a_broken_firmware(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("labwired", reason="the simulator is not installed")
    elf = tmp_path / "firmware.elf"
    elf.write_bytes(b"\x7fELF" + bytes(60))
    monkeypatch.setattr(boards, "SIM_ELF", elf)
    with pytest.raises(NoBoardError, match=r"the simulator did not start: exit status 2; error: .*firmware\.elf"):
        Client("sim")


@pytest.mark.skipif(boards.sim_missing() is not None, reason=f"sim: {boards.sim_missing()}")
def test_sim_answers() -> None:
    with Client("sim") as agent:
        info = agent.info()
        assert (info.board, info.hz) == ("c3", 160_000_000)
        assert agent.resets == []


@pytest.mark.skipif(boards.sim_missing() is not None, reason=f"sim: {boards.sim_missing()}")
def test_sim_ends_with_the_program_that_started_it() -> None:
    command = [sys.executable, "-m", "host.simulator", str(boards.SIM_ELF)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=boards.PROJECT) as simulator:
        assert simulator.stdin is not None
        assert simulator.stdout is not None
        assert simulator.stdout.readline().startswith(b"/dev/")
        simulator.stdin.close()
        assert simulator.wait(timeout=10) == 0
