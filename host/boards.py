"""Boards: what ``--board`` names, opened as a serial port.

Every board is a serial port to the client. ``native`` is the firmware as a process behind a pseudo-terminal,
``sim`` the ESP32-C3's firmware in the simulator behind another; the rest is a port's name or one of
pyserial's URLs (``socket://``, ``rfc2217://``, ``loop://``, ``spy://``).
"""

import errno
import importlib.util
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import serial
from serial.tools import list_ports

from host.errors import NoAnswerError, NoBoardError, PortGoneError
from train.errors import UserError

PROJECT = Path(__file__).resolve().parent.parent
NATIVE_PROGRAM = PROJECT / ".pio" / "build" / "native" / "program"
SIM_ELF = PROJECT / ".pio" / "build" / "c3" / "firmware.elf"

# Seconds for which a read waits for the first byte. Only the grain of the client's time-outs: a byte that is
# there is returned at once.
READ_WAIT = 0.02
WRITE_TIMEOUT = 5.0

# Seconds for which RTS holds the chip in reset, as esptool does. DTR stays off: it selects the ROM's download mode.
RESET_PULSE = 0.1

# Seconds within which a port that went away is back, if its chip has only been reset.
RETURN_TIME = 5.0

# Seconds within which a process has said its first word.
START_TIME = 1.0

# The first bytes of a slot that has been written (firmware/agent/update.c).
FLASH_MAGIC = b"UTBA"


class Board:
    """An open board: bytes in, bytes out, and what is needed to explain a failure.

    name: as given to ``--board``. timeout: seconds within which such a board answers a sentence unless
    something is wrong; a simulated chip takes its time.
    """

    def __init__(
        self,
        name: str,
        port: serial.Serial,
        timeout: float,
        resources: ExitStack,
        why_gone: Callable[[], PortGoneError] | None = None,
        reset: Callable[[], None] | None = None,
    ) -> None:
        """resources: what to close in the end. why_gone: for a board that is a process, the error of its end.
        reset: presses its reset button; None: a serial port's RTS does.
        """
        self.name = name
        self.timeout = timeout
        self._port = port
        self._resources = resources
        self._why_gone = why_gone
        self._reset = reset
        self._closed = False

    def read(self) -> bytes:
        """The bytes that are there; b"" if none came within READ_WAIT seconds. Raises PortGoneError."""
        try:
            data: bytes = self._port.read(self._port.in_waiting or 1)
            return data
        except (serial.SerialException, OSError) as error:
            raise self._gone(error) from None

    def write(self, data: bytes) -> None:
        """Send all bytes. Raises NoAnswerError, and PortGoneError."""
        try:
            self._port.write(data)
        except serial.SerialTimeoutException:
            raise NoAnswerError(
                f"{self.name} takes no bytes (waited {WRITE_TIMEOUT:g} s): reset it, or plug it in anew"
            ) from None
        except (serial.SerialException, OSError) as error:
            raise self._gone(error) from None

    def reset(self) -> None:
        """Restart the board, whatever it is doing. Raises PortGoneError."""
        if self._closed:
            raise self._gone("closed")
        try:
            if self._reset is not None:
                self._reset()
                return
            for pressed, seconds in ((True, RESET_PULSE), (False, 0)):
                self._port.rts = pressed
                self._port.dtr = False  # afterwards: Windows's driver for USB ports passes on RTS with DTR only
                time.sleep(seconds)
        except (serial.SerialException, OSError) as error:
            raise self._gone(error) from None

    def reopen(self) -> None:
        """Wait for a port that went away: the chip's own USB port does while the chip resets. Raises PortGoneError if
        it does not come back within RETURN_TIME seconds.
        """
        if self._closed:
            raise self._gone("closed")
        self._port.close()
        deadline = time.monotonic() + RETURN_TIME
        while not self._port.is_open:
            if self._why_gone is not None or time.monotonic() > deadline:
                raise self._gone("it did not come back")
            time.sleep(READ_WAIT)
            with suppress(serial.SerialException, OSError):
                self._port.open()

    def close(self) -> None:
        """Close the port and end the process behind it, if there is one."""
        self._closed = True
        self._resources.close()

    def _gone(self, why: object) -> PortGoneError:
        if self._closed:
            return PortGoneError(f"{self.name} was closed")
        if self._why_gone is None:
            return PortGoneError(f"{self.name} went away ({why}); is it still plugged in?")
        return self._why_gone()


