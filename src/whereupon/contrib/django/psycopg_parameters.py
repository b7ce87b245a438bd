"""A Django connection to PostgreSQL as a connection string, for connections that are not Django's."""

from __future__ import annotations

from typing import Any

from psycopg.conninfo import make_conninfo

from whereupon.ledger.psycopg_connection import OF_PSYCOPG


def conninfo_of(connection: Any) -> str:
    """Return the connection string that leads where a Django connection to PostgreSQL does."""
    parameters = connection.get_connection_params()
    given = {name: value for name, value in parameters.items() if name not in OF_PSYCOPG}
    role = connection.settings_dict["OPTIONS"].get("assume_role")
    if role:
        given["options"] = f"{given.get('options', '')} -c role={role}".strip()
    return make_conninfo(**given)
