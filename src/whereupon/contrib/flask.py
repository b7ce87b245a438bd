"""An extension of Flask: installs the store, and adds `flask whereupon ...`."""

from __future__ import annotations

import atexit
import os
import threading
from typing import TYPE_CHECKING

from whereupon.cli import main
from whereupon.cli.reporting import Failing
from whereupon.contrib.installing import install
from whereupon.engines.beside import name_of
from whereupon.engines.local.beside import WorkerBeside
from whereupon.errors import InvalidConfiguration
from whereupon.loading import VARIABLE

if TYPE_CHECKING:
    from flask import Flask

    from whereupon.store import EventStore


class Whereupon:
    """Connects a store to an application of Flask: `Whereupon(app, store)`, or later `init_app(app)`.

    - `store`: the application's; it is installed, and kept as `app.extensions["whereupon"]`
    - `worker`: run local workers beside the application, from its first request on; they end with it
    - `store_name`: under which name workers and commands import the store, where it cannot be found
    """

    def __init__(
        self,
        app: Flask | None = None,
        store: EventStore | None = None,
        *,
        worker: bool = False,
        store_name: str | None = None,
    ) -> None:
        self._store = store
        self._worker = worker
        self._store_name = store_name
        self._lock = threading.Lock()
        self._beside: WorkerBeside | None = None
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask, store: EventStore | None = None) -> None:
        """Install the store and add the commands. Raises `StoreConflict`, `InvalidConfiguration`."""
        self._store = store or self._store
        if self._store is None:
            raise InvalidConfiguration("Whereupon has been given no store", fix="Whereupon(app, store)")
        install(self._store)
        app.extensions["whereupon"] = self._store
        self._add_commands(app)
        if self._worker:
            app.before_request(self._start_worker)

    def _add_commands(self, app: Flask) -> None:
        @app.cli.group("whereupon", cls=Failing, help=main.help)
        def group() -> None:
            os.environ.setdefault(VARIABLE, self._name())

        for command in main.commands.values():
            group.add_command(command)

    def _name(self) -> str:
        assert self._store is not None  # noqa: S101 - init_app has set it
        return name_of(self._store, self._store_name)

    def _start_worker(self) -> None:
        with self._lock:
            if self._beside is None:
                self._beside = WorkerBeside(self._name())
                atexit.register(self._beside.stop)
