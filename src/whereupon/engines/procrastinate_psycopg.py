"""A connection of our own to the database of a Procrastinate application, on which nothing takes long."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from typing import TYPE_CHECKING, Any, Final

import psycopg
from procrastinate import PsycopgConnector, SyncPsycopgConnector
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from whereupon.errors import InvalidConfiguration
from whereupon.ledger.psycopg_connection import OF_PSYCOPG, describe

if TYPE_CHECKING:
    from collections.abc import Iterator

_SECONDS: Final = 2  # within which the server must answer


def conninfo_of(connector: Any) -> str:
    """Return where a connector leads, as text for libpq.

    Raises `InvalidConfiguration` where that is not to a PostgreSQL by psycopg 3.
    """
    if hasattr(connector, "get_worker_connector"):  # Django's, which has none but the request's connection
        connector = connector.get_worker_connector()
    if not isinstance(connector, PsycopgConnector | SyncPsycopgConnector):
        raise InvalidConfiguration(
            f"wake-ups cannot be sent by the {type(connector).__name__} of the Procrastinate application",
            fix="give it a PsycopgConnector",
        )
    given = connector._pool_args  # noqa: SLF001 - Procrastinate's, and nothing else tells
    conninfo, kwargs = (_value(given.get(name)) for name in ("conninfo", "kwargs"))
    options = {name: value for name, value in (kwargs or {}).items() if name not in OF_PSYCOPG}
    return make_conninfo(conninfo or "", **options)


def _value(given: Any) -> Any:
    return given() if callable(given) else given


def place_of(connector: Any) -> str:
    """Say where a connector leads, without the password."""
    return describe(conninfo_of(connector))


def connect(connector: Any) -> psycopg.Connection[Any]:
    """Open a connection in autocommit mode. Raises `psycopg.Error`, `InvalidConfiguration`."""
    given = {"application_name": "whereupon"} | conninfo_to_dict(conninfo_of(connector))
    return psycopg.connect(
        **(given | {"connect_timeout": _SECONDS}),  # type: ignore[arg-type]
        autocommit=True,
        prepare_threshold=None,
    )


@contextlib.contextmanager
def in_time(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Cancel what takes the server too long, and cut the line where even that is not answered.

    Nothing is set for the session, as there may be a pooler between.
    """
    line = socket.socket(fileno=os.dup(connection.fileno()))
    timers = [
        threading.Timer(_SECONDS, _cancel, [connection]),
        threading.Timer(_SECONDS + 1, _cut, [line]),
    ]
    for timer in timers:
        timer.daemon = True
        timer.start()
    try:
        yield
    finally:
        for timer in timers:
            timer.cancel()
            timer.join()
        line.close()


def _cancel(connection: psycopg.Connection[Any]) -> None:
    with contextlib.suppress(psycopg.Error):
        connection.cancel_safe(timeout=_SECONDS)


def _cut(line: socket.socket) -> None:
    with contextlib.suppress(OSError):
        line.shutdown(socket.SHUT_RDWR)
