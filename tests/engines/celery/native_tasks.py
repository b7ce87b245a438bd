"""Tasks that a team has already, which are subscribed as they are."""

from __future__ import annotations

import time
from pathlib import Path

from celery import shared_task

from tests.engines.local import worker_app
from tests.engines.local.worker_app import Created, logged
from whereupon import subscribe, subscriber


@subscriber(name="charge")
@shared_task(bind=True, name="team.charge", rate_limit="50/s")
def charge(self, what: Created | int) -> None:
    number = what.number if isinstance(what, Created) else what
    with logged("charge", number):
        if isinstance(what, Created) and not self.request.retries:
            raise self.retry(countdown=0.1)


@subscriber(name="insist")
@shared_task(
    bind=True, name="team.insist", autoretry_for=(ConnectionError,), retry_backoff=1, retry_jitter=False,
    max_retries=2,
)  # fmt: skip
def insist(self, event: Created) -> None:
    with logged("insist", event.number):
        raise ConnectionError("the bank is away")


@shared_task(name="team.plain")
def plain_task(event: Created) -> None:
    with logged("plain_task", event.number):
        pass


@shared_task(bind=True, name="team.hasty")
def hasty(self, event: Created) -> None:
    with logged("hasty", event.number):
        if not self.request.retries:
            wait_for(worker_app.FOLDER / "go-on")
            raise self.retry(countdown=0.1)


def wait_for(path: Path, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.02)


for task in (charge, insist, plain_task, hasty):
    name = task.name.removeprefix("team.").replace("plain", "plain_task")
    worker_app.TABLE[name] = subscribe(task, to=Created)
