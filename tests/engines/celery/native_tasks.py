"""Tasks that a team has already, which are subscribed as they are."""

from __future__ import annotations

import time
from pathlib import Path

from celery import Task, shared_task

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


class Careful(Task):
    """What a team's tasks are based on, with a limit for all of them."""

    abstract = True
    max_retries = 1
    default_retry_delay = 0.1


@subscriber(name="based")
@shared_task(bind=True, base=Careful, name="team.based")
def based(self, event: Created) -> None:
    with logged("based", event.number):
        try:
            raise ConnectionError(f"the bank of {event.what} is away")
        except ConnectionError as error:
            self.retry(exc=error)


@subscriber(name="stubborn")
@shared_task(bind=True, base=Careful, name="team.stubborn")
def stubborn(self, event: Created) -> None:
    with logged("stubborn", event.number):
        self.retry(exc=ConnectionError(f"the bank of {event.what} is away"), max_retries=3)


@subscriber(name="persist")
@shared_task(
    name="team.persist", autoretry_for=(ConnectionError,), retry_kwargs={"max_retries": 2, "countdown": 0.1}
)
def persist(event: Created) -> None:
    with logged("persist", event.number):
        raise ConnectionError(f"the bank of {event.what} is away")


@subscriber(name="give_up")
@shared_task(bind=True, name="team.give_up", autoretry_for=(Exception,), retry_kwargs={"countdown": 0.1})
def give_up(self, event: Created) -> None:
    with logged("give_up", event.number):
        try:
            raise ConnectionError(f"the bank of {event.what} is away")
        except ConnectionError:
            self.retry(max_retries=1, countdown=0.1)


@subscriber(name="apologize", max_attempts=5)
@shared_task(bind=True, name="team.apologize")
def apologize(self, event: Created) -> None:
    with logged("apologize", event.number):
        try:
            self.retry(countdown=0.1, max_retries=2)
        except self.MaxRetriesExceededError:
            worker_app.log("sorry", "apologize", event.number)


@subscriber(name="calm")
@shared_task(bind=True, name="team.calm")
def calm(self, what: Created | int) -> None:
    number = what.number if isinstance(what, Created) else what
    with logged("calm", number):
        if what == number and not self.request.retries:
            self.retry(countdown=0.1, throw=False)


for task in (charge, insist, plain_task, based, stubborn, persist, give_up, apologize, calm, hasty):
    name = task.name.removeprefix("team.").replace("plain", "plain_task")
    worker_app.TABLE[name] = subscribe(task, to=Created)
