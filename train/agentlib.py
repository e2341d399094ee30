"""The firmware's own C code, called from Python: text features, bundle layout and the whole agent.

Training computes the features of a word with the very code that runs on the chip, and the bundle is written through
the structs that the chip reads, so that neither stands twice. The library is compiled once per state of its sources.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cffi
import numpy as np

from train.errors import UserError

SOURCES = Path(__file__).parent.parent / "firmware" / "agent"
HEADERS = ("agent.h", "kernel.h", "decode.h", "crc.h")
BUILD = Path("build") / "agentlib"


def c_compiler() -> str:
    """The C compiler of the host."""
    for name in (os.environ.get("CC"), "cc", "gcc", "clang"):
        if name and (path := shutil.which(name)):
            return path
    raise UserError("no C compiler found; install one (Debian: apt-get install gcc), or name it in CC")


def _preprocess(compiler: str, *options: str) -> str:
    """The agent's headers as the preprocessor leaves them, without the C library's own declarations."""
    with tempfile.TemporaryDirectory() as empty:
        for name in ("stdalign.h", "stdint.h", "stddef.h", "stdbool.h"):
            (Path(empty) / name).touch()
        text = "".join(f'#include "{name}"\n' for name in HEADERS)
        command = [compiler, "-E", "-P", "-nostdinc", *options, f"-I{empty}", f"-I{SOURCES}", "-xc", "-"]
        return subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout


@functools.cache
def constants() -> dict[str, int]:
    """Every numeric #define of the agent's headers, by name."""
    lines = _preprocess(c_compiler(), "-dM")
    found = re.findall(r"^#define (UB_\w+) \(?(0[xX][0-9a-fA-F]+|[\d *]+)\)?$", lines, flags=re.MULTILINE)
    return {name: functools.reduce(lambda a, b: a * b, (int(f, 0) for f in value.split("*"))) for name, value in found}


@functools.cache
def ffi() -> cffi.FFI:
    """The declarations of the agent's headers."""
    interface = cffi.FFI()
    interface.cdef(re.sub(r"alignas\(\d+\)|static const|static inline [^{]*{[^}]*}", "", _preprocess(c_compiler())))
    return interface


@functools.cache
def library() -> Any:
    """The agent as a shared library, compiled on first use."""
    compiler = c_compiler()
    files = sorted([*SOURCES.glob("*.c"), *SOURCES.glob("*.h")])
    digest = hashlib.sha256(b"".join(f.read_bytes() for f in files)).hexdigest()[:16]
    path = BUILD / f"agent-{digest}.so"
    if not path.exists():
        try:
            BUILD.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{BUILD.absolute()} cannot be made ({error.strerror}); run it in the project") from None
        partial = path.with_suffix(f".{os.getpid()}")
        sources = [str(f) for f in files if f.suffix == ".c"]
        command = [compiler, "-std=c11", "-O2", "-shared", "-fPIC", "-o", str(partial), *sources]
        result = subprocess.run(command, capture_output=True, text=True)
        if result.returncode:
            raise UserError(f"{compiler} could not compile firmware/agent:\n{result.stderr}")
        os.replace(partial, path)
    return ffi().dlopen(str(path.resolve()))


@dataclass(frozen=True)
class Token:
    """A word, number or symbol of a text."""

    start: int
    """First code point."""
    end: int
    """Behind the last code point."""
    pieces: tuple[int, ...]
    """Rows of the embedding table that are summed, without the position's own."""


def featurize(text: str, rows: int, positions: int) -> list[Token]:
    """Splits ``text`` into tokens and hashes their pieces into ``[positions, rows)``.

    Text of more than 512 bytes is cut at a character; all its tokens are returned, however many.
    """
    raw = text.encode("utf-8", "replace")[: constants()["UB_MAX_TEXT"]]
    raw = raw.decode("utf-8", "ignore").encode()
    c, lib = ffi(), library()
    most = len(raw)
    tokens = c.new("ub_token[]", most + 1)
    pieces = c.new("uint16_t[]", constants()["UB_MAX_PIECES"])
    count = lib.ub_tokenize(raw, len(raw), tokens, most)
    result = []
    at_byte = at_char = 0
    for i in range(count):
        token = tokens[i]
        start = at_char + len(raw[at_byte : token.start].decode())
        end = start + len(raw[token.start : token.end].decode())
        at_byte, at_char = token.end, end
        found = lib.ub_pieces(raw, c.addressof(token), positions, rows, pieces)
        result.append(Token(start, end, tuple(pieces[0:found])))
    return result


