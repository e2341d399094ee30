"""The client: ask an agent on any board, and get typed answers.

with Client("native") as agent:
    answer = agent.parse("turn on the kitchen light")
    print(answer.intent, [(slot.slot, slot.text) for slot in answer.slots])
"""

import dataclasses
import random
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, get_args

from host.boards import Board, open_board
from host.errors import AgentError, NoAnswerError, PortGoneError
from host.protocol import (
    MAX_SEQ,
    VERSION,
    Damaged,
    Decoder,
    Hello,
    Line,
    Noise,
    Note,
    Reply,
    command_payload,
    encode,
    is_panic,
    prompt_payload,
)
from train.errors import UserError

# The agent's errors for a line that was damaged on its way: such a request is sent again.
_LINE_ERRORS = frozenset({"crc", "seq", "long"})

# A self-test computes as many sentences as the bundle has golden vectors; an update ends in one.
SELFTEST_FACTOR = 20

# A board that resets this often during one request will not answer it.
_MAX_RESETS = 2

Scalar = str | int | float
_SCALARS = get_args(Scalar)


@dataclass(frozen=True)
class Settings:
    """How to talk to a board."""

    timeout: float | None = None
    """Seconds to wait for an answer before the request is sent again; None: as the kind of board needs."""
    retries: int = 3
    """How often a request is sent again before NoAnswerError."""
    quiet: float = 0.2
    """Seconds of silence after which a reply that has begun is taken to have lost its end."""
    baud: int = 115200
    """Bits a second of a real serial port."""

    def __post_init__(self) -> None:
        """Raises UserError for what no exchange can be held with."""
        if self.retries < 0 or self.quiet <= 0 or (self.timeout is not None and self.timeout <= 0):
            raise UserError(
                f"{self}: timeout and quiet must be above 0 seconds, retries at least 0 (0: a request is sent once)"
            )


@dataclass(frozen=True)
class AnswerSlot:
    """A slot that stands in the sentence."""

    slot: str
    start: int
    """First code point."""
    end: int
    """One past the last code point."""
    text: str
    value: Scalar | None = None
    """Normalised value (30 for "thirty"); None where the text is the value, or is no number that the agent reads."""


@dataclass(frozen=True)
class Answer:
    """What the agent understood."""

    text: str
    intent: str | None
    """None: rejected, the score was below the agent's threshold."""
    score: float
    """Calibrated probability of the best intent, 0 … 1."""
    best: str | None
    """The best intent, accepted or not; None if the agent sees none at all."""
    slots: tuple[AnswerSlot, ...]
    """Ordered by start, not overlapping."""
    implied: Mapping[str, Scalar]
    """Slots that the intent carries without a word for them."""
    us: int
    """Microseconds from the end of the request's line to the answer, measured on the device."""

    def to_json(self) -> dict[str, Any]:
        """The answer as on the wire, but with offsets in code points and with the text."""
        slots = []
        for slot in self.slots:
            item = dataclasses.asdict(slot)
            if slot.value is None:
                del item["value"]
            slots.append(item)
        return {
            "text": self.text,
            "intent": self.intent,
            "score": self.score,
            "best": self.best,
            "slots": slots,
            "implied": dict(self.implied),
            "us": self.us,
        }


@dataclass(frozen=True)
class Info:
    """What an agent is and where it runs."""

    proto: int
    fw: str
    """Version of the firmware."""
    board: str
    agent: str | None
    """Name of the agent; None if there is no valid bundle."""
    crc: str
    """CRC-32 of the bundle, eight hexadecimal digits."""
    bytes: int
    """Of the bundle."""
    intents: int
    slots: int
    positions: int
    """Of the encoder."""
    threshold: float
    """Least score of an accepted answer."""
    arena: int
    """Bytes of working memory that the agent uses."""
    arena_limit: int
    """Bytes of working memory that the firmware has."""
    hz: int
    """Processor clock; 0 if unknown."""
    weights_in_ram: int = 0
    """Bytes of the bundle that are read from a copy in RAM; 0: all are read in flash, or the firmware does not say."""
    bundle_version: int = 0
    """Version of the bundles that the firmware takes; 0: it does not say."""


@dataclass(frozen=True)
class SelfTest:
    """A self-test that passed; one that fails raises AgentError."""

    passed: bool
    golden: int
    """How many golden sentences were computed."""
    engines: tuple[str, ...]
    """What computed every one of them; the first answers prompts: ``own``, or ``tflm`` for TFLite Micro."""


@dataclass(frozen=True)
class Stats:
    """Counters since the agent's last reset."""

    requests: int
    errors: int
    crc_errors: int
    repeats: int
    """Requests that were answered from the last reply."""
    us_max: int
    uptime_ms: int
    stack: int
    """High-water mark in bytes; 0 if unknown."""
    reset: str
    """Reason of the last reset."""


