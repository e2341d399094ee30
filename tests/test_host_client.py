"""The client against an agent that misbehaves."""

import asyncio
import errno
import grp
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import serial
from fake_agent import (
    HELLO,
    FakeAgent,
    Fault,
    bit_flip,
    chatter,
    crash,
    first_bit_flip,
    hang,
    refusal,
    reset,
    silence,
    stale,
    unplug,
    unprotected,
    well,
)

from host import AsyncClient, boards
from host.client import Answer, AnswerSlot, Client, Settings
from host.errors import AgentError, NoAnswerError, NoBoardError
from train.errors import UserError

FAST = Settings(timeout=0.15, retries=2)


def test_an_answer() -> None:
    with FakeAgent() as fake, Client(fake.path, FAST) as agent:
        answer = agent.parse("say hello")
    assert (answer.intent, answer.best, answer.score, answer.us) == ("Last", "Last", 0.9, 10)
    assert answer.slots == (AnswerSlot("last", 4, 9, "hello"),)
    assert answer.implied == {"domain": "test"}


def test_a_rejected_prompt() -> None:
    with FakeAgent() as fake, Client(fake.path, FAST) as agent:
        answer = agent.parse("unknown words")
    assert (answer.intent, answer.best, answer.slots) == (None, "Last", ())


@pytest.mark.parametrize("prompt", ["größer schön", "日本 語", "👍🏽 ok 👍🏽", "a\u0301 é", "/info", "@7 x *FFFF"])
def test_offsets_are_code_points(prompt: str) -> None:
    with FakeAgent() as fake, Client(fake.path, FAST) as agent:
        (slot,) = agent.parse(prompt).slots
    assert prompt[slot.start : slot.end] == slot.text == prompt.split()[-1]


def test_values_are_typed() -> None:
    slot = {"slot": "brightness", "start": 4, "end": 10, "text": "thirty", "value": 30}
    reply = {"intent": "Dim", "score": 1, "slots": [slot], "implied": {}, "us": 1}
    with FakeAgent(replies={"dim thirty": reply}) as fake, Client(fake.path, FAST) as agent:
        assert agent.parse("dim thirty").slots == (AnswerSlot("brightness", 4, 10, "thirty", 30),)


@pytest.mark.parametrize(
    "slot",
    [
        {"slot": "a", "start": 0, "end": 9, "text": "grün"},
        {"slot": "a", "start": 3, "end": 5, "text": "n"},
        {"slot": "a", "start": 2, "end": 3, "text": "ü"},
        {"slot": "a", "start": 0, "end": 5},
        {"slot": "a", "start": 0, "end": 5, "text": "\ud83d"},
        {"slot": "a", "start": 0, "end": 5, "text": "grün", "value": [[1]]},
    ],
)
def test_slots_that_are_none_are_refused(slot: dict[str, object]) -> None:
    reply = {"intent": "A", "score": 1, "slots": [slot], "implied": {}, "us": 1}
    with FakeAgent(replies={"grün": reply}) as fake, Client(fake.path, FAST) as agent, pytest.raises(NoAnswerError):
        agent.parse("grün")


@pytest.mark.parametrize("fault", [silence, bit_flip, refusal, stale, unprotected])
def test_a_lost_or_damaged_answer_is_asked_for_again_under_the_same_seq(fault: Fault) -> None:
    with FakeAgent(well, fault, fault) as fake, Client(fake.path, FAST) as agent:
        agent.info()
        assert agent.parse("say hello").intent == "Last"
    assert len(fake.requests) == 4
    assert len(set(fake.requests[1:])) == 1


@pytest.mark.parametrize("fault", [bit_flip, first_bit_flip, refusal])
def test_a_damaged_answer_is_asked_for_again_at_once(fault: Fault) -> None:
    start = time.monotonic()
    with FakeAgent(fault, fault) as fake, Client(fake.path, Settings(timeout=60)) as agent:
        assert agent.parse("say hello").intent == "Last"
    assert time.monotonic() - start < 20


