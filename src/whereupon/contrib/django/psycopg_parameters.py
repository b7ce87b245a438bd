"""A Django connection to PostgreSQL as a connection string, for connections that are not Django's."""

from __future__ import annotations

from typing import Any, Final

from psycopg.conninfo import make_conninfo

_NOT_OF_LIBPQ: Final = frozenset(
    {"autocommit", "context", "cursor_factory", "prepare_threshold", "row_factory"}
)


def conninfo_of(connection: Any) -> str:
    """Return the connection string that leads where a Django connection to PostgreSQL does."""
    parameters = connection.get_connection_params()
    given = {name: value for name, value in parameters.items() if name not in _NOT_OF_LIBPQ}
    role = connection.settings_dict["OPTIONS"].get("assume_role")
    if role:
        given["options"] = f"{given.get('options', '')} -c role={role}".strip()
    return make_conninfo(**given)
