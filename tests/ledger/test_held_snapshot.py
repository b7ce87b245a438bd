"""An old snapshot keeps PostgreSQL from cleaning up: a look must not step over all that was done since."""

from __future__ import annotations

from contextlib import closing

import psycopg

from tests.ledger.conftest import Bench
from tests.servers import new_database
from whereupon.deliveries import Close, Done
from whereupon.ledger import PostgresLedger, claims, due

A = "a.one:ci.created"
DONE = 3000


def pages_of_a_look(transaction, since: int) -> int:
    """Count the pages that the statement of a claim touches."""
    parameters = {"subscriptions": [A], "sinces": [since], "mosts": [10], "now": 2**62}
    sql = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {due._DUE_OF_EACH}"
    plan = transaction.rows(sql, parameters)[0][0][0]["Plan"]
    return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]


def test_a_look_from_the_floor_touches_few_pages_under_a_held_snapshot():
    bench = Bench(PostgresLedger(new_database(), own_transaction=True))
    with closing(psycopg.connect(bench.ledger.url)) as holder:
        holder.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        holder.execute("SELECT count(*) FROM whereupon_delivery")
        worker = bench.worker()
        with bench.transaction() as transaction:
            transaction.run(
                "INSERT INTO whereupon_delivery (event_id, subscription, due_at)"
                " SELECT CAST(n AS text), :a, :now - 10000 + n FROM generate_series(1, :many) AS n",
                {"a": A, "now": bench.clock, "many": DONE},
            )
        floors = due.Floors()
        floors.renew()
        while True:
            with bench.transaction() as transaction:
                wanted = [claims.Wanted((A,), 1, 500)]
                jobs = claims.claim(transaction, worker, wanted, claims.Budget(0.0, 500, 500), floors)
                claims.close(transaction, [Close(claim, Done()) for job in jobs for claim in job])
            if not jobs:
                break
        bench.publish(A)
        with bench.transaction() as transaction:
            transaction.run("SET LOCAL enable_seqscan = off")
            whole, from_floor = pages_of_a_look(transaction, 0), pages_of_a_look(transaction, floors.since(A))
        assert whole > 40, "the snapshot keeps what is done in the way"
        assert from_floor < whole / 4