def test_other_traffic_is_no_answer() -> None:
    with FakeAgent(chatter, chatter) as fake, Client(fake.path, FAST) as agent:
        assert agent.info().board == "fake"
        assert agent.parse("say hello").slots[0].text == "hello"
    assert len(fake.requests) == 2


def test_requests_have_rising_numbers_from_a_random_one() -> None:
    firsts = set()
    for _ in range(3):
        with FakeAgent() as fake, Client(fake.path, FAST) as agent:
            agent.info()
            agent.info()
        first, second = (int(line[1:].split()[0]) for line in fake.requests)
        assert second == first + 1
        firsts.add(first)
    assert len(firsts) == 3


@pytest.mark.parametrize("wrong", [{"retries": -1}, {"timeout": 0}, {"quiet": -0.1}])
def test_settings_that_cannot_work_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="must be above 0"):
        Settings(**wrong)


def test_retries_end() -> None:
    with (
        FakeAgent(*[silence] * 9) as fake,
        Client(fake.path, FAST) as agent,
        pytest.raises(NoAnswerError, match=r"3 attempts of 0\.15 s"),
    ):
        agent.parse("hello")
    assert len(fake.requests) == 3
    with (
        FakeAgent(*[bit_flip] * 9) as fake,
        Client(fake.path, FAST) as agent,
        pytest.raises(NoAnswerError, match="3 lines came damaged"),
    ):
        agent.parse("hello")


def test_a_late_answer_is_not_taken_for_the_next_one() -> None:
    kept: list[bytes] = []

    def keep(agent: FakeAgent, reply: bytes) -> bytes:
        kept.append(reply)
        return b""

    def release(agent: FakeAgent, reply: bytes) -> bytes:
        return kept[0] + reply

    with FakeAgent(keep, release) as fake, Client(fake.path, Settings(timeout=0.1, retries=0)) as agent:
        with pytest.raises(NoAnswerError):
            agent.parse("say one")
        assert agent.parse("say two").slots[0].text == "two"


def test_a_reset_in_the_middle_of_an_answer() -> None:
    with FakeAgent(well, reset) as fake, Client(fake.path, Settings(timeout=5, retries=0)) as agent:
        agent.info()
        assert agent.parse("say hello").intent == "Last"
        assert [event.panic for event in agent.resets] == [None]


def test_a_crash_is_reported_with_its_cause() -> None:
    with FakeAgent(well, crash) as fake, Client(fake.path, FAST) as agent:
        agent.info()
        assert agent.parse("say hello").intent == "Last"
        (event,) = agent.resets
        assert event.panic is not None
        assert "Load access fault" in event.panic


def test_a_prompt_that_always_crashes_the_board() -> None:
    with FakeAgent(well, *[crash] * 9) as fake, Client(fake.path, FAST) as agent:
        agent.info()
        with pytest.raises(NoAnswerError, match="crashed or hung while answering: Guru Meditation"):
            agent.parse("say hello")
        assert len(fake.requests) < 6


def test_a_hung_board_is_reported_when_its_watchdog_has_bitten() -> None:
    with FakeAgent(well, hang) as fake, Client(fake.path, Settings(timeout=0.2)) as agent:
        agent.info()
        assert agent.parse("say hello").intent == "Last"
        (event,) = agent.resets
        assert event.panic is not None
        assert "TG0WDT_SYS_RST" in event.panic
    with FakeAgent(well, *[hang] * 9) as fake, Client(fake.path, Settings(timeout=0.2)) as agent:
        agent.info()
        with pytest.raises(NoAnswerError, match="hung while answering: rst:0x7"):
            agent.parse("say hello")


def test_a_board_that_starts_when_it_is_opened_did_not_reset() -> None:
    with FakeAgent(reset) as fake, Client(fake.path, FAST) as agent:
        assert agent.info().board == "fake"
        assert agent.resets == []


