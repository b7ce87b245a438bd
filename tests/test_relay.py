"""What the relay tells an engine: no more than the bound, what is lost again, and each queue by itself."""

from __future__ import annotations

import logging
import time
from collections import defaultdict, deque
from contextlib import closing, contextmanager
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.servers import new_database
from whereupon import Event, EventStore, SQLiteLedger, publish_many, relay, subscribe, subscriber
from whereupon.deliveries import Close, Done
from whereupon.engine_protocol import Features
from whereupon.engines.processes import describe_process
from whereupon.errors import EngineUnavailable
from whereupon.ledger import PostgresLedger, claims, reports, rescue
from whereupon.subscribers import PRIORITIES
from whereupon.testing import using_store

BOUND = 50


class Made(Event, name="relay.made"):
    number: int


class Urgent(Event, name="relay.urgent"):
    number: int


class Other(Event, name="relay.other"):
    number: int


class Also(Event, name="relay.also"):
    number: int


@subscriber(name="usual")
def usual(event: Made) -> None: ...


@subscriber(name="urgent", priority="high")
def urgent(event: Urgent) -> None: ...


@subscriber(name="also")
def also(event: Also) -> None: ...


@subscriber(name="elsewhere", queue="elsewhere")
def elsewhere(event: Other) -> None: ...


class Broker:
    """An engine whose queues lie in the memory of the test: by priority, and in the order of sending."""

    kind = "broker"
    features = Features()

    def __init__(self) -> None:
        self.queues = defaultdict(deque)
        self.refused = set()
        self.room = 10_000

    def enqueue(self, wake_ups) -> None:
        for sent, each in enumerate(wake_ups):
            options = each.subscriber.options
            if options.queue in self.refused or not self.room:
                raise EngineUnavailable(f"the queue {options.queue} takes nothing", sent=sent)
            self.room -= 1
            self.queues[options.queue, PRIORITIES.index(options.priority)].append(each.delivery)

    def next(self) -> int | None:
        """Take the next job, as a worker does."""
        for _, queue in sorted(self.queues.items()):
            if queue:
                return queue.popleft()
        return None

    def length(self, name: str) -> int:
        return sum(len(queue) for (queue_name, _), queue in self.queues.items() if queue_name == name)


class Shop:
    """A store, its broker, a worker that claims and closes, relays, and a clock that the test moves on."""

    def __init__(self, ledger, relays: int = 1) -> None:
        ledger.migrate()
        table = [
            subscribe(usual, to=Made),
            subscribe(also, to=Also),
            subscribe(urgent, to=Urgent),
            subscribe(elsewhere, to=Other),
        ]
        self.store = EventStore(subscriptions=table, ledger=ledger)
        self.ids = [id_ for each in self.store.routes for id_ in each.ids]
        self.broker = Broker()
        self.ahead = 0.0
        self.meanwhile = []
        self.connection = ledger.connect()
        self.worker = "1" * 32
        with self.connection.transaction() as transaction:
            rescue.register(transaction, describe_process(self.worker, 1, "broker"))
        self.relays = [relay.Relay(self.store, self.broker) for _ in range(relays)]

    def publish(self, count: int = 1, event: type[Event] = Made) -> None:
        with using_store(self.store):
            publish_many([event(number=number) for number in range(count)])

    def turn(self) -> int:
        return sum(each.turn(self) for each in self.relays)

    def work(self) -> bool:
        """Handle the next job; tell whether there was one."""
        if (delivery := self.broker.next()) is None:
            return False
        with self.transaction() as transaction:
            for job in claims.claim_woken(transaction, self.worker, [delivery], self.ids):
                claims.close(transaction, [Close(each, Done()) for each in job])
        return True

    def unfinished(self) -> int:
        with self.connection.reading() as transaction:
            return reports.unfinished(transaction)

    def seconds_until_done(self, most: int, step: int = 1) -> int:
        """Let time pass with a worker that is never busy; return how many seconds it took."""
        for passed in range(0, most, step):
            self.turn()
            while self.work():
                self.turn()
            if not self.unfinished():
                return passed
            self.ahead += step
        raise AssertionError(f"{self.unfinished()} are not done after {most} seconds")

    @contextmanager
    def transaction(self):
        while self.meanwhile:
            self.meanwhile.pop()()
        with self.connection.transaction() as transaction:
            yield Ahead(transaction, self)

    @contextmanager
    def reading(self):
        with self.connection.reading() as transaction:
            yield Ahead(transaction, self)


