"""Deliveries: one envelope for one subscription, and the states it can be in."""

from __future__ import annotations

from datetime import timedelta
from typing import Final, Literal, NamedTuple

State = Literal["open", "claimed", "done", "parked"]

CRASHES: Final = 3
"""A delivery that was in hand at this many deaths of a process is parked."""


class NewDelivery(NamedTuple):
    """A delivery as it is written at publish.

    `delay` counts from the commit, roughly: from the statement that writes it. `group` is shared by the
    deliveries of one job. `recheck` is set when the condition raised in the publisher: the worker asks it
    again before it handles the event.
    """

    event_id: str
    subscription: str
    delay: timedelta = timedelta(0)
    group: str | None = None
    recheck: bool = False


class Claim(NamedTuple):
    """A delivery in the hands of one worker. Only the holder of the current token can close it.

    `attempts` and `crashes` are those before this claim. `refused_for` is how long the payload has been
    waiting for code that accepts it.
    """

    delivery: int
    event_id: str
    subscription: str
    token: int
    attempts: int
    crashes: int
    envelope: str
    group: str | None = None
    recheck: bool | int = False
    refused_for: timedelta | None = None


class Done(NamedTuple):
    """The subscriber's code has finished; `outcome` tells handled from noise."""

    outcome: Literal["handled", "ignored", "skipped"] = "handled"


class Retry(NamedTuple):
    """The attempt failed, and there will be another after `delay`.

    `spends` is false when the attempt has been counted already, because it ran over its time limit.
    """

    delay: timedelta
    error: str
    spends: bool = True


class Waiting(NamedTuple):
    """The contract refuses the payload, and newer code may accept it: it waits and spends no attempt."""

    delay: timedelta
    error: str


class Parked(NamedTuple):
    """The delivery is set aside; `reason` is a stable word, `error` says more."""

    reason: Reason
    error: str
    spends: bool = True


Reason = Literal["attempts", "crashes", "subscriber", "refused", "condition", "operator"]
"""Why a delivery is parked: its attempts ran out, it was in hand when processes died, its subscriber said
so, its contract refuses the payload, its condition keeps raising, or an operator decided."""


class Released:
    """The delivery goes back as if it had never been claimed: a worker stops, or cannot start it in time."""

    __slots__ = ()


Result = Done | Retry | Waiting | Parked | Released
"""How a claim ends."""


class Close(NamedTuple):
    """The end of one claim, to be written with a compare-and-set on its token."""

    claim: Claim
    result: Result
