"""``python -m convert.bench``: what the engine costs, counted in one run, as a table, ``bench.json`` and a picture.

rv32imc instructions are counted by QEMU (``-icount shift=0``, the counter minstret) around every kernel of the
firmware's own code (firmware/boards/count); x86 instructions by callgrind, beside TFLite Micro's interpreter on the
flatbuffer of the same bundle: one sentence and three in one process, whose difference is two sentences and no more.
The lines of flash that a chip's cache would fetch are counted by a plugin of QEMU (firmware/boards/count/cache.c).
``--exact`` compares the values instead: the firmware's encoder with TFLite Micro's interpreter.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from train.agentlib import SOURCES, Agent, c_compiler
from train.bundle_file import read_bundle, unsigned
from train.command_line import reporting, whole
from train.errors import UserError
from train.examples import read_jsonl, write_atomic
from train.labels import Labels
from train.quiet import native_silence

with native_silence():
    from convert.bundle import (
        Calibration,
        assemble,
        features_section,
        golden_section,
        labels_section,
        locate_sections,
        read_sections,
        values_section,
    )
    from convert.reference import Reference
    from convert.report import ENCODER, bench_picture

POSITIONS = (1, 4, 8, 16, 24, 32)
RANDOM = "random weights"
"""What :func:`notes_agent` is called."""
SENTENCE = "turn on the light in the living room"
"""Eight words: the whole path from line to answer."""
BOARDS = SOURCES.parent / "boards"
MACHINE = (
    "-march=rv32imc",
    "-mabi=ilp32",
    "-misa-spec=2.2",
    "-msave-restore",
    "--specs=picolibc.specs",
    "-ffreestanding",
)
WRAPPED = (
    *("tokenize", "pieces", "embed", "encode", "decode", "pack", "matmul", "normalize", "add"),
    *("bound", "product", "softmax"),
)
"""Functions ub_* around which firmware/boards/count counts."""


def program(name: str, package: str) -> str:
    """The path of a system program.

    Raises:
        UserError: it is missing; says which package has it.
    """
    path = shutil.which(name)
    if path is None:
        raise UserError(f"no {name} to count with; apt-get install {package}")
    return path


def library_flags() -> list[str]:
    """What the agent is compiled with."""
    flags: list[str] = json.loads((SOURCES / "library.json").read_text())["build"]["flags"]
    return ["-std=c11", "-O2", *flags]


def logits_crc(agent: Agent, positions: int) -> int:
    """CRC-32 of the logits of the embeddings that firmware/boards/count makes up for ``positions``."""
    state, values = 1, []
    embed = len(agent.embed("a")[0])
    for _ in range(positions * embed):
        state = (state * 1664525 + 1013904223) % 2**32
        values.append(int(((state >> 24 ^ 128) - 128) / 4))
    classes, tags = agent.encode(np.array(values, np.int8).reshape(positions, -1))
    return zlib.crc32(classes.tobytes() + tags.tobytes())


def counting_firmware(bundle: Path, folder: Path) -> Path:
    """Compiles firmware/boards/count around a bundle.

    Raises:
        UserError: there is no compiler, or not one that can.
    """
    gcc = program("riscv64-unknown-elf-gcc", "gcc-riscv64-unknown-elf picolibc-riscv64-unknown-elf")
    image = folder / "count.elf"
    sources = [*sorted(SOURCES.glob("*.c")), BOARDS / "count" / "main.c", BOARDS / "virt" / "virt.c"]
    wraps = "".join(f",--wrap=ub_{name}" for name in WRAPPED)
    command = [gcc, *library_flags(), *MACHINE, "-ffunction-sections", "-fdata-sections", "-nostartfiles", "-n"]
    command += [f"-Wl,--gc-sections{wraps}", f"-I{SOURCES}", f'-DUB_BUNDLE_FILE="{bundle.resolve()}"']
    command += [f"-T{BOARDS / 'virt' / 'virt.ld'}", *map(str, sources)]
    command += [str(BOARDS / "bare" / "start.S"), str(BOARDS / "bundle.S"), "-o", str(image), "-lc", "-lgcc"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"the counting firmware does not compile:\n{done.stderr}")
    return image


def run_counting(image: Path, bundle: Path, lines: Sequence[str], *options: str) -> list[dict[str, int]]:
    """Instructions by kind for each line: a sentence, or '#' and a number of positions.

    Args:
        image: :func:`counting_firmware` of the bundle.
        options: of QEMU.

    Raises:
        UserError: there is no QEMU, or the firmware refuses the bundle.
        RuntimeError: it gives other logits there than on this machine, which is a bug.
    """
    qemu = program("qemu-system-riscv32", "qemu-system-misc")
    emulator = [qemu, "-M", "virt", "-bios", "none", "-nographic", "-monitor", "none", "-serial", "stdio"]
    emulator += ["-icount", "shift=0", "-kernel", str(image), *options]
    counts: list[dict[str, int]] = []
    agent = Agent(bundle.read_bytes())
    with subprocess.Popen(emulator, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            hello = process.stdout.readline()
            if not hello:
                raise UserError(f"{qemu} ends without a word; it was started with {' '.join(emulator[1:])}")
            if b"agent=none" in hello:
                raise UserError(f"{bundle}: the firmware refuses this bundle; make it anew with python -m convert")
            for line in lines:
                process.stdin.write(f"{line}\n".encode())
                process.stdin.flush()
                while not (reply := process.stdout.readline().decode()).startswith("#count"):
                    if not reply or reply.startswith("#panic"):
                        raise RuntimeError(f"the counting firmware stopped at {line!r}: {reply}")
                    if reply.startswith("#crc") and int(reply.split()[1]) != logits_crc(agent, int(line[1:])):
                        raise RuntimeError(f"at {line!r} other logits on rv32imc than on this machine")
                counts.append({k: int(v) for k, v in re.findall(r"(\w+)=(\d+)", reply)})
        finally:
            process.kill()
    return counts


def count_rv32(bundle: Path, lines: Sequence[str], folder: Path) -> list[dict[str, int]]:
    """Instructions by kind for each line, as :func:`run_counting`."""
    return run_counting(counting_firmware(bundle, folder), bundle, lines)


def count_flash(bundle: Path, lines: Sequence[str], folder: Path) -> list[dict[str, int]]:
    """Lines of flash for each line of :func:`run_counting`, through a cache like the ESP32-C3's.

    ``different``: lines that were read; ``fetched``: how often one was not in the cache; ``weights_in_sram``: the same
    with the encoder's sections in SRAM, as ub_hold() copies them. The cache holds what the line before left there.

    Raises:
        UserError: a program is missing.
    """
    image = counting_firmware(bundle, folder)
    version = subprocess.run([program("qemu-system-riscv32", "qemu-system-misc"), "--version"], capture_output=True)
    major = int(re.search(rb"version (\d+)", version.stdout)[1])  # type: ignore[index]
    plugin, out = folder / "cache.so", folder / "cache.txt"
    command = [c_compiler(), "-std=c11", "-O2", "-shared", "-fPIC", f"-DUB_PLUGIN_VERSION={1 if major < 9 else 2}"]
    subprocess.run([*command, "-o", plugin, BOARDS / "count" / "cache.c"], check=True)
    listing = subprocess.run(
        [program("riscv64-unknown-elf-nm", "binutils-riscv64-unknown-elf"), image], capture_output=True, text=True
    )
    symbols = {name: int(address, 16) for address, _, name in map(str.split, listing.stdout.splitlines())}
    places = locate_sections(bundle.read_bytes())
    arguments = [f"out={out}", *(f"start={symbols[name]}" for name in ("ub_encode_embeddings", "ub_session_feed"))]
    for place in (places["encoder"], places["flatbuffer"]):
        arguments.append(f"weights={symbols['ub_bundle'] + place.start}:{place.stop - place.start}")
    run_counting(image, bundle, [lines[0], *lines], "-plugin", ",".join([str(plugin), *arguments]))
    rows = [map(int, row.split()) for row in out.read_text().splitlines()]
    return [dict(zip(("different", "fetched", "weights_in_sram"), row, strict=True)) for row in rows[1:]]


X86_SCRIPT = """
import sys
from pathlib import Path
import ctypes
import numpy as np
from train.agentlib import Agent
from convert.reference import Reference
engine, bundle, flatbuffer, positions, probe = sys.argv[1:]
reference = Reference(Path(flatbuffer).read_bytes())
subject = Agent(Path(bundle).read_bytes()) if engine == "utterbit" else reference
x = np.random.default_rng(0).integers(-128, 128, (int(positions), reference.shape[2])).astype(np.int8)
mark = ctypes.CDLL(probe)
subject.encode(x)
mark.begin()
subject.encode(x)
mark.end(b"one")
for _ in range(3):
    subject.encode(x)