class Ahead:
    """A transaction whose clock is as far ahead as the test's."""

    def __init__(self, transaction, shop: Shop) -> None:
        self._transaction = transaction
        self._shop = shop

    def now(self) -> int:
        return self._transaction.now() + round(self._shop.ahead * 1000)

    def __getattr__(self, name: str):
        return getattr(self._transaction, name)


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger(request, tmp_path):
    if request.param == "sqlite":
        return SQLiteLedger(tmp_path / "ledger.sqlite3", own_transaction=True)
    return PostgresLedger(new_database(), own_transaction=True)


@contextmanager
def opened(ledger, relays: int):
    shop = Shop(ledger, relays)
    with closing(shop.connection), pytest.MonkeyPatch.context() as patch:
        patch.setattr(relay, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + shop.ahead))
        patch.setattr(relay, "BOUND", BOUND)
        patch.setattr(relay, "_SPARE", 5)
        yield shop


@pytest.fixture(params=[1, 3], ids=["one relay", "three relays"])
def shop(request, ledger):
    with opened(ledger, request.param) as shop:
        yield shop


def test_handlers_that_take_for_ever_do_not_fill_the_broker(shop):
    shop.publish(BOUND * 3)
    lengths = set()
    for second in range(0, 7200, 30):
        shop.turn()
        lengths.add(shop.broker.length("default"))
        if second % 600 == 0:
            shop.work()
        shop.ahead += 30
    assert BOUND * 0.8 <= max(lengths) <= BOUND


def test_what_the_broker_has_lost_is_sent_again(shop):
    shop.publish(BOUND * 3)
    for _ in range(10):
        shop.turn()
        shop.work()
    shop.broker.queues.clear()
    assert shop.seconds_until_done(60) <= relay.RESEND + 3


def test_what_the_broker_has_lost_twice_is_sent_again_too(shop):
    shop.publish(BOUND)
    shop.turn()
    shop.broker.queues.clear()
    for _ in range(40):
        shop.ahead += 1
        shop.turn()
    shop.broker.queues.clear()
    assert shop.seconds_until_done(200) <= 4 * relay.RESEND + 3


def test_several_relays_ask_once(ledger):
    with opened(ledger, 3) as shop:
        shop.publish(10)
        shop.turn()
        seconds = 0
        while not shop.turn():
            shop.ahead += 1
            seconds += 1
        assert (seconds, shop.broker.length("default")) == (5, 11)


def test_of_relays_that_see_the_same_at_the_same_time_one_asks(ledger):
    with opened(ledger, 2) as shop:
        shop.publish(10)
        shop.turn()
        shop.ahead += relay.RESEND + 1
        first, second = shop.relays
        shop.meanwhile.append(lambda: first.turn(shop))  # when the second one has seen that nothing moves
        second.turn(shop)
        assert shop.broker.length("default") == 11


def test_a_question_changes_nothing_while_the_jobs_are_still_there(shop):
    shop.publish(10)
    shop.publish(10, Also)
    shop.turn()
    shop.ahead += relay.RESEND + 1
    shop.turn()
    assert shop.broker.length("default") == 21
    for left in range(20, 0, -1):
        shop.work()
        shop.ahead += 1
        shop.turn()
        assert shop.broker.length("default") == left
    assert shop.unfinished() == 0


def test_what_was_lost_while_others_go_on_is_sent_again_when_it_is_overtaken(shop):
    shop.publish(5)
    shop.turn()
    shop.broker.queues.clear()
    seconds = 0
    while shop.unfinished():
        shop.publish()
        shop.ahead += 1
        seconds += 1
        shop.turn()
        while shop.work():
            pass
    assert 10 <= seconds <= 13