def test_what_came_while_nobody_asked_costs_no_attempt() -> None:
    with FakeAgent() as fake, Client(fake.path, Settings(timeout=5, retries=0)) as agent:
        agent.info()
        fake.say(4 * HELLO + 4 * b"=\xff garbage\n")
        time.sleep(0.1)
        assert agent.info().board == "fake"
        assert len(agent.resets) == 4


def test_a_port_that_goes_away_and_comes_back(tmp_path: Path) -> None:
    """As a chip's own USB port does while the chip resets."""
    port = tmp_path / "port"
    with FakeAgent(well, unplug) as first, FakeAgent() as second:
        port.symlink_to(first.path)
        with Client(str(port), FAST) as agent:
            agent.info()
            port.unlink()
            back = threading.Timer(0.2, port.symlink_to, [second.path])
            back.start()
            assert agent.parse("say hello").intent == "Last"
            back.join()
            assert [event.agent for event in agent.resets] == [""]


def test_the_banner_of_a_port_that_came_back_is_no_second_reset(tmp_path: Path) -> None:
    port = tmp_path / "port"
    with FakeAgent(well, unplug) as first, FakeAgent(reset) as second:
        port.symlink_to(first.path)
        with Client(str(port), FAST) as agent:
            agent.info()
            port.unlink()
            port.symlink_to(second.path)
            assert agent.parse("say hello").intent == "Last"
            assert len(agent.resets) == 1


def test_a_closed_client_stays_closed() -> None:
    with FakeAgent() as fake:
        agent = Client(fake.path, FAST)
        agent.close()
        with pytest.raises(NoAnswerError, match="was closed"):
            agent.info()
        with Client(fake.path, FAST) as other:
            assert other.info().board == "fake"


def test_a_closed_process_stays_closed(native_program: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boards, "NATIVE_PROGRAM", native_program)
    agent = Client("native", bundle=str(bundle))
    agent.close()
    with pytest.raises(NoAnswerError, match="native was closed"):
        agent.info()


def test_a_process_can_be_reset_at_once(native_program: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boards, "NATIVE_PROGRAM", native_program)
    for _ in range(20):
        with Client("native", bundle=bundle) as agent:
            agent.reset()
            assert agent.info().board == "native"


def test_closing_waits_for_the_request_of_another_thread() -> None:
    with FakeAgent(silence) as fake:
        agent = Client(fake.path, FAST)
        answers: list[Answer] = []
        thread = threading.Thread(target=lambda: answers.append(agent.parse("say hello")))
        thread.start()
        while not fake.requests:
            time.sleep(0.01)
        agent.close()
        thread.join()
        assert [answer.intent for answer in answers] == ["Last"]


def test_unplugged_in_the_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boards, "RETURN_TIME", 0.2)
    with FakeAgent(well, unplug) as fake, Client(fake.path, FAST) as agent:
        agent.info()
        with pytest.raises(NoAnswerError, match="went away"):
            agent.parse("hello")


def test_garbage_without_end_ends_in_a_clear_error() -> None:
    def flood(agent: FakeAgent, reply: bytes) -> bytes:
        return b"\xf0\x80garbage\n" * 50

    with (
        FakeAgent(*[flood] * 9) as fake,
        Client(fake.path, FAST) as agent,
        pytest.raises(NoAnswerError, match=r"garbage.*right port and --baud"),
    ):
        agent.parse("hello")


def test_errors_of_the_agent() -> None:
    with FakeAgent() as fake, Client(fake.path, FAST) as agent, pytest.raises(AgentError) as caught:
        agent.parse("word " * 31)
    assert (caught.value.code, caught.value.exit_status) == ("words", 2)