mark.end(b"three")
"""

PROBE = """
#include <valgrind/callgrind.h>
void begin(void) { CALLGRIND_START_INSTRUMENTATION; CALLGRIND_ZERO_STATS; }
void end(const char *name) { CALLGRIND_DUMP_STATS_AT(name); }
"""


def count_x86(engine: str, bundle: Path, positions: int, folder: Path) -> int:
    """Instructions of a sentence on this machine; engine: utterbit or tflite-micro."""
    valgrind = program("valgrind", "valgrind")
    probe, source = folder / "probe.so", folder / "probe.c"
    source.write_text(PROBE)
    compiled = subprocess.run(
        [c_compiler(), "-O2", "-shared", "-fPIC", "-o", probe, source], capture_output=True, text=True
    )
    if compiled.returncode:
        raise UserError("callgrind's header does not compile; apt-get install valgrind gcc")
    out = folder / f"callgrind.{engine}.{positions}"
    command = [valgrind, "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={out}"]
    flatbuffer = folder / "student.tflite"  # TensorFlow would take minutes to start under valgrind, so it is not loaded
    flatbuffer.write_bytes(read_sections(bundle.read_bytes())["flatbuffer"])
    script = [sys.executable, "-c", X86_SCRIPT, engine, str(bundle), str(flatbuffer), str(positions), str(probe)]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1"}
    subprocess.run([*command, *script], check=True, capture_output=True, env=environment)
    totals = {}
    for path in folder.glob(f"{out.name}.*"):
        text = path.read_text()
        name = re.search(r"Client Request: (\w+)", text)
        total = re.search(r"^(?:totals|summary): (\d+)", text, re.M)
        if name and total:
            totals[name[1]] = int(total[1])
    return (totals["three"] - totals["one"]) // 2


def compile_agent(folder: Path) -> None:
    """The agent's objects for rv32imc and their call graphs, FILE.o and FILE.ci."""
    gcc = program("riscv64-unknown-elf-gcc", "gcc-riscv64-unknown-elf picolibc-riscv64-unknown-elf")
    for source in sorted(SOURCES.glob("*.c")):
        command = [gcc, *library_flags(), *MACHINE, "-fcallgraph-info=su", "-c", str(source), "-o", f"{source.stem}.o"]
        subprocess.run(command, check=True, cwd=folder)


