"""What a worker makes of what subscribers do: outcomes, retries, limits, groups, context."""

from __future__ import annotations

import os
import time

import pytest

from whereupon import publish, publish_many
from whereupon.ledger import reports

pytestmark = pytest.mark.slow


def deliveries(app):
    with app.store.ledger.reading() as transaction:
        rows = transaction.rows("SELECT event_id FROM whereupon_delivery GROUP BY event_id ORDER BY min(id)")
        return [each for row in rows for each in reports.deliveries(transaction, row[0])]


def test_every_event_reaches_every_subscriber_once(make_app):
    app = make_app("plain,coroutine")
    publish_many([app.module.Created(number=number) for number in range(200)])
    worker = app.start()
    app.until_quiet()
    for name in ("plain", "coroutine"):
        assert app.count("done", name) == dict.fromkeys(range(200), 1)
    assert app.stop(worker) == 0


def test_a_failed_attempt_is_tried_again_until_it_succeeds(make_app):
    app = make_app()
    app.start()
    publish(app.module.Created(number=1, what="fail-below 3"))
    app.until_quiet()
    assert app.count("start", "plain") == {1: 3}
    (delivery,) = deliveries(app)
    assert (delivery.state, delivery.outcome, delivery.attempts) == ("done", "handled", 2)


def test_after_max_attempts_it_is_parked_with_the_place_and_without_the_payload(make_app):
    app = make_app()
    app.start()
    publish(app.module.Created(number=987654, what="fail"))
    app.until_quiet()
    (delivery,) = app.parked()
    assert (delivery.outcome, delivery.attempts, len(delivery.history)) == ("attempts", 3, 3)
    assert "ValueError at" in delivery.error
    assert "worker_app.py:" in delivery.error
    assert "987654" not in delivery.error + app.output()


@pytest.mark.parametrize(
    ("what", "state", "outcome", "attempts"),
    [
        ("ignore", "done", "ignored", 0),
        ("park", "parked", "subscriber", 1),
        ("sys-exit", "parked", "attempts", 3),
        ("retry-in", "done", "handled", 1),
    ],
)
def test_a_subscriber_says_how_its_delivery_ends(make_app, what, state, outcome, attempts):
    app = make_app()
    app.start()
    publish(app.module.Created(number=1, what=what))
    app.until_quiet()
    (delivery,) = deliveries(app)
    assert (delivery.state, delivery.outcome, delivery.attempts) == (state, outcome, attempts)


def test_an_exception_of_park_on_parks_at_once(make_app):
    app = make_app("coroutine")
    app.start()
    publish(app.module.Created(number=1, what="key-error"))
    app.until_quiet()
    assert [each.outcome for each in app.parked()] == ["subscriber"]


def test_a_coroutine_that_raises_cancelled_by_itself_has_failed(make_app):
    app = make_app("coroutine")
    app.start()
    publish(app.module.Created(number=1, what="cancelled"))
    app.until(lambda: deliveries(app)[0].attempts == 1)
    assert "CancelledError" in deliveries(app)[0].error


def test_a_coroutine_over_its_limit_is_cancelled_and_has_failed(make_app):
    app = make_app("limited_async")
    app.start()
    publish(app.module.Created(number=1, what="30"))
    app.until_quiet()
    (delivery,) = app.parked()
    assert delivery.outcome == "attempts"
    assert "over its time limit of 0:00:00.300000" in delivery.error


def test_a_thread_over_its_limit_is_a_failed_attempt_and_its_process_is_replaced(make_app):
    app = make_app("limited,plain")
    app.start()
    app.until(lambda: len(app.children()) == 1)
    first = app.children()
    publish(app.module.Created(number=1, what="60"))
    app.until_quiet()
    assert [each.subscription for each in app.parked()] == ["local.limited:app.created"]
    assert app.parked()[0].attempts == 2
    assert app.parked()[0].crashes == 0
    app.until(lambda: app.children() != first)
    publish(app.module.Created(number=2))
    app.until_quiet()
    assert app.count("done", "plain") == {1: 1, 2: 1}


def test_a_thread_that_ends_late_has_done_its_work_and_is_not_called_again(make_app):
    """It ran over its limit while another handler kept the process from being replaced."""
    app = make_app("limited,plain")
    app.start("--threads", "2")
    publish(app.module.Created(number=1, what="sleep 2"))
    app.until(lambda: app.count("start", "plain") == {1: 1})
    with app.store.ledger.transaction() as transaction:
        transaction.run("UPDATE whereupon_delivery SET state = 'done' WHERE subscription LIKE '%limited%'")
    publish(app.module.Created(number=2, what="1"))
    app.until_quiet()
    assert app.count("start", "limited")[2] == 1


