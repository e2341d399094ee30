"""Ways in which people write the same sentence differently, with the slots' spans kept right.

Every function takes an example and gives a new one with the same label; ``vary`` mixes them.
"""

import itertools
import random
import re
from collections import defaultdict
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, replace

from train.examples import Example, Value


def edit(example: Example, start: int, end: int, text: str) -> Example:
    """Put ``text`` in place of [start, end); spans after it move, a span around it grows or shrinks.

    Raises ValueError where the range crosses the edge of a span.
    """
    grown = len(text) - (end - start)
    slots = []
    for slot in example.slots:
        if end <= slot.start and (start, end) != (slot.start, slot.start):
            slots.append(replace(slot, start=slot.start + grown, end=slot.end + grown))
        elif start >= slot.end:
            slots.append(slot)
        elif slot.start <= start and end <= slot.end:
            slots.append(replace(slot, end=slot.end + grown))
        else:
            raise ValueError(f"[{start}, {end}) crosses the edge of slot {slot.slot!r} in {example.text!r}")
    return replace(example, text=example.text[:start] + text + example.text[end:], slots=tuple(slots))


def lower(example: Example) -> Example:
    """All lowercase."""
    return replace(example, text=_map(str.lower, example.text))


def upper(example: Example) -> Example:
    """ALL CAPITALS."""
    return replace(example, text=_map(str.upper, example.text))


def title(example: Example) -> Example:
    """A Capital For Each Word."""
    return replace(
        example,
        text=re.sub(r"(?<!\S)\S", lambda match: _map(str.upper, match[0]), _map(str.lower, example.text)),
    )


def capital(example: Example) -> Example:
    """A capital for the first letter."""
    return replace(example, text=_map(str.upper, example.text[:1]) + example.text[1:])


def _map(case: Callable[[str], str], text: str) -> str:
    """Change case letter by letter where that keeps the length, so that offsets stay."""
    changed = case(text)
    if len(changed) == len(text):
        return changed
    return "".join(new if len(new := case(letter)) == 1 else letter for letter in text)


_QUESTION_INTENTS = {
    *("HassGetState", "HassGetWeather", "HassGetCurrentTime", "HassGetCurrentDate"),
    *("HassClimateGetTemperature", "HassTimerStatus"),
}
"""Intents that ask, in whatever words."""
_OPEN_QUESTION = re.compile(r"(what|which|who|where|how)\b", re.IGNORECASE)
_YES_NO_QUESTION = re.compile(r"(is|are)\b", re.IGNORECASE)
_ASKS = re.compile(
    rf"{_OPEN_QUESTION.pattern}|{_YES_NO_QUESTION.pattern}|(when|why|do|does|can|could|will|would)\b", re.IGNORECASE
)


def end_mark(example: Example, rng: random.Random) -> Example:
    """A full stop, question mark or exclamation mark at the end, fitting the script; none where there is one."""
    text = example.text
    if re.search(r"[.!?。！？]$", text):
        return example
    mark = "?" if _ASKS.match(text) or example.intent in _QUESTION_INTENTS else rng.choice("..!")
    if re.search(r"[\u3040-\u30ff\u4e00-\u9fff]$", text):
        mark = {".": "。", "?": "？", "!": "！"}[mark]
    return edit(example, len(text), len(text), mark)


_CONTRACTIONS = {
    "what is": ("what's", "whats"),
    "what's": ("whats", "what is"),
    "whats": ("what's",),
    "how is": ("how's", "hows"),
    "where is": ("where's", "wheres"),
    "who is": ("who's", "whos"),
    "it is": ("it's", "its"),
    "i am": ("i'm", "im"),
    "do not": ("don't", "dont"),
    "is not": ("isn't", "isnt"),
    "i would": ("i'd", "id"),
    "percent": ("per cent",),
    "%": (" percent",),
    " percent": ("%",),
    "color": ("colour",),
    "television": ("tv",),
}
_CONTRACTION = re.compile(
    "|".join(
        rf"(?<!\w){re.escape(key)}(?!\w)" if key[0] != " " and key[0] != "%" else re.escape(key) + r"(?!\w)"
        for key in sorted(_CONTRACTIONS, key=len, reverse=True)
    )
)


