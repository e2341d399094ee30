"""What a firmware without an SDK takes, section by section, after each build."""

import re
from pathlib import Path
from typing import Any

from elftools.elf.elffile import ELFFile

ROWS = (
    ("code and constants, without the bundle", (".text", ".rodata", ".hot")),
    ("of that, code that runs from RAM", (".hot",)),
    ("bundle", (".bundle",)),
    ("data", (".data",)),
    ("bss", (".bss",)),
    ("stack", (".stack",)),
)

LINKED = re.compile(r"^ \.(?:text|rodata|hot)\S*\s+0x[0-9a-f]+\s+0x([0-9a-f]+) \S*/libagent\.a\(", re.MULTILINE)
"""An input section of the agent's library in the linker's map, and how long it came out."""


def agent_bytes(link_map: Path) -> int:
    """Code and constants of the agent's library, with the protocol and the update, as they were linked."""
    _, _, placed = link_map.read_text().partition("Linker script and memory map")
    return sum(int(size, 16) for size in LINKED.findall(placed))


def print_sizes(target: list[Any], source: list[Any], env: Any) -> None:
    """SCons action. Prints bytes; the ELF file is the target or, for an alias, the source."""
    path = str(next(node for node in [*target, *source] if str(node).endswith(".elf")))
    with open(path, "rb") as file:
        sizes = {section.name: section["sh_size"] for section in ELFFile(file).iter_sections()}
    code, *others = ((title, sum(sizes.get(name, 0) for name in sections)) for title, sections in ROWS)
    agent = ("of that, the agent's library", agent_bytes(Path(path).with_suffix(".map")))
    for title, size in (code, agent, *others):
        print(f"{title:<40}{size:>10,} bytes")
