"""What the engines on Redis share: a client on which nothing takes long, where it leads, what is unsafe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from whereupon.ledger_protocol import Finding

_SECONDS: Final = 2  # within which the server must answer


def with_deadlines(pool: redis.ConnectionPool) -> redis.Redis:
    """Return a client of its own to the same server, which tries each thing once and not for long.

    A pipeline of any length is one write to its socket.
    """
    kwargs: dict[str, Any] = pool.connection_kwargs | {
        "socket_timeout": _SECONDS,
        "socket_connect_timeout": _SECONDS,
        "retry": Retry(NoBackoff(), 0),
    }
    kind = _in_one_write(pool.connection_class)
    return redis.Redis(connection_pool=redis.ConnectionPool(connection_class=kind, **kwargs))


def _in_one_write(kind: Any) -> Any:
    """Return a class of connections that writes a pipeline as a whole, and not in pieces of 6,000 bytes."""

    class _Whole(kind):  # type: ignore[misc]
        def pack_commands(self, commands: Iterable[Any]) -> list[bytes]:
            return [b"".join(super().pack_commands(commands))]

    return _Whole


def place_of(pool: redis.ConnectionPool) -> str:
    """Say where a client leads, without passwords."""
    behind = pool.connection_kwargs.get("connection_pool")  # sentinels find the server
    if behind is not None:
        return f"Redis, as sentinels know {behind.service_name},"
    where = {"host": "localhost", "port": 6379} | pool.connection_kwargs
    return f"Redis at {where.get('path') or '{host}:{port}'.format(**where)}"


def findings_of(client: redis.Redis) -> Iterator[Finding]:
    """Yield whether the server answers, and whether it throws away what it cannot hold.

    Raises `redis.RedisError` or OSError where it does not answer.
    """
    policy = client.info("memory").get("maxmemory_policy", "noeviction")
    yield "ok", f"{place_of(client.connection_pool)} answers"
    if policy != "noeviction":
        yield (
            "error",
            f"Redis throws jobs away when it is full: set maxmemory-policy noeviction, not {policy}",
        )
