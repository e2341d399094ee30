"""Home Assistant's commands as labelled sentences: its templates, a home's words, people's phrasing, and the rest.

Labels are the intent, the slots by span, and the implied slots (domain, device_class …) that a block of templates
carries without a word. ``implied.direction = down`` stands for Home Assistant's negative volume steps, whose number
is spoken without its sign. Validation and test are made from templates and words that training never sees.
"""

import hashlib
import itertools
import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache, partial
from importlib.metadata import version
from importlib.resources import files
from typing import Any

import yaml
from hassil.intents import RangeType
from hassil.util import is_template
from home_assistant_intents import get_intents, get_languages
from rich.progress import Progress

from train import augment
from train.agentlib import number_in
from train.errors import UserError
from train.examples import Example, Slot, Value
from train.home import english, outside
from train.home.lexicon import HELD_OUT, Lexicon, Part
from train.home.lexicon import load as load_lexicon
from train.home.numbers import spoken
from train.home.templates import (
    AnyOrder,
    Choice,
    Closed,
    Draw,
    Node,
    Open,
    Range,
    Template,
    Text,
    draw,
    parse,
    slot_nodes,
)
from train.home.templates import (
    Sequence as NodeSequence,
)
from train.home.told import own_sentences

SIZES: dict[Part, int] = {"train": 300_000, "valid": 3_000, "test": 3_000}
OUT_OF_SCOPE: dict[Part, float] = {"train": 0.28, "valid": 0.3, "test": 0.2}
"""Share of sentences that are out of scope."""
CROWD_COPIES = 24
"""How often a command that somebody said is written differently in training, at most ..."""
CROWD_SHARE = 0.38
"""... for they are about this share of its sentences ..."""
CROWD_WEIGHT = 8
"""... and one of the crowd's counts as so many of ours."""
FEW = 20
"""Sentences of an intent; what has fewer in a held-out part cannot be told of."""
HELD_OUT_TEMPLATES = 0.06
"""Share of templates kept for validation, and again for test."""
OTHER_LANGUAGES = ("ar", "de", "en", "es", "fr", "it", "nl", "pl", "ru", "sv", "tr", "zh-CN")
"""Languages whose commands an agent of any other refuses ..."""
OTHER_LANGUAGE_TEMPLATES = 60
"""... learned from so many templates of each, if there are."""
TEMPERATURE = 0.5
"""A class (intent and implied slots) is drawn in proportion to its number of templates to this power."""
DIGITS = 0.65
"""Share of numbers in digits, where words are there too."""
MAX_WORDS = 24
MAX_SPOKEN = 400
"""Most number words in the value table of a slot."""

Label = tuple[str | None, tuple[tuple[str, str], ...]]
Values = dict[str, dict[str, Value]]


@dataclass(frozen=True)
class Generated:
    """Sentences for one language and what the chip must know to answer with values."""

    parts: dict[Part, list[Example]]
    values: Values
    """Per slot: words, lowercase, to their value; words that are their own value are left out."""
    numeric_slots: list[str]
    provenance: dict[str, Any]


def generate(
    language: str,
    seed: int,
    size: int | None = None,
    foreign: Sequence[str] = (),
    foreign_source: str = "",
    crowd: Sequence[Example] = (),
) -> Generated:
    """Generate the home data set.

    size: training sentences (default 300,000); validation and test have a tenth of it, at most 3,000.
    foreign: sentences known to be out of scope; foreign_source: where they are from.
    crowd: commands as people wrote them. Of both, and of our own sentences, a tenth goes to validation, the others to
    training, none to test.
    The same arguments give the same sentences. Raises UserError for an unknown language.
    """
    templates, rejects = in_scope_templates(language), out_of_scope_templates(language)
    skip_words = [word for word in (get_intents(language) or {}).get("skip_words") or () if not is_template(word)]
    names = _phrasing_names(language)
    told = own_sentences(language)
    made = _generate(templates, rejects, language, skip_words, seed, size, foreign, crowd, told, names)
    made.provenance.update(
        data="home",
        out_of_scope_text={"source": foreign_source, "sentences": len(foreign)},
        crowd_sourced_commands=len(crowd),
        packages={name: version(name) for name in ("home-assistant-intents", "hassil", "unicode-rbnf")},
    )
    return made


