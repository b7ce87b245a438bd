"""Alembic and the ledger's tables: autogenerate finds nothing to do, and drops nothing."""

from __future__ import annotations

import pytest
from alembic.autogenerate import compare_metadata, produce_migrations
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import create_engine, inspect, text

from tests.contrib.sqlalchemy.app import Base
from tests.contrib.sqlalchemy.conftest import url_of
from whereupon.contrib.sqlalchemy import SQLAlchemyLedger, include_name, make_metadata, metadata, upgrade
from whereupon.errors import InvalidConfiguration
from whereupon.ledger.schema import VERSION


def differences(connection, target, **options):
    # on SQLite, Alembic takes any Identity() for a server default that is missing in the database
    compares = {"compare_type": True, "compare_server_default": connection.dialect.name != "sqlite"}
    options = compares | options
    context = MigrationContext.configure(connection, opts={"target_metadata": target, **options})
    return produce_migrations(context, target).upgrade_ops.as_diffs()


def test_autogenerate_finds_no_difference_in_a_migrated_ledger(shop):
    with shop.engine.connect() as connection:
        assert differences(connection, [Base.metadata, metadata]) == []


def test_without_the_metadata_it_would_drop_the_tables(shop):
    with shop.engine.connect() as connection:
        dropped = {
            diff[1].name for diff in differences(connection, [Base.metadata]) if diff[0] == "remove_table"
        }
        assert dropped == {f"whereupon_{name}" for name in ("ledger", "event", "delivery", "worker")}


def test_include_name_keeps_it_from_that(shop):
    with shop.engine.connect() as connection:
        assert differences(connection, [Base.metadata], include_name=include_name) == []
        assert differences(connection, [Base.metadata, metadata], include_name=lambda *_: True) == []


def test_a_change_of_the_applications_own_is_still_found(shop):
    with shop.engine.begin() as connection:
        connection.execute(text("CREATE TABLE whereupon_like (number INTEGER)"))
        found = differences(connection, [Base.metadata], include_name=include_name)
    assert [(diff[0], diff[1].name) for diff in found] == [("remove_table", "whereupon_like")]


@pytest.mark.parametrize("driver", ["pysqlite", "psycopg"])
def test_a_migration_makes_the_tables(driver, tmp_path):
    engine = create_engine(url_of(driver, tmp_path))
    with engine.begin() as connection:
        operations = Operations(MigrationContext.configure(connection))
        assert upgrade(operations.get_bind()) == (0, VERSION)
        assert upgrade(operations.get_bind()) == (VERSION, VERSION)
    ledger = SQLAlchemyLedger(engine)
    assert ledger.version() == VERSION
    ledger.connect().close()
    assert ledger.migrate() == (VERSION, VERSION)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


def test_a_schema_of_postgresql(tmp_path):
    engine = create_engine(url_of("psycopg", tmp_path))
    with engine.begin() as connection:
        connection.execute(text("CREATE SCHEMA events"))
        upgrade(connection, "events")
    ledger = SQLAlchemyLedger(engine, schema="events")
    assert ledger.version() == VERSION
    assert ledger.describe().endswith("(schema events)")
    with engine.connect() as connection:
        assert inspect(connection).get_table_names() == []
        assert differences(connection, make_metadata("events"), include_schemas=True) == []
    engine.dispose()


def test_sqlite_has_no_schema(tmp_path):
    with pytest.raises(InvalidConfiguration, match="SQLite has none"):
        SQLAlchemyLedger(create_engine(url_of("pysqlite", tmp_path)), schema="events")


@pytest.mark.parametrize("kind", ["pysqlite", "psycopg"])
def test_the_metadata_is_the_schema_of_the_migrations(kind, tmp_path):
    """The tables that create_all would make are those of `ledger sql`, to the last partial index."""
    engines = []
    for name in ("migrated", "created"):
        (tmp_path / name).mkdir()
        engines.append(create_engine(url_of(kind, tmp_path / name)))
    SQLAlchemyLedger(engines[0]).migrate()
    metadata.create_all(engines[1])
    described = [_described(engine) for engine in engines]
    assert described[0] == described[1]


def _described(engine):
    inspector = inspect(engine)
    tables = {
        table: (
            [
                (
                    each["name"],
                    str(each["type"]),
                    each["nullable"] and not each.get("primary_key"),
                    each["default"],
                )
                for each in inspector.get_columns(table)
            ],
            sorted(
                (each["name"], tuple(each["column_names"]), *map(str, each["dialect_options"].values()))
                for each in inspector.get_indexes(table)
            ),
            inspector.get_pk_constraint(table)["constrained_columns"],
            sorted(tuple(each["column_names"]) for each in inspector.get_unique_constraints(table)),
            sorted(each["sqltext"] for each in inspector.get_check_constraints(table)),
        )
        for table in inspector.get_table_names()
    }
    engine.dispose()
    return tables
