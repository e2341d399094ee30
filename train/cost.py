"""What a student costs on a chip, predicted from its sizes: bytes of the bundle, RAM, instructions, time.

What follows from the sizes alone is computed; the rest is linear in a few of them, with coefficients in ``costs.json``
that ``python -m convert.costs`` fits to real bundles and to instructions counted in QEMU.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from train.agentlib import constants, ffi
from train.errors import UserError
from train.labels import Labels, implied_json

if TYPE_CHECKING:
    from train.student import Shape  # it takes TensorFlow along, and seconds

COSTS = Path(__file__).parent / "costs.json"
MANIFEST_BYTES = 350
"""Of the bundle's manifest, about."""
GOLDEN = 8
"""Sentences of the bundle's self-test."""


@dataclass(frozen=True)
class Chip:
    """A chip that runs the firmware."""

    hz: float

    @property
    def arena(self) -> int:
        """RAM that the firmware gives the agent, bytes."""
        return constants()["UB_ARENA_BYTES"]


CHIPS = {"esp32c3": Chip(hz=160e6)}
"""Those whose instructions are counted, one a cycle: what costs.json has is of rv32imc, and holds for no other set."""

Terms = dict[str, float]


def blocks_of(positions: int) -> int:
    """Blocks of positions that the engine multiplies at a time."""
    return -(-positions // constants()["UB_BLOCK"])


def matrices(shape: Shape) -> list[tuple[int, int]]:
    """Inputs and outputs of the encoder's matrices but the class head; the convolution is the first."""
    found = [(shape.kernel * shape.embed, shape.width), (shape.width, shape.tags)]
    for heads, hidden in zip(shape.heads, shape.hidden, strict=True):
        attended = heads * shape.head_width
        found += [(shape.width, attended)] * 3 + [(attended, shape.width)]
        found += [(shape.width, hidden), (hidden, shape.width)]
    return found


def weight_bytes(shape: Shape) -> int:
    """Bytes of the encoder's weights."""
    weights = sum(a * b for a, b in matrices(shape)) + shape.width * shape.classes
    return weights * shape.weight_bits // 8


def byte_terms(shape: Shape) -> Terms:
    """What the bytes of encoder and flatbuffer beside the weights are linear in."""
    outputs = sum(b for _, b in matrices(shape)) + shape.classes
    terms: Terms = {"bundle": 1, "layer": len(shape.heads), "output": outputs, "channel": 0, "energy": 0}
    if shape.weight_bits == 8:  # of 4 bits, every matrix has one scale, and all energies are 1 and stored once
        terms["channel"] = outputs if shape.per_channel else shape.width
        rows, columns = constants()["UB_TILE_ROWS"], constants()["UB_CHUNK"]
        sizes = [*matrices(shape), (shape.width, shape.classes)]
        terms["energy"] = sum(-(-b // rows) * -(-a // columns) for a, b in sizes)
    return terms


def arena_terms(shape: Shape) -> Terms:
    """What the RAM for a sentence of the greatest length is linear in."""
    n = shape.positions
    block = min(n, constants()["UB_BLOCK"])
    attended = [heads * shape.head_width for heads in shape.heads]
    work = [(n + shape.kernel - 1) * shape.embed, shape.classes + 2 * n * shape.tags]
    work += [max(3 * n * a, block * f) for a, f in zip(attended, shape.hidden, strict=True)]
    columns = max(n, *(inputs for inputs, _ in matrices(shape)))
    return {"agent": 1, "activation": n * shape.width + block * max(shape.width, n) + max(work), "column": columns}


def product_terms(n: int, inputs: int, outputs: int) -> Terms:
    """What a product of ``n`` positions, in blocks and in them two at a time, with ``outputs`` rows is linear in."""
    pairs, blocks = (n + 1) // 2, blocks_of(n)
    weights = inputs * outputs
    return {
        "pair_weight": pairs * weights,
        "block_weight": blocks * weights,
        "block_output": blocks * outputs,
        "output": n * outputs,
        "pair_input": pairs * inputs,
        "product": 1,
    }


def sum_terms(terms: Iterable[Terms]) -> Terms:
    """Term by term."""
    total: Terms = {}
    for one in terms:
        for name, value in one.items():
            total[name] = total.get(name, 0) + value
    return total


def instruction_terms(shape: Shape, positions: int) -> dict[str, Terms]:
    """What the instructions of each kind are linear in, for a sentence of ``positions`` - 1 words."""
    n, words, width, each = positions, positions - 1, shape.width, shape.head_width
    heads = sum(shape.heads)
    norms = 2 * len(shape.heads) + 1
    products = [product_terms(n, a, b) for a, b in matrices(shape)] + [product_terms(1, width, shape.classes)]
    channels = [] if shape.weight_bits == 4 else products if shape.per_channel else products[:1]
    narrow = products if shape.weight_bits == 4 else []
    logits, context = ({k: heads * v for k, v in product_terms(n, *sizes).items()} for sizes in ((each, n), (n, each)))
    return {
        # Where rows have scales of their own their integers are larger, and sums must be emptied sooner.
        "matmul": sum_terms(products)
        | {
            "channel_weight": sum(p["pair_weight"] for p in channels),
            "unpacked_weight": sum(p["block_weight"] for p in narrow),
        },
        "norm": {"row": norms * n, "element": norms * n * width},
        "add": {"row": (norms - 1), "element": (norms - 1) * n * width},
        "logits": logits,
        "softmax": {"row": heads * n, "pair": heads * n * n},
        "context": context,
        "layers": {"sentence": 1, "layer": len(shape.heads), "row": n, "product": blocks_of(n) * heads},
        "protocol": {"sentence": 1, "word": words},
        "text": {"sentence": 1, "word": words},
        "embedding": {"sentence": 1, "word": words, "element": words * shape.embed},
        "decoding": {"sentence": 1, "class": shape.classes, "tag": words * shape.tags},
    }


@functools.cache
def coefficients() -> dict[str, Any]:
    """What ``python -m convert.costs`` measured."""
    found: dict[str, Any] = json.loads(COSTS.read_text(encoding="utf-8"))
    return found


def dot(terms: Terms, factors: Terms) -> float:
    """The value of a linear model."""
    return sum(value * factors[name] for name, value in terms.items())


def instructions(shape: Shape, positions: int) -> dict[str, float]:
    """rv32imc instructions by kind, from a line to its answer, for a sentence of ``positions`` - 1 words."""
    factors = coefficients()["instructions"]
    return {kind: dot(terms, factors[kind]) for kind, terms in instruction_terms(shape, positions).items()}


def label_bytes(labels: Labels, values: dict[str, dict[str, Any]], numeric_slots: list[str]) -> int:
    """Bytes of the sections that depend on the data alone: labels and values."""
    names = [*labels.intents, *labels.slots]
    implied = [implied_json(i) for _, i in labels.classes]
    strings = sum(4 + len(text.encode()) for text in (*names, *implied))
    masks = (2 * len(labels.classes) + 2) * ((len(labels.slots) + 7) // 8) + 2 * len(labels.classes)
    numbers = {phrase: v for slot in numeric_slots for phrase, v in values.get(slot, {}).items()}
    tables = [numbers, *(table for slot, table in values.items() if slot not in numeric_slots)]
    texts = {json.dumps(v, ensure_ascii=False) for table in tables for v in table.values()}
    spoken = 8 * sum(map(len, tables)) + sum(len(text.encode()) + 1 for text in texts)
    probabilities = 256 * 4
    return strings + masks + spoken + probabilities


def golden_bytes(sentences: Sequence[str]) -> int:
    """Bytes of the self-test, about, whose sentences are drawn from these."""
    entry: int = ffi().sizeof("ub_golden")
    mean = sum(len(text.encode()) for text in sentences) / max(1, len(sentences))
    return round(min(GOLDEN, len(sentences)) * (entry + mean))


@dataclass(frozen=True)
class Cost:
    """What a student costs."""

    bytes: float
    """Of the bundle."""
    macs: float
    """Multiply-accumulates of a sentence."""
    ms: float
    """From a line to its answer on the chip, at one instruction a cycle."""
    arena: float
    """RAM, bytes."""


@dataclass(frozen=True)
class Pricing:
    """Prices students of one data set on one chip."""

    data_bytes: int
    """Of the bundle's sections that depend on the data alone."""
    positions: int
    """Of the sentence whose MACs and time are told: its words + 1."""
    chip: Chip

    def limits(self, budget: Budget) -> dict[str, float]:
        """What a student may cost: the budget, and the RAM that the chip's firmware has."""
        return {**budget.limits, "arena": float(self.chip.arena)}

    def __call__(self, shape: Shape) -> Cost:
        """The cost of a student."""
        table = shape.rows * shape.embed * shape.embed_bits // 8
        encoder = weight_bytes(shape) + dot(byte_terms(shape), coefficients()["bytes"])
        return Cost(
            bytes=round(table + encoder + self.data_bytes + MANIFEST_BYTES),
            macs=shape.macs(self.positions),
            ms=1e3 * sum(instructions(shape, self.positions).values()) / self.chip.hz,
            arena=round(dot(arena_terms(shape), coefficients()["arena"])),
        )


@dataclass(frozen=True)
class Budget:
    """The most that a student may cost; ``None``: no matter."""

    bytes: float | None = None
    macs: float | None = None
    ms: float | None = None

    UNITS: ClassVar[dict[str, tuple[str, float]]] = {
        "b": ("bytes", 1),
        "kb": ("bytes", 1e3),
        "kib": ("bytes", 1024),
        "mb": ("bytes", 1e6),
        "mac": ("macs", 1),
        "kmac": ("macs", 1e3),
        "mmac": ("macs", 1e6),
        "us": ("ms", 1e-3),
        "ms": ("ms", 1),
    }

    @classmethod
    def parse(cls, text: str) -> Budget:
        """``100kB``, ``1.0MMAC``, ``10ms``, or several with commas between.

        Raises:
            UserError: it is none of these.
        """
        limits: dict[str, float] = {}
        for part in text.split(","):
            match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)\s*", part)
            unit = cls.UNITS.get(match[2].lower()) if match else None
            if not match or not unit or not float(match[1]):
                raise UserError(
                    f"--budget {text!r}: {part.strip()!r} is no budget; expected a number with one of the units "
                    "B, kB (1,000 bytes), KiB, MMAC, kMAC, us, ms, and commas between several: 100kB,1.0MMAC"
                )
            if unit[0] in limits:
                raise UserError(f"--budget {text!r} limits {unit[0]} twice")
            limits[unit[0]] = float(match[1]) * unit[1]
        return cls(**limits)

    @property
    def text(self) -> str:
        """As :meth:`parse` takes it."""
        units = {name: unit for unit, (name, size) in self.UNITS.items() if size == 1}
        return ",".join(f"{limit:.6f}".rstrip("0").rstrip(".") + units[name] for name, limit in self.limits.items())

    @property
    def limits(self) -> dict[str, float]:
        """What is limited, and how far."""
        return {name: limit for name, limit in asdict(self).items() if limit is not None}

    def holds(self, cost: Cost) -> bool:
        """Whether a student costs no more."""
        return within(cost, self.limits)


def within(cost: Cost, limits: dict[str, float]) -> bool:
    """Whether a student costs no more than limits by the names of what they limit."""
    return all(getattr(cost, name) <= limit for name, limit in limits.items())