def generate_from(document: Mapping[str, Any], name: str, seed: int, size: int | None = None) -> Generated:
    """Generate a data set from a document in hassil's intent format; ``name`` is its name in errors and
    provenance.

    Lists that it leaves open (names, areas, wildcards) come from the language's lexicon. Rejection is trained with
    fragments and noise.
    """
    language = str(document.get("language", "en"))
    templates = parse(document, name)
    if not templates:
        raise UserError(f"{name}: has no sentences; expected intents with data and sentences")
    blocks = [block for body in document["intents"].values() for block in body["data"]]
    lists = [body for place in (document, *blocks) for body in (place.get("lists") or {}).items()]
    known = {"name", *load_lexicon(language)["train"].lists, *(name for name, _ in lists)}
    opens = [node for template in templates for node in slot_nodes(template.node) if isinstance(node, Open)]
    for node in opens:
        if node.list_name not in known:
            raise UserError(
                f"{name}: list {{{node.list_name}}} is not defined; give it values, a range or wildcard: true in lists:"
            )
    skip_words = [word for word in document.get("skip_words") or () if not is_template(word)]
    wild = {name for name, body in lists if isinstance(body, dict) and body.get("wildcard")}
    to_the_end = {node.slot for node in opens if node.list_name in wild}
    made = _generate(templates, [], language, skip_words, seed, size, (), (), (), to_the_end=to_the_end)
    for part in HELD_OUT:
        _take_share(made.parts, part, random.Random(f"{seed}/{part}/share"))
    _drop_unknown(made.parts)
    made.provenance.update(data=name, packages={name: version(name) for name in ("hassil", "unicode-rbnf")})
    return made


