"""What the author of an adapter says of an engine, so that the cases can be run on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from whereupon.store import EventStore


class Broker(Protocol):
    """The server that an engine keeps its jobs in, of the test's own."""

    def lose_everything(self) -> None:
        """Delete all jobs."""
        ...

    def kill(self) -> None:
        """Kill the server with SIGKILL."""
        ...

    def start(self) -> None:
        """Start the server again, where it was."""
        ...


class Kind(Protocol):
    """One engine on one broker. `name` is for the table.

    - `folder`: an empty folder of its own, for the log and what the workers print
    - `store_name`: under which name a worker finds its store, as in `shop.event_store:store`; that is made by
      `make_store(engine)`, and installed
    - `environment`: what a worker needs besides; the kit adds the folder and the import path
    - `broker`: what the tests may empty and kill; None where there is none but the ledger's database
    - `refuses`: the options of `subscriber` that the engine cannot honour with this broker, by name; a
      `timeout` is that of a function, as any engine can cancel a coroutine
    """

    name: str
    folder: Path
    store_name: str
    environment: Mapping[str, str]
    broker: Broker | None
    refuses: Collection[str]

    @property
    def store(self) -> EventStore:
        """The store of this process, which publishes: from `make_store(engine)`, its ledger migrated."""
        ...

    def command(self, number: int) -> Sequence[str]:
        """Return how a team starts a worker, of two jobs at a time, from the queues `default` and `other`.

        `number` is another one for each worker of a kind.
        """
        ...

    def send(self, job: str, argument: object) -> None:
        """Send a job as a stranger may: under that name, with this in place of a wake-up's ids."""
        ...

    def is_ready(self, output: str) -> bool:
        """Tell from what a worker has printed whether it takes jobs."""
        ...
