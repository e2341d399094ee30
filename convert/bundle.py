"""Writing and reading the agent bundle. The layout's one home is firmware/agent/bundle_format.h."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from convert.fixed_point import add, exponentials, quantize_multiplier, sum_multipliers
from convert.flatbuffer import Encoder, Layer, Matrix, Sum, pack_nibbles, read_encoder
from train.agentlib import constants, ffi, number_pattern, phrase_hash
from train.bundle_file import unsigned
from train.errors import UserError
from train.examples import Value
from train.labels import Labels, implied_json

ALIGNMENT = 16


class _Section:
    """Bytes of a section while it is written: structs and arrays go to its end, their offsets come back."""

    def __init__(self, header: str | None = None) -> None:
        self.bytes = bytearray(ffi().sizeof(header) if header else 0)

    def place(self, data: bytes, alignment: int = 1) -> int:
        self.bytes += bytes(-len(self.bytes) % alignment)
        offset = len(self.bytes)
        self.bytes += data
        return offset

    def array(self, values: Any, dtype: str) -> int:
        data = np.asarray(values).astype(dtype)
        return self.place(data.tobytes(), data.dtype.itemsize)

    def strings(self, texts: Sequence[str]) -> int:
        raw = [t.encode() for t in texts]
        return self.place(np.cumsum([len(r) for r in raw]).astype("<u4").tobytes() + b"".join(raw), 4)

    def header(self, struct_name: str, /, **fields: Any) -> bytes:
        packed = _pack(struct_name, **fields)
        self.bytes[: len(packed)] = packed
        return bytes(self.bytes)


def _pack(struct_name: str, /, **fields: Any) -> bytes:
    return bytes(ffi().buffer(ffi().new(f"{struct_name} *", fields)))


@dataclass(frozen=True)
class Calibration:
    """How logits become a score, and which score is enough."""

    temperature: float
    threshold: float
    """0 … 1."""
    others: float = 1.0
    """How much other intents count against the best one, 0 … 1; out of scope counts in full."""
    tag_weight: float = 0.0
    """How much a class's likeliest tags count beside its own logit, 0 … 1."""


def labels_section(
    labels: Labels, numeric_slots: Sequence[str], scales: tuple[float, float], calibration: Calibration
) -> bytes:
    """ub_labels_header and what it points to; ``scales``: of the logits of classes and tags."""
    section = _Section("ub_labels_header")
    class_scale, tag_scale = scales
    steps = np.arange(256) * class_scale / calibration.temperature
    none = constants()["UB_NONE"]
    return section.header(
        "ub_labels_header",
        intents=len(labels.intents),
        slots=len(labels.slots),
        classes=len(labels.classes),
        threshold=round(calibration.threshold * 10000),
        others=round(calibration.others * 256),
        tag_weight=min(0xFFFF, round(calibration.tag_weight * tag_scale / class_scale * 256)),
        intent_names=section.strings(labels.intents),
        slot_names=section.strings(labels.slots),
        implied=section.strings([implied_json(i) for _, i in labels.classes]),
        class_intent=section.array([none if i is None else i for i, _ in labels.classes], "<u2"),
        slot_masks=section.place(b"".join(labels.masks)),
        numeric_mask=section.place(labels.bits(i for i, slot in enumerate(labels.slots) if slot in numeric_slots)),
        single_mask=section.place(labels.bits(labels.single)),
        probability=section.array(np.round(65536 * np.exp(-steps)), "<u4"),
    )


def features_section(table: np.ndarray, positions: int, bits: int) -> bytes:
    """ub_features_header and the embedding table, integers [rows, E] in the range of ``bits``."""
    section = _Section("ub_features_header")
    packed = pack_nibbles(table + 8) if bits == 4 else table.astype(np.int8)
    return section.header(
        "ub_features_header",
        rows=len(table),
        embed=table.shape[1],
        positions=positions,
        bits=bits,
        hashing=constants()["UB_HASHING"],
        table=section.place(packed.tobytes(), ALIGNMENT),
    )


