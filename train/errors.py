"""Errors that end a command with a message for a person, as opposed to bugs."""


class ReportedError(Exception):
    """Command lines print it as ``error: …`` and exit with its status (:func:`train.command_line.reporting`)."""

    exit_status = 2


class UserError(ReportedError):
    """A mistake in the input or its use.

    The message names the thing, says what was expected and how to mend it.
    """


class OutOfReach(UserError):
    """No student of this shape can be pruned to the budget."""
