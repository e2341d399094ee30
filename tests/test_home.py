"""The home's sentences: spans, one label a text, held-out words and templates, every language."""

import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from home_assistant_intents import get_languages

from train import augment, home
from train.errors import UserError
from train.examples import Example, Slot
from train.home import lexicon, templates, told
from train.home.english import gerund, imperative, mend, past
from train.home.numbers import spoken


@pytest.fixture(scope="module")
def english() -> home.Generated:
    return home.generate("en", seed=3, size=8000)


@pytest.fixture(scope="module")
def more_english() -> home.Generated:
    return home.generate("en", seed=5, size=20_000)


def all_examples(made: home.Generated) -> Iterator[Example]:
    for examples in made.parts.values():
        yield from examples


def test_spans_hold_words_without_edges(english: home.Generated) -> None:
    for example in all_examples(english):
        end = 0
        for slot in example.slots:
            words = example.text[slot.start : slot.end]
            assert end <= slot.start < slot.end <= len(example.text)
            assert words == words.strip()
            if slot.slot in ("area", "floor", "name"):
                assert words.split()[0].lower() not in ("the", "my", "our"), example
            end = slot.end


def test_values_fit_the_words(english: home.Generated) -> None:
    checked = 0
    for example in all_examples(english):
        for slot in example.slots:
            words = example.text[slot.start : slot.end].lower()
            if slot.slot in english.numeric_slots and re.fullmatch(r"[\d.]+", words):
                assert slot.value == float(words)
                checked += 1
            elif words in english.values.get(slot.slot, {}):
                assert slot.value == english.values[slot.slot][words]
                checked += 1
            else:
                assert slot.value is None, example
    assert checked > 1000


def test_number_words_are_in_the_tables(english: home.Generated) -> None:
    assert {"brightness", "temperature", "minutes"} <= set(english.numeric_slots)
    for slot in english.numeric_slots:
        assert english.values[slot]["twenty-one"] == english.values[slot]["twenty one"] == 21
        assert english.values[slot]["one hundred"] == 100
        assert len(english.values[slot]) < 500
    assert english.values["temperature"]["warm white"] == 2700
    assert spoken(21, "de")[0] == "einundzwanzig"
    assert spoken(1, "no such language") == ()


def test_no_text_has_two_labels(english: home.Generated) -> None:
    labels: dict[str, set[tuple[object, ...]]] = {}
    for example in all_examples(english):
        slots = tuple((s.slot, home.normal(example.text[s.start : s.end])) for s in example.slots)
        labels.setdefault(home.normal(example.text), set()).add((example.intent, example.implied, slots))
    assert [text for text, found in labels.items() if len(found) > 1] == []


def test_parts_share_no_text_and_no_open_words(english: home.Generated) -> None:
    texts = {part: {home.normal(e.text) for e in examples} for part, examples in english.parts.items()}
    assert not texts["train"] & texts["valid"]
    assert not texts["train"] & texts["test"]
    assert not texts["valid"] & texts["test"]
    for slot in ("area", "name", "item", "message", "search_query"):
        tested = {text for text in _words(english.parts["test"], slot) if " " in text}
        assert tested
        for part in ("train", "valid"):
            assert tested.isdisjoint(_words(english.parts[part], slot)), (part, slot)


def _words(examples: list[Example], slot: str) -> set[str]:
    return {e.text[s.start : s.end].lower() for e in examples for s in e.slots if s.slot == slot and s.value is None}


def test_held_out_templates_are_not_in_training_but_their_labels_are() -> None:
    found = home.in_scope_templates("en")
    parts = home.hold_out(found, random.Random(1))
    known = set(map(id, parts["train"]))
    aside = {part: [t for t in parts[part] if id(t) not in known] for part in ("valid", "test")}
    assert sum(map(len, aside.values())) + len(known) == len(found)
    assert len(aside["valid"]) == len(aside["test"]) == round(len(found) * home.HELD_OUT_TEMPLATES)
    assert {t.intent for part in ("valid", "test") for t in parts[part] if id(t) in known} == {"HassRespond"}
    trained = {(t.intent, t.implied, slot) for t in parts["train"] for slot in (t.slots or {None})}
    for held in aside.values():
        for template in held:
            for slot in template.slots or {None}:
                assert (template.intent, template.implied, slot) in trained


def test_a_language_of_few_templates_has_all_intents_in_all_parts() -> None:
    parts = home.hold_out(home.in_scope_templates("tr"), random.Random(1))
    intents = {part: {template.intent for template in templates} for part, templates in parts.items()}
    assert len(intents["train"]) > 5
    assert intents["valid"] == intents["test"] == intents["train"]