def test_a_failed_selftest() -> None:
    failed = {"error": "selftest", "message": "golden sentence 2"}
    with (
        FakeAgent(replies={"/selftest": failed}) as fake,
        Client(fake.path, FAST) as agent,
        pytest.raises(AgentError) as caught,
    ):
        agent.selftest()
    assert caught.value.exit_status == 1


def test_implied_slots_are_scalars() -> None:
    reply = {"intent": "A", "score": 1, "slots": [], "implied": {"area": "hall", "level": [1]}, "us": 1}
    with (
        FakeAgent(replies={"hello": reply}) as fake,
        Client(fake.path, FAST) as agent,
        pytest.raises(NoAnswerError, match="'level'"),
    ):
        agent.parse("hello")


@pytest.mark.parametrize("score", [-0.1, 1.5, 10**400, float("nan")], ids=["negative", "above", "huge", "nan"])
def test_a_score_that_is_none(score: float) -> None:
    reply = {"intent": "A", "score": score, "slots": [], "implied": {}, "us": 1}
    with (
        FakeAgent(replies={"hello": reply}) as fake,
        Client(fake.path, FAST) as agent,
        pytest.raises(NoAnswerError, match=r"score|proper"),
    ):
        agent.parse("hello")


def test_an_incomplete_record() -> None:
    with (
        FakeAgent(replies={"/info": {"proto": 1}}) as fake,
        Client(fake.path, FAST) as agent,
        pytest.raises(NoAnswerError, match="'fw'"),
    ):
        agent.info()


