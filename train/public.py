"""Public data sets: where they are at home, and how their files are read.

Each file is checked against its SHA-256, or that of its first download. They are not part of the project: heed their
licences.
"""

import csv
import hashlib
import http.client
import io
import json
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from rich.progress import Progress

from train.errors import UserError
from train.examples import PARTS, Example, Slot, checked, read_json, read_text, unmark, write_atomic


@dataclass(frozen=True)
class Public:
    """Where a public set is at home."""

    licence: str
    citation: str
    url: str
    """Of a folder; HWU64's, CLINC150's and SLURP's are pinned to a commit."""
    files: tuple[str, ...]
    """Paths below ``url``. Their SHA-256 are in checksums.sha256; that of a file which is not listed there is
    recorded at the first download, beside the cached file, and must be the same ever after (trust on first
    use)."""
    read: Callable[[Path], dict[str, list[Example]]]
    """Examples by part, from a folder that has the files; without a part for validation, a tenth of training is."""
    probe: str
    """Pattern of a file that a local copy has."""


def read(name: str, data_dir: Path | None, cache_dir: Path) -> tuple[dict[str, list[Example]], dict[str, str]]:
    """A set's examples by part, and where they are from.

    Raises:
        UserError: there is no local copy and none can be downloaded, or a file is not what it should be.
    """
    public = PUBLIC[name]
    folder = local(name, data_dir) if data_dir is not None else None
    source = "local copy" if folder is not None else public.url
    if folder is None:
        if not public.files:
            where = f"{data_dir} does not hold it" if data_dir is not None else "it is not free to download"
            raise UserError(
                f"data set {name}: {where}; give --data-dir with a folder {name}/ of train/, valid/, test/, "
                "each with seq.in, seq.out and label"
            )
        folder = _download(name, public, cache_dir)
    try:
        parts = {part: [checked(example) for example in examples] for part, examples in public.read(folder).items()}
    except ValueError as error:
        raise UserError(f"data set {name} in {folder}: {error}") from None
    return parts, {"data": name, "licence": public.licence, "citation": public.citation, "source": source}


def local(name: str, data_dir: Path) -> Path | None:
    """The folder of a local copy, if there is one."""
    return next((folder for folder in (data_dir / name, data_dir) if any(folder.glob(PUBLIC[name].probe))), None)


def _download(name: str, public: Public, cache_dir: Path) -> Path:
    folder = cache_dir / name
    listed = (files("train") / "checksums.sha256").read_text(encoding="utf-8").split()
    known = dict(zip(listed[1::2], listed[::2], strict=True))
    missing = [path for path in public.files if not (folder / path).is_file()]
    with Progress(transient=True) as progress:
        for path in progress.track(missing, description=f"downloading {name}"):
            content = _fetch(f"{public.url}/{path}", name)
            digest = hashlib.sha256(content).hexdigest()
            note = folder / f"{path}.sha256"
            expected = known.get(f"{name}/{path}") or (note.read_text().strip() if note.is_file() else digest)
            if digest != expected:
                raise UserError(
                    f"data set {name}: {path} from {public.url} has SHA-256 {digest}, expected {expected}; "
                    "the file was changed or cut short: try again, or give a local copy with --data-dir"
                )
            write_atomic(note, digest + "\n")
            write_atomic(folder / path, content)
    return folder


def _fetch(url: str, name: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=60) as response:
            body: bytes = response.read()
            return body
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", error)
        raise UserError(
            f"data set {name}: {url} cannot be downloaded ({reason}); give a local copy with --data-dir"
        ) from None


def _read_sequences(folder: Path) -> dict[str, list[Example]]:
    """``part/seq.in`` (words), ``part/seq.out`` (BIO tags) and ``part/label``, a sentence a line."""
    parts = {}
    for part, names in (("train", ("train",)), ("valid", ("valid", "dev")), ("test", ("test",))):
        where = next((folder / name for name in names if (folder / name / "seq.in").is_file()), None)
        if where is not None:
            parts[part] = _read_sequence_part(where)
    return parts


