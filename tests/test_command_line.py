"""What all commands do with errors, Ctrl-C and numbers that cannot be."""

import argparse
import importlib
import signal

import pytest

from host.errors import AgentError, NoAnswerError
from train.command_line import reporting, whole
from train.errors import ReportedError, UserError
from train.quiet import uninterrupted


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UserError("no such thing"), 2),
        (NoAnswerError("no such thing"), 3),
        (AgentError("words", "no such thing"), 2),
        (AgentError("selftest", "no such thing"), 1),
    ],
)
def test_errors_end_with_a_message_and_a_status(
    error: ReportedError, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    @reporting()
    def main() -> int:
        raise error

    assert main() == status
    assert capsys.readouterr().err == f"error: {error}\n"


def test_bugs_are_not_hidden() -> None:
    @reporting()
    def main() -> int:
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        main()


@pytest.mark.parametrize(("left", "said"), [("", ""), ("nothing half written", "interrupted; nothing half written\n")])
def test_an_interruption_says_what_is_left(left: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    @reporting(interrupted=left)
    def main() -> int:
        raise KeyboardInterrupt

    assert main() == 130
    assert capsys.readouterr().err == said


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("train.__main__", ["--size", "0"]),
        ("train.__main__", ["--epochs", "-3"]),
        ("train.__main__", ["search", "--trials", "0"]),
        ("train.__main__", ["--soft-labels", "-1"]),
        ("convert.benchmark", ["--seeds", "0"]),
        ("convert.benchmark", ["--labels-per-intent", "some"]),
        ("convert.bench", ["--count", "0"]),
        ("host.__main__", ["bench", "--rounds", "0"]),
        ("host.__main__", ["ask", "hello", "--baud", "1e5"]),
        ("host.__main__", ["ask", "hello", "--timeout", "nan"]),
        ("host.__main__", ["eval", "file", "--errors", "-1"]),
    ],
)
def test_numbers_that_cannot_be_are_named(
    module: str, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(module).main(arguments)
    assert ended.value.code == 2
    name, value = arguments[-2:]
    assert f"argument {name}: expected a " in (said := capsys.readouterr().err)
    assert f"not '{value}'" in said


@pytest.mark.parametrize(("least", "text"), [(0, "0"), (1, "1"), (1, "1000000000")])
def test_whole_numbers(least: int, text: str) -> None:
    assert whole(least)(text) == int(text)


@pytest.mark.parametrize("text", ["0", "1000000001", "1.5", "", "9" * 5000])
def test_what_is_no_whole_number_from_one_on(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="from 1 to"):
        whole(1)(text)


def test_an_interrupt_waits_for_native_code() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    done: list[str] = []

    def work() -> None:
        with uninterrupted():
            signal.raise_signal(signal.SIGINT)
            done.append("all of it")

    try:
        with pytest.raises(KeyboardInterrupt):
            work()
        assert done
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        with uninterrupted():
            pass
    finally:
        signal.signal(signal.SIGINT, before)
