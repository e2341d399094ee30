"""The report: one HTML page about an agent, from ``student.json``, ``metrics.json`` and results of benchmarks.

It needs nothing but a browser: pictures are SVG in the page, colours follow its light or dark scheme, nothing runs and
nothing is loaded.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from statistics import mean
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from convert.results import PUBLISHED, STEPS, Results, effects_table, figure_of, labels_table, table
from train.labels import Labels

INTENTS = 12
"""The most confused ones, which the matrix shows beside null."""
CONFUSIONS = 12
ENCODER = {
    "matmul": "matrices",
    "norm": "norms",
    "add": "residual sums",
    "logits": "attention logits",
    "softmax": "softmax",
    "context": "attention context",
    "layers": "all between",
}
"""Kinds of instructions that are the encoder's, as convert.bench names them and as readers do."""
_AROUND = {
    "protocol": "line protocol",
    "text": "word pieces",
    "embedding": "embeddings",
    "decoding": "decoding",
}
SLOTS = 6
"""The worst ones, which are shown with sentences ..."""
COMMON = 10
"""... of those that so many spans have."""
NULL = "null"

_INK, _FAINT, _FIRST, _SECOND, _SHADE = "#010101", "#020202", "#030303", "#040404", "#050505"
_VARIABLES = {_INK: "--ink", _FAINT: "--line", _FIRST: "--first", _SECOND: "--second", _SHADE: "--shade"}
"""What the pictures are drawn with, and the page's variables that take its place."""

_ACTIVATIONS = {"masked": "attention logits", "attended": "sum with attention", "fed": "sum with feed-forward"}
"""What readers know by another name than the code's."""

_COLOURS = """
:root { color-scheme: light dark; --paper: #fcfcfa; --ink: #1c2024; --soft: #5b6570; --line: #d9dcdf; --panel: #f2f3f1;
  --first: #14629c; --second: #c2500b; --shade: #e4edf4; --good: #1c7a3e; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --paper: #15181b; --ink: #e6e8ea; --soft: #9da7b1; --line: #383f46;
  --panel: #1e2226; --first: #6db3ea; --second: #f0935a; --shade: #203040; --good: #6cc68b; --bad: #f28b82; } }
"""

_STYLE = """
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.2rem clamp(.9rem, 3vw, 2.5rem) 4rem; max-width: 78rem; background: var(--paper);
  color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.7rem; margin: 0; } h2 { font-size: 1.25rem; margin: 2.8rem 0 .3rem; }
h3 { font-size: 1rem; margin: 0; }
p { max-width: 46rem; margin: .4rem 0 1rem; } .soft, caption, figcaption { color: var(--soft); font-size: .9rem; }
.warning { border-left: 4px solid var(--bad); padding-left: .8rem; }
nav { display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; margin: .8rem 0 1.4rem; }
a { color: var(--first); }
.grid { display: grid; gap: 1.5rem 2rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 21rem), 1fr));
  align-items: start; }
.tiles { display: grid; gap: .7rem; grid-template-columns: repeat(auto-fill, minmax(8rem, 1fr)); margin: 0; }
.tiles div { background: var(--panel); border-radius: .5rem; padding: .6rem .8rem; display: flex;
  flex-direction: column-reverse; justify-content: flex-end; }
.tiles dt { color: var(--soft); font-size: .85rem; line-height: 1.3; }
.tiles dd { margin: 0; font-size: 1.45rem; font-variant-numeric: tabular-nums; }
figure { margin: 0; max-width: 34rem; } svg { width: 100%; height: auto; display: block; }
figcaption { margin-top: .2rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem; }
caption { text-align: left; padding-bottom: .3rem; }
th, td { padding: .22rem .9rem .22rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
th { font-weight: 500; } td.n, th.n { text-align: right; white-space: nowrap; }
.grid table { width: 100%; } .grid ~ .grid { margin-top: 1.5rem; } .wide { overflow-x: auto; }
.bar { display: block; height: .7rem; margin-top: .4rem; background: var(--first); border-radius: 2px;
  width: max(1px, var(--share)); }
td.bars { width: 40%; } td:last-child, th:last-child { padding-right: 0; } .pairs td:last-child { text-align: right; }
.columns { columns: 21rem; column-gap: 2rem; } .columns li { break-inside: avoid; margin-bottom: .5rem; }
.columns table { width: 100%; break-inside: avoid; margin-bottom: 1.5rem; }
h3 .soft { font-weight: 400; } .wide + h3, .grid + h3 { margin-top: 1.6rem; } h3 + .wide { margin-top: .5rem; }
.wide + .grid, .grid + .wide, .wide + .wide { margin-top: 1.5rem; }
.matrix th, .matrix td, .matrix td:last-child { padding: .15rem .35rem; border: 1px solid var(--line); }
.matrix td { text-align: center; min-width: 2.4rem; }
.matrix thead th { writing-mode: vertical-rl; transform: rotate(180deg); text-align: left; vertical-align: bottom;
  border: 0; padding: .35rem .15rem; white-space: nowrap; }
.matrix thead td { border: 0; }
.matrix tbody th { position: sticky; left: 0; background: var(--paper); text-align: right; white-space: nowrap; }
.matrix tbody th, .matrix thead th { font-size: .82rem; }
.matrix .wrong { background: color-mix(in srgb, var(--second) calc(var(--share) * .8), transparent); }
.matrix .right { background: color-mix(in srgb, var(--first) calc(var(--share) * .6), transparent); }
.said { margin: .5rem 0 0; display: grid; grid-template-columns: auto 1fr; gap: 0 .7rem; font-size: .95rem; }
.said dt { color: var(--soft); font-size: .82rem; padding-top: .1rem; } .said dd { margin: 0; }
mark { background: var(--shade); color: inherit; border-radius: 3px; padding: 0 .15rem; }
mark.it { outline: 1.5px solid var(--second); } mark small { color: var(--soft); padding-left: .25rem; }
ul { margin: .3rem 0; padding-left: 1.1rem; } li { margin: .15rem 0; } details { margin: 1rem 0; }
summary { cursor: pointer; color: var(--first); }
"""