def _read_sequence_part(folder: Path) -> list[Example]:
    columns = [read_text(folder / name).rstrip().split("\n") for name in ("seq.in", "seq.out", "label")]
    if len({len(column) for column in columns}) != 1:
        raise UserError(f"{folder}: seq.in, seq.out and label have {', '.join(str(len(c)) for c in columns)} lines")
    examples = []
    for number, (words, tags, intent) in enumerate(zip(*columns, strict=True), 1):
        if len(words.split()) != len(tags.split()):
            raise UserError(f"{folder}/seq.out:{number}: {len(tags.split())} tags for {len(words.split())} words")
        examples.append(from_bio(words.split(), tags.split(), intent.strip()))
    return examples


def from_bio(words: Sequence[str], tags: Sequence[str], intent: str | None) -> Example:
    """An example from words and their BIO tags; an I- that follows no such slot begins one (as conlleval has
    it)."""
    text, slots = "", []
    name, start, end = "", 0, 0
    for word, tag in zip(words, tags, strict=True):
        text += " " if text else ""
        if name and tag != f"I-{name}":
            slots.append(Slot(name, start, end))
            name = ""
        if tag != "O":
            if not name:
                name, start = tag[2:], len(text)
            end = len(text) + len(word)
        text += word
    if name:
        slots.append(Slot(name, start, end))
    return Example(text, intent, tuple(slots))


_HWU_SLOT = re.compile(r"\[\s*([^\]:]+?)\s*:\s*([^\]]*?)\s*\]")


def _read_hwu64(folder: Path) -> dict[str, list[Example]]:
    """One CSV an intent, sentences as ``wake me at [time : five am]``; there is no part for validation."""
    parts = {}
    for part, names in (("train", ("train", "trainset")), ("test", ("test", "testset/csv", "testset"))):
        where = next((folder / name for name in names if any((folder / name).glob("*.csv"))), None)
        if where is None:
            continue
        examples = []
        for path in sorted(where.glob("*.csv")):
            for row in csv.DictReader(io.StringIO(read_text(path)), delimiter=";"):
                example = _hwu_example(row, path)
                if example is not None:
                    examples.append(example)
        parts[part] = examples
    return parts


def _hwu_example(row: Mapping[str, str | None], path: Path) -> Example | None:
    annotation, scenario, intent = row.get("answer_annotation"), row.get("scenario"), row.get("intent")
    if annotation is None or scenario is None or intent is None:
        raise UserError(f"{path}: expected the columns scenario;intent;answer_annotation")
    text, slots = unmark(" ".join(annotation.split()), _HWU_SLOT, lambda match: (match[2], match[1], None))
    return Example(text, f"{scenario}_{intent}", slots) if text.strip() else None


def _read_clinc150(folder: Path) -> dict[str, list[Example]]:
    """``data_full.json``: lists of [text, intent]; out-of-scope sentences get no intent."""
    names = ("data_full.json", "data_full_train_val.json")
    path = next((p for name in names if (p := folder / name).is_file()), None)
    if path is None:
        raise UserError(f"{folder}: holds neither {' nor '.join(names)}")
    record = read_json(path)
    parts: dict[str, list[Example]] = {}
    for part, key in (("train", "train"), ("valid", "val"), ("test", "test")):
        try:
            pairs = [*record.get(key, []), *record.get(f"oos_{key}", [])]
            examples = [Example(text, None if intent == "oos" else intent) for text, intent in pairs]
        except (TypeError, ValueError):
            raise UserError(f"{path}: {key!r} must be a list of [text, intent]") from None
        if examples:
            parts[part] = examples
    return parts


def _read_slurp(folder: Path) -> dict[str, list[Example]]:
    """JSON lines with tokens and entity spans over tokens; the intent is scenario_action."""
    parts = {}
    for part, stem in (("train", "train"), ("valid", "devel"), ("test", "test")):
        path = folder / f"{stem}.jsonl"
        if path.is_file():
            parts[part] = [
                _slurp_example(line, path, number)
                for number, line in enumerate(read_text(path).split("\n"), 1)
                if line.strip()
            ]
    return parts


