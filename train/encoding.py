"""Examples as arrays: the pieces of every word, the class of a sentence, the tag of a word."""

from __future__ import annotations

import random
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from train.agentlib import Token, featurize
from train.errors import UserError
from train.examples import Example
from train.labels import OUTSIDE, Labels

T = TypeVar("T")

PAD_WORD = 0
"""Index of the word without pieces."""
SENTENCE = 0
"""Position of the sentence itself; its words follow."""


class Vocabulary:
    """The distinct words of some sentences and their rows in the embedding table.

    Args:
        rows: of the table.
        positions: of the encoder; rows below it belong to positions.
    """

    def __init__(self, rows: int, positions: int) -> None:
        self.rows, self.positions = rows, positions
        self._index: dict[tuple[int, ...], int] = {(): PAD_WORD}

    def words(self, text: str) -> tuple[list[Token], list[int]]:
        """The tokens of a text that fit the encoder, and their indices in :meth:`pieces`."""
        tokens = featurize(text, self.rows, self.positions)[: self.positions - 1]
        return tokens, [self._index.setdefault(t.pieces, len(self._index)) for t in tokens]

    def pieces(self) -> np.ndarray:
        """int32 ``[words, most]``: the rows of every word, filled up with ``rows``, one row behind the
        table."""
        most = max(1, *map(len, self._index))
        table = np.full((len(self._index), most), self.rows, np.int32)
        for pieces, i in self._index.items():
            table[i, : len(pieces)] = pieces
        return table


@dataclass(frozen=True)
class Encoded:
    """Examples as arrays, N sentences of at most L - 1 words."""

    words: np.ndarray
    """int32 [N, L - 1], indices into the vocabulary, filled up with PAD_WORD."""
    lengths: np.ndarray
    """int32 [N], words of each sentence."""
    classes: np.ndarray
    """int32 [N]; -1 where there is no label."""
    tags: np.ndarray
    """int32 [N, L - 1]; -1 where there is no word or no label."""

    def __len__(self) -> int:
        return len(self.words)

    def batches(self, size: int, seed: int | None = None) -> Iterator[np.ndarray]:
        """Indices of sentences of similar length, ``size`` at a time; shuffled if there is a seed."""
        if seed is None:
            order = np.argsort(self.lengths, kind="stable")
            yield from (order[i : i + size] for i in range(0, len(order), size))
            return
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(self))
        order = order[np.argsort(self.lengths[order], kind="stable")]
        blocks = [order[i : i + size] for i in range(0, len(order), size)]
        rng.shuffle(blocks)
        yield from blocks


def tags_of(example: Example, tokens: Sequence[Token], labels: Labels) -> list[int]:
    """The BIO tag of every token; a token belongs to a slot if it shares a character with its span."""
    tags = [OUTSIDE] * len(tokens)
    for slot in example.slots:
        inside = [i for i, t in enumerate(tokens) if t.start < slot.end and slot.start < t.end]
        for i in inside:
            tags[i] = labels.tag_of(slot.slot, begins=i == inside[0])
    return tags


def splits_a_word(example: Example, tokens: Sequence[Token]) -> bool:
    """Whether a slot begins or ends inside a token."""
    starts, ends = {t.start for t in tokens}, {t.end for t in tokens}
    last = tokens[-1].end if tokens else 0
    return any(s.end <= last and not (s.start in starts and s.end in ends) for s in example.slots)


def encode(examples: Sequence[Example], labels: Labels, vocabulary: Vocabulary) -> Encoded:
    """The arrays of labelled sentences. Sentences without a word are left out.

    Raises:
        UserError: no sentence is left.
    """
    found = []
    for example in examples:
        tokens, words = vocabulary.words(example.text)
        if words:
            found.append((labels.class_of(example), words, tags_of(example, tokens, labels)))
    if not found:
        raise UserError(f"none of {len(examples):,} sentences, such as {examples[0].text!r}, has a word to learn from")
    arrays = encode_words([words for _, words, _ in found], vocabulary.positions)
    classes = np.array([klass for klass, _, _ in found], np.int32)
    for row, (_, _, tags) in zip(arrays.tags, found, strict=True):
        row[: len(tags)] = tags
    return Encoded(arrays.words, arrays.lengths, classes, arrays.tags)


def encode_words(sentences: Sequence[Sequence[int]], positions: int) -> Encoded:
    """The arrays of sentences without labels, given as indices of their words."""
    words = np.full((len(sentences), positions - 1), PAD_WORD, np.int32)
    for row, sentence in zip(words, sentences, strict=True):
        row[: len(sentence)] = sentence
    lengths = np.array([len(s) for s in sentences], np.int32)
    return Encoded(words, lengths, np.full(len(sentences), -1, np.int32), np.full(words.shape, -1, np.int32))


def median_positions(lengths: Iterable[int]) -> int:
    """Positions of the median sentence: its words, and one for the sentence itself. ``lengths``: words of each."""
    return int(statistics.median_low(lengths)) + 1


def sample(items: Sequence[T], count: int, seed: int) -> list[T]:
    """``count`` items without replacement, or all if there are fewer."""
    return random.Random(seed).sample(list(items), min(count, len(items)))