def phrase_hash(phrase: str, slot: int) -> int | None:
    """The key of a slot's spoken value in the bundle; ``None`` if the phrase has no token."""
    raw, tokens, count = _tokens(phrase)
    nothing = constants()["UB_NONE"]
    return int(library().ub_phrase_hash(raw, tokens, 0, count, nothing, slot)) if count > 0 else None


def number_pattern(phrase: str, slot: int) -> tuple[int, int | float] | None:
    """The key of a slot's phrase with any number in place of its own, such as "30 percent", and that number.

    ``None`` if the phrase has no plain number or several, or nothing beside it.
    """
    raw, tokens, count = _tokens(phrase)
    numbers = [i for i in range(count) if tokens[i].number]
    if count < 2 or len(numbers) != 1 or (number := _number(raw, tokens + numbers[0])) is None:
        return None
    return int(library().ub_phrase_hash(raw, tokens, 0, count, numbers[0], slot)), number


def number_in(digits: str) -> int | float | None:
    """The number that a text stands for, as the agent reads it; ``None``: it is no plain number."""
    raw, tokens, count = _tokens(digits)
    return _number(raw, tokens) if count == 1 and tokens[0].number else None


def _tokens(phrase: str) -> tuple[bytes, Any, int]:
    """Its UTF-8, an array of its tokens, and how many there are."""
    raw = phrase.encode()
    tokens = ffi().new("ub_token[]", len(raw) + 1)
    return raw, tokens, library().ub_tokenize(raw, len(raw), tokens, len(raw))


def _number(raw: bytes, token: Any) -> int | float | None:
    digits = ffi().new("char[]", constants()["UB_NUMBER_CHARS"])
    if not library().ub_number_json(raw, token, digits):
        return None
    number: int | float = json.loads(ffi().string(digits))
    return number