def code_bytes(folder: Path) -> dict[str, int]:
    """Code and constants of each object of :func:`compile_agent`."""
    size = program("riscv64-unknown-elf-size", "binutils-riscv64-unknown-elf")
    objects = sorted(folder.glob("*.o"))
    lines = subprocess.run([size, *objects], capture_output=True, text=True, check=True).stdout.splitlines()[1:]
    return {path.stem: int(line.split()[0]) for path, line in zip(objects, lines, strict=True)}


LEAF_STACK = 64
"""Bytes allowed to a function that is not in the call graph: assembly, and the C library's memcpy and its like."""


def call_graph(folder: Path) -> tuple[dict[str, int], dict[str, set[str]]]:
    """Bytes of stack of every function, and what it calls (GCC's -fcallgraph-info).

    Raises:
        RuntimeError: a function's stack depends on data.
    """
    stack: dict[str, int] = {}
    calls: dict[str, set[str]] = {}
    for path in folder.glob("*.ci"):
        for title, label in re.findall(r'node: { title: "([^"]+)" label: "([^"]+)"', path.read_text()):
            if found := re.search(r"(\d+) bytes \((\w+)", label):
                if found[2] != "static":
                    raise RuntimeError(f"{title}: its stack depends on data")
                stack[title] = int(found[1])
        for caller, callee in re.findall(r'edge: { sourcename: "([^"]+)" targetname: "([^"]+)"', path.read_text()):
            calls.setdefault(caller, set()).add(callee)
    return stack, calls


def most_stack(folder: Path, function: str) -> int:
    """Bytes of stack of the deepest path from a function; the board's own functions are not counted.

    Raises:
        RuntimeError: a function may call itself, or is unknown.
    """
    stack, calls = call_graph(folder)
    if function not in stack:
        raise RuntimeError(f"{function} is not in the call graph")

    def deepest(name: str, above: tuple[str, ...]) -> int:
        if name in above:
            raise RuntimeError(f"recursion: {' '.join([*above, name])}")
        own = stack.get(name, 0 if name == "__indirect_call" else LEAF_STACK)
        return own + max((deepest(c, (*above, name)) for c in calls.get(name, ())), default=0)

    return deepest(function, ())


