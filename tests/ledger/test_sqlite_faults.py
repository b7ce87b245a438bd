"""Files that are corrupt, read-only, full, gone, not ours: one clear error, and no silent new file."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import closing
from datetime import timedelta

import pytest

from whereupon import Event, EventStore, SQLiteLedger, publish
from whereupon.errors import (
    InvalidConfiguration,
    LedgerBusy,
    LedgerMissing,
    LedgerUnavailable,
    LedgerVersion,
)
from whereupon.ledger import sqlite as sqlite_module
from whereupon.ledger import versions
from whereupon.ledger.schema import VERSION
from whereupon.ledger.sqlite_build import file_system_of, has_wal_reset_bug, is_network
from whereupon.testing import using_store


class Created(Event, name="ci.created"):
    number: int


@pytest.fixture
def ledger(tmp_path):
    ledger = SQLiteLedger(tmp_path / "ledger.sqlite3", own_transaction=True)
    ledger.migrate()
    with using_store(EventStore(subscriptions=[], ledger=ledger)):
        yield ledger


def test_publishing_never_makes_the_file(tmp_path):
    path = tmp_path / "none.sqlite3"
    with using_store(EventStore(subscriptions=[], ledger=SQLiteLedger(path, own_transaction=True))):
        with pytest.raises(LedgerMissing) as caught:
            publish(Created(number=1))
    assert "whereupon ledger migrate" in str(caught.value)
    assert not path.exists()


def test_a_file_that_vanishes_at_run_time_is_noticed_and_not_made_anew(ledger):
    publish(Created(number=1))
    ledger.path.unlink()
    with pytest.raises((LedgerUnavailable, LedgerMissing), match=r"is gone|no ledger at"):
        publish(Created(number=2))
    assert not ledger.path.exists()


def test_a_vanished_file_that_comes_back_is_used_again_without_a_restart(ledger):
    publish(Created(number=1))
    away = ledger.path.with_suffix(".away")
    ledger.path.rename(away)
    with pytest.raises((LedgerUnavailable, LedgerMissing)):
        publish(Created(number=2))
    away.rename(ledger.path)
    publish(Created(number=3))
    with ledger.reading() as transaction:
        assert transaction.rows("SELECT count(*) FROM whereupon_event") == [(2,)]


def test_a_long_connection_notices_that_its_file_was_replaced(ledger):
    connection = ledger.connect()
    ledger.path.rename(ledger.path.with_suffix(".old"))
    SQLiteLedger(ledger.path).migrate()
    with pytest.raises(LedgerUnavailable, match="another file has taken its place") as caught:
        with connection.transaction():
            pass
    assert caught.value.retry_is_safe
    connection.close()


def test_a_file_that_is_no_database_is_said_to_be_none(tmp_path):
    path = tmp_path / "ledger.sqlite3"
    path.write_bytes(b"certainly not a database, but long enough to look at" * 50)
    with pytest.raises(LedgerUnavailable, match="is not a SQLite database"):
        SQLiteLedger(path).connect()
    with pytest.raises(LedgerUnavailable):
        SQLiteLedger(path).migrate()


def test_a_corrupt_database_is_said_to_be_corrupt(ledger):
    for number in range(300):
        publish(Created(number=number))
    size = ledger.path.stat().st_size
    with ledger.path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(size - 4096))
    fresh = SQLiteLedger(ledger.path, own_transaction=True)
    with using_store(EventStore(subscriptions=[], ledger=fresh)):
        with pytest.raises(LedgerUnavailable, match=r"is corrupt|is not a SQLite database"):
            publish(Created(number=1))


def test_a_zero_byte_file_holds_no_ledger(tmp_path):
    path = tmp_path / "ledger.sqlite3"
    path.touch()
    with pytest.raises(LedgerMissing, match="holds no ledger"):
        SQLiteLedger(path).connect()


def test_a_directory_is_no_ledger(tmp_path):
    with pytest.raises(LedgerMissing, match="there is no ledger"):
        SQLiteLedger(tmp_path).connect()


def as_nobody(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run code as a user who may not write, as root may write everything."""
    prelude = "import os, sys, sqlite3, whereupon, whereupon.errors\n"  # before the rights to read them go
    prelude += "if os.getuid() == 0: os.setgid(65534); os.setuid(65534)\n"
    script = prelude + textwrap.dedent(code)
    return subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_read_only_file_is_said_to_be_read_only(ledger):
    for each in [ledger.path, *ledger.path.parents][: len(ledger.path.parents) - 1]:
        each.chmod(0o555 if each.is_dir() else 0o444)
    done = as_nobody(
        """
        from whereupon import Event, EventStore, SQLiteLedger, publish
        from whereupon.errors import LedgerUnavailable
        class Created(Event, name="ci.created"):
            number: int
        EventStore(subscriptions=[], ledger=SQLiteLedger(sys.argv[1], own_transaction=True)).install()
        try:
            publish(Created(number=1))
        except LedgerUnavailable as error:
            print(error.retry_is_safe, error)
        """,
        ledger.path,
    )
    for each in [*ledger.path.parents][: len(ledger.path.parents) - 1]:
        each.chmod(0o755)
    assert "True" in done.stdout, done.stderr
    assert "read-only" in done.stdout or "cannot be opened" in done.stdout