def best_tags(logits: np.ndarray, masks: bytes) -> tuple[np.ndarray, int]:
    """The likeliest tags of a sentence that a class allows, and the sum of their logits.

    Args:
        logits: int8 ``[tokens, 1 + 2 slots]``.
        masks: of the class, :attr:`train.labels.Labels.masks`.

    Returns:
        The tags, uint8 ``[tokens]``. The sum is ``UB_NO_TAGS`` if there are fewer words than slots that it needs.
    """
    tokens, tags = logits.shape
    scratch = np.zeros((tokens, tags), np.uint8)
    raw = ffi().from_buffer("int8_t[]", np.ascontiguousarray(logits, np.int8))
    total = library().ub_best_tags(raw, tokens, (tags - 1) // 2, masks, ffi().from_buffer("uint8_t[]", scratch))
    return scratch[:, 0].copy(), int(total)


def find_spans(logits: np.ndarray, masks: bytes, single: bytes) -> list[tuple[int, int, int]]:
    """The spans of :func:`best_tags`, each its slot and the tokens [from, to).

    single: a bit for every slot that no sentence has twice, :meth:`train.labels.Labels.bits`; of those one span stays.
    """
    tokens, tags = logits.shape
    scratch = np.zeros((tokens, tags), np.uint8)
    scratch[:, 0], _ = best_tags(logits, masks)
    raw = ffi().from_buffer("int8_t[]", np.ascontiguousarray(logits, np.int8))
    spans = ffi().new("ub_span[]", constants()["UB_MAX_SLOTS"])
    count = library().ub_find_spans(raw, tokens, (tags - 1) // 2, single, ffi().from_buffer(scratch), spans)
    return [(span.slot, getattr(span, "from"), span.to) for span in spans[0:count]]


@dataclass(frozen=True)
class Answer:
    """What the agent makes of a sentence; spans in bytes of its UTF-8."""

    intent: str | None
    score: float
    accepted: bool
    slots: tuple[tuple[str, int, int], ...]
    implied: tuple[tuple[str, str], ...]
    """Sorted by name."""


class Agent:
    """An agent bundle, opened by the firmware's code.

    Args:
        bundle: the bytes of the file.

    Raises:
        UserError: the bundle is refused; the message is the firmware's own.
    """

    def __init__(self, bundle: bytes) -> None:
        c = ffi()
        self._arena = c.new("ub_arena *")
        self._agent = c.new("ub_agent *")
        self._room = c.new("uint8_t[]", len(bundle) + 16)
        skip = -int(c.cast("uintptr_t", self._room)) % 16
        self._bundle = self._room + skip
        c.memmove(self._bundle, bundle, len(bundle))
        status = library().ub_open(self._agent, self._bundle, len(bundle), self._arena)
        if status:
            raise UserError(f"the bundle is refused: {_text(library().ub_status_text(status))}")
        if self._agent.length != len(bundle):
            raise UserError(f"the bundle is refused: {len(bundle) - self._agent.length} bytes too many follow it")

    @property
    def arena_bytes(self) -> int:
        """Working memory of a sentence of full length, in bytes."""
        return int(self._agent.arena_bytes)

    def embed(self, text: str) -> np.ndarray:
        """The encoder's input, int8 ``[words + 1, E]``. The text must fit the encoder's positions."""
        raw = text.encode()
        tokens = ffi().new("ub_token[]", constants()["UB_MAX_POSITIONS"])
        count = library().ub_tokenize(raw, len(raw), tokens, self._agent.encoder.positions - 1)
        if not 0 < count < self._agent.encoder.positions:
            raise ValueError(f"{text!r} has no words, or more than the encoder has positions")
        rows = library().ub_embed(self._agent, raw, tokens, count)
        return self._array(rows, count + 1, self._agent.encoder.embed)

    def encode(self, embeddings: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """int8 ``[positions, E]`` to the logits of the classes ``[C]`` and the words' tags ``[positions - 1, T]``."""
        raw = np.ascontiguousarray(embeddings, np.int8).tobytes()
        logits = library().ub_encode_embeddings(self._agent, ffi().from_buffer("int8_t[]", raw), len(embeddings))
        encoder = self._agent.encoder
        classes = self._array(logits.classes, 1, encoder.classes)[0]
        return classes, self._array(logits.tags, len(embeddings) - 1, encoder.tags)

    def parse(self, text: str) -> Answer:
        """The agent's answer to a sentence.

        Raises:
            UserError: the text has no word, too many, or is longer than a line.
        """
        raw = text.encode()
        answer = ffi().new("ub_answer *")
        status = library().ub_parse(self._agent, raw, len(raw), answer)
        if status:
            raise UserError(f"{text[:60]!r}: {_text(library().ub_status_text(status))}")
        lib = library()
        slots = tuple((self._view(lib.ub_slot_name(self._agent, s.slot)), s.start, s.end) for s in self._slots(answer))
        if answer.intent == constants()["UB_NONE"]:
            return Answer(None, answer.score / 10000, bool(answer.accepted), slots, ())
        implied = json.loads(self._view(lib.ub_implied(self._agent, answer.klass)) or "{}")
        return Answer(
            self._view(lib.ub_intent_name(self._agent, answer.intent)),
            answer.score / 10000,
            bool(answer.accepted),
            slots,
            tuple(sorted(implied.items())),
        )

    def failed_golden(self) -> int | None:
        """The index of the first golden sentence that gives other numbers, if any does."""
        count = library().ub_golden_count(self._agent)
        return next((i for i in range(count) if library().ub_selftest(self._agent, i)), None)

    @staticmethod
    def _slots(answer: Any) -> Iterator[Any]:
        return (answer.slots[i] for i in range(answer.slot_count))

    @staticmethod
    def _view(view: Any) -> str:
        return bytes(ffi().buffer(view.bytes, view.length)).decode()

    @staticmethod
    def _array(pointer: Any, rows: int, columns: int) -> np.ndarray:
        return np.frombuffer(ffi().buffer(pointer, rows * columns), np.int8).reshape(rows, columns).copy()


def _text(pointer: Any) -> str:
    return bytes(ffi().string(pointer)).decode()