def encoder_section(encoder: Encoder) -> bytes:
    """ub_encoder_header, ub_layer and their tables. The weights stay in the flatbuffer."""
    section = _Section("ub_encoder_header")
    tables: dict[bytes, int] = {}

    def table(values: Any, dtype: str) -> int:
        """Places a table once, however many matrices share it."""
        data = np.asarray(values).astype(dtype).tobytes()
        if data not in tables:
            tables[data] = section.array(values, dtype)
        return tables[data]

    def matrix(m: Matrix) -> dict[str, int]:
        multipliers, shifts = zip(*map(quantize_multiplier, m.scales), strict=True)
        return {
            "weights": m.offset,
            "bias": m.bias_offset,
            "multiplier": section.array(multipliers, "<i4"),
            "shift": section.array(shifts, "i1"),
            "energy": table(_energies(m), "u1"),
            "rows": m.weights.shape[0],
            "columns": m.weights.shape[1],
            "channels": len(m.scales),
            "output_zero": m.output_zero,
            "output_min": m.output_zero if m.relu else -128,
            "input_zero": m.input_zero,
            "bits": m.bits,
        }

    def add_of(s: Sum) -> dict[str, int]:
        a, b, out = sum_multipliers(*s.scales)
        return {
            "a_multiplier": a[0],
            "b_multiplier": b[0],
            "output_multiplier": out[0],
            "a_shift": a[1],
            "b_shift": b[1],
            "output_shift": out[1],
            "a_zero": s.zeros[0],
            "b_zero": s.zeros[1],
            "output_zero": s.zeros[2],
        }

    def scale(value: float) -> dict[str, int]:
        multiplier, shift = quantize_multiplier(value)
        return {"multiplier": multiplier, "shift": shift}

    def layer_of(layer: Layer) -> dict[str, Any]:
        masked, exponential = attention_tables(layer)
        return {
            **{name: matrix(getattr(layer, name)) for name in ("query", "key", "value", "output", "up", "down")},
            "attention_residual": add_of(layer.attention_residual),
            "feed_forward_residual": add_of(layer.feed_forward_residual),
            "logits": scale(layer.logits),
            "context": scale(layer.context),
            "masked": table(masked, "i1"),
            "exponential": table(exponential, "<i4"),
            "heads": layer.heads,
            "head_width": layer.query.weights.shape[0] // layer.heads,
            "attention_zero": layer.attention_zero,
            "feed_forward_zero": layer.feed_forward_zero,
        }

    layers = b"".join(_pack("ub_layer", **layer_of(layer)) for layer in encoder.layers)
    return section.header(
        "ub_encoder_header",
        positions=encoder.positions,
        embed=encoder.embed,
        width=encoder.convolution.weights.shape[0],
        kernel=encoder.kernel,
        layers=len(encoder.layers),
        classes=encoder.class_head.weights.shape[0],
        tags=encoder.tag_head.weights.shape[0],
        final_zero=encoder.final_zero,
        convolution=matrix(encoder.convolution),
        class_head=matrix(encoder.class_head),
        tag_head=matrix(encoder.tag_head),
        layer=section.place(layers, 4),
    )


