"""The pytest plugin of whereupon: the fixture `published`.

It stands outside the package, so that a test run which does not use it imports nothing of whereupon.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from whereupon.testing import Published


@pytest.fixture
def published() -> Iterator[Published]:
    """Record the events that the test publishes; they are delivered only by `deliver_all()`."""
    from whereupon import testing

    with testing.published() as events:
        yield events


def pytest_assertrepr_compare(op: str, left: Any, right: Any) -> list[str] | None:
    """Explain `published == [...]`: what was published, and how the nearest event differs."""
    if op != "==" or "whereupon.testing" not in sys.modules:
        return None
    from whereupon.testing.explaining import explain_comparison

    return explain_comparison(left, right)