def open_board(
    name: str, *, baud: int = 115200, bundle: str | Path | None = None, flash: str | Path | None = None
) -> Board:
    """Open ``native``, ``sim``, ``auto`` (the one port with a board), a serial port or one of pyserial's URLs.

    bundle: an agent to run instead of the built-in one; ``native`` only. flash: the file that keeps what is
    updated; ``native`` only, which has no flash otherwise.
    Raises NoBoardError, whose message says how to mend it, and UserError for a bundle that cannot be used.
    """
    if bundle is not None and name != "native":
        raise UserError(f"--bundle runs another agent on --board native only, not on {name}")
    if flash is not None and name != "native":
        raise UserError(f"--flash is the flash of --board native only, not of {name}, which has its own")
    if not name:
        raise UserError("--board is empty; `python -m host boards` lists what it can be")
    if name == "native":
        return _open_native(Path(bundle) if bundle is not None else None, Path(flash) if flash is not None else None)
    if name == "sim":
        return _open_sim()
    if name == "auto":
        name = only_port()
    with ExitStack() as stack:
        port = stack.enter_context(_open_port(name, baud))
        return Board(name, port, 2.0, stack.pop_all())


def _open_native(bundle: Path | None, flash: Path | None) -> Board:
    if reason := native_missing():
        raise NoBoardError(f"the native agent is not there: {reason}")
    if bundle is not None and not bundle.is_file():
        raise UserError(f"{bundle}: no such bundle; `make agent` makes build/home/agent.bundle")
    if flash is not None:
        _check_flash(flash)
    if not hasattr(os, "openpty"):
        raise NoBoardError("native needs pseudo-terminals, which this system lacks; use Linux, macOS or WSL")
    import tty

    with ExitStack() as stack:
        log = stack.enter_context(tempfile.TemporaryFile())
        master, slave = os.openpty()
        stack.callback(os.close, slave)
        try:
            # Before the process says its first word, which an echo would send back to it.
            tty.setraw(slave)
            port = stack.enter_context(_open_port(os.ttyname(slave), 115200))
            command = [str(NATIVE_PROGRAM)]
            command += [str(bundle)] if bundle is not None else []
            command += ["--flash", str(flash)] if flash is not None else []
            process = subprocess.Popen(command, stdin=master, stdout=master, stderr=log, start_new_session=True)
        except OSError as error:
            raise NoBoardError(f"{NATIVE_PROGRAM} cannot be run ({error.strerror}): run `make agent`") from None
        finally:
            os.close(master)
        stack.callback(_end, process)
        # Its reset button is wired when it has said its first word.
        deadline = time.monotonic() + START_TIME
        with suppress(OSError):  # it has ended, as the first use will tell
            while not port.in_waiting and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.001)
        why_gone, reset = partial(_ended, "native", process, log), partial(process.send_signal, signal.SIGUSR1)
        return Board("native", port, 2.0, stack.pop_all(), why_gone, reset)


def _check_flash(path: Path) -> None:
    """Native writes this file: it must be its own, or a new one."""
    try:
        with path.open("rb") as file:
            start = file.read(len(FLASH_MAGIC))
    except FileNotFoundError:
        start = b""
    except OSError as error:
        raise UserError(f"--flash {path}: cannot be read ({error.strerror})") from None
    if not path.parent.is_dir():
        raise UserError(f"--flash {path}: there is no folder {path.parent}")
    # A byte that an interrupted update has not written yet is 0xFF.
    if any(byte not in (0xFF, right) for byte, right in zip(start, FLASH_MAGIC, strict=False)):
        raise UserError(f"--flash {path}: this is not a flash of --board native; name a new file")


