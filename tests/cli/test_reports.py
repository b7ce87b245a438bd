"""The commands that report: list, why, show, status, doctor, explain, in text and as JSON."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.testing.shop import Created, Finished
from whereupon import publish
from whereupon.cli.explain import all_errors
from whereupon.deliveries import Close, Done, Parked, Retry
from whereupon.envelopes import handled
from whereupon.ledger import claims, rescue

ID = "testing.on_created:shop.created"


def end(command, subscription: str, result) -> None:
    """Claim every due delivery of a subscription and end it."""
    with command.store.ledger.transaction() as transaction:
        rescue.register(transaction, rescue.Process("w", "host", "place", 1, "1", "local"))
        jobs = claims.claim(
            transaction, "w", [claims.Wanted((subscription,), 1, 1000)], claims.Budget(0, 1000, 1000)
        )
        claims.close(transaction, [Close(claim, result) for job in jobs for claim in job])
        transaction.run("DELETE FROM whereupon_worker")


def test_list_shows_the_whole_table(command):
    text = command("list")
    assert "event.ref == 'finish'" in text or 'event.ref == "finish"' in text
    assert "3600 s" in text
    rows = command.json("list")
    assert [row["subscription"] for row in rows] == [each.id for each in command.store.routes]


@pytest.mark.parametrize("name", ["shop.created", "Created"])
def test_why_names_context_condition_delay_and_queue_of_each(command, name):
    rows = command.json("why", name)
    assert len(rows) == 5
    finish = next(row for row in rows if "finish" in row["subscription"])
    assert (finish["context"], finish["delay"], finish["queue"]) == ("testing", 3600.0, "default")
    assert finish["condition"] in ("event.ref == 'finish'", 'event.ref == "finish"')
    assert "shop.py:" in finish["subscribed_at"]
    assert "handled at" in command("why", name)


def test_why_of_an_unknown_event_names_the_nearest(command):
    assert "did you mean 'shop.created'?" in command("why", "shop.craeted", status=1)


def test_show_draws_causes_effects_skips_and_attempts(command):
    cause = publish(Created(number=1))
    token = handled.set(cause)
    effect = publish(Finished(number=1))
    handled.reset(token)
    end(command, ID, Retry(timedelta(0), "ValueError at shop.py:1"))
    text = command("show", cause.id)
    assert f"shop.created {cause.id} published" in text
    assert "   <- this one" in text
    assert "attempt 1 failed" in text
    assert "ValueError at shop.py:1" in text
    assert "testing.only_main:shop.created: skipped, its condition refused the event" in text
    assert f"└─ shop.finished {effect.id}" in text
    below = command("show", effect.id)
    assert below.index(cause.id) < below.index(effect.id)
    report = command.json("show", effect.id)
    assert [each["id"] for each in report["causes"]] == [cause.id]
    assert command.json("show", cause.id)["effects"][0]["event"]["id"] == effect.id


def test_show_tells_the_death_of_a_process_from_a_failed_attempt(command):
    cause = publish(Created(number=1))
    with command.store.ledger.transaction() as transaction:
        rescue.register(transaction, rescue.Process("w", "host", "place", 1, "1", "local"))
        claims.claim(transaction, "w", [claims.Wanted((ID,), 1, 1000)], claims.Budget(0, 1000, 1000))
        rescue.rescue(transaction, "w")
    text = command("show", cause.id)
    assert "interrupted 20" in text
    assert "the process that held it died (1 of 3)" in text
    assert "failed" not in text


def test_show_of_an_unknown_event_finds_nothing(command):
    assert "there is no event nope" in command("show", "nope", status=1)


def test_status_counts_and_advises_a_condition_where_most_is_noise(command):
    for number in range(25):
        publish(Created(number=number))
    end(command, ID, Done("ignored"))
    text = command("status")
    assert "workers: 0; start one with whereupon worker" in text
    assert f"most deliveries of {ID} are ignored by it: a condition (when=)" in text
    report = command.json("status")
    row = next(each for each in report["subscriptions"] if each["subscription"] == ID)
    assert (row["ignored"], row["noise"], row["known"]) == (25, True, True)
    skipped = next(each for each in report["subscriptions"] if "only_main" in each["subscription"])
    assert skipped["skipped"] == 25


def test_status_marks_what_waits_for_code(command):
    publish(Created(number=1))
    with command.store.ledger.transaction() as transaction:
        transaction.run("UPDATE whereupon_delivery SET subscription = 'gone.away:shop.created' WHERE id = 1")
    assert "gone.away:shop.created (waits for code)" in command("status")


def test_status_of_an_empty_ledger(command):
    assert "no deliveries on record" in command("status")


def test_doctor_is_content_with_an_idle_ledger(command):
    text = command("doctor")
    assert "SQLite" in text
    assert "journal mode persist" in text or "journal mode wal" in text
    assert "nothing is overdue" in text


def test_doctor_finds_late_waiting_and_parked_deliveries_and_missing_workers(command):
    publish(Created(number=1))
    publish(Created(number=2))
    end(command, ID, Parked("attempts", "e"))
    with command.store.ledger.transaction() as transaction:
        transaction.run("UPDATE whereupon_delivery SET due_at = due_at - 120000 WHERE state = 'open'")
        transaction.run("UPDATE whereupon_delivery SET subscription = 'gone.away:x.y' WHERE id = 1")
    publish(Created(number=3))
    with command.store.ledger.transaction() as transaction:
        transaction.run(
            "UPDATE whereupon_delivery SET subscription = 'gone.away:x.y', due_at = 1 WHERE state = 'open'"
        )
    findings = command.json("doctor", status=1)
    texts = " ".join(each["text"] for each in findings if each["level"] != "ok")
    for words in (
        "workers that hold a lease: 0",
        "s: gone.away:x.y; nothing was finished yet",
        "waiting for code",
        "parked: 2 deliveries",
    ):
        assert words in texts, findings


def test_explain_knows_every_error(command):
    for error in all_errors():
        text = command("explain", error.code.lower())
        assert error.__name__ in text
    assert "WU102" in command("explain")
    assert "there is no error WU999" in command("explain", "WU999", status=1)


def test_what_a_terminal_would_act_upon_is_escaped(command):
    publish(Created(number=1))
    end(command, ID, Parked("subscriber", "\x1b[2Jgone\x07"))
    text = command("parked", "list")
    assert "\x1b" not in text
    assert "\\x1b[2Jgone\\x07" in text
