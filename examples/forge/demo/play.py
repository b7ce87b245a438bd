"""The demo from its beginning to its end."""

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from forge import database, engines, tables
from forge.demo.history import EmptyHistory, NoHistory, read_history
from forge.demo.made_up import make_history
from forge.demo.oracle import judge
from forge.demo.progress import progress
from forge.demo.pushes import MOST_COMMITS, Push, bundle
from forge.demo.report import print_report
from forge.demo.worker import Worker, WorkerTrouble
from forge.event_store import store
from forge.git.services import Commit, receive_push
from whereupon.cli.reporting import say
from whereupon.ledger import reports

_IN_HAND: Final = 2.0  # seconds to wait for a moment at which the worker has something in hand
_STARTING: Final = 30.0  # the same where the worker is an engine's, which may only just be starting
_STALLED: Final = 60.0  # seconds without any progress after which the demo gives up


def play(repository: Path | None, most: int, folder: Path) -> bool:
    """Replay a history and print what came of it; tell whether nothing was lost and nothing done twice.

    `repository` is None for the one that the current directory is in. Raises `click.BadParameter` when a
    repository that was named cannot be read.
    """
    logging.basicConfig(filename=folder / "publisher.log", level=logging.WARNING)
    worker = Worker(folder)
    try:
        return _replay(worker, repository, most, folder)
    except NoHistory as reason:
        raise click.BadParameter(str(reason), param_hint="'--repo'") from None
    except WorkerTrouble as trouble:
        say("\n".join([f"\n{trouble}", *worker.last_lines()]))
        return False


def _replay(worker: Worker, repository: Path | None, most: int, folder: Path) -> bool:
    started = time.monotonic()
    pushes = bundle(_history(repository, most, folder))[-most:]
    commits = sum(len(push.commits) for push in pushes)
    are = "is" if commits == 1 else "are"
    say(f"{_some(commits, 'commit')} {are} replayed as {_some(len(pushes), 'push', 'pushes')}.")
    tables.create_tables()
    store.ledger.migrate()
    store.install()
    _check_broker()
    engines.prepare()
    say(f"The application and the ledger share one database, {database.PATH}.")
    with worker:
        _run(worker, pushes)
    say(f"Nothing is open or claimed any more, after {time.monotonic() - started:.1f} seconds in all.")
    verdict = judge()
    print_report(verdict)
    return not verdict.lost and not verdict.twice


def _check_broker() -> None:
    """Raise `WorkerTrouble` where the broker of the engine is away, so that nobody waits for workers."""
    for level, text in store.engine.findings() if store.engine else ():
        if level == "error" and "does not answer" in text:
            raise WorkerTrouble(text)


def _some(count: int, one: str, many: str = "") -> str:
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


def _history(repository: Path | None, most: int, folder: Path) -> list[Commit]:
    """Read the history of a repository; where there is none, say so and make one up."""
    path = repository or Path.cwd()
    try:
        commits = read_history(path, most * MOST_COMMITS)
        say(f"The history is that of the git repository at {path}.")
    except NoHistory as reason:
        if repository is not None and not isinstance(reason, EmptyHistory):
            raise
        say(f"{str(reason)[0].upper()}{str(reason)[1:]}, so a small history is made up.")
        commits = make_history(folder / "repository", most * MOST_COMMITS)
    return commits


def _run(worker: Worker, pushes: Sequence[Push]) -> None:
    """Publish everything to a worker that is killed in the middle, and wait until all is handled."""
    say(f"Worker {worker.start()} has started; its log is {worker.log}.\n")
    middle = (len(pushes) + 1) // 2
    _publish(pushes[:middle], "first pushes")
    _await_claims()
    killed = " and ".join(map(str, worker.kill()))
    in_hand = _some(_claimed(), "delivery", "deliveries")
    say(f"\nSIGKILL to the worker, processes {killed}, with {in_hand} in hand.")
    say(f"Worker {worker.start()} has started, and takes back what they held.\n")
    _publish(pushes[middle:], "further pushes")
    _await_quiet(worker)
    worker.stop()
    say("\nSIGTERM to the worker, which has stopped.")


def _publish(pushes: Sequence[Push], title: str) -> None:
    with progress(title) as show:
        for number, push in enumerate(pushes, start=1):
            receive_push(push.ref, push.commits)
            show(number, len(pushes))


def _claimed() -> int:
    with store.ledger.reading() as transaction:
        return sum(tally.claimed for tally in reports.tallies(transaction))


def _await_claims() -> None:
    """Wait for a moment at which it hurts to be killed."""
    deadline = time.monotonic() + (_STARTING if store.engine else _IN_HAND)
    while not _claimed() and time.monotonic() < deadline:
        time.sleep(0.001)


def _await_quiet(worker: Worker) -> None:
    """Wait until nothing is open or claimed. Raises `WorkerTrouble`."""
    with progress("deliveries") as show:
        finished, moved = -1, time.monotonic()
        while True:
            worker.check()
            total, left = _deliveries()
            show(total - left, total)
            if not left:
                return
            if total - left != finished:
                finished, moved = total - left, time.monotonic()
            if time.monotonic() - moved > _STALLED:
                raise WorkerTrouble(f"nothing was handled for {_STALLED:.0f} seconds; {left:,} are left")
            time.sleep(0.1)


def _deliveries() -> tuple[int, int]:
    """Return how many deliveries there are, and how many of them are open or claimed."""
    with store.ledger.reading() as transaction:
        total = transaction.rows("SELECT count(*) FROM whereupon_delivery")[0][0]
        return int(total), reports.unfinished(transaction)
