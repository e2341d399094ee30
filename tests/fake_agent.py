"""A stand-in for an agent behind a pseudo-terminal that misbehaves as told, for the tests of the client.

It speaks docs/protocol.md. What it knows of language: the last word of a prompt is the slot "last"; a prompt
with "unknown" in it is rejected, one of more than 30 words is too long.
"""

import json
import os
import select
import threading
import time
import tty
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from host.protocol import crc16

INFO = {
    "proto": 1,
    "fw": "0.0.0",
    "board": "fake",
    "agent": "fake",
    "crc": "00000000",
    "bytes": 0,
    "intents": 1,
    "slots": 1,
    "positions": 31,
    "threshold": 0.5,
    "arena": 0,
    "arena_limit": 0,
    "hz": 0,
}
HELLO = b"#hello proto=1 fw=0.0.0 board=fake agent=fake crc=00000000\n"

Fault = Callable[["FakeAgent", bytes], bytes | None]
"""Takes the reply that was due and gives the bytes to send instead; None ends the agent."""


class FakeAgent:
    """faults: what happens to the replies, in turn; after the last one all is well."""

    def __init__(self, *faults: Fault, replies: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self.requests: list[bytes] = []
        self._faults = list(faults)
        self._replies: dict[str, Mapping[str, Any]] = {
            "/info": INFO,
            "/selftest": {"passed": True, "golden": 4, "engines": ["own"]},
            **(replies or {}),
        }
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        self.path = os.ttyname(self._slave)
        self._stop, self._stopped = os.pipe()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._stopped)
        self._thread.join()
        os.close(self._stop)
        self._unplug()

    def say(self, unasked: bytes) -> None:
        """Sends what nobody asked for."""
        os.write(self._master, unasked)

    def _unplug(self) -> None:
        for handle in (self._master, self._slave):
            if handle >= 0:
                os.close(handle)
        self._master = self._slave = -1

    def _run(self) -> None:
        received = b""
        while True:
            ready = select.select([self._master, self._stop], [], [])[0]
            if self._stop in ready:
                return
            *lines, received = (received + os.read(self._master, 4096)).split(b"\n")
            for line in filter(None, lines):
                self.requests.append(line)
                reply: bytes | None = self._reply(line)
                if self._faults and reply is not None:
                    reply = self._faults.pop(0)(self, reply)
                if reply is None:
                    self._unplug()
                    return
                os.write(self._master, reply)

    def _reply(self, line: bytes) -> bytes:
        body, _, crc = line.rpartition(b" *")
        if not body or int(crc, 16) != crc16(body):
            return seal(b'!{"error":"crc","message":"the CRC is wrong"}')
        seq, _, payload = body.decode()[1:].partition(" ")
        known = self._replies.get(payload)
        fields = known if known is not None else understand(payload.removeprefix("/parse "))
        kind = "!" if "error" in fields else "="
        return seal(
            f"{kind}{json.dumps({'seq': int(seq), **fields}, ensure_ascii=False)}".encode(errors="backslashreplace")
        )


def understand(prompt: str) -> dict[str, Any]:
    """The answer to a prompt, with offsets in bytes."""
    words = prompt.split()
    if len(words) > 30:
        return {"error": "words", "message": "the sentence has too many words"}
    if "unknown" in words:
        return {"intent": None, "score": 0.2, "best": "Last", "slots": [], "implied": {}, "us": 10}
    start = len(prompt[: prompt.rindex(words[-1])].encode())
    slot = {"slot": "last", "start": start, "end": start + len(words[-1].encode()), "text": words[-1]}
    return {"intent": "Last", "score": 0.9, "slots": [slot], "implied": {"domain": "test"}, "us": 10}


def seal(body: bytes) -> bytes:
    """A reply with its CRC and line end."""
    return b"%b *%04X\n" % (body, crc16(body))


def well(agent: FakeAgent, reply: bytes) -> bytes:
    """No fault."""
    return reply


def silence(agent: FakeAgent, reply: bytes) -> bytes:
    """The reply is lost."""
    return b""


def bit_flip(agent: FakeAgent, reply: bytes) -> bytes:
    """One bit of the reply is wrong."""
    return reply[:12] + bytes([reply[12] ^ 1]) + reply[13:]


def first_bit_flip(agent: FakeAgent, reply: bytes) -> bytes:
    """The first byte of the reply is wrong, so that it does not look like one."""
    return bytes([reply[0] ^ 32]) + reply[1:]


def refusal(agent: FakeAgent, reply: bytes) -> bytes:
    """The request was damaged on its way."""
    return seal(b'!{"error":"crc","message":"the CRC is wrong"}')


def stale(agent: FakeAgent, reply: bytes) -> bytes:
    """The whole answer to another request comes, not this one's."""
    return seal(b'={"seq":1,"intent":"Wrong","score":1,"slots":[],"implied":{},"us":1}')


def unprotected(agent: FakeAgent, reply: bytes) -> bytes:
    """The reply has lost its CRC, and its content is another one."""
    return reply[:-7].replace(b"Last", b"Lost") + b"\n"


def chatter(agent: FakeAgent, reply: bytes) -> bytes:
    """Log lines, half a line of garbage and empty lines before the reply."""
    return b"# a note\r\n\r\n\xff\x00I (31) boot: ESP-IDF\n={}\n" + reply


def reset(agent: FakeAgent, reply: bytes) -> bytes:
    """The board resets in the middle of the reply."""
    return reply[:20] + HELLO


def crash(agent: FakeAgent, reply: bytes) -> bytes:
    """The board crashes and starts again."""
    return b"Guru Meditation Error: Core 0 panic'ed (Load access fault)\nrst:0x3\n" + HELLO


def hang(agent: FakeAgent, reply: bytes) -> bytes:
    """The board computes for ever, until its watchdog bites; then the ROM says why it starts (ESP32-C3's words)."""
    time.sleep(0.3)
    return b"ESP-ROM:esp32c3-api1-20210207\r\nrst:0x7 (TG0WDT_SYS_RST),boot:0x8 (SPI_FAST_FLASH_BOOT)\r\n\n" + HELLO


def unplug(agent: FakeAgent, reply: bytes) -> None:
    """The board is pulled out of its socket."""
