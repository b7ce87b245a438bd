"""The matrix of transactions, and random nestings, on Django's connections."""

from __future__ import annotations

import contextlib

import pytest
from django.db import connections, transaction
from tests.transactions.test_matrix import check_nestings

from whereupon import publish_many
from whereupon.contrib.django import DjangoLedger
from whereupon.contrib.django.databases import own_ledger
from whereupon.testing import transaction_contract

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])


class Django:
    name = "Django"
    implicit = True

    def __init__(self) -> None:
        self.ledger = DjangoLedger()
        for alias in ("default", "other"):
            DjangoLedger(using=alias).migrate()
            with connections[alias].cursor() as cursor:
                cursor.execute("CREATE TABLE IF NOT EXISTS business (number INTEGER)")

    def reset(self) -> None:
        with transaction.atomic(), connections["default"].cursor() as cursor:
            for table in ("business", "whereupon_event", "whereupon_delivery"):
                cursor.execute(f"DELETE FROM {table}")

    def reading(self):
        return own_ledger("default", "").reading()

    def transaction(self):
        return transaction.atomic()

    def savepoint(self, on):
        return transaction.atomic()

    def autocommit(self):
        return contextlib.nullcontext()

    @contextlib.contextmanager
    def elsewhere(self):
        with transaction.atomic(using="other"):
            yield "other"

    def write(self, on, number: int) -> None:
        with connections["default"].cursor() as cursor:
            cursor.execute("INSERT INTO business VALUES (%s)", [number])

    def written(self) -> list[int]:
        with self.reading() as looking:
            return [row[0] for row in looking.rows("SELECT number FROM business")]

    def publish(self, events, on) -> None:
        publish_many(events, on=on)


@pytest.fixture
def kind():
    kind = Django()
    kind.reset()
    return kind


@pytest.mark.parametrize("case", transaction_contract.CASES, ids=str)
def test_a_case_of_the_matrix(case, kind):
    case.run(kind)


def test_exactly_the_events_of_committed_scopes_are_there(kind):
    """A thousand random nestings of transactions, savepoints, publishes and rollbacks: 200 times five."""
    check_nestings(kind)
