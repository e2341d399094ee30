"""Data sets by name and folder; the public ones only where a local copy lies in ../shared/data."""

import json
from pathlib import Path

import pytest

from train import datasets, home, public
from train.datasets import DataSet, load, save, with_public_text
from train.errors import UserError
from train.examples import Example, Slot, write_jsonl
from train.home import crowdsourced
from train.home.outside import PUBLIC_INTENTS

SHARED = Path(__file__).parents[2] / "shared" / "data"


def shared(name: str) -> Path:
    if not (SHARED / name).is_dir():
        pytest.skip(f"no local copy of {name} in ../shared/data")
    return SHARED


def get(name: str, data_dir: Path | None = None, *, seed: int = 1, size: int | None = None) -> DataSet:
    return load(name, data_dir=data_dir, seed=seed, size=size, cache_dir=Path("nowhere"))


def test_save_and_load(tmp_path: Path) -> None:
    example = Example("set it to thirty", "Set", (Slot("level", 10, 16, 30),), (("domain", "light"),))
    made = DataSet(
        "mine",
        "de",
        [example, Example("no", None)],
        [example],
        [],
        values={"level": {"thirty": 30}},
        numeric_slots=["level"],
        unlabelled=["schöne sätze"],
        provenance={"data": "mine", "seed": 1},
    )
    save(made, tmp_path / "set")
    assert get(str(tmp_path / "set")) == made
    assert json.loads((tmp_path / "set" / "provenance.json").read_text())["provenance"]["seed"] == 1


def test_a_saved_set_leaves_nothing_of_the_one_before(tmp_path: Path) -> None:
    example = Example("lamp on", "On")
    save(DataSet("a", "en", [example], [example], [example], unlabelled=["lamps"], people=[example]), tmp_path / "set")
    smaller = DataSet("b", "en", [example], [], [])
    save(smaller, tmp_path / "set")
    made = get(str(tmp_path / "set"))
    assert (made.valid, made.test, made.people, made.unlabelled) == ([], [], [], [])


def test_values_are_those_of_the_sentences(tmp_path: Path) -> None:
    """Where no values.json says them."""
    sentences = [("to 30", 30), ("to Thirty", 30), ("to 2.5", 2.5), ("to max", 100)]
    level = [Example(text, "Set", (Slot("level", 3, len(text), value),)) for text, value in sentences]
    area = Example("in the loo", "Set", (Slot("area", 7, 10, "bathroom"),))
    made = get(write(tmp_path / "mine", train=[*level, area, Example("in the attic", "Set", (Slot("area", 7, 12),))]))
    assert made.values == {"level": {"thirty": 30, "max": 100}, "area": {"loo": "bathroom"}}
    assert made.numeric_slots == ["level"]


def test_words_with_two_values(tmp_path: Path) -> None:
    def set_to(words: str, value: str | int) -> Example:
        return Example(f"to {words}", "Set", (Slot("level", 3, 3 + len(words), value),))

    with pytest.raises(UserError, match=r"'max' means 100 and 99 .* give it one value"):
        get(write(tmp_path / "same", train=[set_to("max", 100), set_to("max", 99)]))
    with pytest.raises(UserError, match=r"'twenty-one' means 21 and 'twenty one' '21', .* hears both alike"):
        get(write(tmp_path / "alike", train=[set_to("twenty-one", 21), set_to("twenty one", "21")]))


def test_validation_is_split_off_where_there_is_none(tmp_path: Path) -> None:
    """Whatever the order in the file, and no sentence twice."""
    commands = [Example(f"lamp {i} on", "On") for i in range(60)]
    twice = [Example("lamps on", "On")] * 10
    made = get(write(tmp_path / "mine", train=[*commands, *twice, *(Example(f"cats {i}", None) for i in range(60))]))
    assert {example.intent for example in made.valid} == {"On", None}
    assert len(made.train) + len(made.valid) == 130
    assert not {example.text for example in made.train} & {example.text for example in made.valid}
    save(made, tmp_path / "saved")
    assert get(str(tmp_path / "saved"), seed=2).valid == made.valid
    assert {e.intent for e in DataSet("a", "en", [*commands, *[Example("no", None)] * 600], [], []).watched} == {
        "On",
        None,
    }


