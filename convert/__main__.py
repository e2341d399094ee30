"""``python -m convert``: a trained student → int8 flatbuffer → agent bundle, with proof that they agree."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from convert.options import Options
from train.command_line import HelpFormatter, reporting, share
from train.quiet import native_silence


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="python -m convert",
        description="Makes FOLDER's student an agent bundle: python -m convert build/home",
        epilog="python -m convert sign: signs a bundle",
        formatter_class=HelpFormatter,
    )
    top.add_argument("folder", type=Path, metavar="FOLDER", help="what python -m train wrote")
    top.add_argument("--name", help="the agent's name, up to 32 of A-Z a-z 0-9 . _ - (default: DATA-LANGUAGE)")
    top.add_argument(
        "--most-loss",
        type=share(-1),
        default=Options.most_loss,
        help="refuse if int8 gets this share of validation less exactly right",
    )
    top.add_argument(
        "--threshold",
        type=share(),
        default=Options.threshold,
        help="score, 0 to 1, below which a sentence is taken for no command; the report shows what each rejects. Where "
        "training had nothing out of scope it is 0",
    )
    return top


@reporting(interrupted="nothing half written")
def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns its exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["sign"]:
        from convert import sign

        return sign.main(arguments[1:])
    options = parser().parse_args(arguments)
    console = Console(highlight=False, soft_wrap=True, markup=False)
    with native_silence():
        from convert.pipeline import run

    metrics = run(options.folder, Options(options.name, options.most_loss, options.threshold), console)
    show(metrics, console)
    console.print(f"agent written to {options.folder / 'agent.bundle'}, report to {options.folder / 'report.html'}")
    return 0


def show(metrics: dict[str, Any], console: Console) -> None:
    """Prints what the conversion came to."""
    valid, arena = metrics["validation"], metrics["arena"]
    part = "validation" if metrics["data"]["valid"]["sentences"] else "training"
    table = Table(title=f"{valid['sentences']:,} {part} sentences", title_justify="left")
    for column in ("", "float", "int8"):
        table.add_column(column, justify="right" if column else "left")
    for key, title in (("intent", "intent"), ("exact", "intent and all slots")):
        table.add_row(title, f"{valid['float'][key]:.1%}", f"{valid['int8'][key]:.1%}")
    console.print(table)
    firmware = metrics["firmware"]
    inside, outside = firmware["in_scope"], firmware["out_of_scope"]
    shares = {
        "intent": firmware["intent_accuracy"],
        "slot F1": firmware["slot_f1"],
        "intent and all slots": firmware["exact"],
        "commands rejected": inside["rejected"] / inside["n"] if inside["n"] else None,
        "others accepted": outside["accepted"] / outside["n"] if outside["n"] else None,
    }
    known = ", ".join(f"{title} {share:.1%}" for title, share in shares.items() if share is not None)
    console.print(f"as the firmware answers, of commands: {known}")
    console.print("operators: " + ", ".join(f"{count} {name}" for name, count in sorted(metrics["operators"].items())))
    console.print("bytes: " + ", ".join(f"{name} {size:,}" for name, size in metrics["bytes"].items()))
    console.print(f"arena: {arena['firmware']:,} bytes in the firmware, {arena['tflite_micro']:,} in TFLite Micro")
    console.print(
        f"the firmware's encoder gave TFLite Micro's values, every one, on {metrics['checked_sentences']} sentences; "
        f"threshold {metrics['threshold']:g}, temperature {metrics['temperature']:.2f}"
    )


if __name__ == "__main__":
    sys.exit(main())
