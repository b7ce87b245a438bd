"""The ledger's tables for Alembic: compared with by autogenerate, and made by a migration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Connection,
    Identity,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from whereupon.contrib.sqlalchemy.transaction import SQLAlchemyTransaction, dialect_of
from whereupon.ledger import versions
from whereupon.ledger.schema import VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping

TABLES: Final = frozenset({"whereupon_ledger", "whereupon_event", "whereupon_delivery", "whereupon_worker"})
"""The names of the ledger's tables."""
_KEY: Final = Text(collation="C").with_variant(Text(), "sqlite")
_NUMBER: Final = BigInteger().with_variant(Integer(), "sqlite")


def make_metadata(schema: str | None = None) -> MetaData:
    """Return the tables as they are after `whereupon ledger migrate`, in a schema of PostgreSQL.

    For comparing only: `create_all` makes them without the row that says which version and whose ledger
    they are.
    """
    tables = MetaData(schema=schema)
    Table(
        "whereupon_ledger",
        tables,
        Column("one", Integer, CheckConstraint("one = 1"), primary_key=True, autoincrement=False),
        Column("version", Integer, nullable=False),
        Column("ledger_id", Text, nullable=False),
        Column("own_file", Integer, nullable=False, server_default=text("0")),
    )
    _event(tables)
    _delivery(tables)
    Table(
        "whereupon_worker",
        tables,
        Column("id", Text, primary_key=True),
        *(Column(name, Text, nullable=False) for name in ("host", "place")),
        Column("pid", Integer, nullable=False),
        *(Column(name, Text, nullable=False) for name in ("born", "kind")),
        *(Column(name, BigInteger, nullable=False) for name in ("started_at", "lease_until")),
    )
    return tables


def _event(tables: MetaData) -> None:
    event = Table(
        "whereupon_event",
        tables,
        Column("id", _KEY, primary_key=True),
        Column("name", Text, nullable=False),
        Column("published_at", BigInteger, nullable=False),
        Column("correlation_id", Text, nullable=False),
        Column("causation_id", Text),
        Column("subject", Text),
        Column("skipped", Text),
        Column("envelope", Text, nullable=False),
    )
    for name, column in (("cause", "causation_id"), ("subject", "subject")):
        _partial(f"whereupon_event_{name}", f"{column} IS NOT NULL", event.c[column])


def _delivery(tables: MetaData) -> None:
    delivery = Table(
        "whereupon_delivery",
        tables,
        Column("id", _NUMBER, Identity(always=False), primary_key=True),
        Column("event_id", _KEY, nullable=False),
        Column("subscription", Text, nullable=False),
        Column("state", Text, nullable=False, server_default=text("'open'")),
        Column("due_at", BigInteger, nullable=False),
        Column("group_id", Text),
        *(_counter(name) for name in ("recheck", "attempts", "crashes")),
        Column("worker", Text),
        *(Column(name, BigInteger) for name in ("token", "claimed_at", "woken_at")),
        _counter("overrunning"),
        Column("refused_at", BigInteger),
        *(Column(name, Text) for name in ("outcome", "error", "history")),
        Column("done_at", BigInteger),
        _counter("replays"),
        CheckConstraint("state IN ('open', 'claimed', 'done', 'parked')"),
        UniqueConstraint("event_id", "subscription"),
    )
    of = delivery.c
    _partial("whereupon_delivery_open", "state = 'open' AND crashes = 0", of.subscription, of.due_at, of.id)
    _partial("whereupon_delivery_suspect", "state = 'open' AND crashes > 0", of.due_at)
    _partial("whereupon_delivery_claimed", "state = 'claimed'", of.worker)
    _partial("whereupon_delivery_woken", "state = 'open' AND woken_at IS NOT NULL", of.subscription)
    _partial("whereupon_delivery_parked", "state = 'parked'", of.subscription)


def _counter(name: str) -> Column[int]:
    return Column(name, Integer, nullable=False, server_default=text("0"))


def _partial(name: str, where: str, *columns: Column[Any]) -> Index:
    return Index(name, *columns, postgresql_where=text(where), sqlite_where=text(where))


metadata: Final = make_metadata()
"""The ledger's tables for `target_metadata` of Alembic; `make_metadata(schema)` for those in a schema."""


def include_name(name: str | None, type_: str, parent_names: Mapping[str, str | None]) -> bool:
    """Leave the ledger's tables out of Alembic's autogenerate, which would drop what it does not know."""
    del parent_names
    return type_ != "table" or name not in TABLES


def upgrade(connection: Connection, schema: str = "") -> tuple[int, int]:
    """Make the tables, or bring them up to date, in the transaction of a connection; for a migration.

    In Alembic, `upgrade(op.get_bind())`. Returns the versions before and after. Raises `LedgerVersion`.
    """
    transaction = SQLAlchemyTransaction(connection, dialect_of(connection.engine, schema))
    return versions.migrate(transaction, str(connection.engine.url.database)), VERSION