def labels_of(intents: int, slots: int) -> Labels:
    """Names without meaning."""
    return Labels(
        tuple(f"Intent{i}" for i in range(intents)),
        tuple(f"slot{i}" for i in range(slots)),
        tuple((i, ()) for i in range(intents)),
        tuple(tuple(range(slots)) for _ in range(intents)),
        tuple(() for _ in range(intents)),
        (),
    )


def notes_agent() -> bytes:
    """The bundle of an agent that never learned, of the shape with which TFLite Micro was measured first.

    d = 64, 2 layers of 2 heads and 128 hidden neurons, 32 positions: TFLite Micro takes 26.9 M instructions for its
    2.40 M MACs. Weights are normally distributed; ranges of activations are what training would have observed.
    """
    import tensorflow as tf

    from convert.flatbuffer import convert
    from train.student import Shape, Student

    labels = labels_of(intents=25, slots=9)
    shape = Shape(
        len(labels.classes),
        labels.tags,
        rows=512,
        embed=4,
        kernel=1,
        heads=(2, 2),
        head_width=32,
        hidden=(128, 128),
    )
    student = Student(shape)
    rng = np.random.default_rng(0)
    for matrix in student.matrices.values():
        matrix.assign(rng.normal(size=matrix.shape) / np.sqrt(matrix.shape[0]))
    for bias in student.biases.values():
        bias.assign(rng.normal(size=bias.shape) / 10)
    words = tf.constant(rng.integers(1, 400, (64, shape.positions - 1)), tf.int32)
    student(words, tf.constant(rng.integers(shape.positions, shape.rows, (401, 12)), tf.int32), training=True)
    student.start_quantizing()
    table = np.round(np.asarray(student.quantized_table()) / float(student.table_step)).astype(np.int64)
    return assemble(
        {"name": "notes"},
        labels=labels_section(labels, [], (0.1, 0.1), Calibration(1.0, 0.0)),
        features=features_section(table, shape.positions, shape.embed_bits),
        values=values_section(labels, {}, []),
        golden=golden_section([]),
        flatbuffer=convert(student),
    )


def macs(flatbuffer: bytes, positions: int) -> int:
    """Multiply-accumulates of a sentence of ``positions`` - 1 words."""
    from convert.flatbuffer import read_encoder

    encoder = read_encoder(flatbuffer)
    each = encoder.convolution.weights.size
    for layer in encoder.layers:
        each += sum(getattr(layer, m).weights.size for m in ("query", "key", "value", "output", "up", "down"))
        each += 2 * positions * len(layer.query.weights)
    return positions * each + encoder.class_head.weights.size + (positions - 1) * encoder.tag_head.weights.size


FILL_MS = (8 + 12 + 4 + 32 * 4) / 80_000
"""Estimate of a line's time: the clocks of a fast read by dual I/O (command BBh: command, address and mode, 32 bytes)
at 80 MHz, which is what ESP-IDF sets. What the cache itself takes is not in it."""


def measure(content: bytes, name: str, console: Console) -> dict[str, Any]:
    """All figures of a bundle, which has no signature behind it. name: what the progress calls it."""
    agent = Agent(content)
    flatbuffer = read_sections(content)["flatbuffer"]
    shape = Reference(flatbuffer).shape[1]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        bundle = folder / "agent.bundle"
        bundle.write_bytes(content)
        positions = [n for n in POSITIONS if n <= shape]
        with console.status(f"{name}: counting on rv32imc"):
            *encoder, path = count_rv32(bundle, [*(f"#{n}" for n in positions), SENTENCE], folder)
        try:
            with console.status(f"{name}: counting lines of flash"):
                *flash, path_flash = count_flash(bundle, [*(f"#{n}" for n in positions), SENTENCE], folder)
        except UserError as error:
            console.print(f"lines of flash are not counted: {error}")
            flash, path_flash = [], {}
        x86: dict[str, dict[str, int]] = {}
        for engine in ("utterbit", "tflite-micro"):
            with console.status(f"{name}: counting {engine} on x86"):
                x86[engine] = {str(n): count_x86(engine, bundle, n, folder) for n in sorted({min(8, shape), shape})}
    around = sum(count for kind, count in path.items() if kind not in ENCODER) / sum(path.values())
    return {
        "sha256": hashlib.sha256(content).hexdigest(),
        "rv32imc": {str(n): counts for n, counts in zip(positions, encoder, strict=True)},
        "macs": {str(n): macs(flatbuffer, n) for n in positions},
        "line_to_answer": {
            "sentence": SENTENCE,
            "rv32imc": path,
            "not_the_encoder": round(around, 4),
            "flash": path_flash,
        },
        "flash": {str(n): counts for n, counts in zip(positions, flash, strict=False)},
        "x86": x86,
        "arena_bytes": agent.arena_bytes,
        "bundle_bytes": {"bundle": len(content), **{k: len(v) for k, v in read_sections(content).items()}},
    }


