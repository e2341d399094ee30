"""Data sets by name or folder, in one form: labelled sentences in three parts, value tables, where it all
came from.

Public sets are downloaded from their homes into the cache, each file checked (train/public.py); ``data_dir`` takes a
local copy instead. They are not part of the project: heed their licences.

- ``home``: Home Assistant's commands, generated (train/home; home-assistant-intents, Apache-2.0)
- ``snips``: SNIPS, the joint split 13,084/700/700 (CC0 1.0, Coucke et al. 2018; split of Goo et al. 2018)
- ``hwu64``: HWU64, fold 1 of the published ten (CC BY 4.0, Liu et al. 2019)
- ``clinc150``: CLINC150, intents only, with out-of-scope sentences (CC BY 3.0, Larson et al. 2019)
- ``atis``: ATIS, which the user supplies: train/, valid/, test/, each with seq.in, seq.out and label
- ``slurp``: SLURP (CC BY 4.0, Bastianelli et al. 2020)
"""

import json
import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from train import home, public
from train.agentlib import phrase_hash
from train.errors import UserError
from train.examples import (
    PARTS,
    Example,
    Slot,
    Value,
    checked,
    is_text,
    is_value,
    read_json,
    read_jsonl,
    read_text,
    unmark,
    write_atomic,
    write_jsonl,
)
from train.home import crowdsourced
from train.home.outside import PUBLIC_INTENTS

CACHE = Path("build") / "cache"
"""Where downloads, and what a teacher says of words, are kept."""
DATA, PEOPLE, UNLABELLED = "data", "people", "unlabelled.txt"
NAMED = ("home", *public.PUBLIC)
PUBLIC_TEXT = ("snips", "hwu64", "clinc150")
"""Public sets whose sentences can be had without an agreement."""
SAME_SENTENCES = {"slurp": ("hwu64",), "hwu64": ("slurp",)}
"""Sets that were made of the same sentences."""
VALID_SHARE = 0.1
"""Share of training that is split off for validation where a set has no such part."""
MOST_DIGITS = 15
"""Of a number whose digits a double keeps."""


@dataclass
class DataSet:
    """A data set as training takes it."""

    name: str
    language: str
    train: list[Example]
    valid: list[Example]
    test: list[Example]
    values: dict[str, dict[str, Value]] = field(default_factory=dict)
    """Per slot: words in lowercase to their normalised value. Words that are their own value are left out; digits are
    read as numbers and need no entry."""
    numeric_slots: list[str] = field(default_factory=list)
    """Slots that take plain numbers."""
    unlabelled: list[str] = field(default_factory=list)
    """Sentences without a label."""
    people: list[Example] = field(default_factory=list)
    """Held-out sentences that people wrote, where templates made the test part."""
    provenance: dict[str, Any] = field(default_factory=dict)
    """Source, seed, versions, licence: what it takes to make it again."""

    @property
    def generated(self) -> bool:
        """Whether templates made it, not people."""
        return "templates" in self.provenance

    @property
    def english(self) -> bool:
        """Whether it is in any English."""
        return self.language.split("-")[0] == "en"

    @property
    def watched(self) -> list[Example]:
        """What the outcome of training is told by: the validation part; without one, a sample of training itself."""
        return self.valid or random.Random(0).sample(self.train, min(500, len(self.train)))


def load(
    name_or_path: str,
    *,
    data_dir: Path | None,
    language: str = "en",
    seed: int = 1,
    size: int | None = None,
    cache_dir: Path,
) -> DataSet:
    """Load a named data set, a folder of JSON lines, a folder of hassil YAML, or Rasa NLU YAML (file or
    folder).

    data_dir: local copies of public sets (``data_dir/snips``, or ``data_dir`` is that folder); ``home`` learns from the
    training parts of those found there how people speak, to a home and otherwise, and holds out their validation
    parts as ``people``. language and size (training sentences) matter only where sentences are generated.
    cache_dir: where downloads are kept.
    Raises UserError for what is unknown, missing, empty or broken, and for a label that training lacks.
    """
    if data_dir is not None and not data_dir.is_dir():
        raise UserError(f"--data-dir {data_dir} is not a folder")
    if name_or_path == "home":
        dataset = _load_home(data_dir, language, seed, size)
    elif name_or_path in NAMED:
        if language != "en":
            raise UserError(f"data set {name_or_path} is English; --language {language} is for generated sentences")
        dataset = _load_public(name_or_path, data_dir, seed, cache_dir)
    else:
        path = Path(name_or_path)
        if not path.exists():
            raise UserError(
                f"data set {name_or_path!r} is unknown and no such path exists; "
                f"expected {', '.join(NAMED)}, or a folder with train.jsonl, hassil YAML or Rasa NLU YAML"
            )
        dataset = _load_path(path, language, seed, size)
    _check(dataset)
    return dataset


