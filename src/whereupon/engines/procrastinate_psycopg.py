"""Connections of our own to the database of a Procrastinate application, on which nothing takes long."""

from __future__ import annotations

import contextlib
import inspect
import threading
from typing import TYPE_CHECKING, Any, Final

import psycopg
from procrastinate import PsycopgConnector, SyncPsycopgConnector
from procrastinate.exceptions import ConnectorException
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import TransactionStatus

from whereupon.engines.answering import answered
from whereupon.errors import EngineUnavailable, InvalidConfiguration, NoTransaction, WrongConnection
from whereupon.ledger.psycopg_connection import OF_PSYCOPG, describe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from procrastinate import App

Joinable = psycopg.Connection[Any] | psycopg.AsyncConnection[Any]

_SECONDS: Final = 2  # within which the server must answer


class Connections:
    """One connection for each thread, to where the connector of an application leads at that moment."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._local = threading.local()

    def conninfo(self) -> str:
        """Return where they lead, as text for libpq. Raises `InvalidConfiguration`."""
        return conninfo_of(self._app.connector)

    @contextlib.contextmanager
    def lent(self) -> Iterator[psycopg.Connection[Any]]:
        """Lend the connection of this thread, in autocommit mode, for one statement.

        Raises `EngineUnavailable`, after which there is a new connection, and `InvalidConfiguration`.
        """
        conninfo = self.conninfo()
        try:
            with translated(describe(conninfo)):
                opened = getattr(self._local, "connection", None)
                if opened is None:
                    opened = self._local.connection = _connected(conninfo)
                with _in_time(opened):
                    yield opened
        except EngineUnavailable:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection that this thread has opened; the next use opens another one."""
        opened, self._local.connection = getattr(self._local, "connection", None), None
        if opened is not None:
            with contextlib.suppress(psycopg.Error):
                opened.close()


def conninfo_of(connector: Any) -> str:
    """Return where a connector leads, as text for libpq.

    Raises `InvalidConfiguration` where that is not to a PostgreSQL by psycopg 3, or only a pool knows it.
    """
    if hasattr(connector, "get_worker_connector"):  # Django's, which has none but the request's connection
        connector = connector.get_worker_connector()
    if not isinstance(connector, PsycopgConnector | SyncPsycopgConnector):
        raise InvalidConfiguration(
            f"wake-ups cannot be sent by the {type(connector).__name__} of the Procrastinate application",
            fix="give it a PsycopgConnector",
        )
    given = connector._pool_args  # noqa: SLF001 - Procrastinate's, and nothing else tells
    if not given and connector._pool_externally_set:  # noqa: SLF001
        raise InvalidConfiguration(
            "only the pool that the application was opened with knows the database, and no helper has that",
            fix="say conninfo= to the connector, too; Procrastinate itself ignores it beside a pool",
        )
    conninfo, kwargs = (_value(name, given.get(name)) for name in ("conninfo", "kwargs"))
    options = {name: value for name, value in (kwargs or {}).items() if name not in OF_PSYCOPG}
    try:
        return make_conninfo(conninfo or "", **options)
    except psycopg.ProgrammingError:  # whose text may quote the password
        raise InvalidConfiguration(
            "the connector of the Procrastinate application has conninfo= or kwargs= that libpq cannot read",
            fix="write conninfo='postgresql://user@host:5432/database'",
        ) from None


@contextlib.contextmanager
def translated(place: str) -> Iterator[None]:
    """Turn what goes wrong with the database at a place into `EngineUnavailable`."""
    try:
        yield
    except (ConnectorException, psycopg.Error, OSError) as failure:
        error = failure.__cause__ or failure
        problem = "does not take jobs"
        fix = "start it (postgresql), or mend the connector of the application"
        if isinstance(error, errors.InsufficientPrivilege):
            fix = "grant its role the use of Procrastinate's tables"
        elif isinstance(error, psycopg.ProgrammingError):
            problem = "has no tables of Procrastinate, or older ones"
            fix = "procrastinate --app=… schema --apply"
        text = str(error).strip().partition("\n")[0]
        raise EngineUnavailable(f"{place} {problem} ({type(error).__name__}: {text})", fix=fix) from failure


def joinable(on: object | None) -> Joinable:
    """Return the connection whose transaction jobs join. Raises `NoTransaction`, `WrongConnection`."""
    if on is None:
        raise NoTransaction(
            "there is no transaction that the event could commit with",
            fix="publish(event, on=connection) with the connection of the business transaction",
        )
    if not isinstance(on, psycopg.Connection | psycopg.AsyncConnection):
        kind = f"{type(on).__module__}.{type(on).__qualname__}"
        raise WrongConnection(
            f"Procrastinate's jobs join the transaction of a connection of psycopg 3, not of {kind}",
            fix="pass that of psycopg; with SQLAlchemy session.connection().connection.driver_connection",
        )
    if on.closed or on.info.transaction_status == TransactionStatus.INERROR:
        raise WrongConnection(
            "the connection is closed, or its transaction has failed, so no event could commit with it",
            fix="roll back and begin again, on a new connection if need be",
        )
    if on.autocommit and on.info.transaction_status == TransactionStatus.IDLE:
        raise NoTransaction(
            "the connection is in autocommit mode and in no transaction, so the event would commit alone",
            fix="write the business rows and publish inside `with connection.transaction():`",
        )
    return on


def refuse_coroutines(connection: Joinable) -> psycopg.Connection[Any]:
    """Return what a function can write with. Raises `WrongConnection` that names apublish."""
    if isinstance(connection, psycopg.AsyncConnection):
        raise WrongConnection(
            "publish cannot wait for psycopg.AsyncConnection", fix="await apublish(event, on=...)"
        )
    return connection


def place_of(connection: Joinable) -> str:
    """Say where a connection leads, without the password; to ask for all of its conninfo takes 0.2 ms."""
    info = connection.info
    return f"postgresql://{info.host or 'localhost'}:{info.port}/{info.dbname}"


def is_awaited(connection: Joinable) -> bool:
    """Tell whether a connection is one of coroutines."""
    return isinstance(connection, psycopg.AsyncConnection)


def _value(name: str, given: Any) -> Any:
    if inspect.iscoroutinefunction(given):
        raise InvalidConfiguration(
            f"{name}= of the Procrastinate application's connector is a coroutine function, which the helper "
            "cannot await",
            fix="make it a function",
        )
    return given() if callable(given) else given


def _connected(conninfo: str) -> psycopg.Connection[Any]:
    given = {"application_name": "whereupon"} | conninfo_to_dict(conninfo) | {"connect_timeout": _SECONDS}
    return psycopg.connect(**given, autocommit=True, prepare_threshold=None)  # type: ignore[arg-type]


@contextlib.contextmanager
def _in_time(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Cancel what takes the server too long, and cut the line where even that is not answered.

    Nothing is set for the session, as there may be a pooler between.
    """
    timer = threading.Timer(_SECONDS, _cancel, [connection])
    timer.daemon = True
    with answered(connection.fileno):
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()


def _cancel(connection: psycopg.Connection[Any]) -> None:
    with contextlib.suppress(psycopg.Error):
        connection.cancel_safe(timeout=_SECONDS)
