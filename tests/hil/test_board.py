"""What must hold on every board, be it a process, a simulated chip or a chip. The tests run in this order."""

import random
import struct
import threading
import time
import zlib
from collections.abc import Callable

import pytest
from expectation import expected_answer, given_answer

from hil.bench import Bench
from host.client import Answer
from host.display import percent
from host.errors import AgentError, PortGoneError
from host.evaluation import outcome_of, prediction_of
from host.protocol import MAX_REPLY_BYTES, MAX_REQUEST_BYTES, VERSION, Decoder, Hello, Reply
from host.update import send_update
from train.bundle_file import bundle_crc
from train.metrics import Percentiles, measure

Record = Callable[[str, object], None]

SAMPLE = {"native": 1000, "sim": 30}
"""Sentences whose accuracy is measured; 300 on a chip."""

SENTENCE = "turn on the kitchen light and then dim the lamp in the living room to thirty"
BITS_PER_BYTE = 10  # 8N1


def lines(bench: Bench, data: bytes, until: type, count: int = 1) -> list[object]:
    """Write bytes as they are; the lines that come until so many are of that type."""
    if data:
        bench.wire.write(data)
    decoder, seen = Decoder(), list[object]()
    deadline = time.monotonic() + bench.wire.timeout + 5
    while sum(isinstance(line, until) for line in seen) < count:
        assert time.monotonic() < deadline, f"no {until.__name__} came, but {seen}"
        try:
            seen += decoder.feed(bench.wire.read())
        except PortGoneError:  # the chip's own USB port is away while it resets
            bench.wire.reopen()
            decoder = Decoder()
    return seen


def ask(bench: Bench, text: str) -> None:
    """The board gives the very answer that the firmware's code gives here."""
    assert given_answer(outcome_of(bench.client, text)) == expected_answer(bench.reference, text), text


def test_banner_after_a_reset(bench: Bench, record: Record) -> None:
    bench.client.info()
    bench.client.reset()
    *before, hello = lines(bench, b"", Hello)
    assert isinstance(hello, Hello)
    assert hello.fields["proto"] == str(VERSION)
    assert hello.fields["crc"] == bundle_crc(bench.bundle)
    record("banner", " ".join(f"{key}={value}" for key, value in hello.fields.items()))
    record("lines before it", len(before))


def test_info_is_of_the_bundle_on_disk(bench: Bench, record: Record) -> None:
    info = bench.client.info()
    assert info.proto == VERSION
    assert info.crc == bundle_crc(bench.bundle)
    assert info.bytes == struct.unpack_from("<I", bench.bundle, 8)[0]
    assert info.arena == bench.reference.arena_bytes <= info.arena_limit
    for name in ("fw", "board", "agent", "crc", "bytes", "arena", "hz"):
        record(name, getattr(info, name))


def test_selftest(bench: Bench, record: Record) -> None:
    start = time.monotonic()
    result = bench.client.selftest()
    assert result.passed
    assert result.golden > 0
    record("golden sentences", result.golden)
    record("seconds", round(time.monotonic() - start, 2))


def test_every_command(bench: Bench) -> None:
    commands = bench.client.raw("/help")["commands"]
    assert {"/info", "/selftest", "/stats", "/help", "/parse TEXT", "/update"} <= set(commands)
    for command in ("/info", "/stats", "/help"):
        assert bench.client.raw(command)
    assert bench.client.stats().requests > 0
    ask(bench, "/info is what I typed")  # goes as /parse TEXT
    with pytest.raises(AgentError, match="no such command"):
        bench.client.raw("/nothing")


def test_what_a_person_types(bench: Bench) -> None:
    typed = {
        b"turn on the kitchen light\r\n": "intent",
        b"/stats\n": "uptime_ms",
        b"\xff\xfe\n": "error",
        b"@1 no CRC\n": "error",
        b"x" * 100 + b" *0000\n": "error",
    }
    for line, member in typed.items():
        reply = lines(bench, line, Reply)[-1]
        assert isinstance(reply, Reply)
        assert member in reply.fields
    (reply,) = (line for line in lines(bench, b"\n\n/help\n", Reply) if isinstance(line, Reply))
    assert "commands" in reply.fields, "empty lines are no requests"


def test_an_overlong_line_is_refused_whole(bench: Bench) -> None:
    for start in range(0, MAX_REQUEST_BYTES + 100, 64):  # in portions, as a person would paste
        bench.wire.write(b"x" * min(64, MAX_REQUEST_BYTES + 100 - start))
    reply = lines(bench, b"\n", Reply)[-1]
    assert isinstance(reply, Reply)
    assert reply.fields["error"] == "long"
    ask(bench, "turn on the kitchen light")


def test_accuracy_on_a_sample(bench: Bench, record: Record) -> None:
    size = min(SAMPLE.get(bench.name, 300), len(bench.examples))
    sample = random.Random(0).sample(bench.examples, size)
    outcomes = []
    for example in sample:
        outcome = outcome_of(bench.client, example.text)
        assert given_answer(outcome) == expected_answer(bench.reference, example.text), example.text
        outcomes.append(prediction_of(outcome))
    metrics = measure(sample, outcomes)
    record("sentences", f"{size}, all answered as on this machine")
    record("intent right", percent(metrics.intent_accuracy))
    record("slot F1", percent(metrics.slot_f1))
    record("intent and all slots right", percent(metrics.exact))


