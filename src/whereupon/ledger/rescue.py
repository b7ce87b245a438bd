"""Beats and rescue: who is alive, and what happens to the deliveries of those who are not.

A worker is one process. Somebody else beats for it: the parent of local workers, which sees whether it
runs, is stopped, or is dead. When its lease has lapsed, or a peer on the same host finds it dead, all it
had claimed goes back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from whereupon.deliveries import CRASHES
from whereupon.ledger.claims import with_failure

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from whereupon.ledger_protocol import Row, Transaction

LEASE: Final = 10_000
"""How long a worker holds its claims without a beat, in milliseconds."""

_REGISTER: Final = """
    INSERT INTO whereupon_worker (id, host, place, pid, born, kind, started_at, lease_until)
    VALUES (:id, :host, :place, :pid, :born, :kind, :now, :until)
    ON CONFLICT (id) DO UPDATE SET lease_until = excluded.lease_until
"""
_BEAT: Final = """
    UPDATE whereupon_worker SET lease_until = :until WHERE id = ANY(:ids)
    RETURNING id
"""
_ALL: Final = "SELECT id, host, place, pid, born, kind, lease_until, started_at FROM whereupon_worker"
_LEASE_OF: Final = "SELECT lease_until FROM whereupon_worker WHERE id = :id FOR KEY SHARE"
_LOCKED_LEASE_OF: Final = "SELECT lease_until FROM whereupon_worker WHERE id = :id FOR UPDATE"
_FORGET: Final = "DELETE FROM whereupon_worker WHERE id = :id"
_HELD: Final = """
    SELECT id, crashes, history, overrunning FROM whereupon_delivery
    WHERE worker = :worker AND state = 'claimed' ORDER BY id
"""
_ORPHANS: Final = """
    SELECT DISTINCT worker FROM whereupon_delivery
    WHERE state = 'claimed' AND worker NOT IN (SELECT id FROM whereupon_worker)
"""
_GIVE_BACK: Final = """
    UPDATE whereupon_delivery
    SET state = :state, outcome = :reason, crashes = crashes + :blame, due_at = :now, token = NULL,
        worker = NULL, overrunning = 0, group_id = CASE WHEN :blame = 1 THEN NULL ELSE group_id END,
        error = coalesce(:error, error),
        history = coalesce(:history, history)
    WHERE id = :id AND worker = :worker AND state = 'claimed'
"""


@dataclass(frozen=True, slots=True)
class Process:
    """A worker process as the ledger knows it.

    `place` tells which kernel and which process namespace `pid` belongs to, and `born` when the process
    started, so that a reused pid is not taken for it. `lease_until` is in milliseconds since 1970.
    """

    id: str
    host: str
    place: str
    pid: int
    born: str
    kind: str
    lease_until: int = 0
    started_at: int = 0


@dataclass(frozen=True, slots=True)
class Rescued:
    """What a rescue gave back: how many deliveries, and which are suspected or parked for the death."""

    worker: str
    returned: int
    suspects: tuple[int, ...]
    parked: tuple[int, ...]


def register(transaction: Transaction, process: Process) -> None:
    """Make a worker known, or known again. It may claim until its lease lapses."""
    now = transaction.now()
    transaction.run(
        _REGISTER,
        {
            "id": process.id,
            "host": process.host,
            "place": process.place,
            "pid": process.pid,
            "born": process.born,
            "kind": process.kind,
            "now": now,
            "until": now + LEASE,
        },
    )


def beat(transaction: Transaction, workers: Iterable[str]) -> set[str]:
    """Renew the leases of running workers and return those that are still known."""
    until = transaction.now() + LEASE
    rows = transaction.rows(_BEAT, {"until": until, "ids": sorted(workers)})
    return {row[0] for row in rows}


def lease(transaction: Transaction, worker: str) -> int | None:
    """Return until when a worker may claim, in milliseconds since 1970; None once it has been rescued.

    Until the transaction ends nobody can rescue it, so it may close what it holds though its lease has
    lapsed.
    """
    rows = transaction.rows(_LEASE_OF, {"id": worker})
    return int(rows[0][0]) if rows else None


def processes(transaction: Transaction) -> list[Process]:
    """Return all workers that the ledger knows."""
    return [Process(*row) for row in transaction.rows(_ALL)]


def lapsed(transaction: Transaction) -> list[str]:
    """Return the workers whose lease has lapsed, and names on claims that no worker bears."""
    now = transaction.now()
    dead = [each.id for each in processes(transaction) if each.lease_until <= now]
    return [*dead, *(row[0] for row in transaction.rows(_ORPHANS))]


def rescue(transaction: Transaction, worker: str, *, blame: bool = True) -> Rescued:
    """Take everything back from a worker that is gone, and forget it.

    On the first death all it had claimed become suspects; if one of them was a suspect already, only that
    one is blamed. A delivery that was in hand at `CRASHES` deaths is parked. Without `blame` the process
    was ended on purpose. Overrunning handlers have been counted as failed and are not blamed.
    """
    now = transaction.now()
    transaction.run(_FORGET, {"id": worker})  # first, as it waits for what the worker still writes
    held = transaction.rows(_HELD, {"worker": worker})
    blamed = _blamed(held) if blame else set()
    suspects: list[int] = []
    parked: list[int] = []
    for delivery, crashes, history, _ in held:
        is_blamed = delivery in blamed
        is_parked = is_blamed and crashes + 1 >= CRASHES
        error = f"the process that held it died ({crashes + 1} of {CRASHES})" if is_blamed else None
        transaction.run(
            _GIVE_BACK,
            {
                "id": delivery,
                "worker": worker,
                "state": "parked" if is_parked else "open",
                "reason": "crashes" if is_parked else None,
                "blame": int(is_blamed),
                "now": now,
                "error": error,
                "history": error and with_failure(history, now, None, error),
            },
        )
        if is_blamed:
            (parked if is_parked else suspects).append(delivery)
    return Rescued(worker, len(held), tuple(suspects), tuple(parked))


def rescue_lapsed(transaction: Transaction, worker: str) -> Rescued | None:
    """Rescue a worker that `lapsed` has named, unless there was a beat for it since: then return None."""
    rows = transaction.rows(_LOCKED_LEASE_OF, {"id": worker})
    if rows and rows[0][0] > transaction.now():
        return None
    return rescue(transaction, worker)


def _blamed(held: Sequence[Row]) -> set[int]:
    suspects = {row[0] for row in held if row[1] > 0}
    return suspects or {row[0] for row in held if not row[3]}
