"""The framing of the line protocol, version 1 (docs/protocol.md): bytes to lines and back. No I/O."""

import binascii
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from train.errors import UserError

VERSION = 1
MAX_REQUEST_BYTES = 512
MAX_REPLY_BYTES = 1536
MAX_SEQ = 2**32 - 1

# What is left for a request when the longest sequence number and the CRC are taken off.
MAX_PAYLOAD_BYTES = MAX_REQUEST_BYTES - len(f"@{MAX_SEQ} ") - len(" *FFFF")

_CRC = re.compile(rb" \*([0-9A-F]{4})\Z")
_HELLO = re.compile(rb"#hello (proto=\d+(?: [a-z]+=[A-Za-z0-9._-]+)*)\Z")
_PANIC = re.compile(
    r"Guru Meditation|panic|abort\(\)|assert failed|stack overflow|Stack smashing|Brownout|\btrap\b"
    r"|watchdog got triggered|\brst:0x[0-9a-f]+ \(\w*(WDT|BROWN)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Reply:
    """A whole result or error. If it came with a CRC, the CRC was right."""

    ok: bool
    """True for a result (``=``), False for an error (``!``)."""
    fields: Mapping[str, Any]
    """The JSON object, without ``seq``."""
    seq: int | None
    """None where the reply has none."""
    protected: bool
    """Whether it had a CRC."""


@dataclass(frozen=True)
class Hello:
    """The banner that the agent sends after a reset: ``#hello proto=1 fw=… board=… agent=… crc=…``."""

    fields: Mapping[str, str]


@dataclass(frozen=True)
class Note:
    """Another line that begins with ``#``: a log line."""

    text: str


@dataclass(frozen=True)
class Damaged:
    """A line that begins like a result or error but is none, or that ends in a wrong CRC."""

    text: str


@dataclass(frozen=True)
class Noise:
    """Anything else: a boot log, a panic, garbage."""

    text: str


Line = Reply | Hello | Note | Damaged | Noise


def is_panic(line: Line) -> bool:
    """Whether it reads like the last words of a crashing chip, ESP-IDF's or a ``#panic`` of the firmware, or like the
    ROM's first ones after a watchdog or brown-out.
    """
    return isinstance(line, Note | Noise) and _PANIC.search(line.text) is not None


def crc16(data: bytes) -> int:
    """CRC-16/CCITT-FALSE: polynomial 0x1021, initial value 0xFFFF, not reflected, no final xor."""
    return binascii.crc_hqx(data, 0xFFFF)


def encode(seq: int, payload: str) -> bytes:
    """The line of a program's request: ``@seq payload *CRC`` and LF. ``payload`` is as ``prompt_payload`` or
    ``command_payload`` makes it.
    """
    body = f"@{seq} {payload}".encode()
    return b"%b *%04X\n" % (body, crc16(body))


def prompt_payload(prompt: str) -> str:
    """The request that carries a prompt: the prompt itself, or ``/parse prompt`` where it would be misread.

    Raises UserError for what no line can carry: nothing, a line break, lone surrogates, too many bytes.
    """
    if not prompt.strip():
        raise UserError("the prompt is empty; write a sentence")
    return _payload("prompt", prompt, "/parse " if prompt[0] in "/@" else "")


def command_payload(command: str) -> str:
    """The request of a command such as ``/info``. Raises UserError for what no line can carry."""
    return _payload("command", command)


def _payload(kind: str, text: str, prefix: str = "") -> str:
    broken = re.search(r"[\n\r]", text)
    if broken:
        raise UserError(f"the {kind} has a line break at character {broken.start()}; send each line by itself")
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise UserError(f"the {kind} is not valid UTF-8 at character {error.start}; send text as UTF-8") from None
    limit = MAX_PAYLOAD_BYTES - len(prefix)
    if size > limit:
        raise UserError(f"the {kind} has {size} bytes of UTF-8; a line takes at most {limit}")
    return prefix + text


class Decoder:
    """Cuts the bytes that come from an agent into lines, incrementally, and says what each one is."""

    # A boot log's lines may be longer than a reply; beyond this a "line" is a stream without line ends.
    _MAX_LINE_BYTES = 4 * MAX_REPLY_BYTES

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Line]:
        """Take bytes as they come; yield the lines that are now whole. Empty lines are skipped."""
        self._buffer += data
        *lines, rest = bytes(self._buffer).split(b"\n")
        self._buffer[:] = rest[-self._MAX_LINE_BYTES :]
        for line in lines:
            line = line.removesuffix(b"\r")
            if line:
                yield decode_line(line)

    @property
    def pending(self) -> str:
        """What has come of a line that is not whole yet."""
        return self._buffer.decode(errors="replace")


def decode_line(line: bytes) -> Line:
    """Say what one line without its line end is."""
    text = line.decode(errors="replace")
    crc = _CRC.search(line)
    is_right = crc is not None and int(crc[1], 16) == crc16(line[: crc.start()])
    is_reply = line[:1] in (b"=", b"!")
    if is_reply and (is_right or crc is None):
        reply = _decode_reply(line[: crc.start() if crc else None], is_right)
        if reply is not None:
            return reply
    # A reset can strike within a line: the banner may follow the first half of any other one.
    if hello := _HELLO.search(line):
        return Hello(dict(pair.split("=", 1) for pair in hello[1].decode().split()))
    if is_reply or (crc is not None and not is_right):
        return Damaged(text)
    return Note(text[1:].strip()) if line[:1] == b"#" else Noise(text)


def _decode_reply(body: bytes, protected: bool) -> Reply | None:
    try:
        fields = json.loads(body[1:])
    except (ValueError, RecursionError):
        return None
    seq = fields.pop("seq", None) if isinstance(fields, dict) else None
    if not isinstance(fields, dict) or not (seq is None or type(seq) is int):
        return None
    return Reply(body[:1] == b"=", fields, seq, protected)
