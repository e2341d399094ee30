"""The board under test and what it is compared with."""

from dataclasses import dataclass, field
from pathlib import Path

from host.boards import Board, open_board
from host.client import Client, Settings
from train.agentlib import Agent
from train.examples import Example


class Wire(Board):
    """A board whose bytes are counted."""

    def __init__(self, board: Board) -> None:
        self.name, self.timeout = board.name, board.timeout
        self.sent = self.received = 0
        self._board = board

    def read(self) -> bytes:
        data = self._board.read()
        self.received += len(data)
        return data

    def write(self, data: bytes) -> None:
        self.sent += len(data)
        self._board.write(data)

    def reset(self) -> None:
        self._board.reset()

    def reopen(self) -> None:
        self._board.reopen()

    def close(self) -> None:
        self._board.close()


@dataclass
class Bench:
    """The board on the bench. Its client stays open from test to test."""

    name: str
    bundle: bytes
    """What the board is expected to run."""
    reference: Agent
    examples: list[Example]
    """Labelled sentences that the agent was not trained on."""
    requests: int
    """Of the soak."""
    flash: Path
    """Of native."""
    baud: int
    client: Client = field(init=False)
    wire: Wire = field(init=False)

    def connect(self) -> None:
        """Open the board anew."""
        flash = self.flash if self.name == "native" else None
        self.wire = Wire(open_board(self.name, baud=self.baud, flash=flash))
        self.client = Client(self.wire, Settings(baud=self.baud))
