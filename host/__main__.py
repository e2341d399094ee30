"""``python -m host``: talk to an agent on any board.

Exit status: 0 done, 1 the answer is a failure (self-test, mismatch), 2 wrong usage or input, 3 no board or no
answer.
"""

import argparse
import dataclasses
import errno
import io
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import DownloadColumn, Progress, TransferSpeedColumn, track

import train.metrics
from host import display
from host.boards import PROJECT, board_choices, open_board
from host.client import SELFTEST_FACTOR, Client, Settings
from host.errors import AgentError, NoAnswerError, PortGoneError
from host.evaluation import outcome_of, predict
from host.monitor import watch
from host.protocol import prompt_payload
from host.update import send_update
from train.bundle_file import bundle_crc, read_bundle
from train.command_line import MOST, print_error, reporting, whole
from train.errors import UserError
from train.examples import Example, example_to_json, read_jsonl, write_atomic
from train.metrics import Percentiles, Prediction, measure

DEFAULT_BUNDLE = PROJECT / "build" / "home" / "agent.bundle"
CHAT_HISTORY = "~/.utterbit_history"

# The bench asks its first 1 … 16 words.
BENCH_SENTENCE = "turn on the kitchen light and then dim the lamp in the living room to thirty"

Command = Callable[[argparse.Namespace, Console], int]


def connect(args: argparse.Namespace) -> Client:
    """The client for a command's options."""
    settings = Settings(timeout=args.timeout, baud=args.baud)
    return Client(args.board, settings, bundle=args.bundle, flash=args.flash)


def ask(args: argparse.Namespace, console: Console) -> int:
    """Ask what each sentence means; a rejected one is an answer too."""
    for prompt in args.text:
        prompt_payload(prompt)
    status = 0
    answers = []
    with connect(args) as agent:
        for prompt in args.text:
            outcome = outcome_of(agent, prompt)
            if isinstance(outcome, AgentError):
                status = max(status, outcome.exit_status)
                answers.append({"text": prompt, "error": outcome.code, "message": outcome.message})
            else:
                answers.append(outcome.to_json())
            if not args.json:
                console.print(display.outcome_text(prompt, outcome))
        _warn_of_resets(agent)
    if args.json:
        print_json({"answers": answers})
    return status


def chat(args: argparse.Namespace, console: Console) -> int:
    """A conversation at the keyboard, or line by line from a pipe. Commands such as /info pass through."""
    if args.json:
        raise UserError("chat has no --json; use ask")
    with connect(args) as agent:
        at_keyboard = sys.stdin.isatty()
        read = _keyboard() if at_keyboard else sys.stdin.readline
        if at_keyboard:
            console.print("type a sentence, or /help; Ctrl-D ends")
        told = 0
        while line := read():
            prompt = line.strip()
            try:
                if prompt.startswith("/") and not prompt.startswith("/parse "):
                    patience = SELFTEST_FACTOR if prompt in ("/selftest", "/update activate") else 1
                    console.print(display.record_table(dict(agent.raw(prompt, patience))))
                elif prompt:
                    prompt = prompt.removeprefix("/parse ")
                    console.print(display.outcome_text(prompt, agent.parse(prompt)))
            except (AgentError, UserError) as error:
                print_error(error)
            except NoAnswerError as error:
                if not at_keyboard or isinstance(error, PortGoneError):
                    raise
                print_error(error)
            _warn_of_resets(agent, told)
            told = len(agent.resets)
    return 0


def _keyboard() -> Callable[[], str]:
    """A reader with line editing and a history that is kept; "" at the end of input. Ctrl-C drops what was typed."""
    try:
        import atexit
        import readline

        history = os.path.expanduser(CHAT_HISTORY)
        if os.path.exists(history):
            readline.read_history_file(history)
        readline.set_history_length(1000)

        def save() -> None:
            with suppress(OSError):
                readline.write_history_file(history)

        atexit.register(save)
    except (ImportError, OSError):
        pass  # Windows, or an unreadable history: a plain prompt

    def read() -> str:
        try:
            return input("> ") + "\n"
        except KeyboardInterrupt:
            print()
            return "\n"
        except EOFError:
            print()
            return ""

    return read


def evaluate(args: argparse.Namespace, console: Console) -> int:
    """Measure the agent on a file of labelled sentences."""
    if args.out is not None and not args.out.parent.is_dir():
        raise UserError(f"--out {args.out}: there is no folder {args.out.parent}")
    examples = read_jsonl(args.file)
    if not examples:
        raise UserError(f"{args.file} has no sentences; expected one JSON object a line")
    with connect(args) as agent:
        progress = Console(stderr=True)
        predictions = [
            predict(agent, example.text)
            for example in track(examples, "asking", console=progress, transient=True, disable=not progress.is_terminal)
        ]
        _warn_of_resets(agent)
    metrics = measure(examples, predictions)
    if args.json:
        print_json(metrics.to_json())
    else:
        console.print(display.metrics_table(metrics))
        display.print_mistakes(console, examples, predictions, args.errors)
    if args.out is not None:  # after the figures: what cannot be written shall not cost them
        _write_predictions(args.out, examples, predictions)
    return 0


