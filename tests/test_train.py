"""Training: labels, encoding, what the same seed gives, and what a person can get wrong."""

import itertools
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from conftest import run_module
from hypothesis import given
from hypothesis import strategies as st

from train.__main__ import main
from train.agentlib import best_tags, featurize
from train.augment import UNKNOWN_MARK, rewritten, with_question_marks
from train.datasets import DataSet
from train.encoding import Vocabulary, encode, tags_of
from train.errors import UserError
from train.examples import Example, Slot
from train.labels import Labels
from train.pipeline import lessons
from train.presets import PRESETS
from train.student import Shape, Student
from train.training import path_loss, soft_path_loss, tag_marginals

ROWS, POSITIONS = 256, 16

LIGHT = (("domain", "light"),)
EXAMPLES = (
    Example("lamp on", "TurnOn", (Slot("name", 0, 4),), LIGHT),
    Example("fan on", "TurnOn", (Slot("name", 0, 3),)),
    Example("turn on the hall", "TurnOn", (Slot("area", 12, 16),)),
    Example("set the lamp to 3", "Set", (Slot("name", 8, 12), Slot("level", 16, 17)), LIGHT),
    Example("who are you", None),
)
LABELS = Labels.of(EXAMPLES)


# ---- the loss of tags ----


def legal(path: tuple[int, ...]) -> bool:
    """Whether every I-x stands behind B-x or I-x."""
    return all(b == 0 or b % 2 or a in (b - 1, b) for a, b in itertools.pairwise((0, *path)))


def test_path_loss_is_the_likelihood_among_all_legal_paths() -> None:
    tags, lengths = 5, (4, 1, 3)
    logits = np.random.default_rng(1).normal(0, 2, (len(lengths), max(lengths), tags)).astype(np.float32)
    right = np.array([[1, 2, 0, 3], [0, -1, -1, -1], [3, 4, 1, -1]], np.int32)
    expected = 0.0
    for x, path, length in zip(logits, right, lengths, strict=True):
        paths = (p for p in itertools.product(range(tags), repeat=length) if legal(p))
        weights = [np.exp(sum(x[i, t] for i, t in enumerate(p))) for p in paths]
        expected += np.log(sum(weights)) - sum(x[i, path[i]] for i in range(length))
    assert float(path_loss(tf.constant(logits), tf.constant(right))) == pytest.approx(expected / sum(lengths), rel=1e-5)


def test_a_teachers_marginals_say_all_of_its_paths_that_the_student_learns_from() -> None:
    tags, lengths = 5, (4, 1, 3)
    shape = (len(lengths), max(lengths), tags)
    teacher, student = (np.random.default_rng(seed).normal(0, 2, shape).astype(np.float32) for seed in (1, 2))
    known = np.arange(max(lengths)) < np.array(lengths)[:, None]
    marginals = tag_marginals(tf.constant(teacher), tf.constant(known)).numpy()
    expected = 0.0
    for row, length in enumerate(lengths):
        paths = [p for p in itertools.product(range(tags), repeat=length) if legal(p)]
        scores = [np.array([sum(x[row, i, t] for i, t in enumerate(p)) for p in paths]) for x in (teacher, student)]
        p = np.exp(scores[0]) / np.exp(scores[0]).sum()
        for i, tag in itertools.product(range(length), range(tags)):
            likely = sum(share for share, path in zip(p, paths, strict=True) if path[i] == tag)
            assert marginals[row, i, tag] == pytest.approx(likely, abs=1e-5)
        expected += np.log(np.exp(scores[1]).sum()) - p @ scores[1]
    assert not marginals[~known].any()
    loss = float(soft_path_loss(tf.constant(student), tf.constant(marginals), tf.constant(known)))
    assert loss == pytest.approx(expected / sum(lengths), rel=1e-5)


# ---- labels ----


def test_labels_of_a_training_set() -> None:
    assert LABELS.intents == ("Set", "TurnOn")
    assert LABELS.slots == ("area", "level", "name")
    assert LABELS.classes == ((0, LIGHT), (1, ()), (1, LIGHT), (None, ()))
    assert LABELS.legal == ((1, 2), (0, 2), (2,), ())
    assert LABELS.needed == ((), (), (), ()), "a few sentences prove nothing"
    assert LABELS.tags == 7
    assert [LABELS.class_of(e) for e in EXAMPLES] == [2, 1, 1, 0, 3]
    assert Labels.from_json(json.loads(json.dumps(LABELS.to_json()))) == LABELS


