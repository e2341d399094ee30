"""hassil's sentence templates as random walks that know where each slot's words are.

hassil's own sampler enumerates texts depth first and forgets the slots; here its expression tree is compiled to a
small one that is walked at random, and every list reference becomes a character span.
"""

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from hassil.expression import (
    Alternative,
    Expression,
    Group,
    ListReference,
    Permutation,
    RuleReference,
    Sentence,
    TextChunk,
)
from hassil.intents import Intents, RangeSlotList, SlotList, TextSlotList, WildcardSlotList

from train.errors import UserError
from train.examples import Slot, Value

_MAX_DEPTH = 32
"""Expansion rules nested deeper than this refer to each other in a circle."""


@dataclass(frozen=True)
class Text:
    """Words that stand as they are."""

    text: str


@dataclass(frozen=True)
class Sequence:
    """Parts one after another."""

    items: tuple["Node", ...]


@dataclass(frozen=True)
class Choice:
    """One of several parts; an optional one is left out half the time."""

    items: tuple["Node", ...]
    optional: bool


@dataclass(frozen=True)
class AnyOrder:
    """Parts in any order."""

    items: tuple["Node", ...]


@dataclass(frozen=True)
class Closed:
    """A slot whose words are all listed, each with its value."""

    slot: str
    list_name: str
    values: tuple[tuple["Node", Value | None], ...]


@dataclass(frozen=True)
class Range:
    """A slot that takes a number."""

    slot: str
    list_name: str
    numbers: RangeSlotList


@dataclass(frozen=True)
class Open:
    """A slot whose words come from outside the templates: names, areas, floors and wildcards."""

    slot: str
    list_name: str


Node = Text | Sequence | Choice | AnyOrder | Closed | Range | Open
SlotNode = Closed | Range | Open


@dataclass(frozen=True)
class Template:
    """One sentence template with the label that it stands for."""

    source: str
    """Where it is from: "home-assistant", "phrasing", …"""
    block: str
    """The block of templates that it belongs to; blocks are sampled evenly."""
    text: str
    """The template as written."""
    intent: str | None
    implied: tuple[tuple[str, str], ...]
    domains: tuple[str, ...]
    """Domains that a {name} in it must come from; empty: any."""
    node: Node = field(repr=False, compare=False)

    @cached_property
    def slots(self) -> frozenset[str]:
        """Names of all slots that a sentence of this template can have."""
        return frozenset(node.slot for node in slot_nodes(self.node))

    @cached_property
    def lists(self) -> frozenset[str]:
        """Names of all lists that it refers to."""
        return frozenset(node.list_name for node in slot_nodes(self.node))

    @cached_property
    def words(self) -> frozenset[str]:
        """Every word, or part of one, that stands in it outside its slots."""
        return frozenset(word for text in _text_nodes(self.node) for word in text.lower().split())


@dataclass(frozen=True)
class Draw:
    """One sentence drawn from a template: plain text and the slots in it."""

    text: str
    slots: tuple[Slot, ...]
    template: Template


Fill = Callable[[Template, Range | Open, random.Random], tuple[str, Value | None]]
"""Gives the words (and the value, if it is not the words) for an open slot or a number."""


def _text_nodes(node: Node) -> Iterator[str]:
    if isinstance(node, Sequence | Choice | AnyOrder):
        for item in node.items:
            yield from _text_nodes(item)
    elif isinstance(node, Text):
        yield node.text


def slot_nodes(node: Node) -> Iterator[SlotNode]:
    """All slots in a compiled template, depth first."""
    if isinstance(node, Sequence | Choice | AnyOrder):
        for item in node.items:
            yield from slot_nodes(item)
    elif isinstance(node, Closed | Range | Open):
        yield node


def parse(document: Mapping[str, Any], source: str) -> list[Template]:
    """Templates of a document in hassil's intent format (Home Assistant's own schema).

    ``requires_context.domain`` says which domains a {name} may be of; a block's ``slots`` become implied
    slots.
    Lists that no one defines are open. Raises UserError where the document is not what hassil takes.
    """
    try:
        intents = Intents.from_dict(dict(document))
    except Exception as error:  # hassil's errors share no base class
        raise UserError(f"{source}: not hassil's intent format ({type(error).__name__}: {error})") from None
    templates = []
    for intent in intents.intents.values():
        for number, data in enumerate(intent.data):
            rules = {**intents.expansion_rules, **data.expansion_rules}
            lists = {**intents.slot_lists, **data.slot_lists}
            if not isinstance(data.requires_context, Mapping) or not isinstance(data.slots, Mapping):
                raise UserError(f'{source}: {intent.name}: "slots:" and "requires_context:" must be mappings')
            if not all(isinstance(value, str | int | float) for value in data.slots.values()):
                raise UserError(f'{source}: {intent.name}: a value in "slots:" must be a word or a number')
            domains = _domains(data.requires_context)
            try:
                sentences = data.sentences
            except Exception as error:
                raise UserError(f"{source}: {intent.name}: {error}") from None
            for sentence in sentences:
                name = f"{source}: {intent.name}: {sentence.text}"
                node = compile_sentence(sentence, rules, lists, name)
                implied = {slot: str(value) for slot, value in data.slots.items()}
                factors = {n.numbers.multiplier or 1 for n in slot_nodes(node) if isinstance(n, Range)}
                if not factors <= {1, -1}:
                    raise UserError(f"{name}: a range's multiplier must be 1 or -1; the agent's numbers are those said")
                if -1 in factors:
                    implied["direction"] = "down"
                templates.append(
                    Template(
                        source=source,
                        block=f"{source}/{intent.name}/{number}",
                        text=sentence.text or "",
                        intent=intent.name,
                        implied=tuple(sorted(implied.items())),
                        domains=domains,
                        node=node,
                    )
                )
    return templates


