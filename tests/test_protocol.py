"""The device's side of the line protocol (docs/protocol.md), with an agent that answers what it is told to."""

import binascii
import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import cffi
import pytest
from hypothesis import given
from hypothesis import strategies as st

ROOT = Path(__file__).parent.parent
AGENT = ROOT / "firmware" / "agent"
MAX_LINE, MAX_REPLY = 512, 1536
CRC_TAIL = re.compile(rb" \*([0-9A-F]{4})\Z")
NO_INTENT = 0xFFFF

INTERFACE = """
void board_start(int with_agent);
void board_activate(uint32_t crc32);
void board_manifest(const char *text);
void board_feed(const uint8_t *bytes, size_t length);
void board_lost(void);
void board_clock(uint64_t microseconds);
void board_golden(uint32_t bad);
void board_status(uint32_t status);
void board_answer(uint16_t intent, uint16_t klass, uint16_t score, int accepted);
void board_slot(uint16_t slot, uint16_t start, uint16_t end, const char *value);
void board_number(uint16_t start, uint16_t end);
uint32_t board_parsed(void);
uint32_t board_fed(void);
const char *board_sent(size_t *length);
"""


class Device:
    """firmware/agent/protocol.c on the board of tests/protocol_board.c."""

    def __init__(self, ffi: Any, board: Any, agent: bool = True) -> None:
        self.ffi, self.board = ffi, board
        self._strings: list[Any] = []
        board.board_start(agent)
        self.banner = self.sent()

    def sent(self) -> bytes:
        length = self.ffi.new("size_t *")
        start = self.board.board_sent(length)
        return bytes(self.ffi.buffer(start, length[0]))

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that come back, without their LF."""
        self.board.board_feed(data, len(data))
        answer = self.sent()
        assert not answer or answer.endswith(b"\n")
        return answer.split(b"\n")[:-1]

    def ask(self, line: bytes) -> bytes:
        replies = self.feed(line + b"\n")
        assert len(replies) == 1
        return replies[0]

    def slot(self, slot: int, start: int, end: int, value: str | None = None) -> None:
        text = self.ffi.NULL if value is None else self.ffi.new("char[]", value.encode())
        self._strings.append(text)
        self.board.board_slot(slot, start, end, text)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Any:
    ffi = cffi.FFI()
    ffi.cdef(INTERFACE)
    ffi.set_source(
        "utterbit_protocol_board",
        INTERFACE,
        sources=[
            str(path)
            for path in (
                ROOT / "tests" / "protocol_board.c",
                *(AGENT / name for name in ("protocol.c", "update.c", "crc.c", "text.c")),
            )
        ],
        include_dirs=[str(AGENT)],
        extra_compile_args=["-std=c11", "-O1", "-fsanitize=undefined", "-fsanitize-undefined-trap-on-error"],
    )
    folder = tmp_path_factory.mktemp("protocol")
    library = ffi.compile(str(folder))
    spec = importlib.util.spec_from_file_location("utterbit_protocol_board", library)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def device(compiled: Any) -> Device:
    return Device(compiled.ffi, compiled.lib)


@pytest.fixture
def device_without_agent(compiled: Any) -> Device:
    return Device(compiled.ffi, compiled.lib, agent=False)


def guard(body: bytes) -> bytes:
    return b"%b *%04X" % (body, binascii.crc_hqx(body, 0xFFFF))


def numbered(seq: int, text: bytes) -> bytes:
    return guard(b"@%d %b" % (seq, text))


def fields(reply: bytes) -> dict[str, Any]:
    """The JSON object of a reply, whose CRC is checked if it has one."""
    crc = CRC_TAIL.search(reply)
    if crc:
        reply = reply[: crc.start()]
        assert int(crc[1], 16) == binascii.crc_hqx(reply, 0xFFFF)
    assert reply[:1] in (b"=", b"!")
    result: dict[str, Any] = json.loads(reply[1:])
    assert ("error" in result) == (reply[:1] == b"!")
    return result


def error(reply: bytes) -> str:
    word: str = fields(reply)["error"]
    return word


def test_the_banner_names_the_agent(device: Device, device_without_agent: Device) -> None:
    assert device.banner == b"#hello proto=1 fw=0.1.0 board=test agent=home-en crc=8C1F03A2\n"
    assert device_without_agent.banner == b"#hello proto=1 fw=0.1.0 board=test agent=none crc=00000000\n"


def test_a_prompt_and_the_same_from_a_program(device: Device) -> None:
    device.board.board_clock(8200)
    device.board.board_answer(0, 1, 9800, True)
    device.slot(0, 12, 19)
    prompt = b"turn on the kitchen light"
    body = (
        b'"intent":"HassTurnOn","score":0.98,"slots":[{"slot":"area","start":12,"end":19,"text":"kitchen"}],'
        b'"implied":{"domain":"light"},"us":8200}'
    )
    assert device.ask(prompt) == b"={" + body
    assert device.ask(numbered(17, prompt)) == guard(b'={"seq":17,' + body)


def test_a_rejected_prompt_names_the_best_intent_and_no_slots(device: Device) -> None:
    device.board.board_answer(0, 1, 4100, False)
    device.slot(0, 0, 4)
    assert (
        device.ask(b"what is that")
        == b'={"intent":null,"score":0.41,"best":"HassTurnOn","slots":[],"implied":{},"us":0}'
    )
    device.board.board_answer(NO_INTENT, 0, 0, False)
    assert fields(device.ask(b"x"))["best"] is None


@pytest.mark.parametrize(
    ("score", "text"),
    [(0, "0"), (1, "0.0001"), (10, "0.001"), (4100, "0.41"), (5050, "0.505"), (9812, "0.9812"), (10000, "1")],
)
def test_scores_are_decimal_fractions(device: Device, score: int, text: str) -> None:
    device.board.board_answer(0, 0, score, True)
    assert f'"score":{text},'.encode() in device.ask(b"x")


def test_slots_are_copied_as_json(device: Device) -> None:
    prompt = 'a "b" \\ \x01\x7f ü日'.encode()
    device.board.board_answer(1, 0, 10000, True)
    device.slot(0, 0, len(prompt))
    device.slot(1, 2, 5, "30")
    device.slot(1, 2, 5, '"x"')
    reply = device.ask(prompt)
    assert not {0x01, 0x7F} & set(reply)
    answer = fields(reply)
    assert answer["intent"] == 'Quote"Back\\slash'
    assert answer["slots"][0] == {"slot": "area", "start": 0, "end": len(prompt), "text": prompt.decode()}
    assert [slot.get("value") for slot in answer["slots"]] == [None, 30, "x"]


@pytest.mark.parametrize(("words", "value"), [("20.5", 20.5), ("-3", -3), ("10:30", None)])
def test_digits_are_their_value(device: Device, words: str, value: float | None) -> None:
    device.board.board_answer(0, 0, 10000, True)
    device.slot(1, 0, len(words) + 8)
    device.board.board_number(0, len(words))
    (slot,) = fields(device.ask(f"{words} percent".encode()))["slots"]
    assert slot.get("value") == value
    assert ("value" in slot) == (value is not None)


def test_a_prompt_can_begin_like_a_command(device: Device) -> None:
    device.board.board_answer(0, 0, 10000, True)
    device.slot(0, 0, 3)
    assert fields(device.ask(b"/parse /x y"))["slots"][0]["text"] == "/x "
    assert fields(device.ask(numbered(1, b"/parse @3 *8C1F")))["slots"][0]["text"] == "@3 "
    assert device.board.board_parsed() == 2


def test_a_reply_that_does_not_fit_is_an_error(device: Device) -> None:
    device.board.board_answer(0, 0, 10000, True)
    for _ in range(4):
        device.slot(0, 0, 300)
    fitting = fields(device.ask(b"a" * 300))
    assert len(fitting["slots"]) == 4
    device.slot(0, 0, 300)
    assert fields(device.ask(numbered(5, b"a" * 300))) == {
        "seq": 5,
        "error": "long",
        "message": "the reply has more than 1536 bytes",
    }
    assert fields(device.ask(b"/stats"))["errors"] == 1


def test_the_longest_reply_is_exactly_the_limit(device: Device) -> None:
    lengths = set()
    for extra in range(200):
        device.board.board_answer(0, 0, 10000, True)
        for end in (300, 300, 300, 250 + extra):
            device.slot(0, 0, end)
        lengths.add(len(device.ask(b"a" * 450)))
    assert max(lengths) == MAX_REPLY


@pytest.mark.parametrize(
    ("line", "word"),
    [
        (b"@1 x", "crc"),
        (b"@", "crc"),
        (b"@1 x *0000", "crc"),
        (b"x *0000", "crc"),
        (guard(b"@1 x").lower(), "crc"),
        (guard(b"@1"), "seq"),
        (guard(b"@1x"), "seq"),
        (guard(b"@ x"), "seq"),
        (guard(b"@-1 x"), "seq"),
        (guard(b"@4294967296 x"), "seq"),
        (guard(b"@99999999999999999999999999999999 x"), "seq"),
        (b"/nothing", "command"),
        (b"/", "command"),
        (b"/INFO", "command"),
        (b"/info please", "command"),
        (b"/infos", "command"),
    ],
)
def test_errors(device: Device, line: bytes, word: str) -> None:
    reply = device.ask(line)
    assert error(reply) == word
    assert "seq" not in fields(reply)
    assert (CRC_TAIL.search(reply) is not None) == (line.startswith(b"@") or CRC_TAIL.search(line) is not None)
    assert device.board.board_parsed() == 0


def test_errors_of_the_agent_echo_the_seq(device: Device) -> None:
    for status, word in ((7, "utf8"), (8, "empty"), (9, "words")):
        device.board.board_status(status)
        assert fields(device.ask(numbered(status, b"x"))) == {"seq": status, "error": word, "message": "a sentence"}
        assert error(device.ask(b"x")) == word


def test_sequence_numbers_to_the_last(device: Device) -> None:
    for seq in (0, 1, 4294967295):
        assert fields(device.ask(numbered(seq, b"x")))["seq"] == seq
    assert fields(device.ask(guard(b"@007 x")))["seq"] == 7


def test_a_crc_is_for_people_too(device: Device) -> None:
    assert CRC_TAIL.search(device.ask(guard(b"/help")))
    assert not CRC_TAIL.search(device.ask(b"/help"))
    for prompt in (b"we are *dead", b"we *000G", b"we *00FF ", b"we*00FF"):
        assert "intent" in fields(device.ask(prompt))


def test_a_repeat_is_answered_without_computing(device: Device) -> None:
    device.board.board_clock(100)
    request = numbered(3, b"x")
    first = device.ask(request)
    device.board.board_clock(200)
    assert device.ask(request) == first
    assert error(device.ask(request[:-1])) == "crc"
    assert error(device.ask(b"z" * 600)) == "long"
    assert device.ask(request) == first, "an error without seq is no answer"
    assert device.board.board_parsed() == 1
    assert device.ask(numbered(3, b"y")) != first, "the same number for another request"
    assert device.ask(request) != first
    assert device.board.board_parsed() == 3
    device.ask(b"x")
    device.ask(request)
    assert device.board.board_parsed() == 5, "a request without seq ends it"
    assert fields(device.ask(b"/stats"))["repeats"] == 2


def test_no_request_is_taken_for_a_repeat_of_one_without_a_number(device: Device) -> None:
    texts = (b"%d" % i for i in range(10**6))
    request = next(line for line in (numbered(0, text) for text in texts) if line.endswith(b" *0000"))
    device.ask(b"x")
    assert fields(device.ask(request))["seq"] == 0


def test_line_ends(device: Device) -> None:
    help_reply = device.ask(b"/help")
    assert device.feed(b"/help\r\n") == [help_reply]
    assert device.feed(b"/help\r/help\r/he") == [help_reply, help_reply]
    assert device.feed(b"lp\r") == [help_reply]
    assert device.feed(b"\n\r\n\n") == []
    assert device.feed(b"/he") == []
    assert device.feed(b"lp\n/help\n/he") == [help_reply, help_reply]
    assert device.feed(b"lp\n") == [help_reply]
    assert device.feed(b"/help\r\r\n") == [help_reply]
    assert device.feed(b"\0\0/help\n\0\n") == [help_reply]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_overlong_lines_are_dropped_whole(device: Device, end: bytes) -> None:
    assert b"intent" in device.feed(b"x" * MAX_LINE + end)[0]
    for length in (MAX_LINE + 1, MAX_LINE + 2, 10_000, 100_000):
        replies = device.feed(b"x" * length + end + b"/help\n")
        assert [error(replies[0]), list(fields(replies[1]))] == ["long", ["commands"]]
    assert CRC_TAIL.search(device.ask(b"@" * 600))
    assert device.board.board_parsed() == 1


def test_a_whole_line_may_be_garbage(device: Device) -> None:
    for line in (b" \0", bytes(range(10)), bytes(range(14, 256)), b" \t\x0b"):
        assert "intent" in fields(device.ask(line))
    assert device.board.board_parsed() == 4


def test_lost_bytes_break_their_line(device: Device) -> None:
    device.feed(b"turn on the li")
    device.board.board_lost()
    reply = device.ask(b"ght")
    assert fields(reply) == {"error": "crc", "message": "bytes of the line were lost"}
    assert list(fields(device.ask(b"/help"))) == ["commands"]
    device.board.board_lost()
    assert [error(line) for line in device.feed(b"\n")] == ["crc"]
    assert fields(device.ask(b"/stats"))["crc_errors"] == 2


def test_without_an_agent_there_is_still_a_board(device_without_agent: Device) -> None:
    device = device_without_agent
    for line in (b"hello", b"/parse x", b"/selftest"):
        assert fields(device.ask(line)) == {"error": "agent", "message": "corrupted"}
    info = fields(device.ask(b"/info"))
    assert (info["agent"], info["crc"], info["bytes"]) == (None, "00000000", 0)
    assert device.board.board_parsed() == 0


def test_info(device: Device) -> None:
    info = fields(device.ask(b"/info"))
    arena_limit = info.pop("arena_limit")
    assert info == {
        "proto": 1,
        "fw": "0.1.0",
        "bundle_version": 9,
        "board": "test",
        "agent": "home-en",
        "crc": "8C1F03A2",
        "bytes": 100000,
        "intents": 2,
        "slots": 2,
        "positions": 32,
        "threshold": 0.625,
        "arena": 12345,
        "weights_in_ram": 0,
        "hz": 160000000,
    }
    assert arena_limit >= 12345


def test_an_agent_that_came_over_another_line_answers(device: Device) -> None:
    device.board.board_activate(0x12345678)
    info = fields(device.ask(b"/info"))
    assert (info["crc"], info["weights_in_ram"]) == ("12345678", 4096)


@pytest.mark.parametrize(
    ("manifest", "name"),
    [
        ('{"name":"a.B-9_"}', "a.B-9_"),
        ('{"name":""}', "unnamed"),
        ('{"name":"a b"}', "unnamed"),
        ('{"name":"a', "unnamed"),
        ('{"name":"' + "a" * 64 + '"}', "a" * 64),
        ('{"name":"' + "a" * 65 + '"}', "unnamed"),
        ('{"title":"a"}', "unnamed"),
        ("", "unnamed"),
    ],
)
def test_the_name_is_a_word_of_the_manifest(device: Device, manifest: str, name: str) -> None:
    text = device.ffi.new("char[]", manifest.encode())
    device.board.board_manifest(text)
    assert fields(device.ask(b"/info"))["agent"] == name


def test_selftest(device: Device) -> None:
    assert fields(device.ask(b"/selftest")) == {"passed": True, "golden": 3, "engines": ["own"]}
    assert device.board.board_fed() == 1 + 3, "before the line and before each sentence"
    device.board.board_golden(1)
    failure = fields(device.ask(numbered(9, b"/selftest")))
    assert (failure["seq"], failure["error"]) == (9, "selftest")
    assert "golden sentence 1 of 3" in failure["message"]


def test_stats_count(device: Device) -> None:
    for line, clock in ((b"x", 70), (b"y", 5000), (b"z", 8), (b"@1 x", 8), (b"/nothing", 8)):
        device.board.board_clock(clock)
        device.ask(line)
    device.board.board_clock(1_000_000)
    stats = fields(device.ask(b"/stats"))
    assert stats.pop("uptime_ms") >= 1000
    assert stats == {
        "requests": 6,
        "errors": 2,
        "crc_errors": 1,
        "repeats": 0,
        "us_max": 5000,
        "stack": 1234,
        "reset": "power",
    }


def test_time_saturates(device: Device) -> None:
    device.board.board_clock(2**40)
    assert fields(device.ask(b"x"))["us"] == 2**32 - 1


def test_help_names_every_command(device: Device) -> None:
    commands = fields(device.ask(b"/help"))["commands"]
    updates = ["/update", "/update begin BYTES CRC", "/update data OFFSET BASE64", "/update activate"]
    assert commands == ["/parse TEXT", "/info", "/selftest", "/stats", *updates, "/help"]
    for command in commands:
        assert command in updates or device.ask(command.encode()).startswith(b"=")


def test_a_board_without_flash_takes_no_update(device: Device) -> None:
    chunk = b"/update data 0 AAAA"
    for line in (b"/update", b"/update begin 256 00000000", chunk, b"/update activate"):
        assert error(device.ask(line)) == "storage"
    for line in (b"begin 1 0", b"begin x 00000000", b"begin", b"data 0 AAA", b"data 0 AA=A", b"data", b"data 0 ....",
                 b"data 0 " + b"A" * 344, b"data 4294967296 AAAA"):  # fmt: skip
        assert error(device.ask(b"/update " + line)) == "update"
    assert error(device.ask(b"/update activate now")) == "command"


def expected(line: bytes) -> str | None:
    """What docs/protocol.md says about a line that is not empty: the error's word, None for a result."""
    if len(line) > MAX_LINE:
        return "long"
    crc = CRC_TAIL.search(line)
    if crc:
        line = line[: crc.start()]
        if int(crc[1], 16) != binascii.crc_hqx(line, 0xFFFF):
            return "crc"
    if line.startswith(b"@"):
        if not crc:
            return "crc"
        seq = re.match(rb"@([0-9]+) ", line)
        if not seq or int(seq[1]) >= 2**32:
            return "seq"
        line = line[seq.end() :]
    if line.startswith(b"/"):
        if re.fullmatch(rb"/update( activate)? ?", line):
            return "storage"
        return None if re.fullmatch(rb"/parse( .*)?|/(info|selftest|stats|help) ?", line, re.DOTALL) else "command"
    return None


