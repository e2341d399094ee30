"""What homes are full of: names by domain, areas, floors, list items, messages; split so that no part sees
another's.

``lexica/<language>.yaml`` holds hassil templates. All texts that they stand for are written out, ordered by
a hash and
cut 80/10/10 into training, validation and test, so that the same text is in the same part whatever the seed. Rare texts
are training's alone: from them it learns what a name looks like, while the others measure it by what most homes have.
"""

import hashlib
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any, Literal

import yaml
from hassil.errors import MissingListError, MissingRuleError
from hassil.intents import TextSlotList
from hassil.parse_expression import parse_sentence
from hassil.parser import ParseError
from hassil.sample import sample_sentence

from train.errors import UserError

Part = Literal["train", "valid", "test"]
HELD_OUT: tuple[Part, ...] = ("valid", "test")

DOMAIN_WEIGHTS = {"light": 4.0, "switch": 2.5, "media_player": 2.0, "fan": 1.5, "climate": 1.5}
"""How often a name is of a domain where several will do; 1 for the others."""

RARE = 0.4
"""How often training draws a rare text, to once that it draws another."""
RECOMBINED = 0.25
"""Share of training's short texts that are the beginning of one and the last word of another: "front kitchen"."""
WHOLE = frozenset(("person", "message", "search_query", "timer_command"))
"""Lists whose texts are not taken apart."""

Groups = tuple[tuple[str, ...], ...]
"""Texts by the line of the lexicon that they come from; a line weighs by the root of its length."""


def expand(templates: Iterable[str], lists: Mapping[str, Iterable[str]], name: str) -> Groups:
    """Write out templates, one group each, with ``{list}`` taken from ``lists``; ``name`` is for errors."""
    slot_lists = {key: TextSlotList.from_strings(texts, allow_template=False) for key, texts in lists.items()}
    try:
        return tuple(
            tuple(
                dict.fromkeys(
                    " ".join(text.split())
                    for text in sample_sentence(parse_sentence(template), slot_lists=dict(slot_lists))
                    if text.strip()
                )
            )
            for template in templates
        )
    except (ParseError, MissingListError, MissingRuleError, TypeError) as error:
        raise UserError(f"{name}: {error or type(error).__name__}; expected hassil templates") from None


def split(groups: Groups, salt: str) -> dict[Part, Groups]:
    """Set a tenth of the texts of some groups aside for validation and another for test, by hash.

    Those come first whose every word stands in another text that stays, then others of several words: that "nursery"
    is a room and "vcr" a device is knowledge that training has to give; that "the front nursery" is a room can be
    inferred.
    Fewer than three texts cannot be split: all parts then get them.
    """
    texts = sorted({text for group in groups for text in group}, key=lambda text: _hash(salt, text))
    if len(texts) < 3:
        return {"train": groups, "valid": groups, "test": groups}
    uses = Counter(word for text in texts for word in set(text.split()))
    inferable = []
    for text in texts:
        if " " in text and all(uses[word] > 1 for word in text.split()):
            inferable.append(text)
            uses.subtract(set(text.split()))
    texts.sort(key=lambda text: (text not in inferable, " " not in text))
    held = max(1, round(len(texts) * 0.1))
    parts: dict[Part, set[str]] = {
        "valid": set(texts[: 2 * held : 2]),
        "test": set(texts[1 : 2 * held : 2]),
        "train": set(texts[2 * held :]),
    }
    return {
        part: tuple(kept for group in groups if (kept := tuple(text for text in group if text in chosen)))
        for part, chosen in parts.items()
    }


def _hash(*words: str) -> bytes:
    return hashlib.sha256("\0".join(words).encode()).digest()


@dataclass(frozen=True)
class Weighted:
    """Groups of texts to choose from."""

    groups: Groups
    weights: tuple[float, ...]
    reserved: frozenset[str] | None = None
    """Texts that must not come out; ``None``: only texts of the groups do."""

    @classmethod
    def of(cls, groups: Groups, rare: Iterable[str] = (), reserved: frozenset[str] | None = None) -> "Weighted":
        """Cumulative weights by the root of each group's size, so that long lines do not drown short ones.

        rare: texts drawn ``RARE`` times as often as those of all groups.
        reserved: given for training, where now and then a text is made of two (Jia and Liang 2016), unless reserved.
        """
        total, weights = 0.0, []
        for group in groups:
            total += len(group) ** 0.5
            weights.append(total)
        if uncommon := tuple(rare):
            groups, weights = (*groups, uncommon), [*weights, total * (1 + RARE)]
        return cls(groups, tuple(weights), reserved)

    def choose(self, rng: random.Random) -> str:
        """One text."""
        text = self._choose(rng)
        if self.reserved is None or rng.random() >= RECOMBINED:
            return text
        words, others = text.split(), self._choose(rng).split()
        made = " ".join([*(words[:-1] or words), others[-1]])
        return text if made in self.reserved or len(words) > 3 or words[-1] == others[-1] else made

    def _choose(self, rng: random.Random) -> str:
        group = rng.choices(self.groups, cum_weights=self.weights)[0]
        return group[int(rng.random() * len(group))]