def _energies(m: Matrix) -> np.ndarray:
    """ub_matrix.energy: what bounds the firmware's dot products.

    Where no input is negative, a sum is least without the positive weights and largest without the negative ones.
    """
    numbers = constants()
    tile, chunk = numbers["UB_TILE_ROWS"], numbers["UB_CHUNK"]
    rows, columns = m.weights.shape
    weights = np.pad(m.weights.astype(np.int64), ((0, -rows % tile), (0, -columns % chunk)))
    signs = (np.maximum(weights, 0), np.minimum(weights, 0)) if m.input_zero == -128 else (weights,)
    squares = [(w**2).reshape(-1, tile, w.shape[1] // chunk, chunk).sum(3).max(1) for w in signs]
    return np.asarray(-(-np.maximum.reduce(squares) >> numbers["UB_ENERGY_BITS"])).ravel()


def attention_tables(layer: Layer) -> tuple[np.ndarray, np.ndarray]:
    """What an attention logit becomes at a word, int8 [256], and the exponentials of softmax, int32 [256].

    Raises:
        UserError: the ranges do not prove that a masked position's share of the softmax is exactly zero, whatever the
            words; then the firmware, which skips those positions, could differ from TFLite Micro.
    """
    logits = np.arange(-128, 128)
    masked = add(logits, np.full(256, 127), layer.mask.scales, layer.mask.zeros)
    without_word = add(logits, np.full(256, -128), layer.mask.scales, layer.mask.zeros)
    exponential = exponentials(layer.softmax_scale)
    # A row's largest logit is at least the smallest of a word, for a position always attends to words.
    least = int(masked.min()) - int(without_word.max())
    beyond = exponential[max(0, least) :]
    # Q0.31 to Q12.19 rounds to zero below 2^11; the output is round(share * 256), and the share of such a term is less.
    if least <= 0 or beyond.max(initial=0) >= 2**11:
        raise UserError("attention's ranges leave a masked position a share; widen MASK_MARGIN in train/student.py")
    return masked, exponential


def values_section(labels: Labels, values: Mapping[str, Mapping[str, Value]], numeric_slots: Sequence[str]) -> bytes:
    """ub_values_header, the hashes of all spoken values and what they mean.

    What means the same in every numeric slot that knows it, such as "thirty", is stored once, for no slot (UB_NONE).
    Phrases of one number and other words, such as "30 percent", are stored once for all numbers where each of them
    means its number; where one does not, as of "3 hundred", they are stored one by one.
    """
    entries: dict[int, tuple[str, str]] = {}

    def enter(slot: str | None, phrase: str, value: Value | None, key: int | None = None) -> None:
        if key is None:
            key = phrase_hash(phrase, constants()["UB_NONE"] if slot is None else labels.slots.index(slot))
        if key is None:
            return
        text = json.dumps(value, ensure_ascii=False)
        if entries.get(key, ("", text))[1] != text:
            raise UserError(f"values {entries[key][0]!r} and {slot}: {phrase!r} have one hash but differ; reword one")
        entries[key] = (f"{slot}: {phrase}", text)

    known = {slot: phrases for slot, phrases in values.items() if slot in labels.slots}
    numeric = [known[slot] for slot in numeric_slots if slot in known]
    shared = {}
    for phrase in dict.fromkeys(p for phrases in numeric for p in phrases):
        meanings = {phrases[phrase] for phrases in numeric if phrase in phrases}
        if len(meanings) == 1 and sum(phrase in phrases for phrases in numeric) > 1:
            shared[phrase] = meanings.pop()
            enter(None, phrase, shared[phrase])
    for slot, phrases in known.items():
        patterns = number_patterns(phrases, labels.slots.index(slot)) if slot in numeric_slots else {}
        for phrase, value in phrases.items():
            if phrase in patterns:
                enter(slot, phrase, None, patterns[phrase])
            elif slot not in numeric_slots or phrase not in shared:
                enter(slot, phrase, value)
    pool: dict[str, int] = {}
    size = 0
    for _, text in sorted(entries.values(), key=lambda e: e[1]):
        if text not in pool:
            pool[text] = size
            size += len(text.encode()) + 1
    section = _Section("ub_values_header")
    packed = [(key, pool[text]) for key, (_, text) in sorted(entries.items())]
    return section.header(
        "ub_values_header",
        count=len(entries),
        entries=section.array(np.array(packed).reshape(-1, 2), "<u4"),
        pool=section.place(b"".join(t.encode() + b"\0" for t in pool)),
        pool_length=size,
    )


def number_patterns(phrases: Mapping[str, Value], slot: int) -> dict[str, int]:
    """The key of every phrase of a slot whose words beside its one number leave that number's value as it is."""
    found = {phrase: pattern for phrase in phrases if (pattern := number_pattern(phrase, slot)) is not None}
    other = {key for phrase, (key, number) in found.items() if phrases[phrase] != number}
    return {phrase: key for phrase, (key, _) in found.items() if key not in other}


@dataclass(frozen=True)
class Golden:
    """A sentence of the self-test: the encoder's input and TFLite Micro's logits for it."""

    text: str
    embedding: np.ndarray
    classes: np.ndarray
    tags: np.ndarray


def golden_section(golden: Sequence[Golden]) -> bytes:
    """ub_golden_header, the sentences and the CRCs of what they must give."""
    section = _Section("ub_golden_header")
    entries = b"".join(
        _pack(
            "ub_golden",
            text=section.place(g.text.encode()),
            length=len(g.text.encode()),
            positions=len(g.embedding),
            embedding_crc=zlib.crc32(np.ascontiguousarray(g.embedding).tobytes()),
            logits_crc=zlib.crc32(g.classes.tobytes() + np.ascontiguousarray(g.tags).tobytes()),
        )
        for g in golden
    )
    return section.header("ub_golden_header", count=len(golden), entries=section.place(entries, 4))


def assemble(
    manifest: Mapping[str, Any],
    *,
    labels: bytes,
    features: bytes,
    values: bytes,
    golden: bytes,
    flatbuffer: bytes,
) -> bytes:
    """The whole bundle from its sections; the encoder's is made from the flatbuffer."""
    numbers = constants()
    sections = {
        numbers["UB_MANIFEST"]: json.dumps(manifest, ensure_ascii=False, separators=(",", ":")).encode(),
        numbers["UB_LABELS"]: labels,
        numbers["UB_FEATURES"]: features,
        numbers["UB_ENCODER"]: encoder_section(read_encoder(flatbuffer)),
        numbers["UB_VALUES"]: values,
        numbers["UB_GOLDEN"]: golden,
        numbers["UB_FLATBUFFER"]: flatbuffer,
    }
    head = ffi().sizeof("ub_header")
    body = _Section()
    body.place(bytes(head + len(sections) * ffi().sizeof("ub_section")))
    table = b"".join(
        _pack("ub_section", kind=kind, offset=body.place(data, ALIGNMENT), length=len(data))
        for kind, data in sections.items()
    )
    body.bytes += bytes(-len(body.bytes) % ALIGNMENT)
    body.bytes[head : head + len(table)] = table
    fields = {"length": len(body.bytes), "version": numbers["UB_VERSION"], "sections": len(sections)}
    header = _pack("ub_header", magic=numbers["UB_MAGIC"], **fields)
    body.bytes[:head] = header
    covered = ffi().offsetof("ub_header", "length")
    header = _pack("ub_header", magic=numbers["UB_MAGIC"], crc32=zlib.crc32(body.bytes[covered:]), **fields)
    body.bytes[:head] = header
    return bytes(body.bytes)


SECTION_NAMES = ("manifest", "labels", "features", "encoder", "values", "golden", "flatbuffer")


def locate_sections(bundle: bytes) -> dict[str, slice]:
    """Where the sections of a bundle stand in it, by name.

    Raises:
        UserError: it is no bundle, or a damaged one.
    """
    bundle = unsigned(bundle)
    head, entry = ffi().sizeof("ub_header"), struct.Struct("<3I")
    table = bundle[head : head + entry.size * len(SECTION_NAMES)]
    whole = len(table) // entry.size * entry.size
    places = {kind: slice(offset, offset + length) for kind, offset, length in entry.iter_unpack(table[:whole])}
    if sorted(places) != list(range(1, len(SECTION_NAMES) + 1)):
        raise UserError("this bundle's sections are not those that a bundle has; make it anew with `python -m convert`")
    return {SECTION_NAMES[kind - 1]: place for kind, place in places.items()}


def read_sections(bundle: bytes) -> dict[str, bytes]:
    """The sections of a bundle by name. Says nothing of their content: the firmware's ub_open() checks that.

    Raises:
        UserError: it is no bundle, or a damaged one.
    """
    return {name: bundle[place] for name, place in locate_sections(bundle).items()}


def read_manifest(bundle: bytes) -> dict[str, Any]:
    """The manifest of a bundle."""
    manifest: dict[str, Any] = json.loads(read_sections(bundle)["manifest"])
    return manifest
