"""What the command line shows to a person: answers, tables, metrics. Plain text where the output is no
terminal.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from host.boards import BoardChoice
from host.client import Answer
from host.errors import AgentError
from train.command_line import visible
from train.examples import Example, Slot
from train.metrics import Metrics, Prediction, confusions, is_exact

_SLOT_STYLES = ("bold cyan", "bold magenta", "bold yellow", "bold green", "bold blue")
_CONFUSIONS = 8


class _Screen(Console):
    """Shows the control characters of a text instead of sending them; rich's own are no text. Those of strings are
    replaced before tables are laid out."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(visible(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=visible(segment.text))


_PIPED = 1000
"""Columns where nobody looks: what reads a pipe wants a line in one piece."""


def open_console(*, record: bool = False) -> Console:
    """Standard output. Names and sentences come from outside: they are no markup and do not steer the terminal."""
    piped = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    width = _PIPED if piped else None
    return _Screen(width=width, soft_wrap=True, highlight=False, markup=False, emoji=False, record=record)


def outcome_text(prompt: str, outcome: Answer | AgentError) -> Text:
    """The sentence with its slots marked, and a line on what it means."""
    if isinstance(outcome, AgentError):
        return Text.assemble(prompt, "\n  ", (f"{outcome.code}: {outcome.message}", "red"))
    intent = Text(outcome.intent, "bold green") if outcome.intent else Text("not understood", "bold red")
    if outcome.intent is None and outcome.best:
        intent.append(f" (closest: {outcome.best})", "dim")
    text = Text.assemble(_marked(prompt, outcome), "\n  ", intent, f"  {outcome.score:.2f}")
    for slot in outcome.slots:
        text.append(f"  {slot.slot}={slot.text if slot.value is None else slot.value}")
    for name, value in outcome.implied.items():
        text.append(f"  ({name}={value})", "dim")
    text.append(f"  {outcome.us / 1000:.1f} ms", "dim")
    return text


def _marked(prompt: str, answer: Answer) -> Text:
    text, end = Text(), 0
    for index, slot in enumerate(answer.slots):
        text.append(prompt[end : slot.start])
        text.append(f"[{slot.text}]", _SLOT_STYLES[index % len(_SLOT_STYLES)])
        text.append(slot.slot, "dim")
        end = slot.end
    return text.append(prompt[end:])


def record_table(record: dict[str, Any]) -> Table:
    """Names and values below each other."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for name, value in record.items():
        table.add_row(name, str(value))
    return table


def boards_table(choices: Sequence[BoardChoice]) -> Table:
    """What --board can be here."""
    table = Table.grid(padding=(0, 2))
    for choice in choices:
        table.add_row(Text(choice.board, "bold" if choice.available else "dim"), choice.description)
    return table


def metrics_table(metrics: Metrics) -> Table:
    """The figures of an evaluation."""
    inside, outside = metrics.in_scope, metrics.out_of_scope
    rows = [
        ("intent accuracy", percent(metrics.intent_accuracy)),
        ("slot F1", percent(metrics.slot_f1)),
        ("exact", percent(metrics.exact)),
        ("implied slots", percent(metrics.implied_accuracy)),
        ("slot values", percent(metrics.value_accuracy)),
        ("in scope, rejected", f"{inside.rejected} of {inside.n}"),
        ("out of scope, accepted", f"{outside.accepted} of {outside.n}"),
        (
            "device time, p50 / p95",
            f"{_milliseconds(metrics.device_us.p50)} / {_milliseconds(metrics.device_us.p95)}",
        ),
        ("errors", str(metrics.errors)),
    ]
    table = Table(title=f"{metrics.n} sentences", title_justify="left", show_header=False)
    for name, value in rows:
        table.add_row(name, value)
    return table


def print_mistakes(
    console: Console, examples: Sequence[Example], predictions: Sequence[Prediction], limit: int
) -> None:
    """The most frequent confusions of intents and the first ``limit`` sentences that are not exactly
    right.
    """
    wrong = confusions(examples, predictions).most_common(_CONFUSIONS)
    if wrong:
        table = Table(title="intents confused", title_justify="left")
        for column in ("count", "gold", "predicted"):
            table.add_column(column)
        for (gold, guess), count in wrong:
            table.add_row(str(count), gold or "(out of scope)", guess or "(rejected)")
        console.print(table)
    shown = 0
    for example, prediction in zip(examples, predictions, strict=True):
        if shown == limit:
            break
        if not is_exact(example, prediction):
            shown += 1
            console.print(Text(example.text, "bold"))
            console.print(Text(f"  gold       {_label(example.text, example.intent, example.slots)}"))
            guess = prediction.error or _label(example.text, prediction.intent, prediction.slots)
            console.print(Text(f"  predicted  {guess}"))


def _label(text: str, intent: str | None, slots: Sequence[Slot]) -> str:
    return "  ".join([intent or "(none)", *(f"{slot.slot}={text[slot.start : slot.end]}" for slot in slots)])


def percent(share: float | None) -> str:
    """A share of one, or a dash where there is none."""
    return "–" if share is None else f"{100 * share:.2f}%"


def _milliseconds(us: float | None) -> str:
    return "–" if us is None else f"{us / 1000:.2f} ms"