def save(dataset: DataSet, folder: Path) -> None:
    """Write a data set as a folder that ``load`` takes, each file atomically; the manifest goes last.

    Of a data set that was there nothing is left.
    """
    for part in (*PARTS, PEOPLE):
        path, examples = folder / f"{part}.jsonl", getattr(dataset, part)
        if examples or part in ("train", "valid"):  # without a file for validation load would split it off
            write_jsonl(path, examples)
        else:
            path.unlink(missing_ok=True)
    if dataset.unlabelled:
        write_atomic(folder / UNLABELLED, "".join(f"{text}\n" for text in dataset.unlabelled))
    else:
        (folder / UNLABELLED).unlink(missing_ok=True)
    write_atomic(folder / "values.json", _json({"numeric_slots": dataset.numeric_slots, "values": dataset.values}))
    manifest = {"name": dataset.name, "language": dataset.language, "provenance": dataset.provenance}
    write_atomic(folder / "provenance.json", _json(manifest))


def with_public_text(
    dataset: DataSet, data_dir: Path | None, *, cache_dir: Path, say: Callable[[str], None]
) -> DataSet:
    """The data set with the training sentences of public sets, less their labels, as more unlabelled text.

    English ones, for English data, of no set that was made of the same sentences, and none that is measured on. A set
    that is neither in data_dir nor can be downloaded is left out, which say is told.
    """
    texts: list[str] = []
    used = []
    related = {dataset.name, *SAME_SENTENCES.get(dataset.name, ())}
    for name in PUBLIC_TEXT if dataset.language == "en" else ():
        if name not in related:
            try:
                copy = data_dir and data_dir / name  # data_dir itself may be the folder of the set that is trained on
                texts += [example.text for example in _load_public(name, copy, 1, cache_dir).train]
                used.append(f"{name} ({public.PUBLIC[name].licence})")
            except UserError as error:
                say(f"its text is left out of distillation: {error}")
    measured = {home.normal(e.text) for part in (dataset.valid, dataset.test, dataset.people) for e in part}
    kept = (text for text in texts if home.normal(text) not in measured)
    return replace(
        dataset,
        unlabelled=list(dict.fromkeys([*dataset.unlabelled, *kept])),
        provenance={**dataset.provenance, "unlabelled_text": ", ".join(used)},
    )


def _json(record: object) -> str:
    return json.dumps(record, ensure_ascii=False, indent=1) + "\n"


def _check(dataset: DataSet) -> None:
    """Refuse what cannot be trained on or scored: nothing to learn, or labels that training never shows.

    The test parts of public sets are taken as they are: that of ATIS has such labels, which count as wrong.
    """
    if not dataset.train:
        raise UserError(f"data set {dataset.name}: training is empty; it needs at least one example")
    if not any(example.intent for example in dataset.train):
        raise UserError(f"data set {dataset.name}: training has no intent; every example is out of scope")
    for slot, table in dataset.values.items():
        heard: dict[int | None, tuple[str, Value]] = {}
        for words, value in table.items():
            first, meaning = heard.setdefault(phrase_hash(words, 0), (words, value))
            if json.dumps(meaning) != json.dumps(value):  # 21 and 21.0 are two answers
                raise UserError(
                    f"data set {dataset.name}: slot {slot!r}: {first!r} means {meaning!r} and {words!r} {value!r}, "
                    "but the agent hears both alike; give them one value"
                )
    known = _known(dataset.train)
    implied = {word for example in dataset.train for pair in example.implied for word in pair}
    for name in (*(label.split(" ", 1)[1] for label in known), *implied, *dataset.values):
        if any(character < " " for character in name):
            raise UserError(f"data set {dataset.name}: name {name!r} has a control character, which no answer can have")
    for part in PARTS[1:] if dataset.name not in public.PUBLIC else ("valid",):
        for example in getattr(dataset, part):
            missing = [label for label in _labels(example) if label not in known]
            if missing:
                raise UserError(
                    f"data set {dataset.name}: label {missing[0].split(' ', 1)[1]!r} of {part} is missing in training "
                    f"({example.text!r}); add examples of it to training or take it out of {part}"
                )


