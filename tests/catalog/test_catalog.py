"""One truth for "who hears this?": the model of the table, and the graph drawn from it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.testing import shop
from tests.testing.shop import Created, Finished
from whereupon import EventStore, SQLiteLedger, subscribe
from whereupon.catalog.mermaid import mermaid
from whereupon.catalog.model import condition_text, hearings, hearings_of
from whereupon.errors import NotFound


def is_large(event: Created) -> bool:
    return event.number > 5


@pytest.fixture
def store(tmp_path) -> EventStore:
    return EventStore(
        subscriptions=[
            subscribe(shop.on_created, to=Created, when=is_large, delay=timedelta(minutes=1)),
            subscribe(shop.by_group, to=Created, group_size=10),
            subscribe(shop.finish, to=Created, when=lambda event: event.number > 5 and event.ref != "<main>"),
            subscribe(shop.on_finished, to=Finished),
        ],
        ledger=SQLiteLedger(tmp_path / "x"),
    )


def test_the_graph_shows_context_event_and_subscriber_with_condition_delay_and_group(store):
    lines = mermaid(store).splitlines()
    assert lines[0] == "flowchart LR"
    assert '    testing(["testing"]) --> shop_created["shop.created"]' in lines
    assert (
        '    shop_created -- "when is_large, after 60 s" --> testing_on_created["testing: on_created"]'
        in lines
    )
    assert '    shop_created -- "in groups of 10" --> testing_by_group["testing: by_group"]' in lines
    assert '    shop_finished --> testing_on_finished["testing: on_finished"]' in lines
    assert len(lines) == 1 + 2 + 4


def test_the_graph_escapes_what_mermaid_would_act_upon(store):
    assert "when event.number #gt; 5 and event.ref != #quot;#lt;main#gt;#quot;" in mermaid(store)


def test_the_model_is_the_whole_table_in_its_order(store):
    assert [each.subscription for each in hearings(store)] == [each.id for each in store.routes]
    assert [each.group_size for each in hearings_of(store, "shop.created")] == [1, 10, 1]


def test_an_event_is_found_by_name_alias_and_class(store):
    assert hearings_of(store, "Finished") == hearings_of(store, "shop.finished")
    with pytest.raises(NotFound, match="did you mean 'Finished'"):
        hearings_of(store, "Finishd")


# fmt: off
@pytest.mark.parametrize(
    ("condition", "text"),
    [
        (is_large, "is_large"),
        (lambda event: event.number, "event.number"),
        (lambda event: event.number  >  1, "event.number > 1"),
        (lambda event: (event.number
                        and event.ref), "event.number and event.ref"),
        (lambda event: event.ref == "é→ü", 'event.ref == "é→ü"'),
        (str.strip, "strip"),
    ],
)
# fmt: on
def test_a_condition_is_shown_as_it_is_written(condition, text):
    assert condition_text(condition) == text