def test_names_that_people_say_are_not_held_out() -> None:
    plain = home.generate("en", seed=1, size=8000)
    ours = {text for text in lexicon.load("en")["test"].texts if " " in text}
    name = max(ours & _words(plain.parts["test"], "name"))
    slots = (Slot("name", 0, len(name)),)
    crowd = [Example(f"{name} zumbrate {n}", "HassTurnOn", slots, (("domain", "light"),)) for n in range(100, 130)]
    made = home.generate("en", seed=1, size=8000, crowd=crowd)
    assert any("zumbrate" in e.text.lower() for e in made.parts["train"])
    assert not [e.text for e in made.parts["test"] if name in e.slot_texts]


def test_lexicon_parts_are_disjoint() -> None:
    parts = lexicon.load("en").values()
    for key in next(iter(parts)).lists:
        _check_disjoint([part.lists[key] for part in parts])
    for domain in next(iter(parts)).names:
        _check_disjoint([part.names[domain].heads for part in parts])


def _check_disjoint(lists: list[lexicon.Weighted]) -> None:
    texts = [{text for group in words.groups for text in group} for words in lists]
    assert all(texts)
    assert sum(map(len, texts)) == len(set.union(*texts))


def test_a_lexicon_lacks_nothing_that_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lexica").mkdir()
    (tmp_path / "lexica" / "xx.yaml").write_text("area: [kitchen]\nperson: [anna]\n")
    monkeypatch.setattr(lexicon, "files", lambda _: tmp_path)
    with pytest.raises(UserError, match=r"lexica/xx.yaml lacks names, message"):
        lexicon.load("xx")