def respell(example: Example, rng: random.Random) -> Example:
    """English: one contraction, lost apostrophe, percent sign or other spelling outside the slots, if there
    is one."""
    matches = [match for match in _CONTRACTION.finditer(example.text) if _outside(example, *match.span())]
    if not matches:
        return example
    match = rng.choice(matches)
    return edit(example, *match.span(), rng.choice(_CONTRACTIONS[match[0]]))


def _outside(example: Example, start: int, end: int) -> bool:
    return all(end <= slot.start or start >= slot.end for slot in example.slots)


_PREFIXES = (
    "please",
    "please",
    "can you",
    "can you please",
    "could you",
    "could you please",
    "would you",
    "hey",
    "hey can you",
    "hey could you",
    "ok",
    "okay",
    "hi",
    "i want you to",
    "i'd like you to",
    "i need you to",
    "computer",
    "just",
    "can you just",
    "now",
    "then",
    "go ahead and",
    "alright",
    "will you",
    "kindly",
    "quickly",
    "so",
)
_SUFFIXES = (
    "please",
    "please",
    "please",
    "for me",
    "for me please",
    "now",
    "right now",
    "thanks",
    "thank you",
    "ok",
    "okay",
    "would you",
    "will you",
    "again",
    "immediately",
    "if you can",
    "real quick",
    "asap",
)
_QUESTION_PREFIXES = ("hey", "ok", "so", "hi", "computer", "please")
_ASKING = ("please tell me", "can you tell me", "could you tell me", "tell me")
_QUESTION_SUFFIXES = ("please", "now", "right now", "thanks", "at the moment", "currently")
_COMMAND = re.compile(
    r"(?i)(turn|switch|set|open|close|lock|unlock|start|stop|dim|make|change|pause|play|add|put|remove|cancel"
    r"|increase|decrease|lower|raise|shut|activate|deactivate|vacuum|clean|resume|mute|unmute|skip|broadcast"
    r"|announce|check|delete|run|press|push|return|dock|brighten)\b"
)


def polite(
    example: Example, rng: random.Random, skip_words: Sequence[str], english: bool, to_the_end: Container[str]
) -> Example:
    """Words of courtesy before or after: English ones that fit the sentence, else the language's own skip
    words.

    Words that a slot of ``to_the_end`` would swallow are not put there.
    """
    text = example.text
    front = not example.slots or example.slots[0].start > 0
    back = not example.slots or example.slots[-1].end < len(text) or example.slots[-1].slot not in to_the_end
    prefixes, suffixes = _courtesies(text) if english else (skip_words, skip_words)
    if front and prefixes and (rng.random() < 0.6 or not back):
        return edit(example, 0, 0, f"{rng.choice(prefixes)} ")
    if back and suffixes:
        return edit(example, len(text), len(text), f" {rng.choice(suffixes)}")
    return example


def _courtesies(text: str) -> tuple[Sequence[str], Sequence[str]]:
    """English words of courtesy that may stand before and after a sentence."""
    if _COMMAND.match(text):
        return _PREFIXES, _SUFFIXES
    if _OPEN_QUESTION.match(text):
        return _QUESTION_PREFIXES + _ASKING, _QUESTION_SUFFIXES
    if _YES_NO_QUESTION.match(text):
        return _QUESTION_PREFIXES, _QUESTION_SUFFIXES
    return (), ()


TO_THE_END = frozenset({"message", "search_query", "conversation_command", "item"})
"""Home Assistant's slots that run on to the end of the sentence: what follows would be part of them."""

_KEYS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_NEIGHBOURS = {
    letter: "".join(
        row[i] for row in _KEYS for i in range(column - 1, column + 2) if 0 <= i < len(row) and row[i] != letter
    )
    for keys in _KEYS
    for column, letter in enumerate(keys)
}


def typo(example: Example, rng: random.Random) -> Example:
    """One typing error in a word of four letters or more: two letters swapped, one dropped, doubled or
    mistyped.

    Slots with a value are left alone: their words are looked up as they are.
    """
    spots = [
        index
        for word in re.finditer(r"[^\W\d_]{4,}", example.text)
        for index in range(word.start(), word.end() - 1)
        if not any(slot.start <= index + 1 and index < slot.end for slot in example.slots if slot.value is not None)
        and not any(index + 1 in (slot.start, slot.end) for slot in example.slots)
    ]
    if not spots:
        return example
    at = rng.choice(spots)
    letter, following = example.text[at], example.text[at + 1]
    kind = rng.randrange(4)
    if kind == 0:
        return edit(example, at, at + 2, following + letter)
    if kind == 1:
        return edit(example, at, at + 1, "")
    if kind == 2:
        return edit(example, at, at + 1, letter * 2)
    return edit(example, at, at + 1, rng.choice(_NEIGHBOURS.get(letter, letter)))


