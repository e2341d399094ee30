"""The raw line of a board, with the agent's traffic coloured."""

import sys
import threading
import time
from contextlib import suppress

from rich.console import Console
from rich.text import Text

from host.boards import Board
from host.errors import NoAnswerError, PortGoneError
from host.protocol import Damaged, Hello, Note, Reply, decode_line, is_panic
from train.command_line import visible

# Seconds, and bytes, after which a line is shown without its end: at a wrong rate there is none.
PATIENCE = 0.5
LONGEST = 4096


def style_of(line: bytes) -> str:
    """How a line is shown: results green, errors yellow, banners bold, notes dim, damage and panics red."""
    decoded = decode_line(line)
    if is_panic(decoded):
        return "bold red"
    match decoded:
        case Reply(ok=ok):
            return "green" if ok else "yellow"
        case Hello():
            return "bold cyan"
        case Note():
            return "dim"
        case Damaged():
            return "red"
    return ""


def watch(board: Board, console: Console, last_words: float) -> None:
    """Show every line that comes and send every line that is typed, until the input ends or the board goes away for
    good.

    last_words: seconds of silence after which it ends when its input was a file or a pipe that came to its end.
    Raises NoAnswerError.
    """
    typing = threading.Thread(target=_send_what_is_typed, args=(board,), daemon=True)
    typing.start()
    rest, heard = b"", time.monotonic()
    while typing.is_alive() or sys.stdin.isatty() or time.monotonic() - heard < last_words:
        try:
            data = board.read()
        except PortGoneError:
            data, gone = b"", True
        else:
            gone = False
        if data:
            heard = time.monotonic()
        *lines, rest = (rest + data).split(b"\n")
        if rest and (gone or len(rest) > LONGEST or time.monotonic() - heard > PATIENCE):
            lines, rest = [*lines, rest], b""
        for line in lines:
            line = line.removesuffix(b"\r")
            console.print(Text(visible(line.decode(errors="replace")), style=style_of(line)))
        if gone:
            board.reopen()


def _send_what_is_typed(board: Board) -> None:
    for line in sys.stdin:
        with suppress(NoAnswerError):  # reading fails too, and says so
            board.write(line.removesuffix("\n").encode(errors="surrogateescape") + b"\n")
