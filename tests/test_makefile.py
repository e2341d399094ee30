"""The Makefile: what an agent is made of, and where it goes."""

import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="no make: apt install make")


def value(variable: str, *arguments: str) -> str:
    """Of a variable."""
    done = subprocess.run(
        ["make", "--silent", "--no-print-directory", f"--eval=said: ; @echo '$({variable})'", *arguments, "said"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.rstrip("\n")


def test_all_that_training_reads_makes_it_train_anew(tmp_path: Path) -> None:
    read = ["train.jsonl", "values.json", "one.yaml", "deep/er/two.yml", "deep/a b.yaml"]
    for name in (*read, "notes.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    told = value("LEARNED_FROM", f"DATA={tmp_path}/").replace(r"\ ", "?").split()
    assert {name.replace("?", " ") for name in told if name.startswith(str(tmp_path))} == {
        str(tmp_path / name) for name in read
    }
    source = {str(path.relative_to(ROOT)) for path in (ROOT / "train/home").rglob("*.*") if path.suffix != ".pyc"}
    assert source <= set(told)
    assert str(tmp_path / "notes.md") in value("LEARNED_FROM", f"DATA={tmp_path}/notes.md").split(), "a file is data"


def test_a_path_with_spaces_is_refused() -> None:
    done = subprocess.run(["make", "-n", "DATA=my data"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no path with spaces" in done.stderr


@pytest.mark.parametrize(
    ("data", "out"),
    [
        ("home", "home"),
        ("some/folder/", "folder"),
        ("some/one.yaml", "one.yaml"),
        (".", ROOT.name),
        ("tests/..", ROOT.name),
    ],
)
def test_an_agent_goes_to_a_folder_of_its_datas_name(data: str, out: str) -> None:
    assert value("OUT", f"DATA={data}") == f"build/{out}"
