"""Connections of psycopg 3: the transaction on any of them, and the ledger's own."""

from __future__ import annotations

import contextlib
import functools
import select
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg import IsolationLevel, errors
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from whereupon.errors import (
    InvalidConfiguration,
    LedgerBusy,
    LedgerMissing,
    LedgerUnavailable,
    WhereuponError,
)
from whereupon.ledger.dialect import Clock
from whereupon.ledger.publish import CHANNEL
from whereupon.ledger.versions import MIGRATE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import timedelta

    from whereupon.ledger.dialect import Dialect
    from whereupon.ledger_protocol import Finding, Parameters, Row

OF_PSYCOPG: Final = frozenset({"autocommit", "context", "cursor_factory", "prepare_threshold", "row_factory"})
"""What `psycopg.connect` takes besides the options of libpq."""
POLL: Final = 0.5
"""Seconds between two looks at the ledger where the server cannot tell of a commit."""
LONG_TRANSACTION: Final = 300
"""Seconds from which an open transaction of anybody is a finding."""

_NOTHING: Final[Mapping[str, Any]] = {}
_SETTINGS: Final = """
    SELECT set_config('lock_timeout', %(patience)s, false),
        set_config('idle_in_transaction_session_timeout', %(idle)s, false)
"""


@functools.lru_cache(maxsize=512)
def rendered(dialect: Dialect, sql: str) -> bytes:
    """Return a statement as psycopg takes it; the same object each time, as psycopg caches by it."""
    return dialect.render(sql).encode()


def bound(parameters: Parameters) -> Parameters:
    """Return parameters with lists as the texts of arrays, as psycopg takes several times as long for them.

    Every place of the ledger's SQL that takes a list says of which type it is.
    """
    if not isinstance(parameters, Mapping):
        return parameters
    return {name: _array_text(value) if type(value) is list else value for name, value in parameters.items()}


def _array_text(values: list[Any]) -> str:
    return f"{{{','.join(map(_element_text, values))}}}"


def _element_text(value: str | int | None) -> str:
    if isinstance(value, str):
        escaped = value.replace("\\", r"\\").replace('"', r"\"")
        return f'"{escaped}"'
    return "NULL" if value is None else str(value)


class PsycopgTransaction(Clock):
    """An open transaction on any connection of psycopg, the caller's or the ledger's."""

    __slots__ = ("_connection",)

    def __init__(self, connection: psycopg.Connection[Any], dialect: Dialect) -> None:
        super().__init__(dialect)
        self._connection = connection

    def rows(self, sql: str, parameters: Parameters = _NOTHING) -> list[Row]:
        """Run a statement and return all rows of its result."""
        with psycopg.Cursor(self._connection, row_factory=tuple_row) as cursor:
            return cursor.execute(rendered(self.dialect, sql), bound(parameters)).fetchall()

    def run(self, sql: str, parameters: Parameters = _NOTHING) -> int:
        """Run a statement and return how many rows it changed."""
        with psycopg.Cursor(self._connection, row_factory=tuple_row) as cursor:
            return cursor.execute(rendered(self.dialect, sql), bound(parameters)).rowcount