UNKNOWN_MARK = 0.05
"""Share of sentences that get a question mark where it is not known ..."""
KNOWN_MARK = 0.002
"""... which it is if more than this share of them have one."""


def with_question_marks(examples: Sequence[Example], rng: random.Random) -> list[Example]:
    """The examples, some of which get a question mark if hardly any has one, as in what was spoken:
    so that it is known as a mark that means nothing there."""
    if sum("?" in example.text for example in examples) > KNOWN_MARK * len(examples):
        return list(examples)
    return [edit(e, len(e.text), len(e.text), "?") if rng.random() < UNKNOWN_MARK else e for e in examples]


@dataclass(frozen=True)
class Rates:
    """How often each kind of variation happens, as probabilities."""

    casing: float
    """Any other casing than all lowercase."""
    mark: float
    respelling: float
    courtesy: float
    typo: float


TRAINING = Rates(casing=0.25, mark=0.15, respelling=0.2, courtesy=0.15, typo=0.08)
HELD_OUT = Rates(casing=0.25, mark=0.15, respelling=0.0, courtesy=0.0, typo=0.0)


RETYPED = Rates(casing=0.0, mark=0.0, respelling=0.2, courtesy=0.0, typo=0.08)
"""What is safe in sentences of any domain. Words of courtesy may have a meaning there."""


def vary(
    example: Example,
    rng: random.Random,
    rates: Rates,
    *,
    skip_words: Sequence[str] = (),
    english: bool = True,
    to_the_end: Container[str] = TO_THE_END,
) -> Example:
    """One random variant of an example; most stay lowercase without punctuation, as a transcriber writes."""
    if rng.random() < rates.courtesy:
        example = polite(example, rng, skip_words, english, to_the_end)
    if english and rng.random() < rates.respelling:
        example = respell(example, rng)
    if rng.random() < rates.typo:
        example = typo(example, rng)
        if rng.random() < 0.2:
            example = typo(example, rng)
    if rng.random() < rates.casing:
        kind = rng.random()
        if kind < 0.6:
            example = capital(example)
        elif kind < 0.75:
            example = title(example)
        elif kind < 0.85:
            example = upper(example)
    else:
        example = lower(example)
    if rng.random() < rates.mark:
        example = end_mark(example, rng)
    return example


SWAPPED = 0.5
"""Share of slots in a rewritten sentence that get the words of another one's."""
Words = Mapping[tuple[object, ...], Sequence[tuple[str, Value | None]]]
"""What stands in a slot of a class, and means: once for every sentence in which it does."""


def rewritten(examples: Sequence[Example], least: int, rng: random.Random, *, english: bool) -> list[Example]:
    """The examples and, where they are fewer than ``least``, as many more that are made of them.

    What stands in a slot is swapped for what stands there in another sentence of the same class, for other intents may
    speak of other things; and the whole is typed anew, with errors. With 10 sentences for each of SNIPS's intents slot
    F1 on validation is 48% so, and 43% where the 10 are repeated (three seeds).
    """
    words: dict[tuple[object, ...], list[tuple[str, Value | None]]] = defaultdict(list)
    for example in examples:
        for slot in example.slots:
            words[_place(example, slot.slot)].append((example.text[slot.start : slot.end], slot.value))
    more = itertools.islice(itertools.cycle(examples), max(0, least - len(examples)))
    return [*examples, *(vary(_swapped(e, words, rng), rng, RETYPED, english=english) for e in more)]


def _swapped(example: Example, words: Words, rng: random.Random) -> Example:
    for i, slot in reversed(list(enumerate(example.slots))):
        if rng.random() < SWAPPED:
            text, value = rng.choice(words[_place(example, slot.slot)])
            example = edit(example, slot.start, slot.end, text)
            slots = list(example.slots)
            slots[i] = replace(slots[i], value=value)
            example = replace(example, slots=tuple(slots))
    return example


def _place(example: Example, slot: str) -> tuple[object, ...]:
    return example.intent, example.implied, slot
