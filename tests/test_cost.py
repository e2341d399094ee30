"""Predicted costs against real bundles and counted instructions; budgets as a person writes them."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from convert.bundle import Golden, golden_section
from convert.costs import SENTENCES, errors, fit, measure
from train import datasets
from train.agentlib import Agent
from train.cost import CHIPS, Budget, Cost, Pricing, coefficients, golden_bytes, instructions, label_bytes
from train.errors import UserError
from train.labels import Labels
from train.student import Shape

SMALL = Shape(classes=7, tags=21)


@pytest.fixture(scope="module")
def shape(agent_folder: Path) -> Shape:
    """The small agent's sizes."""
    return Shape.from_json(json.loads((agent_folder / "student.json").read_text())["shape"])


def test_bytes_and_ram_of_a_real_bundle(agent_folder: Path, bundle: Path, shape: Shape) -> None:
    record = json.loads((agent_folder / "student.json").read_text())
    data = datasets.load(str(agent_folder / "data"), data_dir=None, cache_dir=agent_folder)
    of_data = label_bytes(Labels.from_json(record["labels"]), data.values, data.numeric_slots)
    of_data += golden_bytes([e.text for e in data.watched])
    cost = Pricing(of_data, 9, CHIPS["esp32c3"])(shape)
    content = bundle.read_bytes()
    assert cost.bytes == pytest.approx(len(content), rel=0.02)
    assert cost.arena == pytest.approx(Agent(content).arena_bytes, rel=0.02)
    assert record["predicted_cost"]["bytes"] == cost.bytes


@pytest.mark.skipif(not shutil.which("qemu-system-riscv32"), reason="no QEMU: apt-get install qemu-system-misc")
@pytest.mark.skipif(not shutil.which("riscv64-unknown-elf-gcc"), reason="no RISC-V compiler")
def test_a_shape_that_was_not_measured(tmp_path: Path) -> None:
    """If the engine or the bundle has changed: python -m convert.costs measures anew."""
    measured = measure(
        {"width": 72, "heads": (5, 2), "hidden": (68, 144), "intents": 31, "slots": 15}, tmp_path, seed=7
    )
    found = list(errors(coefficients(), measured))
    for what, share in found:
        assert abs(share) < {"bytes": 0.02, "arena": 0.02, "instructions": 0.08}[what]
    assert len(found) == 2 + len(SENTENCES)


def test_long_sentences_of_the_self_test_are_reckoned() -> None:
    texts = ["x" * length for length in range(140, 180, 5)]
    golden = [
        Golden(text, np.zeros((1, 1), np.int8), np.zeros(1, np.int8), np.zeros((1, 1), np.int8)) for text in texts
    ]
    assert golden_bytes(texts) == pytest.approx(len(golden_section(golden)), abs=16)
    assert golden_bytes(["on", "off"]) < 60
    assert golden_bytes([]) == 0


def test_every_kind_of_instruction_is_predicted() -> None:
    assert set(coefficients()["instructions"]) == set(instructions(SMALL, 9))
    assert min(instructions(SMALL, 2).values()) > 0


@pytest.mark.parametrize(
    "smaller",
    [
        replace(SMALL, heads=(4, 3)),
        replace(SMALL, hidden=(96, 92)),
        replace(SMALL, embed=28),
        replace(SMALL, heads=(4,), hidden=(96,)),
        replace(SMALL, width=60),
    ],
)
def test_less_costs_less(smaller: Shape) -> None:
    price = Pricing(data_bytes=2000, positions=9, chip=CHIPS["esp32c3"])
    more, less = price(SMALL), price(smaller)
    assert less.bytes < more.bytes
    assert less.macs < more.macs
    assert less.ms < more.ms
    assert less.arena <= more.arena


def test_a_longer_sentence_takes_longer() -> None:
    times = [Pricing(0, n, CHIPS["esp32c3"])(SMALL).ms for n in range(2, 33)]
    assert times == sorted(times)


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("100kB", Budget(bytes=100_000)),
        ("1.0MMAC", Budget(macs=1e6)),
        ("96KiB, 10ms", Budget(bytes=98_304, ms=10)),
        ("800kmac,2500us,0.1mb", Budget(bytes=100_000, macs=800_000, ms=2.5)),
    ],
)
def test_budgets_as_written(text: str, budget: Budget) -> None:
    assert Budget.parse(text).limits == pytest.approx(budget.limits)


@pytest.mark.parametrize("text", ["", "100", "kB", "100 apples", "-5kB", "0kB", "100kB,", "100kB 5ms", "5kB,6kB"])
def test_what_is_no_budget(text: str) -> None:
    with pytest.raises(UserError, match="--budget"):
        Budget.parse(text)


def test_a_budget_holds_up_to_its_limits() -> None:
    budget = Budget(bytes=1000, ms=2.0)
    assert budget.holds(Cost(1000, 10**9, 2.0, 10**9))
    assert not budget.holds(Cost(1001, 1, 2.0, 1))
    assert not budget.holds(Cost(1000, 1, 2.1, 1))


def test_least_squares() -> None:
    rows = [({"a": a, "b": b}, 3.0 * a + 0.5 * b, 1.0) for a, b in [(1.0, 1.0), (2.0, 1.0), (5.0, 7.0)]]
    assert fit(rows) == pytest.approx({"a": 3.0, "b": 0.5})


@pytest.mark.parametrize("text", ["160000B", "1000000MAC", "5.8ms", "99999.5B,1234567MAC,0.25ms"])
def test_a_budget_is_written_as_it_is_read(text: str) -> None:
    assert Budget.parse(text).text.lower() == text.lower()
