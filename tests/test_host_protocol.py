"""Framing: what goes onto the line and what is taken from it."""

import random
from pathlib import Path

import pytest

from host.protocol import (
    MAX_PAYLOAD_BYTES,
    MAX_REPLY_BYTES,
    MAX_REQUEST_BYTES,
    MAX_SEQ,
    Damaged,
    Decoder,
    Hello,
    Noise,
    Note,
    Reply,
    command_payload,
    crc16,
    decode_line,
    encode,
    is_panic,
    prompt_payload,
)
from train.agentlib import constants
from train.errors import UserError


def bitwise_crc16(data: bytes) -> int:
    """CRC-16/CCITT-FALSE from its definition."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
    return crc


def test_crc_is_ccitt_false() -> None:
    assert crc16(b"123456789") == 0x29B1
    data = random.Random(1).randbytes(300)
    assert crc16(data) == bitwise_crc16(data)


def test_request_line() -> None:
    line = encode(17, "turn on the kitchen light")
    body = b"@17 turn on the kitchen light"
    assert line == body + b" *%04X\n" % bitwise_crc16(body)


def test_limits_are_the_device_s() -> None:
    header = (Path(__file__).parent.parent / "firmware" / "agent" / "protocol.h").read_text()
    assert "#define UB_MAX_LINE UB_MAX_TEXT " in header
    assert constants()["UB_MAX_TEXT"] == MAX_REQUEST_BYTES
    assert f"#define UB_MAX_REPLY {MAX_REPLY_BYTES} " in header


def test_longest_prompt_fits_with_the_longest_seq() -> None:
    payload = prompt_payload("x" * MAX_PAYLOAD_BYTES)
    assert len(encode(MAX_SEQ, payload)) == MAX_REQUEST_BYTES + 1
    with pytest.raises(UserError, match=str(MAX_PAYLOAD_BYTES)):
        prompt_payload("x" * (MAX_PAYLOAD_BYTES + 1))


def test_length_is_counted_in_bytes() -> None:
    with pytest.raises(UserError, match="UTF-8"):
        prompt_payload("ü" * (MAX_PAYLOAD_BYTES // 2 + 1))


@pytest.mark.parametrize("prompt", ["/info", "@5 hello"])
def test_prompts_that_would_be_misread_go_with_parse(prompt: str) -> None:
    assert prompt_payload(prompt) == f"/parse {prompt}"


@pytest.mark.parametrize("prompt", ["what is 2/3", "mail me@home", "what is *8C1F", "= 5", "!", "# 1"])
def test_other_prompts_go_as_they_are(prompt: str) -> None:
    assert prompt_payload(prompt) == prompt


@pytest.mark.parametrize("prompt", ["", "  ", "two\nlines", "a\rb", "half \udc80 a byte"])
def test_prompts_that_no_line_can_carry(prompt: str) -> None:
    with pytest.raises(UserError):
        prompt_payload(prompt)


def test_commands_go_as_they_are_and_are_checked_as_prompts() -> None:
    assert command_payload("/info") == "/info"
    for command in ("/in\nfo", "/\udcff", "/" + "x" * MAX_PAYLOAD_BYTES):
        with pytest.raises(UserError, match="the command"):
            command_payload(command)


def test_every_kind_of_line() -> None:
    body = b'={"seq":3,"us":5}'
    assert decode_line(body + b" *%04X" % crc16(body)) == Reply(True, {"us": 5}, 3, protected=True)
    assert decode_line(b'!{"error":"long","message":"m"}') == Reply(
        False, {"error": "long", "message": "m"}, None, protected=False
    )
    assert decode_line(b"#hello proto=1 fw=0.1.0 agent=none") == Hello({"proto": "1", "fw": "0.1.0", "agent": "none"})
    assert decode_line(b'={"int#hello proto=1 agent=a') == Hello({"proto": "1", "agent": "a"})
    assert isinstance(decode_line(b'={"text":"say #hello proto=1"} *0000'), Damaged)
    assert decode_line(b"ESP-ROM:esp#hello proto=1 agent=a") == Hello({"proto": "1", "agent": "a"})
    assert isinstance(decode_line(b'\x1d{"seq":3} *0000'), Damaged)
    assert decode_line(b"# slow flash") == Note("slow flash")
    assert decode_line(b"\xffrst:0x1") == Noise("\ufffdrst:0x1")


@pytest.mark.parametrize(
    "line", [b"=", b"={", b"=[1]", b'={"seq":"3"}', b'={"seq":true}', b"={} *0000", b"=" + b"[" * 5000]
)
def test_damaged_lines(line: bytes) -> None:
    assert isinstance(decode_line(line), Damaged)


def test_every_single_bit_error_of_a_reply_is_noticed() -> None:
    body = b'={"seq":3,"intent":"HassTurnOn","score":0.98,"slots":[],"implied":{},"us":5}'
    line = body + b" *%04X" % crc16(body)
    for bit in range(8 * len(line)):
        flipped = bytearray(line)
        flipped[bit // 8] ^= 1 << bit % 8
        for got in Decoder().feed(bytes(flipped) + b"\n"):
            assert not (isinstance(got, Reply) and got.protected)


def test_panics_are_told_from_boot_logs() -> None:
    assert is_panic(Noise("Guru Meditation Error: Core  0 panic'ed (LoadProhibited)"))
    assert is_panic(decode_line(b"#panic cause=00000005 epc=42000120 tval=00000000"))
    assert is_panic(Noise("E (19329) task_wdt: Task watchdog got triggered. The following tasks/users did not reset"))
    assert is_panic(Noise("rst:0x7 (TG0WDT_SYS_RST),boot:0x8 (SPI_FAST_FLASH_BOOT)"))
    assert is_panic(Noise("rst:0xf (RTCWDT_BROWN_OUT_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)"))
    assert not is_panic(Noise("ESP-ROM:esp32c3-api1-20210207"))
    assert not is_panic(Noise("rst:0x1 (POWERON),boot:0x8 (SPI_FAST_FLASH_BOOT)"))


def test_decoder_is_indifferent_to_how_bytes_arrive() -> None:
    stream = b'\r\n# one\r\n={"us":1}\n\n\xff\xfe\n!{"error":"x","message":"y"}\r\ntail'
    whole = list(Decoder().feed(stream))
    assert len(whole) == 4
    decoder = Decoder()
    assert [line for byte in stream for line in decoder.feed(bytes([byte]))] == whole
    assert decoder.pending == "tail"


def test_a_stream_without_line_ends_takes_bounded_memory() -> None:
    decoder = Decoder()
    for _ in range(100):
        assert list(decoder.feed(b"\0" * 10_000)) == []
    assert len(decoder.pending) < 10_000
