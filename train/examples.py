"""Labelled sentences and their JSON-lines form: the contract's "Examples" format, read and written here only.

A line is ``{"text": …, "intent": … or null, "slots": [{"slot", "start", "end", "value"?}],
"implied"?: {…}}``. ``start``/``end`` count Unicode code points, end exclusive; spans do not overlap.
"""

import difflib
import itertools
import json
import math
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from train.errors import UserError

Value = int | float | str
PARTS = ("train", "valid", "test")
"""Of a data set."""


@dataclass(frozen=True)
class Slot:
    """A labelled span of a sentence."""

    slot: str
    """Name of the slot."""
    start: int
    """First code point."""
    end: int
    """One past the last code point."""
    value: Value | None = None
    """Normalised value (30 for "thirty"); None where the text is the value."""


@dataclass(frozen=True)
class Example:
    """A sentence with its label."""

    text: str
    intent: str | None
    """None is out of scope."""
    slots: tuple[Slot, ...] = ()
    """Ordered by start, not overlapping."""
    implied: tuple[tuple[str, str], ...] = ()
    """Slots that the intent carries without a word for them, sorted; an object in JSON."""

    @property
    def slot_texts(self) -> list[str]:
        """The words of each slot, in lowercase."""
        return [self.text[slot.start : slot.end].lower() for slot in self.slots]


def read_jsonl(path: Path) -> list[Example]:
    """Read examples; blank lines are skipped.

    Raises UserError with file and line where a line is not valid JSON or breaks the format.
    """
    examples = []
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if line.strip():
            try:
                examples.append(example_from_json(json.loads(line)))
            except json.JSONDecodeError as error:
                raise UserError(
                    f"{path}:{number}: broken JSON ({error.msg} at column {error.colno}); "
                    "each line must be one whole JSON object"
                ) from None
            except RecursionError:
                raise UserError(f"{path}:{number}: broken JSON (nested too deeply)") from None
            except ValueError as error:
                raise UserError(f"{path}:{number}: {error}") from None
    return examples


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object that a file holds; raises UserError if it holds none."""
    try:
        record = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise UserError(f"{path}:{error.lineno}: broken JSON ({error.msg})") from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits; brackets within brackets
        raise UserError(f"{path}: broken JSON ({error})") from None
    if not isinstance(record, dict):
        raise UserError(f"{path}: expected a JSON object")
    return record


def read_text(path: Path) -> str:
    """A file's text; raises UserError if it cannot be read or is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None


def unmark(
    marked: str, span: re.Pattern[str], read: Callable[[re.Match[str]], tuple[str, str, Value | None]]
) -> tuple[str, tuple[Slot, ...]]:
    """The text and the slots of a sentence in which they are marked, such as ``lights in the [attic]area``.

    span: what a marked one looks like; read: its words, its slot, its value. One without words is no slot.
    """
    text, slots, last = "", [], 0
    for match in span.finditer(marked):
        words, slot, value = read(match)
        text += marked[last : match.start()]
        if words:
            slots.append(Slot(slot, len(text), len(text) + len(words), value))
        text += words
        last = match.end()
    return text + marked[last:], tuple(slots)


def write_jsonl(path: Path, examples: Iterable[Example]) -> None:
    """Write examples, atomically: the file appears whole or not at all."""
    lines = (json.dumps(example_to_json(example), ensure_ascii=False) + "\n" for example in examples)
    write_atomic(path, "".join(lines))


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write a file by way of a temporary one beside it and a rename; text as UTF-8.

    What is no file, as a pipe or /dev/stdout, is written to as it is. Raises UserError, which names the file, where
    that fails.
    """
    try:
        data = content.encode() if isinstance(content, str) else content
        if path.exists() and not path.is_file():
            path.write_bytes(data)
            return
        target = path.resolve()  # a link stays one
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            os.chmod(temporary, 0o644)
            os.replace(temporary, target)
        except BaseException:
            os.unlink(temporary)
            raise
    except UnicodeEncodeError as error:
        raise UserError(f"{path}: {error.object[error.start]!r} is half a character, which no file can hold") from None
    except OSError as error:
        raise UserError(
            f"{path} cannot be written: {error.strerror}; name another place, or make this one writable"
        ) from None


def is_text(item: object) -> bool:
    """Whether it is a string that UTF-8 can hold: JSON's escapes can also name halves of a character."""
    if not isinstance(item, str):
        return False
    try:
        item.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_value(item: object) -> bool:
    """Whether a slot can have this value: a string, or a number that is one in JSON."""
    if isinstance(item, float):
        return math.isfinite(item)
    return is_text(item) or (isinstance(item, int) and not isinstance(item, bool))


