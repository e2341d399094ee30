"""From data to answers: every part in its turn, by the commands that a person types."""

import io
import itertools
import json
import re
import time
from pathlib import Path

import pytest
from conftest import make_agent, run_module
from rich.console import Console
from test_firmware_build import talk

import host.__main__
from host import boards, demo
from host.client import Client
from train.examples import Example, Slot, read_jsonl, write_jsonl


@pytest.fixture
def built(native_program: Path, c3_elf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests' firmware in the place of the project's own."""
    monkeypatch.setattr(boards, "NATIVE_PROGRAM", native_program)
    monkeypatch.setattr(boards, "SIM_ELF", c3_elf)
    monkeypatch.setattr(demo, "SIM_ELF", c3_elf)


def replies(name: str, lines: list[str], bundle: Path | None = None) -> list[bytes]:
    """What a board answers to lines, byte for byte but for the time."""
    board = boards.open_board(name, bundle=bundle)
    found: list[bytes] = []
    try:
        for line in lines:
            board.write(line.encode() + b"\n")
            received, deadline = b"", time.monotonic() + 60
            while not (reply := re.search(rb"^([=!].*)\n", received, re.MULTILINE)):
                assert time.monotonic() < deadline, received
                received += board.read()
            found.append(re.sub(rb',"us":\d+}', b"}", reply[1]))
    finally:
        board.close()
    return found


@pytest.mark.parametrize(
    ("first", "last"), [(0, 20), pytest.param(20, 100, marks=pytest.mark.slow)], ids=["20", "80 more"]
)
@pytest.mark.usefixtures("built")
def test_chip_and_process_give_the_same_bytes(bundle: Path, agent_folder: Path, first: int, last: int) -> None:
    lines = [example.text for example in read_jsonl(agent_folder / "data" / "test.jsonl")][first:last]
    assert len(lines) == last - first
    chip = replies("sim", lines)
    assert chip == replies("native", lines, bundle)
    assert any(json.loads(reply[1:])["slots"] for reply in chip), "there is something to compare"


@pytest.mark.usefixtures("built")
def test_selftest_on_the_chip() -> None:
    with Client("sim") as agent:
        assert agent.selftest().golden > 0


@pytest.mark.usefixtures("built")
def test_the_demonstration(agent_folder: Path, c3_elf: Path) -> None:
    console = Console(record=True, soft_wrap=True, width=120, file=io.StringIO())
    demo.demonstrate(agent_folder, console)
    shown = console.export_text()
    for sentence in demo.SENTENCES["home-en"]:
        first, *_, last = sentence.rstrip("?.").split()
        assert any(first in line and last in line for line in shown.splitlines()), sentence
    for row in ("intent right", "slot F1", "other sentences accepted", "arena", "stack", "median answer"):
        assert row in shown
    assert f"{(agent_folder / 'agent.bundle').stat().st_size:,} bytes" in shown
    assert 0 < demo.code_bytes(c3_elf) <= 48 * 1024


def test_the_demonstration_of_a_folder_without_data(tmp_path: Path) -> None:
    done = run_module("host.demo", tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {tmp_path}/data has neither test.jsonl, ")


# ---- own data ----

NAMES = ("lamp", "fan", "radio", "heater", "küche", "old clock", "garden pump", "big screen")
PEOPLE = ("ann", "bob", "carla", "dean", "eve", "finn")


def own_data(folder: Path) -> Path:
    """A little language of three intents; what is held out differs in names only."""
    parts: dict[str, list[Example]] = {"train": [], "valid": [], "test": []}
    for i, name in enumerate(NAMES):
        part = parts["valid" if i == 0 else "test" if i == 1 else "train"]
        for start, end, intent in itertools.product(
            ("", "please ", "now "), ("", " please", " at once"), ("TurnOn", "TurnOff")
        ):
            text = f"{start}turn {'on' if intent == 'TurnOn' else 'off'} the {name}{end}"
            at = text.index(name)
            part.append(Example(text, intent, (Slot("name", at, at + len(name)),)))
        for person in PEOPLE:
            text = f"call {person} from the {name}"
            at = text.index(name)
            slots = (Slot("person", 5, 5 + len(person)), Slot("name", at, at + len(name)))
            part.append(Example(text, "Call", slots, (("way", "phone"),)))
            part.append(Example(f"{person} likes the {name}", None))
    # Several times, for a step of training takes 64 sentences.
    parts["train"] *= 8
    for name, examples in parts.items():
        write_jsonl(folder / f"{name}.jsonl", examples)
    return folder


@pytest.mark.usefixtures("built")
def test_own_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = own_data(tmp_path / "gadgets")
    agent = make_agent(tmp_path / "agent", "--data", data, "--epochs", "6")
    options = ["--board", "native", "--bundle", str(agent / "agent.bundle"), "--json"]
    capsys.readouterr()
    assert host.__main__.main(["eval", str(data / "test.jsonl"), *options]) == 0
    metrics = json.loads(capsys.readouterr().out)
    assert metrics["n"] == 30
    assert metrics["intent_accuracy"] > 0.8
    assert metrics["slot_f1"] > 0.6
    assert metrics["implied_accuracy"] > 0.8
    assert metrics["errors"] == 0
    assert host.__main__.main(["info", *options]) == 0
    info = json.loads(capsys.readouterr().out)
    assert info["agent"] == "gadgets-en"
    assert info["intents"] == 3
    assert info["slots"] == 2
    assert host.__main__.main(["selftest", *options]) == 0


@pytest.mark.slow
def test_the_same_seed_gives_the_same_agent(tmp_path: Path) -> None:
    data = own_data(tmp_path / "gadgets")
    folders = [
        make_agent(tmp_path / f"hash{seed}", "--data", data, "--epochs", "3", "--seed", "5", PYTHONHASHSEED=seed)
        for seed in ("1", "2")
    ]
    for name in ("student.npz", "student.tflite", "agent.bundle"):
        assert len({(folder / name).read_bytes() for folder in folders}) == 1, name


@pytest.mark.slow
def test_another_language(tmp_path: Path, native_program: Path) -> None:
    agent = make_agent(tmp_path / "home-de", "--language", "de", "--size", "1000", "--epochs", "2")
    lines = [example.text for example in read_jsonl(agent / "data" / "test.jsonl")]
    assert {"die", "den", "wie"} <= set(" ".join(lines).lower().split())
    asked = "/info\n/selftest\n" + "".join(line + "\n" for line in lines[:20])
    answers = talk(native_program, asked.encode(), agent / "agent.bundle").stdout.splitlines()[1:]
    assert json.loads(answers[0][1:])["agent"] == "home-de"
    assert json.loads(answers[1][1:])["passed"] is True
    assert all(reply.startswith(b"=") for reply in answers)