def test_home_by_name() -> None:
    made = get("home", size=400, seed=5)
    assert made.name == "home"
    assert made.language == "en"
    assert made.provenance["seed"] == 5
    assert made.provenance["out_of_scope_text"]["sentences"] == 0


def test_home_takes_foreign_text_from_local_copies() -> None:
    made = get("home", shared("clinc150"), size=400)
    assert made.provenance["out_of_scope_text"]["sentences"] > 5000
    assert "clinc150" in made.provenance["out_of_scope_text"]["source"]


def test_home_takes_crowd_sourced_commands_from_a_local_copy() -> None:
    folder = shared("hwu64")
    labels = [label for e in get("hwu64", folder).train if (label := crowdsourced.labelled(e.text, "en"))]
    assert sum(label.intent is not None for label in labels) > 1000
    made = get("home", folder, size=4000)
    assert made.provenance["crowd_sourced_commands"] > 1000
    known = {(e.intent, s.slot) for e in get("home", size=40_000).train for s in e.slots}
    for label in labels:
        assert {(label.intent, slot.slot) for slot in label.slots} <= known, label


def test_home_holds_out_sentences_of_people() -> None:
    made = get("home", shared("clinc150"), size=4000)
    assert sum(e.intent is not None for e in made.people) > 100
    assert sum(e.intent is None for e in made.people) > 2000
    known = [get(name, SHARED).train for name in PUBLIC_INTENTS]
    seen = {home.normal(e.text) for part in (made.train, made.valid, made.test, *known) for e in part}
    assert seen.isdisjoint(home.normal(e.text) for e in made.people)
    assert {e.text for e in made.people} <= {e.text for name in PUBLIC_INTENTS for e in get(name, SHARED).valid}
    assert not get("home", size=400).people


def test_snips() -> None:
    made = get("snips", shared("snips"))
    assert [len(made.train), len(made.valid), len(made.test)] == [13084, 700, 700]
    assert made.train[0].text == "listen to westbam alumb allergic on google music"
    first = [(slot.slot, made.train[0].text[slot.start : slot.end]) for slot in made.train[0].slots]
    assert first == [("artist", "westbam"), ("album", "allergic"), ("service", "google music")]
    assert len({example.intent for example in made.train}) == 7
    assert get("snips", SHARED / "snips").train == made.train


def test_hwu64() -> None:
    made = get("hwu64", shared("hwu64"))
    assert len(made.train) + len(made.valid) == 9960
    assert abs(len(made.valid) - 996) <= 1
    assert len({example.intent for example in made.train}) == 64
    assert all("[" not in example.text for example in made.train)
    assert get("hwu64", SHARED, seed=2).valid != made.valid
    assert get("hwu64", SHARED).valid == made.valid


def test_clinc150() -> None:
    made = get("clinc150", shared("clinc150"))
    assert [len(made.train), len(made.valid)] == [15100, 3100]
    assert sum(example.intent is None for example in made.train) == 100
    assert len({example.intent for example in made.train}) == 151


