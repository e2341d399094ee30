"""Interrupted training: the same command goes on and ends with the same bytes as if nothing had happened."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from test_train import GOOD, line, write_data

from train import datasets, pipeline
from train.cost import Budget
from train.learner import Checkpoint, Saved
from train.pipeline import CHECKPOINT, STUDENT_JSON, STUDENT_NPZ, digest
from train.presets import Preset
from train.student import Shape
from train.training import Schedule

SHAPE = {"rows": 256, "width": 16, "heads": (1,), "hidden": (16,), "embed": 8}
PRESET = Preset(size=None, seen=900, shape=SHAPE, least=0)
BUDGET = Budget(macs=6_000)
SCHEDULE = Schedule(epochs=3, batch=4, open_slot=2, quantized_share=0.7, weight_decay=0.05)


@pytest.fixture
def data(tmp_path: Path) -> datasets.DataSet:
    """A tiny data set."""
    text = GOOD + line("fan on", "TurnOn", ("name", 0, 3)) + line("dim the hall", "Dim", ("area", 8, 12))
    return datasets.load(str(write_data(tmp_path / "tiny", train=text, valid=GOOD)), data_dir=None, cache_dir=tmp_path)


def train(data: datasets.DataSet, out: Path) -> str:
    """Trains; returns what was said."""
    console = Console(width=200)
    with console.capture() as said:
        pipeline.run(data, out, preset=PRESET, schedule=SCHEDULE, console=console, budget=BUDGET)
    return said.get()


def test_an_interrupted_run_ends_with_the_same_bytes(
    data: datasets.DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    broken.mkdir()
    real = Checkpoint.save

    def save(self: Checkpoint, saved: Saved) -> None:
        real(self, saved)
        if len(saved.epochs) == 2:  # what a run that ends here leaves
            shutil.copy(self.path, broken)

    with monkeypatch.context() as patched:
        patched.setattr(Checkpoint, "save", save)
        train(data, whole)
    assert "taken up after epoch 2" in train(data, broken)
    for name in (STUDENT_NPZ, STUDENT_JSON):
        assert (whole / name).read_bytes() == (broken / name).read_bytes()
    record = json.loads((broken / STUDENT_JSON).read_text())
    history = record["history"]
    assert record["shape"]["hidden"][0] < 16, "it was pruned before it was interrupted"
    assert [e["epoch"] for e in history] == [1, 2, 3]
    assert [e["quantized"] for e in history] == [False, True, True]
    assert not (broken / CHECKPOINT).exists(), "nothing is left to take up"


def test_a_checkpoint_of_another_run_is_passed_over(tmp_path: Path) -> None:
    path, saved = tmp_path / CHECKPOINT, Saved(Shape(2, 3, heads=(1,), hidden=(4,)), [], {"steps": np.array(7)})
    Checkpoint(path, "key").save(saved)
    found = Checkpoint(path, "key").load()
    assert found is not None
    assert found.shape == saved.shape
    assert found.state["steps"] == 7
    assert Checkpoint(path, "other").load() is None


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 2},
        {"epochs": 4},
        {"learning_rate": 1e-3},
        {"weight_decay": 0.1},
        {"dropout": 0.0},
        {"quantized_share": 0.5},
    ],
)
def test_another_schedule_is_another_run(change: dict[str, Any]) -> None:
    assert digest((SCHEDULE, np.zeros(3))) != digest((replace(SCHEDULE, **change), np.zeros(3)))
    assert digest((SCHEDULE, np.zeros(3))) == digest((replace(SCHEDULE), np.zeros(3)))
    assert digest((SCHEDULE, np.zeros(3))) != digest((SCHEDULE, np.ones(3)))


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 half a file", b"no zip"])
def test_a_damaged_checkpoint_is_passed_over(damage: bytes, tmp_path: Path) -> None:
    path = tmp_path / CHECKPOINT
    path.write_bytes(damage)
    assert Checkpoint(path, "key").load() is None
    np.savez(path, weights=np.zeros(3))
    assert Checkpoint(path, "key").load() is None
