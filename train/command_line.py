"""What the project's commands have in common: exit statuses, messages of errors, numbers among the options."""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Callable
from typing import ParamSpec

from train.errors import ReportedError

P = ParamSpec("P")

MOST = 10**9
"""The largest number that an option takes."""


_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}


def visible(text: str) -> str:
    """What came from outside, its control characters readable: none shall steer the terminal."""
    return text.translate(_CONTROLS)


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Adds its default to the help of every option that has one."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default is None else super()._get_help_string(action)


def print_error(error: ReportedError) -> None:
    """Prints an error as every command does."""
    print(visible(f"error: {error}"), file=sys.stderr)


def reporting(*, interrupted: str = "") -> Callable[[Callable[P, int]], Callable[P, int]]:
    """A command's main function that ends with a message and an exit status where it would end with a traceback.

    Args:
        interrupted: what Ctrl-C has left behind, as a message; none if nothing.
    """

    def decorate(main: Callable[P, int]) -> Callable[P, int]:
        @functools.wraps(main)
        def reported(*args: P.args, **kwargs: P.kwargs) -> int:
            try:
                return main(*args, **kwargs)
            except ReportedError as error:
                print_error(error)
                return error.exit_status
            except KeyboardInterrupt:
                if interrupted:
                    print(f"interrupted; {interrupted}", file=sys.stderr)
                return 130

        return reported

    return decorate


def whole(least: int) -> Callable[[str], int]:
    """The ``type`` of an option of argparse that takes whole numbers from ``least`` on."""

    def convert(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if not least <= number <= MOST:
            raise argparse.ArgumentTypeError(f"expected a whole number from {least} to {MOST:,}, not {text!r}")
        return number

    return convert


def share(least: int = 0) -> Callable[[str], float]:
    """The ``type`` of an option of argparse that takes a share, from ``least`` to 1."""

    def convert(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = least - 1
        if not least <= number <= 1:
            raise argparse.ArgumentTypeError(f"expected a number from {least} to 1, not {text!r}")
        return number

    return convert