@dataclass(frozen=True)
class Reset:
    """A reset of the board that happened while it was in use."""

    agent: str
    """Name of the agent that came up; "" where its banner was not seen."""
    panic: str | None
    """The first that the chip or its ROM said about the cause, if it crashed, hung or lacked power."""


class Client:
    """A connection to one agent. Threads may share it: requests take turns.

    A request carries a sequence number and a CRC, and is sent again under the same number when its answer is
    late or damaged or the board resets (its port may go away meanwhile); a reply is taken only with that number and
    a right CRC. All methods raise NoAnswerError if nothing usable comes, AgentError for the agent's own errors.
    """

    def __init__(
        self,
        board: str | Board = "native",
        settings: Settings | None = None,
        *,
        bundle: str | Path | None = None,
        flash: str | Path | None = None,
    ) -> None:
        """Open ``native``, ``sim``, a serial port or a pyserial URL, or take a board that is open; see
        ``open_board`` for the rest and for what it raises.
        """
        self.settings = settings or Settings()
        self.resets: list[Reset] = []
        self._lock = threading.Lock()
        self._decoder = Decoder()
        self._lines: deque[Line] = deque()
        # Random, so that a new client is not taken for a repetition of the one before it.
        self._seq = random.randrange(MAX_SEQ + 1)
        self._greeted = False
        self._panic: str | None = None
        if isinstance(board, str):
            board = open_board(board, baud=self.settings.baud, bundle=bundle, flash=flash)
        self._board = board

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the port, after the request that another thread is waiting for."""
        with self._lock:
            self._board.close()

    def parse(self, prompt: str) -> Answer:
        """Ask the agent what a sentence means. Raises UserError for a prompt that no line can carry."""
        return _answer(prompt, self._request(prompt_payload(prompt)))

    def info(self) -> Info:
        """What the agent is and where it runs."""
        return _record(Info, self.raw("/info"))

    def selftest(self) -> SelfTest:
        """Let the board compute the golden sentences of its bundle. A failure raises AgentError."""
        fields = self._request("/selftest", SELFTEST_FACTOR)
        engines = tuple(_field(fields, "engines", list))
        return SelfTest(_field(fields, "passed", bool), _field(fields, "golden", int), engines)

    def stats(self) -> Stats:
        """The agent's counters."""
        return _record(Stats, self.raw("/stats"))

    def raw(self, command: str, patience: int = 1) -> Mapping[str, Any]:
        """Send a command such as ``/help`` and return the JSON object of its result. patience: how many times
        longer than a sentence it may take. Raises UserError for a command that no line can carry.
        """
        return self._request(command_payload(command), patience)

    def reset(self) -> None:
        """Press the board's reset button, whatever it is doing; other threads' requests are sent again."""
        self._board.reset()

    def _request(self, payload: str, patience: int = 1) -> Mapping[str, Any]:
        with self._lock:
            reply = self._exchange(payload, patience * (self.settings.timeout or self._board.timeout))
        if reply.ok:
            return reply.fields
        raise AgentError(_field(reply.fields, "error", str), _field(reply.fields, "message", str))

    def _exchange(self, payload: str, timeout: float) -> Reply:
        seq = self._seq
        self._seq = 0 if seq == MAX_SEQ else seq + 1
        request = encode(seq, payload)
        seen = _Seen()
        attempts = 1 + self.settings.retries
        # A line end in front closes what another program, or an attempt that was cut off, left half sent.
        line = request if self._greeted else b"\n" + request
        while attempts:
            try:
                # A second line end, for when the first is damaged: an empty line is ignored.
                self._board.write(line + b"\n")
                outcome = self._await(seq, time.monotonic() + timeout, seen)
            except PortGoneError:
                self._board.reopen()
                self._decoder = Decoder()
                self._lines.clear()
                self._note_reset("")
                seen.back = True
                outcome = Hello({})
            line = b"\n" + request
            seen.resets += isinstance(outcome, Hello)
            if isinstance(outcome, Reply):
                self._greeted, self._panic = True, None
                return outcome
            if seen.resets > _MAX_RESETS:
                break
            if outcome is None:
                attempts -= 1
        raise NoAnswerError(self._why_no_answer(seen, timeout))

    def _note_reset(self, agent: str) -> None:
        # Before the first answer it is the start of a board that was just opened.
        if self._greeted:
            self.resets.append(Reset(agent, self._panic))
        self._panic = None

    def _await(self, seq: int, deadline: float, seen: "_Seen") -> Reply | Hello | None:
        """The reply to ``seq``; Hello if the board reset; None if the request must be sent again."""
        heard = time.monotonic()
        again: list[Hello | None] = []  # what of the lines that have come asks for that: some are of before the request
        while True:
            if not self._lines:
                if again:
                    return max(again, key=lambda outcome: outcome is not None)
                data = self._board.read()
                self._lines.extend(self._decoder.feed(data))
                now = time.monotonic()
                if data:
                    heard = now
                elif self._decoder.pending.startswith(("=", "!")) and now - heard >= self.settings.quiet:
                    self._lines.extend(self._decoder.feed(b"\n"))
                if not self._lines and now >= deadline:
                    return None
                continue
            line = self._lines.popleft()
            match line:
                case Reply(seq=echoed, protected=True) if echoed == seq:
                    return line
                case Reply(ok=False, seq=None, fields=fields) if fields.get("error") in _LINE_ERRORS:
                    seen.damaged += 1
                    again.append(None)
                case Hello(fields=fields):
                    seen.proto = fields.get("proto")
                    if seen.back:  # the banner of the reset that the port went away with
                        seen.back = False
                    else:
                        self._note_reset(fields.get("agent", ""))
                    again.append(line)
                case Damaged():  # most likely the answer: asking again costs the device nothing
                    seen.damaged += 1
                    again.append(None)
                case Note(text=text) | Noise(text=text):
                    if is_panic(line):
                        self._panic = seen.panic = self._panic or text
                    elif isinstance(line, Noise):
                        seen.noise = text
                case Reply():
                    pass

    def _why_no_answer(self, seen: "_Seen", timeout: float) -> str:
        name = self._board.name
        if seen.panic is not None:
            return f"{name} crashed or hung while answering: {seen.panic}"
        if seen.resets > _MAX_RESETS:
            return f"{name} reset {seen.resets} times while answering; check its power supply and cable"
        waited = f"{name} gave no answer in {1 + self.settings.retries} attempts of {timeout:g} s"
        if seen.proto not in (None, str(VERSION)):
            return f"{waited}: its firmware speaks protocol {seen.proto}, this host {VERSION}"
        if seen.damaged:
            return f"{waited}: {seen.damaged} lines came damaged; check the cable and --baud"
        noise = seen.noise or self._decoder.pending
        if noise:
            return (
                f"{waited}; what came is not an agent's (last: {noise[-60:]!r}): "
                "is this the right port and --baud, and Utterbit's firmware on it?"
            )
        return f"{waited}: is this the right port, is the firmware running? (--timeout gives it longer)"