def test_what_all_sentences_of_a_class_have_it_needs() -> None:
    def labels(without: int, others: int) -> Labels:
        have = [Example(f"to {i}", "Set", (Slot("level", 3, 4),)) for i in range(others)]
        return Labels.of([*have, *(Example(f"dim {i}", "Set") for i in range(without))] * 2)

    assert labels(0, 98).needed == ((0,),)
    assert labels(0, 97).needed == ((),), "however often they are repeated"
    assert labels(1, 197).needed == ((0,),)
    assert labels(1, 196).needed == ((),)
    assert labels(0, 98).masks == [bytes([1, 1])]


def test_an_unseen_combination_gets_the_nearest_class_of_its_intent() -> None:
    assert LABELS.class_of(Example("x", "TurnOn", (), (("domain", "light"), ("floor", "one")))) == 2
    assert LABELS.class_of(Example("x", "Set")) == 0


def test_an_example_is_of_its_own_class_though_another_shares_as_much() -> None:
    cover = Example("up", "Open", (), (("domain", "cover"),))
    garage = Example("open", "Open", (), (("device_class", "garage"), ("domain", "cover")))
    labels = Labels.of([garage, cover])
    assert [labels.classes[labels.class_of(e)][1] for e in (cover, garage)] == [cover.implied, garage.implied]


@pytest.mark.parametrize(
    ("example", "named"),
    [
        (Example("x", "Open"), "intent 'Open' of valid"),
        (Example("x", "Set", (Slot("color", 0, 1),)), "slot 'color' of valid"),
    ],
)
def test_labels_that_training_lacks_are_named(example: Example, named: str) -> None:
    with pytest.raises(UserError, match=named):
        LABELS.require([EXAMPLES[0], example], "valid")


def test_out_of_scope_needs_an_example() -> None:
    with pytest.raises(UserError, match="out of scope"):
        Labels.of(EXAMPLES[:4]).class_of(EXAMPLES[4])


def test_masks_have_a_bit_for_each_slot_of_a_class() -> None:
    assert LABELS.masks == [b"\x06\0", b"\x05\0", b"\x04\0", b"\0\0"]


# ---- spans, tags, spans ----


def spans_of(tags: list[int], tokens: Any) -> list[tuple[int, int, int]]:
    """(slot, first character, behind the last) of BIO tags."""
    found: list[tuple[int, int, int]] = []
    for tag, token in zip(tags, tokens, strict=True):
        if tag % 2:
            found.append((tag // 2, token.start, token.end))
        elif tag:
            slot, start, _ = found.pop()
            assert slot == tag // 2 - 1, "an inside tag continues its own slot"
            found.append((slot, start, token.end))
    return found


@given(st.lists(st.sampled_from(["turn", "Ünal's", "30", "küche", "日本", "x-y", "%", "4.5"]), min_size=1), st.data())
def test_spans_survive_their_tags(words: list[str], data: st.DataObject) -> None:
    text = " ".join(words)
    tokens = featurize(text, ROWS, POSITIONS)
    cuts = data.draw(st.lists(st.integers(0, len(tokens)), max_size=6).map(sorted))
    slots = tuple(
        Slot(data.draw(st.sampled_from(LABELS.slots)), tokens[a].start, tokens[b - 1].end)
        for a, b in itertools.pairwise(cuts)
        if a < b
    )
    tags = tags_of(Example(text, "Set", slots), tokens, LABELS)
    assert spans_of(tags, tokens) == [(LABELS.slots.index(s.slot), s.start, s.end) for s in slots]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kit\N{SOFT HYPHEN}chen light", ["kit\N{SOFT HYPHEN}chen", "light"]),
        ("լույս\N{ARMENIAN FULL STOP}", ["լույս"]),
        ("\N{ARABIC LETTER MARK}kitchen\N{ARABIC LETTER MARK}", ["kitchen"]),
        ("10\N{EN DASH}20", ["10", "20"]),
        ("\N{DOUBLE HYPHEN}on\N{SMALL FULL STOP}", ["on"]),
        ("wait...5 no.6 .7 -.8", ["wait", "5", "no", "6", ".7", "-.8"]),
    ],
)
def test_punctuation_of_any_script_is_no_word(text: str, words: list[str]) -> None:
    assert [text[token.start : token.end] for token in featurize(text, ROWS, POSITIONS)] == words