@dataclass(frozen=True)
class NameWords:
    """The names of one domain in one part."""

    heads: Weighted
    compounds: tuple[str, ...]
    generics: tuple[str, ...]


@dataclass(frozen=True)
class Lexicon:
    """The lists and names of one part (training, validation or test)."""

    lists: Mapping[str, Weighted]
    names: Mapping[str, NameWords]

    @property
    def texts(self) -> set[str]:
        """All that stands in its lists and all names that stand alone."""
        chosen = (*self.lists.values(), *(words.heads for words in self.names.values()))
        return {text for words in chosen for group in words.groups for text in group}

    def text(self, list_name: str, rng: random.Random) -> str:
        """A text of an open list; one that the lexicon lacks is filled like a message."""
        return self.lists.get(list_name, self.lists["message"]).choose(rng)

    def name(
        self, domains: Sequence[str], rng: random.Random, *, after_area: bool, with_area: bool, generic: bool
    ) -> str:
        """A device's name.

        after_area: an area stands right before it.
        with_area: an area may be part of it ("kitchen floor lamp"), for the command takes no area beside a name.
        generic: it may be an area and the word for its class ("kitchen light").
        """
        known = [domain for domain in domains if domain in self.names] or list(self.names)
        domain = rng.choices(known, [DOMAIN_WEIGHTS.get(domain, 1.0) for domain in known])[0]
        words = self.names[domain]
        head = words.heads.choose(rng)
        if after_area or not with_area:
            return head
        kind = rng.random()
        if kind < 0.2 and words.compounds:
            return f"{self.lists['area'].choose(rng)} {rng.choice(words.compounds)}"
        if kind < 0.3 and words.generics and generic:
            return f"{self.lists['area'].choose(rng)} {rng.choice(words.generics)}"
        if kind < 0.4 and words.compounds:
            return f"{self.lists['area'].choose(rng)} {head}"
        if kind < 0.45 and words.compounds:
            return f"{self.lists['person'].choose(rng)}'s {head}"
        return head


NEEDED = ("names", "person", "area", "message")
"""What no lexicon can be without."""


def load(language: str) -> dict[Part, Lexicon]:
    """The lexicon of a language, in its three parts; English where there is none for it.

    Raises UserError where the file is not as described at its top.
    """
    known = (files(__package__) / "lexica" / f"{language}.yaml").is_file()
    return _load(f"{language}.yaml" if known else "en.yaml")


@lru_cache(maxsize=4)
def _load(file: str) -> dict[Part, Lexicon]:
    text = (files(__package__) / "lexica" / file).read_text(encoding="utf-8")
    document: dict[str, Any] = yaml.safe_load(text)
    if missing := [key for key in NEEDED if key not in document]:
        raise UserError(f"train/home/lexica/{file} lacks {', '.join(missing)}")
    names, rare = document.pop("names"), document.pop("rare", {})
    written: dict[str, Groups] = {}
    uncommon: dict[str, Groups] = {}
    for lists, texts in ((document, written), (rare, uncommon)):
        for key, templates in lists.items():
            texts[key] = expand(templates, {name: sum(groups, ()) for name, groups in texts.items()}, key)
    areas = {text for texts in (written, uncommon) for group in texts.get("area", ()) for text in group}

    def heads_of(domain: str, key: str, texts: Mapping[str, Groups]) -> Groups:
        entry = names[domain]
        classes = {*entry.get("generics", ()), *entry.get("classes", ())}
        groups = expand(entry.get(key, ()), {"person": sum(texts.get("person", ()), ())}, domain)
        return tuple(tuple(head for head in group if not _is_area_and_class(head, areas, classes)) for group in groups)

    def weighted(groups: Groups, more: Groups, salt: str) -> dict[Part, Weighted]:
        cut = split(groups, salt)
        held_out = frozenset(text for part in HELD_OUT for group in cut[part] for text in group)
        common = frozenset(sum(groups, ()))
        unseen = dict.fromkeys(text for group in more for text in group if text not in common)
        whole = salt in WHOLE
        return {
            "train": Weighted.of(cut["train"], unseen, None if whole else held_out),
            "valid": Weighted.of(cut["valid"]),
            "test": Weighted.of(cut["test"]),
        }

    lists_by_part = {key: weighted(groups, uncommon.get(key, ()), key) for key, groups in written.items()}
    heads_by_part = {
        domain: weighted(heads_of(domain, "heads", written), heads_of(domain, "rare", uncommon), f"names/{domain}")
        for domain in names
    }
    parts: tuple[Part, ...] = ("train", *HELD_OUT)
    return {
        part: Lexicon(
            {key: by_part[part] for key, by_part in lists_by_part.items()},
            {
                domain: NameWords(
                    by_part[part],
                    sum(expand(names[domain].get("compounds", ()), {}, domain), ()),
                    tuple(names[domain].get("generics", ())),
                )
                for domain, by_part in heads_by_part.items()
            },
        )
        for part in parts
    }


def _is_area_and_class(head: str, areas: set[str], classes: set[str]) -> bool:
    """True for "porch light": an area and the word for a class, which is read as just that, not as a name."""
    return any(head.removesuffix(f" {word}") in areas for word in classes if head.endswith(f" {word}"))