def _known(train: Sequence[Example]) -> set[str]:
    """The labels that training shows; out of scope is no label."""
    return {label for example in train for label in _labels(example)} | {"intent None"}


def _load_home(data_dir: Path | None, language: str, seed: int, size: int | None) -> DataSet:
    foreign: list[str] = []
    unlabelled: list[str] = []
    crowd: list[Example] = []
    people: list[Example] = []
    seen: set[str] = set()
    sources = []
    if language == "en" and data_dir is not None:
        for name, intents in PUBLIC_INTENTS.items():
            if public.local(name, data_dir) is not None:
                outside = {*intents, None} if "oos" in intents else set(intents)
                told = _load_public(name, data_dir, seed, data_dir)
                seen.update(home.normal(example.text) for example in told.train)
                for example in told.train:
                    known = _as_home_command(example, outside, language)
                    if known is None:
                        unlabelled.append(example.text)
                    elif known.intent is None:
                        foreign.append(known.text)
                    else:
                        crowd.append(known)
                people += [known for e in told.valid if (known := _as_home_command(e, outside, language))]
                sources.append(f"{name} ({told.provenance['licence']})")
    made = home.generate(language, seed, size, foreign, ", ".join(sources), list(dict.fromkeys(crowd)))
    if people:
        seen.update(home.normal(example.text) for part in made.parts.values() for example in part)
    return DataSet(
        "home",
        language,
        made.parts["train"],
        made.parts["valid"],
        made.parts["test"],
        values=made.values,
        numeric_slots=made.numeric_slots,
        unlabelled=list(dict.fromkeys(unlabelled)),
        people=[example for example in dict.fromkeys(people) if home.normal(example.text) not in seen],
        provenance=made.provenance,
    )


def _as_home_command(example: Example, outside: Container[str | None], language: str) -> Example | None:
    """A public set's sentence as a home takes it: by our own label, or out of scope by its intent; else unknown."""
    own = crowdsourced.labelled(example.text, language)
    return own or (Example(example.text, None) if example.intent in outside else None)


# --- folders ---


def _load_path(path: Path, language: str, seed: int, size: int | None) -> DataSet:
    if (path / "train.jsonl").is_file():
        return _load_jsonl(path, language, seed)
    if path.suffix == ".jsonl":
        raise UserError(f"{path}: give the folder that it lies in: {path.parent}")
    found = [path] if path.is_file() else sorted((*path.glob("**/*.yaml"), *path.glob("**/*.yml")))
    if not found:
        raise UserError(f"{path}: holds neither train.jsonl nor YAML; expected one of them")
    documents = [(file, _yaml(file)) for file in found]
    name = path.stem if path.is_file() else path.resolve().name
    if any("intents" in document and isinstance(document["intents"], dict) for _, document in documents):
        return _load_hassil(name, documents, language, seed, size)
    if any("nlu" in document for _, document in documents):
        return _load_rasa(name, documents, language, seed)
    raise UserError(f'{path}: expected hassil YAML (a mapping "intents:") or Rasa NLU YAML (a list "nlu:")')


def _load_jsonl(folder: Path, language: str, seed: int) -> DataSet:
    train, valid, test, people = (
        read_jsonl(path) if (path := folder / f"{part}.jsonl").is_file() else [] for part in (*PARTS, PEOPLE)
    )
    told = train
    if not (folder / "valid.jsonl").is_file():
        train, valid = split_off(train, seed)
    name = folder.resolve().name
    dataset = DataSet(name, language, train, valid, test, people=people, provenance={"data": name})
    manifest = folder / "provenance.json"
    if manifest.is_file():
        record = {"name": name, "language": language, "provenance": dataset.provenance, **read_json(manifest)}
        if not (is_text(record["name"]) and is_text(record["language"]) and isinstance(record["provenance"], dict)):
            raise UserError(f'{manifest}: expected {{"name": "…", "language": "…", "provenance": {{…}}}}')
        dataset.name, dataset.language, dataset.provenance = record["name"], record["language"], record["provenance"]
    tables = folder / "values.json"
    if tables.is_file():
        record = read_json(tables)
        values, numeric = record.get("values", {}), record.get("numeric_slots", [])
        if not _is_tables(values) or not isinstance(numeric, list) or not all(map(is_text, numeric)):
            raise UserError(f'{tables}: expected {{"numeric_slots": [slot…], "values": {{slot: {{words: value}}}}}}')
        dataset.values, dataset.numeric_slots = values, numeric
    else:
        dataset.values, dataset.numeric_slots = told_values(told)
    sentences = folder / UNLABELLED
    if sentences.is_file():
        dataset.unlabelled = [line for line in read_text(sentences).splitlines() if line.strip()]
    return dataset