def test_a_question_mark_of_any_script_is_one_word() -> None:
    marks = ("?", "\N{FULLWIDTH QUESTION MARK}", "\N{GREEK QUESTION MARK}", "\N{ARABIC QUESTION MARK}")
    found = [featurize(f"lamp on{mark}", ROWS, POSITIONS) for mark in marks]
    assert [len(tokens) for tokens in found] == [3] * len(marks)
    assert len({tokens[-1].pieces for tokens in found}) == 1


def test_few_sentences_are_written_in_more_ways() -> None:
    few = [
        Example("make a latte with 2 shots", "Brew", (Slot("drink", 7, 12), Slot("shots", 18, 19, 2))),
        Example("one flat white", "Brew", (Slot("drink", 4, 14),)),
        Example("espresso with three shots", "Brew", (Slot("drink", 0, 8), Slot("shots", 14, 19, 3))),
        Example("what is a mocha", "Explain", (Slot("drink", 10, 15),)),
        Example("nice weather today", None),
    ]
    many = rewritten(few, 2_000, random.Random(1), english=True)
    assert len(many) == 2_000
    assert many[: len(few)] == few
    assert many == rewritten(few, 2_000, random.Random(1), english=True)
    texts = {example.text for example in many}
    assert {"make a flat white with three shots", "latte with 2 shots", "what is a mocha"} <= texts
    assert "what is a latte" not in texts, "words of another intent's sentences"
    for example, source in zip(many, itertools.cycle(few)):
        assert (example.intent, example.implied) == (source.intent, source.implied)
        assert [slot.slot for slot in example.slots] == [slot.slot for slot in source.slots]
        valued = zip(example.slots, example.slot_texts, strict=True)
        assert {(slot.value, words) for slot, words in valued if slot.value} <= {(2, "2"), (3, "three")}
    assert rewritten(few, len(few), random.Random(1), english=True) == few


def test_what_templates_made_is_not_rewritten() -> None:
    preset = PRESETS["quick"]
    told = DataSet("mine", "en", list(EXAMPLES), [], [])
    assert len(lessons(told, preset, 1)) == preset.least
    assert lessons(told, preset, 1) == lessons(told, preset, 1) != lessons(told, preset, 2)
    assert lessons(replace(told, provenance={"templates": {}}), preset, 1) == told.train


def test_a_question_mark_is_taught_where_nobody_wrote_one() -> None:
    examples = [replace(EXAMPLES[2], text=f"{EXAMPLES[2].text} {i}") for i in range(1_000)]
    taught = with_question_marks(examples, random.Random(1))
    assert [e.text.removesuffix("?") for e in taught] == [e.text for e in examples]
    assert [e.slots for e in taught] == [e.slots for e in examples]
    assert sum(e.text.endswith("?") for e in taught) == pytest.approx(1_000 * UNKNOWN_MARK, abs=25)
    known = [*examples, *(3 * [Example("is the lamp on?", None)])]
    assert with_question_marks(known, random.Random(1)) == known


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("the kitchen's on, isn't it", ["the", "kitchen", "'s", "on", "isn", "'t", "it"]),
        ("we'll", ["we", "'ll"]),
        ("l'éclairage d\N{RIGHT SINGLE QUOTATION MARK}ambiance", ["l", "éclairage", "d", "ambiance"]),
        ("5 o'clock 'til six'", ["5", "o", "clock", "til", "six"]),
    ],
)
def test_an_apostrophe_begins_an_ending(text: str, words: list[str]) -> None:
    assert [text[token.start : token.end] for token in featurize(text, ROWS, POSITIONS)] == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("u. s. d. to g.b.p.", ["u", "s.", "d.", "to", "g", "b.", "p."]),
        ("at 5 p.m.", ["at", "5", "p", "m."]),
        ("lamp b.", ["lamp", "b"]),
        ("lamp a and b.", ["lamp", "a", "and", "b"]),
        ("my tv. a.", ["my", "tv", "a"]),
    ],
)
def test_the_points_of_an_abbreviation_are_part_of_it(text: str, words: list[str]) -> None:
    found = featurize(text, ROWS, POSITIONS)
    assert [text[token.start : token.end] for token in found] == words
    plain = featurize(" ".join(word.strip(".") for word in words), ROWS, POSITIONS)
    assert [token.pieces for token in found] == [token.pieces for token in plain]


