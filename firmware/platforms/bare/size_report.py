"""What a firmware without an SDK takes, section by section, after each build."""

from typing import Any

from elftools.elf.elffile import ELFFile

ROWS = (
    ("code and constants, without the bundle", (".text", ".rodata", ".hot")),
    ("of it, code that runs from RAM", (".hot",)),
    ("bundle", (".bundle",)),
    ("data", (".data",)),
    ("bss", (".bss",)),
    ("stack", (".stack",)),
)


def print_sizes(target: list[Any], source: list[Any], env: Any) -> None:
    """SCons action. Prints bytes; the ELF file is the target or, for an alias, the source."""
    path = str(next(node for node in [*target, *source] if str(node).endswith(".elf")))
    with open(path, "rb") as file:
        sizes = {section.name: section["sh_size"] for section in ELFFile(file).iter_sections()}
    for title, sections in ROWS:
        print(f"{title:<40}{sum(sizes.get(name, 0) for name in sections):>10,} bytes")