def _is_tables(values: object) -> bool:
    return (
        isinstance(values, dict)
        and all(
            isinstance(table, dict) and all(map(is_value, table.values())) and all(map(is_text, table))
            for table in values.values()
        )
        and all(map(is_text, values))
    )


def told_values(examples: Sequence[Example]) -> tuple[dict[str, dict[str, Value]], list[str]]:
    """:attr:`DataSet.values` and :attr:`DataSet.numeric_slots` by the values that slots of examples have.

    A slot whose values are all numbers takes plain numbers. Raises UserError for words with two values.
    """
    values: dict[str, dict[str, Value]] = defaultdict(dict)
    for example in examples:
        for slot, words in zip(example.slots, example.slot_texts, strict=True):
            if slot.value is not None and values[slot.slot].setdefault(words, slot.value) != slot.value:
                raise UserError(
                    f"slot {slot.slot!r}: {words!r} means {values[slot.slot][words]!r} and {slot.value!r} "
                    f"({example.text!r}); give it one value"
                )
    numeric = [slot for slot, table in values.items() if not any(isinstance(v, str) for v in table.values())]
    for name in numeric:
        values[name] = {words: value for words, value in values[name].items() if words != json.dumps(value)}
    return dict(values), numeric


class _Words(yaml.SafeLoader):
    """Reads scalars as people mean them who write sentences: yes, no, on, off, dates, times and 007 are words, about as
    in YAML 1.2."""


_PLAIN = {
    "bool": ("true|True|TRUE|false|False|FALSE", "tTfF"),
    "int": ("[-+]?(?:0|[1-9][0-9]*)", "-+0123456789"),
    "float": (r"[-+]?(?:0|[1-9][0-9]*)?\.[0-9]+", "-+.0123456789"),
}
_Words.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.rpartition(":")[2] not in (*_PLAIN, "timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _kind, (_pattern, _first) in _PLAIN.items():
    _Words.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(f"^(?:{_pattern})$"), list(_first))


def _mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    """A mapping whose keys all differ, as YAML demands; PyYAML would take the last of equal ones."""
    seen: set[str] = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode):
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} stands twice", key.start_mark)
            seen.add(key.value)
    return loader.construct_mapping(node, deep=True)


_Words.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def _yaml(path: Path) -> dict[str, Any]:
    try:
        document = yaml.load(read_text(path), _Words) or {}  # an empty file, or one of comments
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: broken YAML ({' '.join(str(error).split())})") from None
    if not isinstance(document, dict):
        raise UserError(f"{path}: expected a YAML mapping")
    return document


def _load_hassil(
    name: str, documents: Sequence[tuple[Path, dict[str, Any]]], language: str, seed: int, size: int | None
) -> DataSet:
    merged: dict[str, Any] = {"intents": {}, "lists": {}, "expansion_rules": {}, "skip_words": []}
    for file, document in documents:
        if "language" in document:
            spoken = document["language"]
            if not is_text(spoken) or merged.setdefault("language", spoken) != spoken:
                raise UserError(
                    f'{file}: "language:" must be one word, the same in all files of {name}, not {spoken!r}'
                )
        skip_words = document.get("skip_words") or []
        if not isinstance(skip_words, list) or not all(map(is_text, skip_words)):
            raise UserError(f'{file}: "skip_words:" must be a list of words')
        merged["skip_words"] += skip_words
        for key in ("lists", "expansion_rules"):
            rules = document.get(key) or {}
            if not isinstance(rules, dict):
                raise UserError(f'{file}: "{key}:" must be a mapping of names')
            for rule, body in rules.items():
                if merged[key].setdefault(rule, body) != body:
                    raise UserError(f'{file}: "{key}:" has another {rule!r} than another file of {name}')
        _check_lists(document.get("lists"), file)
        intents = document.get("intents") or {}
        if not isinstance(intents, dict):
            raise UserError(f'{file}: "intents:" must be a mapping of intents to "data:"')
        for intent, body in intents.items():
            if not isinstance(body, dict) or not isinstance(body.get("data"), list):
                raise UserError(f'{file}: intent {intent!r} needs a list "data:" with blocks of "sentences:"')
            if not all(
                isinstance(b, dict) and isinstance(b.get("sentences"), list) and all(map(is_text, b["sentences"]))
                for b in body["data"]
            ):
                raise UserError(f'{file}: intent {intent!r}: each block of "data:" needs a list "sentences:" of texts')
            for block in body["data"]:
                _check_lists(block.get("lists"), file)
                if isinstance(block.get("slots"), dict):
                    block["slots"] = {slot: _as_written(value) for slot, value in block["slots"].items()}
            merged["intents"].setdefault(str(intent), {"data": []})["data"] += body["data"]
    merged.setdefault("language", language)
    made = home.generate_from(merged, name, seed, size)
    return DataSet(
        name,
        merged["language"],
        made.parts["train"],
        made.parts["valid"],
        made.parts["test"],
        values=made.values,
        numeric_slots=made.numeric_slots,
        provenance=made.provenance,
    )


