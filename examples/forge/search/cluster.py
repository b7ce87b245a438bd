"""A search cluster that stands in for a real one: it is restarting when every tenth push comes."""

from typing import Final

from forge import database

_EVERY: Final = 10
_FAILURES: Final = 2


class ClusterUnavailable(Exception):
    """The cluster does not answer; trying again helps."""


def ping(push_id: int) -> None:
    """Ask whether the cluster answers. Raises `ClusterUnavailable`, twice for every tenth push."""
    if push_id % _EVERY == 1 and _tries(push_id) <= _FAILURES:
        raise ClusterUnavailable("the cluster is restarting")


def _tries(push_id: int) -> int:
    """Count this try, in a transaction of its own that commits although the subscriber fails."""
    sql = """
        INSERT INTO search_cluster_try (push_id, tries) VALUES (?, 1)
        ON CONFLICT (push_id) DO UPDATE SET tries = tries + 1 RETURNING tries
    """
    with database.transaction() as connection:
        tries: int = connection.execute(sql, [push_id]).fetchone()[0]
    return tries
