"""Code that must type-check and code that must not, under mypy --strict and under pyright."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
pytest.importorskip("mypy", reason="the type checkers are part of `make check`")
pytest.importorskip("pyright", reason="the type checkers are part of `make check`")


def run(*arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *map(str, arguments)], capture_output=True, text=True, check=False, cwd=ROOT
    )
    return done.stdout


def mypy(path: Path) -> set[int]:
    output = run("mypy", "--strict", "--no-incremental", "--config-file=", path)
    assert "error: Cannot find" not in output, output
    return {int(line) for line in re.findall(rf"{path.name}:(\d+): error", output)}


def pyright(path: Path) -> set[int]:
    report = json.loads(run("pyright", "--outputjson", "--pythonpath", sys.executable, path))
    return {
        each["range"]["start"]["line"] + 1
        for each in report["generalDiagnostics"]
        if each["severity"] == "error"
    }


@pytest.mark.parametrize("checker", [mypy, pyright])
def test_what_users_write_type_checks(checker):
    assert checker(HERE / "should_pass.py") == set()


@pytest.mark.parametrize("checker", [mypy, pyright])
def test_what_is_wrong_does_not_type_check(checker):
    path = HERE / "should_fail.py"
    marked = {number for number, line in enumerate(path.read_text().splitlines(), 1) if "# refused" in line}
    assert checker(path) == marked