def _open_sim() -> Board:
    if reason := sim_missing():
        raise NoBoardError(f"the simulated board is not there: {reason}")
    with ExitStack() as stack:
        log = stack.enter_context(tempfile.TemporaryFile())
        process = subprocess.Popen(
            [sys.executable, "-m", "host.simulator", str(SIM_ELF)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=PROJECT,
            start_new_session=True,
        )
        stack.callback(_end, process)
        assert process.stdout is not None
        path = process.stdout.readline().decode().strip()
        if not path:
            raise NoBoardError(f"the simulator did not start: {_last_words(process, log)}")
        port = stack.enter_context(_open_port(path, 115200))
        why_gone, reset = partial(_ended, "sim", process, log), partial(_press, process)
        return Board("sim", port, 20.0, stack.pop_all(), why_gone, reset)


def _press(simulator: subprocess.Popen[bytes]) -> None:
    assert simulator.stdin is not None
    simulator.stdin.write(b"\n")
    simulator.stdin.flush()


def _open_port(name: str, baud: int) -> serial.Serial:
    try:
        if name.startswith(("socket://", "rfc2217://")) and urlsplit(name).port is None:
            raise ValueError("expected a URL such as socket://HOST:PORT")
        return serial.serial_for_url(
            name, baudrate=baud, timeout=READ_WAIT, write_timeout=WRITE_TIMEOUT, exclusive=True
        )
    except ValueError as error:
        raise UserError(f"--board {name} --baud {baud}: {error}") from None
    except (serial.SerialException, OSError) as error:
        raise NoBoardError(_why_not_opened(name, error)) from None


def _why_not_opened(name: str, error: Exception) -> str:
    """Turn pyserial's reason into what to do about it; Windows gives no errno but the exception's name in the
    text.
    """
    code, text = getattr(error, "errno", None), str(error)
    if "://" in name:
        return f"{name} cannot be opened: {text}"
    if code in (errno.EBUSY, errno.EAGAIN) or "exclusively lock" in text or "PermissionError(13" in text:
        return f"{name} is busy: another program has it open (a serial monitor?); close that first"
    if code in (errno.EACCES, errno.EPERM):
        return f"no permission to open {name}: {_how_to_get_permission(name)}"
    if code == errno.ENOENT or "FileNotFoundError" in text:
        ports = [port.device for port in list_ports.comports()]
        there = (
            "the ports here are " + ", ".join(ports)
            if ports
            else "there is no serial port here; is the board plugged in?"
        )
        return f"no such port: {name}; {there} (native and sim need no port)"
    return f"{name} cannot be opened as a serial port: {text}"


def _how_to_get_permission(name: str) -> str:
    try:
        import grp

        status = os.stat(name)
        group = grp.getgrgid(status.st_gid).gr_name
    except (ImportError, OSError, KeyError):
        return "ask the administrator of this machine"
    if group == "root" or not status.st_mode & stat.S_IWGRP:
        return f"it is for its owner alone; run `sudo chmod a+rw {name}`, or let a rule of udev do that"
    return f"it belongs to the group {group}; run `sudo usermod -a -G {group} $USER` and log in again"


def native_missing() -> str | None:
    """Why ``native`` cannot be used here; None if it can."""
    return None if NATIVE_PROGRAM.is_file() else "it is not built; run `make agent`, or `pio run -e native`"


def sim_missing() -> str | None:
    """Why ``sim`` cannot be used here; None if it can."""
    if not SIM_ELF.is_file():
        return "its firmware is not built; run `make agent`, or `pio run -e c3`"
    if any(importlib.util.find_spec(module) is None for module in ("labwired", "yaml")):
        return "the simulator is not installed; run `pip install labwired pyyaml`"
    return None


@dataclass(frozen=True)
class BoardChoice:
    """A value for ``--board`` that could be used here."""

    board: str
    description: str
    available: bool

    def to_json(self) -> dict[str, Any]:
        return {"board": self.board, "description": self.description, "available": self.available}


def board_choices() -> list[BoardChoice]:
    """``native``, ``sim`` and the serial ports of this machine."""
    choices = []
    for board, what, missing in (
        ("native", "the firmware as a process on this machine", native_missing()),
        ("sim", "the firmware in a simulated ESP32-C3", sim_missing()),
    ):
        choices.append(BoardChoice(board, missing or what, missing is None))
    for port in sorted(list_ports.comports()):
        description = "a serial port" if port.description in (None, "n/a") else port.description
        usable = os.name != "posix" or os.access(port.device, os.R_OK | os.W_OK)
        if not usable:
            description += f": no permission, {_how_to_get_permission(port.device)}"
        choices.append(BoardChoice(port.device, description, usable))
    return choices


def only_port() -> str:
    """The one serial port that a board is plugged into. Raises NoBoardError if there are none or several."""
    ports = sorted(port for port in list_ports.comports() if port.vid is not None)
    if not ports:
        raise NoBoardError("no board is plugged in: no USB serial port was found (native and sim need none)")
    if len(ports) > 1:
        names = ", ".join(f"{port.device} ({port.description})" for port in ports)
        raise NoBoardError(f"several boards are plugged in, name one of them with --board: {names}")
    return str(ports[0].device)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(2)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with suppress(OSError):  # what could not be written to it any more
                stream.close()


def _ended(name: str, process: subprocess.Popen[bytes], log: IO[bytes]) -> PortGoneError:
    words = _last_words(process, log)
    # Its exit statuses are the host's own, too.
    return PortGoneError(f"{name} ended by itself: {words}", wrong_input=process.returncode == UserError.exit_status)


def _last_words(process: subprocess.Popen[bytes], log: IO[bytes]) -> str:
    """Exit status and the last line that the process wrote to its standard error."""
    deadline = time.monotonic() + 1
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    log.seek(0)
    lines = log.read().decode(errors="replace").strip().splitlines()
    status = process.returncode
    how = f"signal {-status}" if status is not None and status < 0 else f"exit status {status}"
    return f"{how}{'; ' + lines[-1] if lines else ''}"
