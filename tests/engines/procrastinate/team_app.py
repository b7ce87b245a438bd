"""The Procrastinate application of a team, with a task of its own, which names the store in import_paths=."""

from __future__ import annotations

import os

import procrastinate

app = procrastinate.App(
    connector=procrastinate.PsycopgConnector(
        conninfo=os.environ["BROKER"], kwargs={"connect_timeout": 2}, timeout=5
    ),
    import_paths=[os.environ.get("STORE_MODULE", "tests.engines.procrastinate.contract_app")],
)


@app.task(name="greet")
async def greet(whom: str) -> str:
    """Return a greeting, from the worker's own event loop."""
    return f"hello {whom}"
