"""The board under test, and what is left to read afterwards: build/hil/BOARD.xml (JUnit) and BOARD.html.

pytest tests/hil                          native and sim, with a small agent made for the purpose
pytest tests/hil --board sim              what `make agent` built; native likewise
pytest tests/hil --board auto [--flash]   the one serial port that a board is plugged into
pytest tests/hil --board PORT --flash=esp32dev
"""

import datetime
import html
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

from hil.bench import Bench
from host import boards
from host.errors import BoardError
from train.agentlib import Agent
from train.errors import UserError
from train.examples import Example, read_jsonl, write_atomic

REPORTS = ROOT / "build" / "hil"
DEFAULT_BUNDLE = ROOT / "build" / "home" / "agent.bundle"

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Utterbit: {board}</title>
<style>
body {{ font: 15px/1.4 system-ui, sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em }}
table {{ border-collapse: collapse; width: 100% }}
td, th {{ text-align: left; vertical-align: top; padding: .3em .8em .3em 0; border-bottom: 1px solid #ccc }}
.passed {{ color: #176f2c }} .failed, .error {{ color: #b00020 }} .skipped {{ color: #777 }}
pre {{ margin: 0; white-space: pre-wrap }}
</style>
<h1>{board}: {verdict}</h1>
<p>{when}; {python}</p>
<table><tr><th>test<th>outcome<th>seconds<th>figures</tr>
{rows}
</table></html>
"""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("hil", "a board on the bench")
    group.addoption(
        "--board", help="auto, a serial port, sim or native; default: native and sim, built for the purpose"
    )
    group.addoption("--baud", type=int, default=115200, help="speed of a serial port; default 115200")
    group.addoption("--flash", nargs="?", const="c3", metavar="ENV", help="build and flash first; default: env c3")
    group.addoption("--bundle", type=Path, default=DEFAULT_BUNDLE, help="what the board is expected to run")
    group.addoption("--requests", type=int, help="of the soak; default 10,000, less on sim and without --board")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    name = config.getoption("--board", None)
    if name == "auto":
        try:
            name = config.option.board = boards.only_port()
        except BoardError as error:
            raise pytest.UsageError(str(error)) from None
    if config.getoption("xmlpath", None) is None:
        config.option.xmlpath = str(REPORTS / f"{_file_name(name or 'native and sim')}.xml")
    if config.getoption("--flash", None):
        _flash(config, name)


def _flash(config: pytest.Config, name: str | None) -> None:
    if name is None:
        raise pytest.UsageError("--flash needs --board, to say what to flash")
    environment = {"native": "native", "sim": "c3"}.get(name, config.option.flash)
    upload = [] if name in ("native", "sim") else ["-t", "upload", "--upload-port", name]
    command = [sys.executable, "-m", "platformio", "run", "-e", environment, *upload]
    if subprocess.run(command, cwd=ROOT, check=False).returncode != 0:
        raise pytest.UsageError(f"the firmware {environment} could not be built and flashed")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "board_name" in metafunc.fixturenames:
        name = metafunc.config.getoption("--board", None)
        metafunc.parametrize("board_name", [name] if name else ["native", "sim"], scope="session")


@pytest.fixture(scope="session")
def bench(board_name: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """The board, open. Skips where it is not built."""
    config = request.config
    with pytest.MonkeyPatch.context() as patch:
        if config.getoption("--board", None) is None:
            folder: Path = request.getfixturevalue("agent_folder")
            path = folder / "agent.bundle"
            build = request.getfixturevalue("build_firmware")
            patch.setattr(boards, "NATIVE_PROGRAM", build("native", path) / "program")
            if board_name == "sim":
                patch.setattr(boards, "SIM_ELF", build("c3", path) / "firmware.elf")
            requests = 40 if board_name == "sim" else 1_000
        else:
            path = config.getoption("--bundle")
            folder = path.parent
            requests = 200 if board_name == "sim" else 10_000
        if board_name == "sim" and (reason := boards.sim_missing()):
            pytest.skip(f"sim: {reason}")
        bench = Bench(
            board_name,
            path.read_bytes(),
            Agent(path.read_bytes()),
            _examples(folder),
            config.getoption("--requests", None) or requests,
            tmp_path_factory.mktemp("flash") / "flash",
            config.getoption("--baud", 115200),
        )
        try:
            bench.connect()
        except (BoardError, UserError) as error:
            pytest.fail(str(error), pytrace=False)
        yield bench
        bench.client.close()


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Callable[[str, object], None]:
    """Keeps a figure for the page and the JUnit file."""
    return lambda name, value: request.node.user_properties.append((name, value))


def _examples(folder: Path) -> list[Example]:
    for part in ("test", "valid", "train"):
        if (path := folder / "data" / f"{part}.jsonl").is_file():
            return read_jsonl(path)
    pytest.fail(f"{folder} has no data/test.jsonl; expected the folder that `python -m train` filled", pytrace=False)


# ---- the page ----

_reports: dict[str, list[tuple[str, str, float, list[tuple[str, Any]]]]] = {}


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if "tests/hil/" not in report.nodeid or not (report.when == "call" or report.outcome != "passed"):
        return
    test, _, board = report.nodeid.rpartition("::")[2].rstrip("]").partition("[")
    outcome = report.outcome if report.when == "call" or report.outcome == "skipped" else "error"
    properties = [(str(name), value) for name, value in report.user_properties]
    if report.outcome != "passed":
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext
        properties.append(("why", reason[-2000:]))
    _reports.setdefault(board, []).append((test.removeprefix("test_"), outcome, report.duration, properties))


def pytest_sessionfinish() -> None:
    REPORTS.mkdir(parents=True, exist_ok=True)
    for board, results in _reports.items():
        escape = partial(html.escape, quote=True)
        rows = "\n".join(
            f'<tr><td>{escape(test.replace("_", " "))}<td class="{outcome}">{outcome}<td>{seconds:.1f}<td><pre>'
            + escape("\n".join(f"{name}: {value}" for name, value in properties))
            + "</pre></tr>"
            for test, outcome, seconds, properties in results
        )
        bad = sum(outcome in ("failed", "error") for _, outcome, _, _ in results)
        page = PAGE.format(
            board=escape(board),
            verdict=f"{bad} of {len(results)} failed" if bad else "all is well",
            when=datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
            python=f"Python {sys.version.partition(' ')[0]} on {sys.platform}",
            rows=rows,
        )
        write_atomic(REPORTS / f"{_file_name(board)}.html", page)


def _file_name(board: str) -> str:
    return "".join(char if char.isalnum() or char in "-." else "-" for char in board).strip("-")
