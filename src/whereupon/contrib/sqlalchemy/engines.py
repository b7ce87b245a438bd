"""Which engine the ledger opens its own connections with, and which file or server it leads to."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final

from sqlalchemy import Engine, NullPool, create_engine
from sqlalchemy.ext.asyncio import AsyncEngine

from whereupon.errors import InvalidConfiguration

_SYNC_DRIVERS: Final = {"sqlite": "pysqlite", "postgresql": "psycopg"}


def application_engine(engine: object) -> Engine:
    """Return the engine behind what the application passed. Raises `InvalidConfiguration`."""
    found = engine.sync_engine if isinstance(engine, AsyncEngine) else engine
    if not isinstance(found, Engine):
        raise InvalidConfiguration(
            f"SQLAlchemyLedger takes an Engine or an AsyncEngine, not {type(engine).__name__}",
            fix="SQLAlchemyLedger(create_engine(url))",
        )
    if found.dialect.name not in _SYNC_DRIVERS:
        raise InvalidConfiguration(
            f"the ledger lies in SQLite or PostgreSQL, not in {found.dialect.name}",
            fix="make an engine on one of these for the ledger",
        )
    return found


def own_engine(engine: Engine, given: object | None) -> Engine:
    """Return the engine of the ledger's own connections, which are not those of coroutines.

    That is the application's where its driver is pysqlite or psycopg; else one made from its URL, unless
    one is given. Opens nothing. Raises `InvalidConfiguration`.
    """
    name = engine.dialect.name
    driver = _SYNC_DRIVERS[name]
    if given is not None:
        if not isinstance(given, Engine) or given.dialect.name != name or not _fits(given, driver):
            raise InvalidConfiguration(
                f"sync_engine= takes an Engine of {name}+{driver} on the same database",
                fix=f'sync_engine=create_engine("{name}+{driver}://...")',
            )
        return given
    if name == "postgresql" and find_spec("psycopg") is None:
        raise InvalidConfiguration(
            "psycopg 3 is not installed, with which workers and commands reach the ledger",
            fix="pip install 'whereupon[postgres]'",
        )
    if _fits(engine, driver):
        return engine
    # nobody but us knows of it, so nobody would dispose of a pool
    return create_engine(engine.url.set(drivername=f"{name}+{driver}"), poolclass=NullPool)


def _fits(engine: Engine, driver: str) -> bool:
    return engine.dialect.driver == driver and not engine.dialect.is_async
