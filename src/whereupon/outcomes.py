"""What a subscriber can say about a delivery besides returning or failing."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final, final

from whereupon.errors import InvalidSubscriber

if TYPE_CHECKING:
    from collections.abc import Mapping

    from whereupon.events import BaseEvent


@final
class Ignored:
    """The type of `IGNORED`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "IGNORED"


IGNORED: Final = Ignored()
"""Return it when there was nothing to do: the delivery is done, and counted as noise."""


class RetryIn(Exception):
    """Raise it to fail this attempt and have the next one after a delay of your own.

    `delay` is a timedelta of zero or more. The attempt counts; after `max_attempts` the delivery is parked.
    """

    def __init__(self, delay: timedelta) -> None:
        super().__init__(delay)
        if not isinstance(delay, timedelta) or delay < timedelta(0):
            raise InvalidSubscriber(f"RetryIn takes a timedelta of zero or more, not {delay!r}")
        self.delay = delay


class Park(Exception):
    """Raise it to set the delivery aside at once, with a reason that an operator will read."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Failed(Exception):
    """Raise it from a subscriber that takes a list, to fail some of its events and not the others.

    `errors` maps each event that failed to its exception; the rest are done.
    """

    def __init__(self, errors: Mapping[BaseEvent, BaseException]) -> None:
        super().__init__(f"{len(errors)} of the events failed")
        self.errors = dict(errors)
