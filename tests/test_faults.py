"""The client and the real firmware with a bad line between them: never a wrong answer, never a hang."""

import contextlib
import os
import random
import time
from pathlib import Path

import pytest
from expectation import expected_answer, given_answer
from faulty_line import Faults, FaultyBoard

from host import boards
from host.boards import open_board
from host.client import Client, Settings
from host.errors import NoAnswerError
from host.evaluation import outcome_of
from train.agentlib import Agent
from train.examples import read_jsonl

FULL = os.environ.get("UTTERBIT_FULL") == "1"
TIMEOUT, RETRIES = 0.5, 5  # of the client; five, because some lines here are worse than any that is in use

LONG = (
    "please turn on the light that stands beside the large old sofa in the living room and the one in the kitchen too, "
    * 2
)


@pytest.fixture
def prompts(agent_folder: Path) -> list[str]:
    return [example.text for example in read_jsonl(agent_folder / "data" / "valid.jsonl")] + [
        LONG.strip(),
        "?!",
        "日本語",
    ]


def serve(
    program: Path,
    bundle: Path,
    prompts: list[str],
    faults: Faults,
    requests: int,
    monkeypatch: pytest.MonkeyPatch,
    seed: int = 1,
) -> tuple[FaultyBoard, int]:
    """Ask native over a faulty line. Returns the line, and how many requests ended in an error of the line."""
    monkeypatch.setattr(boards, "NATIVE_PROGRAM", program)
    reference = Agent(bundle.read_bytes())
    expected = {prompt: expected_answer(reference, prompt) for prompt in prompts}
    line = FaultyBoard(open_board("native", bundle=bundle), faults, seed)
    draw = random.Random(seed)
    failures, longest, start = 0, 0.0, time.monotonic()
    with Client(line, Settings(timeout=TIMEOUT, retries=RETRIES, quiet=0.05)) as agent:
        for _ in range(requests):
            prompt = draw.choice(prompts)
            began = time.monotonic()
            try:
                outcome = outcome_of(agent, prompt)
            except NoAnswerError:
                failures += 1
            else:
                assert given_answer(outcome) == expected[prompt]
            longest = max(longest, time.monotonic() - began)
        resets = len(agent.resets)
    seconds = time.monotonic() - start
    # Resets do not count as attempts; a client gives up at the third. Some slack for a busy machine.
    assert longest < (RETRIES + 3) * TIMEOUT + 2
    struck = ", ".join(f"{count:,} {kind}" for kind, count in line.injected.items() if count)
    print(
        f"\n{requests:,} requests, {struck or 'no fault'}: no wrong answer, {failures} errors, {resets} resets seen, "
        f"{requests / seconds:,.0f} answers a second, longest {longest:.2f} s"
    )
    return line, failures


def test_bits_flip(native_program: Path, bundle: Path, prompts: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """100,000 requests at a bit error rate of 1e-4 with UTTERBIT_FULL=1."""
    requests = 100_000 if FULL else 2_000
    line, failures = serve(native_program, bundle, prompts, Faults(bit=1e-4), requests, monkeypatch)
    assert line.injected["bit"] > requests / 20
    assert failures <= requests / 1000


@pytest.mark.parametrize(
    "faults",
    [
        Faults(),
        Faults(bit=1e-3),
        Faults(drop=1e-3),
        Faults(double=1e-3),
        Faults(delay=0.1),
        Faults(overflow=0.2),
        Faults(reset=0.02),
        Faults(chatter=0.1),
        Faults(bit=1e-4, drop=1e-4, double=1e-4, delay=0.02, overflow=0.1, reset=0.005, chatter=0.05),
    ],
    ids=lambda faults: "+".join(kind for kind, rate in vars(faults).items() if rate) or "none",
)
def test_faults(
    native_program: Path, bundle: Path, prompts: list[str], faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = 2_000 if FULL else 150
    kinds = {kind for kind, rate in vars(faults).items() if rate}
    if kinds == {"overflow"}:
        prompts = [LONG.strip()]
    line, failures = serve(native_program, bundle, prompts, faults, requests, monkeypatch)
    assert {kind for kind, count in line.injected.items() if count} <= kinds
    assert sum(line.injected.values()) > 0 or not kinds
    # One bit in a thousand spoils every third attempt; what does not touch the bytes of a line costs no answer.
    assert failures <= (requests / 2 if faults.bit == 1e-3 else requests / 50 if kinds else 0)


def test_a_line_of_garbage_ends_in_an_error(
    native_program: Path, bundle: Path, prompts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, failures = serve(native_program, bundle, prompts, Faults(bit=0.1), 5, monkeypatch)
    assert failures == 5


def test_a_long_time(native_program: Path, bundle: Path, prompts: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """100,000 requests with UTTERBIT_FULL=1: every answer right, and memory stays as it was."""
    monkeypatch.setattr(boards, "NATIVE_PROGRAM", native_program)
    requests = 100_000 if FULL else 3_000
    reference = Agent(bundle.read_bytes())
    expected = {prompt: expected_answer(reference, prompt) for prompt in prompts}
    draw = random.Random(2)
    with Client("native", bundle=bundle) as agent:

        def ask(count: int) -> None:
            for prompt in draw.choices(prompts, k=count):
                assert given_answer(outcome_of(agent, prompt)) == expected[prompt]

        ask(1_000)
        before, start = resident_bytes(native_program), time.monotonic()
        ask(requests)
        seconds, after = time.monotonic() - start, resident_bytes(native_program)
        stats = agent.stats()
    assert (agent.resets, stats.crc_errors) == ([], 0)
    assert stats.repeats <= 1, "the first request may be sent again when the banner comes"
    print(
        f"\n{requests:,} requests over a pty: {requests / seconds:,.0f} a second, {after:,} bytes resident, as before"
    )
    assert after == before


def resident_bytes(program: Path) -> int:
    """Resident memory of the child that runs the program."""
    children = Path("/proc/thread-self/children")
    if not children.is_file():
        pytest.skip("this system does not tell the memory of a process in /proc")
    for child in Path("/proc/self/task").glob("*/children"):
        for pid in child.read_text().split():
            with contextlib.suppress(FileNotFoundError):  # a child that has ended
                if Path(f"/proc/{pid}/exe").resolve() == program.resolve():
                    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
                    return pages * os.sysconf("SC_PAGE_SIZE")
    raise AssertionError("the program does not run")
