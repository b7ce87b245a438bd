"""Runs the tests of the folder cases in a process of their own, where Django is set up, on each database."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import new_database

ROOT = Path(__file__).parents[3]
CASES = sorted(path.stem for path in (Path(__file__).parent / "cases").glob("*.py"))


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


@pytest.mark.parametrize("cases", CASES)
def test_all_cases_hold(cases, url, tmp_path):
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        f"{Path(__file__).parent}/cases/{cases}.py",
    ]
    done = subprocess.run(
        command, env=environment(tmp_path, url), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
