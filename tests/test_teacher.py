"""The teacher's checkpoint: what it may be, and what is read of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from train.errors import UserError
from train.teacher import Teacher

WORDPIECE = ["[PAD]", "[UNK]", "the", "##ing", "turn", "a", "42", "light"]
BYTE_LEVEL = ["<s>", "Ġthe", "ing", "Ġturn", "turn", "ĠThe", "Ġ42", "ĠfÃ¼r"]
UNIGRAM = ["<unk>", "▁the", "ing", "▁turn", "▁", "▁für", "▁灯光"]


def checkpoint(folder: Path, tokenizer: Tokenizer | None = None, **config: Any) -> Path:
    """A folder in Hugging Face's layout, its weights empty."""
    folder.mkdir()
    tokenizer = tokenizer or Tokenizer(models.WordPiece({token: i for i, token in enumerate(WORDPIECE)}))
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"model_type": "bert", "max_position_embeddings": 64} | config
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "model.safetensors").write_bytes(b"")
    return folder


def byte_level() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(BYTE_LEVEL)}, []))
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def unigram() -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram([(token, -float(i)) for i, token in enumerate(UNIGRAM)], 0, False))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    return tokenizer


@pytest.mark.parametrize(
    ("tokenizer", "words"),
    [
        (None, ["the", "turn", "light"]),
        (byte_level(), ["the", "turn", "für"]),
        (unigram(), ["the", "turn", "für", "灯光"]),
    ],
    ids=["WordPiece", "byte-level BPE", "SentencePiece"],
)
def test_its_words_are_whole_ones(tmp_path: Path, tokenizer: Tokenizer | None, words: list[str]) -> None:
    teacher = Teacher(checkpoint(tmp_path / "teacher", tokenizer), tmp_path)
    assert teacher.words(100) == words
    assert teacher.words(2) == words[:2]


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_missing_file_is_named(tmp_path: Path, missing: str) -> None:
    folder = checkpoint(tmp_path / "teacher")
    (folder / missing).unlink()
    with pytest.raises(UserError, match=missing):
        Teacher(folder, tmp_path)


def test_an_encoder_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'gpt2' cannot teach; take one of bert, "):
        Teacher(checkpoint(tmp_path / "teacher", model_type="gpt2"), tmp_path)


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "teacher")
    with pytest.raises(UserError, match="the weights cannot be read"):
        _ = Teacher(folder, tmp_path).backbone
    (folder / "tokenizer.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match="the tokenizer cannot be read"):
        Teacher(folder, tmp_path)
    (folder / "config.json").write_text("[]", encoding="utf-8")
    with pytest.raises(UserError, match="the configuration or"):
        Teacher(folder, tmp_path)
