"""The commands that change something: dry by default, and exact about what they did."""

from __future__ import annotations

import pytest

from tests.cli.test_reports import ID, end
from tests.testing.shop import Created
from whereupon import EventStore, SQLiteLedger, publish
from whereupon.deliveries import Done, Parked
from whereupon.testing import using_store


@pytest.fixture
def parked(command):
    for number in range(3):
        publish(Created(number=number))
    end(command, ID, Parked("attempts", "ValueError"))
    return [row["id"] for row in command.json("parked", "list")]


def states(command) -> list[str]:
    with command.store.ledger.reading() as transaction:
        sql = "SELECT state FROM whereupon_delivery WHERE subscription = :id ORDER BY id"
        return [row[0] for row in transaction.rows(sql, {"id": ID})]


def test_parked_list_says_what_why_and_when(command, parked):
    text = command("parked", "list")
    assert "attempts" in text
    assert "ValueError" in text
    assert str(parked[0]) in text
    assert command.json("parked", "list", "--subscription", "x.y:z.a") == []


def test_nothing_parked(command):
    assert "nothing is parked" in command("parked", "list")


def test_named_deliveries_are_tried_again(command, parked):
    assert "open again: 1 delivery" in command("parked", "retry", str(parked[0]))
    assert states(command) == ["open", "parked", "parked"]


def test_many_are_tried_again_only_with_yes(command, parked):
    assert "3 deliveries would be tried again; add --yes" in command("parked", "retry", "--all", status=1)
    assert states(command) == ["parked"] * 3
    assert "open again: 3 deliveries" in command("parked", "retry", "--subscription", ID, "--yes")
    assert states(command) == ["open"] * 3


def test_discarding_always_needs_yes(command, parked):
    assert "1 delivery would be discarded" in command("parked", "discard", str(parked[0]), status=1)
    assert states(command) == ["parked"] * 3
    command("parked", "discard", str(parked[0]), "--yes")
    assert states(command) == ["done", "parked", "parked"]


def test_an_unknown_delivery_changes_nothing(command, parked):
    output = command("parked", "retry", str(parked[0]), "99999", status=1)
    assert "no delivery 99999 is parked; nothing was changed" in output
    assert states(command) == ["parked"] * 3


@pytest.mark.parametrize("arguments", [[], ["1", "--all"], ["--all", "--subscription", "x"]])
def test_a_selection_is_needed_and_only_one(command, arguments):
    assert "say which" in command("parked", "retry", *arguments, status=2)


def test_a_replay_counts_first_and_then_delivers(command):
    envelopes = [publish(Created(number=number)) for number in range(2)]
    end(command, ID, Done())
    assert "2 events would go to" in command("replay", "--to", ID, "--since", "2020-01-01", status=1)
    assert states(command) == ["done", "done"]
    assert "1 event goes to" in command("replay", envelopes[0].id, "--to", ID, "--yes")
    assert states(command) == ["open", "done"]
    assert "open already: 1" in command("replay", "--to", ID, "--since", "2020-01-01T00:00+02:00", "--yes")


def test_a_replay_of_what_is_not_there_changes_nothing(command):
    assert "there is no event nope" in command("replay", "nope", "--to", ID, "--yes", status=1)
    assert "did you mean" in command("replay", "nope", "--to", ID + "x", "--yes", status=1)
    assert "is not a date" in command("replay", "--since", "yesterday", "--to", ID, status=2)
    assert "say which events" in command("replay", "--to", ID, status=2)


def test_a_replay_to_a_subscription_of_another_event_is_refused(command):
    envelope = publish(Created(number=1))
    output = command("replay", envelope.id, "--to", "testing.book:shop.finished", "--yes", status=1)
    assert "does not hear that" in output


def test_migrate_makes_the_ledger_and_says_so(command, tmp_path, monkeypatch):
    from tests.testing import shop

    ledger = SQLiteLedger(tmp_path / "new.sqlite3")
    monkeypatch.setattr(shop, "store", EventStore(subscriptions=[], ledger=ledger))
    assert "there is no ledger" in command("status", status=1)
    assert "went from version 0 to 1" in command("ledger", "migrate")
    assert "has version 1" in command("ledger", "migrate")
    assert ledger.path.exists()


def test_sql_prints_what_migrate_runs(command):
    text = command("ledger", "sql", "--database", "sqlite")
    assert "CREATE TABLE whereupon_delivery" in text
    assert text.rstrip().endswith(";")
    assert command("ledger", "sql", "--from", "1", "--database", "sqlite") == ""


def test_purge_deletes_what_retention_lets_go(command):
    publish(Created(number=1))
    assert "deleted: 0 rows" in command("ledger", "purge")


def test_erasure_counts_first(command):
    from dataclasses import replace

    subject = replace(command.store, carry=lambda: {"subject": "user-7"})
    with using_store(subject):
        publish(Created(number=1))
    publish(Created(number=2))
    assert "1 event with 1 delivery would be erased" in command(
        "ledger", "purge", "--subject", "user-7", status=1
    )
    assert "erased: 1 event with 1 delivery" in command("ledger", "purge", "--subject", "user-7", "--yes")
    assert states(command) == ["open"]