def _generate(
    templates: Sequence[Template],
    rejects: Sequence[Template],
    language: str,
    skip_words: Sequence[str],
    seed: int,
    size: int | None,
    foreign: Sequence[str],
    crowd: Sequence[Example],
    told: Sequence[Example],
    name_lists: Container[str] = (),
    to_the_end: Container[str] = augment.TO_THE_END,
) -> Generated:
    lexica = load_lexicon(language)
    held_out = {
        part: {text for text in lexica[part].texts | _held_out_values(templates, part, name_lists) if " " in text}
        for part in HELD_OUT
    }
    kept_back = set.union(*held_out.values())
    said = kept_back.intersection(text for example in crowd for text in example.slot_texts)
    reserved: dict[Part, set[str]] = {
        "train": kept_back - said,
        "valid": held_out["test"] | said,
        "test": said,
    }
    told = [example for example in told if reserved["train"].isdisjoint(example.slot_texts)]
    ours = [example for example in told if example.intent]
    near = [example.text for example in told if not example.intent]
    values, numeric = value_tables(templates, language)
    size = size or SIZES["train"]
    by_part = hold_out(templates, random.Random(f"{seed}/templates"))
    rejects_by_part = hold_out(rejects, random.Random(f"{seed}/out of scope"))
    adjacent = adjacent_intents(templates)
    parts: dict[Part, list[Example]] = {}
    seen: set[str] = set()
    with Progress(transient=True) as progress:
        part: Part
        for part in ("train", *HELD_OUT):
            total = size if part == "train" else max(20, min(SIZES[part], size // 10))
            rejected = round(total * OUT_OF_SCOPE[part])
            advance = partial(progress.advance, progress.add_task(f"{language} {part}", total=total))
            rng = random.Random(f"{seed}/{language}/{part}")
            kept = reserved[part]
            maker = _Maker(language, lexica[part], values, numeric, skip_words, part, rng, adjacent, kept, to_the_end)
            worded = [restrict_lists(template, part, name_lists) for template in by_part[part]]
            maker.inner = _inner_commands(maker, worded, ours)
            people = _people(maker, crowd, ours, round(total * CROWD_SHARE), seen, advance)
            known = seen | {normal(example.text) for example in people}
            commands = people + _commands(maker, worded, total - rejected - len(people), known, advance)
            known |= {normal(example.text) for example in commands}
            restricted = [restrict_lists(template, part) for template in rejects_by_part[part]]
            strangers, ours_near = ([t for t in texts if _crowd_part(t) == part] for texts in (foreign, near))
            parts[part] = commands + _others(maker, restricted, worded, strangers, ours_near, rejected, known, advance)
            rng.shuffle(parts[part])
            seen.update(normal(example.text) for example in parts[part])
    _drop_unknown(parts)
    sources = Counter(template.source for template in (*templates, *rejects))
    provenance = {
        "language": language,
        "seed": seed,
        "templates": dict(sorted(sources.items())),
        "own_sentences": len(told),
    }
    return Generated(parts, values, sorted(numeric), provenance)


def _drop_unknown(parts: dict[Part, list[Example]]) -> None:
    """Leave out what is held out with a label that training has not: few sentences may miss a rare one."""
    known = {example.intent for example in parts["train"]}
    known |= {slot.slot for example in parts["train"] for slot in example.slots}
    for part in HELD_OUT:
        parts[part] = [e for e in parts[part] if known.issuperset((e.intent, *(s.slot for s in e.slots)))]


def _take_share(parts: dict[Part, list[Example]], part: Part, rng: random.Random) -> None:
    """Give a held-out part a tenth of training's sentences, one writing of each, of every intent that it has few of: a
    small grammar is said to the last sentence in training."""
    present = Counter(example.intent for example in parts[part])
    forms: dict[str | None, dict[str, list[Example]]] = defaultdict(lambda: defaultdict(list))
    for example in parts["train"]:
        if example.intent and present[example.intent] < FEW:
            forms[example.intent][normal(example.text)].append(example)
    most = max(1, round(SIZES[part] * (1 - OUT_OF_SCOPE[part]) / max(1, len(forms))))
    taken: set[str] = set()
    for writings in forms.values():
        chosen = rng.sample(sorted(writings), min(most, len(writings) // 10))
        parts[part] += [rng.choice(writings[form]) for form in chosen]
        taken.update(chosen)
    if taken:
        parts["train"] = [example for example in parts["train"] if normal(example.text) not in taken]
        rng.shuffle(parts[part])


@lru_cache(maxsize=2)
def in_scope_templates(language: str) -> tuple[Template, ...]:
    """Home Assistant's templates for a language, and people's phrasing where there is a file of it."""
    document = get_intents(language)
    if document is None:
        raise UserError(f"language {language!r} is unknown; Home Assistant has {', '.join(get_languages())}")
    templates = parse(document, "home-assistant")
    phrasing = _document("phrasing", language)
    if phrasing is not None:
        lists = {**document["lists"], **phrasing.get("lists", {})}
        rules = {**document["expansion_rules"], **phrasing.get("expansion_rules", {})}
        merged = {"language": language, **phrasing, "lists": lists, "expansion_rules": rules}
        templates += parse(merged, "phrasing")
    return tuple(templates)


@lru_cache(maxsize=2)
def out_of_scope_templates(language: str) -> tuple[Template, ...]:
    """Templates of sentences that are no command, by group: near_miss, almost, other, impossible, language."""
    groups: dict[str, Any] = _document("out_of_scope", language) or {}
    document = {
        "language": language,
        "lists": groups.get("lists", {}),
        "expansion_rules": groups.get("expansion_rules", {}),
        "intents": {
            name: {"data": [{"sentences": groups[name]}]}
            for name in ("near_miss", "almost", "other")
            if groups.get(name)
        },
    }
    if language == "en":
        document["intents"]["impossible"] = {"data": [{"sentences": list(outside.IMPOSSIBLE)}]}
    templates = parse(document, "out of scope")
    if language != "en" and any(english.COMMAND_FORMS.keys() & template.lists for template in templates):
        raise UserError(f"train/home/out_of_scope/{language}.yaml: {{command}} and its forms are for English alone")
    for other in OTHER_LANGUAGES:
        if other.split("-")[0] != language.split("-")[0]:
            templates += _other_language(other)
    return tuple(replace(template, intent=None, implied=()) for template in templates)


@cache
def _other_language(language: str) -> tuple[Template, ...]:
    """Some of Home Assistant's templates for a language, of those that have no free text, which would be ours."""
    document = get_intents(language) or {}
    for words in document["lists"].values():
        if "range" in words:
            words["range"]["words_language"] = language
    templates = [
        replace(template, source="other languages", block="out of scope/language/0")
        for template in parse(document, language)
        if {node.list_name for node in slot_nodes(template.node) if isinstance(node, Open)} <= {"name", "area", "floor"}
    ]
    return tuple(random.Random(language).sample(templates, min(len(templates), OTHER_LANGUAGE_TEMPLATES)))


@lru_cache(maxsize=2)
def _phrasing_names(language: str) -> frozenset[str]:
    """Lists of people's phrasing that hold names and the like: plain words without values."""
    lists = (_document("phrasing", language) or {}).get("lists", {})
    return frozenset(
        name for name, body in lists.items() if all(isinstance(value, str) for value in body.get("values", [{}]))
    )


def _document(folder: str, language: str) -> dict[str, Any] | None:
    path = files(__package__) / folder / f"{language}.yaml"
    if not path.is_file():
        return None
    loaded: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return loaded


def hold_out(templates: Sequence[Template], rng: random.Random) -> dict[Part, list[Template]]:
    """Set templates aside for validation and test: 6% each.

    Every block that shares a label and its slots keeps at least half of its templates in training, so no class and no
    slot is missing there; classes with several templates to spare get some in both parts first. A command's template is
    set aside only if each of its words and lists stands in two others of its intent that stay: new sentences of known
    words, for that "quit" ends the mowing cannot be learned from sentences without it. Of an intent with too few to set
    any aside all parts have the same templates, and only the words in them differ.
    """
    evidence = Counter((template.intent, use) for template in templates for use in template.words | template.lists)
    groups: dict[object, int] = Counter(_kin(template) for template in templates)
    left = dict(groups)
    wanted = max(1, round(len(templates) * HELD_OUT_TEMPLATES))
    held: dict[Part, list[int]] = {"valid": [], "test": []}
    taken: set[int] = set()
    order = list(range(len(templates)))
    rng.shuffle(order)
    per_class: Counter[tuple[Part, Label]] = Counter()
    for limit in (1, len(templates)):
        for index in order:
            template = templates[index]
            kin, label = _kin(template), (template.intent, template.implied)
            part: Part = min(HELD_OUT, key=lambda part: (per_class[part, label], len(held[part])))
            if len(held[part]) >= wanted or index in taken or per_class[part, label] >= limit:
                continue
            uses = [(template.intent, use) for use in template.words | template.lists]
            if template.intent is not None and any(evidence[use] < 3 for use in uses):
                continue
            if left[kin] - 1 >= max(1, groups[kin] / 2):
                left[kin] -= 1
                per_class[part, label] += 1
                taken.add(index)
                held[part].append(index)
                evidence.subtract(uses)
    train = [template for index, template in enumerate(templates) if index not in taken]

    def with_all_intents(part: Part) -> list[Template]:
        chosen = [templates[index] for index in sorted(held[part])]
        found = {template.intent for template in chosen}
        return chosen + [template for template in train if template.intent not in found]

    return {"train": train, "valid": with_all_intents("valid"), "test": with_all_intents("test")}


def _kin(template: Template) -> tuple[object, ...]:
    return (template.intent, template.implied, template.slots, template.block)


def restrict_lists(template: Template, part: Part, lists: Container[str] | None = None) -> Template:
    """The template with only those list values that belong to a part, so that no other part uses them.

    lists: names of the lists to cut; all where it is None. Lists of fewer than five values are left whole.
    """

    def restrict(node: Node) -> Node:
        if isinstance(node, NodeSequence):
            return NodeSequence(tuple(map(restrict, node.items)))
        if isinstance(node, Choice):
            return Choice(tuple(map(restrict, node.items)), node.optional)
        if isinstance(node, AnyOrder):
            return AnyOrder(tuple(map(restrict, node.items)))
        if isinstance(node, Closed) and (lists is None or node.list_name in lists):
            return replace(node, values=_values_of(node, part))
        return node

    if lists is not None and not any(name in lists for name in template.lists):
        return template
    return replace(template, node=restrict(template.node))


def _values_of(node: Closed, part: Part) -> tuple[tuple[Node, Value | None], ...]:
    """The values of a list that belong to a part: all where there are fewer than five."""
    if len(node.values) < 5:
        return node.values
    ordered = sorted(node.values, key=lambda item: _digest(node.list_name, repr(item[0])))
    held = max(1, len(ordered) // 10)
    first, last = {"valid": (0, held), "test": (held, 2 * held), "train": (2 * held, len(ordered))}[part]
    return tuple(ordered[first:last])


def _held_out_values(templates: Iterable[Template], part: Part, lists: Container[str]) -> set[str]:
    """The texts in some lists of templates that only validation or test has."""
    nodes = _closed_lists(templates).items()
    cut = [kept for name, node in nodes if name in lists and (kept := _values_of(node, part)) != node.values]
    return {text for values in cut for words, _ in values for text in _texts(words)}


def _closed_lists(templates: Iterable[Template]) -> dict[str, Closed]:
    """The lists, by name, that templates take a slot's words from; the last one of a name."""
    return {n.list_name: n for t in templates for n in slot_nodes(t.node) if isinstance(n, Closed)}


def _digest(*words: str) -> bytes:
    return hashlib.sha256("\0".join(words).encode()).digest()


def adjacent_intents(templates: Iterable[Template]) -> frozenset[str | None]:
    """Intents with a command in which an area may stand right before a name, as its own slot."""
    return frozenset(
        template.intent for template in templates if re.search(r"\{area\}\s*(\[<the>\]\s*)?\{name\}", template.text)
    )


def value_tables(templates: Iterable[Template], language: str) -> tuple[Values, set[str]]:
    """Words to values per slot, and the slots that take plain numbers.

    Where lists disagree on a word, a word that is its own value wins, then the list that comes first.
    """
    tables: dict[str, dict[str, Value]] = defaultdict(dict)
    numbers: dict[str, set[int | float]] = defaultdict(set)
    for template in templates:
        for node in slot_nodes(template.node):
            if isinstance(node, Closed):
                for words, value in node.values:
                    for text in _texts(words):
                        table = tables[node.slot]
                        table[text] = text if value in (text, None) else table.get(text, value)
            elif isinstance(node, Range):
                found = itertools.islice(node.numbers.get_numbers(), 10 * MAX_SPOKEN)
                numbers[node.slot].update(n for n in found if isinstance(n, int))
                numbers[node.slot].update(range(101))
    for slot, wanted in numbers.items():
        counted = {text: number for number in sorted(wanted) for text in spoken(number, language)}
        tables[slot] = {**dict(list(counted.items())[:MAX_SPOKEN]), **tables[slot]}
    return (
        {
            slot: {text: value for text, value in sorted(table.items()) if text != value}
            for slot, table in sorted(tables.items())
            if any(text != value for text, value in table.items())
        },
        set(numbers),
    )


def _texts(node: Node, limit: int = 200) -> list[str]:
    """The texts that a list's value stands for, lowercase, at most ``limit``."""

    def walk(node: Node) -> list[str]:
        if isinstance(node, Text):
            return [node.text]
        if isinstance(node, Choice):
            return [text for item in node.items for text in walk(item)] + ([""] if node.optional else [])
        if isinstance(node, NodeSequence | AnyOrder):
            texts = [""]
            for item in node.items:
                texts = [left + right for left in texts for right in walk(item)][:limit]
            return texts
        return []

    return [text for text in dict.fromkeys(" ".join(text.lower().split()) for text in walk(node)) if text]


def normal(text: str) -> str:
    """What two writings of one sentence have in common: letters and digits in lowercase, single spaces.

    Apostrophes are dropped, other marks separate words.
    """
    text = text.lower().replace("'", "").replace("’", "").replace("%", " percent ")
    return " ".join(re.sub(r"[^\w°]+", " ", text).split())


class _Maker:
    """Draws sentences for one part: fills the templates from its lexicon and drops what nobody would say."""

    def __init__(
        self,
        language: str,
        lexicon: Lexicon,
        values: Values,
        numeric: Container[str],
        skip_words: Sequence[str],
        part: Part,
        rng: random.Random,
        adjacent: frozenset[str | None],
        reserved: set[str],
        to_the_end: Container[str],
    ) -> None:
        self.language = language
        self.part = part
        self.lexicon = lexicon
        self.values = values
        self.numeric = numeric
        self.skip_words = skip_words
        self.rates = augment.TRAINING if part == "train" else augment.HELD_OUT
        self.rng = rng
        self.adjacent = adjacent
        self.reserved = reserved
        """Texts of slots that other parts keep for themselves. Of several words: what one word means, as "jazz", is
        knowledge that training has to give."""
        self.traits: dict[int, tuple[bool, bool, bool]] = {}
        self.to_the_end = to_the_end
        """Slots that end where the sentence does."""
        self.inner: dict[str, Iterator[str]] = {}
        """Per list: commands, without end, for templates that say what is not to be done with one."""

    def plain(self, template: Template) -> Draw | None:
        """One sentence as the template has it, or None where it came out clumsy."""
        drawn = draw(template, self.rng, self.fill)
        if not drawn.text or len(drawn.text.split()) > MAX_WORDS or _clumsy(drawn):
            return None
        return english.mend(drawn) if self.language == "en" else drawn

    def example(self, template: Template) -> Example | None:
        """One labelled sentence in one of the ways in which people write it."""
        drawn = self.plain(template)
        if drawn is None:
            return None
        slots = tuple(self.valued(slot, drawn.text) for slot in drawn.slots) if template.intent else ()
        return self.vary(Example(drawn.text, template.intent, slots, drawn.template.implied))

    def vary(self, example: Example) -> Example:
        """The example as someone might type it."""
        return augment.vary(
            example,
            self.rng,
            self.rates,
            skip_words=self.skip_words,
            english=self.language == "en",
            to_the_end=self.to_the_end,
        )

    def valued(self, slot: Slot, text: str) -> Slot:
        """The slot with the value that its words have."""
        words = text[slot.start : slot.end].lower()
        number = number_in(words) if slot.slot in self.numeric else None
        other = None if isinstance(slot.value, str) else slot.value
        return replace(slot, value=self.values.get(slot.slot, {}).get(words, other if number is None else number))

    def fill(self, template: Template, node: Range | Open, rng: random.Random) -> tuple[str, Value | None]:
        """Words for an open slot or a number."""
        if isinstance(node, Range):
            return self._number(node, rng)
        if template.intent is None and node.list_name in self.inner:
            return next(self.inner[node.list_name]), None
        if node.list_name == "name":
            traits = self.traits.get(id(template))
            if traits is None:
                traits = self.traits[id(template)] = (
                    "area" in template.slots,
                    template.intent not in self.adjacent,
                    template.intent == "HassGetState" or template.domains == ("lock",),
                )
            after_area, with_area, generic = traits
            return (
                self.lexicon.name(template.domains, rng, after_area=after_area, with_area=with_area, generic=generic),
                None,
            )
        return self.lexicon.text(node.list_name, rng), None

    def _number(self, node: Range, rng: random.Random) -> tuple[str, Value]:
        spec = node.numbers
        known = range(spec.start, spec.stop + 1, spec.step)
        number: int | float = rng.randrange(spec.start, spec.stop + 1, spec.step)
        kind = rng.random()
        usual: int | None = None
        if spec.type is RangeType.PERCENTAGE and kind < 0.75:
            usual = rng.randrange(0, 101, 10 if kind < 0.5 else 5)
        elif spec.type is RangeType.TEMPERATURE and kind < 0.65:
            usual = rng.randint(15, 28) if kind < 0.45 else rng.randint(60, 80)
        elif spec.type is RangeType.NUMBER and spec.step == 1 and kind < 0.5:
            usual = rng.choice((1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 45, 50, 60, 90))
        if usual is not None and usual in known:
            number = usual
        if spec.fraction_type is not None and rng.random() < 0.05:
            return str(number + 0.5), number + 0.5
        if spec.words and (not spec.digits or rng.random() >= DIGITS):
            words = spoken(number, spec.words_language or self.language)
            if words:
                return rng.choice(words), number
        return str(number), number


def _clumsy(drawn: Draw) -> bool:
    """True for a word said twice in a row and for number words before a sign ("thirty%")."""
    words = drawn.text.lower().split()
    if any(left == right and not left.isdecimal() for left, right in itertools.pairwise(words)):
        return True
    return any(
        isinstance(slot.value, int | float)
        and drawn.text[slot.end : slot.end + 2].lstrip()[:1] in ("%", "°", "k")
        and not any(letter.isdecimal() for letter in drawn.text[slot.start : slot.end])
        for slot in drawn.slots
    )


def _crowd_part(text: str) -> Part:
    """The part that a crowd-sourced sentence is of: a tenth are held out for validation."""
    return "train" if _digest(text)[0] % 10 else "valid"


def _inner_commands(maker: _Maker, templates: Sequence[Template], ours: Sequence[Example]) -> dict[str, Iterator[str]]:
    """Commands of a part for templates that say what is not to be done with one: by turns ours and the templates'."""
    mine = [e.text for e in ours if e.intent in outside.ACTIONS and _crowd_part(e.text) == maker.part]
    acting = [template for template in templates if template.intent in outside.ACTIONS]

    def said(fits: Callable[[str], bool], form: Callable[[str], str]) -> Iterator[str]:
        fitting = [text for text in mine if fits(text)]
        while True:
            if fitting:
                yield form(maker.rng.choice(fitting))
            drawn = maker.plain(maker.rng.choice(acting))
            if drawn is None or not fits(drawn.text):
                continue
            if maker.reserved.isdisjoint(Example(drawn.text, None, drawn.slots).slot_texts):
                yield form(drawn.text)

    return {name: said(fits, form) for name, (fits, form) in english.COMMAND_FORMS.items()}


def _people(
    maker: _Maker,
    crowd: Sequence[Example],
    ours: Sequence[Example],
    most: int,
    seen: set[str],
    advance: Callable[[], None],
) -> list[Example]:
    """A part's share of commands that the crowd or we worded: as they are for validation, in several writings for
    training; none whose normal form is in ``seen``."""
    weighted = [(e, w) for w, sentences in ((CROWD_WEIGHT, crowd), (1, ours)) for e in sentences]
    mine = [(e, w) for e, w in weighted if _crowd_part(e.text) == maker.part]
    unit = most / max(1, sum(weight for _, weight in mine))
    found: dict[str, Example] = {}
    for example, weight in maker.rng.sample(mine, min(len(mine), most)):
        copies = max(1, min(CROWD_COPIES, int(weight * unit))) if maker.part == "train" else 1
        slots = tuple(maker.valued(slot, example.text) for slot in example.slots)
        for _ in range(copies):
            varied = maker.vary(replace(example, slots=slots))
            if varied.text not in found and normal(varied.text) not in seen:
                found[varied.text] = varied
                advance()
    return list(found.values())


def _commands(
    maker: _Maker, templates: Sequence[Template], size: int, seen: set[str], advance: Callable[[], None]
) -> list[Example]:
    """``size`` distinct in-scope sentences, or as many as there are; none whose normal form is in ``seen``.

    Classes are drawn by the tempered number of their templates, then a source, a block and a template evenly. What
    a class cannot fill, the others do.
    """
    tree: dict[Label, dict[str, dict[str, list[Template]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    for template in templates:
        tree[template.intent, template.implied][template.source][template.block].append(template)
    counts = {
        label: sum(len(block) for blocks in sources.values() for block in blocks.values())
        for label, sources in tree.items()
    }
    found: dict[str, Example] = {}
    open_labels = list(tree)
    while open_labels and len(found) < size:
        total = sum(counts[label] ** TEMPERATURE for label in open_labels)
        missing = size - len(found)
        for label in list(open_labels):
            quota = max(1, round(missing * counts[label] ** TEMPERATURE / total))
            sources = [[list(block) for block in blocks.values()] for blocks in tree[label].values()]
            got = tries = 0
            while got < quota and len(found) < size and tries < 8 * quota + 100:
                tries += 1
                template = maker.rng.choice(maker.rng.choice(maker.rng.choice(sources)))
                example = maker.example(template)
                if example is None or example.text in found or normal(example.text) in seen:
                    continue
                if not maker.reserved.isdisjoint(example.slot_texts):
                    continue
                found[example.text] = example
                got += 1
                advance()
            if got < quota:
                open_labels.remove(label)
    return _one_label_each(found.values())


def _one_label_each(examples: Iterable[Example]) -> list[Example]:
    """Drop examples so that no sentence has two labels: the commoner one stays, then the one with fewer
    slots. "Lights off?" is another than "lights off"."""
    votes: dict[tuple[str, bool], Counter[tuple[object, ...]]] = defaultdict(Counter)
    labelled = [((normal(e.text), "?" in e.text), _label(e), e) for e in examples]
    for sentence, label, _ in labelled:
        votes[sentence][label] += 1
    winners = {
        sentence: min(count, key=lambda label: (-count[label], len(label), repr(label)))
        for sentence, count in votes.items()
    }
    return [example for sentence, label, example in labelled if winners[sentence] == label]


def _label(example: Example) -> tuple[object, ...]:
    """The label in terms of the normal form, so that casing and punctuation make no difference."""
    return (
        example.intent,
        example.implied,
        *((slot.slot, normal(example.text[slot.start : slot.end])) for slot in example.slots),
    )


def _others(
    maker: _Maker,
    rejects: Sequence[Template],
    commands: Sequence[Template],
    foreign: Sequence[str],
    near: Sequence[str],
    size: int,
    known: set[str],
    advance: Callable[[], None],
) -> list[Example]:
    """``size`` distinct out-of-scope sentences whose normal form is not in ``known``; ``near``: our own near misses."""
    rng = maker.rng
    words = _vocabulary(commands, maker.lexicon)
    groups: dict[str, list[Template]] = defaultdict(list)
    for template in rejects:
        groups[template.block].append(template)
    # Near misses teach most but are seldom said: training sees many, validation and test what people say, and
    # validation, which the threshold is fitted to, mostly what they did say.
    in_training = maker.part == "train"
    strangers, near = ([*foreign, *near], []) if in_training else (list(foreign), near)
    rng.shuffle(strangers)
    weights = {"near_miss": 0.5, "almost": 0.5, "other": 5.0, "language": 0.25}
    if in_training:
        weights = {"near_miss": 3.0, "almost": 4.5, "other": 5.0, "impossible": 0.5, "language": 1.5}
    kinds: list[Callable[[], str | None]] = []
    shares: list[float] = []
    for block, templates in groups.items():
        group = block.split("/")[1]
        kinds.append(partial(_reject, maker, templates, words if group == "language" else frozenset()))
        shares.append(weights.get(group, 0.0))
    kinds.append(partial(_fragment, maker, commands))
    shares.append(1.0 if in_training else 0.25)
    for texts, share in ((strangers, 14.0 if in_training else 12.0), (near, weights["near_miss"])):
        if texts:
            left: Iterator[str] = iter(texts)
            kinds.append(partial(next, left, None))
            shares.append(share)
    found: dict[str, Example] = {}
    for _ in range(40 * size):
        if len(found) >= size:
            break
        text = rng.choices(kinds, shares)[0]()
        if not text:
            continue
        example = maker.vary(Example(text, None))
        key = normal(example.text)
        if key and key not in known and example.text not in found:
            found[example.text] = example
            advance()
    return list(found.values())


def _vocabulary(templates: Iterable[Template], lexicon: Lexicon) -> frozenset[str]:
    """Every word that a command of these templates may have."""
    texts = {text for template in templates for text in template.words} | lexicon.texts
    lists = _closed_lists(templates).values()
    texts.update(text for node in lists for words, _ in node.values for text in _texts(words))
    return frozenset(word for text in texts for word in normal(text).split())


def _reject(maker: _Maker, templates: Sequence[Template], words: Container[str]) -> str | None:
    """A sentence of a template; None where fewer than two of its words, and than half of them, are not in ``words``."""
    drawn = maker.plain(maker.rng.choice(templates))
    if drawn is None:
        return None
    said = normal(drawn.text).split()
    strange = sum(word not in words and not word.isdecimal() for word in said)
    return drawn.text if strange >= min(2, (len(said) + 1) // 2) else None


def _fragment(maker: _Maker, commands: Sequence[Template]) -> str | None:
    drawn = maker.plain(maker.rng.choice(commands))
    return outside.fragment(maker.lexicon, drawn.text, maker.rng, maker.language) if drawn else None