bodies = st.one_of(
    st.binary(max_size=80),
    st.text(max_size=60).map(str.encode),
    st.sampled_from(
        [
            b"/help",
            b"/info ",
            b"/stats x",
            b"/parse",
            b"/parse /a",
            b"/parse ",
            b"/nope",
            b"/update",
            b"/update activate ",
            b"x" * 505,
            b"y" * 513,
        ]
    ),
)
lines = st.one_of(
    bodies,
    bodies.map(guard),
    st.builds(numbered, st.integers(0, 2**33), bodies),
    st.builds(lambda body: b"@" + body, bodies),
    st.builds(lambda body, at, bit: _flip(guard(b"@1 " + body), at, bit), bodies, st.integers(0), st.integers(0, 7)),
)


def _flip(line: bytes, at: int, bit: int) -> bytes:
    at %= len(line)
    return line[:at] + bytes([line[at] ^ 1 << bit]) + line[at + 1 :]


@given(
    stream=st.lists(st.tuples(lines, st.sampled_from([b"\n", b"\r\n", b"\r"])), max_size=6),
    cuts=st.lists(st.integers(1, 40)),
)
def test_every_line_gets_its_one_reply(compiled: Any, stream: list[tuple[bytes, bytes]], cuts: list[int]) -> None:
    device = Device(compiled.ffi, compiled.lib)
    data = b"".join(line + end for line, end in stream)
    replies, rest = [], data
    for cut in cuts:
        replies += device.feed(rest[:cut])
        rest = rest[cut:]
    replies += device.feed(rest)

    asked = [line.lstrip(b"\0") for line in re.split(rb"[\r\n]", data)[:-1]]
    asked = [line for line in asked if line]
    assert [fields(reply).get("error") for reply in replies] == [expected(line) for line in asked]
    assert all(len(reply) <= MAX_REPLY for reply in replies)
    assert [fields(line) for line in device.feed(b"\n/help\n")][-1]["commands"]