def test_a_question_that_cannot_be_sent_says_nothing_of_the_others(shop):
    shop.publish(20)
    shop.turn()
    shop.ahead += 61
    shop.publish(10)
    shop.turn()
    shop.broker.room = 0
    for _ in range(40):
        shop.ahead += 1
        shop.turn()
    shop.broker.room = 10_000
    for _ in range(40):
        shop.ahead += 1
        shop.turn()
    assert shop.broker.length("default") <= 30 + 2 * len(shop.relays)


def test_what_was_taken_of_a_batch_before_the_rest_was_refused_is_not_sent_again(shop):
    shop.broker.room = 15
    shop.publish(30)
    shop.turn()
    assert shop.broker.length("default") == 15
    shop.broker.room = 10_000
    for _ in range(3):
        shop.ahead += 1
        shop.turn()
    assert shop.broker.length("default") == 30


def test_what_waits_behind_a_higher_priority_is_not_taken_for_lost(shop):
    shop.publish(20)
    shop.turn()
    for _ in range(300):
        shop.publish(1, Urgent)
        shop.ahead += 1
        shop.turn()
        shop.work()
    assert shop.broker.length("default") <= BOUND
    assert shop.unfinished() == 20
    assert shop.broker.length("default") <= 20 + 8  # questions, each twice as late as the one before


def test_a_queue_that_takes_nothing_holds_up_no_other_one(shop, caplog):
    caplog.set_level(logging.INFO, "whereupon.relay")
    shop.broker.refused = {"default"}
    shop.publish(3)
    shop.publish(3, Other)
    for _ in range(10):
        shop.ahead += 1
        shop.turn()
    assert shop.broker.length("elsewhere") in {3, 4}  # with a question
    assert caplog.messages == ["the queue default takes nothing [WU406]"] * len(shop.relays)
    shop.broker.refused.clear()
    assert shop.seconds_until_done(60) <= 31
    assert caplog.messages[-1] == "the queue default takes jobs again"


class Relaying(RuleBasedStateMachine):
    """Publishers, two relays, a worker, and a broker that loses what it holds, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.restarts = 0
        self.folder = TemporaryDirectory()
        self.opened = opened(SQLiteLedger(f"{self.folder.name}/ledger.sqlite3", own_transaction=True), 2)
        self.shop = self.opened.__enter__()

    @rule(count=st.integers(1, 40), event=st.sampled_from([Made, Also, Urgent, Other]))
    def publish(self, count, event) -> None:
        self.shop.publish(count, event)

    @rule(which=st.integers(0, 1))
    def turn(self, which) -> None:
        self.shop.relays[which].turn(self.shop)

    @rule(jobs=st.integers(1, 30))
    def work(self, jobs) -> None:
        for _ in range(jobs):
            self.shop.work()

    @rule(seconds=st.sampled_from([1, 5, 30, 300, 5000]))
    def wait(self, seconds) -> None:
        self.shop.ahead += seconds
        self.shop.turn()

    @rule()
    def lose(self) -> None:
        self.shop.broker.queues.clear()

    @rule(room=st.sampled_from([0, 5, 10_000]))
    def refuse(self, room) -> None:
        self.shop.broker.room = room

    @rule(which=st.integers(0, 1))
    def restart(self, which) -> None:
        self.shop.relays[which] = relay.Relay(self.shop.store, self.shop.broker)
        self.restarts += 1

    @invariant()
    def the_bound_is_kept(self) -> None:
        """But for a question of each relay that has begun anew, and one for each hour without a claim."""
        allowed = BOUND + self.restarts + self.shop.ahead // 3600
        assert all(self.shop.broker.length(name) <= allowed for name in ("default", "elsewhere"))

    def teardown(self) -> None:
        self.shop.broker.room = 100_000
        self.shop.seconds_until_done(8000, step=20)
        self.opened.__exit__(None, None, None)
        self.folder.cleanup()


TestRelaying = Relaying.TestCase
TestRelaying.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)