def test_text_of_public_sets_is_added_without_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "sets" / "snips"
    sequence_folder(folder)
    (tmp_path / "sets" / "clinc150").mkdir()
    (tmp_path / "sets" / "clinc150" / "data_full.json").write_text('{"train": [["how tall am i", "height"]]}')

    def offline(name: str, *_: object) -> Path:
        raise UserError(f"data set {name}: no network")

    monkeypatch.setattr(public, "_download", offline)
    said: list[str] = []
    own = DataSet("x", "en", [Example("lamp on", "On")], [], [], unlabelled=["lamps"])
    more = with_public_text(own, tmp_path / "sets", cache_dir=tmp_path, say=said.append)
    snips = [e.text for e in load("snips", data_dir=folder, cache_dir=tmp_path).train]
    assert more.unlabelled == ["lamps", *snips, "how tall am i"]
    assert more.train == own.train
    assert more.provenance["unlabelled_text"] == "snips (CC0 1.0), clinc150 (CC BY 3.0)"
    assert said == ["its text is left out of distillation: data set hwu64: no network"]
    measured = DataSet("x", "en", own.train, [], [Example("How tall am I?", None)])
    assert with_public_text(measured, tmp_path / "sets", cache_dir=tmp_path, say=said.append).unlabelled == snips

    alone = with_public_text(own, folder, cache_dir=tmp_path, say=said.append)
    assert alone.unlabelled == ["lamps"], "a folder that --data-dir names is that of the set that is trained on"

    said.clear()
    for name, language in (("snips", "en"), ("slurp", "en"), ("x", "de")):
        data = DataSet(name, language, own.train, [], [])
        made = with_public_text(data, tmp_path / "sets", cache_dir=tmp_path, say=said.append)
        assert (snips[0] in made.unlabelled) == (name == "slurp"), "no set's own text, and none of another language"
    assert len(said) == 1, "SLURP is made of HWU64's sentences, so it is not asked for"


def test_checksums_fit_the_local_copies() -> None:
    import hashlib

    shared("snips"), shared("hwu64")
    listed = (Path(datasets.__file__).parent / "checksums.sha256").read_text().split()
    for digest, path in zip(listed[::2], listed[1::2], strict=True):
        local = SHARED / path.replace("trainset", "train")
        assert hashlib.sha256(local.read_bytes()).hexdigest() == digest, path


def sequence_folder(folder: Path, tags: str = "O B-city I-city") -> None:
    for part in ("train", "valid", "test"):
        (folder / part).mkdir(parents=True)
        (folder / part / "seq.in").write_text("to new york\n")
        (folder / part / "seq.out").write_text(tags + "\n")
        (folder / part / "label").write_text("flight\n")