def _slurp_example(line: str, path: Path, number: int) -> Example:
    try:
        record = json.loads(line)
        words = [str(token["surface"]) for token in record["tokens"]]
        tags = ["O"] * len(words)
        for entity in record["entities"]:
            for place, index in enumerate(entity["span"]):
                tags[index] = ("I-" if place else "B-") + entity["type"]
        return from_bio(words, tags, f"{record['scenario']}_{record['action']}")
    except (json.JSONDecodeError, KeyError, IndexError, TypeError) as error:
        raise UserError(f"{path}:{number}: not SLURP's format ({type(error).__name__}: {error})") from None


_HWU64_INTENTS = (
    "alarm_query alarm_remove alarm_set audio_volume_down audio_volume_mute audio_volume_up "
    "calendar_query calendar_remove calendar_set cooking_recipe datetime_convert datetime_query "
    "email_addcontact email_query email_querycontact email_sendemail general_affirm general_commandstop "
    "general_confirm general_dontcare general_explain general_joke general_negate general_praise "
    "general_quirky general_repeat iot_cleaning iot_coffee iot_hue_lightchange iot_hue_lightdim "
    "iot_hue_lightoff iot_hue_lighton iot_hue_lightup iot_wemo_off iot_wemo_on lists_createoradd "
    "lists_query lists_remove music_likeness music_query music_settings news_query play_audiobook "
    "play_game play_music play_podcasts play_radio qa_currency qa_definition qa_factoid qa_maths "
    "qa_stock recommendation_events recommendation_locations recommendation_movies social_post "
    "social_query takeaway_order takeaway_query transport_query transport_taxi transport_ticket "
    "transport_traffic weather_query "
)

_RAW = "https://raw.githubusercontent.com"

PUBLIC = {
    "snips": Public(
        licence="CC0 1.0",
        citation="Coucke et al. 2018, arXiv 1805.10190; split of Goo et al. 2018",
        url=f"{_RAW}/MiuLab/SlotGated-SLU/master/data/snips",
        files=tuple(f"{part}/{name}" for part in PARTS for name in ("seq.in", "seq.out", "label")),
        read=_read_sequences,
        probe="train/seq.in",
    ),
    "hwu64": Public(
        licence="CC BY 4.0",
        citation="Liu et al. 2019, arXiv 1903.05566",
        url=f"{_RAW}/xliuhw/NLU-Evaluation-Data/4356cd6db2c7d8cb21789d6203e57c580a91de44/CrossValidation/"
        "autoGeneFromRealAnno/autoGene_2018_03_22-13_01_25_169/CrossValidation/KFold_1",
        files=tuple(
            f"{part}/{intent}.csv" for part in ("trainset", "testset/csv") for intent in _HWU64_INTENTS.split()
        ),
        read=_read_hwu64,
        probe="train*/*.csv",
    ),
    "clinc150": Public(
        licence="CC BY 3.0",
        citation="Larson et al. 2019, arXiv 1909.02027",
        url=f"{_RAW}/clinc/oos-eval/48a0e1cff8f43dd4d0836ecb4ed5df08733e3d2e/data",
        files=("data_full.json",),
        read=_read_clinc150,
        probe="data_full*.json",
    ),
    "atis": Public(
        licence="LDC user agreement",
        citation="Hemphill et al. 1990; split of Goo et al. 2018",
        url="",
        files=(),
        read=_read_sequences,
        probe="train/seq.in",
    ),
    "slurp": Public(
        licence="CC BY 4.0",
        citation="Bastianelli et al. 2020, arXiv 2011.13205",
        url=f"{_RAW}/pswietojanski/slurp/32d6cce73781003a6449fbbbbf30b42f635d4b10/dataset/slurp",
        files=("train.jsonl", "devel.jsonl", "test.jsonl"),
        read=_read_slurp,
        probe="devel.jsonl",
    ),
}
