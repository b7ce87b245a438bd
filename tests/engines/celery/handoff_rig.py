"""Workers of a store without a ledger, and the process that publishes for them."""

from __future__ import annotations

import contextlib
import importlib
import itertools
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Self

from celery import Celery

from tests.engines.local.conftest import ROOT
from whereupon.testing import using_store

APP = "tests.engines.celery.handoff_app"
_numbers = itertools.count(1)


class Rig:
    """One broker with an application on it. A context manager."""

    def __init__(self, broker, folder: Path, **environment: str) -> None:
        self.broker = broker
        self.folder = folder
        (folder / "log").touch()
        own = {"WORKER_APP": str(folder), "BROKER": broker.url, "PYTHONPATH": str(ROOT)}
        self.environment = os.environ | own | environment
        self.workers: list[subprocess.Popen] = []
        os.environ["WORKER_APP"] = str(folder)
        os.environ |= environment
        os.environ["ROLE"] = "publisher"
        Celery("current")  # where shared tasks look for themselves; that of another test may be closed
        self.module = importlib.import_module(APP)
        self.app = self.module.make_app(broker.url)
        self.store = self.module.make_store(self.app)
        self.engine = self.store.engine
        self.engine.register(self.store)
        for name in ("ROLE", *environment):
            del os.environ[name]
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self._stack.enter_context(using_store(self.store))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        for worker in self.workers:
            if worker.poll() is None:
                os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()
        self.engine.close()
        self.app.close()

    def start(self) -> subprocess.Popen:
        number = len(self.workers)
        with (self.folder / f"worker-{number}.log").open("wb") as log:
            worker = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", f"{APP}:app", "worker", "-l", "info", "-c", "2",
                 "-Q", "celery,other", "--without-mingle", "--without-gossip",
                 "-n", f"handoff{number}@localhost"],
                env=self.environment, cwd=self.folder, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self.workers.append(worker)
        self.until(lambda: " ready." in self.output(number), 30)
        return worker

    def kill(self, worker: subprocess.Popen) -> None:
        """Kill a worker with all of its processes at once."""
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()

    def output(self, number: int = 0) -> str:
        return (self.folder / f"worker-{number}.log").read_text()

    def log(self) -> list[list[str]]:
        return [line.split() for line in (self.folder / "log").read_text().splitlines()]

    def count(self, word: str, subscriber: str) -> Counter[int]:
        return Counter(int(line[2]) for line in self.log() if line[:2] == [word, subscriber])

    def lines(self, word: str, subscriber: str, number: int) -> list[list[str]]:
        return [line for line in self.log() if line[:3] == [word, subscriber, str(number)]]

    def until(self, condition, seconds: float = 15.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                outputs = "\n".join(self.output(number)[-4000:] for number in range(len(self.workers)))
                raise AssertionError(f"not within {seconds} s\n{outputs}\n{self.log()[-20:]}")
            time.sleep(0.02)

    def event(self, what: str = "", *, even: bool = True):
        """Return an event with a number that no other has."""
        number = 2 * next(_numbers) + (not even)
        return self.module.worker_app.Created(number=number, what=what)
