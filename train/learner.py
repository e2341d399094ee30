"""A student in training, as something that can be put aside, taken up again, and cut to a smaller one."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from train.examples import write_atomic
from train.student import Shape, Student

State = dict[str, np.ndarray]
"""Every variable of a training by its path; the optimizer's moments as ``PATH:momentum`` and ``PATH:velocity``."""

BY_ADAM = (r"table", r"class_head", r"tag_head", r"lexical_probe")
"""What Muon does not suit: embeddings and what ends in logits."""


class Learner:
    """A student, its optimizer, and what random numbers are drawn from.

    Args:
        student: the model.
        rate: the optimizer's learning rate, by its steps.
        weight_decay: of the matrices, as :class:`train.training.Schedule` has it.
        seed: of what training draws beside the student's own dropout.
        components: of a teacher's word vectors that are learnt with the labels; 0: none.
    """

    def __init__(
        self,
        student: Student,
        rate: Any,
        weight_decay: float = 0.0,
        *,
        seed: int,
        components: int = 0,
    ) -> None:
        self.student = student
        self.variables: list[Any] = list(student.trainable_variables)
        if components:
            self.probe = keras.layers.Dense(components, name="lexical_probe")
            self.probe.build((None, student.shape.embed))
            self.variables += self.probe.trainable_variables
        # Matrices are moved by as much in every direction (Jordan et al. 2024, scaled as in Liu et al. 2025).
        self.optimizer = keras.optimizers.Muon(
            rate,
            weight_decay=weight_decay,
            adam_weight_decay=weight_decay,
            adam_beta_2=0.99,
            clipnorm=1.0,
            exclude_layers=list(BY_ADAM),
        )
        self.optimizer.exclude_from_weight_decay([v for v in self.variables if len(v.shape) < 2])
        self.optimizer.build(self.variables)
        self.seeds = keras.random.SeedGenerator(seed)

    def _named(self) -> dict[str, Any]:
        named = {v.path if v.dtype == "float32" else "dropout_seeds": v for v in self.student.variables}
        moments = {v.name: v for v in self.optimizer.variables}
        for v in self.variables:
            named[v.path] = v
            for moment in ("momentum", "velocity"):
                if (name := f"{v.path.replace('/', '_')}_{moment}") in moments:
                    named[f"{v.path}:{moment}"] = moments[name]
        return named | {"steps": self.optimizer.iterations, "seeds": self.seeds.state}

    @property
    def state(self) -> State:
        """All that changes in training."""
        return {name: variable.value.numpy() for name, variable in self._named().items()}

    def restore(self, state: State) -> None:
        """Goes on from a state of the same shape."""
        for name, variable in self._named().items():
            variable.assign(state[name])


@dataclass(frozen=True)
class Saved:
    """A training as it was at the end of an epoch."""

    shape: Shape
    epochs: list[dict[str, Any]]
    """What every epoch so far came to."""
    state: State


@dataclass(frozen=True)
class Checkpoint:
    """The file that an interrupted training goes on from."""

    path: Path
    key: str
    """Names what is trained on what; a file of another training is passed over."""

    def save(self, saved: Saved) -> None:
        """Puts a training aside, atomically."""
        about = {"key": self.key, "shape": saved.shape.to_json(), "epochs": saved.epochs}
        buffer = io.BytesIO()
        np.savez(buffer, about=np.array(json.dumps(about)), **saved.state)  # type: ignore[arg-type]
        write_atomic(self.path, buffer.getvalue())

    def load(self) -> Saved | None:
        """Takes it up again; ``None``: there is none of this training."""
        try:
            with np.load(self.path) as file:
                about = json.loads(str(file["about"]))
                if about["key"] != self.key:
                    return None
                state = {name: file[name] for name in file.files if name != "about"}
        except (FileNotFoundError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None
        return Saved(Shape.from_json(about["shape"]), about["epochs"], state)

    def remove(self) -> None:
        """Forgets it."""
        self.path.unlink(missing_ok=True)
