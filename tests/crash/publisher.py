"""One publisher process: a business row and an event in each transaction, until its input ends."""

from __future__ import annotations

import random
import select
import sqlite3
import sys
import time
from uuid import uuid4

from tests.crash.app import FOLDER, Placed, connect, log, store
from tests.crash.hits import come_to
from tests.crash.oracle import ACK, INTENT, ROLLED_BACK
from whereupon import publish

PAUSE = 0.06
"""The longest pause between two transactions, in seconds."""
ROLLED_BACK_SHARE = 0.1


def transact(connection: sqlite3.Connection, *, roll_back: bool) -> None:
    """Place one order: its row and its event commit together, or neither does."""
    order = uuid4().hex
    log.write(INTENT, order)
    store.ledger.begin(connection)
    connection.execute("INSERT INTO business VALUES (?)", (order,))
    publish(Placed(order=order), on=connection)
    if roll_back:
        connection.execute("ROLLBACK")
        log.write(ROLLED_BACK, order)
        return
    come_to(FOLDER, "published")
    connection.execute("COMMIT")
    come_to(FOLDER, "committed")
    log.write(ACK, order)


def main() -> None:
    """Publish until told to stop."""
    store.install()
    connection = connect()
    while not select.select([sys.stdin], [], [], 0)[0]:
        transact(connection, roll_back=random.random() < ROLLED_BACK_SHARE)
        time.sleep(random.uniform(0, PAUSE))


if __name__ == "__main__":
    main()
