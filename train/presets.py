"""What a training run costs and gives."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Preset:
    """What a run costs and gives."""

    size: int | None
    """Generated training sentences; ``None``: the data set's own size."""
    epochs: int
    shape: dict[str, Any] = field(default_factory=dict)
    """Sizes that differ from :class:`Shape`'s."""


PRESETS = {
    "default": Preset(size=None, epochs=10),
    "quick": Preset(size=15000, epochs=4),
}
