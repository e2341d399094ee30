"""The file of an agent bundle as far as it can be read without the firmware's code: whole, undamaged, signed or not.

The header is firmware/agent/bundle_format.h's ``ub_header``; what stands in the sections, ``ub_open()`` knows.
"""

import struct
import zlib
from pathlib import Path

from train.errors import UserError

_HEADER = struct.Struct("<4sIIHH")
_MAGIC = b"UTTB"
_COVERED = 8
"""Where the part that the CRC-32 is of begins: after the field that holds it."""


def read_bundle(path: Path) -> bytes:
    """The content of a bundle's file, with the signature if it has one. Raises UserError if it is none."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}); `make agent` makes build/home/agent.bundle"
        ) from None
    unsigned(content, str(path))
    return content


def unsigned(content: bytes, name: str = "this") -> bytes:
    """The bundle proper, without the signature that may follow it in the file.

    name: what an error calls it. Raises UserError if it is not whole, or damaged.
    """
    whole = content.startswith(_MAGIC) and len(content) >= _HEADER.size
    if not whole or not _HEADER.size <= _length(content) <= len(content):
        raise UserError(f"{name} is not a whole agent bundle; `python -m convert` makes them")
    if bundle_crc(content) != f"{_HEADER.unpack_from(content)[1]:08X}":
        raise UserError(f"{name} is damaged: its CRC-32 is wrong; make it anew with `python -m convert`")
    return content[: _length(content)]


def bundle_crc(content: bytes) -> str:
    """The CRC-32 that a bundle should carry and /info gives, reckoned from the content of its file."""
    return f"{zlib.crc32(content[_COVERED : _length(content)]):08X}"


def _length(content: bytes) -> int:
    """What the header says; a signature may follow."""
    return int(_HEADER.unpack_from(content)[2])


def bundle_version(content: bytes) -> int:
    """The version of its format."""
    return int(_HEADER.unpack_from(content)[3])