def test_atis_is_the_users(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--data-dir"):
        get("atis")
    sequence_folder(tmp_path / "atis")
    for data_dir in (tmp_path, tmp_path / "atis"):
        made = get("atis", data_dir)
        assert made.test == [Example("to new york", "flight", (Slot("city", 3, 11),))]


def test_sequences_as_people_save_them(tmp_path: Path) -> None:
    """With an empty line at the end, an odd space within, and no validation part."""
    folder = tmp_path / "atis" / "train"
    folder.mkdir(parents=True)
    for name, line in (("seq.in", "to new\u2028 york\n"), ("seq.out", "O B-city I-city\n"), ("label", "flight\n")):
        (folder / name).write_text(line * 20 + "\n", encoding="utf-8")
    made = get("atis", tmp_path)
    assert {example.text for example in made.train} == {"to new york"}
    assert not made.valid, "it is one sentence"
    with pytest.raises(UserError, match="atis is English"):
        load("atis", data_dir=tmp_path, language="de", cache_dir=tmp_path)


def test_labels_that_only_a_public_test_part_has_stay_in_it(tmp_path: Path) -> None:
    sequence_folder(tmp_path / "atis")
    for part in ("valid", "test"):
        with (
            (tmp_path / "atis" / part / "seq.in").open("a") as words,
            (tmp_path / "atis" / part / "label").open("a") as label,
        ):
            words.write("on monday\non monday\n")
            label.write("day_name\nflight\n")
        with (tmp_path / "atis" / part / "seq.out").open("a") as tags:
            tags.write("O O\nO B-day\n")
    made = get("atis", tmp_path)
    assert [len(made.train), len(made.valid), len(made.test)] == [1, 1, 3], "nothing is fitted to what cannot be learnt"
    assert [made.test[1].intent, made.test[2].slots[0].slot] == ["day_name", "day"]
    save(made, tmp_path / "saved")
    assert get(str(tmp_path / "saved")) == made


def test_sequence_mistakes(tmp_path: Path) -> None:
    sequence_folder(tmp_path / "atis", "O B-city")
    with pytest.raises(UserError, match=r"seq.out:1: 2 tags for 3 words"):
        get("atis", tmp_path)
    (tmp_path / "atis" / "train" / "label").write_text("a\nb\n")
    with pytest.raises(UserError, match="lines"):
        get("atis", tmp_path)


def test_bio_like_conlleval() -> None:
    example = public.from_bio(["a", "b", "c", "d"], ["I-x", "I-x", "B-x", "I-y"], "A")
    assert [(s.slot, example.text[s.start : s.end]) for s in example.slots] == [
        ("x", "a b"),
        ("x", "c"),
        ("y", "d"),
    ]


def test_slurp(tmp_path: Path) -> None:
    record = {
        "scenario": "alarm",
        "action": "set",
        "tokens": [{"surface": word} for word in ["wake", "me", "at", "nine", "am"]],
        "entities": [{"type": "time", "span": [3, 4]}],
    }
    (tmp_path / "slurp").mkdir()
    for part in ("train", "devel"):
        (tmp_path / "slurp" / f"{part}.jsonl").write_text(json.dumps(record) + "\n")
    made = get("slurp", tmp_path)
    assert made.train == made.valid == [Example("wake me at nine am", "alarm_set", (Slot("time", 11, 18),))]
    (tmp_path / "slurp" / "train.jsonl").write_text("{}\n")
    with pytest.raises(UserError, match=r"train\.jsonl:1"):
        get("slurp", tmp_path)


HASSIL = """
language: en
intents:
  Brew:
    data:
      - sentences: ["(make|brew) [me] (a|one) [{strength}] {drink}", "[i want] {drink} [now]", "pour {drink} [now]",
                    "let me have {drink}", "give me {drink}", "{amount} {drink}"]
        slots: {device: machine}
lists:
  drink: {values: [coffee, tea, cocoa, {in: "flat white", out: latte}]}
  strength: {values: [strong, weak]}
  amount: {range: {from: 1, to: 5}}
"""


def test_hassil_folder(tmp_path: Path) -> None:
    (tmp_path / "brew.yaml").write_text(HASSIL)
    made = get(str(tmp_path), size=300)
    brews = [example for example in made.train if example.intent]
    assert {example.intent for example in brews} == {"Brew"}
    assert {example.implied for example in brews} == {(("device", "machine"),)}
    assert made.values["drink"] == {"flat white": "latte"}
    assert made.numeric_slots == ["amount"]
    assert any(example.intent is None for example in made.train)


@pytest.mark.parametrize("size", [500, 20_000])
def test_a_small_grammar_leaves_commands_for_all_parts(size: int, tmp_path: Path) -> None:
    rinse = '  Rinse:\n    data:\n      - sentences: ["(rinse|clean) [the] (pot|machine) [now|soon|later|again]"]\n'
    (tmp_path / "brew.yaml").write_text(HASSIL.replace("lists:\n  drink", f"{rinse}lists:\n  drink"))
    made = get(str(tmp_path), size=size)
    forms = {home.normal(example.text) for example in made.train}
    for part in (made.valid, made.test):
        assert {example.intent for example in part} == {"Brew", "Rinse", None}
        assert forms.isdisjoint(home.normal(example.text) for example in part)


def test_a_list_of_a_block_may_hold_anything(tmp_path: Path) -> None:
    block = '      - sentences: ["engrave {words}"]\n        lists: {words: {wildcard: true}}\n'
    (tmp_path / "brew.yaml").write_text(
        HASSIL.replace("lists:\n  drink", f"  Engrave:\n    data:\n{block}lists:\n  drink")
    )
    made = get(str(tmp_path), size=300)
    assert any(slot.slot == "words" for example in made.train for slot in example.slots)


@pytest.mark.parametrize("name", ["command", "worded"])
def test_lists_of_ours_are_free_for_a_folder(name: str, tmp_path: Path) -> None:
    block = f'      - sentences: ["do {{{name}}}"]\n        lists: {{{name}: {{wildcard: true}}}}\n'
    (tmp_path / "brew.yaml").write_text(HASSIL.replace("lists:\n  drink", f"  Do:\n    data:\n{block}lists:\n  drink"))
    made = get(str(tmp_path), size=300)
    assert any(slot.slot == name for example in made.train for slot in example.slots)


def test_numbers_keep_to_their_list(tmp_path: Path) -> None:
    ranges = {
        "heat": "from: 50, to: 250, step: 10, type: temperature",
        "share": "from: 0, to: 100, step: 20, type: percentage",
        "count": "from: 2, to: 10",
    }
    block = "".join(f'      - sentences: ["{name} {{{name}}} [now|please]"]\n' for name in ranges)
    lists = "".join(f"  {name}: {{range: {{{body}}}}}\n" for name, body in ranges.items())
    (tmp_path / "oven.yaml").write_text(f"language: en\nintents:\n  Bake:\n    data:\n{block}lists:\n{lists}")
    slots = [slot for example in get(str(tmp_path), size=1000).train for slot in example.slots]
    said = {name: [slot.value for slot in slots if slot.slot == name] for name in ranges}
    assert set(said["heat"]) <= set(range(50, 251, 10))
    assert said["heat"].count(50) < len(said["heat"]) / 5
    assert set(said["share"]) == set(range(0, 101, 20))
    assert set(said["count"]) == set(range(2, 11))


def test_nothing_is_put_behind_a_wildcard(tmp_path: Path) -> None:
    block = '      - sentences: ["note [down] {words}"]\n        lists: {words: {wildcard: true}}\n'
    (tmp_path / "note.yaml").write_text(f"language: en\nintents:\n  Note:\n    data:\n{block}")
    notes = [example for example in get(str(tmp_path), size=1000).train if example.intent]
    assert len(notes) > 300
    assert all(len(e.text) - e.slots[0].end <= 1 for e in notes), "a full stop at most"


def test_true_is_the_word(tmp_path: Path) -> None:
    document = HASSIL.replace("device: machine", "device: true").replace("out: latte", "out: true")
    (tmp_path / "brew.yaml").write_text(document)
    made = get(str(tmp_path), size=300)
    assert {example.implied for example in made.train if example.intent} == {(("device", "true"),)}
    assert made.values["drink"] == {"flat white": "true"}


def test_skip_words_of_a_hassil_folder(tmp_path: Path) -> None:
    (tmp_path / "brew.yaml").write_text(HASSIL.replace("language: en", "language: de\nskip_words: [prithee]"))
    assert any("prithee" in example.text for example in get(str(tmp_path), size=300).train)


def test_numbers_that_no_rule_says_are_in_digits(tmp_path: Path) -> None:
    (tmp_path / "brew.yaml").write_text(HASSIL.replace("to: 5", f"to: {10**20}"))
    assert get(str(tmp_path), size=50).numeric_slots == ["amount"]


def test_one_language_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(HASSIL)
    (tmp_path / "b.yaml").write_text("language: no\nintents: {}")
    with pytest.raises(UserError, match=r"b\.yaml: \"language:\" must be one word, the same in all files .* not 'no'"):
        get(str(tmp_path))


def test_files_of_a_folder_share_their_lists(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(HASSIL)
    (tmp_path / "b.yaml").write_text("intents: {}\nlists:\n  strength: {values: [strong, weak]}")
    assert get(str(tmp_path), size=50).train
    (tmp_path / "b.yaml").write_text("intents: {}\nlists:\n  strength: {values: [mild]}")
    with pytest.raises(UserError, match=r"b\.yaml: \"lists:\" has another 'strength' than another file"):
        get(str(tmp_path))


def test_yes_no_and_dates_are_words(tmp_path: Path) -> None:
    path = tmp_path / "nlu.yml"
    texts = ["yes", "off", "2020-13-45", "8:15", "007", "'[a]( b: c )'"]
    path.write_text("nlu:\n- intent: say\n  examples:\n" + "".join(f"  - {text}\n" for text in texts))
    made = get(str(path))
    examples = made.train + made.valid
    assert {example.text for example in examples} == {*texts[:-1], "a"}
    assert {slot for example in examples for slot in example.slots} == {Slot("b", 0, 1, "c")}


def test_a_rasa_project(tmp_path: Path) -> None:
    """With files in which all is commented out."""
    (tmp_path / "nlu.yml").write_text(RASA)
    (tmp_path / "endpoints.yml").write_text("# nothing\n")
    assert len(get(str(tmp_path)).train) == 4


RASA = """
version: "3.1"
nlu:
- intent: order
  examples: |
    - bring me [two](count:2) [pizzas](dish)
    - a [soup][{"entity": "dish", "value": "soup of the day"}] please
    - [tea]{"entity": "drink", "role": "before"} then [ale]{"entity": "drink", "role": "after", "group": "1"}
- intent: out_of_scope
  examples: |
    - who are you
- synonym: pizza
  examples: |
    - pizzas
    - margherita
"""


def test_rasa_file(tmp_path: Path) -> None:
    path = tmp_path / "nlu.yml"
    path.write_text(RASA)
    made = get(str(path))
    by_text = {example.text: example for example in made.train + made.valid}
    assert by_text["bring me two pizzas"].slots == (Slot("count", 9, 12, 2), Slot("dish", 13, 19, "pizza"))
    assert by_text["a soup please"].slots == (Slot("dish", 2, 6, "soup of the day"),)
    assert by_text["tea then ale"].slots == (Slot("drink.before", 0, 3), Slot("drink.after.1", 9, 12))
    assert made.values["dish"] == {"soup": "soup of the day", "pizzas": "pizza", "margherita": "pizza"}
    assert made.values["count"] == {"two": 2}
    assert made.numeric_slots == ["count"]
    assert by_text["who are you"].intent is None
    assert get(str(tmp_path)).train == made.train


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("30", 30),
        ("-0.50", -0.5),
        ("2.0", 2),
        ("+491701234567", None),
        ("007", None),
        ("9" * 16, None),
        ("9" * 400, None),
    ],
)
def test_what_rasa_writes_as_text_is_a_number_if_nothing_is_lost(
    value: str, number: float | None, tmp_path: Path
) -> None:
    path = tmp_path / "nlu.yml"
    path.write_text(
        f'nlu:\n- intent: a\n  examples: |\n    - in [half an hour]{{"entity": "minutes", "value": "{value}"}}\n'
        f"- synonym: '{value}'\n  examples: |\n    - a while\n"
    )
    made = get(str(path))
    assert made.numeric_slots == ([] if number is None else ["minutes"])
    meant = value if number is None else number
    assert made.values["minutes"] == {"half an hour": meant, "a while": meant}


