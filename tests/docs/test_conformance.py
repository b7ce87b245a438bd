"""The table of conformance: complete, counted right, and each statement with tests that are there."""

import ast
import re
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "conformance.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|\n").split("|")]
    for line in PAGE.splitlines()
    if re.match(r"\| \d", line)
]


def functions(path: Path) -> set[str]:
    return {
        node.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def test_each_statement_has_one_row_and_a_verdict():
    assert [int(row[0]) for row in ROWS] == [*range(1, 73), *range(97, 106)]
    for number, statement, verdict, here, tests in ROWS:
        assert statement
        assert tests
        assert verdict in ("same", "better", "different"), number
        assert here or verdict == "same", f"{number} is {verdict} without saying how"


def test_the_counts_of_the_introduction_are_those_of_the_table():
    counts = Counter(row[2] for row in ROWS)
    said = re.search(
        r"(\d+) are the same, (\d+) are better\s.*?(\d+) are deliberately different", PAGE, re.DOTALL
    )
    assert tuple(map(int, said.groups())) == (counts["same"], counts["better"], counts["different"])


def test_every_test_that_is_named_is_there():
    for number, *_, tests in ROWS:
        named = re.findall(r"`([^`]+)::([^`]+)`", tests)
        assert named, number
        for path, name in named:
            assert name in functions(ROOT / "tests" / path), f"{number}: {path}::{name}"
