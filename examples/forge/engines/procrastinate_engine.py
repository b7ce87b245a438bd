"""Procrastinate, as a team has it already; its broker is a database on PostgreSQL."""

import os

import procrastinate

from whereupon.engines.procrastinate import ProcrastinateEngine

url = os.environ.get("FORGE_BROKER", "postgresql://127.0.0.1/postgres")
app = procrastinate.App(
    connector=procrastinate.PsycopgConnector(conninfo=url), import_paths=["forge.installed"]
)
ENGINE = ProcrastinateEngine(app, store_name="forge.event_store:store")
COMMAND = ("procrastinate", "--app", "forge.engines.procrastinate_engine.app", "worker")


def prepare() -> None:
    """Make Procrastinate's tables, which a team has already."""
    with app.replace_connector(procrastinate.SyncPsycopgConnector(conninfo=url)) as sync, sync.open():
        if not sync.check_connection():
            sync.schema_manager.apply_schema()
