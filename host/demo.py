"""``python -m host.demo build/home``: asks a fresh agent some sentences in the simulated ESP32-C3 and sums up what the
tools measure of it. The last step of ``make agent``.
"""

import argparse
import random
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile
from rich.console import Console
from rich.progress import track
from rich.table import Table

from host import display
from host.boards import SIM_ELF
from host.client import Answer, Client, Info, Stats
from host.evaluation import outcome_of, predict
from train.command_line import reporting
from train.errors import UserError
from train.examples import Example, read_jsonl, write_atomic
from train.metrics import Metrics, Percentiles, measure

SENTENCES = {
    "home-en": (
        "turn on the kitchen light",
        "Could you dim the bedroom lamps to thirty percent, please?",
        "make the living room blue",
        "is the front door locked?",
        "open the garage door",
        "garage door open?",
        "set the thermostat to 21.5 degrees",
        "whats the temperature in the office",
        "set a timer for ten minutes",
        "add oat milk to my shopping list",
        "vacuum the hallway",
        "pause the music in the den",
        "do not open the garage door",
        "turn the lights on at sunset",
        "who wrote Faust?",
    ),
}
"""By the agent's name. Any other agent is asked sentences of its data."""
ASKED = 12


def code_bytes(elf: Path) -> int:
    """Bytes of flash that a firmware takes beside its bundle: code, constants, initial values."""
    with elf.open("rb") as file:
        return sum(
            section["sh_size"]
            for section in ELFFile(file).iter_sections()
            if section["sh_type"] == "SHT_PROGBITS"
            and section["sh_flags"] & SH_FLAGS.SHF_ALLOC
            and section.name != ".bundle"
        )


def held_out(folder: Path) -> dict[str, list[Example]]:
    """Parts of an agent's data to measure it on, by what they are called: held out ones, if there are any. Raises
    UserError if there is no data."""
    data = folder / "data"
    part = next((part for part in ("test", "valid", "train") if (data / f"{part}.jsonl").is_file()), None)
    if part is None:
        raise UserError(
            f"{data} has neither test.jsonl, valid.jsonl nor train.jsonl; expected a folder that python -m train and "
            "then python -m convert wrote, such as build/home of `make agent`"
        )
    found = {f"{part} part": read_jsonl(data / f"{part}.jsonl")}
    if (people := data / "people.jsonl").is_file():
        found["people's words"] = read_jsonl(people)
    return found


def accuracy(parts: Mapping[str, Metrics]) -> Table:
    """How good the agent is on each part of its data."""
    table = Table()
    table.add_column()
    for part in parts:
        table.add_column(part, justify="right")

    def row(title: str, text: Callable[[Metrics], str | None]) -> None:
        cells = [text(metrics) for metrics in parts.values()]
        if any(cells):
            table.add_row(title, *(cell or "" for cell in cells))

    def share(title: str, value: Callable[[Metrics], float | None]) -> None:
        row(title, lambda metrics: None if (found := value(metrics)) is None else f"{found:.1%}")

    row("commands", lambda m: f"{m.in_scope.n:,}")
    row("other sentences", lambda m: f"{m.out_of_scope.n:,}" if m.out_of_scope.n else None)
    table.add_section()
    share("intent right", lambda m: m.intent_accuracy)
    share("slot F1", lambda m: m.slot_f1)
    share("intent and all slots right", lambda m: m.exact)
    share("commands rejected", lambda m: m.in_scope.rejected / m.in_scope.n if m.in_scope.n else None)
    share(
        "other sentences accepted", lambda m: m.out_of_scope.accepted / m.out_of_scope.n if m.out_of_scope.n else None
    )
    return table


def costs(info: Info, stats: Stats, times: list[int]) -> Table:
    """What the agent takes of the chip. ``times``: microseconds of the chip per answer."""
    table = Table(show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_row("agent bundle", f"{info.bytes:,} bytes")
    table.add_row("firmware without the bundle", f"{code_bytes(SIM_ELF):,} bytes")
    table.add_row("arena", f"{info.arena:,} bytes")
    table.add_row("stack", f"{stats.stack:,} bytes")
    table.add_section()
    for title, us in (("median", Percentiles.of(times).p50), ("longest", max(times, default=None))):
        if us is not None:
            # The simulator executes one instruction a cycle.
            instructions = us * info.hz / 1e12
            table.add_row(f"{title} answer", f"{instructions:.2f} M instructions, {us / 1000:.1f} ms")
    return table


def demonstrate(folder: Path, console: Console) -> None:
    """Prints answers and the table. Raises BoardError, and UserError if the folder's agent is not the chip's."""
    bundle = folder / "agent.bundle"
    parts = held_out(folder)
    metrics = {}
    with Client("native", bundle=bundle) as agent:
        crc = agent.info().crc
        progress = Console(stderr=True)
        for part, examples in parts.items():
            asked = track(
                examples, f"measuring: {part}", console=progress, transient=True, disable=not progress.is_terminal
            )
            metrics[part] = measure(examples, [predict(agent, example.text) for example in asked])
    with Client("sim") as agent:
        info = agent.info()
        if info.crc != crc:
            raise UserError(f"the simulated chip holds another agent than {bundle}; `make agent` builds its firmware")
        first = next(iter(parts.values()))
        sentences = SENTENCES.get(info.agent or "") or [
            example.text for example in random.Random(0).sample(first, min(ASKED, len(first)))
        ]
        console.print(f"{info.agent} in a simulated ESP32-C3, over its serial line:\n")
        times = []
        for sentence in sentences:
            outcome = outcome_of(agent, sentence)
            console.print(display.outcome_text(sentence, outcome))
            if isinstance(outcome, Answer):
                times.append(outcome.us)
        console.print()
        console.print(accuracy(metrics))
        console.print(costs(info, agent.stats(), times))


@reporting()
def main() -> int:
    """Runs the command line; returns its exit status, as that of ``python -m host``."""
    parser = argparse.ArgumentParser(prog="python -m host.demo", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="what python -m convert wrote")
    folder: Path = parser.parse_args().folder
    console = display.open_console(record=True)
    demonstrate(folder, console)
    write_atomic(folder / "demo.txt", console.export_text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
