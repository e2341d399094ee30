"""What a teacher knows, as targets for a student: words by themselves, and sentences that nobody labelled."""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import tensorflow as tf

from train.datasets import DataSet
from train.encoding import PAD_WORD, Vocabulary, encode_words
from train.examples import Example
from train.presets import Distillation
from train.teacher import JointTeacher, Teacher, ends_of, principal_components, save_arrays
from train.training import LexicalTargets, SoftTargets, tag_marginals

Progress = Callable[[int, int], None]


WORD = re.compile(r"[^\W\d_]{2,}")


def lexicon(teacher: Teacher, lessons: Iterable[Example], plan: Distillation) -> tuple[list[str], np.ndarray]:
    """Common words and those of the training sentences, and the teacher's vectors of them, float32 [W, width]."""
    words = teacher.words(plan.words)
    counts = Counter(word for e in lessons for word in WORD.findall(e.text.lower()))
    known = set(words)
    words += sorted(word for word, count in counts.items() if count > 1 and word not in known)
    return words, teacher.vectors(words)


def lexical_targets(
    words: Sequence[str], vectors: np.ndarray, vocabulary: Vocabulary, plan: Distillation
) -> LexicalTargets:
    """The words' rows in the student's table, and their vectors' principal components."""
    indices = [vocabulary.words(word)[1] for word in words]
    single = [i for i, index in enumerate(indices) if len(index) == 1]
    components = principal_components(vectors, plan.components)
    return LexicalTargets(vocabulary.pieces()[[indices[i][0] for i in single]], components[single])


class Paraphraser:
    """Swaps words for others of like meaning, by a teacher's vectors of them.

    Args:
        words: known words.
        vectors: of them, normalized, float32 [W, width].
        plan: how near is near enough.
    """

    def __init__(self, words: Sequence[str], vectors: np.ndarray, plan: Distillation) -> None:
        self.words, self.vectors, self.plan = words, vectors, plan
        self.index = {word: i for i, word in enumerate(words)}
        self.near: dict[str, list[str]] = {}

    def neighbours(self, word: str) -> list[str]:
        """Words of like meaning, nearest first."""
        if word not in self.near:
            at = self.index.get(word)
            similar = self.vectors @ self.vectors[at] if at is not None else np.zeros(0, np.float32)
            best = np.argsort(-similar)[1 : self.plan.neighbours + 1]
            self.near[word] = [self.words[i] for i in best if similar[i] >= self.plan.least_similarity]
        return self.near[word]

    def paraphrase(self, example: Example, rng: random.Random) -> str | None:
        """The text with one or two words swapped; ``None`` if none has a neighbour."""
        places = [m for m in WORD.finditer(example.text) if self.neighbours(m.group().lower())]
        if not places:
            return None
        text = example.text
        for place in sorted(rng.sample(places, min(len(places), rng.choice((1, 1, 2)))), key=lambda m: -m.start()):
            text = text[: place.start()] + rng.choice(self.neighbours(place.group().lower())) + text[place.end() :]
        return text


def unlabelled_text(data: DataSet, paraphraser: Paraphraser, plan: Distillation, seed: int) -> list[str]:
    """At most ``plan.sentences`` texts for a teacher to label, each once and none of the held-out parts.

    Training's own sentences are among them, a third of all at most: a teacher says of them how sure one can be. The
    data set's unlabelled text follows, and paraphrases of training sentences, at least as many as those.
    """
    rng = random.Random(seed)
    own = list(dict.fromkeys(e.text for e in data.train))
    own = rng.sample(own, min(len(own), plan.sentences // 3))
    unlabelled = rng.sample(data.unlabelled, min(len(data.unlabelled), plan.sentences - 2 * len(own)))
    missing = plan.sentences - len(own) - len(unlabelled)
    paraphrases = (paraphraser.paraphrase(e, rng) for e in rng.choices(data.train, k=missing))
    held_out = {e.text for part in (data.valid, data.test) for e in part}
    texts = dict.fromkeys([*own, *unlabelled, *paraphrases])
    return [text for text in texts if text is not None and text not in held_out]


def soft_targets(
    teacher: JointTeacher, texts: Sequence[str], vocabulary: Vocabulary, progress: Progress
) -> SoftTargets:
    """The teacher's labels of texts, aligned to the student's words; texts that do not fit the student are left out.

    They are cached: several students learn from the same labels.
    """
    found = [(text, vocabulary.words(text)) for text in texts]
    found = [(text, pair) for text, pair in found if pair[1]]
    data = encode_words([words for _, (_, words) in found], vocabulary.positions)
    labels = teacher.labels
    words = [(text, ends_of(tokens)) for text, (tokens, _) in found]
    told = json.dumps([teacher.key, vocabulary.positions, words])
    path = teacher.teacher.cache / f"labels-{hashlib.sha256(told.encode()).hexdigest()[:24]}.npz"
    if path.exists():
        with np.load(path) as saved:
            return SoftTargets(data, saved["classes"], saved["tags"])
    classes = np.zeros((len(found), len(labels.classes)), np.float16)
    tags = np.zeros((len(found), vocabulary.positions - 1, labels.tags), np.float16)
    for done, (i, c, t) in enumerate(teacher.label([text for text, _ in found]), 1):
        length = int(data.lengths[i])
        classes[i], tags[i, :length] = c, t[:length]
        progress(done, len(found))
    marginals = tf.function(
        tag_marginals,
        input_signature=[tf.TensorSpec((None, None, labels.tags)), tf.TensorSpec((None, None), tf.bool)],
    )
    for batch in data.batches(256):
        most = int(data.lengths[batch].max())
        known = data.words[batch, :most] != PAD_WORD
        tags[batch, :most] = marginals(tags[batch, :most].astype(np.float32), known)
    save_arrays(path, {"classes": classes, "tags": tags})
    return SoftTargets(data, classes, tags)