def _domains(context: Mapping[str, Any]) -> tuple[str, ...]:
    domains = context.get("domain", ())
    if isinstance(domains, Mapping):
        domains = domains.get("value", ())
    return (domains,) if isinstance(domains, str) else tuple(domains or ())


def compile_sentence(
    sentence: Sentence, rules: Mapping[str, Sentence], lists: Mapping[str, SlotList], name: str
) -> Node:
    """Compile a parsed sentence; rules are put in place of their references.

    ``name`` says in errors which sentence it was. Raises UserError for a missing or circular rule.
    """
    return _compile(sentence.expression, rules, lists, name, 0)


def _compile(
    expression: Expression,
    rules: Mapping[str, Sentence],
    lists: Mapping[str, SlotList],
    name: str,
    depth: int,
) -> Node:
    if depth > _MAX_DEPTH:
        raise UserError(f"{name}: expansion rules refer to each other in a circle")
    if isinstance(expression, TextChunk):
        return Text(expression.original_text)
    if isinstance(expression, RuleReference):
        if expression.rule_name not in rules:
            raise UserError(f"{name}: expansion rule <{expression.rule_name}> is not defined")
        return _compile(rules[expression.rule_name].expression, rules, lists, name, depth + 1)
    if isinstance(expression, ListReference):
        return _compile_list(expression, rules, lists, name, depth)
    assert isinstance(expression, Group)
    items = tuple(_compile(item, rules, lists, name, depth + 1) for item in expression.items)
    if isinstance(expression, Permutation):
        return AnyOrder(items)
    if isinstance(expression, Alternative):
        # hassil marks an optional part by an empty last choice
        return Choice(items[:-1] if expression.is_optional else items, expression.is_optional)
    return items[0] if len(items) == 1 else Sequence(items)


def _compile_list(
    reference: ListReference,
    rules: Mapping[str, Sentence],
    lists: Mapping[str, SlotList],
    name: str,
    depth: int,
) -> Node:
    slot = reference.slot_name
    if reference.is_inline_range:
        bounds = reference.get_inline_range()
        assert bounds is not None
        return Range(slot, reference.list_name, RangeSlotList(reference.list_name, *bounds))
    values = lists.get(reference.list_name)
    if isinstance(values, RangeSlotList):
        return Range(slot, reference.list_name, values)
    if isinstance(values, TextSlotList):
        if not values.values:
            raise UserError(f"{name}: list {{{reference.list_name}}} has no values")
        return Closed(
            slot,
            reference.list_name,
            tuple(
                (
                    _compile(value.text_in, rules, lists, name, depth + 1),
                    _value(value.value_out),
                )
                for value in values.values
            ),
        )
    assert values is None or isinstance(values, WildcardSlotList)
    return Open(slot, reference.list_name)


def _value(out: object) -> Value | None:
    if isinstance(out, bool):  # YAML 1.1 reads a bare on or off so
        return "on" if out else "off"
    return out if isinstance(out, Value) else None


def draw(template: Template, rng: random.Random, fill: Fill) -> Draw:
    """One random sentence of a template: uniform over alternatives, optional parts in half the draws."""
    pieces: list[tuple[str, str | None, Value | None]] = []
    _walk(template.node, template, rng, fill, pieces)
    text = ""
    slots = []
    for words, slot, value in pieces:
        words = " ".join(words.split()) if slot else _collapse(words)
        if words.startswith(" ") and (not text or text.endswith(" ")):
            words = words[1:]
        if slot and words:
            slots.append(Slot(slot, len(text), len(text) + len(words), value))
        text += words
    return Draw(text.rstrip(), tuple(slots), template)


def _collapse(text: str) -> str:
    words = " ".join(text.split())
    if not words:
        return " " if text else ""
    return (" " if text[0].isspace() else "") + words + (" " if text[-1].isspace() else "")


def _walk(
    node: Node,
    template: Template,
    rng: random.Random,
    fill: Fill,
    pieces: list[tuple[str, str | None, Value | None]],
) -> None:
    if isinstance(node, Text):
        pieces.append((node.text, None, None))
    elif isinstance(node, Sequence):
        for item in node.items:
            _walk(item, template, rng, fill, pieces)
    elif isinstance(node, Choice):
        if not node.optional or rng.random() < 0.5:
            _walk(node.items[int(rng.random() * len(node.items))], template, rng, fill, pieces)
    elif isinstance(node, AnyOrder):
        for item in rng.sample(node.items, len(node.items)):
            _walk(item, template, rng, fill, pieces)
    elif isinstance(node, Closed):
        words, value = node.values[int(rng.random() * len(node.values))]
        inner: list[tuple[str, str | None, Value | None]] = []
        _walk(words, template, rng, fill, inner)
        pieces.append(("".join(text for text, _, _ in inner), node.slot, value))
    else:
        text, filled = fill(template, node, rng)
        pieces.append((text, node.slot, filled))
