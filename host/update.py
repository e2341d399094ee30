"""Another agent for a board, over its line (docs/protocol.md)."""

import base64
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from host.client import SELFTEST_FACTOR, Client
from host.errors import AgentError, NoAnswerError
from train.bundle_file import bundle_crc, bundle_version
from train.errors import UserError

# A chunk's block may have to be erased first, which takes a flash chip up to half a second.
_FLASH_FACTOR = 2


@dataclass(frozen=True)
class Update:
    """What an update came to."""

    agent: str
    crc: str
    """CRC-32 of the bundle that runs now, as ``info`` gives it."""
    sent: int
    """Bytes that were sent; 0 if this agent ran already."""
    resumed: int
    """Bytes that the board held already, from an update that was interrupted."""
    seconds: float


def send_update(agent: Client, bundle: bytes, progress: Callable[[int], None] = lambda held: None) -> Update:
    """Send a bundle file and make it the agent that runs. A board that runs it already is left alone.

    progress: called with the number of bytes that the board holds. Raises UserError if its firmware takes bundles of
    another version, BoardError if the board does not answer (what it holds by then need not be sent again), AgentError
    if it refuses; in any case the old agent still runs.
    """
    start = time.monotonic()
    info = agent.info()
    version = bundle_version(bundle)
    if info.bundle_version not in (0, version):
        raise UserError(
            f"the bundle is of version {version}, the firmware on {info.board} takes version {info.bundle_version}: "
            "convert the agent with that firmware's release, or flash the firmware of this one"
        )
    if info.agent is not None and info.crc == bundle_crc(bundle):
        return Update(info.agent, info.crc, 0, 0, time.monotonic() - start)

    begin = f"/update begin {len(bundle)} {zlib.crc32(bundle):08X}"
    held, most = _state(agent, begin)
    resumed = held
    sent = 0
    while held < len(bundle):
        progress(held)
        chunk = bundle[held : held + most]
        resets = len(agent.resets)
        try:
            held, _ = _state(agent, f"/update data {held} {base64.b64encode(chunk).decode()}")
            sent += len(chunk)
        except AgentError as error:
            if len(agent.resets) == resets or error.code != "update":
                raise
            held, _ = _state(agent, begin)  # the board has reset: it holds whole blocks only
    progress(held)
    try:
        agent.raw("/update activate", SELFTEST_FACTOR)
    except AgentError as error:
        # A reset between the last write and its reply: then the agent runs, and a second activation is not due.
        if error.code != "update" or agent.info().crc != bundle_crc(bundle):
            raise
    info = agent.info()
    return Update(str(info.agent), info.crc, sent, resumed, time.monotonic() - start)


def _state(agent: Client, command: str) -> tuple[int, int]:
    """Bytes that the board holds after a command, and those that it takes at a time."""
    answer = agent.raw(command, _FLASH_FACTOR)
    held, chunk = answer.get("held"), answer.get("chunk")
    if type(held) is not int or type(chunk) is not int or chunk < 1:
        raise NoAnswerError(
            "the agent's answer lacks 'held' or 'chunk'; its firmware speaks another protocol than this host"
        )
    return held, chunk