class PsycopgConnection:
    """A connection of the ledger's own. Not for two threads at once, and not for use behind a fork.

    With `pooled`, a pooler in transaction mode lies between: nothing is set for the session, nothing is
    prepared, and nothing is listened for. `connect` opens connections in autocommit mode in another way
    than by `conninfo`, which then only says where they lead. Raises `LedgerUnavailable`.
    """

    def __init__(
        self,
        conninfo: str,
        dialect: Dialect,
        patience: timedelta,
        *,
        pooled: bool = False,
        connect: Callable[[], psycopg.Connection[Any]] | None = None,
    ) -> None:
        self.dialect = dialect
        self._conninfo = conninfo
        self._pooled = pooled
        self._connect = connect or functools.partial(_connected, conninfo, pooled=pooled)
        self._listener: psycopg.Connection[Any] | None = None
        self._looked = -POLL
        with translated(conninfo):
            self.raw = self._connect()
            if not pooled:
                milliseconds = round(patience.total_seconds() * 1000)
                self.raw.execute(_SETTINGS, {"patience": str(milliseconds), "idle": "10000"})

    def for_subscribers(self) -> PsycopgConnection:
        """Take the ledger's own limits from the session: a subscriber may think and wait longer."""
        if not self._pooled:
            with translated(self._conninfo):
                self.raw.execute("RESET lock_timeout")
                self.raw.execute("RESET idle_in_transaction_session_timeout")
        return self

    def close(self) -> None:
        """Close the connection; an open transaction is rolled back."""
        for each in (self._listener, self.raw):
            if each is not None:
                with contextlib.suppress(psycopg.Error):
                    each.close()

    def is_current(self) -> bool:
        """Tell whether the server has not ended the connection, as far as has been heard."""
        return not self.raw.closed and _is_alive(self.raw)

    def changed(self) -> bool:
        """Tell whether another connection may have committed since the last call.

        The server tells of commits, on a second connection; where a pooler is between, or while it cannot
        be heard, it is time to look after `POLL` seconds.
        """
        now = time.monotonic()
        due = now - self._looked >= POLL
        try:
            told = not self._pooled and self._heard(may_connect=due)
        except (psycopg.Error, OSError, ValueError):
            self._forget_listener()
            told = False
        if told or due:
            self._looked = now
        return told or due

    def _heard(self, *, may_connect: bool) -> bool:
        if self._listener is None:
            if not may_connect:
                return False
            self._listener = self._connect()
            self._listener.execute(f"LISTEN {CHANNEL}".encode())
            return True
        connection = self._listener.pgconn
        if not select.select([connection.socket], [], [], 0)[0]:
            return False
        connection.consume_input()
        count = 0
        while connection.notifies():
            count += 1
        return count > 0

    def wait(self, seconds: float) -> None:
        """Wait for so many seconds, or until the server has something to tell."""
        if self._listener is None or self._listener.closed:
            time.sleep(seconds)
        else:
            select.select([self._listener.pgconn.socket], [], [], seconds)

    def _forget_listener(self) -> None:
        if self._listener is not None:
            with contextlib.suppress(psycopg.Error):
                self._listener.close()
        self._listener = None

    @contextlib.contextmanager
    def transaction(self) -> Iterator[PsycopgTransaction]:
        """Open a transaction that writes; commits at the end, rolls back on an exception."""
        with translated(self._conninfo), ended(self.raw):
            yield PsycopgTransaction(self.raw, self.dialect)

    @contextlib.contextmanager
    def single(self) -> Iterator[PsycopgTransaction]:
        """Run statements each of which commits by itself, in one round trip."""
        with translated(self._conninfo):
            try:
                yield PsycopgTransaction(self.raw, self.dialect)
            except psycopg.OperationalError as error:
                unknown = unheard_commit(error)
                if unknown is None:
                    raise
                raise unknown from error

    @contextlib.contextmanager
    def reading(self) -> Iterator[PsycopgTransaction]:
        """Open a transaction that only reads: one picture of the database for several statements."""
        with translated(self._conninfo):
            self.raw.execute(b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            try:
                yield PsycopgTransaction(self.raw, self.dialect)
            finally:
                if self.raw.info.transaction_status != TransactionStatus.UNKNOWN:
                    self.raw.execute(b"ROLLBACK")


@contextlib.contextmanager
def ended(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Run a transaction, and tell a commit whose end was not heard from one that did not happen."""
    scope = connection.transaction()
    scope.__enter__()
    try:
        yield
    except BaseException as error:
        scope.__exit__(type(error), error, error.__traceback__)
        raise
    try:
        scope.__exit__(None, None, None)
    except psycopg.OperationalError as error:
        unknown = unheard_commit(error)
        if unknown is None:
            raise
        raise unknown from error


def unheard_commit(error: psycopg.Error) -> LedgerUnavailable | None:
    """Return what a COMMIT means whose end was not heard; None where it certainly did not happen."""
    if not isinstance(error, psycopg.OperationalError) or (
        error.sqlstate is not None and not isinstance(error, errors.AdminShutdown | errors.CrashShutdown)
    ):
        return None
    return LedgerUnavailable(
        f"the server went away while a transaction was committed ({_first_line(error)})",
        retry_is_safe=False,
        fix="look whether the business rows are there before trying again",
    )


def _connected(conninfo: str, *, pooled: bool) -> psycopg.Connection[Any]:
    given = conninfo_to_dict(conninfo)
    defaults = {
        "connect_timeout": 5, "keepalives_idle": 10, "keepalives_interval": 3, "keepalives_count": 3,
        "tcp_user_timeout": 15_000, "application_name": "whereupon",
    }  # fmt: skip
    connection = psycopg.connect(**(defaults | given), autocommit=True)  # type: ignore[arg-type]
    connection.isolation_level = IsolationLevel.READ_COMMITTED
    if pooled:
        connection.prepare_threshold = None
    return connection


def _is_alive(connection: psycopg.Connection[Any]) -> bool:
    try:
        if select.select([connection.pgconn.socket], [], [], 0)[0]:
            connection.execute(b"SELECT 1")  # a server that speaks unasked mostly says good-bye
    except (psycopg.Error, OSError, ValueError):
        return False
    return connection.info.transaction_status == TransactionStatus.IDLE


@contextlib.contextmanager
def translated(conninfo: str) -> Iterator[None]:
    """Turn the errors of PostgreSQL that are not the caller's doing into errors of the ledger."""
    try:
        yield
    except psycopg.Error as error:
        raise (translate(error, describe(conninfo)) or error) from error


def translate(error: psycopg.Error, database: str) -> WhereuponError | None:
    """Return what an error of PostgreSQL means for the ledger; None where it is the caller's own."""
    match error:
        case errors.UndefinedTable() | errors.InvalidSchemaName():
            return LedgerMissing(f"{database} holds no ledger ({_first_line(error)})", fix=MIGRATE)
        case errors.LockNotAvailable() | errors.DeadlockDetected() | errors.SerializationFailure():
            return LedgerBusy(
                f"another transaction holds what is needed in {database} ({_first_line(error)})",
                fix="try again; if it comes back, look into pg_stat_activity for a long transaction",
            )
        case errors.InsufficientPrivilege():
            problem, fix = "refuses this user", "GRANT SELECT, INSERT, UPDATE, DELETE ON the whereupon tables"
        case errors.ReadOnlySqlTransaction():
            problem, fix = "is read-only", "connect to the primary server, as a user that may write"
        case errors.InFailedSqlTransaction():
            problem, fix = "has had an error in this transaction before", "roll it back, then try again"
        case errors.DiskFull() | errors.TooManyConnections():
            problem, fix = "is out of a resource", "free it; nothing else is needed"
        case psycopg.OperationalError() | psycopg.InterfaceError():
            problem, fix = "cannot be reached", "check the address, and that the server runs"
        case _:
            return None
    return LedgerUnavailable(
        f"the ledger {database} {problem} ({_first_line(error)})", retry_is_safe=True, fix=fix
    )


def describe(conninfo: str) -> str:
    """Say which database a connection string names, without the password."""
    given = conninfo_to_dict(conninfo)
    host = given.get("host") or given.get("hostaddr") or "localhost"
    return f"postgresql://{host}:{given.get('port') or 5432}/{given.get('dbname') or ''}"


def check_conninfo(conninfo: str) -> None:
    """Raise `InvalidConfiguration` where a text is no connection string."""
    try:
        conninfo_to_dict(conninfo)
    except psycopg.Error as error:
        raise InvalidConfiguration(
            f"this is no connection string of PostgreSQL ({_first_line(error)})",
            fix="write postgresql://user@host:5432/database",
        ) from None


def server_findings(transaction: PsycopgTransaction) -> Iterator[Finding]:
    """Yield what `whereupon doctor` says about a server: version, durability, transactions that stay open."""
    version, synchronous, fsync, standby = transaction.rows(
        "SELECT current_setting('server_version'), current_setting('synchronous_commit'),"
        " current_setting('fsync'), pg_is_in_recovery()"
    )[0]
    yield "ok", f"PostgreSQL {version}"
    if standby:
        yield "error", "the server is a standby and read-only; connect to the primary"
    if fsync == "off" or synchronous == "off":
        problem = "a commit can be lost when the server goes down"
        yield "warning", f"fsync is {fsync}, synchronous_commit is {synchronous}: {problem}"
    else:
        yield "ok", f"synchronous_commit {synchronous}"
    (oldest,) = transaction.rows(
        "SELECT CAST(coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0) AS int)"
        " FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )[0]
    if oldest > LONG_TRANSACTION:
        problem = "rows that are done cannot be cleaned up while it lasts, and claims get slower"
        yield "warning", f"a transaction has been open for {oldest} s; {problem}"


def _first_line(error: psycopg.Error) -> str:
    return str(error).strip().partition("\n")[0]
