"""``python -m convert.bench``: what the engine costs, counted in one run, as a table, ``bench.json`` and a picture.

rv32imc instructions are counted by QEMU (``-icount shift=0``, the counter minstret) around every kernel of the
firmware's own code (firmware/boards/count); x86 instructions by callgrind, beside TFLite Micro's interpreter on the
flatbuffer of the same bundle: one sentence and three in one process, whose difference is two sentences and no more.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from convert.bundle import read_sections
from convert.reference import Reference
from train.agentlib import SOURCES, Agent
from train.errors import UserError
from train.examples import write_atomic

POSITIONS = (1, 4, 8, 16, 24, 32)
SENTENCE = "turn on the light in the living room"
"""Eight words: the whole path from line to answer."""
BOARDS = SOURCES.parent / "boards"
MACHINE = ("-march=rv32imc", "-mabi=ilp32", "-misa-spec=2.2", "--specs=picolibc.specs", "-ffreestanding")
WRAPPED = (
    *("tokenize", "pieces", "embed", "encode", "decode", "matmul", "normalize", "add"),
    *("attention_logits", "softmax", "attention_context"),
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


def count_rv32(bundle: Path, lines: Sequence[str], folder: Path) -> list[dict[str, int]]:
    """Instructions by kind for each line: a sentence, or '#' and a number of positions."""
    gcc = program("riscv64-unknown-elf-gcc", "gcc-riscv64-unknown-elf picolibc-riscv64-unknown-elf")
    qemu = program("qemu-system-riscv32", "qemu-system-misc")
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
    emulator = [qemu, "-M", "virt", "-bios", "none", "-nographic", "-monitor", "none", "-serial", "stdio"]
    counts: list[dict[str, int]] = []
    with subprocess.Popen(
        [*emulator, "-icount", "shift=0", "-kernel", str(image)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            hello = process.stdout.readline()
            if b"agent=none" in hello:
                raise UserError(f"{bundle}: the firmware refuses this bundle; make it anew with python -m convert")
            for line in lines:
                process.stdin.write(f"{line}\n".encode())
                process.stdin.flush()
                while not (reply := process.stdout.readline().decode()).startswith("#count"):
                    if not reply or reply.startswith("#panic"):
                        raise RuntimeError(f"the counting firmware stopped at {line!r}: {reply}")
                counts.append({k: int(v) for k, v in re.findall(r"(\w+)=(\d+)", reply)})
        finally:
            process.kill()
    return counts


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
    compiled = subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", probe, source], capture_output=True, text=True)
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


def code_bytes(folder: Path) -> dict[str, int]:
    """Code and constants of each of the agent's files for rv32imc."""
    gcc = program("riscv64-unknown-elf-gcc", "gcc-riscv64-unknown-elf picolibc-riscv64-unknown-elf")
    sizes = {}
    for source in sorted(SOURCES.glob("*.c")):
        made = folder / f"{source.stem}.o"
        subprocess.run([gcc, *library_flags(), *MACHINE, "-c", source, "-o", made], check=True)
        size = subprocess.run(["riscv64-unknown-elf-size", made], capture_output=True, text=True, check=True).stdout
        sizes[source.stem] = int(size.splitlines()[1].split()[0])
    return sizes


def measure(bundle: Path, console: Console) -> dict[str, Any]:
    """All figures of a bundle."""
    content = bundle.read_bytes()
    agent = Agent(content)
    shape = Reference(read_sections(content)["flatbuffer"]).shape[1]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        positions = [n for n in POSITIONS if n <= shape]
        with console.status("counting on rv32imc"):
            *encoder, path = count_rv32(bundle, [*(f"#{n}" for n in positions), SENTENCE], folder)
        x86: dict[str, dict[str, int]] = {}
        for engine in ("utterbit", "tflite-micro"):
            with console.status(f"counting {engine} on x86"):
                x86[engine] = {str(n): count_x86(engine, bundle, n, folder) for n in (9, shape)}
        return {
            "rv32imc": {str(n): counts for n, counts in zip(positions, encoder, strict=True)},
            "line_to_answer": {"sentence": SENTENCE, "rv32imc": path},
            "x86": x86,
            "arena_bytes": agent.arena_bytes,
            "code_bytes": code_bytes(folder),
            "bundle_bytes": {"bundle": len(content), **{k: len(v) for k, v in read_sections(content).items()}},
        }


def show(figures: dict[str, Any], console: Console) -> None:
    """Prints the figures."""
    counts = figures["rv32imc"]
    path = figures["line_to_answer"]["rv32imc"]
    table = Table(title="rv32imc instructions (QEMU, minstret), thousands", title_justify="left")
    table.add_column("", no_wrap=True)
    for n in counts:
        table.add_column(f"{n} pos.", justify="right")
    table.add_column("8 words, line to answer", justify="right")
    for kind in path:
        table.add_row(kind, *(f"{c[kind] / 1000:,.1f}" for c in counts.values()), f"{path[kind] / 1000:,.1f}")
    table.add_row(
        "all", *(f"{sum(c.values()) / 1000:,.1f}" for c in counts.values()), f"{sum(path.values()) / 1000:,.1f}"
    )
    console.print(table)
    for engine, by_positions in figures["x86"].items():
        console.print(f"x86, {engine}: " + ", ".join(f"{n} positions {c:,}" for n, c in by_positions.items()))
    for name in ("code_bytes", "bundle_bytes"):
        console.print(f"{name}: " + ", ".join(f"{k} {v:,}" for k, v in figures[name].items()))
    console.print(f"arena: {figures['arena_bytes']:,} bytes")


def picture(figures: dict[str, Any], path: Path) -> None:
    """Where the instructions go, by positions, as SVG."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    counts = figures["rv32imc"]
    figure, axes = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
    base = [0.0] * len(counts)
    for kind in ("matmul", "logits", "softmax", "context", "norm", "add"):
        heights = [c[kind] / 1e6 for c in counts.values()]
        axes.bar(list(counts), heights, bottom=base, label=kind)
        base = [b + h for b, h in zip(base, heights, strict=True)]
    axes.set(xlabel="positions (words + 1)", ylabel="million instructions, rv32imc")
    axes.legend()
    figure.savefig(path)
    pyplot.close(figure)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m convert.bench", description="Counts what the engine costs.")
    parser.add_argument("bundle", type=Path, nargs="?", default=Path("build/home/agent.bundle"), metavar="BUNDLE")
    parser.add_argument("--out", type=Path, default=Path("build/bench.json"), help="also FILE.svg beside it")
    options = parser.parse_args(arguments)
    console = Console(highlight=False)
    try:
        if not options.bundle.is_file():
            raise UserError(f"{options.bundle}: there is no such bundle; make agent makes build/home/agent.bundle")
        figures = measure(options.bundle, console)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    show(figures, console)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(options.out, json.dumps(figures, indent=1) + "\n")
    picture(figures, options.out.with_suffix(".svg"))
    console.print(f"written: {options.out} and {options.out.with_suffix('.svg')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
