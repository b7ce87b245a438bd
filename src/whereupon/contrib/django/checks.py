"""System checks: what is wrong with the setting WHEREUPON, the store and its ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.core.checks import CheckMessage, Error
from django.core.checks import Warning as CheckWarning
from django.db import connections

from whereupon.contrib.django.databases import connection_of, dialect_of, may_meet_a_lock
from whereupon.contrib.django.ledger import DjangoLedger
from whereupon.errors import WhereuponError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from whereupon.contrib.django.configuration import Loaded


def check(**_: Any) -> list[CheckMessage]:
    """Return what Django reports at `check`, `runserver` and `migrate`.

    Errors: E001 and counting, one for each fault of the setting or of the store. Warnings: W001 no store is
    named, W002 the ledger is not a DjangoLedger, W003 transactions on SQLite that begin without the lock,
    W005 events that are handed to the engine before the commit.
    W004 is that of Django Tasks for a backend without workers.
    """
    loaded: Loaded = apps.get_app_config("whereupon").loaded
    faults = [*loaded.faults, *_ledger_faults(loaded)]
    errors = [_error(number, fault) for number, fault in enumerate(faults, start=1)]
    return [*errors, *_warnings(loaded)]


def _error(number: int, fault: WhereuponError) -> CheckMessage:
    place = f" ({fault.where})" if fault.where else ""
    text = str(fault) if not fault.problem else f"{fault.problem} [{fault.code}]{place}"
    return Error(text, hint=fault.fix or None, id=f"whereupon.E{number:03}")


def _ledger_faults(loaded: Loaded) -> Iterator[WhereuponError]:
    if loaded.store is not None and isinstance(loaded.store.ledger, DjangoLedger):
        ledger = loaded.store.ledger
        try:
            dialect_of(connection_of(ledger.using), ledger.schema)
        except WhereuponError as error:
            yield error


def _warnings(loaded: Loaded) -> Iterator[CheckMessage]:
    if not loaded.configuration.store and not loaded.faults:
        yield CheckWarning(
            "WHEREUPON names no STORE, so nothing can be published",
            hint='WHEREUPON = {"STORE": "shop.event_store.store"}',
            id="whereupon.W001",
        )
    if loaded.store is None:
        return
    ledger = loaded.store.ledger
    if not loaded.store.is_tracked:
        if not loaded.store.waits_for_commit:
            yield CheckWarning(
                "the store has neither ledger= nor after_commit=, so events are sent before the commit",
                hint="EventStore(after_commit=whereupon.contrib.django.after_commit)",
                id="whereupon.W005",
            )
    elif not isinstance(ledger, DjangoLedger):
        yield CheckWarning(
            f"the ledger is a {type(ledger).__name__}, so publish does not join Django's transactions",
            hint="use DjangoLedger() of whereupon.contrib.django, or pass on= at each publish",
            id="whereupon.W002",
        )
    elif ledger.using in connections.settings and may_meet_a_lock(connections[ledger.using]):
        yield CheckWarning(
            f"transactions of {ledger.using!r} begin without the write lock of SQLite, and may fail with "
            "'database is locked' beside a worker",
            hint='set "OPTIONS": {"transaction_mode": "IMMEDIATE"} in DATABASES',
            id="whereupon.W003",
        )
