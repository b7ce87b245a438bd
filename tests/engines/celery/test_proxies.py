"""Tasks of `shared_task`, which are proxies: of which application, is decided when they are used."""

from __future__ import annotations

import subprocess
import sys
from textwrap import dedent

SHOP = {
    "events.py": """
        from whereupon import Event

        class Paid(Event):
            number: int
    """,
    "tasks.py": """
        from celery import shared_task

        from shop.events import Paid
        from whereupon import subscriber

        @subscriber(name="bound", queue="mails", max_attempts=3)
        @shared_task(bind=True)
        def bound(self, event: Paid) -> None: ...

        @subscriber(name="plain", queue="mails", max_attempts=3)
        @shared_task
        def plain(event: Paid) -> None: ...
    """,
    "__init__.py": "",
    "main.py": """
        from shop import tasks
        from shop.events import Paid
        from celery import Celery
        from whereupon import subscribe

        app = Celery("shop")
        app.set_default()
        for task in (tasks.bound, tasks.plain):
            subscriber = subscribe(task, to=Paid).subscriber
            print(task.app.main, subscriber.name, subscriber.options.queue, subscriber.options.max_attempts)
    """,
}


def test_the_options_of_a_task_that_was_decorated_before_there_was_an_application_are_kept(tmp_path):
    for name, source in SHOP.items():
        file = tmp_path / "shop" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(dedent(source))
    done = subprocess.run(
        [sys.executable, "-m", "shop.main"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["shop bound mails 3", "shop plain mails 3"]
