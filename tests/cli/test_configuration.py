"""Arguments and configuration that are wrong: one line, the right exit status, no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import STORE


@pytest.fixture
def bare(tmp_path, monkeypatch, command):
    """Run in an empty directory, with no store named."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WHEREUPON_STORE")
    return command


@pytest.mark.parametrize(
    "arguments",
    [
        ["frob"], ["list", "--frob"], ["list", "--store"], ["worker", "--processes", "0"],
        ["worker", "--threads", "-1"], ["worker", "--grace", "soon"], ["worker", "--log-level", "loud"],
        ["parked", "retry", "seven"], ["show"], ["ledger"], ["ledger", "sql", "--from", "-1"],
    ],
)  # fmt: skip
def test_usage_errors_exit_with_2(command, arguments):
    command(*arguments, status=2)


def test_a_queue_that_no_subscriber_uses_is_refused(command):
    assert "no subscriber uses the queue mails; the queues are default" in command(
        "worker", "--queues", "mails", status=1
    )


def test_no_store_named_says_the_three_ways(bare):
    output = bare("list", status=1)
    assert "WHEREUPON_STORE" in output
    assert "[tool.whereupon]" in output
    assert "--store" in output


def test_the_store_comes_from_pyproject_below_the_environment_below_the_option(bare, tmp_path, monkeypatch):
    (tmp_path / "pyproject.toml").write_text(f'[tool.whereupon]\nstore = "{STORE}"\n')
    bare("list")
    monkeypatch.setenv("WHEREUPON_STORE", "nowhere:store")
    assert "nowhere cannot be imported" in bare("list", status=1)
    bare("list", "--store", STORE)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("shop", "does not name a store"),
        (":store", "does not name a store"),
        ("nowhere.at_all:store", "nowhere.at_all cannot be imported: ModuleNotFoundError"),
        ("tests.testing.shop:stor", "did you mean 'store'?"),
        ("tests.testing.shop:Created", "is ABCMeta and not an EventStore|is .* and not an EventStore"),
        ("tests.testing.shop:heard", "is list and not an EventStore"),
    ],
)
def test_a_store_that_cannot_be_loaded(command, name, words):
    import re

    assert re.search(words, command("list", "--store", name, status=1))


def test_a_module_that_fails_while_it_is_imported(command, tmp_path, monkeypatch):
    (tmp_path / "broken_shop.py").write_text("raise RuntimeError('the secret service is down')\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert "broken_shop cannot be imported: RuntimeError" in command(
        "list", "--store", "broken_shop:store", status=1
    )


def test_faults_of_the_store_are_all_shown(command, tmp_path, monkeypatch):
    (tmp_path / "faulty_shop.py").write_text(
        "from tests.testing.shop import *\n"
        "from tests.testing import shop\n"
        "wrong = [subscribe(on_created, to=Finished), subscribe(finish, to=Finished)]\n"
        "store = EventStore(subscriptions=wrong, ledger=SQLiteLedger('x.sqlite3'))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    output = command("list", "--store", "faulty_shop:store", status=1)
    assert "2 faults [WU204]" in output
    assert "on_created takes Created, and is subscribed to Finished" in output
    assert "finish takes Created, and is subscribed to Finished" in output


CONFIGURATIONS = {
    "unknown key": (b"[tool.whereupon]\nstroe = 'x'\n", "unknown key stroe; did you mean 'store'?"),
    "engine in toml": (b"[tool.whereupon]\nengine = 'celery'\n", "ledger and engine are said in Python"),
    "not a table": (b"[tool]\nwhereupon = 3\n", "is not a table"),
    "not text": (b"[tool.whereupon]\nstore = 3\n", "must be text"),
    "truncated": (b"[tool.whereupon\n", "is not TOML"),
    "duplicate key": (b"[tool.whereupon]\nstore = 'a'\nstore = 'b'\n", "is not TOML"),
    "utf-16": ("[tool.whereupon]\nstore = 'x'\n".encode("utf-16"), "is not TOML in UTF-8"),
    "empty": (b"", "no store is named"),
    "huge": (b"# " + b"x" * 2_000_000, "that is not a pyproject.toml"),
}


@pytest.mark.parametrize("case", sorted(CONFIGURATIONS))
def test_a_pyproject_that_cannot_be_used(bare, tmp_path, case):
    content, words = CONFIGURATIONS[case]
    (tmp_path / "pyproject.toml").write_bytes(content)
    assert words in bare("list", status=1)


def test_a_byte_order_mark_and_crlf_do_not_matter(bare, tmp_path):
    (tmp_path / "pyproject.toml").write_bytes(f'\ufeff[tool.whereupon]\r\nstore = "{STORE}"\r\n'.encode())
    bare("list")


def test_a_pyproject_that_is_a_directory_or_a_loop(bare, tmp_path):
    (tmp_path / "pyproject.toml").mkdir()
    assert "cannot be read" in bare("list", status=1)
    (tmp_path / "pyproject.toml").rmdir()
    (tmp_path / "pyproject.toml").symlink_to(tmp_path / "pyproject.toml")
    assert "cannot be read" in bare("list", status=1)


def run(*arguments: bytes | str, **options) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "whereupon", *arguments],
        capture_output=True,
        check=False,
        timeout=60,
        **options,
    )


def test_a_closed_pipe_is_no_error(command):
    environment = os.environ | {"PYTHONPATH": str(Path.cwd())}
    script = f"{sys.executable} -m whereupon explain | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr


def test_arguments_that_are_not_utf_8_are_no_traceback(command):
    done = run("explain", b"\xff\xfe")
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr


def test_version_and_help():
    assert b"0.1.0" in run("--version").stdout
    assert b"who hears what" in run("--help").stdout
