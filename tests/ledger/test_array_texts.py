"""Lists reach PostgreSQL as texts of arrays: every text comes back as it was given."""

from contextlib import closing

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.servers import new_database

psycopg = pytest.importorskip("psycopg")

from whereupon.ledger.psycopg_connection import bound  # noqa: E402

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
AWKWARD = ["", " ", "NULL", "null", '"', "\\", '\\"', "{", "}", "{a,b}", ",", "'", "\n", "é", "%s", ":name"]


@pytest.fixture(scope="module")
def connection():
    with closing(psycopg.connect(new_database(), autocommit=True)) as opened:
        yield opened


def returned(connection, kind, values):
    parameters = bound({"values": values})
    return connection.execute(f"SELECT CAST(%(values)s AS {kind}[])", parameters).fetchone()[0]


@given(st.lists(TEXTS | st.none()))
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_texts(connection, values):
    assert returned(connection, "text", values) == values


def test_awkward_texts(connection):
    assert returned(connection, "text", AWKWARD) == AWKWARD


@given(st.lists(st.integers(-(2**63), 2**63 - 1)))
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_integers(connection, values):
    assert returned(connection, "bigint", values) == values


def test_what_is_no_list_stays_as_it_is():
    assert bound({"one": 1, "none": None, "text": "{}"}) == {"one": 1, "none": None, "text": "{}"}
    assert bound((1, "a")) == (1, "a")