def test_hard_sentences(bench: Bench) -> None:
    for text in (
        "Schalte das Licht in der Küche ein",
        "日本語",
        "?!",
        "...",
        "\ttabs and\x01controls ",
        "word " * 80,
        "@1 is no number",
        "it ends in a CRC *00FF",
        'quotes " and \\ backslashes',
        "ä" * 240,
        "7 o'clock 21.5 °C 30%",
    ):
        ask(bench, text)


def test_times(bench: Bench, record: Record) -> None:
    rows = [f"ms, with a line of {bench.baud} baud", "words  receiving  computing  sending  round trip here"]
    words = SENTENCE.split()
    for count in range(1, len(words) + 1):
        text = " ".join(words[:count])
        us, trips = [], []
        for _ in range(1 if bench.name == "sim" else 3):
            sent, received, start = bench.wire.sent, bench.wire.received, time.perf_counter()
            us.append(bench.client.parse(text).us)
            trips.append(1000 * (time.perf_counter() - start))
        line_ms = [
            1000 * BITS_PER_BYTE * n / bench.baud for n in (bench.wire.sent - sent, bench.wire.received - received)
        ]
        compute = Percentiles.of(us).p50 or 0
        assert bench.name == "native" or compute > 0
        assert bench.wire.received - received <= MAX_REPLY_BYTES + 1
        rows.append(
            f"{count:5}  {line_ms[0]:9.1f}  {compute / 1000:9.2f}  {line_ms[1]:7.1f}  {Percentiles.of(trips).p50:15.1f}"
        )
    record("times", "\n".join(rows))


def test_soak(bench: Bench, record: Record) -> None:
    draw = random.Random(1)
    before, resets = bench.client.stats(), len(bench.client.resets)
    longest, start = 0.0, time.monotonic()
    for _ in range(bench.requests):
        began = time.monotonic()
        ask(bench, draw.choice(bench.examples).text)
        longest = max(longest, time.monotonic() - began)
    seconds = time.monotonic() - start
    after = bench.client.stats()
    assert len(bench.client.resets) == resets
    assert after.crc_errors == before.crc_errors, "the line lost or changed bytes on the way to the board"
    asked_again = (after.requests - before.requests) % 2**32 - (bench.requests + 1)
    assert asked_again == 0, f"the line lost or changed bytes on the way back: {asked_again} requests were sent again"
    assert after.stack < before.stack + 256, "the stack grew"
    record("requests", f"{bench.requests:,}, every answer right")
    record("answers per second", round(bench.requests / seconds, 1))
    record("longest round trip, ms", round(1000 * longest, 1))
    record("stack, bytes", after.stack or "unknown")


def test_reset_in_the_middle_of_a_request(bench: Bench, record: Record) -> None:
    times = 1 if bench.name == "sim" else 5
    resets = len(bench.client.resets)
    for turn in range(times):
        button = threading.Timer(0.002 * turn, bench.client.reset)
        button.start()
        ask(bench, SENTENCE)
        button.join()
        ask(bench, "turn on the kitchen light")
    bench.client.info()
    seen = len(bench.client.resets) - resets
    assert seen > 0
    record("resets pressed, noticed", f"{times}, {seen}")


def test_another_agent(bench: Bench, record: Record) -> None:
    """The same agent with another CRC-32, and back again."""
    body = struct.pack("<I", len(bench.bundle) + 16) + bench.bundle[12:] + bytes(16)
    other = bench.bundle[:4] + struct.pack("<I", zlib.crc32(body)) + body
    try:
        bench.client.raw("/update")
    except AgentError as error:
        pytest.skip(f"{bench.name}: {error.message}")
    try:
        done = send_update(bench.client, other)
        record("seconds", round(done.seconds, 1))
        record("bytes per second", round(done.sent / done.seconds))
        ask(bench, "turn on the kitchen light")
        bench.client.reset()
        assert bench.client.info().crc == bundle_crc(other)
        with pytest.raises(AgentError, match="bundle"):
            send_update(bench.client, other[:16] + bytes(len(other) - 16))
        assert bench.client.info().crc == bundle_crc(other)
    except AgentError as error:
        if error.code != "signature":
            raise
        assert bench.client.info().crc == bundle_crc(bench.bundle)
        pytest.skip(f"{bench.name}: {error.message}")
    finally:  # else the board keeps it, and every later run is told of a stranger
        send_update(bench.client, bench.bundle)
    assert bench.client.info().crc == bundle_crc(bench.bundle)
    assert bench.client.selftest().passed


def test_reconnect(bench: Bench) -> None:
    for _ in range(2):
        bench.client.close()
        bench.connect()
        assert bench.client.info().crc == bundle_crc(bench.bundle)
        assert isinstance(outcome_of(bench.client, "turn on the kitchen light"), Answer)