def _as_written(value: Any) -> Any:
    """A value that the file has for true or false, as the word."""
    return str(value).lower() if isinstance(value, bool) else value


def _check_lists(lists: object, file: Path) -> None:
    """Refuse what hassil takes for no value of a list: numbers, unless they are written as text."""
    for name, body in lists.items() if isinstance(lists, dict) else ():
        values = body.get("values") if isinstance(body, dict) else None
        for value in values if isinstance(values, list) else ():
            if not isinstance(value, str | dict):
                raise UserError(f'{file}: value {value!r} of list {name!r} must be text: "{value}"')
            if isinstance(value, dict) and "out" in value:
                value["out"] = _as_written(value["out"])


_OBJECT = r'\{(?:"(?:[^"\\]|\\.)*"|[^"}])*\}'
_RASA_ENTITY = re.compile(rf"\[([^\]]+)\](?:\(([^)]+)\)|({_OBJECT}|\[\s*{_OBJECT}(?:\s*,\s*{_OBJECT})*\s*\]))")


def _load_rasa(name: str, documents: Sequence[tuple[Path, dict[str, Any]]], language: str, seed: int) -> DataSet:
    """Rasa 2 and 3 NLU data: intents with ``[words](entity:value)`` or ``[words]{"entity": …}``, and synonyms.

    An entity's role and group are part of its slot's name: ``city.departure``. A synonym is a value of the slots in
    which what it stands for is said. Lookup tables and regexes are passed over.
    """
    examples: list[Example] = []
    synonyms: dict[str, str] = {}
    for file, document in documents:
        items = document.get("nlu") or []
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise UserError(f"{file}: nlu: must be a list of mappings")
        for item in items:
            if "synonym" in item:
                for line in _rasa_lines(item, file):
                    synonyms[line.lower()] = str(item["synonym"])
            elif "intent" in item:
                if not is_text(item["intent"]) or not item["intent"]:
                    raise UserError(f"{file}: intent: must be a name, not {item['intent']!r}")
                intent = item["intent"].split("/")[0]
                label = None if intent in ("nlu_fallback", "out_of_scope") else intent
                examples += [_rasa_example(line, label, file) for line in _rasa_lines(item, file)]
    examples = [
        Example(
            example.text,
            example.intent,
            tuple(
                replace(slot, value=synonyms.get(words)) if slot.value is None else slot
                for slot, words in zip(example.slots, example.slot_texts, strict=True)
            ),
        )
        for example in examples
    ]
    examples = _with_numbers(examples)
    values, numeric_slots = told_values(examples)
    said: dict[str, set[str]] = defaultdict(set)
    for example in examples:
        for slot, words in zip(example.slots, example.slot_texts, strict=True):
            said[slot.slot].add(words)
    for slot_name, texts in said.items():
        texts.update(str(value).lower() for value in values.get(slot_name, {}).values())
        meanings = {*values.get(slot_name, {}).values()}
        for words, meant in synonyms.items():
            number = _number(meant) if slot_name in numeric_slots else None
            if meant.lower() in texts or number in meanings:
                values.setdefault(slot_name, {}).setdefault(words, meant if number is None else number)
    train, valid = split_off(examples, seed)
    provenance = {"data": name, "format": "Rasa NLU YAML", "seed": seed}
    return DataSet(name, language, train, valid, [], values=values, numeric_slots=numeric_slots, provenance=provenance)


