"""A mail service that stands in for a real one: it takes each message id once, and refuses some mail."""

import sqlite3
from typing import Final

_REFUSED: Final = (50, 3)  # every 50th pipeline from the third on, so that a demo always has one


class MailRefused(Exception):
    """The mail service does not take this message, now or later."""


def send(connection: sqlite3.Connection, message_id: str, pipeline_id: int) -> None:
    """Send the mail about a pipeline. Raises `MailRefused`."""
    every, first = _REFUSED
    if pipeline_id % every == first:
        raise MailRefused("the mailbox of the reviewer is full")
    sql = "INSERT INTO merge_requests_mail (message_id, pipeline_id) VALUES (?, ?) ON CONFLICT DO NOTHING"
    connection.execute(sql, [message_id, pipeline_id])
