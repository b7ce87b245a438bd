"""What can be done in onboarding: welcome somebody."""

import sqlite3


def welcome(connection: sqlite3.Connection, author: str, push_id: int) -> bool:
    """Welcome an author; tell whether that was still to be done."""
    sql = "INSERT INTO onboarding_welcome (author, push_id) VALUES (?, ?) ON CONFLICT DO NOTHING"
    return connection.execute(sql, [author, push_id]).rowcount == 1