def _write_predictions(path: Path, examples: Sequence[Example], predictions: Sequence[Prediction]) -> None:
    lines = []
    for example, guess in zip(examples, predictions, strict=True):
        predicted = example_to_json(Example(example.text, guess.intent, guess.slots, guess.implied))
        del predicted["text"]
        lines.append({**example_to_json(example), "predicted": {**predicted, "us": guess.us, "error": guess.error}})
    write_atomic(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))


def bench(args: argparse.Namespace, console: Console) -> int:
    """Time sentences of 1 to 16 words over the line."""
    words = BENCH_SENTENCE.split()
    prompts = [" ".join(words[:count]) for count in range(1, len(words) + 1)]
    device: list[float] = []
    wall: list[float] = []
    rows = []
    with connect(args) as agent:
        agent.info()
        for count, prompt in enumerate(prompts, 1):
            times = []
            for _ in range(args.rounds):
                start = time.perf_counter()
                try:
                    times.append(agent.parse(prompt).us)
                except AgentError as error:
                    if error.code != "words" or count == 1:
                        raise
                    break
                wall.append(1000 * (time.perf_counter() - start))
            if not times:
                break
            device += times
            rows.append({"words": count, "device_us": Percentiles.of(times).p50})
        _warn_of_resets(agent)
    result = {
        "n": len(wall),
        "device_us": dataclasses.asdict(Percentiles.of(device)),
        "wall_ms": {key: round(value, 3) for key, value in dataclasses.asdict(Percentiles.of(wall)).items()},
        "answers_per_s": round(1000 * len(wall) / sum(wall), 1),
        "by_words": rows,
    }
    if args.json:
        print_json(result)
    else:
        by_words = "  ".join(f"{row['words']}: {row['device_us']}" for row in rows)
        console.print(display.record_table({**result, "by_words": f"p50 device_us  {by_words}"}))
    return 0


def selftest(args: argparse.Namespace, console: Console) -> int:
    """Let the board compute the golden sentences of its bundle and compare."""
    with connect(args) as agent:
        agent.info()  # a board that is silent is found by the shorter wait
        try:
            result = agent.selftest()
        except AgentError as error:
            if error.code != "selftest" or not args.json:
                raise
            print_json({"passed": False, "message": error.message})
            return error.exit_status
    if args.json:
        print_json(dataclasses.asdict(result))
    else:
        by = {"own": "the own engine", "tflm": "TFLite Micro"}
        engines = " and ".join(by.get(name, name) for name in result.engines)
        console.print(f"self-test passed: {engines} computed {result.golden} golden sentences as they should be")
    return 0


def info(args: argparse.Namespace, console: Console) -> int:
    """What the agent is, where it runs, and whether it is the agent of a bundle file."""
    asked_for: Path | None = args.bundle
    expected = asked_for or (DEFAULT_BUNDLE if DEFAULT_BUNDLE.is_file() else None)
    if args.board != "native":
        args.bundle = None
    with connect(args) as agent:
        record: dict[str, Any] = dataclasses.asdict(agent.info())
    same = None
    if expected is not None:
        crc = bundle_crc(read_bundle(expected))
        same = crc == record["crc"]
        record["bundle"] = {"path": _shown(expected), "crc": crc, "same": same}
    if args.json:
        print_json(record)
    else:
        if expected is not None:
            record["bundle"] = f"{'the same as' if same else 'not'} {_shown(expected)} ({crc})"
        console.print(display.record_table(record))
    return 1 if asked_for is not None and not same else 0


def update(args: argparse.Namespace, console: Console) -> int:
    """Give the board another agent, over the line; an interrupted update goes on where it stopped."""
    bundle = read_bundle(args.file)
    if args.board == "native" and args.flash is None:
        raise UserError("--board native has no flash for another agent; give it a file: --flash FILE")
    screen = Console(stderr=True)
    columns = (*Progress.get_default_columns(), DownloadColumn(), TransferSpeedColumn())
    with (
        connect(args) as agent,
        Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as progress,
    ):
        task = progress.add_task("sending", total=len(bundle))
        result = send_update(agent, bundle, lambda held: progress.update(task, completed=held))
        _warn_of_resets(agent)
    if args.json:
        print_json(dataclasses.asdict(result))
    elif result.sent or result.resumed:
        again = f", {result.resumed:,} of them sent before" if result.resumed else ""
        console.print(f"{result.agent} ({result.crc}) runs: {len(bundle):,} bytes{again}, {result.seconds:.1f} s")
    else:
        console.print(f"{result.agent} ({result.crc}) runs already")
    return 0