def test_upper_case_of_a_letter_without_a_dot_is_that_of_i() -> None:
    upper, lower = (featurize(text, ROWS, POSITIONS)[0].pieces for text in ("IŞIĞI", "ışığı"))
    assert upper == lower


def test_a_word_is_the_same_with_what_is_unheard() -> None:
    plain, other = (featurize(text, ROWS, POSITIONS)[0].pieces for text in ("kitchen", "kit\N{SOFT HYPHEN}chen"))
    assert plain == other


def test_a_span_takes_the_words_that_it_touches() -> None:
    text = "dim the kitchens now"
    tags = tags_of(Example(text, "Set", (Slot("area", 9, 14),)), featurize(text, ROWS, POSITIONS), LABELS)
    assert tags == [0, 0, 1, 0]


def test_arrays_of_sentences() -> None:
    vocabulary = Vocabulary(ROWS, POSITIONS)
    long = Example("lamp " * 40, "TurnOn", (Slot("name", 0, 4), Slot("name", 195, 199)))
    data = encode([*EXAMPLES, long, Example("!", None)], LABELS, vocabulary)
    assert data.words.shape == data.tags.shape == (len(data), POSITIONS - 1)
    assert data.lengths[: len(EXAMPLES)].tolist() == [2, 2, 4, 5, 3]
    assert data.lengths[5] == POSITIONS - 1, "what does not fit is cut"
    assert data.tags[0].tolist() == [LABELS.tag_of("name", begins=True)] + [0] + [-1] * (POSITIONS - 3)
    assert data.words[0, 0] == data.words[3, 2] == data.words[5, 7], "a word is the same word everywhere"
    assert data.words[0, 1] != data.words[0, 0]
    pieces = vocabulary.pieces()
    assert (pieces[0] == ROWS).all(), "no word has no pieces"
    assert pieces.max() == ROWS
    assert pieces.min() >= POSITIONS, "rows below are the positions'"


@pytest.mark.parametrize("seed", [None, 3])
def test_batches_hold_every_sentence_once(seed: int | None) -> None:
    words = [" ".join("abcdefgh"[: 1 + i % 7]) for i in range(100)]
    data = encode([Example(w, None) for w in words], Labels.of([EXAMPLES[4]]), Vocabulary(ROWS, POSITIONS))
    batches = [b.tolist() for b in data.batches(16, seed)]
    assert sorted(itertools.chain(*batches)) == list(range(100))
    assert batches == [b.tolist() for b in data.batches(16, seed)]
    assert all(np.ptp(data.lengths[b]) <= 2 for b in batches), "sentences of a batch are of similar length"


