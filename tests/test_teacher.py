"""The teacher's checkpoint: what it may be, and what is read of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import keras_hub
import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from train.agentlib import featurize
from train.errors import UserError
from train.examples import Example, Slot
from train.labels import Labels
from train.presets import Tuning
from train.student import Shape, Student
from train.teacher import JointTeacher, Teacher

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


def test_fine_tuning_depends_on_its_seed_and_its_words_alone(tmp_path: Path) -> None:
    example = Example("turn the light", "On", (Slot("name", 9, 14),))
    labels = Labels.of([example])

    def tuned(seed: int, before: int, words: int = 3) -> tuple[str, np.ndarray, np.ndarray]:
        keras.utils.set_random_seed(before)
        teacher = Teacher(folder, tmp_path / f"{seed}-{before}")
        teacher.__dict__["backbone"] = keras_hub.models.BertBackbone(
            vocabulary_size=len(WORDPIECE), num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=8, dropout=0.5
        )
        teacher.backbone.set_weights([np.full(w.shape, 0.1 * i) for i, w in enumerate(teacher.backbone.get_weights())])
        joint = JointTeacher(teacher, labels, lambda text: featurize(text, 2, 1)[:words])
        joint.fit([example] * 4, Tuning(seen=8, batch=2, seed=seed), lambda done, steps, loss: None)
        return joint.key, joint.class_head.get_weights()[0], joint.tag_head.get_weights()[0]

    folder = checkpoint(tmp_path / "teacher")
    key, *first = tuned(1, 5)
    same_key, *again = tuned(1, 6)
    other_key, *other = tuned(2, 5)
    assert key == same_key
    assert len({key, other_key, tuned(1, 5, words=2)[0]}) == 3, "in the cache they are not each other's"
    for a, b, c in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert not np.array_equal(a, c)


def test_every_seed_begins_with_other_weights() -> None:
    students = [Student(Shape(3, 5, rows=128), seed=seed) for seed in (0, 1, 2, 1)]
    for name in ("convolution", "query0", "class_head"):
        zero, one, two, again = (np.asarray(student.matrices[name]) for student in students)
        np.testing.assert_array_equal(one, again)
        assert not np.array_equal(one, two)
        assert not np.array_equal(one, zero)
