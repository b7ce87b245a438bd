"""Every kind of connection against the matrix, and against random nestings of transactions."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.transactions.kinds import KINDS
from tests.transactions.sqlalchemy_kinds import SQLALCHEMY_KINDS
from whereupon.testing import transaction_contract
from whereupon.testing.transaction_contract import BROKEN, Scope

ALL = KINDS | SQLALCHEMY_KINDS


@pytest.fixture(scope="module", params=list(ALL))
def made(request):
    kind = ALL[request.param]()
    yield kind
    kind.close()


@pytest.fixture
def kind(made):
    made.reset()
    return made


@pytest.mark.parametrize("case", transaction_contract.CASES, ids=str)
def test_a_case_of_the_matrix(case, kind):
    case.run(kind)


def scopes(steps):
    return st.builds(Scope, st.sampled_from(["commit", "rollback"]), st.lists(steps, max_size=4).map(tuple))


TREES = scopes(st.recursive(st.just(0), scopes, max_leaves=8))


def numbered(scope: Scope, numbers) -> Scope:
    """Give each event of a tree a number of its own."""
    return Scope(
        scope.fate,
        tuple(next(numbers) if isinstance(step, int) else numbered(step, numbers) for step in scope.steps),
    )


@pytest.mark.slow
def test_exactly_the_events_of_committed_scopes_are_there(made):
    """A thousand random nestings of transactions, savepoints, publishes and rollbacks: 200 times five."""
    check_nestings(made)


def check_nestings(kind) -> None:
    """Run random nestings on a kind, and find exactly the events of committed scopes after each five."""

    @settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(st.lists(TREES, min_size=5, max_size=5))
    def check(trees):
        kind.reset()
        numbers = itertools.count(BROKEN + 1)
        expected = []
        with transaction_contract.checked(kind):
            for tree in trees:
                scope = numbered(tree, numbers)
                transaction_contract.run_scope(kind, scope)
                expected += scope.committed()
        assert transaction_contract.published(kind) == sorted(expected)

    check()