def test_threads_share_a_client() -> None:
    wrong = []

    def ask(agent: Client, name: str) -> None:
        for number in range(40):
            word = f"{name}{number}"
            if agent.parse(f"say {word}").slots[0].text != word:
                wrong.append(word)

    with FakeAgent() as fake, Client(fake.path, Settings(timeout=5)) as agent:
        threads = [threading.Thread(target=ask, args=(agent, name)) for name in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong
    assert len(fake.requests) == 160


def test_tasks_share_an_asyncio_client() -> None:
    async def ask(path: str) -> list[object]:
        async with AsyncClient(path, Settings(timeout=5)) as agent:
            assert (await agent.info()).board == "fake"
            prompts = [f"say {number}" for number in range(20)]
            answers = await asyncio.gather(*map(agent.parse, prompts), agent.raw("w " * 31), return_exceptions=True)
            waiting = [asyncio.create_task(agent.parse("say more")) for _ in range(100)]
            late = asyncio.create_task(agent.parse("say nothing"))
            await asyncio.sleep(0)
            late.cancel()
            assert {answer.slots[0].text for answer in await asyncio.gather(*waiting)} == {"more"}
            assert agent.resets == []
        return answers

    with FakeAgent() as fake:
        *answers, error = asyncio.run(ask(fake.path))
    assert [answer.slots[0].text for answer in answers if isinstance(answer, Answer)] == [str(n) for n in range(20)]
    assert isinstance(error, AgentError)
    assert not any(b"nothing" in line for line in fake.requests)


def test_an_asyncio_client_is_open_within_async_with() -> None:
    async def ask(agent: AsyncClient) -> None:
        with pytest.raises(NoAnswerError, match="async with"):
            await agent.info()

    async def use(path: str) -> None:
        agent = AsyncClient(path, FAST)
        await ask(agent)
        for _ in range(2):
            async with agent:
                await agent.info()
            await ask(agent)

    with FakeAgent() as fake:
        asyncio.run(use(fake.path))


def test_an_asyncio_client_that_is_cancelled_while_it_closes_lets_go_of_the_board() -> None:
    async def use(path: str) -> None:
        agent = AsyncClient(path, Settings(timeout=0.3, retries=0))
        await agent.__aenter__()
        asking = asyncio.create_task(agent.parse("say nothing"))
        await asyncio.sleep(0.05)
        leaving = asyncio.create_task(agent.__aexit__(None, None, None))
        await asyncio.sleep(0.05)
        leaving.cancel()
        await asyncio.gather(asking, leaving, return_exceptions=True)
        with pytest.raises(NoAnswerError, match="async with"):
            await agent.info()
        async with agent:  # the port is free again
            await agent.info()

    with FakeAgent(silence) as fake:
        asyncio.run(use(fake.path))


def test_an_asyncio_client_that_is_cancelled_while_it_opens_lets_go_of_the_board(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opening, go_on, closed = threading.Event(), threading.Event(), threading.Event()

    class Slow:
        def __init__(self, *_: object, **__: object) -> None:
            opening.set()
            go_on.wait(5)

        def close(self) -> None:
            closed.set()

    async def give_up() -> None:
        task = asyncio.create_task(AsyncClient("any").__aenter__())
        await asyncio.to_thread(opening.wait, 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    monkeypatch.setattr("host.asynchronous.Client", Slow)
    asyncio.run(give_up())
    go_on.set()
    assert closed.wait(5)


def test_an_asyncio_client_without_a_board() -> None:
    async def ask() -> None:
        async with AsyncClient("/dev/ttyNONE"):
            pass

    with pytest.raises(NoBoardError, match="no such port"):
        asyncio.run(ask())


def test_no_such_port() -> None:
    with pytest.raises(NoBoardError, match="no such port: /dev/ttyNONE"):
        Client("/dev/ttyNONE")


def test_a_port_that_another_program_has_open() -> None:
    with FakeAgent() as fake, Client(fake.path, FAST), pytest.raises(NoBoardError, match="busy"):
        Client(fake.path)


@pytest.mark.parametrize(
    ("mode", "group", "advice"),
    [
        (0o660, "dialout", r"the group dialout; run `sudo usermod -a -G dialout \$USER`"),
        (0o660, "uucp", "the group uucp"),
        (0o600, "dialout", "sudo chmod a"),
        (0o660, "root", "sudo chmod a"),
    ],
)
def test_a_port_without_permission_names_the_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, group: str, advice: str
) -> None:
    def refuse(url: str, **settings: object) -> None:
        raise serial.SerialException(errno.EACCES, f"could not open port {url}")

    port = tmp_path / "ttyUSB0"
    port.touch()
    port.chmod(mode)
    monkeypatch.setattr(serial, "serial_for_url", refuse)
    monkeypatch.setattr(grp, "getgrgid", lambda gid: grp.struct_group((group, "x", gid, [])))
    with pytest.raises(NoBoardError, match=f"no permission to open {port}: .*{advice}"):
        Client(str(port))


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (
            "could not open port 'COM9': FileNotFoundError(2, 'The system cannot find the file specified.')",
            "no such port",
        ),
        ("could not open port 'COM9': PermissionError(13, 'Access is denied.')", "busy: another program"),
    ],
)
def test_windows_words_for_it(monkeypatch: pytest.MonkeyPatch, error: str, advice: str) -> None:
    def refuse(url: str, **settings: object) -> None:
        raise serial.SerialException(error)

    monkeypatch.setattr(serial, "serial_for_url", refuse)
    with pytest.raises(NoBoardError, match=advice):
        Client("COM9")


def test_what_is_no_serial_port(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(NoBoardError, match="as a serial port"):
        Client(str(file))


def test_urls() -> None:
    with pytest.raises(UserError, match="carrier-pigeon"):
        Client("carrier-pigeon://coop")
    with pytest.raises(UserError, match="socket://HOST:PORT"):
        Client("socket://localhost")
    with pytest.raises(UserError, match="--board is empty"):
        Client("")
    with pytest.raises(NoBoardError, match="cannot be opened"):
        Client("socket://127.0.0.1:1")
    with (
        Client("loop://", Settings(timeout=0.05, retries=0)) as agent,
        pytest.raises(NoAnswerError, match="not an agent"),
    ):
        agent.info()


def test_bundle_is_for_native_only(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="native"):
        Client("sim", bundle=tmp_path / "agent.bundle")
