"""Runs the tests of the folder cases in processes of their own, where Django is set up, on each database."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
CASES = Path(__file__).parent / "cases"
ROOT = Path(__file__).parents[3]


def run(case, database, *more, **environment) -> None:
    store = f"tests.engines.django_tasks.{case}_app.store"
    options = "-q", "-p", "no:django", "-p", "no:cacheprovider"  # which would refuse the use of databases
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *more, CASES / f"{case}.py"],
        env=os.environ | {"DATABASE": database, "STORE": store} | environment,
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def also(database):
    return pytest.param(database, marks=pytest.mark.exhaustive)


def test_contract():
    """Run all but many deaths, and that of a whole worker, which is the process that handles here."""
    run("contract", "postgresql", "-k", "not many-deaths and not the-worker-is-killed")


def test_a_database_of_jobs_that_stops_answering():
    run("contract", "apart", "-k", "stops_answering", CONN_MAX_AGE="60")


@pytest.mark.exhaustive
@pytest.mark.parametrize("database", ["postgresql", "apart", "sqlite"])
def test_whole_contract(database):
    run("contract", database)


@pytest.mark.parametrize("database", ["postgresql", also("sqlite")])
def test_what_is_special(database):
    run("special", database)
