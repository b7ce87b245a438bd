"""Runs the tests of the folder cases in a process of their own, where Django is set up, on each database."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import new_database

ROOT = Path(__file__).parents[3]
CASES = [
    pytest.param(path.stem, marks=pytest.mark.slow) if path.stem == "matrix" else path.stem
    for path in sorted((Path(__file__).parent / "cases").glob("*.py"))
]


def environment(folder, url="", **more):
    own = {
        "DJANGO_SETTINGS_MODULE": "tests.contrib.django.settings",
        "SHOP_FOLDER": str(folder),
        "SHOP_DATABASE_URL": url,
        "PYTHONPATH": str(ROOT),
    }
    return os.environ | own | more


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request):
    return "" if request.param == "sqlite" else new_database()


def run(folder, url, cases, *options):
    path = Path(__file__).parent / "cases" / f"{cases}.py"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, path],
        env=environment(folder, url), cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("cases", CASES)
def test_all_cases_hold(cases, url, tmp_path):
    run(tmp_path, url, cases)


def test_the_tables_are_made_where_migrations_are_turned_off(tmp_path):
    run(tmp_path, "", "atomic", "--nomigrations")


def test_a_database_in_memory_will_do_for_tests(tmp_path, monkeypatch):
    monkeypatch.setenv("SHOP_IN_MEMORY", "1")
    run(tmp_path, "", "testing")
