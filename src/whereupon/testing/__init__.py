"""What tests of publishers and subscribers need: plain functions and context managers.

The pytest plugin wraps `published` as a fixture. All of them run with `strict` on, put every event through
the JSON of the wire, and see events inside a transaction that the test has not committed.
"""

from whereupon.testing.consuming import aconsume, assert_not_dispatched, assert_subscribed, consume
from whereupon.testing.delivering import adeliver_all, deliver_all
from whereupon.testing.expecting import Expected, expected
from whereupon.testing.publishing import publishes, publishes_nothing
from whereupon.testing.recording import Published, published, using_store

__all__ = [
    "Expected",
    "Published",
    "aconsume",
    "adeliver_all",
    "assert_not_dispatched",
    "assert_subscribed",
    "consume",
    "deliver_all",
    "expected",
    "published",
    "publishes",
    "publishes_nothing",
    "using_store",
]