def page(
    record: Mapping[str, Any],
    metrics: Mapping[str, Any],
    benchmarks: Sequence[Results] = (),
    bench: Mapping[str, Any] | None = None,
) -> str:
    """The page.

    Args:
        record: ``student.json``.
        metrics: ``metrics.json``.
        benchmarks: what each step of compression gave and cost; those of the agent's own data come first.
        bench: what the engine costs with this agent, of ``bench.json``; None if it was not counted.
    """
    with matplotlib.rc_context(_RC):
        sections = [
            ("trained", "What was trained on what", _trained(record, metrics)),
            ("answers", "What it answers", _answers(Labels.from_json(record["labels"]))),
            ("learning", "Learning", _learning(record["history"])),
            ("intents", "Confused intents", _intents(metrics)),
            ("slots", "Slots", _slots(metrics["slots"])),
            ("rejection", "Score and rejection", _rejection(metrics)),
            ("rounding", "What int8 changes", _rounding(metrics)),
            ("size", "Size", _size(metrics)),
            ("instructions", "Instructions", _instructions(bench)),
        ]
        if benchmarks:
            own_first = sorted(benchmarks, key=lambda b: b.data != record["data"])
            sections.append(("compression", "What compression gives and costs", _compression(own_first)))
    title = f"{escape(metrics['name'])}: report"
    links = "".join(f'<a href="#{key}">{heading}</a>' for key, heading, _ in sections)
    body = "".join(f'<section id="{key}"><h2>{heading}</h2>{content}</section>\n' for key, heading, content in sections)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{_COLOURS}{_STYLE}</style></head>\n"
        f"<body><h1>{title}</h1>{_summary(metrics)}<nav>{links}</nav>\n{body}</body></html>\n"
    )


# ---- sections ----


def _summary(metrics: Mapping[str, Any]) -> str:
    figures, size = metrics["firmware"], metrics["bytes"]
    inside, outside = figures["in_scope"], figures["out_of_scope"]
    tiles = [
        ("intent right", _percent(figures["intent_accuracy"])),
        ("slot F1", _percent(figures["slot_f1"])),
        ("intent and all slots right", _percent(figures["exact"])),
        ("commands rejected", _percent(_share(inside["rejected"], inside["n"]))),
        ("other sentences accepted", _percent(_share(outside["accepted"], outside["n"]))),
        ("agent bundle", _kilobytes(size["bundle"])),
        ("working memory", _kilobytes(metrics["arena"]["firmware"])),
        ("threshold", f"{metrics['threshold']:g}"),
    ]
    if metrics["data"]["valid"]["sentences"]:
        note = (
            f"<p>As the firmware answers, with its threshold and its decoding of slots, on {figures['n']:,} sentences "
            "of the validation part. Training learned from none of them that does not stand in it, too, but the "
            "score was fitted to them; the test part is left to <code>python -m host eval</code>.</p>"
        )
    else:
        note = (
            '<p class="warning">This data has no validation part: sentences of training stand in, which the '
            "agent has learned from. Every figure of accuracy on this page is better than the truth.</p>"
        )
    return note + _tiles(tiles)