@dataclass
class _Seen:
    """What came instead of the answer, to explain its absence."""

    damaged: int = 0
    resets: int = 0
    noise: str = ""
    panic: str | None = None
    proto: str | None = None
    back: bool = False
    """The port went away and came back, and the banner of that reset is still due."""


def _answer(prompt: str, fields: Mapping[str, Any]) -> Answer:
    """Type a result of the wire and turn its byte offsets into code points."""
    text = prompt.encode()
    slots = []
    for item in _field(fields, "slots", list):
        start, end = _field(item, "start", int), _field(item, "end", int)
        spoken = _field(item, "text", str)
        if not 0 <= start < end <= len(text) or text[start:end] != spoken.encode(errors="surrogatepass"):
            raise NoAnswerError(f"the agent's answer contradicts itself: bytes {start}-{end} are not {spoken!r}")
        first = len(text[:start].decode())
        value = _field(item, "value", *_SCALARS, type(None))
        slots.append(AnswerSlot(_field(item, "slot", str), first, first + len(spoken), spoken, value))
    score = _field(fields, "score", float, int)
    if not 0 <= score <= 1:
        raise NoAnswerError(f"the agent's answer contradicts itself: its score is {str(score)[:20]}, not 0 to 1")
    intent = _field(fields, "intent", str, type(None))
    implied = _field(fields, "implied", dict)
    return Answer(
        text=prompt,
        intent=intent,
        score=float(score),
        best=intent if intent is not None else _field(fields, "best", str, type(None)),
        slots=tuple(slots),
        implied={name: _field(implied, name, *_SCALARS) for name in implied},
        us=_field(fields, "us", int),
    )


_R = TypeVar("_R", Info, Stats)


def _record(kind: type[_R], fields: Mapping[str, Any]) -> _R:
    values: dict[str, Any] = {}
    for field in dataclasses.fields(kind):
        if field.default is not dataclasses.MISSING and field.name not in fields:
            continue
        types = get_args(field.type) or (field.type,)
        value = _field(fields, field.name, *types, *((int,) if float in types else ()))
        values[field.name] = float(value) if float in types else value
    return kind(**values)


def _field(fields: Any, name: str, *types: type) -> Any:
    """A member of a JSON object that must be there (null counts as absent) and of one of ``types``."""
    value = fields.get(name) if isinstance(fields, Mapping) else None
    if type(value) not in types:
        raise NoAnswerError(
            f"the agent's answer lacks a proper {name!r}; its firmware speaks another protocol than this host"
        )
    return value
