"""Fresh copies of the application Forge, real git repositories, and the demo as a subprocess."""

import importlib
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from whereupon.store import swap

EXAMPLES = Path(__file__).parents[2] / "examples"
GIT = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "Ada Lovelace",
    "GIT_AUTHOR_EMAIL": "ada@example.com",
    "GIT_COMMITTER_NAME": "Ada Lovelace",
    "GIT_COMMITTER_EMAIL": "ada@example.com",
}


def forget_forge():
    """Drop the application from this process, so that the next import reads FORGE_DATABASE again."""
    for name in [name for name in sys.modules if name == "forge" or name.startswith("forge.")]:
        del sys.modules[name]


@pytest.fixture
def forge(tmp_path, monkeypatch):
    """Return a function that imports a module of the application, which has a database of its own."""
    monkeypatch.setenv("FORGE_DATABASE", str(tmp_path / "forge.sqlite3"))
    monkeypatch.syspath_prepend(str(EXAMPLES))
    forget_forge()

    def module(name):
        return importlib.import_module(f"forge.{name}")

    module("tables").create_tables()
    store = module("event_store").store
    store.ledger.migrate()
    previous = swap(store)
    yield module
    swap(previous)
    forget_forge()


@pytest.fixture
def commit(forge):
    """Return a function that makes the n-th commit."""

    def make(number, author="ada", title="Add a file"):
        return forge("git.services").Commit(f"{number:040x}", author, title, 1)

    return make


@pytest.fixture
def rows(forge):
    """Return a function that runs SQL on the application's database."""

    def run(sql, *values):
        with forge("database").transaction() as connection:
            return connection.execute(sql, values).fetchall()

    return run


class Repository:
    """A real git repository below the folder of a test."""

    def __init__(self, path):
        self.path = path
        path.mkdir()
        self.git("init", "--quiet", "--template=")
        self.git("symbolic-ref", "HEAD", "refs/heads/main")

    def git(self, *arguments, stdin=b"", **environment):
        done = subprocess.run(
            ["git", "-C", str(self.path), *arguments],
            env=os.environ | GIT | environment,
            input=stdin,
            capture_output=True,
            check=True,
        )
        return done.stdout.decode("utf-8", "replace").strip()

    def commit(self, message, *, author="Ada Lovelace", files=(), **environment):
        for name in files:
            (self.path / name).write_text(f"{message[:50]}\n")
        self.git("add", "--all")
        text = message if isinstance(message, bytes) else message.encode()
        arguments = (
            "commit",
            "--quiet",
            "--allow-empty",
            "--allow-empty-message",
            "--cleanup=verbatim",
            "-F-",
        )
        self.git(*arguments, stdin=text, GIT_AUTHOR_NAME=author, **environment)
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """Return an empty git repository."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    return Repository(tmp_path / "repository")


HOSTILE_AUTHORS = (
    "\x1b[31mRed\x07 \x01\x7f",
    "Robert'); DROP TABLE git_commit;--",
    '"quotes" \\ and `ticks`',
    "🦄🏳️‍🌈",
    "مرحبا \u202e reversed",
    "x" * 500,
)


def make_hostile(repository):
    """Fill a repository with what real ones contain and nobody expects; return how many commits."""
    names = ("plain.txt", ":colon", "tab\tand\nnewline", "ünïcode", "100644 :000000")
    for number, author in enumerate(HOSTILE_AUTHORS):
        repository.commit(f"Commit {number}", author=author, files=names[number : number + 1])
    repository.commit("y" * 10_000, files=["long"])
    repository.commit(":000000 100644 0000000 7898192 A\n\n:not a path", files=["colon"])
    repository.commit("")
    repository.commit(b"\xff\xfe not UTF-8 \x1b]0;title\x07", files=["bytes"])
    repository.git("checkout", "--quiet", "-b", "topic", "HEAD~1")
    repository.commit("On a branch", author="Grace Hopper", files=["topic"])
    repository.git("checkout", "--quiet", "main")
    repository.git("merge", "--quiet", "--no-ff", "-m", "Merge the branch", "topic")
    return len(HOSTILE_AUTHORS) + 6


@pytest.fixture
def hostile(repository):
    """Return a repository with hostile authors, messages and paths, and the number of its commits."""
    return SimpleNamespace(repository=repository, commits=make_hostile(repository))


@pytest.fixture
def run_demo(tmp_path, monkeypatch):
    """Return a function that runs `whereupon demo` in a folder, and its outcome."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))

    def run(folder, *arguments, **environment):
        return subprocess.run(
            [sys.executable, "-m", "whereupon", "demo", *arguments],
            cwd=folder,
            env=os.environ | environment,
            capture_output=True,
            encoding="utf-8",
            timeout=120,
            check=False,
        )

    return run