def _trained(record: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    parts = [(name, f"{part['sentences']:,}", f"{part['out_of_scope']:,}") for name, part in metrics["data"].items()]
    shape, schedule, labels = record["shape"], record["schedule"], record["labels"]
    macs = [(f"multiplications, {int(n) - 1} words", f"{value:,}") for n, value in metrics["macs"].items()]
    agent = [
        ("intents", len(labels["intents"])),
        ("slots", len(labels["slots"])),
        ("parameters", f"{metrics['parameters']:,}"),
        *macs,
        *_flat(shape),
    ]
    provenance = record["provenance"]
    tables = [
        _table(("part", "sentences", "out of scope"), parts, caption="Data"),
        _table(None, _flat(provenance["data"]), caption="Where the data is from"),
        _table(None, agent, caption="Student"),
        _table(None, _flat({"sentences, as written": record["lessons"], **schedule}), caption="Training"),
        *([_table(None, _flat(record["teacher"]), caption="Teacher")] if record["teacher"] else []),
        _table(None, _flat(provenance["versions"]), caption="Versions"),
    ]
    what = f"{record['data']}, language {record['language']}"
    return f'<p class="soft">{escape(what)}.</p><div class="columns">{"".join(tables)}</div>'


def _answers(labels: Labels) -> str:
    def names(slots: Iterable[int]) -> str:
        return ", ".join(labels.slots[slot] for slot in slots)

    rows = [
        (
            labels.intents[intent],
            ", ".join(f"{slot}={value}" for slot, value in implied),
            names(needed),
            names(slot for slot in legal if slot not in needed),
        )
        for (intent, implied), legal, needed in zip(labels.classes, labels.legal, labels.needed, strict=True)
        if intent is not None
    ]
    return (
        f"<p>{len(labels.intents)} intents, by what they imply {len(rows)} classes. An answer is one of them, with "
        "slots that training saw it with.</p><details><summary>All of them</summary>"
        + _table(("intent", "implied", "slots it always has", "slots it may have"), rows)
        + "</details>"
    )


def _learning(history: Sequence[Mapping[str, Any]]) -> str:
    epochs = [epoch["epoch"] for epoch in history]
    begin = next((epoch["epoch"] for epoch in history if epoch["quantized"]), None)

    def picture(lines: Iterable[tuple[str, str, str]], *, percent: bool) -> str:
        figure, axes = _axes("epoch")
        for key, label, colour in lines:
            values = [epoch[key] for epoch in history]
            axes.plot(epochs, values, color=colour, marker="o", markersize=3.5, label=label)
        if begin is not None:
            axes.axvspan(begin - 0.5, epochs[-1] + 0.5, color=_SHADE, zorder=0)
            axes.text(begin - 0.4, 1.01, "int8", transform=axes.get_xaxis_transform())
        axes.set_xlim(epochs[0] - 0.5, epochs[-1] + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if percent:
            axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
            axes.legend(loc="lower right", frameon=False)
        return _svg(figure)

    accuracy = (("valid_intent", "intent right", _FIRST), ("valid_exact", "intent and all slots right", _SECOND))
    return (
        "<p>Where the ground is shaded, activations and weights are rounded as on the chip. Validation counts "
        "sentences out of scope too; nothing is rejected by a threshold here.</p>"
        f'<div class="grid">{_figure(picture([("loss", "loss", _FIRST)], percent=False), "Loss in training")}'
        f"{_figure(picture(accuracy, percent=True), 'Validation')}</div>"
    )


def _intents(metrics: Mapping[str, Any]) -> str:
    confusions = metrics["confusions"]
    if not confusions:
        return "<p>Not one intent is confused with another.</p>"
    weight: dict[str | None, int] = {}
    for row in confusions:
        for intent in (row["gold"], row["guess"]):
            weight[intent] = weight.get(intent, 0) + row["n"]
    named = sorted((i for i in weight if i is not None), key=lambda i: -weight[i])[:INTENTS]
    shown: list[str | None] = [*named, None]
    totals = {row["intent"]: row for row in metrics["intents"]}
    counts = {(row["gold"], row["guess"]): row["n"] for row in confusions}
    counts.update({(intent, intent): row["right"] for intent, row in totals.items()})

    def cell(count: int, kind: str, total: int) -> str:
        if not count:
            return "<td></td>"
        # The square root lets a few mistakes be seen beside many right answers.
        return f'<td class="{kind}" style="--share:{100 * (count / total) ** 0.5:.0f}%">{count}</td>'

    rows = []
    for gold in shown:
        total = totals.get(gold, {"n": 0})["n"]
        others = total - sum(counts.get((gold, guess), 0) for guess in shown)
        cells = "".join(cell(counts.get((gold, g), 0), "right" if g == gold else "wrong", total) for g in shown)
        rows.append(f"<tr><th>{_intent(gold)}</th>{cells}{cell(others, 'wrong', total)}</tr>")
    head = "".join(f"<th>{_intent(intent)}</th>" for intent in shown)
    matrix = (
        '<div class="wide"><table class="matrix">'
        f"<thead><tr><td></td>{head}<th>others</th></tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )
    pairs = "".join(
        f"<li>{row['n']:,} × {_intent(row['gold'])} → {_intent(row['guess'])}"
        f'<div class="soft">{"<br>".join(map(escape, row["examples"]))}</div></li>'
        for row in confusions[:CONFUSIONS]
    )
    per_intent = [
        (_intent(row["intent"]), f"{row['n']:,}", _percent(_share(row["right"], row["n"])))
        for row in sorted(metrics["intents"], key=lambda row: (row["right"] / row["n"], -row["n"]))
    ]
    return (
        f"<p>Intents with most confusions, {len(named)} of them. A row is what was meant, a column what the agent "
        "answered; <i>null</i> is out of scope as a row, rejected as a column."
        f'</p>{matrix}<h3>Most frequent: meant → answered</h3><ul class="columns">{pairs}</ul>'
        f"<details><summary>All {len(per_intent)} intents</summary>"
        + _table(("intent", "sentences", "right"), per_intent, markup=True)
        + "</details>"
    )


def _slots(slots: Sequence[Mapping[str, Any]]) -> str:
    if not slots:
        return "<p>These sentences have no slots.</p>"
    worst = [row for row in slots if row["examples"] and row["gold"] >= COMMON][:SLOTS]
    cards = "".join(
        f"<div><h3>{escape(row['slot'])} <span class=soft>F1 {_percent(row['f1'])}, {row['gold']:,} in the data</span>"
        f"</h3>{''.join(_said(example, row['slot']) for example in row['examples'])}</div>"
        for row in worst
    )
    rows = [
        (
            row["slot"],
            f"{row['gold']:,}",
            _percent(_share(row["right"], row["found"])),
            _percent(_share(row["right"], row["gold"])),
            _percent(row["f1"]),
        )
        for row in slots
    ]
    return (
        f"<p>The worst by F1 of those that occur at least {COMMON} times, with sentences whose intent is right and "
        "whose slot is not. The figures count every sentence: a rejected command has lost its slots.</p>"
        f'<div class="grid">{cards}</div><details><summary>All {len(rows)} slots</summary>'
        + _table(("slot", "in the data", "precision", "recall", "F1"), rows)
        + "</details>"
    )


def _rejection(metrics: Mapping[str, Any]) -> str:
    calibration, threshold = metrics["calibration"], metrics["threshold"]
    intro = (
        f"<p>The score weighs the best intent against “out of scope”, and {metrics['others']:g} times against other "
        f"intents; with 1 it is the intent's probability. The temperature {metrics['temperature']:.2f} is fitted to "
        f"validation, and what a class's best slots lack in likelihood counts {metrics['tag_weight']:g} times against "
        f"it. It differs from the share right by {_percent(calibration['expected_error'])} on average."
    )
    pictures = [_figure(_reliability(calibration["reliability"]), "Of sentences with such a score, so many are right")]
    outside = metrics["firmware"]["out_of_scope"]
    lists = ""
    if outside["n"]:
        intro += (
            f" What has less than {threshold:g} is rejected; <code>python -m convert --threshold</code> changes that."
        )
        pictures += [
            _figure(_against_threshold(calibration["curve"], threshold), "What each threshold does"),
            _figure(_trade_off(calibration["curve"], threshold, metrics), "The same as a trade-off"),
        ]
        lists = '<div class="grid">' + "".join(
            f"<div><h3>{title}</h3>{_mistakes(calibration[key])}</div>"
            for key, title in (("accepted", "Accepted, but out of scope"), ("rejected", "Rejected, but commands"))
        )
        lists += "</div>"
    else:
        intro += " Validation has no sentence out of scope" + (
            f": what {threshold:g} accepts of them is not known." if threshold else ", and everything is accepted."
        )
    return f'{intro}</p><div class="grid">{"".join(pictures)}</div>{lists}'


def _reliability(bins: Sequence[Mapping[str, Any]]) -> str:
    figure, axes = _axes("score", "share right")
    axes.plot([0, 1], [0, 1], color=_FAINT, linestyle="--")
    axes.plot([b["score"] for b in bins], [b["right"] for b in bins], color=_FIRST, zorder=3)
    most = max((b["n"] for b in bins), default=1)
    sizes = [20 + 180 * b["n"] / most for b in bins]
    axes.scatter([b["score"] for b in bins], [b["right"] for b in bins], sizes, color=_FIRST, zorder=3)
    for b in bins:
        below = b["right"] > 0.5
        offset, align = ((0, -12), "top") if below else ((0, 9), "bottom")
        axes.annotate(
            f"{b['n']:,}",
            (b["score"], b["right"]),
            offset,
            textcoords="offset points",
            ha="center",
            va=align,
            fontsize=9,
        )
    axes.set(xlim=(0, 1.04), ylim=(0, 1.08))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    return _svg(figure)


def _against_threshold(curve: Sequence[Sequence[float]], threshold: float) -> str:
    figure, axes = _axes("threshold")
    thresholds, rejected, accepted = zip(*curve, strict=True)
    axes.plot(thresholds, rejected, color=_FIRST, label="commands rejected")
    axes.plot(thresholds, accepted, color=_SECOND, label="others accepted")
    axes.axvline(threshold, color=_INK, linewidth=1)
    axes.set(xlim=(0, 1), ylim=(0, 0.3))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.legend(loc="upper center", frameon=False)
    return _svg(figure)


def _trade_off(curve: Sequence[Sequence[float]], threshold: float, metrics: Mapping[str, Any]) -> str:
    figure, axes = _axes("others accepted", "commands rejected")
    inside, outside = metrics["firmware"]["in_scope"], metrics["firmware"]["out_of_scope"]
    x, y = outside["accepted"] / outside["n"], _share(inside["rejected"], inside["n"]) or 0.0
    axes.plot([a for _, _, a in curve], [r for _, r, _ in curve], color=_FIRST)
    limits = (max(0.05, 2.5 * x), max(0.05, 2.5 * y))
    for t, r, a in curve[::10]:
        if a < limits[0] and r < limits[1] and abs(t - threshold) > 0.06:
            axes.plot(a, r, "o", color=_FIRST, markersize=4)
            axes.annotate(f"{t:.1f}", (a, r), (5, 4), textcoords="offset points", fontsize=9)
    axes.plot(x, y, "o", color=_SECOND, markersize=7)
    axes.annotate(f"{threshold:g}, chosen", (x, y), (8, 5), textcoords="offset points", color=_SECOND)
    axes.set(xlim=(0, limits[0]), ylim=(0, limits[1]))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=0 if max(limits) > 0.06 else 1))
    return _svg(figure)


def _rounding(metrics: Mapping[str, Any]) -> str:
    valid, logits = metrics["validation"], metrics["rounding"]["logits"]
    accuracy = [
        (title, _percent(valid["float"][key]), _percent(valid["int8"][key]))
        for key, title in (("intent", "intent right"), ("exact", "intent and all slots right"))
    ]
    heads = [
        (title, _percent(logits[key]["error"]), f"{logits[key]['steps']:.2f}", _percent(logits[key]["same"]))
        for key, title in (("classes", "of the intent"), ("tags", "of the slots"))
    ]
    activations = metrics["rounding"]["activations"]
    most = max(a["error"] for a in activations)
    parts = "".join(
        _table(
            ("activation", "error", "", "beyond"),
            [
                (
                    escape(_ACTIVATIONS.get(a["name"], a["name"].replace("_", " "))),
                    _percent(a["error"]),
                    _bar(a["error"] / most),
                    _percent(a["beyond"], 2) if a["beyond"] >= 5e-5 else "",
                )
                for a in activations
                if a["part"] == part
            ],
            caption=part,
            markup=True,
        )
        for part in dict.fromkeys(a["part"] for a in activations)
    )
    return (
        "<p>The same weights with nothing rounded, and as TFLite Micro and the firmware compute them. Training knew of "
        "the rounding in its last epochs, so that float is no upper bound; here nothing is rejected.</p>"
        '<div class="grid">'
        + _table(("validation", "float", "int8"), accuracy)
        + _table(("logits", "error", "steps", "same choice"), heads)
        + "</div><p>Error: root mean square of the difference, over that of the float value, the error of all that "
        "comes before included. Steps: mean absolute difference in steps of int8. Beyond: values outside the learned "
        f"range, which int8 clips.</p><div class=columns>{parts}</div>"
    )


def _size(metrics: Mapping[str, Any]) -> str:
    sizes = {name: size for name, size in metrics["bytes"].items() if name != "bundle"}
    weights = metrics["weights"]

    def rows(items: Sequence[tuple[str, int]]) -> list[tuple[str, str, str]]:
        most = max(size for _, size in items)
        return [(escape(name), f"{size:,}", _bar(size / most)) for name, size in items]

    sections = sorted(sizes.items(), key=lambda item: -item[1])
    matrices = [(f"{w['part']}: {w['name'].replace('_', ' ')}", w["bytes"]) for w in weights]
    operators = sorted(metrics["operators"].items(), key=lambda item: (-item[1], item[0]))
    arena = metrics["arena"]
    memory = [("of the firmware", f"{arena['firmware']:,}"), ("of TFLite Micro", f"{arena['tflite_micro']:,}")]
    return (
        f"<p>The bundle has {metrics['bytes']['bundle']:,} bytes of flash, used in place. The embedding table is in "
        "<i>features</i>; every other weight is in <i>flatbuffer</i>, beside what TFLite needs to know of them.</p>"
        '<div class="columns">'
        + _table(("section", "bytes", ""), rows(sections), caption="The bundle", markup=True)
        + _table(("weights", "bytes", ""), rows(matrices), caption="Where the weights are", markup=True)
        + _table(("operator", "times"), operators, caption="TFLite operators of the encoder")
        + _table(("working memory", "bytes"), memory, caption="RAM for a sentence of full length")
        + "</div>"
    )


def _instructions(bench: Mapping[str, Any] | None) -> str:
    if bench is None:
        return (
            "<p>Where the firmware's instructions go is not counted yet for this very agent: <code>make bench</code>, "
            "or <code>python -m convert.bench</code> and the bundle's path, counts them and draws them here.</p>"
        )
    whole = bench["line_to_answer"]
    path, most = whole["rv32imc"], max(whole["rv32imc"].values())
    kinds = [
        (name, f"{path[kind] / 1000:,.0f}", _bar(path[kind] / most))
        for kind, name in (ENCODER | _AROUND).items()
        if path[kind]
    ]
    rows = []
    for n, by_kind in bench["rv32imc"].items():
        total, flash = sum(by_kind.values()), bench["flash"].get(n, {})
        fetched = [f"{flash[key]:,}" for key in ("fetched", "weights_in_sram") if flash]
        rows.append((n, f"{total / 1000:,.0f}", f"{total / bench['macs'][n]:.2f}", *fetched))
    head = ["positions", "thousands", "per MAC"]
    note = ""
    if bench["flash"]:
        head += ["lines", "copied"]
        note = (
            " Lines: how often a cache like the chip's fetches 32 bytes of flash with the weights there. Copied: "
            "the same with a copy of the weights in SRAM, which the firmware for this chip makes."
        )
    return (
        "<p>Executed instructions, counted in QEMU with a processor like the ESP32-C3's (rv32imc). Positions are the "
        f'words of a sentence and one for the sentence itself.{note}</p><div class="grid">'
        + f"<div>{_figure(_svg(instructions_by_kind({'': bench})), 'The encoder, by positions')}<br>"
        + f'<div class="wide">{_table(head, rows)}</div></div>'
        + _table(
            ("line to answer", "thousands", ""),
            kinds,
            caption=f"“{whole['sentence']}”: {sum(path.values()) / 1e6:.2f} million instructions",
            markup=True,
        )
        + "</div>"
    )


def _compression(benchmarks: Sequence[Results]) -> str:
    text = (
        "<p>Models that were made alike but for one step, each with several seeds: mean and standard deviation, in "
        "percent. Float: nothing is rounded, and a parameter has four bytes. Int8: the agent bundle, as the native "
        "firmware answers. MACs: multiply-accumulates for a sentence of median length.</p>"
    )
    for data in dict.fromkeys(b.data for b in benchmarks):
        amounts = [b for b in benchmarks if b.data == data]
        text += "".join(_steps(results) for results in amounts if results.labels_per_intent is None)
        if any(results.labels_per_intent for results in amounts):
            text += _few_labels(amounts)
        text += _published(data)
    return text


def _steps(results: Results) -> str:
    effects = effects_table(results)
    return (
        f'<h3>{escape(results.data)} <span class="soft">{_measured(results)}</span></h3>'
        f'<div class="wide">{_table(*table(results))}</div>'
        f'<div class="grid">{_figure(_svg(size_against_accuracy(results)), "Size against accuracy")}'
        + (_table(*effects, caption="What each step changes, in points, seed by seed") if effects[1] else "")
        + "</div>"
    )


def _few_labels(amounts: Sequence[Results]) -> str:
    kind = "intent and all slots right" if figure_of(amounts[0]) == "exact" else "intent right"
    return (
        f"<h3>{escape(amounts[0].data)}, few labels "
        f'<span class="soft">{_measured(amounts[-1])}; {kind}</span></h3>'
        "<p>Only so many sentences of every intent keep their label; the others are text that the teacher, fine-tuned "
        f'on the few, labels for the distilled student.</p><div class="wide">{_table(*labels_table(amounts))}</div>'
    )


def _published(data: str) -> str:
    rows = [
        (
            p.name,
            *(_percent(share) for share in (p.intent_accuracy, p.slot_f1, p.exact)),
            f"{p.parameters:,}" if p.parameters else "–",
            p.source,
        )
        for p in PUBLISHED
        if p.data == data
    ]
    head = ("", "intent", "slot F1", "exact", "parameters", "source")
    if not rows:
        return ""
    return f'<div class="wide">{_table(head, rows, caption=f"Models of others on {data}, as published")}</div>'


def _measured(results: Results) -> str:
    seeds = len({m.seed for m in results.models})
    return f"{results.sentences[results.part]:,} sentences of the {results.part} part, {seeds} seed{'s' * (seeds > 1)}"


# ---- pieces of HTML ----


def _table(
    head: Sequence[str] | None, rows: Iterable[Sequence[Any]], *, caption: str = "", markup: bool = False
) -> str:
    """Cells are text, or HTML if ``markup``; those that begin with a digit are set as numbers."""

    def cell(value: Any) -> str:
        text = str(value)
        if text.startswith("<span class=bar"):
            return f'<td class="bars">{text}</td>'
        number = re.fullmatch(r"[+-]?[\d.,]+( ± [\d.]+)?( ?%| KB)?|–", text) is not None
        return f"<td{' class=n' if number else ''}>{text if markup else escape(text)}</td>"

    body = [[cell(value) for value in row] for row in rows]
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    numeric = [bool(body) and any(row[i].startswith("<td class=n") for row in body) for i in range(len(head or ()))]
    names = "".join(f"<th{' class=n' if n else ''}>{escape(h)}</th>" for h, n in zip(head or (), numeric, strict=True))
    lines = "".join(f"<tr>{''.join(row)}</tr>" for row in body)
    top = f"<thead><tr>{names}</tr></thead>" if head else ""
    return f"<table{'' if head else ' class=pairs'}>{title}{top}<tbody>{lines}</tbody></table>"


def _tiles(tiles: Iterable[tuple[str, str]]) -> str:
    return f'<dl class="tiles">{"".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in tiles)}</dl>'


def _figure(svg: str, caption: str) -> str:
    return f"<figure>{svg}<figcaption>{caption}</figcaption></figure>"


def _bar(share: float) -> str:
    return f'<span class=bar style="--share:{100 * share:.1f}%"></span>'


def _said(example: Mapping[str, Any], slot: str) -> str:
    """A sentence as it is labelled and as it was answered; the slot that matters stands out."""
    lines = (("meant", example["gold"]), ("answered", example["guess"]))
    return (
        '<dl class="said">'
        + "".join(f"<dt>{name}</dt><dd>{_marked(example['text'], spans, slot)}</dd>" for name, spans in lines)
        + "</dl>"
    )


def _marked(text: str, spans: Sequence[Mapping[str, Any]], slot: str) -> str:
    pieces, end = [], 0
    for span in sorted(spans, key=lambda s: int(s["start"])):
        emphasis = ' class="it"' if span["slot"] == slot else ""
        pieces.append(escape(text[end : span["start"]]))
        inside = escape(text[span["start"] : span["end"]])
        pieces.append(f"<mark{emphasis}>{inside}<small>{escape(span['slot'])}</small></mark>")
        end = span["end"]
    return "".join(pieces) + escape(text[end:])


def _mistakes(sentences: Sequence[Mapping[str, Any]]) -> str:
    if not sentences:
        return '<p class="soft">None.</p>'
    items = ""
    for s in sentences:
        meant = "" if s["gold"] in (None, s["best"]) else f", meant {_intent(s['gold'])}"
        items += f"<li>{escape(s['text'])} <span class=soft>{_intent(s['best'])} {s['score']:.2f}{meant}</span></li>"
    return f"<ul>{items}</ul>"


def _intent(name: str | None) -> str:
    return f"<i>{NULL}</i>" if name is None else escape(name)


def _flat(record: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Names and values of nested objects; what is empty is left out."""
    rows: list[tuple[str, str]] = []
    for key, value in record.items():
        name = f"{prefix}{key.replace('_', ' ')}"
        if isinstance(value, Mapping):
            rows += _flat(value, f"{name}: ")
        elif isinstance(value, list):
            rows.append((name, ", ".join(map(str, value))))
        elif isinstance(value, bool):
            rows.append((name, "yes" if value else "no"))
        elif value not in (None, ""):
            rows.append((name, f"{value:,}" if isinstance(value, int) else str(value)))
    return rows


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _percent(value: float | None, decimals: int = 1) -> str:
    return "–" if value is None else f"{value:.{decimals}%}"


def _kilobytes(count: int) -> str:
    return f"{count / 1000:.1f} KB"


# ---- pictures ----


def _axes(x: str, y: str | None = None) -> tuple[Figure, Any]:
    """A picture that is still readable at the width of a phone."""
    figure = Figure(figsize=(5, 3.3), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel(x)
    if y:
        axes.set_ylabel(y)
    return figure, axes


_MARKERS = {"teacher": "s", "labels": "v", "distilled": "o", "pruned": "D"}


def size_against_accuracy(results: Results) -> Figure:
    """Bytes of every row against the figure that counts most, published models beside it."""
    name = figure_of(results)
    figure, axes = _axes("bytes", "intent and all slots right" if name == "exact" else "intent right")
    axes.set_xscale("log")
    sizes: list[float] = []
    for step, rounding in results.rows():
        estimate = results.estimate(step, rounding, name)
        if estimate is None:
            continue
        sizes.append(size := mean(m.bytes for m in results.of(step, rounding)))
        colour, fill = (_SECOND, _SECOND) if rounding == "int8" else (_FIRST, "none")
        axes.errorbar(size, estimate.mean, estimate.spread, color=colour, capsize=3, zorder=3)
        axes.plot(
            size,
            estimate.mean,
            _MARKERS[step],
            color=colour,
            markerfacecolor=fill,
            markersize=7,
            zorder=4,
            label=f"{STEPS[step]}, {rounding}",
        )
    others = [
        (value, p.bytes, p.name)
        for p in PUBLISHED
        if p.data == results.data and p.bytes and (value := getattr(p, name)) is not None
    ]
    for i, (value, size, model) in enumerate(sorted(others, reverse=True)):
        axes.plot(size, value, "x", color=_INK)
        sizes.append(size)
        up = 5 if i == 0 else -5
        axes.annotate(
            model,
            (size, value),
            (-6, up),
            textcoords="offset points",
            ha="right",
            va="center",
            fontsize=9,
        )
    axes.xaxis.set_major_formatter(FuncFormatter(lambda size, _: _bytes(size)))
    axes.set_xlim(min(sizes) / 1.6, 1.6 * max(sizes))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return figure


def instructions_by_kind(agents: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Where the encoder's instructions go, by positions: a diagram for each agent of ``bench.json``, under its name."""
    shades = [*((c, a) for c in (_FIRST, _SECOND) for a in (1.0, 0.55, 0.25)), (_INK, 0.5)]
    figure = Figure(figsize=(5 * len(agents), 4), layout="constrained")
    plots = figure.subplots(1, len(agents), sharey=True, squeeze=False)[0]
    for axes, (name, figures) in zip(plots, agents.items(), strict=True):
        counts = figures["rv32imc"]
        base = [0.0] * len(counts)
        for (kind, label), (colour, alpha) in zip(ENCODER.items(), shades, strict=True):
            heights = [by_kind[kind] / 1e6 for by_kind in counts.values()]
            axes.bar(list(counts), heights, bottom=base, label=label, color=colour, alpha=alpha, zorder=2)
            base = [b + h for b, h in zip(base, heights, strict=True)]
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(visible=False)
        axes.set(title=name, xlabel="positions")
    plots[0].set_ylabel("million instructions")
    handles, labels = plots[0].get_legend_handles_labels()
    plots[0].legend(handles[::-1], labels[::-1], loc="upper left", frameon=False, fontsize=9)
    return figure


def picture(results: Results) -> str:
    """Size against accuracy as an SVG file."""
    with matplotlib.rc_context(_RC):
        return _file(size_against_accuracy(results))


def bench_picture(agents: Mapping[str, Mapping[str, Any]]) -> str:
    """Where the encoder's instructions go as an SVG file."""
    with matplotlib.rc_context(_RC):
        return _file(instructions_by_kind(agents))


def _file(figure: Figure) -> str:
    """The picture as a file, which follows its viewer's light or dark scheme."""
    svg = _svg(figure)
    names = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    style = f"<style>{_COLOURS}svg {{ background: var(--paper); }}</style>"
    return svg.replace("<svg", f"<svg {names}", 1).replace(">", f">{style}", 1) + "\n"


def _bytes(size: float) -> str:
    return f"{size / 1e6:,.0f} MB" if size >= 1e6 else f"{size / 1e3:,.0f} KB"


_RC = {
    "svg.fonttype": "none",
    "svg.hashsalt": "report",
    "font.size": 11,
    "axes.edgecolor": _FAINT,
    "axes.labelcolor": _INK,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.grid": True,
    "grid.color": _FAINT,
    "grid.linewidth": 0.6,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}


def _svg(figure: Figure) -> str:
    """The picture as an element of the page, in the page's font and colours, the same for the same content."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    root, rest = svg.split(">", 1)
    root = re.sub(r'\s(xmlns(:\w+)?|version|width|height)="[^"]*"', "", root)
    svg = f"{root}>" + re.sub(r'<g id="\w+"', "<g", rest)
    svg = re.sub(r"(font: (?:[a-z0-9]+ )*[\d.]+px) [^;\"]*", r"\1 system-ui, sans-serif", svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    return svg