def test_no_more_of_a_subscriber_run_at_once_than_its_concurrency(make_app):
    app = make_app("narrow")
    publish_many([app.module.Created(number=number) for number in range(12)])
    app.start()
    app.until_quiet()
    running = most = 0
    for line in sorted(app.log(), key=lambda line: float(line[4])):
        running += 1 if line[0] == "start" else -1
        most = max(most, running)
    assert most == 2


def test_a_delay_is_kept(make_app):
    app = make_app("delayed")
    app.start()
    published = time.monotonic()
    publish(app.module.Created(number=1))
    app.until_quiet()
    (started,) = app.times("start", "delayed", 1)
    assert started - published >= 0.59


def test_queues_are_served_by_the_workers_that_name_them(make_app):
    app = make_app("plain,coroutine")
    app.start("--queues", "other")
    publish(app.module.Created(number=1))
    app.until(lambda: app.count("done", "coroutine") == {1: 1})
    time.sleep(0.3)
    assert app.count("start", "plain") == {}
    app.start("--queues", "default")
    app.until_quiet()
    assert app.count("done", "plain") == {1: 1}


def test_what_is_published_while_handling_names_its_cause_and_shares_the_correlation(make_app):
    app = make_app("plain,followed")
    token = app.module.tenant.set("acme")
    envelope = publish(app.module.Created(number=1, what="follow"))
    app.module.tenant.reset(token)
    app.start()
    app.until_quiet()
    (line,) = [line[0] for line in app.log() if line[1] == "followed"]
    assert line == f"cause:{envelope.id}:{envelope.correlation_id}:acme"


class TestAtomic:
    def effects(self, app):
        with app.store.ledger.reading() as transaction:
            return [row[0] for row in transaction.rows("SELECT number FROM effect ORDER BY number")]

    def test_effect_close_and_what_it_publishes_commit_together(self, make_app):
        app = make_app("atomic,followed")
        publish_many([app.module.Created(number=number) for number in range(20)])
        app.start()
        app.until_quiet()
        assert self.effects(app) == list(range(20))
        assert sum(line[1] == "followed" for line in app.log()) == 20

    def test_a_raise_rolls_back_the_effect_and_the_events(self, make_app):
        app = make_app("atomic,followed")
        publish(app.module.Created(number=1))
        publish(app.module.Created(number=2, what="fail"))
        app.start()
        app.until_quiet()
        assert self.effects(app) == [1]
        assert [each.attempts for each in app.parked()] == [3]
        assert sum(line[1] == "followed" for line in app.log()) == 1

    def test_a_death_inside_leaves_no_effect(self, make_app):
        app = make_app("atomic,followed")
        publish(app.module.Created(number=1))
        publish(app.module.Created(number=2, what="exit"))
        app.start()
        app.until_quiet()
        assert self.effects(app) == [1]
        assert [each.outcome for each in app.parked()] == ["crashes"]

    def test_one_over_its_limit_frees_the_file_and_has_no_effect(self, make_app):
        app = make_app("atomic,followed")
        publish(app.module.Created(number=1))
        publish(app.module.Created(number=2, what="slow"))
        app.start()
        app.until(lambda: app.count("start", "atomic")[2] >= 1)
        time.sleep(1.3)
        started = time.monotonic()
        publish(app.module.Created(number=3))
        assert time.monotonic() - started < 1.5
        app.until_quiet(40)
        assert self.effects(app) == [1, 3]
        (parked,) = app.parked()
        assert (parked.outcome, parked.attempts) == ("attempts", 3)


class TestGroups:
    def test_a_list_subscriber_takes_a_group_in_one_call_and_fails_its_events_one_by_one(self, make_app):
        app = make_app("together")
        created = app.module.Created
        publish_many([created(number=number, what="fail" if number == 1 else "") for number in range(7)])
        app.start()
        app.until_quiet()
        assert sorted(int(line[2]) for line in app.log() if line[:2] == ["start", "together"]) == [1, 1, 3, 3]
        assert all(each.state == "done" for each in deliveries(app))
        assert [each.attempts for each in deliveries(app)] == [0, 1, 0, 0, 0, 0, 0]

    def test_each_event_of_a_group_succeeds_and_fails_on_its_own(self, make_app):
        app = make_app("one_of_a_group")
        created = app.module.Created
        publish_many([created(number=number, what="fail" if number == 1 else "") for number in range(5)])
        app.start()
        app.until_quiet()
        assert app.count("start", "one_of_a_group") == {0: 1, 1: 2, 2: 1, 3: 1, 4: 1}