@given(st.integers(0, 3), st.integers(0, 3), st.integers(1, 4), st.data())
def test_best_tags_are_the_likeliest_legal_ones(legal: int, needed: int, words: int, data: st.DataObject) -> None:
    logits = np.array(
        data.draw(st.lists(st.lists(st.integers(-128, 127), min_size=5, max_size=5), min_size=words, max_size=words)),
        np.int8,
    )
    needed &= legal

    def is_legal(tags: tuple[int, ...]) -> bool:
        inside = all(tag % 2 or tag == 0 or before in (tag - 1, tag) for before, tag in itertools.pairwise((0, *tags)))
        return inside and all(tag == 0 or legal >> (tag - 1) // 2 & 1 for tag in tags)

    def score(tags: tuple[int, ...]) -> int:
        return sum(int(row[tag]) for row, tag in zip(logits, tags, strict=True))

    found, total = best_tags(logits, bytes([legal, 0]))
    likeliest = max(score(tags) for tags in itertools.product(range(5), repeat=words) if is_legal(tags))
    assert is_legal(tuple(found))
    assert score(tuple(found)) == total == likeliest
    # With slots that must be, the likeliest of all is not searched for.
    found, total = best_tags(logits, bytes([legal, needed]))
    if words < needed.bit_count():
        assert total == -(2**15)
    else:
        assert is_legal(tuple(found))
        assert score(tuple(found)) == total <= likeliest
        assert all(1 + 2 * slot in found for slot in range(2) if needed >> slot & 1)
        assert total == likeliest or needed


def test_needs_are_dropped_where_decoding_would_take_too_long() -> None:
    def needs(classes: int) -> int:
        told = ((i, n) for i in range(classes) for n in range(98))
        return len(Labels.of(Example(f"{i} {n}", f"{i}", (Slot(f"s{i % 120}", 0, 1),)) for i, n in told).needed[0])

    assert needs(136) == 1
    assert needs(137) == 0


def test_a_needed_slot_begins_where_that_costs_least() -> None:
    logits = np.array([[9, 0, 0, 5, 0], [9, 0, 0, 7, 9], [9, 0, 0, 1, 8]], np.int8)  # O, B-0, I-0, B-1, I-1
    assert best_tags(logits, bytes([3, 0]))[0].tolist() == [0, 0, 0]
    found, total = best_tags(logits, bytes([3, 2]))
    assert (found.tolist(), total) == ([0, 3, 0], 25)
    found, total = best_tags(logits, bytes([3, 3]))
    assert (sorted(found.tolist()), total) == ([0, 1, 3], 16)


# ---- the command ----


def write_data(folder: Path, **parts: str) -> Path:
    """A data set folder; each part is the content of its file."""
    folder.mkdir()
    for part, content in parts.items():
        (folder / f"{part}.jsonl").write_text(content, encoding="utf-8")
    return folder


def line(text: str, intent: str | None, *slots: tuple[str, int, int]) -> str:
    spans = [{"slot": name, "start": start, "end": end} for name, start, end in slots]
    return json.dumps({"text": text, "intent": intent, "slots": spans}) + "\n"


GOOD = line("lamp on", "TurnOn", ("name", 0, 4)) + line("who are you", None)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"train": GOOD + '{"text": "lamp on", \n'}, "train.jsonl:3: broken JSON"),
        ({"train": GOOD, "test": '{"text": 5, "intent": null}'}, 'test.jsonl:1: "text" must be a string'),
        ({"train": GOOD + line("lamp on", "TurnOn", ("name", 0, 4), ("area", 2, 7))}, "train.jsonl:3: slots"),
        ({"train": GOOD + line("lamp on", "TurnOn", ("name", 4, 40))}, "outside the text"),
        ({"train": GOOD, "valid": line("dim it", "Dim")}, "'Dim' of valid is missing in training"),
        ({"train": GOOD, "test": line("all on", "TurnOn", ("scope", 0, 3))}, "'scope' of test is missing in training"),
        ({"train": ""}, "training is empty"),
        ({"train": "\n\n", "valid": GOOD}, "training is empty"),
        ({"train": line("who are you", None)}, "no intent"),
        ({"valid": GOOD}, "train.jsonl"),
        ({}, "train.jsonl"),
        ({"train": line("...", "Ask")}, "none of 1 sentences, such as '...', has a word"),
        ({"train": GOOD, "valid": line("!", None)}, "none of 1 sentences, such as '!', has a word"),
    ],
)
def test_bad_data_is_named_and_leaves_nothing(
    parts: dict[str, str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_data(tmp_path / "mine", **parts)
    assert main(["--data", str(folder), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "homes"], "'homes' is unknown"),
        (["--data", "home", "--language", "xx"], "xx"),
        (["--data", "snips", "--data-dir", "nowhere"], "nowhere"),
        (["--language", "de", "--data-dir", "nowhere"], "nowhere"),
        (["--size", "50", "--shape", '{"positions": 200}'], "positions is 200: the firmware takes 2 to 64"),
        (["--size", "50", "--shape", '{"rows": 10}'], "rows is 10"),
        (["--size", "50", "--shape", '{"width": 1000}'], "width is 1000"),
        (["--size", "50", "--shape", '{"kernel": 2}'], "an odd kernel"),
        (["--size", "50", "--shape", '{"embed": 31}'], "an even embed"),
        (["--size", "50", "--shape", '{"embed_bits": 3}'], "4 or 8 bits"),
        (["--size", "50", "--shape", '{"heads": [1]}'], "heads are of 1 layers and hidden of 2"),
    ],
)
def test_bad_arguments_are_named(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert not (tmp_path / "out").exists()


def test_the_data_that_is_read_is_not_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").mkdir()
    folder = write_data(tmp_path / "mine" / "data", train=GOOD)
    for arguments in (["data", "--out", str(folder)], ["--out", str(tmp_path / "mine")]):
        assert main([*arguments, "--data", str(folder)]) == 2
        assert "would be written over" in capsys.readouterr().err
    assert (folder / "train.jsonl").read_text() == GOOD


def test_what_was_generated_is_written_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert main(["data", "--data", "home", "--language", "ne", "--size", "50", "--out", "home"]) == 0


def test_the_language_is_the_datas(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_data(tmp_path / "mine", train=GOOD)
    (folder / "provenance.json").write_text('{"language": "fr"}')
    assert main(["data", "--data", str(folder), "--language", "de", "--out", str(tmp_path / "out")]) == 2
    assert "is in 'fr', not 'de'" in capsys.readouterr().err
    assert main(["--data", str(folder), "--language", "fr", "--epochs", "2", "--out", str(tmp_path / "out")]) == 0
    assert "no teacher: MiniLM-L6 knows English, not 'fr'" in capsys.readouterr().out


def test_half_a_character_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_data(tmp_path / "mine", train=GOOD)
    (folder / "provenance.json").write_text('{"provenance": {"by": "\\ud800"}}')
    assert main(["data", "--data", str(folder), "--out", str(tmp_path / "out")]) == 2
    assert "is half a character" in capsys.readouterr().err


def test_no_traceback_and_no_chatter_on_the_terminal() -> None:
    done = run_module("train", "--data", "homes")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert not done.stdout


def test_data_alone(tmp_path: Path) -> None:
    arguments = ["data", "--size", "300", "--seed", "4", "--out"]
    assert main([*arguments, str(tmp_path / "a")]) == main([*arguments, str(tmp_path / "b")]) == 0
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert {"train.jsonl", "valid.jsonl", "test.jsonl"} <= set(names)
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_the_smallest_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two steps; and a student goes with the data that it learned from."""
    long = " ".join(["please"] * 32)
    torn = 2 * line("type [/b]", "Dim") + line("type [/b]", None) + line(long, None)
    folder = write_data(tmp_path / "mine", train=GOOD + torn, valid=GOOD)
    out = tmp_path / "out"
    out.mkdir()
    (out / "student.json").write_text("{}")
    assert main(["--data", str(folder), "--out", str(out), "--epochs", "2", "--teacher", "none"]) == 0
    assert json.loads((out / "student.json").read_text())["data"] == "mine"
    said = capsys.readouterr().out
    assert "1 sentences to train on, such as 'type [/b]', have more than one label" in said
    assert f"1 sentences to train on, such as '{long}', have more than 31 words" in said


def test_a_single_sentence_is_of_every_share(tmp_path: Path) -> None:
    folder = write_data(tmp_path / "mine", train=line("lamp on", "TurnOn", ("name", 0, 4)))
    out = tmp_path / "out"
    assert main(["--data", str(folder), "--out", str(out), "--epochs", "2", "--teacher", "none"]) == 0
    history = json.loads((out / "student.json").read_text())["history"]
    assert all(np.isfinite(epoch["loss"]) for epoch in history)
    assert all(np.isfinite(array).all() for array in np.load(out / "student.npz").values())


@pytest.mark.parametrize("size", [(0, 7), (1, 3), (50, 201)])
def test_dropout_drops_its_share(size: tuple[int, int]) -> None:
    student = Student(Shape(classes=2, tags=3), dropout=0.1)
    ones = tf.ones(size)
    dropped = student.drop(ones, training=True).numpy()
    assert set(np.unique(dropped)) <= {0.0, np.float32(256 / (256 - 26))}
    if dropped.size > 10_000:
        assert np.mean(dropped == 0) == pytest.approx(26 / 256, abs=0.01)
        assert dropped.mean() == pytest.approx(1, abs=0.01)
    assert student.drop(ones, training=False) is ones


def test_data_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "file"
    file.touch()
    assert main(["data", "--size", "300", "--out", str(file)]) == 2
    assert capsys.readouterr().err.startswith(f"error: {file}/train.jsonl cannot be written: ")


def test_what_training_leaves(agent_folder: Path) -> None:
    record = json.loads((agent_folder / "student.json").read_text(encoding="utf-8"))
    assert record["data"] == "home"
    assert record["schedule"]["seed"] == record["provenance"]["data"]["seed"] == 1
    history = record["history"]
    assert [epoch["epoch"] for epoch in history] == [1, 2, 3, 4, 5]
    assert [epoch["quantized"] for epoch in history][-1]
    assert history[-1]["loss"] < history[0]["loss"]
    assert history[-1]["valid_intent"] > 0.5, "it learns"
    assert not list(agent_folder.glob("**/.*")), "no temporary file stays"