def _with_numbers(examples: Sequence[Example]) -> list[Example]:
    """Values of the slots that have none but numbers, which Rasa writes as text, as numbers."""
    told = [(slot.slot, slot.value) for example in examples for slot in example.slots if slot.value is not None]
    texts = {slot for slot, value in told if isinstance(value, str) and _number(value) is None}

    def read(slot: Slot) -> Slot:
        number = _number(slot.value) if isinstance(slot.value, str) and slot.slot not in texts else None
        return slot if number is None else replace(slot, value=number)

    return [replace(example, slots=tuple(map(read, example.slots))) for example in examples]


def _number(text: str) -> int | float | None:
    """The number that a text is; none where it would lose something, as telephone numbers and identifiers do."""
    if len(text) > MOST_DIGITS or not re.fullmatch(r"-?(0|[1-9]\d*)(\.\d+)?", text, re.ASCII):
        return None
    value = float(text)
    return int(value) if value.is_integer() else value


def _rasa_lines(item: Mapping[str, Any], file: Path) -> list[str]:
    body = item.get("examples") or ""
    if isinstance(body, list):
        return [str(line.get("text", "") if isinstance(line, dict) else line).strip() for line in body]
    lines = [line.strip() for line in str(body).splitlines() if line.strip()]
    if odd := next((line for line in lines if not line.startswith("-")), None):
        raise UserError(f"{file}: {odd!r}: each line of examples: must begin with -")
    return [line[1:].strip() for line in lines]


def _rasa_example(line: str, intent: str | None, file: Path) -> Example:
    def read(match: re.Match[str]) -> tuple[str, str, Value | None]:
        words, short, long = match.groups()
        if short is not None:
            slot, _, shown = short.partition(":")
            return words, slot.strip(), shown.strip() or None
        try:
            record = json.loads(long)
            if isinstance(record, list):  # Rasa's way to say several things of the same words
                (record,) = record
            name = ".".join(record[key] for key in ("entity", "role", "group") if key == "entity" or record.get(key))
            return words, name, record.get("value")
        except (ValueError, KeyError, TypeError):
            raise UserError(f'{file}: {line!r}: expected one {{"entity": "name", …}} after [words]') from None

    text, slots = unmark(line, _RASA_ENTITY, read)
    if not text:
        raise UserError(f"{file}: an example of intent {intent!r} is empty")
    if "[" in text or "](" in text or "]{" in text:
        raise UserError(f"{file}: {line!r}: a bracket begins or ends no entity; write [words](entity), or leave it out")
    example = Example(text, intent, slots if intent else ())
    try:
        return checked(example)
    except ValueError as error:
        raise UserError(f"{file}: {line!r}: {error}") from None


def split_off(examples: Sequence[Example], seed: int) -> tuple[list[Example], list[Example]]:
    """A seeded tenth for validation, no intent losing its last example or slot to it, and no sentence in both:
    (training, validation)."""
    order = list(range(len(examples)))
    random.Random(f"{seed}/valid").shuffle(order)
    copies: dict[str, list[int]] = defaultdict(list)
    for index, example in enumerate(examples):
        copies[example.text].append(index)
    left = Counter(label for example in examples for label in _labels(example))
    wanted = round(len(examples) * VALID_SHARE)
    chosen: set[int] = set()
    for index in order:
        if len(chosen) >= wanted:
            break
        alike = copies[examples[index].text]
        labels = Counter(label for i in alike for label in _labels(examples[i]))
        if index not in chosen and all(left[label] > count for label, count in labels.items()):
            left -= labels
            chosen.update(alike)
    train = [example for index, example in enumerate(examples) if index not in chosen]
    return train, [examples[index] for index in sorted(chosen)]


def _labels(example: Example) -> list[str]:
    return [f"intent {example.intent}", *(f"slot {slot.slot}" for slot in example.slots)]


def _load_public(name: str, data_dir: Path | None, seed: int, cache_dir: Path) -> DataSet:
    parts, source = public.read(name, data_dir, cache_dir)
    train = parts.get("train", [])
    train, valid = (train, parts["valid"]) if "valid" in parts else split_off(train, seed)
    known = _known(train)
    valid = [example for example in valid if known.issuperset(_labels(example))]
    return DataSet(name, "en", train, valid, parts.get("test", []), provenance={**source, "seed": seed})