def test_forms_of_commands_are_english(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = {"almost": ["auf keinen fall {command}"]}
    monkeypatch.setattr(home, "_document", lambda folder, language: document if folder == "out_of_scope" else None)
    home.out_of_scope_templates.cache_clear()
    with pytest.raises(UserError, match=r"de.yaml: \{command\} and its forms are for English alone"):
        home.out_of_scope_templates("de")
    home.out_of_scope_templates.cache_clear()


def test_rare_texts_are_drawn_now_and_then() -> None:
    words = lexicon.Weighted.of((("kitchen", "hall"), ("garage",)), ["snug", "inglenook"])
    rng = random.Random(1)
    rare = sum(words.choose(rng) in ("snug", "inglenook") for _ in range(4000)) / 4000
    assert abs(rare - lexicon.RARE / (1 + lexicon.RARE)) < 0.03
    train, *held = (part.texts for part in lexicon.load("en").values())
    assert len(train) > 10 * max(map(len, held)), "rare ones are training's"


def test_names_fit_their_domain() -> None:
    domains: dict[str, set[str]] = {}
    for part in lexicon.load("en").values():
        for domain, words in part.names.items():
            domains.setdefault(domain, set()).update(text for group in words.heads.groups for text in group)
    assert "floor lamp" in domains["light"]
    assert "front door" in domains["lock"]
    switched = ("light", "switch", "fan", "climate", "cover", "media_player", "vacuum", "lawn_mower", "scene")
    for index, one in enumerate(switched):
        for other in switched[index + 1 :]:
            assert not domains[one] & domains[other], (one, other, domains[one] & domains[other])


def test_shares(english: home.Generated) -> None:
    for part, examples in english.parts.items():
        rejected = sum(example.intent is None for example in examples) / len(examples)
        assert abs(rejected - home.OUT_OF_SCOPE[part]) < 0.02
    train = english.parts["train"]
    assert len(train) > 7900
    assert sum(e.text == e.text.lower() for e in train) > 0.6 * len(train)
    assert len({e.intent for e in train}) >= 40


def test_same_seed_same_sentences(english: home.Generated) -> None:
    assert home.generate("en", seed=3, size=8000) == english
    assert home.generate("en", seed=4, size=8000).parts != english.parts


def test_foreign_sentences_train_and_validate_rejection_but_do_not_test_it() -> None:
    foreign = [f"foreign sentence number {number}" for number in range(30_000)]
    made = home.generate("en", seed=1, size=2000, foreign=foreign)
    texts = {part: [e for e in examples if "foreign" in e.text.lower()] for part, examples in made.parts.items()}
    assert len(texts["train"]) > 2 * len(texts["valid"]) > 0
    assert not texts["test"]
    assert all(example.intent is None for part in texts.values() for example in part)


def test_crowd_sourced_commands_are_trained_and_validated_but_not_tested() -> None:
    lamp, slots = (("domain", "light"),), (Slot("area", 20, 24),)
    crowd = [Example(f"zumbrate in 1 of my hall {n}", "HassTurnOn", slots, lamp) for n in range(100, 400)]
    made = home.generate("en", seed=1, size=8000, crowd=crowd)
    texts = {part: [e for e in examples if "of my hall" in e.text.lower()] for part, examples in made.parts.items()}
    assert len(texts["train"]) > 2 * len(texts["valid"]) > 0
    assert not texts["test"]
    for example in (*texts["train"], *texts["valid"]):
        assert (example.intent, example.implied) == ("HassTurnOn", lamp)
        assert [slot.slot for slot in example.slots] == ["area"]
    assert {home.normal(e.text) for e in texts["train"]}.isdisjoint(home.normal(e.text) for e in texts["valid"])


def test_own_sentences_are_labelled_as_templates_are() -> None:
    known: dict[object, set[str]] = {}
    for template in home.in_scope_templates("en"):
        known.setdefault((template.intent, template.implied), set()).update(template.slots)
    ours = told.own_sentences("en")
    assert len({home.normal(example.text) for example in ours}) == len(ours)
    for example in ours:
        if example.intent is not None:
            assert (example.intent, example.implied) in known, example
            assert {slot.slot for slot in example.slots} <= known[example.intent, example.implied], example
        for slot in example.slots:
            around = example.text[slot.start - 1 : slot.start] + example.text[slot.end : slot.end + 1]
            assert not any(letter.isalnum() for letter in around), example
    assert sum(example.intent is not None for example in ours) > 1000
    assert not told.own_sentences("de")
    lines = (Path(home.__file__).parent / "sentences" / "en.tsv").read_text(encoding="utf-8").splitlines()
    assert lines == sorted(lines)


def test_a_line_of_our_sentences() -> None:
    assert told.example_of("HassTurnOn domain=light\tlights in the [attic]area, please") == Example(
        "lights in the attic, please", "HassTurnOn", (Slot("area", 14, 19),), (("domain", "light"),)
    )
    assert told.example_of("none\twhat a nice attic") == Example("what a nice attic", None)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("HassTurnOn lights on", "a tab"),
        ("HassTurnOn light\tlights on", "slot=value"),
        ("HassTurnOn\tturn on the [lamp", r"\[words\]slot"),
        ("HassTurnOn\tturn on the [lamp] now", r"\[words\]slot"),
        ("HassTurnOn\t ", "empty"),
    ],
)
def test_a_broken_line_of_our_sentences(line: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        told.example_of(line)


def test_a_command_that_is_not_meant_is_none(more_english: home.Generated) -> None:
    verb = r"(turn|switch|open|close|lock|set|start)\b"
    limit = (
        r"\b(unless|as soon as (it|i|the)|in case|whenever|but not|except|apart from|excluding|at (sunset|dusk|noon))\b"
    )
    for pattern in (rf"(do not|don't|dont) {verb}", rf"{verb}.*{limit}"):
        found = [e for e in more_english.parts["train"] if re.match(pattern, e.text.lower())]
        assert len(found) > 3
        assert {e.intent for e in found if not {"search_query", "message"} & {s.slot for s in e.slots}} == {None}


@pytest.mark.parametrize(
    "letters", ["[а-я]{3}", "[\u4e00-\u9fff]{2}", "[\u0620-\u064a]{3}", r"\b(der|meinen|mach|schließe)\b"]
)
def test_commands_in_other_languages_are_none(more_english: home.Generated, letters: str) -> None:
    found = [e for e in more_english.parts["train"] if re.search(letters, e.text.lower())]
    assert len(found) > 3
    assert {e.intent for e in found if "search_query" not in {s.slot for s in e.slots}} == {None}


@pytest.mark.parametrize(
    ("sentence", "fits"),
    [
        ("turn on the lamp", True),
        ("Open sesame seeds box", True),
        ("turns out to be fun", False),
        ("lamp on", False),
        ("turn it on please", False),
        ("turn it on, it's dark", False),
    ],
)
def test_what_can_stand_after_do_not(sentence: str, fits: bool) -> None:
    assert imperative(sentence) == fits


@pytest.mark.parametrize(
    ("command", "doing", "done"),
    [
        ("turn the fan off", "turning the fan off", "turned the fan off"),
        ("close the gate", "closing the gate", "closed the gate"),
        ("shut the stop valve", "shutting the stop valve", "shut the stop valve"),
        ("dim the hall", "dimming the hall", "dimmed the hall"),
        ("light the set", "lighting the set", "lit the set"),
        ("mow the lawn", "mowing the lawn", "mowed the lawn"),
        ("mute the tv", "muting the tv", "muted the tv"),
        ("skip the song", "skipping the song", "skipped the song"),
    ],
)
def test_a_command_in_other_forms(command: str, doing: str, done: str) -> None:
    assert (gerund(command), past(command)) == (doing, done)


@pytest.mark.parametrize(
    ("drawn", "said"),
    [("all lights off", "all lights off?"), ("Every lamp on", "Every lamp on?"), ("are all lights off", None)],
)
def test_a_question_without_a_verb_has_a_mark(drawn: str, said: str | None) -> None:
    question = next(t for t in home.in_scope_templates("en") if t.intent == "HassGetState")
    state = Slot("state", len(drawn) - 2, len(drawn))
    mended = mend(templates.Draw(drawn, (state,), question))
    assert mended
    assert mended.text == (said or drawn)


def test_digits_are_numbers(english: home.Generated) -> None:
    numbers = [
        (example.text[slot.start : slot.end], slot.value)
        for example in all_examples(english)
        for slot in example.slots
        if slot.slot in english.numeric_slots and example.text[slot.start : slot.end].isdecimal()
    ]
    assert len(numbers) > 100
    assert all(value == int(text) for text, value in numbers)


@pytest.mark.parametrize("language", get_languages())
def test_every_language_generates(language: str) -> None:
    made = home.generate(language, seed=1, size=300)
    train = made.parts["train"]
    assert len(train) > 250
    assert any(example.slots for example in train)
    assert any(example.intent is None for example in train)
    assert made.parts["valid"]
    assert made.parts["test"]


def test_unknown_language() -> None:
    with pytest.raises(UserError, match="'xx' is unknown"):
        home.generate("xx", seed=1, size=100)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"intents": {"A": {"data": [{"sentences": ["turn <missing>"]}]}}}, "<missing> is not defined"),
        (
            {
                "intents": {"A": {"data": [{"sentences": ["<a>"]}]}},
                "expansion_rules": {"a": "x <b>", "b": "y <a>"},
            },
            "circle",
        ),
        ({"intents": {"A": {"data": [{"sentences": ["turn (on"]}]}}}, "A: "),
        ({"intents": {"A": 3}}, "intent format"),
    ],
)
def test_broken_templates(document: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        templates.parse({"language": "en"} | document, "broken")


def test_a_list_that_nobody_defines_is_named() -> None:
    sentences = ["go to the {place} <quick>", "go to the {area} with {name}"]
    document: dict[str, Any] = {
        "language": "en",
        "intents": {"Go": {"data": [{"sentences": sentences}]}},
        "expansion_rules": {"quick": "at {speed}"},
        "lists": {"speed": {"wildcard": True}},
    }
    with pytest.raises(UserError, match=r"own: list \{place\} is not defined"):
        home.generate_from(document, "own", seed=1, size=100)
    document["lists"] = {"speed": {"wildcard": True}, "place": {"values": ["shed", "pond"]}}
    assert home.generate_from(document, "own", seed=1, size=100).parts["train"]


EXAMPLE = Example("set the desk lamp to 50%", "A", (Slot("name", 8, 17), Slot("brightness", 21, 23, 50)))


def test_edit_moves_spans() -> None:
    moved = augment.edit(EXAMPLE, 0, 0, "please ")
    assert [moved.text[s.start : s.end] for s in moved.slots] == ["desk lamp", "50"]
    grown = augment.edit(EXAMPLE, 9, 10, "ee")
    assert [grown.text[s.start : s.end] for s in grown.slots] == ["deesk lamp", "50"]
    with pytest.raises(ValueError, match="crosses the edge"):
        augment.edit(EXAMPLE, 4, 10, "x")


def test_augmentation_keeps_slots_in_place() -> None:
    rng = random.Random(0)
    rates = augment.Rates(casing=0.6, mark=0.5, respelling=0.9, courtesy=0.9, typo=0.0)
    texts = set()
    for _ in range(500):
        varied = augment.vary(EXAMPLE, rng, rates)
        assert [varied.text[s.start : s.end].lower() for s in varied.slots] == ["desk lamp", "50"]
        assert varied.slots[1].value == 50
        texts.add(varied.text)
    assert len(texts) > 100


def test_typing_errors_change_one_place_and_spare_values() -> None:
    rng = random.Random(0)
    example = Example("set lamp to thirty", "A", (Slot("name", 4, 8), Slot("brightness", 12, 18, 30)))
    for _ in range(200):
        wrong = augment.typo(example, rng)
        assert wrong.text[wrong.slots[1].start : wrong.slots[1].end] == "thirty"
        assert abs(len(wrong.text) - len(example.text)) <= 1


def test_casing_keeps_offsets_in_any_script() -> None:
    example = Example("straße İstanbul ﬁn", "A", (Slot("name", 7, 15),))
    for change in (augment.lower, augment.upper, augment.title, augment.capital):
        assert len(change(example).text) == len(example.text)
