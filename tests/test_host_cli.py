"""The command line as a person meets it: output, exit status, no traceback."""

import json
import os
import select
import signal
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import pytest
from fake_agent import INFO, FakeAgent, crash, silence, stale, unplug, well

from host.boards import PROJECT

EXAMPLES: list[dict[str, Any]] = [
    {"text": "say hello", "intent": "Last", "slots": [{"slot": "last", "start": 4, "end": 9}]},
    {"text": "grüß ünal", "intent": "Last", "slots": [{"slot": "last", "start": 5, "end": 9}]},
    {"text": "say hello", "intent": "First", "slots": []},
    {"text": "unknown thing", "intent": None, "slots": []},
    {"text": "word " * 40, "intent": None, "slots": []},
    {"text": "x" * 600, "intent": "Last", "slots": []},
    {"text": "two\nlines", "intent": "Last", "slots": []},
]


def run(
    *arguments: str, board: str | None = None, stdin: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run ``python -m host``; ``board`` by way of the environment variable."""
    if board is not None:
        environment["UTTERBIT_BOARD"] = board
    done = subprocess.run(
        [sys.executable, "-m", "host", *arguments],
        cwd=PROJECT,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environment},
    )
    assert "Traceback" not in done.stderr
    return done


def write_examples(folder: Path, records: list[dict[str, Any]]) -> str:
    path = folder / "test.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return str(path)


def test_ask_as_json() -> None:
    with FakeAgent() as fake:
        done = run("ask", "grüß ünal", "unknown thing", "--json", "--board", fake.path)
    assert done.returncode == 0
    first, second = json.loads(done.stdout)["answers"]
    assert first == {
        "text": "grüß ünal",
        "intent": "Last",
        "score": 0.9,
        "best": "Last",
        "slots": [{"slot": "last", "start": 5, "end": 9, "text": "ünal"}],
        "implied": {"domain": "test"},
        "us": 10,
    }
    assert second["intent"] is None


def test_json_where_the_terminal_has_no_unicode() -> None:
    with FakeAgent() as fake:
        done = run("ask", "say café 💡", "--json", "--board", fake.path, PYTHONIOENCODING="cp1252")
    assert json.loads(done.stdout)["answers"][0]["text"] == "say café 💡"


def test_ask_for_a_person_has_no_colours_in_a_pipe() -> None:
    with FakeAgent() as fake:
        done = run("ask", "say hello", "unknown thing", board=fake.path)
    assert done.returncode == 0
    assert "\x1b" not in done.stdout
    assert "say [hello]last" in done.stdout
    assert "Last  0.90  last=hello  (domain=test)  0.0 ms" in done.stdout
    assert "not understood (closest: Last)" in done.stdout


def test_an_error_of_the_agent_does_not_hide_the_other_answers() -> None:
    with FakeAgent() as fake:
        done = run("ask", "w " * 31, "say hello", "--json", board=fake.path)
    assert done.returncode == 2
    first, second = json.loads(done.stdout)["answers"]
    assert (first["error"], second["intent"]) == ("words", "Last")


@pytest.mark.parametrize("prompt", ["", "  ", "a\nb", "x" * 600, b"\xff\xfe".decode(errors="surrogateescape")])
def test_prompts_that_cannot_be_asked(prompt: str) -> None:
    done = run("ask", prompt, board="/dev/ttyNONE")
    assert done.returncode == 2
    assert done.stderr.startswith("error: the prompt")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["sing"],
        ["ask"],
        ["ask", "hello", "--timeout", "0"],
        ["info", "--baud", "fast"],
        ["chat", "--json"],
        ["eval", __file__, "--errors", "-1"],
        ["ask", "hello", "--board", ""],
        ["ask", "hello", "--board", "socket://localhost"],
    ],
)
def test_wrong_usage(arguments: list[str]) -> None:
    assert run(*arguments, board="/dev/ttyNONE").returncode == 2


def test_no_board() -> None:
    done = run("info", board="/dev/ttyNONE")
    assert done.returncode == 3
    assert "no such port: /dev/ttyNONE" in done.stderr
    assert done.stdout == ""


def test_no_answer() -> None:
    with FakeAgent(*[silence] * 9) as fake:
        done = run("ask", "hello", "--json", "--timeout", "0.05", board=fake.path)
    assert (done.returncode, done.stdout) == (3, "")
    assert "gave no answer" in done.stderr


def test_unplugged() -> None:
    with FakeAgent(unplug) as fake:
        done = run("ask", "hello", board=fake.path)
    assert done.returncode == 3
    assert "went away" in done.stderr


def test_eval(tmp_path: Path) -> None:
    path = write_examples(tmp_path, EXAMPLES)
    out = tmp_path / "out.jsonl"
    with FakeAgent(stale) as fake:
        done = run("eval", path, "--json", "--out", str(out), "--timeout", "0.2", board=fake.path)
    assert done.returncode == 0, done.stderr
    metrics = json.loads(done.stdout)
    assert metrics["n"] == 7
    assert metrics["intent_accuracy"] == pytest.approx(2 / 5)
    assert metrics["slot_f1"] == pytest.approx(2 * 2 / (2 + 3))
    assert metrics["exact"] == pytest.approx(2 / 5)
    assert metrics["out_of_scope"] == {"n": 2, "accepted": 0}
    assert metrics["in_scope"] == {"n": 5, "rejected": 2}
    assert metrics["errors"] == 3
    assert metrics["device_us"] == {"p50": 10, "p95": 10}
    predicted = [json.loads(line)["predicted"] for line in out.read_text(encoding="utf-8").splitlines()]
    assert predicted[1]["slots"] == [{"slot": "last", "start": 5, "end": 9}]
    assert [record["error"] for record in predicted[4:]] == ["words", "unsendable", "unsendable"]


@pytest.mark.parametrize(
    ("out", "why"), [("nowhere/out.jsonl", "there is no folder"), ("", "cannot be written: Is a directory")]
)
def test_eval_names_what_cannot_be_written(out: str, why: str, tmp_path: Path) -> None:
    path = write_examples(tmp_path, EXAMPLES)
    with FakeAgent() as fake:
        done = run("eval", path, "--out", str(tmp_path / out), board=fake.path)
    assert done.returncode == 2
    assert str(tmp_path / out) in done.stderr
    assert why in done.stderr
    assert not (tmp_path / "nowhere").exists()


def test_eval_for_a_person(tmp_path: Path) -> None:
    with FakeAgent() as fake:
        done = run("eval", write_examples(tmp_path, EXAMPLES), "--errors", "1", board=fake.path)
    assert done.returncode == 0
    assert "intent accuracy" in done.stdout
    assert "40.00%" in done.stdout
    assert "First" in done.stdout
    assert done.stdout.count("\n  predicted  ") == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"text": "a", "intent": null}\n{"text": ', "test.jsonl:2: broken JSON"),
        ("", "no sentences"),
        (
            '{"text": "a b", "intent": "A", "slots": [{"slot": "s", "start": 0, "end": 9}]}',
            "outside the text",
        ),
    ],
)
def test_eval_of_bad_files(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "test.jsonl"
    path.write_text(content, encoding="utf-8")
    done = run("eval", str(path), board="/dev/ttyNONE")
    assert done.returncode == 2
    assert message in done.stderr


def test_eval_of_a_missing_file() -> None:
    assert run("eval", "nowhere.jsonl").returncode == 2


def test_eval_without_a_board_writes_nothing(tmp_path: Path) -> None:
    path = write_examples(tmp_path, EXAMPLES)
    with FakeAgent(unplug) as fake:
        done = run("eval", path, "--out", str(tmp_path / "out.jsonl"), board=fake.path)
    assert done.returncode == 3
    assert [file.name for file in tmp_path.iterdir()] == ["test.jsonl"]


def test_bench() -> None:
    with FakeAgent() as fake:
        done = run("bench", "--rounds", "2", "--json", board=fake.path)
    result = json.loads(done.stdout)
    assert done.returncode == 0
    assert result["n"] == 32
    assert result["device_us"] == {"p50": 10, "p95": 10}
    assert result["wall_ms"]["p50"] > 0
    assert result["answers_per_s"] > 0
    assert [row["words"] for row in result["by_words"]] == list(range(1, 17))


@pytest.mark.parametrize("json_option", [[], ["--json"]])
def test_selftest(json_option: list[str]) -> None:
    with FakeAgent() as fake:
        assert run("selftest", *json_option, board=fake.path).returncode == 0
    failed = {"error": "selftest", "message": "golden sentence 2 gave other numbers"}
    with FakeAgent(replies={"/selftest": failed}) as fake:
        done = run("selftest", *json_option, board=fake.path)
    assert done.returncode == 1
    assert "golden sentence 2" in done.stdout + done.stderr


def test_info_compares_with_a_bundle(tmp_path: Path) -> None:
    def header(length: int) -> bytes:
        content = struct.pack("<IHH", length, 1, 7) + bytes(length - 16)  # version, sections
        return b"UTTB" + struct.pack("<I", zlib.crc32(content)) + content

    bundle = tmp_path / "agent.bundle"
    bundle.write_bytes(header(16))
    with FakeAgent(replies={"/info": {**INFO, "crc": f"{zlib.crc32(header(16)[8:]):08X}"}}) as fake:
        done = run("info", "--bundle", str(bundle), "--json", board=fake.path)
        assert done.returncode == 0
        record = json.loads(done.stdout)
        assert (record["board"], record["bundle"]["same"]) == ("fake", True)
        bundle.write_bytes(header(20))
        done = run("info", "--bundle", str(bundle), board=fake.path)
        assert done.returncode == 1
        assert f"not {bundle} (" in done.stdout, "in one piece, for it goes to a pipe"
        for broken in (b"PK", b"UTTB", b"UTTB" + bytes(12), header(20)[:-1] + b"x"):
            bundle.write_bytes(broken)
            assert run("info", "--bundle", str(bundle), board=fake.path).returncode == 2


def test_eval_of_a_board_without_an_agent_fails(tmp_path: Path) -> None:
    path = write_examples(tmp_path, EXAMPLES[:1])
    none = {"error": "agent", "message": "the board has no agent"}
    with FakeAgent(replies={"say hello": none}) as fake:
        done = run("eval", path, board=fake.path)
    assert done.returncode == 2
    assert "no agent" in done.stderr


def test_monitor_shows_the_line_as_it_is() -> None:
    with FakeAgent() as fake:
        done = run("monitor", board=fake.path, stdin="nonsense without a CRC")
    assert done.returncode == 0
    assert '!{"error":"crc","message":"the CRC is wrong"} *' in done.stdout
    with FakeAgent(lambda _, reply: reply[:9]) as fake:
        assert '!{"error"\n' in run("monitor", board=fake.path, stdin="nonsense\n").stdout, "a line without its end"
    with FakeAgent(lambda _, reply: b"\x1b[2J" + reply) as fake:
        assert "\\x1b[2J!{" in run("monitor", board=fake.path, stdin="nonsense\n").stdout, "it steers no terminal"
    with FakeAgent() as fake:
        assert run("monitor", "--json", board=fake.path).returncode == 2

    def late(_: FakeAgent, reply: bytes) -> bytes:
        time.sleep(1)
        return reply

    for patience, heard in (("2", True), ("0.3", False)):
        with FakeAgent(late) as fake:
            done = run("monitor", "--timeout", patience, board=fake.path, stdin="nonsense\n")
        assert ('!{"error"' in done.stdout) == heard


def test_hardware_tests_of_a_bundle_name_the_board() -> None:
    command = [sys.executable, "-m", "pytest", "tests/hil", "--bundle", "mine.bundle"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 4
    assert "--bundle needs --board" in done.stderr


def test_nothing_from_a_board_steers_the_terminal() -> None:
    evil = "\x1b[2J\x9b2J"
    answer = {"intent": evil, "score": 0.9, "slots": [], "implied": {evil: evil}, "us": 10}
    info = {**INFO, "agent": evil}
    refused = {"error": evil, "message": evil}
    with FakeAgent(replies={"say hello": answer, "/info": info, "/selftest": refused}) as fake:
        ways = [
            run("ask", "say hello", board=fake.path),
            run("info", board=fake.path),
            run("selftest", board=fake.path),
        ]
    for done in ways:
        shown = done.stdout + done.stderr
        assert "\\x1b[2J\\x9b2J" in shown
        assert "\x1b" not in shown
        assert "\x9b" not in shown


def test_names_are_no_markup(tmp_path: Path) -> None:
    name = "[/x] [bold]:smile:"
    path = write_examples(tmp_path, [{"text": "say hello", "intent": name}])
    result = {"passed": True, "golden": 4, "engines": [name]}
    with FakeAgent(replies={"/info": {**INFO, "agent": name}, "/selftest": result}) as fake:
        shown = [
            run("eval", path, board=fake.path),
            run("info", board=fake.path),
            run("selftest", board=fake.path),
            run("chat", board=fake.path, stdin="/info\n"),
        ]
    for done in shown:
        assert done.returncode == 0, done.stderr
        assert name in done.stdout


def test_chat_from_a_pipe() -> None:
    with FakeAgent() as fake:
        done = run("chat", board=fake.path, stdin="say hello\n\n/info\n" + "w " * 31 + "\n/parse say you\n")
    assert done.returncode == 0
    assert "say [hello]last" in done.stdout
    assert "say [you]last" in done.stdout
    assert "threshold" in done.stdout
    assert "too many words" in done.stderr


@pytest.mark.parametrize(
    ("redirected", "status", "message"),
    [
        ("ask hello > /dev/full", 2, "the output cannot be written"),
        ("ask hello --json > /dev/full", 2, "the output cannot be written"),
        ("ask hello >&-", 0, ""),
        ("chat <&-", 0, ""),
        ("monitor <&-", 0, ""),
    ],
)
def test_streams_that_are_full_or_closed(redirected: str, status: int, message: str) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with FakeAgent() as fake:
        done = subprocess.run(
            f"{sys.executable} -m host {redirected}",
            shell=True,
            cwd=PROJECT,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            env={**os.environ, "UTTERBIT_BOARD": fake.path},
        )
    assert "Traceback" not in done.stderr
    assert (done.returncode, message in done.stderr) == (status, True)


def test_boards() -> None:
    done = run("boards", "--json")
    assert done.returncode == 0
    assert [choice["board"] for choice in json.loads(done.stdout)["boards"]][:2] == ["native", "sim"]
    assert "native" in run("boards").stdout


def test_interrupted() -> None:
    # A shell lets what it starts in the background ignore SIGINT, and so would all that the tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with FakeAgent(silence) as fake:
        command = [sys.executable, "-m", "host", "ask", "hello", "--timeout", "30", "--board", fake.path]
        process = subprocess.Popen(command, cwd=PROJECT, stderr=subprocess.PIPE, text=True)
        while not fake.requests:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=10)
    assert (process.returncode, stderr) == (130, "")


def test_a_reader_that_has_seen_enough() -> None:
    with FakeAgent() as fake:
        command = [sys.executable, "-m", "host", "ask", *["say hello"] * 100, "--board", fake.path]
        process = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        stderr = process.stderr.read()
        process.wait(timeout=30)
        process.stderr.close()
    assert stderr == ""


def test_bytes_that_are_no_text() -> None:
    with FakeAgent() as fake:
        command = [sys.executable, "-m", "host", "chat", "--board", fake.path]
        typed = b"say \xff\xfe\n/\xff\nsay hello\n"
        done = subprocess.run(command, cwd=PROJECT, input=typed, capture_output=True, timeout=30)
    assert done.returncode == 0
    assert b"error: the prompt is not valid UTF-8 at character 4" in done.stderr
    assert b"error: the command is not valid UTF-8 at character 1" in done.stderr
    assert b"say [hello]last" in done.stdout


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a terminal")
def test_chat_at_the_keyboard_goes_on(tmp_path: Path) -> None:
    """Through Ctrl-C at a line that is half typed, an answer that does not come and a reset, until Ctrl-D."""
    import fcntl
    import termios

    terminal, theirs = os.openpty()
    shown = b""
    with FakeAgent(well, *[silence] * 4, crash) as fake:
        command = [sys.executable, "-m", "host", "chat", "--timeout", "0.2", "--board", fake.path]
        chat = subprocess.Popen(
            command,
            cwd=PROJECT,
            env={**os.environ, "HOME": str(tmp_path)},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(theirs, termios.TIOCSCTTY, 0),
        )
        os.close(theirs)

        def until(expected: bytes) -> None:
            nonlocal shown
            while expected not in shown:
                assert select.select([terminal], [], [], 20)[0], (expected, shown)
                shown += os.read(terminal, 4096)
            shown = shown.partition(expected)[2]

        until(b"Ctrl-D ends")
        for typed, answers in (
            (b"say wro\x03", (b"\n",)),
            (b"say you\n", (b"[you]",)),
            (b"say hello\n", (b"no answer in 4 attempts",)),
            (b"say hello\n", (b"[hello]", b"warning: the board reset")),
        ):
            until(b"> ")
            os.write(terminal, typed)
            for expected in answers:
                until(expected)
        until(b"> ")
        os.write(terminal, b"\x04")
        assert chat.wait(timeout=20) == 0
        assert len(fake.requests) == 7
    os.close(terminal)


@pytest.mark.parametrize("json_option", [[], ["--json"]])
def test_half_a_character_in_an_answer(json_option: list[str]) -> None:
    reply = {"intent": "\ud83d", "score": 1, "slots": [], "implied": {}, "us": 1}
    with FakeAgent(replies={"hello": reply}) as fake:
        done = run("ask", "hello", *json_option, board=fake.path)
    assert done.returncode == 0
    assert r"\ud83d" in done.stdout


def test_a_command_that_is_too_long_does_not_end_the_chat() -> None:
    with FakeAgent() as fake:
        done = run("chat", board=fake.path, stdin="/" + "x" * 600 + "\nsay hello\n")
    assert done.returncode == 0
    assert "error: the command has 601 bytes of UTF-8; a line takes at most" in done.stderr
    assert "say [hello]last" in done.stdout
    assert len(fake.requests) == 1
