import sys
from pathlib import Path
from typing import Any

from platformio.platform.base import PlatformBase

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import scons_package


class HostPlatform(PlatformBase):  # type: ignore[misc]  # platformio has no types
    """The machine that PlatformIO runs on."""

    def configure_default_packages(self, options: dict[str, Any], targets: list[str]) -> None:
        scons_package.provide()
        super().configure_default_packages(options, targets)
