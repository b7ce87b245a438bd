"""The page of the engines names every case of the kit, and its promise."""

from pathlib import Path

from whereupon.testing.engine_contract import CASES

PAGE = Path(__file__).parents[2] / "docs" / "engines.md"


def test_every_case_is_a_row():
    text = PAGE.read_text()
    missing = [case.name for case in CASES if f"| {case.name} | {case.promise} |" not in text]
    assert missing == []
