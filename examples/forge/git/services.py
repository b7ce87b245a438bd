"""What can be done with git: receive a push."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from forge import database
from forge.git.events import NO_COMMIT, CommitAdded, CommitsPushed
from whereupon import publish_many


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit as it arrives. `author` is a slug, `title` the first line of the message, cut short."""

    id: str
    author: str
    title: str
    changed_paths: int


def receive_push(ref: str, commits: Sequence[Commit]) -> int:
    """Store a push with its commits, publish what happened, and return the id of the push.

    Rows and events are written in one transaction: either all of them are there, or none.
    """
    with database.transaction() as connection:
        before, after = _head(connection, ref), commits[-1].id
        push_id = _insert_push(connection, ref, before, after)
        added = [commit for commit in commits if _insert_commit(connection, push_id, commit)]
        pushed = CommitsPushed(
            push_id=push_id,
            ref=ref,
            before=before,
            after=after,
            commit_count=len(commits),
            authors=tuple(dict.fromkeys(commit.author for commit in commits)),
            changed_paths=sum(commit.changed_paths for commit in commits),
        )
        publish_many([pushed, *(_added(push_id, commit) for commit in added)], on=connection)
    return push_id


def _added(push_id: int, commit: Commit) -> CommitAdded:
    return CommitAdded(push_id=push_id, commit_id=commit.id, author=commit.author, title=commit.title)


def _head(connection: sqlite3.Connection, ref: str) -> str:
    sql = "SELECT after FROM git_push WHERE ref = ? ORDER BY id DESC LIMIT 1"
    row: tuple[str] | None = connection.execute(sql, [ref]).fetchone()
    return row[0] if row else NO_COMMIT


def _insert_push(connection: sqlite3.Connection, ref: str, before: str, after: str) -> int:
    sql = "INSERT INTO git_push (ref, before, after) VALUES (?, ?, ?) RETURNING id"
    push_id: int = connection.execute(sql, [ref, before, after]).fetchone()[0]
    return push_id


def _insert_commit(connection: sqlite3.Connection, push_id: int, commit: Commit) -> bool:
    """Store a commit; tell whether it is new, as another branch may have brought it already."""
    sql = """
        INSERT INTO git_commit (id, push_id, author, title, changed_paths) VALUES (?, ?, ?, ?, ?)
        ON CONFLICT (id) DO NOTHING
    """
    values = [commit.id, push_id, commit.author, commit.title, commit.changed_paths]
    return connection.execute(sql, values).rowcount == 1