def example_to_json(example: Example) -> dict[str, Any]:
    """The JSON object of an example; ``value`` and ``implied`` are left out where there is none."""
    slots = []
    for slot in example.slots:
        item: dict[str, Any] = {"slot": slot.slot, "start": slot.start, "end": slot.end}
        if slot.value is not None:
            item["value"] = slot.value
        slots.append(item)
    record: dict[str, Any] = {"text": example.text, "intent": example.intent, "slots": slots}
    if example.implied:
        record["implied"] = dict(example.implied)
    return record


def checked(example: Example) -> Example:
    """The example, its slots in order; raises ValueError as :func:`example_from_json` does."""
    return example_from_json(example_to_json(example))


def example_from_json(record: object) -> Example:
    """Check one JSON object and make the example of it.

    Raises ValueError, whose message says what is wrong with which key.
    """
    if not isinstance(record, dict):
        raise ValueError(f"expected a JSON object, got {type(record).__name__}")
    for key in ("text", "intent"):
        if key not in record:
            raise ValueError(f'key "{key}" is missing')
    _refuse_misspelt(record, ("text", "intent", "slots", "implied"))
    text, intent = record["text"], record["intent"]
    if not is_text(text):
        raise ValueError('"text" must be a string of whole characters')
    if not text.strip():
        raise ValueError('"text" is empty')
    if intent is not None and not (is_text(intent) and intent):
        raise ValueError('"intent" must be a string that is not empty, or null for out of scope')
    items = record.get("slots", [])
    if not isinstance(items, list):
        raise ValueError('"slots" must be a list')
    slots = sorted((_slot_from_json(item, text) for item in items), key=lambda slot: slot.start)
    for left, right in itertools.pairwise(slots):
        if right.start < left.end:
            raise ValueError(
                f'slots "{left.slot}" [{left.start}, {left.end}) and '
                f'"{right.slot}" [{right.start}, {right.end}) overlap; spans must be disjoint'
            )
    implied = record.get("implied", {})
    if not isinstance(implied, dict) or not all(map(is_text, (*implied, *implied.values()))):
        raise ValueError('"implied" must be an object with string values')
    return Example(text, intent, tuple(slots), tuple(sorted(implied.items())))


def _refuse_misspelt(record: dict[str, Any], known: Sequence[str]) -> None:
    """Raises ValueError for a key that looks like one of ``known`` that is missing; other keys are the user's own."""
    for key in record.keys() - set(known):
        near = difflib.get_close_matches(key, [k for k in known if k not in record], n=1, cutoff=0.75)
        if near:
            raise ValueError(f'key "{key}" is unknown; write "{near[0]}", or rename it if it is something else')


def _slot_from_json(item: object, text: str) -> Slot:
    if not isinstance(item, dict):
        raise ValueError("each slot must be a JSON object")
    for key in ("slot", "start", "end"):
        if key not in item:
            raise ValueError(f'key "{key}" is missing in a slot')
    _refuse_misspelt(item, ("slot", "start", "end", "value"))
    name, start, end, value = item["slot"], item["start"], item["end"], item.get("value")
    if not (is_text(name) and name):
        raise ValueError('"slot" must be a string that is not empty')
    if type(start) is not int or type(end) is not int:
        raise ValueError(f'"start" and "end" of slot "{name}" must be integers')
    if not 0 <= start < end <= len(text):
        raise ValueError(
            f'span [{start}, {end}) of slot "{name}" is outside the text, which has {len(text)} code points'
        )
    if value is not None and not is_value(value):
        raise ValueError(f'"value" of slot "{name}" must be a number or a string')
    return Slot(name, start, end, value)