@pytest.mark.parametrize("content", [RASA, HASSIL], ids=["Rasa", "hassil"])
def test_a_folder_of_yaml_has_its_own_name(content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "my.shop set"
    folder.mkdir()
    (folder / "some.yml").write_text(content)
    monkeypatch.chdir(folder)
    assert get(".", size=50).name == get(str(folder), size=50).name == "my.shop set"


def test_values_of_sentences_that_validation_takes_are_known(tmp_path: Path) -> None:
    numbers = [Example(f"dim to {i} percent", "Dim", (Slot("level", 7, 7 + len(str(i)), i + 1),)) for i in range(40)]
    made = get(write(tmp_path / "dim", train=numbers))
    assert len(made.valid) == 4
    assert made.values["level"] == {str(i): i + 1 for i in range(40)}


def test_no_validation_part_is_read_as_none(tmp_path: Path) -> None:
    examples = [Example(f"dim {i}", "Dim") for i in range(40)]
    made = get(write(tmp_path / "dim", train=examples, valid=[]))
    save(made, tmp_path / "again")
    again = get(str(tmp_path / "again"))
    assert (again.train, again.valid) == (examples, [])


def write(folder: Path, **parts: list[Example]) -> str:
    for part, examples in parts.items():
        write_jsonl(folder / f"{part}.jsonl", examples)
    return str(folder)


def test_mistakes(tmp_path: Path) -> None:
    good = Example("a", "A")
    with pytest.raises(UserError, match=r"name 'A\\tB' has a control character"):
        get(write(tmp_path / "tab", train=[Example("a", "A\tB")]))
    numbers = [
        Example(words, "A", (Slot("n", 0, 10, value),)) for words, value in (("twenty-one", 21), ("twenty one", 21.0))
    ]
    with pytest.raises(UserError, match="hears both alike"):
        get(write(tmp_path / "float", train=numbers))
    with pytest.raises(UserError, match="'no such set' is unknown"):
        get("no such set")
    with pytest.raises(UserError, match="training is empty"):
        get(write(tmp_path / "empty", train=[]))
    with pytest.raises(UserError, match="no intent"):
        get(write(tmp_path / "rejects", train=[Example("a", None)]))
    with pytest.raises(UserError, match="label 'B' of test is missing in training"):
        get(write(tmp_path / "label", train=[good], test=[Example("b", "B")]))
    with pytest.raises(UserError, match="label 'x' of valid is missing in training"):
        get(write(tmp_path / "slot", train=[good], valid=[Example("a", "A", (Slot("x", 0, 1),))]))
    (tmp_path / "bare").mkdir()
    with pytest.raises(UserError, match=r"neither train\.jsonl nor YAML"):
        get(str(tmp_path / "bare"))
    (tmp_path / "bare" / "x.yaml").write_text("a: [")
    with pytest.raises(UserError, match="broken YAML"):
        get(str(tmp_path / "bare"))
    (tmp_path / "bare" / "x.yaml").write_text("a: 1")
    with pytest.raises(UserError, match="hassil YAML"):
        get(str(tmp_path / "bare"))
    folder = write(tmp_path / "values", train=[good])
    (tmp_path / "values" / "values.json").write_text('{"values": {"x": 3}}')
    with pytest.raises(UserError, match=r"values\.json: expected"):
        get(folder)
    (tmp_path / "values" / "values.json").write_text(f'{{"values": {{"x": {{"a": {"9" * 5000}}}}}}}')
    with pytest.raises(UserError, match=r"values\.json: broken JSON"):
        get(folder)
    for value in ("1e999", "true", r'"\ud800"'):
        (tmp_path / "values" / "values.json").write_text(f'{{"values": {{"x": {{"a": {value}}}}}}}')
        with pytest.raises(UserError, match=r"values\.json: expected"):
            get(folder)
    (tmp_path / "values" / "values.json").unlink()
    (tmp_path / "values" / "provenance.json").write_text('{"provenance": "x"}')
    with pytest.raises(UserError, match=r"provenance\.json: expected"):
        get(folder)
    with pytest.raises(UserError, match="give the folder"):
        get(str(tmp_path / "values" / "train.jsonl"))
    with pytest.raises(UserError, match="not a folder"):
        get("snips", tmp_path / "none")


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("intents: {}\nlists: [1]", '"lists:" must be a mapping'),
        (HASSIL + "\nlists: {}", "'lists' stands twice"),
        (HASSIL.replace("lists:", "  Brew: {data: []}\nlists:"), "'Brew' stands twice"),
        (HASSIL.replace("[strong, weak]", "[]"), "has no values"),
        (HASSIL.replace("[strong, weak]", "[1, 2]"), "value 1 of list 'strength' must be text: \"1\""),
        (
            "intents:\n  A:\n    data:\n    - sentences: ['{b}']\n      lists: {b: {values: [no, 0]}}",
            "value 0 of list 'b' must be text",
        ),
        (HASSIL.replace("to: 5}", "to: 5, multiplier: 10}"), "multiplier must be 1 or -1"),
        (HASSIL + "\nskip_words: please", '"skip_words:" must be a list'),
        ("intents:\n  A:\n    data:\n    - sentences: turn it on", 'needs a list "sentences:"'),
        ("intents:\n  A:\n    data:\n    - sentences: [a]\n      slots: [b]", "must be mappings"),
        ("intents:\n  A:\n    data:\n    - sentences: [a]\n      slots: {b: [c]}", "must be a word or a number"),
        ("intents:\n  A:\n    data:\n    - sentences: [a]\n      requires_context: [b]", "must be mappings"),
        ("nlu: 5", "must be a list of mappings"),
        (RASA.replace("[two](count:2)", "[two(count:2)"), "a bracket begins or ends no entity"),
        (RASA.replace("(dish)", "(:5)"), '"slot" must be a string that is not empty'),
        (RASA.replace('"soup of the day"', "[1]"), '"value" of slot "dish"'),
        (RASA.replace('the day"}]', 'the day"}, {"entity": "meal"}]'), "expected one"),
        (RASA.replace('"soup of the day"', '"{soup}", "role": 5'), "expected one"),
        (RASA.replace("- intent: order", "- intent:"), "must be a name, not None"),
        (RASA.replace("    - who", "    who"), "'who are you': each line of examples: must begin with -"),
        ("intents:\n  A:\n    data:\n    - sentences: [5]", '"sentences:" of texts'),
        (HASSIL + "expansion_rules: {foo: '[a'}", "not hassil's intent format"),
        ("nlu:\n- intent: a\n  examples:\n  - metadata: x", "is empty"),
    ],
)
def test_mistakes_in_yaml(document: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(document)
    with pytest.raises(UserError, match=message):
        get(str(path), size=50)


@pytest.mark.parametrize("content", [None, "5", "[[1, 2, 3]]", '[["a", 5]]', '[["", "b"]]'])
def test_mistakes_in_clinc150(content: str | None, tmp_path: Path) -> None:
    (tmp_path / "data_small.json").write_text("{}")
    if content:
        (tmp_path / "data_full.json").write_text(f'{{"train": {content}}}')
    with pytest.raises(UserError, match=r"data_full|clinc150 in"):
        get("clinc150", tmp_path)


def test_a_public_set_without_training(tmp_path: Path) -> None:
    (tmp_path / "data_full.json").write_text('{"val": [["a", "b"]]}')
    with pytest.raises(UserError, match="training is empty"):
        get("clinc150", tmp_path)


def test_download_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(public, "_fetch", lambda url, name: b"not what it should be")
    with pytest.raises(UserError, match="SHA-256"):
        load("snips", data_dir=None, cache_dir=tmp_path)
    assert not list(tmp_path.rglob("seq.in"))


def test_unlisted_download_is_trusted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = json.dumps({"train": [["hello", "greeting"]], "oos_train": [["what is love", "oos"]]}).encode()
    monkeypatch.setattr(public, "_fetch", lambda url, name: body)
    made = load("clinc150", data_dir=None, cache_dir=tmp_path)
    assert made.train == [Example("hello", "greeting"), Example("what is love", None)]
    (tmp_path / "clinc150" / "data_full.json").unlink()
    monkeypatch.setattr(public, "_fetch", lambda url, name: body + b" ")
    with pytest.raises(UserError, match="SHA-256"):
        load("clinc150", data_dir=None, cache_dir=tmp_path)
