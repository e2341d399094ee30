"""The JSON-lines form of examples: what is read is what was written, and every mistake is named."""

import json
import os
from pathlib import Path

import pytest

from train.errors import UserError
from train.examples import Example, Slot, read_jsonl, write_atomic, write_jsonl

GOOD = {"text": "dim the kitchen to 30 percent", "intent": "HassLightSet", "slots": []}


def test_round_trip(tmp_path: Path) -> None:
    examples = [
        Example(
            "dim the küche to thirty",
            "HassLightSet",
            (Slot("area", 8, 13), Slot("brightness", 17, 23, 30)),
            (("domain", "light"),),
        ),
        Example("the lamp is nice", None),
        Example("set it to 20.5", "Set", (Slot("temperature", 10, 14, 20.5),)),
        Example("warm please", "Set", (Slot("color", 0, 4, "warm white"),)),
    ]
    path = tmp_path / "new" / "train.jsonl"
    write_jsonl(path, examples)
    assert read_jsonl(path) == examples
    first = json.loads(path.read_text(encoding="utf-8").splitlines()[0])
    assert first["implied"] == {"domain": "light"}
    assert first["slots"][0] == {"slot": "area", "start": 8, "end": 13}
    assert "ü" in path.read_text(encoding="utf-8")


def test_slots_come_out_in_order(tmp_path: Path) -> None:
    slots = [{"slot": "b", "start": 4, "end": 7}, {"slot": "a", "start": 0, "end": 3}]
    path = tmp_path / "x.jsonl"
    path.write_text("\n" + json.dumps(GOOD | {"slots": slots}) + "\n\n", encoding="utf-8")
    assert [slot.slot for slot in read_jsonl(path)[0].slots] == ["a", "b"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": "a", ', "broken JSON"),
        ("[1]", "JSON object"),
        (json.dumps({"intent": "A"}), '"text" is missing'),
        (json.dumps({"text": "a"}), '"intent" is missing'),
        (json.dumps(GOOD | {"text": "  "}), "empty"),
        (json.dumps(GOOD | {"text": 3}), '"text" must be a string'),
        (json.dumps(GOOD | {"intent": ""}), '"intent"'),
        (json.dumps(GOOD | {"intent": 7}), '"intent"'),
        (json.dumps(GOOD | {"slots": {}}), '"slots" must be a list'),
        (json.dumps(GOOD | {"slots": [{"slot": "a", "start": 0}]}), '"end" is missing'),
        (json.dumps({"text": "a", "intent": "A", "slot": []}), 'key "slot" is unknown; write "slots"'),
        (json.dumps(GOOD | {"slots": [{"slot": "a", "start": 0, "end": 1, "valeu": 3}]}), 'write "value"'),
        (json.dumps(GOOD | {"slots": [{"slot": "a", "start": 0, "end": 99}]}), "outside the text"),
        (json.dumps(GOOD | {"slots": [{"slot": "a", "start": 4, "end": 4}]}), "outside the text"),
        (json.dumps(GOOD | {"slots": [{"slot": "a", "start": -1, "end": 4}]}), "outside the text"),
        (json.dumps(GOOD | {"slots": [{"slot": "a", "start": "0", "end": 4}]}), "must be integers"),
        (json.dumps(GOOD | {"slots": [{"slot": "a", "start": True, "end": 4}]}), "must be integers"),
        (json.dumps(GOOD | {"slots": [{"slot": "a", "start": 0, "end": 4, "value": [1]}]}), '"value"'),
        (
            json.dumps(GOOD | {"slots": [{"slot": "a", "start": 0, "end": 4, "value": float("nan")}]}),
            '"value"',
        ),
        (
            json.dumps(GOOD | {"slots": [{"slot": "a", "start": 0, "end": 4}, {"slot": "b", "start": 3, "end": 5}]}),
            "overlap",
        ),
        (json.dumps(GOOD | {"implied": {"domain": 1}}), '"implied"'),
        (json.dumps(GOOD | {"text": "half \ud83d"}), '"text" must be a string of whole characters'),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_mistakes_name_file_and_line(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(json.dumps(GOOD) + "\n" + line + "\n", encoding="utf-8")
    with pytest.raises(UserError) as caught:
        read_jsonl(path)
    assert str(caught.value).startswith(f"{path}:2: ")
    assert message in str(caught.value)


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    path = tmp_path / "marked.jsonl"
    path.write_text(json.dumps(GOOD) + "\n", encoding="utf-8-sig")
    assert len(read_jsonl(path)) == 1


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_jsonl(tmp_path / "none.jsonl")
    latin = tmp_path / "latin.jsonl"
    latin.write_bytes(b'{"text": "k\xfcche"}\n')
    with pytest.raises(UserError, match="not UTF-8"):
        read_jsonl(latin)


def test_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    write_jsonl(path, [Example("a", "A")])

    def broken() -> "object":
        yield Example("b", "B")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_jsonl(path, broken())  # type: ignore[arg-type]
    assert read_jsonl(path) == [Example("a", "A")]
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_stays_one_and_a_pipe_is_written_to(tmp_path: Path) -> None:
    link, target, pipe = tmp_path / "link", tmp_path / "target", tmp_path / "pipe"
    target.touch()
    link.symlink_to(target)
    write_atomic(link, "content")
    assert link.is_symlink()
    assert target.read_text() == "content"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_atomic(pipe, "content")
        assert os.read(reader, 100) == b"content"
    finally:
        os.close(reader)
    assert pipe.is_fifo()


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    (tmp_path / "folder").mkdir()
    for path, why in (
        (file / "train.jsonl", "exists"),
        (tmp_path / "folder", "directory"),
        (tmp_path / ("x" * 300), "too long"),
    ):
        with pytest.raises(UserError, match=f"{path} cannot be written: .*{why}"):
            write_atomic(path, "content")
    assert sorted(tmp_path.iterdir()) == [file, tmp_path / "folder"]