class TestConditions:
    def test_a_condition_that_refuses_makes_no_delivery_and_is_remembered(self, make_app):
        app = make_app("conditional")
        envelopes = publish_many([app.module.Created(number=number) for number in range(4)])
        app.start()
        app.until_quiet()
        assert app.count("start", "conditional") == {0: 1, 2: 1}
        with app.store.ledger.reading() as transaction:
            assert reports.event(transaction, envelopes[1].id).skipped == ("local.conditional:app.created",)

    def test_a_condition_that_raised_in_the_publisher_is_asked_again_by_the_worker(
        self, make_app, monkeypatch
    ):
        app = make_app("conditional")
        monkeypatch.setitem(os.environ, "ROLE", "publisher")
        created = app.module.Created
        publish_many([created(number=number, what="raise-in-publisher") for number in range(4)])
        app.start(ROLE="worker")
        app.until_quiet()
        assert app.count("start", "conditional") == {0: 1, 2: 1}
        assert [each.outcome for each in deliveries(app)] == ["handled", "skipped", "handled", "skipped"]


class TestOtherCode:
    def test_a_subscription_that_this_code_does_not_know_waits_and_is_reported(self, make_app):
        app = make_app("plain,coroutine")
        publish(app.module.Created(number=1))
        worker = app.start(SUBSCRIBERS="plain")
        app.until(lambda: "wait for code" in app.output() or "waiting for code" in app.output())
        app.until(lambda: app.count("done", "plain") == {1: 1})
        waiting = [each for each in deliveries(app) if each.state == "open"]
        assert [(each.subscription, each.attempts) for each in waiting] == [
            ("local.coroutine:app.created", 0)
        ]
        app.stop(worker)
        app.start()
        app.until_quiet()
        assert app.count("done", "coroutine") == {1: 1}

    def forge(self, app, payload: str, fingerprint: str | None) -> None:
        from whereupon.events import contract_of

        publish(app.module.Created(number=1))
        own = contract_of(app.module.Created).fingerprint
        with app.store.ledger.transaction() as transaction:
            transaction.run(
                "UPDATE whereupon_event "
                "SET envelope = replace(replace(envelope, :data, :payload), :own, :print)",
                {
                    "data": '{"number":1,"what":""}',
                    "payload": payload,
                    "own": own,
                    "print": fingerprint or own,
                },
            )

    def test_a_payload_refused_by_the_contract_it_was_made_with_is_parked_with_the_field(self, make_app):
        app = make_app()
        self.forge(app, '{"what":"canary-7"}', None)
        app.start()
        app.until_quiet()
        (delivery,) = app.parked()
        assert (delivery.outcome, delivery.attempts) == ("refused", 0)
        assert "number: is required" in delivery.error
        assert "canary-7" not in delivery.error

    def test_a_payload_of_another_contract_waits_for_code_and_is_parked_in_the_end(self, make_app):
        app = make_app()
        self.forge(app, '{"count":1}', "f" * 16)
        app.start()
        app.until(lambda: deliveries(app)[0].refused_at is not None)
        assert deliveries(app)[0].state in ("open", "claimed")
        app.until_quiet()
        (delivery,) = app.parked()
        assert (delivery.outcome, delivery.attempts) == ("refused", 0)
        assert "no code that accepts it came" in delivery.error

    def test_fields_that_newer_code_added_are_ignored(self, make_app):
        app = make_app()
        self.forge(app, '{"number":1,"what":"","added":[1,2]}', "f" * 16)
        app.start()
        app.until_quiet()
        assert app.count("done", "plain") == {1: 1}

    @pytest.mark.parametrize("envelope", ["", "{", "[]", '{"specversion":"1.0"}', "null", '{"a":1,"a":2}'])
    def test_an_envelope_that_cannot_be_read_is_parked_and_the_worker_goes_on(self, make_app, envelope):
        app = make_app()
        publish(app.module.Created(number=1))
        with app.store.ledger.transaction() as transaction:
            transaction.run("UPDATE whereupon_event SET envelope = :text", {"text": envelope})
        publish(app.module.Created(number=2))
        app.start()
        app.until_quiet()
        assert [each.outcome for each in app.parked()] == ["refused"]
        assert app.count("done", "plain") == {2: 1}
