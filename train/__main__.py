"""``python -m train``: data → a trained student on disk."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from train import datasets
from train.command_line import HelpFormatter, reporting, whole
from train.cost import CHIPS, Budget
from train.errors import UserError
from train.presets import LEAST_EPOCHS, PRESETS
from train.quiet import native_silence


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="python -m train",
        description="Trains a student: python -m train --data home --out build/home",
        formatter_class=HelpFormatter,
    )
    top.add_argument(
        "what",
        nargs="?",
        choices=("student", "data", "search"),
        default="student",
        help="what to make: a student, its data alone, or a search for the best sizes within --budget",
    )
    top.add_argument(
        "--data",
        default="home",
        metavar="NAME|PATH",
        help=f"a named data set ({', '.join(datasets.NAMED)}), or a folder of JSON lines, hassil YAML or Rasa YAML",
    )
    top.add_argument(
        "--data-dir", type=Path, help="where local copies of public data sets lie, instead of downloading them"
    )
    top.add_argument("--language", default="en", help="language of generated data")
    top.add_argument(
        "--out", type=Path, help="folder for the result (default: build/NAME; build/NAME-LANGUAGE if it is not en)"
    )
    top.add_argument("--preset", choices=PRESETS, default="default", help="quick: weaker, sooner; large: up to 300 KB")
    top.add_argument(
        "--teacher",
        default="default",
        metavar="PATH|none",
        help="pretrained encoder to distil, of BERT's kind and in Hugging Face's layout; the default is MiniLM-L6 for "
        "English, none for other languages",
    )
    top.add_argument(
        "--soft-labels",
        type=whole(0),
        metavar="N",
        help="sentences that the teacher labels (default: the preset's; none where templates made the data)",
    )
    top.add_argument("--size", type=whole(1), help="training sentences to generate")
    top.add_argument("--epochs", type=whole(LEAST_EPOCHS), help="passes over the training data")
    top.add_argument(
        "--budget",
        metavar="100kB,1.0MMAC,5ms",
        help="what the student may cost, to which it is pruned: bytes of its bundle; multiply-accumulates and time "
        "on --chip at the median sentence; in a search, the most that any may cost",
    )
    top.add_argument("--chip", choices=CHIPS, default="esp32c3", help="whose time the budget means")
    top.add_argument(
        "--shape", metavar="JSON", help='sizes that differ from those of the preset: {"width": 80, "heads": [4, 4]}'
    )
    top.add_argument("--trials", type=whole(1), default=50, help="students that a search trains, in all its processes")
    top.add_argument("--seed", type=whole(0), default=1, help="of data, weights and order")
    return top


@reporting(interrupted="the same command goes on")
def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns its exit status."""
    options = parser().parse_args(arguments)
    console = Console(highlight=False, soft_wrap=True, markup=False)
    name = Path(os.path.abspath(options.data)).name  # "." and ".." have none
    out: Path = options.out or Path("build") / (name if options.language == "en" else f"{name}-{options.language}")
    budget = Budget.parse(options.budget) if options.budget is not None else None
    shape = _shape(options.shape) if options.shape else {}
    if options.what == "search":
        if not budget:
            raise UserError("a search needs a budget: --budget 160kB,10ms")
        if options.shape or options.soft_labels is not None:
            raise UserError(
                "a search chooses the sizes, and learns no soft labels: leave out --shape and --soft-labels"
            )
        out = options.out or out.with_name(f"{out.name}-search")
    folder = out if options.what == "data" else out / datasets.DATA
    read = Path(options.data).resolve() if options.data not in datasets.NAMED else None
    if options.what != "search" and folder.exists() and read == folder.resolve():
        raise UserError(f"the data that is read from {options.data} would be written over; give another --out")
    preset = PRESETS[options.preset]
    data = datasets.load(
        options.data,
        data_dir=options.data_dir,
        language=options.language,
        seed=options.seed,
        size=options.size or preset.size,
        cache_dir=datasets.CACHE,
    )
    if options.language not in ("en", data.language):
        raise UserError(f"{options.data} is in {data.language!r}, not {options.language!r}; leave out --language")
    if options.what == "data":
        datasets.save(data, out)
        console.print(f"{len(data.train):,} + {len(data.valid):,} + {len(data.test):,} sentences written to {out}")
        return 0
    known_texts = {example.text for example in data.train}
    for part in ("valid", "test"):
        if known := sum(example.text in known_texts for example in getattr(data, part)):
            console.print(f"{known:,} of {len(getattr(data, part)):,} sentences of {part} stand in training, too")
    preset = preset.asking(options.soft_labels, generated=data.generated)
    with native_silence():
        from train.pipeline import run
        from train.teacher import default_folder
        from train.training import Schedule

    if options.teacher == "default":
        teacher = default_folder() if data.english else None
        if not teacher:
            console.print(f"no teacher: MiniLM-L6 knows English, not {data.language!r}; --teacher PATH names another")
    else:
        teacher = None if options.teacher == "none" else Path(options.teacher)
    if options.soft_labels and not teacher:
        raise UserError("--soft-labels needs a teacher of the data's language: give one with --teacher PATH")
    if options.what == "search" and budget:
        return _search(options, data, budget, teacher, out, console)
    if teacher and preset.distillation.sentences and preset.distillation.public_text and not data.generated:
        data = datasets.with_public_text(data, options.data_dir, cache_dir=datasets.CACHE, say=console.print)
    epochs = options.epochs or preset.epochs(len(data.train))
    schedule = Schedule.of(preset, epochs, options.seed)
    run(
        data,
        out,
        preset=preset,
        schedule=schedule,
        console=console,
        teacher=teacher,
        shape=shape,
        budget=budget,
        chip=CHIPS[options.chip],
    )
    console.print(f"student written to {out}")
    return 0


