"""The board under test, and what is left to read afterwards: build/hil/BOARD.xml (JUnit) and BOARD.html.

pytest tests/hil                          native and sim, with a small agent made for the purpose
pytest tests/hil --board sim              what `make agent` built; native likewise
pytest tests/hil --board auto [--flash]   the one serial port that a board is plugged into
pytest tests/hil --board PORT --flash=esp32dev
"""

import datetime
import html
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

from hil.bench import Bench
from host import boards
from host.errors import BoardError
from train.agentlib import Agent
from train.bundle_file import bundle_crc, read_bundle, unsigned
from train.command_line import whole
from train.errors import UserError
from train.examples import Example, read_jsonl, write_atomic

REPORTS = ROOT / "build" / "hil"
DEFAULT_BUNDLE = ROOT / "build" / "home" / "agent.bundle"

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Utterbit: {board}</title>
<style>
:root {{ color-scheme: light dark }}
body {{ font: 15px/1.4 system-ui, sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em }}
section {{ display: grid; grid-template-columns: 20em 5em 1fr; gap: .2em 1em; padding: .4em 0 }}
section {{ border-top: 1px solid #8888 }}
section > :nth-child(3) {{ text-align: right; max-width: 5em }}
section > :nth-child(n + 4) {{ grid-column: 1 / -1 }}
.passed {{ color: light-dark(#176f2c, #7fd48f) }} .failed, .error {{ color: light-dark(#b00020, #ff8a8a) }}
.skipped {{ color: light-dark(#666, #aaa) }}
dl {{ margin: 0 0 0 1.5em; display: grid; grid-template-columns: max-content 1fr; gap: 0 1em }}
dt {{ opacity: .7 }} dd {{ margin: 0; overflow-wrap: anywhere }}
pre {{ margin: 0 0 0 1.5em; font-size: 13px; overflow-x: auto }}
@media (max-width: 36em) {{
  section {{ grid-template-columns: 1fr 4em 4em }} dl, pre {{ margin-left: 0 }} pre {{ font-size: 11px }}
}}
</style>
<h1>{board}: {verdict}</h1>
<p>{when}; {python}</p>
{rows}
</html>
"""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("hil", "a board on the bench")
    group.addoption(
        "--board", help="auto, a serial port, sim or native; default: native and sim, built for the purpose"
    )
    group.addoption("--baud", type=whole(1), default=115200, help="speed of a serial port; default 115200")
    group.addoption(
        "--flash",
        nargs="?",
        const="c3",
        metavar="ENV",
        help="build --bundle's firmware and flash it first; default: c3",
    )
    group.addoption("--bundle", type=Path, help="what the board is expected to run; default: what `make agent` made")
    group.addoption("--requests", type=whole(1), help="of the soak; default 10,000, less on sim and without --board")


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
    if name is not None:
        _bundle(config)
    elif config.getoption("--bundle", None):
        raise pytest.UsageError("--bundle needs --board, to say which board runs it: native, sim or a serial port")
    if config.getoption("--flash", None):
        _flash(config, name)


def _flash(config: pytest.Config, name: str | None) -> None:
    if name is None:
        raise pytest.UsageError("--flash needs --board, to say what to flash")
    environment = {"native": "native", "sim": "c3"}.get(name, config.option.flash)
    upload = [] if name in ("native", "sim") else ["-t", "upload", "--upload-port", name]
    command = [sys.executable, "-m", "platformio", "run", "-e", environment, *upload]
    settings = {
        "UTTERBIT_BUNDLE": str(_bundle(config).resolve()),
        "PLATFORMIO_SETTING_ENABLE_TELEMETRY": "no",
        "PLATFORMIO_DISABLE_UPGRADE_CHECK": "true",
    }
    if subprocess.run(command, cwd=ROOT, env={**os.environ, **settings}, check=False).returncode != 0:
        raise pytest.UsageError(f"the firmware {environment} could not be built and flashed")
    if upload:
        time.sleep(boards.RETURN_TIME)  # the chip's own USB port is away while it starts


def _bundle(config: pytest.Config) -> Path:
    path: Path = config.getoption("--bundle") or DEFAULT_BUNDLE
    if not path.is_file():
        raise pytest.UsageError(f"--bundle {path}: no such file; `make agent` makes build/home/agent.bundle")
    return path


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "board_name" in metafunc.fixturenames:
        name = metafunc.config.getoption("--board", None)
        metafunc.parametrize("board_name", [name] if name else ["native", "sim"], scope="session")


@pytest.fixture(scope="session")
def bench(board_name: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """The board, open, with the agent that is expected. A board that was asked for and is not there ends the run."""
    config = request.config
    (REPORTS / f"{_file_name(board_name)}.html").unlink(missing_ok=True)  # of another run
    asked_for = config.getoption("--board", None) is not None
    with pytest.MonkeyPatch.context() as patch:
        if not asked_for:
            folder: Path = request.getfixturevalue("agent_folder")
            path = folder / "agent.bundle"
            build = request.getfixturevalue("build_firmware")
            patch.setattr(boards, "NATIVE_PROGRAM", build("native", path) / "program")
            if board_name == "sim":
                patch.setattr(boards, "SIM_ELF", build("c3", path) / "firmware.elf")
            requests = 40 if board_name == "sim" else 1_000
        else:
            path = _bundle(config)
            folder = path.parent
            requests = 200 if board_name == "sim" else 10_000
        if not asked_for and board_name == "sim" and (reason := boards.sim_missing()):
            pytest.skip(f"sim: {reason}")
        try:
            content = read_bundle(path)
            bench = Bench(
                board_name,
                content,
                Agent(unsigned(content)),
                _examples(folder),
                config.getoption("--requests", requests) or requests,
                tmp_path_factory.mktemp("flash") / "flash",
                config.getoption("--baud", 115200),
            )
            bench.connect()
            info = bench.client.info()
        except (BoardError, UserError) as error:
            pytest.exit(str(error), returncode=3)
        if info.crc != bundle_crc(bench.bundle):
            bench.client.close()
            pytest.exit(
                f"{board_name} runs {info.agent} ({info.crc}), not {path} ({bundle_crc(bench.bundle)}): name its "
                f"bundle with --bundle, or give it this one with --flash or `python -m host update {path}`",
                returncode=3,
            )
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
    pytest.exit(f"{folder} has no data/test.jsonl; expected the folder that `python -m train` filled", returncode=3)


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
        rows = "\n".join(
            f'<section><b>{html.escape(test.replace("_", " "))}</b><span class="{outcome}">{outcome}</span>'
            f"<span>{seconds:.1f} s</span>{_figures(properties)}</section>"
            for test, outcome, seconds, properties in results
        )
        counts = Counter(outcome for _, outcome, _, _ in results)
        page = PAGE.format(
            board=html.escape(board),
            verdict=", ".join(f"{count} {outcome}" for outcome, count in counts.most_common()),
            when=datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
            python=f"Python {sys.version.partition(' ')[0]} on {sys.platform}",
            rows=rows,
        )
        write_atomic(REPORTS / f"{_file_name(board)}.html", page)


def _figures(properties: list[tuple[str, Any]]) -> str:
    short = "".join(
        f"<dt>{html.escape(name)}<dd>{html.escape(str(value))}" for name, value in properties if "\n" not in str(value)
    )
    long = "".join(f"<pre>{html.escape(str(value))}</pre>" for _, value in properties if "\n" in str(value))
    return (f"<dl>{short}</dl>" if short else "") + long


def _file_name(board: str) -> str:
    return "".join(char if char.isalnum() or char in "-." else "-" for char in board).strip("-")
