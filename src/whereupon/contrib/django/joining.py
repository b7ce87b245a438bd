"""Joining the transaction of a Django connection: what joins, what does not, what became of it."""

from __future__ import annotations

import logging
import sys
import time
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils.connection import ConnectionProxy

from whereupon.contrib.django.databases import connection_of, describe, dialect_of
from whereupon.contrib.django.transactions import DjangoTransaction
from whereupon.errors import NoTransaction, WrongConnection, WrongLedger
from whereupon.ledger import versions
from whereupon.ledger.sqlite_joining import watch as watch_sqlite
from whereupon.naming import shorten

if TYPE_CHECKING:
    from collections.abc import Callable

    from whereupon.ledger_protocol import Fate

_INTERVAL: Final = 60.0
"""How many seconds lie between two reports of one call site."""
_FIX: Final = "write the business rows and publish inside `with transaction.atomic():`"

_log = logging.getLogger("whereupon.publish")
_reported: dict[str, float] = {}  # the call site, and when it was reported (monotonic)
_checked: WeakKeyDictionary[Any, str] = WeakKeyDictionary()  # a connection, and the ledger it writes to


def joined(on: object | None, using: str) -> Any:
    """Return the Django connection that `on` means: None, an alias, or a Django connection.

    Raises `WrongConnection`, `InvalidConfiguration`.
    """
    if on is None:
        return connection_of(using)
    if isinstance(on, str):
        return connection_of(on)
    if isinstance(on, ConnectionProxy):
        proxy: Any = on
        return connection_of(proxy.alias)
    if isinstance(on, BaseDatabaseWrapper):
        return on
    kind = f"{type(on).__module__}.{type(on).__qualname__}"
    raise WrongConnection(
        f"DjangoLedger joins the transaction of an alias of DATABASES, not of {kind}",
        fix="leave on= out, or pass the alias that wrote the business rows",
    )


def in_transaction(connection: Any) -> bool:
    """Tell whether what is written on a connection commits with something else.

    The atomic blocks that `TestCase` opens around a test do not count: the application has none there.
    """
    if connection.in_atomic_block:
        return any(not getattr(each, "_from_testcase", False) for each in connection.atomic_blocks)
    return not connection.get_autocommit()


def refuse_without_transaction(connection: Any) -> None:
    """Raise `NoTransaction` where an event would commit alone."""
    if not in_transaction(connection):
        raise NoTransaction(
            f"the connection {connection.alias!r} is in autocommit mode, so the event would commit alone",
            where=call_site(),
            fix=_FIX,
        )


def refuse_other_ledger(connection: Any, own: Any, schema: str) -> None:
    """Raise `WrongLedger` where a connection writes to another database than the ledger's."""
    if connection is own or (connection.alias == own.alias and _name(connection) == _name(own)):
        return
    expected = versions.ledger_id(DjangoTransaction(own, dialect_of(own, schema)))
    if _checked.get(connection) == expected:
        return
    transaction = DjangoTransaction(connection, dialect_of(connection, schema))
    if versions.version_of(transaction) == 0 or versions.ledger_id(transaction) != expected:
        raise WrongLedger(
            f"on= writes to {describe(connection)}, and the workers read {describe(own)}",
            fix=f"leave on= out and publish inside `with transaction.atomic(using={own.alias!r}):`",
        )
    _checked[connection] = expected


def _name(connection: Any) -> object:
    return connection.settings_dict["NAME"], connection.settings_dict.get("HOST")


def watch(connection: Any, event_id: str) -> Callable[[], Fate]:
    """Note an event in a connection's transaction and return what tells its fate. For tests.

    The note is written and read below Django, and a rollback, of a savepoint too, takes it away. What has
    been told once stays, as Django may close the connection after a commit.
    """
    connection.ensure_connection()
    if connection.vendor == "sqlite":
        ask = watch_sqlite(connection.connection, event_id)
    else:
        from whereupon.ledger.psycopg_joining import watch as watch_psycopg

        ask = watch_psycopg(connection.connection, event_id)
    told: list[Fate] = []

    def fate() -> Fate:
        if told:
            return told[0]
        found = ask()
        if found != "pending":
            told.append(found)
        return found

    return fate


def report_alone(site: str) -> None:
    """Report that an event was published without a transaction, once a minute for each call site."""
    now = time.monotonic()
    if now < _reported.get(site, -_INTERVAL) + _INTERVAL:
        return
    _reported[site] = now
    _log.error(
        "published outside a transaction at %s: the event is not lost, but it does not commit with the "
        "business rows; %s",
        site,
        _FIX,
    )


def call_site() -> str:
    """Return `path:line` of the code that called into whereupon."""
    frame = sys._getframe(1)  # noqa: SLF001
    while frame.f_back is not None and _is_ours(frame.f_globals.get("__name__", "")):
        frame = frame.f_back
    return f"{shorten(frame.f_code.co_filename)}:{frame.f_lineno}"


def _is_ours(module: str) -> bool:
    return module == "whereupon" or module.startswith("whereupon.")
