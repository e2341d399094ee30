"""Search: what is tried fits, a search goes on, processes share it, and what is shown is the front."""

import itertools
import json
import shlex
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from test_train import GOOD, line, write_data

from train import datasets
from train.__main__ import main, parser
from train.cost import CHIPS, Budget, Pricing
from train.errors import UserError
from train.examples import Example
from train.presets import PRESETS
from train.search import (
    JOURNAL,
    SMALLEST,
    Candidate,
    Outcome,
    Plan,
    Trainer,
    dominates,
    front,
    open_study,
    picture,
    require_reach,
    results,
    run,
    show,
)
from train.student import Shape

CHIP = CHIPS["esp32c3"]
PRICE = Pricing(data_bytes=3000, positions=9, chip=CHIP)
PLAN = Plan("home", "en", Budget(bytes=120_000, ms=12), "esp32c3", 2, 1, None, "default", "")
QUIET = Console(quiet=True)


def shape_of(sizes: dict[str, Any]) -> Shape:
    """All sizes of a student."""
    return Shape(classes=20, tags=21, **sizes)


def pretend(candidate: Candidate) -> Outcome:
    """A training that takes no time: more weights are better, with less and less gain."""
    shape = shape_of(candidate.sizes)
    target = candidate.budget(shape, PRICE(shape), PLAN.budget)
    cost = PRICE(shape)
    if target:
        cost = replace(cost, bytes=min(cost.bytes, target.limits["bytes"]), ms=min(cost.ms, target.limits["ms"]))
    return Outcome(shape, cost, 0.9, 1 - 1e4 / (cost.bytes + 1e3 * cost.ms))


def searched(out: Path, trials: int, plan: Plan = PLAN) -> dict[str, Any]:
    """A search, gone on with if there is one."""
    study = open_study(out, plan, worker_seed=3)
    run(study, plan, shape_of, PRICE, pretend, trials, QUIET)
    return results(study, plan, PRICE, shape_of, ["--data", "home", "--seed", "3"], out)


def test_all_that_is_tried_is_within_the_budget_and_the_front_is_of_it(tmp_path: Path) -> None:
    found = searched(tmp_path, 12)
    assert len(found["trials"]) == 12
    for trial in found["trials"]:
        assert trial["cost"]["bytes"] <= 120_000
        assert trial["cost"]["ms"] <= 12
        assert trial["cost"]["arena"] <= CHIP.arena
    assert len({json.dumps(t["shape"]) for t in found["trials"]}) > 6, "it explores"
    best = found["front"]
    assert [t["exact"] for t in best] == sorted((t["exact"] for t in best), reverse=True)
    assert best[0]["exact"] == max(t["exact"] for t in found["trials"])


def test_a_search_goes_on(tmp_path: Path) -> None:
    first = searched(tmp_path, 3)
    assert searched(tmp_path, 3) == first, "nothing is left to do"
    more = searched(tmp_path, 6)
    assert more["trials"][:3] == first["trials"]
    assert len(more["trials"]) == 6