def test_a_full_disk_is_said_to_be_full_and_works_again_once_there_is_space(ledger):
    """The disk is made small for one process by the limit on the size of its files."""
    code = """
        import resource, signal
        from whereupon import Event, EventStore, SQLiteLedger, publish
        from whereupon.errors import LedgerUnavailable
        class Created(Event, name="ci.created"):
            text: str
        ledger = SQLiteLedger(sys.argv[1], own_transaction=True)
        EventStore(subscriptions=[], ledger=ledger).install()
        publish(Created(text="a"))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (os.path.getsize(sys.argv[1]) + 8192, hard))
        written = 1
        try:
            for _ in range(100):
                publish(Created(text="x" * 4000))
                written += 1
        except LedgerUnavailable as error:
            print(error)
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        publish(Created(text="b"))
        with ledger.reading() as transaction:
            assert transaction.rows("SELECT count(*) FROM whereupon_event") == [(written + 1,)]
            assert transaction.rows("PRAGMA integrity_check") == [("ok",)]
        print("works again")
    """
    done = subprocess.run(
        [sys.executable, "-c", "import os, sys\n" + textwrap.dedent(code), str(ledger.path)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert "WU404" in done.stdout, done.stderr
    assert "works again" in done.stdout, done.stderr


@pytest.mark.parametrize("path", ["", ":memory:", "file:x?mode=memory"])
def test_a_ledger_that_other_processes_cannot_open_is_refused(path):
    with pytest.raises(InvalidConfiguration, match="a ledger is a file that other processes can open"):
        SQLiteLedger(path)


def test_a_network_file_system_is_refused(monkeypatch, ledger):
    monkeypatch.setattr(sqlite_module, "file_system_of", lambda path: "nfs4")
    with pytest.raises(InvalidConfiguration, match="nfs4"):
        ledger.connect()


def test_the_file_system_below_a_path_is_found(tmp_path):
    assert file_system_of(tmp_path)
    assert is_network("nfs4")
    assert is_network("fuse.sshfs")
    assert not is_network("ext4")


def test_a_relative_path_is_made_absolute_when_the_ledger_is_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ledger = SQLiteLedger("var/ledger.sqlite3")
    monkeypatch.chdir("/")
    assert ledger.path == tmp_path / "var" / "ledger.sqlite3"
    ledger.migrate()
    assert ledger.path.exists()


def test_options_out_of_range_are_refused(tmp_path):
    with pytest.raises(InvalidConfiguration, match="busy_timeout"):
        SQLiteLedger(tmp_path / "l", busy_timeout=timedelta(0))
    with pytest.raises(InvalidConfiguration, match="journal"):
        SQLiteLedger(tmp_path / "l", journal="off")


def test_files_are_made_for_their_owner_only(tmp_path):
    previous = os.umask(0)
    try:
        ledger = SQLiteLedger(tmp_path / "new" / "ledger.sqlite3")
        ledger.migrate()
    finally:
        os.umask(previous)
    assert ledger.path.stat().st_mode & 0o777 == 0o600
    assert ledger.path.parent.stat().st_mode & 0o777 == 0o700


class TestVersions:
    def test_migrating_twice_changes_nothing(self, ledger):
        assert ledger.migrate() == (VERSION, VERSION)
        assert ledger.version() == VERSION

    def test_a_newer_ledger_is_not_written_to(self, ledger):
        set_version(ledger, VERSION + 1)
        for use in (ledger.migrate, lambda: publish(Created(number=1)), ledger.connect):
            with pytest.raises(LedgerVersion, match="or a newer one") as caught:
                use()
            assert f"version {VERSION + 1}" in str(caught.value)

    def test_an_older_ledger_says_which_command_migrates_it(self, ledger, monkeypatch):
        monkeypatch.setattr(versions, "VERSION", VERSION + 1)
        with pytest.raises(LedgerVersion, match="whereupon ledger migrate"):
            SQLiteLedger(ledger.path).connect()

    def test_tables_of_that_name_without_a_version_are_not_ours(self, tmp_path):
        path = tmp_path / "app.sqlite3"
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE whereupon_event (something TEXT)")
        for use in (SQLiteLedger(path).connect, SQLiteLedger(path).migrate):
            with pytest.raises(LedgerVersion, match="no version of a ledger"):
                use()

    def test_a_migration_that_is_killed_leaves_nothing_and_can_be_run_again(self, tmp_path):
        path = tmp_path / "ledger.sqlite3"
        code = """
            import os, sys
            from whereupon import SQLiteLedger
            from whereupon.ledger import versions
            real = versions.migration_sql
            def dying(current):
                for number, statement in enumerate(real(current)):
                    if number == 3:
                        os._exit(9)
                    yield statement
            versions.migration_sql = dying
            SQLiteLedger(sys.argv[1]).migrate()
        """
        done = subprocess.run([sys.executable, "-c", textwrap.dedent(code), str(path)], check=False)
        assert done.returncode == 9
        assert SQLiteLedger(path).migrate() == (0, VERSION)

    def test_an_applications_own_database_keeps_its_journal_mode(self, tmp_path):
        path = tmp_path / "app.sqlite3"
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA journal_mode = wal")
            connection.execute("CREATE TABLE business (number INTEGER)")
        SQLiteLedger(path).migrate()
        SQLiteLedger(path).connect().close()
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def set_version(ledger: SQLiteLedger, version: int) -> None:
    with closing(sqlite3.connect(ledger.path)) as connection, connection:
        connection.execute("UPDATE whereupon_ledger SET version = ?", (version,))
    while ledger._pool._idle:
        ledger._pool._idle.pop().close()


@pytest.mark.parametrize(
    ("version", "affected"),
    [
        ((3, 6, 23), False), ((3, 7, 0), True), ((3, 40, 1), True), ((3, 44, 5), True), ((3, 44, 6), False),
        ((3, 44, 9), False), ((3, 45, 0), True), ((3, 50, 6), True), ((3, 50, 7), False), ((3, 51, 0), True),
        ((3, 51, 2), True), ((3, 51, 3), False), ((3, 52, 0), False),
    ],
)  # fmt: skip
def test_builds_with_the_wal_reset_bug_are_known(version, affected):
    assert has_wal_reset_bug(version) == affected


@pytest.mark.parametrize(("affected", "mode"), [(True, "persist"), (False, "wal")])
def test_the_journal_follows_the_build_and_every_commit_is_flushed(tmp_path, monkeypatch, affected, mode):
    monkeypatch.setattr(sqlite_module, "has_wal_reset_bug", lambda version: affected)
    ledger = SQLiteLedger(tmp_path / "ledger.sqlite3")
    ledger.migrate()
    connection = ledger.connect()
    assert connection.pragma("journal_mode") == mode
    assert connection.pragma("synchronous") == 2
    connection.close()


def test_doctor_finds_wal_on_a_build_that_can_lose_transactions_in_it(tmp_path, monkeypatch):
    ledger = SQLiteLedger(tmp_path / "ledger.sqlite3", journal="wal")
    ledger.migrate()
    monkeypatch.setattr(sqlite_module, "has_wal_reset_bug", lambda version: True)
    assert any(level == "error" and "WAL" not in text and "wal" in text for level, text in ledger.findings())
    monkeypatch.setattr(sqlite_module, "has_wal_reset_bug", lambda version: False)
    assert all(level == "ok" for level, _ in ledger.findings())


def test_a_lock_that_is_released_in_time_is_waited_for(ledger):
    holder = sqlite3.connect(ledger.path, check_same_thread=False)
    holder.execute("BEGIN EXCLUSIVE")
    threading.Timer(0.4, lambda: (holder.rollback(), holder.close())).start()
    started = time.monotonic()
    publish(Created(number=1))
    assert time.monotonic() - started > 0.2


def test_a_lock_that_is_not_released_is_busy_at_the_deadline(ledger):
    patient = SQLiteLedger(ledger.path, own_transaction=True, busy_timeout=timedelta(seconds=0.2))
    with closing(sqlite3.connect(ledger.path)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        with using_store(EventStore(subscriptions=[], ledger=patient)), pytest.raises(LedgerBusy) as caught:
            publish(Created(number=1))
    assert "holds the write lock" in str(caught.value)


def test_behind_a_fork_the_child_opens_its_own_connection(ledger):
    publish(Created(number=1))
    pid = os.fork()
    if pid == 0:
        try:
            publish(Created(number=2))
        except BaseException:
            os._exit(1)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    publish(Created(number=3))
    with ledger.reading() as transaction:
        assert transaction.rows("SELECT count(*) FROM whereupon_event") == [(3,)]
