"""The tree of errors: one base, stable codes, one sentence with place and fix, and a way through a pickle."""

import copy
import inspect
import pickle
import re

import pytest

from whereupon import errors
from whereupon.errors import (
    Fault,
    InvalidContract,
    InvalidEvent,
    InvalidStore,
    LedgerUnavailable,
    NoStore,
    WhereuponError,
)

KINDS = [kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, WhereuponError)]
EXAMPLES = [
    NoStore("there is no store"),
    InvalidContract("bad", where="shop/ci/events.py:7", fix="mend it"),
    InvalidEvent(
        "ci.created", [Fault("lines[0].sku", "is required"), Fault("", "is too large")], where="a.py:1"
    ),
    InvalidEvent("ci.created", [], fix="mend it"),
    InvalidStore([NoStore("one"), InvalidContract("two", where="b.py:2")]),
    LedgerUnavailable("it is full", retry_is_safe=True, fix="make room"),
]


def test_every_error_derives_from_one_base_and_has_a_code_of_its_own():
    """Conformance 1."""
    codes = [kind.code for kind in KINDS]
    assert len(KINDS) > 20
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"WU\d{3}", code) for code in codes)


def test_the_tree_in_the_docstring_is_the_tree():
    drawn = dict(re.findall(r"[├└]── (\w+) +(WU\d{3})  \S", errors.__doc__))
    assert drawn == {kind.__name__: kind.code for kind in KINDS if kind is not WhereuponError}


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_explains_itself(kind):
    assert len(inspect.cleandoc(kind.__doc__)) > 40


def test_an_error_is_one_sentence_with_its_code_its_place_and_its_fix():
    assert str(InvalidContract("bad", where="events.py:7", fix="mend it")) == (
        "bad [WU101]\n  where: events.py:7\n  fix: mend it"
    )
    assert str(NoStore("there is no store")) == "there is no store [WU301]"


def test_a_refusal_lists_its_faults():
    faults = [Fault("lines[0].sku", "is required"), Fault("", "is too large")]
    error = InvalidEvent("ci.created", faults, where="events.py:7", fix="mend it")
    assert str(error) == (
        "ci.created refuses this payload [WU102]\n"
        "  lines[0].sku: is required\n"
        "  payload: is too large\n"
        "  contract: events.py:7\n"
        "  fix: mend it"
    )
    assert repr(faults[0]) == "Fault('lines[0].sku: is required')"


def test_a_store_lists_its_faults_with_their_own_codes_and_places():
    assert str(InvalidStore([NoStore("one"), InvalidContract("two", where="b.py:2")])) == (
        "the store cannot be built: 2 faults [WU204]\n- one [WU301]\n- two [WU101]\n  where: b.py:2"
    )
    assert str(InvalidStore([NoStore("one")])).startswith("the store cannot be built: 1 fault [WU204]\n")


@pytest.mark.parametrize("error", EXAMPLES, ids=str)
@pytest.mark.parametrize(
    "travel", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy]
)
def test_an_error_goes_through_a_pickle_whatever_its_constructor_takes(travel, error):
    """Test runners and job systems send exceptions to other processes."""
    again = travel(error)
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert again.args == error.args
    assert (again.where, again.fix, again.code) == (error.where, error.fix, error.code)
    assert str(vars(again)) == str(vars(error))
