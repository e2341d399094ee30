"""What a teacher is asked: words of like meaning, and which sentences it labels."""

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from train.datasets import DataSet
from train.distillation import Paraphraser, soft_targets, unlabelled_text
from train.encoding import Vocabulary
from train.examples import Example, Slot
from train.labels import Labels
from train.presets import Distillation

WORDS = ["lamp", "light", "play", "stop"]
VECTORS = np.array([[1, 0, 0], [0.8, 0.6, 0], [0, 0, 1], [0.3, 0.95, 0]], np.float32)


def paraphraser(**plan: float) -> Paraphraser:
    return Paraphraser(WORDS, VECTORS, Distillation(**plan))  # type: ignore[arg-type]


def test_neighbours_are_near_enough_and_nearest_first() -> None:
    assert paraphraser().neighbours("light") == ["stop", "lamp"]
    assert paraphraser(neighbours=1).neighbours("light") == ["stop"]
    assert paraphraser(least_similarity=0.9).neighbours("lamp") == []
    assert paraphraser().neighbours("play") == paraphraser().neighbours("unknown") == []


def test_a_paraphrase_swaps_known_words() -> None:
    made = {paraphraser().paraphrase(Example("Lamp on, play", "On"), random.Random(seed)) for seed in range(9)}
    assert made == {"light on, play"}
    assert paraphraser().paraphrase(Example("play it", "Play"), random.Random(1)) is None


def test_a_third_of_what_the_teacher_labels_is_trainings_own() -> None:
    train = [Example(f"lamp {i}", "On") for i in range(100)] * 3
    held_out = [Example("light 7", "On"), Example("tree 7", "On")]
    data = DataSet("x", "en", train, held_out[:1], held_out[1:], unlabelled=[f"tree {i}" for i in range(500)])

    def counted(sentences: int, data: DataSet = data) -> dict[str, int]:
        texts = unlabelled_text(data, paraphraser(neighbours=1), Distillation(sentences=sentences), 1)
        assert len(set(texts)) == len(texts) <= sentences
        assert not {"light 7", "tree 7"} & set(texts)
        return {word: sum(text.startswith(word) for text in texts) for word in ("lamp", "light", "tree")}

    few, many = counted(90), counted(3000)
    assert few["lamp"] == 30
    assert 10 < few["light"] <= 30
    assert 28 <= few["tree"] <= 30
    assert many == {"lamp": 100, "light": 99, "tree": 499}
    assert counted(90) == few, "the seed decides"
    assert counted(12, DataSet("x", "en", train[:1], [], [], unlabelled=["tree 1"])) == {
        "lamp": 1,
        "light": 1,
        "tree": 1,
    }


def test_a_teacher_is_asked_once_for_the_same_labels(tmp_path: Path) -> None:
    labels = Labels.of([Example("lamp on", "On", (Slot("name", 0, 4),)), Example("stop", "Stop")])
    vocabulary, asked = Vocabulary(512, 32), []

    def label(texts: Sequence[str]) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        asked.append(list(texts))
        for i, text in enumerate(texts):
            words = len(vocabulary.words(text)[0])
            yield i, np.arange(len(labels.classes)), np.arange(words * labels.tags).reshape(words, -1)

    def targets(key: str, *texts: str) -> Any:
        teacher: Any = SimpleNamespace(labels=labels, key=key, teacher=SimpleNamespace(cache=tmp_path), label=label)
        return soft_targets(teacher, texts, vocabulary, lambda done, total: None)

    first, again = targets("a", "lamp on", "!", "stop"), targets("a", "lamp on", "!", "stop")
    assert asked == [["lamp on", "stop"]]
    assert len(again.data) == 2
    assert np.array_equal(first.classes, again.classes)
    assert np.array_equal(first.tags, again.tags)
    assert np.allclose(first.tags[0, :2].sum(-1), 1, atol=1e-2), "shares of every word's tags"
    targets("b", "lamp on", "!", "stop")
    targets("a", "lamp on")
    assert len(asked) == 3, "another teacher, other texts"
