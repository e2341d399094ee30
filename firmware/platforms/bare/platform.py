import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from platformio.platform.base import PlatformBase

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import scons_package

REGISTRY_PACKAGE = "toolchain-riscv32-esp"


class Toolchain(NamedTuple):
    """A GCC for rv32imc."""

    prefix: str
    """Of its programs: riscv64-unknown-elf-"""
    flags: list[str]
    """What it needs to find its C library."""


PICOLIBC = Toolchain("riscv64-unknown-elf-", ["--specs=picolibc.specs"])
ESPRESSIF = Toolchain("riscv32-esp-elf-", [])


class BarePlatform(PlatformBase):  # type: ignore[misc]  # platformio has no types
    """Boards without an SDK. The compiler is the system's if there is one, else the registry's."""

    def is_embedded(self) -> bool:
        return True

    def configure_default_packages(self, options: dict[str, Any], targets: list[str]) -> None:
        scons_package.provide()
        if self.system_toolchain() is None:
            self.packages[REGISTRY_PACKAGE]["optional"] = False
            if self.get_package(REGISTRY_PACKAGE) is None:
                sys.stderr.write(
                    "No RISC-V compiler on this machine: asking PlatformIO's registry. If it cannot be reached: "
                    "`apt install gcc-riscv64-unknown-elf picolibc-riscv64-unknown-elf` (Debian, Ubuntu).\n"
                )
        super().configure_default_packages(options, targets)

    def system_toolchain(self) -> Toolchain | None:
        """Debian's GCC with picolibc, or Espressif's."""
        gcc = shutil.which(f"{PICOLIBC.prefix}gcc")
        if gcc is not None:
            query = [gcc, "-print-file-name=picolibc.specs"]
            answer = subprocess.run(query, capture_output=True, text=True, check=False).stdout.strip()
            if Path(answer).is_absolute():
                return PICOLIBC
        return ESPRESSIF if shutil.which(f"{ESPRESSIF.prefix}gcc") else None

    def toolchain(self) -> Toolchain:
        """The one to build with; PlatformIO puts the registry's package on the build's PATH."""
        return self.system_toolchain() or ESPRESSIF
