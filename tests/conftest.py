"""Fixtures that several test files share: an agent bundle, and the firmware that PlatformIO builds around it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("utterbit", deadline=None)  # the first example may compile the agent
settings.load_profile("utterbit")

ROOT = Path(__file__).parent.parent

BuildFirmware = Callable[..., Path]


def run_platformio(environment: str, bundle: Path, build_dir: Path) -> subprocess.CompletedProcess[str]:
    """`pio run -e environment` with another bundle and build folder than the project's own."""
    settings = {
        "UTTERBIT_BUNDLE": str(bundle),
        "PLATFORMIO_BUILD_DIR": str(build_dir),
        "PLATFORMIO_SETTING_ENABLE_TELEMETRY": "no",
        "PLATFORMIO_DISABLE_UPGRADE_CHECK": "true",
    }
    return subprocess.run(
        [sys.executable, "-m", "platformio", "run", "-e", environment],
        cwd=ROOT,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        check=False,
    )


def run_module(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """`python -m …` in the project's folder."""
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def make_agent(folder: Path, *options: str | Path, **environment: str) -> Path:
    """Train and convert by the command line; options are those of training. Weak agents are welcome."""
    for command in (
        ["train", "--preset", "quick", "--teacher", "none", "--out", folder, *options],
        ["convert", folder, "--most-loss", "1"],
    ):
        done = run_module(*command, **environment)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="session")
def agent_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small agent of the home's commands as training and conversion leave it. Only to be read."""
    return make_agent(tmp_path_factory.mktemp("agent"), "--size", "4000", "--epochs", "5")


@pytest.fixture(scope="session")
def bundle(agent_folder: Path) -> Path:
    """The small agent's bundle."""
    return agent_folder / "agent.bundle"


@pytest.fixture(scope="session")
def broken_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that the firmware takes for no agent."""
    path = tmp_path_factory.mktemp("broken") / "broken.bundle"
    path.write_bytes(b"This is no agent bundle." * 10)
    return path


@pytest.fixture(scope="session")
def build_firmware(tmp_path_factory: pytest.TempPathFactory) -> BuildFirmware:
    """Builds an environment of platformio.ini around a bundle, once; returns its build folder."""
    built: dict[tuple[str, Path], Path] = {}

    def build(environment: str, around: Path) -> Path:
        if environment != "native" and shutil.which("riscv64-unknown-elf-gcc") is None:
            pytest.skip("no RISC-V compiler: apt install gcc-riscv64-unknown-elf picolibc-riscv64-unknown-elf")
        if (environment, around) not in built:
            folder = tmp_path_factory.mktemp("build")
            done = run_platformio(environment, around, folder)
            assert done.returncode == 0, done.stdout + done.stderr
            built[environment, around] = folder / environment
        return built[environment, around]

    return build


@pytest.fixture(scope="session")
def native_program(build_firmware: BuildFirmware, broken_bundle: Path) -> Path:
    """The native firmware, which carries no valid agent: tests give it one as its argument."""
    return build_firmware("native", broken_bundle) / "program"


@pytest.fixture(scope="session")
def c3_elf(build_firmware: BuildFirmware, bundle: Path) -> Path:
    """The ESP32-C3's firmware around the small agent."""
    return build_firmware("c3", bundle) / "firmware.elf"
