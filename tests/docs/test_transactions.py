"""The page of what joins names every case and every kind that the tests run."""

from pathlib import Path

from tests.transactions.test_matrix import ALL

from whereupon.testing.transaction_contract import CASES

PAGE = Path(__file__).parents[2] / "docs" / "transactions.md"


def test_every_case_is_a_row():
    rows = [line.split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| ")][1:]
    assert [(row[0].strip("| "), row[1].strip("| ")) for row in rows] == [
        (case.name, case.outcome) for case in CASES
    ]


def test_every_kind_is_named():
    named = {line.removeprefix("- ") for line in PAGE.read_text().splitlines() if line.startswith("- ")}
    assert set(ALL) <= named