HOW = {
    "sha256": "of the bundle, which names it",
    "rv32imc": "instructions of the firmware's code at -O2, by QEMU's minstret around every kernel (-icount shift=0); "
    "embeddings are random and about as loud as words (at most 32 of 128)",
    "macs": "products of the encoder's matrices and of attention at that many positions",
    "line_to_answer": "the same from the received line to the JSON answer; the UART's time is not in it",
    "flash": "lines of 32 bytes: different ones that are read, those that a cache like the ESP32-C3's fetches (16 KB, "
    "8 ways, the least recently used gives way), and with the encoder's sections in SRAM; milliseconds are estimated: "
    f"{1000 * FILL_MS:.1f} us a line, dual I/O at 80 MHz",
    "x86": "instructions on this machine by callgrind: three sentences less one, halved, in one process",
    "arena_bytes": "what the bundle needs at full length, by the firmware's own reckoning",
    "bundle_bytes": "lengths in the file's table of sections",
    "stack_bytes": "GCC's call graph for rv32imc: the deepest path from a received byte, without the board's functions",
    "code_bytes": "text of each object for rv32imc at -O2, constants included, not linked",
}
"""How each figure was counted."""


def firmware_limits() -> dict[str, Any]:
    """Bytes of stack and code of the agent, whatever the bundle."""
    with tempfile.TemporaryDirectory() as name:
        compile_agent(Path(name))
        return {"stack_bytes": most_stack(Path(name), "ub_session_feed"), "code_bytes": code_bytes(Path(name))}


OUTSIDE = ("protocol", "update", "signature")
"""Files that an application with a line of its own leaves out."""


def show(name: str, figures: dict[str, Any], console: Console) -> None:
    """Prints a bundle's figures."""
    counts, path = figures["rv32imc"], figures["line_to_answer"]["rv32imc"]
    table = Table(title=f"{name}: rv32imc instructions, thousands", title_justify="left", box=None, pad_edge=False)
    table.add_column("", no_wrap=True)
    for n in counts:
        table.add_column(f"{n} pos.", justify="right")
    table.add_column("8 words, line to answer", justify="right")
    for kind in path:
        table.add_row(kind, *(f"{c[kind] / 1000:,.1f}" for c in counts.values()), f"{path[kind] / 1000:,.1f}")
    totals = {n: sum(c.values()) for n, c in counts.items()}
    table.add_row("all", *(f"{t / 1000:,.1f}" for t in totals.values()), f"{sum(path.values()) / 1000:,.1f}")
    table.add_row("a MAC", *(f"{t / figures['macs'][n]:.2f}" for n, t in totals.items()), "")
    if figures["flash"]:
        every = [*figures["flash"].values(), figures["line_to_answer"]["flash"]]
        table.add_row()
        for key, title in (("fetched", "flash lines"), ("weights_in_sram", "weights in SRAM")):
            table.add_row(title, *(f"{flash[key]:,}" for flash in every))
            table.add_row("  ms, about", *(f"{flash[key] * FILL_MS:.1f}" for flash in every))
    console.print(table)
    ours, theirs = figures["x86"]["utterbit"], figures["x86"]["tflite-micro"]
    for n, count in ours.items():
        console.print(
            f"x86, {n} positions: {count:,}; TFLite Micro {theirs[n]:,}, {theirs[n] / count:.1f} times as many"
        )
    console.print(f"not the encoder: {figures['line_to_answer']['not_the_encoder']:.1%} of a sentence of 8 words")
    console.print(f"arena: {figures['arena_bytes']:,} bytes")
    console.print("bundle: " + ", ".join(f"{k} {v:,}" for k, v in figures["bundle_bytes"].items()))


