"""The ESP32-C3's own USB port without an SDK: every reply arrives, and none is waited for that nobody reads."""

import ctypes
import itertools
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from train.agentlib import c_compiler

PATIENCE_US = 50_000
FLAGS = "-std=c11 -O1 -Wall -Wextra -Werror -fsanitize=undefined -fsanitize-undefined-trap-on-error -shared -fPIC"


class Port:
    """A freshly started chip, and what it is plugged into."""

    def __init__(self, library: Path) -> None:
        self.c = ctypes.CDLL(str(library))
        self.c.receive.restype = ctypes.c_size_t

    def plug(self, polls_us: int) -> None:
        """The host takes a packet every so many microseconds; 0: there is none."""
        self.c.plug(polls_us)

    def send(self, reply: bytes) -> int:
        """The microseconds that it took."""
        before = self.now()
        self.c.send_reply(reply, ctypes.c_size_t(len(reply)))
        return self.now() - before

    def now(self) -> int:
        return ctypes.c_uint64.in_dll(self.c, "now").value

    def wait(self, us: int) -> None:
        self.c.wait_us(us)

    def delivered(self) -> bytes:
        """What a program on the host has got after a while."""
        self.wait(10_000)
        length = ctypes.c_size_t.in_dll(self.c, "delivered_length").value
        return bytes((ctypes.c_uint8 * 8192).in_dll(self.c, "delivered")[:length])


@pytest.fixture(scope="module")
def make_port(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Port]:
    folder, numbers = tmp_path_factory.mktemp("usb"), itertools.count()
    source, compiled = Path(__file__).parent / "usb_host.c", folder / "usb_host.so"
    subprocess.run([c_compiler(), *FLAGS.split(), "-o", compiled, source], check=True)

    def make() -> Port:
        return Port(Path(shutil.copy(compiled, folder / f"{next(numbers)}.so")))  # which has state of its own

    return make


@pytest.mark.parametrize("polls_us", [30, 1000])
def test_every_reply_arrives(make_port: Callable[[], Port], polls_us: int) -> None:
    port = make_port()
    port.plug(polls_us)
    sent = b""
    for length in (1, 2, 63, 64, 65, 127, 128, 129, 1537):
        reply = bytes(ord("a") + i % 26 for i in range(length - 1)) + b"\n"
        port.send(reply)
        sent += reply
        assert port.delivered() == sent, "a full packet is followed by a short one"


def test_a_host_that_does_not_read_is_not_waited_for(make_port: Callable[[], Port]) -> None:
    port = make_port()
    assert port.send(b"\n") < 10
    assert PATIENCE_US <= port.send(b"x" * 1000 + b"\n") < PATIENCE_US + 100
    for _ in range(3):
        assert port.send(b"y" * 1000 + b"\n") < 10
    port.plug(1000)
    port.wait(5000)
    port.send(b"!whole\n")
    port.send(b"!again\n")
    *_, whole, again, rest = port.delivered().split(b"\n")
    assert (whole, again, rest) == (b"!whole", b"!again", b"")


def test_a_host_that_goes_away_within_a_reply(make_port: Callable[[], Port]) -> None:
    port = make_port()
    port.plug(100)
    port.send(b"!first\n")
    port.wait(1000)
    port.plug(0)
    assert PATIENCE_US <= port.send(b"x" * 1000 + b"\n") < PATIENCE_US + 1000
    port.plug(100)
    port.wait(1000)
    port.send(b"!whole\n")
    lines = port.delivered().split(b"\n")
    assert (lines[0], lines[-2:]) == (b"!first", [b"!whole", b""])
    assert set(lines[1]) == {ord("x")}


def test_no_clock_no_hang(make_port: Callable[[], Port]) -> None:
    port = make_port()
    ctypes.c_int.in_dll(port.c, "clock_stands").value = 1
    assert port.send(b"x" * 100 + b"\n") < 2_000_000


def test_bytes_are_taken_in_order_and_wait_for_their_turn(make_port: Callable[[], Port]) -> None:
    port = make_port()
    assert port.c.receive(ctypes.create_string_buffer(10), ctypes.c_size_t(10)) == 0
    said = bytes(range(256))
    port.c.host_says(said, ctypes.c_size_t(len(said)))
    heard = b""
    while length := port.c.receive(taken := ctypes.create_string_buffer(100), ctypes.c_size_t(100)):
        heard += taken.raw[:length]
    assert heard == said
