"""What can go wrong between the host and an agent, apart from the person's own mistakes
(train.errors.UserError).
"""

from train.errors import ReportedError, UserError


class BoardError(ReportedError):
    """No board, or no usable answer from it. The message says what was tried and how to mend it; exit status
    3.
    """

    exit_status = 3


class NoBoardError(BoardError):
    """The board cannot be opened: no such port, no permission, busy, not built."""


class NoAnswerError(BoardError):
    """The board was opened but did not answer in time, went away, crashed, or does not speak this
    protocol.
    """


class PortGoneError(NoAnswerError):
    """The port vanished, or the process behind it ended, while it was in use.

    wrong_input: the process ended because of a file that it was given; exit status 2.
    """

    def __init__(self, message: str, *, wrong_input: bool = False) -> None:
        super().__init__(message)
        if wrong_input:
            self.exit_status = UserError.exit_status


class AgentError(ReportedError):
    """The agent itself answered with an error (a ``!`` line).

    code: the protocol's stable word ("words", "utf8", "selftest", …). message: the agent's sentence for a
    person. exit_status: 1 where the agent failed a test, else 2: the input is at fault (the text, the command,
    the bundle).
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"the agent says: {message} ({code})")
        self.code = code
        self.message = message
        self.exit_status = 1 if code == "selftest" else 2