def show_firmware(limits: dict[str, Any], console: Console) -> None:
    """Prints what all bundles share, and how everything was counted."""
    code = limits["code_bytes"]
    library = sum(size for name, size in code.items() if name not in OUTSIDE)
    console.print(f"stack: {limits['stack_bytes']:,} bytes")
    console.print(f"code: {library:,} bytes, with protocol and update {sum(code.values()):,}")
    console.print("  " + ", ".join(f"{k} {v:,}" for k, v in code.items()))
    for name, text in HOW.items():
        console.print(f"{name}: {text}", style="dim")


EXACT = 100_000
"""Random sentences that --exact compares."""


def random_embeddings(reference: Reference, count: int, seed: int = 0) -> Iterable[np.ndarray]:
    """int8 [n, E] of random length, loud and quiet."""
    rng = np.random.default_rng(seed)
    _, positions, embed = reference.shape
    for _ in range(count):
        loudness = rng.choice([1, 2, 8, 32])
        yield (rng.integers(-128, 128, (rng.integers(1, positions + 1), embed)) // loudness).astype(np.int8)


def valid_embeddings(agent: Agent, path: Path) -> Iterable[np.ndarray]:
    """int8 [n, E] of the sentences of a data file that the encoder has positions for."""
    for example in read_jsonl(path):
        try:
            yield agent.embed(example.text)
        except ValueError:
            continue


def differing(agent: Agent, reference: Reference, embeddings: Iterable[np.ndarray]) -> np.ndarray | None:
    """The first embeddings for which the firmware's encoder and TFLite Micro give different values, if any."""
    for x in embeddings:
        if not all(np.array_equal(a, b) for a, b in zip(agent.encode(x), reference.encode(x), strict=True)):
            return x
    return None


def prove(bundle: Path, count: int, console: Console) -> bool:
    """Compares all logits on random embeddings and on the validation sentences beside the bundle."""
    content = unsigned(read_bundle(bundle))
    agent = Agent(content)
    reference = Reference(read_sections(content)["flatbuffer"])
    sets: dict[str, tuple[Iterable[np.ndarray], int]] = {
        "random embeddings": (random_embeddings(reference, count), count)
    }
    valid = bundle.parent / "data" / "valid.jsonl"
    if valid.is_file() and (sentences := list(valid_embeddings(agent, valid))):
        sets["validation sentences"] = (sentences, len(sentences))
    for name, (embeddings, total) in sets.items():
        found = differing(agent, reference, track(embeddings, name, total=total, console=console))
        if found is not None:
            console.print(f"{name}: different values for an input of {len(found)} positions:\n{found.tolist()}")
            return False
        console.print(f"{total:,} {name}: every value is TFLite Micro's")
    return True


@reporting()
def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns its exit status: 1 if --exact finds a difference."""
    parser = argparse.ArgumentParser(prog="python -m convert.bench", description="Counts what the engine costs.")
    parser.add_argument("bundle", type=Path, nargs="?", default=Path("build/home/agent.bundle"), metavar="BUNDLE")
    parser.add_argument("--out", type=Path, default=Path("build/bench.json"), help="also FILE.svg beside it")
    parser.add_argument("--exact", action="store_true", help="compare values with TFLite Micro's instead (long)")
    parser.add_argument("--count", type=whole(1), default=EXACT, help=f"random inputs of --exact (default: {EXACT:,})")
    options = parser.parse_args(arguments)
    console = Console(highlight=False, markup=False)
    if not options.bundle.is_file():
        raise UserError(f"{options.bundle}: there is no such bundle; make agent makes build/home/agent.bundle")
    if options.exact:
        return 0 if prove(options.bundle, options.count, console) else 1
    from convert.pipeline import refresh_reports  # takes TensorFlow along, and seconds

    name = options.bundle.parent.name or options.bundle.stem
    agents = {
        RANDOM: measure(notes_agent(), RANDOM, console),
        name: measure(unsigned(read_bundle(options.bundle)), name, console),
    }
    limits = firmware_limits()
    for agent, figures in agents.items():
        show(agent, figures, console)
    show_firmware(limits, console)
    write_atomic(options.out, json.dumps({"agents": agents, **limits, "how": HOW}, indent=1) + "\n")
    write_atomic(options.out.with_suffix(".svg"), bench_picture(agents))
    refresh_reports(options.out.parent)
    console.print(f"written: {options.out} and {options.out.with_suffix('.svg')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
