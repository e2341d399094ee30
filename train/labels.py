"""What a student can answer: intents, slots, and the classes and tags that its two heads choose from."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from train.agentlib import constants
from train.errors import UserError
from train.examples import Example

OUTSIDE = 0
"""The tag of a word in no slot."""

MOST_WITHOUT = 0.01
"""Share of a class's sentences, by Laplace's rule of succession, that may lack a slot that it needs; so it takes a
hundred sentences to be sure of one."""

Implied = tuple[tuple[str, str], ...]


def implied_json(implied: Implied) -> str:
    """The slots that a class implies as an answer has them; nothing where there are none."""
    return json.dumps(dict(implied), separators=(",", ":"), ensure_ascii=False) if implied else ""


@dataclass(frozen=True)
class Labels:
    """Intents and slots by name, classes and tags by number.

    A class is an intent together with the slots that it implies; the last class is "out of scope" if the data has any.
    The tags are those of BIO (Ramshaw and Marcus 1995): 0 is outside, ``1 + 2 s`` begins and ``2 + 2 s`` continues slot
    ``s``.
    """

    intents: tuple[str, ...]
    slots: tuple[str, ...]
    classes: tuple[tuple[int | None, Implied], ...]
    """Index of the intent (``None``: out of scope) and the slots it implies, ascending by intent."""
    legal: tuple[tuple[int, ...], ...]
    """Per class, the slots that it was seen with."""
    needed: tuple[tuple[int, ...], ...]
    """Per class, the slots that it has in all sentences but a few (:data:`MOST_WITHOUT`); none where there are so many
    classes and slots that it would take the firmware too long."""
    single: tuple[int, ...]
    """Slots that no sentence has twice."""

    @classmethod
    def of(cls, examples: Iterable[Example]) -> Labels:
        """The labels of a training set."""
        examples = list(examples)
        intents = sorted({e.intent for e in examples if e.intent is not None})
        slots = sorted({s.slot for e in examples for s in e.slots})
        place = {name: i for i, name in enumerate(intents)}
        classes: list[tuple[int | None, Implied]] = sorted(
            {(place[e.intent], e.implied) for e in examples if e.intent is not None}
        )
        if any(e.intent is None for e in examples):
            classes.append((None, ()))
        sentences: Counter[int] = Counter()
        seen: list[Counter[int]] = [Counter() for _ in classes]
        number = {label: c for c, label in enumerate(classes)}
        slot_of = {name: i for i, name in enumerate(slots)}
        for e in dict.fromkeys(examples):  # what is said twice is no more certain
            c = number[(None, ()) if e.intent is None else (place[e.intent], e.implied)]
            sentences[c] += 1
            seen[c].update({slot_of[s.slot] for s in e.slots})
        twice = {slot for e in examples for slot, n in Counter(s.slot for s in e.slots).items() if n > 1}
        single = tuple(i for i, slot in enumerate(slots) if slot not in twice)
        if not classes:
            raise UserError("the training data is empty; it needs at least one example")
        legal = tuple(tuple(sorted(found)) for found in seen)
        needed = tuple(
            tuple(s for s in legal[c] if (n - seen[c][s] + 1) / (n + 2) <= MOST_WITHOUT)
            for c, n in sorted(sentences.items())
        )
        if (len(classes) + sum(map(len, needed))) * len(slots) > constants()["UB_MAX_SEARCH"]:
            needed = tuple(() for _ in classes)  # the firmware would take too long
        return cls(tuple(intents), tuple(slots), tuple(classes), legal, needed, single)

    @property
    def tags(self) -> int:
        """How many tags there are."""
        return 1 + 2 * len(self.slots)

    @cached_property
    def intent_of(self) -> np.ndarray:
        """Per class, the index of its intent, int [C]; -1: out of scope."""
        return np.array([-1 if intent is None else intent for intent, _ in self.classes])

    @cached_property
    def masks(self) -> list[bytes]:
        """Per class, as the bundle has them: a bit for every slot that it can carry, and as many for those it needs."""
        return [self.bits(legal) + self.bits(needed) for legal, needed in zip(self.legal, self.needed, strict=True)]

    @property
    def any_slots(self) -> bytes:
        """As :attr:`masks`, of a class that allows every slot and needs none."""
        return self.bits(range(len(self.slots))) + self.bits(())

    def bits(self, slots: Iterable[int]) -> bytes:
        """A bit for every slot, set for some."""
        return sum(1 << s for s in slots).to_bytes((len(self.slots) + 7) // 8, "little")

    def tag_of(self, slot: str, *, begins: bool) -> int:
        """The tag of a word that begins or continues a slot."""
        return 1 + 2 * self.slots.index(slot) + (not begins)

    def class_of(self, example: Example) -> int:
        """The class of an example: its own, or of its intent's classes the one that shares most implied slots.

        Raises:
            UserError: the intent, or out of scope, does not occur in the training data.
        """
        intent = None if example.intent is None else self._index(self.intents, example.intent, "intent")
        candidates = [c for c, (i, _) in enumerate(self.classes) if i == intent]
        if not candidates:
            raise UserError(f"{example.text!r} is out of scope, but the training data has no such example; add some")
        implied = set(example.implied)
        return max(
            candidates, key=lambda c: (len(implied & {*self.classes[c][1]}), -len(implied ^ {*self.classes[c][1]}))
        )

    def require(self, examples: Iterable[Example], part: str) -> None:
        """Raises UserError if ``examples`` of ``part`` carry an intent or slot that training has not seen."""
        for example in examples:
            if example.intent is not None:
                self._index(self.intents, example.intent, "intent", part)
            for slot in example.slots:
                self._index(self.slots, slot.slot, "slot", part)

    @staticmethod
    def _index(names: tuple[str, ...], name: str, kind: str, part: str = "this data") -> int:
        try:
            return names.index(name)
        except ValueError:
            raise UserError(
                f"{kind} {name!r} of {part} does not occur in the training data; add examples of it or remove it there"
            ) from None

    def to_json(self) -> dict[str, Any]:
        """A JSON object that :meth:`from_json` takes."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Labels:
        """The inverse of :meth:`to_json`."""
        return cls(
            tuple(data["intents"]),
            tuple(data["slots"]),
            tuple((intent, tuple((k, v) for k, v in implied)) for intent, implied in data["classes"]),
            tuple(tuple(s) for s in data["legal"]),
            tuple(tuple(s) for s in data["needed"]),
            tuple(data["single"]),
        )