def monitor(args: argparse.Namespace, console: Console) -> int:
    """Show the raw line with the agent's traffic coloured; what is typed is sent. Ctrl-C ends it."""
    if args.json:
        raise UserError("monitor has no --json; it shows the line as it is")
    with closing(open_board(args.board, baud=args.baud, bundle=args.bundle, flash=args.flash)) as board:
        watch(board, console, args.timeout or board.timeout)
    return 0


def boards(args: argparse.Namespace, console: Console) -> int:
    """List what --board can be here: native, sim and the serial ports."""
    choices = board_choices()
    if args.json:
        print_json({"boards": [choice.to_json() for choice in choices]})
    else:
        console.print(display.boards_table(choices))
    return 0


def _shown(path: Path) -> str:
    """From the folder that one is in, if it lies there."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _warn_of_resets(agent: Client, told: int = 0) -> None:
    """Warns of the resets so far but the first ``told``."""
    for reset in agent.resets[told:]:
        why = f" after: {reset.panic}" if reset.panic else ""
        print(f"warning: the board reset{why}", file=sys.stderr)


def print_json(record: dict[str, Any]) -> None:
    unicode = (sys.stdout.encoding or "").lower().startswith("utf")
    print(json.dumps(record, ensure_ascii=not unicode))


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= MOST:
        raise argparse.ArgumentTypeError(f"expected a positive number of seconds, not {text!r}")
    return value


def build_parser() -> argparse.ArgumentParser:
    """The command line. Options stand after the command."""
    output = argparse.ArgumentParser(add_help=False)
    output.add_argument("--json", action="store_true", help="print one JSON object")
    common = argparse.ArgumentParser(add_help=False, parents=[output])
    common.add_argument(
        "--board",
        default=os.environ.get("UTTERBIT_BOARD") or "native",
        metavar="BOARD",
        help="native (the firmware as a process), sim (in a simulated ESP32-C3), auto (the one serial port that a "
        "board is plugged into), a serial port, or one of pyserial's URLs; default: $UTTERBIT_BOARD, else native",
    )
    common.add_argument(
        "--timeout",
        type=_seconds,
        metavar="S",
        help=f"seconds to wait for an answer before asking again; a self-test may take {SELFTEST_FACTOR} times as long",
    )
    common.add_argument("--baud", type=whole(1), default=115200, metavar="N", help="speed of a serial port")
    common.add_argument(
        "--bundle",
        type=Path,
        metavar="FILE",
        help="another agent to run (native only); info compares the board with it",
    )
    common.add_argument("--flash", type=Path, metavar="FILE", help="what keeps updates (native only)")

    parser = argparse.ArgumentParser(
        prog="python -m host",
        description="Talk to an Utterbit agent on any board.",
        epilog="exit status: 0 done, 1 the answer is a failure, 2 wrong usage or input, 3 no board or answer",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(
        name: str, run: Command, options: argparse.ArgumentParser = common, **kwargs: Any
    ) -> argparse.ArgumentParser:
        summary = (run.__doc__ or "").partition("\n")[0]
        command = commands.add_parser(
            name, help=summary, description=kwargs.pop("description", summary), parents=[options], **kwargs
        )
        command.set_defaults(run=run)
        return command

    add("ask", ask).add_argument("text", nargs="+", metavar="TEXT", help="a sentence")
    add("chat", chat)
    command = add(
        "eval",
        evaluate,
        description=train.metrics.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("file", type=Path, metavar="FILE.jsonl", help="labelled sentences, one JSON object a line")
    command.add_argument("--errors", type=whole(0), default=10, metavar="N", help="wrong sentences to show; default 10")
    command.add_argument("--out", type=Path, metavar="FILE", help="write every prediction there, as JSON lines")
    command = add("bench", bench)
    command.add_argument("--rounds", type=whole(1), default=4, metavar="N", help="times that each length is asked")
    add("selftest", selftest)
    add("info", info)
    add("update", update).add_argument("file", type=Path, metavar="BUNDLE", help="the agent, as convert wrote it")
    add("monitor", monitor)
    add("boards", boards, output)
    return parser


@reporting()
def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status."""
    for name in ("stdin", "stdout", "stderr"):  # closed by whoever started this
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w"))  # noqa: SIM115 (for good)
    args = build_parser().parse_args(argv)
    # Instead of a traceback: what is typed and no UTF-8 reaches the check of the request, and a surrogate without its
    # other half, which an answer may have, is shown as JSON escapes it.
    for stream, errors in ((sys.stdin, "surrogateescape"), (sys.stdout, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)
    run: Command = args.run
    try:
        status = run(args, display.open_console())
        sys.stdout.flush()
        return status
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        # Nothing more may be flushed into the closed pipe or the full disk.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if error.errno == errno.EPIPE:  # whoever read the output has seen enough
            return 1
        raise UserError(f"the output cannot be written ({error.strerror}); make room, or send it elsewhere") from None


if __name__ == "__main__":
    sys.exit(main())