def _shape(text: str) -> dict[str, Any]:
    """Sizes as a person writes them."""
    try:
        sizes = json.loads(text)
    except ValueError as error:
        raise UserError(f"--shape {text!r} is no JSON ({error})") from None
    lists = ("heads", "hidden")
    known = (
        "positions",
        "rows",
        "embed",
        "embed_bits",
        "width",
        "kernel",
        "head_width",
        "per_channel",
        "weight_bits",
        *lists,
    )

    def fits(name: str, value: Any) -> bool:
        if name == "per_channel":
            return isinstance(value, bool)
        values = value if name in lists and isinstance(value, list) and value else [value]
        return all(type(v) is int and v > 0 for v in values) and isinstance(value, list) == (name in lists)

    if not isinstance(sizes, dict) or not all(name in known and fits(name, v) for name, v in sizes.items()):
        raise UserError(
            f"--shape {text!r}: expected an object of positive numbers with names of {', '.join(known)}; "
            f"{' and '.join(lists)} are lists with a number for each layer, per_channel is true or false"
        )
    return {name: tuple(value) if name in lists else value for name, value in sizes.items()}


def _search(
    options: argparse.Namespace,
    data: datasets.DataSet,
    budget: Budget,
    teacher: Path | None,
    out: Path,
    console: Console,
) -> int:
    """Searches, and says what was found."""
    with native_silence():
        from train.search import Plan, digest_of, search, show
        from train.teacher import Teacher

    plan = Plan(
        data=options.data,
        language=data.language,
        budget=budget,
        chip=options.chip,
        epochs=options.epochs or max(LEAST_EPOCHS, PRESETS[options.preset].epochs(len(data.train)) // 4),
        seed=options.seed,
        teacher=Teacher(teacher, datasets.CACHE).digest if teacher else None,
        preset=options.preset,
        sentences=digest_of(data),
    )
    told = ("data", "data_dir", "language", "size", "seed", "preset", "teacher", "chip")
    values = {name: getattr(options, name) for name in told}
    arguments = [t for name, v in values.items() if v is not None for t in (f"--{name.replace('_', '-')}", str(v))]
    found = search(data, plan, out, trials=options.trials, teacher=teacher, arguments=arguments, console=console)
    show(found, console)
    console.print(f"written to {out}, with the command that trains each")
    return 0


if __name__ == "__main__":
    sys.exit(main())
