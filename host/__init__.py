"""Talk to an agent on any board: a process, a simulated chip, a serial port."""

from host.asynchronous import AsyncClient
from host.client import Answer, AnswerSlot, Client, Info, Reset, SelfTest, Settings, Stats
from host.errors import AgentError, BoardError, NoAnswerError, NoBoardError
from train.errors import UserError

__all__ = [
    "AgentError",
    "Answer",
    "AnswerSlot",
    "AsyncClient",
    "BoardError",
    "Client",
    "Info",
    "NoAnswerError",
    "NoBoardError",
    "Reset",
    "SelfTest",
    "Settings",
    "Stats",
    "UserError",
]
