"""A line between client and board that does what lines do: flips bits, loses, doubles and delays bytes, overflows the
receiver's buffer, and carries a board that resets and chatters.
"""

import math
import random
from dataclasses import dataclass

from host.boards import Board

FIFO_BYTES = 128

CHATTER = (
    b"ESP-ROM:esp32c3-api1-20210207\r\nrst:0x1 (POWERON),boot:0xc (SPI_FAST_FLASH_BOOT)\r\n",
    b"I (31) boot: ESP-IDF v5.5 2nd stage bootloader\r\n",
    b"Guru Meditation Error: Core  0 panic'ed (Load access fault). Exception was unhandled.\r\n",
    b"#panic cause=00000005 epc=42001234 tval=00000000\n",
    b'# a note with ={"seq":1} in it\n',
    b"\xff\x00\xfe = ! # *8C1F\n",
    b"\x00\xff",
)


@dataclass(frozen=True)
class Faults:
    """Probabilities, each 0 … 1."""

    bit: float = 0
    """That a bit is flipped, in either direction."""
    drop: float = 0
    """That a byte is lost."""
    double: float = 0
    """That a byte comes twice."""
    delay: float = 0
    """That what came is held back until the next look at the line."""
    overflow: float = 0
    """That the receiver is busy: of what is written, all after FIFO_BYTES is lost."""
    reset: float = 0
    """That the board resets while it answers."""
    chatter: float = 0
    """That a boot log, a panic or garbage stands in front of what came."""


class FaultyBoard(Board):
    """A board behind a faulty line. injected: how many faults there were, by kind."""

    def __init__(self, board: Board, faults: Faults, seed: int) -> None:
        self.name, self.timeout = board.name, board.timeout
        self.injected = dict.fromkeys(vars(faults), 0)
        self._board, self._faults, self._random = board, faults, random.Random(seed)
        self._bits_until_flip = self._draw_distance()
        self._held = b""

    def read(self) -> bytes:
        held, self._held = self._held, b""
        data = self._board.read()
        if data and self._strikes("delay"):
            self._held = self._spoil(data)
            return held
        data = self._spoil(data)
        if data and self._strikes("chatter"):
            data = self._random.choice(CHATTER) + data
        return held + data

    def write(self, data: bytes) -> None:
        if len(data) > FIFO_BYTES and self._strikes("overflow"):
            data = data[:FIFO_BYTES]
        self._board.write(self._spoil(data))
        if self._strikes("reset"):
            self._board.reset()

    def reset(self) -> None:
        self._board.reset()

    def reopen(self) -> None:
        self._board.reopen()

    def close(self) -> None:
        self._board.close()

    def _strikes(self, fault: str) -> bool:
        struck = self._random.random() < float(getattr(self._faults, fault))
        self.injected[fault] += struck
        return struck

    def _draw_distance(self) -> int:
        """Bits until the next flip: geometrically distributed."""
        if not self._faults.bit:
            return 2**62
        return int(math.log(1 - self._random.random()) / math.log(1 - self._faults.bit))

    def _spoil(self, data: bytes) -> bytes:
        spoiled = bytearray(data)
        while self._bits_until_flip < 8 * len(data):
            spoiled[self._bits_until_flip // 8] ^= 1 << self._bits_until_flip % 8
            self._bits_until_flip += 1 + self._draw_distance()
            self.injected["bit"] += 1
        self._bits_until_flip -= 8 * len(data)
        if self._faults.drop or self._faults.double:
            copies = (0 if self._strikes("drop") else 2 if self._strikes("double") else 1 for _ in spoiled)
            spoiled = bytearray(byte for byte, count in zip(spoiled, copies, strict=True) for _ in range(count))
        return bytes(spoiled)
