"""Connections of our own to the database of a Procrastinate application, on which nothing takes long."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from typing import TYPE_CHECKING, Any, Final

import psycopg
from procrastinate import PsycopgConnector, SyncPsycopgConnector
from procrastinate.exceptions import ConnectorException
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from whereupon.errors import EngineUnavailable, InvalidConfiguration
from whereupon.ledger.psycopg_connection import OF_PSYCOPG, describe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from procrastinate import App

_SECONDS: Final = 2  # within which the server must answer


class Connections:
    """One connection for each thread, to where the connector of an application leads at that moment."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._local = threading.local()

    def place(self) -> str:
        """Say where they lead, without the password. Raises `InvalidConfiguration`."""
        return describe(conninfo_of(self._app.connector))

    @contextlib.contextmanager
    def lent(self) -> Iterator[psycopg.Connection[Any]]:
        """Lend the connection of this thread, in autocommit mode, for one statement.

        Raises `EngineUnavailable`, after which there is a new connection, and `InvalidConfiguration`.
        """
        try:
            opened = getattr(self._local, "connection", None)
            if opened is None:
                opened = self._local.connection = _connected(conninfo_of(self._app.connector))
            with _in_time(opened):
                yield opened
        except (ConnectorException, psycopg.Error, OSError) as error:
            self.close()
            raise self._unavailable(error.__cause__ or error) from error

    def _unavailable(self, error: BaseException) -> EngineUnavailable:
        problem = "does not take jobs"
        fix = "start it (postgresql), or mend the connector of the application; nothing is lost"
        if isinstance(error, psycopg.ProgrammingError):
            problem = "has no tables of Procrastinate, or older ones"
            fix = "procrastinate --app=… schema --apply"
        text = str(error).strip().partition("\n")[0]
        return EngineUnavailable(f"{self.place()} {problem} ({type(error).__name__}: {text})", fix=fix)

    def close(self) -> None:
        """Close the connection that this thread has opened; the next use opens another one."""
        opened, self._local.connection = getattr(self._local, "connection", None), None
        if opened is not None:
            with contextlib.suppress(psycopg.Error):
                opened.close()


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


def _connected(conninfo: str) -> psycopg.Connection[Any]:
    given = {"application_name": "whereupon"} | conninfo_to_dict(conninfo) | {"connect_timeout": _SECONDS}
    return psycopg.connect(**given, autocommit=True, prepare_threshold=None)  # type: ignore[arg-type]


@contextlib.contextmanager
def _in_time(connection: psycopg.Connection[Any]) -> Iterator[None]:
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