def test_processes_share_a_search(tmp_path: Path) -> None:
    workers = [threading.Thread(target=searched, args=(tmp_path, 8)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    numbers = [t["trial"] for t in searched(tmp_path, 8)["trials"]]
    assert len(set(numbers)) == len(numbers)
    assert 8 <= len(numbers) <= 8 + len(workers) - 1, "at most the trials that were under way"


def test_another_search_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    open_study(tmp_path, PLAN, 1)
    with pytest.raises(UserError, match=r"another search \(epochs 2, not 5\)"):
        open_study(tmp_path, replace(PLAN, epochs=5), 1)
    with pytest.raises(UserError, match="sentences"):
        open_study(tmp_path, replace(PLAN, sentences="others"), 1)


def test_a_folder_that_cannot_hold_a_search_is_named(tmp_path: Path) -> None:
    (tmp_path / JOURNAL).write_text("{\n")
    with pytest.raises(UserError, match=f"{JOURNAL} is broken"):
        open_study(tmp_path, PLAN, 1)
    with pytest.raises(UserError, match="cannot hold a search"):
        open_study(tmp_path / JOURNAL, PLAN, 1)


@pytest.mark.parametrize("budget", [Budget(bytes=9_000), Budget(ms=0.1), Budget(macs=1e4)])
def test_a_budget_out_of_reach_is_refused(budget: Budget) -> None:
    with pytest.raises(UserError, match=r"out of reach: the smallest student that is searched takes \d"):
        require_reach(budget, PRICE(shape_of(SMALLEST)))


def test_a_trial_is_pruned_to_its_own_share_within_the_budget() -> None:
    sizes = {"rows": 1024, "heads": (4,), "hidden": (64,)}
    shape = shape_of(sizes)
    whole = PRICE(shape)
    assert Candidate(sizes, 1.0).budget(shape, whole, Budget(bytes=1e6)) is None
    half = Candidate(sizes, 0.5).budget(shape, whole, Budget(bytes=1e6, ms=7))
    assert half is not None
    assert 0 < half.limits["bytes"] < whole.bytes
    assert half.limits["ms"] == 7
    assert Candidate(sizes, 0.5).budget(shape, whole, Budget(bytes=20_000)) == Budget(bytes=20_000)


def trial(exact: float, size: float, ms: float) -> dict[str, Any]:
    return {"exact": exact, "cost": {"bytes": size, "ms": ms}}


def test_the_front() -> None:
    best, fast, small = trial(0.9, 100, 10), trial(0.8, 100, 5), trial(0.7, 50, 10)
    worse = [trial(0.9, 101, 10), trial(0.8, 100, 6), trial(0.6, 50, 10)]
    for order in itertools.permutations([best, fast, small, *worse[:1]]):
        assert front([*order, *worse[1:]]) == [best, fast, small]
    assert not dominates((0.9, 1, 1), (0.9, 1, 1)), "equals stand beside each other"
    assert dominates((0.9, 1, 1), (0.8, 1, 1))
    assert not dominates((0.8, 1, 1), (0.9, 2, 2))


def test_what_is_shown(tmp_path: Path) -> None:
    found = searched(tmp_path, 5)
    console = Console(width=160)
    with console.capture() as said:
        show(found, console)
    assert "Pareto front of 5 trials" in said.get()
    assert f"{found['front'][0]['exact']:.1%}" in said.get()
    picture(found, tmp_path / "a.svg")
    assert "<svg" in (tmp_path / "a.svg").read_text()
    for entry in found["trials"]:
        options = parser().parse_args(shlex.split(entry["command"])[3:])
        assert (options.data, options.seed) == ("home", 3)
        assert options.out == tmp_path / f"trial{entry['trial']}", "the default agent's folder is not touched"
        assert {*json.loads(options.shape)} == {"rows", "embed", "width", "heads", "hidden"}
        if options.budget:
            assert Budget.parse(options.budget).limits["bytes"] >= entry["cost"]["bytes"] - 1


def test_a_trial_trains_and_prunes(tmp_path: Path) -> None:
    text = GOOD + line("fan on", "TurnOn", ("name", 0, 3)) + line("dim the hall", "Dim", ("area", 8, 12))
    folder = write_data(tmp_path / "tiny", train=text * 8, valid=GOOD)
    data = datasets.load(str(folder), data_dir=None, cache_dir=tmp_path)
    trainer = Trainer(data, replace(PLAN, budget=Budget(bytes=60_000)), None)
    candidate = Candidate({"rows": 128, "embed": 16, "width": 16, "heads": (2,), "hidden": (32,)}, 0.5)
    with pytest.raises(UserError, match="at least 2 epochs"):
        Trainer(data, replace(PLAN, epochs=1), None)
    commands = [example for example in data.train if example.intent]
    with pytest.raises(UserError, match="is out of scope, but"):  # not at each trial anew, without end
        Trainer(replace(data, train=commands, valid=[Example("who are you", None)]), PLAN, None)
    outcome = trainer(candidate)
    assert outcome.shape.weight_bits == PRESETS["default"].shape["weight_bits"]
    whole = trainer.shape(candidate.sizes)
    target = candidate.budget(whole, trainer.price(whole), trainer.plan.budget)
    assert target is not None
    assert target.holds(outcome.cost)
    assert outcome.cost == trainer.price(outcome.shape)
    assert sum(outcome.shape.hidden) < 32
    assert 0 <= outcome.exact <= outcome.intent <= 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["search"], "a search needs a budget"),
        (["search", "--budget", "100 apples"], "is no budget"),
        (["search", "--budget", "100kB", "--shape", '{"width": 32}'], "leave out --shape"),
        (["search", "--budget", "100kB", "--soft-labels", "5"], "leave out --shape and --soft-labels"),
        (["--size", "50", "--soft-labels", "5", "--teacher", "none"], "--soft-labels needs a teacher"),
        (["--budget", "5"], "is no budget"),
        (["--shape", "{"], "is no JSON"),
        (["--shape", '{"depth": 3}'], "names of positions"),
        (["--shape", '{"heads": 3}'], "lists with a number for each layer"),
        (["--shape", '{"width": -3}'], "positive numbers"),
    ],
)
def test_bad_arguments_are_named(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
