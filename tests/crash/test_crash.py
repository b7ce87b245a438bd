"""The fault rig finds nothing in a short run, and its checker finds what it is there for."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import pytest

from tests.crash.checker import check
from tests.crash.database import Closed, Stored
from tests.crash.evidence import PLACED, Evidence
from tests.crash.hits import Hit
from tests.crash.oracle import ACK, DONE, FAILED, INTENT, NOBODY, ROLLED_BACK, START, Line
from tests.crash.processes import ROOT
from tests.crash.report import verdict

PUBLISHER, WORKER, OTHER = 1, 2, 3
ORDERS = ("a", "b")
HEARING = (*PLACED, "receipt")


def sound() -> Evidence:
    """Return the evidence of a run in which two orders went through, and nothing was hit."""
    lines, deliveries, closes, claims = [], [], [], []
    for base, order in enumerate(ORDERS):
        at = base * 100.0
        lines += [Line(word, NOBODY, order, PUBLISHER, at + step) for step, word in enumerate((INTENT, ACK))]
        for step, subscription in enumerate(HEARING, 2):
            lines += [
                Line(START, subscription, order, WORKER, at + step),
                Line(DONE, subscription, order, WORKER, at + step + 0.5),
            ]
            deliveries.append(Stored(subscription, order, "done"))
            closes.append(Closed(subscription, order, WORKER))
            claims.append((subscription, order, WORKER))
    rows = Counter(ORDERS)
    return Evidence(
        lines=lines, business=rows, placed=rows.copy(), billed=rows.copy(), effects=rows.copy(),
        deliveries=deliveries, closes=closes, claims=claims,
    )  # fmt: skip


def said(evidence: Evidence) -> list[str]:
    """Return what the checker says about it."""
    return [breach.says for breach in check(evidence)]


def with_state(evidence: Evidence, subscription: str, order: str, state: str, **values: object) -> None:
    """Change how one delivery stands in the ledger; nobody has closed it then."""
    where = [each.delivery for each in evidence.deliveries].index((subscription, order))
    evidence.deliveries[where] = evidence.deliveries[where]._replace(state=state, **values)
    if state != "done":
        evidence.closes = [each for each in evidence.closes if each.delivery != (subscription, order)]


def test_a_sound_run_passes() -> None:
    evidence = sound()

    assert check(evidence) == []
    assert verdict(evidence, []) == "lost 0, phantom 0, double effects 0: every invariant holds"


def test_a_delivery_without_a_row_is_lost() -> None:
    evidence = sound()
    evidence.deliveries.remove(Stored("plain", "a", "done"))
    evidence.closes.remove(Closed("plain", "a", WORKER))

    (breach,) = check(evidence)

    assert breach.invariant == "I1 nothing is lost"
    assert breach.ids == ("plain/a",)
    assert verdict(evidence, [breach]).startswith("lost 1, phantom 0, double effects 0: 1 BROKEN")


def test_a_delivery_that_is_done_and_was_never_handled_is_lost() -> None:
    evidence = sound()
    evidence.lines = [line for line in evidence.lines if line.delivery != ("slow", "b")]

    assert "deliveries are neither done nor parked nor open" in said(evidence)


def test_an_event_that_was_not_written_is_lost_to_all() -> None:
    evidence = sound()
    del evidence.placed["a"]
    evidence.deliveries = [each for each in evidence.deliveries if each.order != "a"]
    evidence.closes = [each for each in evidence.closes if each.order != "a"]

    breaches = {breach.says: breach.ids for breach in check(evidence)}

    assert len(breaches["deliveries are neither done nor parked nor open"]) == len(HEARING)
    assert breaches["business rows without their event"] == ("a",)


@pytest.mark.parametrize("state", ["open", "claimed"])
def test_what_is_still_open_at_the_end_is_reported(state: str) -> None:
    evidence = sound()
    with_state(evidence, "plain", "a", state)

    assert said(evidence) == ["deliveries are still open, though nobody was killed any more"]


def test_an_acked_order_that_is_gone_is_reported() -> None:
    evidence = sound()
    evidence.lines += [Line(INTENT, NOBODY, "c", PUBLISHER, 300), Line(ACK, NOBODY, "c", PUBLISHER, 301)]

    assert "orders were acked and have no business row" in said(evidence)


def test_a_phantom_is_reported() -> None:
    evidence = sound()
    evidence.lines += [
        Line(INTENT, NOBODY, "c", PUBLISHER, 300),
        Line(ROLLED_BACK, NOBODY, "c", PUBLISHER, 301),
        Line(START, "plain", "c", WORKER, 302),
    ]

    breaches = check(evidence)

    assert {breach.invariant for breach in breaches} == {"I2 nothing is made up"}
    assert [breach.ids for breach in breaches] == [("c",), ("c",)]
    assert "phantom 1" in verdict(evidence, breaches)


@pytest.mark.parametrize("committed", [True, False])
def test_an_unknown_outcome_of_a_killed_publisher_may_be_either(*, committed: bool) -> None:
    evidence = sound()
    evidence.lines.remove(Line(ACK, NOBODY, "a", PUBLISHER, 1))
    if not committed:
        evidence.lines = [line for line in evidence.lines if line.order != "a" or line.word == INTENT]
        for rows in (evidence.business, evidence.placed, evidence.billed, evidence.effects):
            del rows["a"]
        evidence.deliveries = [each for each in evidence.deliveries if each.order != "a"]
        evidence.closes = [each for each in evidence.closes if each.order != "a"]

    assert said(evidence) == ["publishers were not killed and left an outcome unknown"]
    evidence.hits = [Hit(0.5, "KILL", "publisher", (PUBLISHER,))]
    assert said(evidence) == []


def test_a_double_effect_is_reported() -> None:
    evidence = sound()
    evidence.effects["b"] += 1

    (breach,) = check(evidence)

    assert breach.says == "effects of the atomic subscriber are there twice"
    assert breach.ids == ("b",)
    assert "double effects 1" in verdict(evidence, [breach])


def test_an_effect_without_its_close_is_reported() -> None:
    evidence = sound()
    with_state(evidence, "atomic", "a", "parked", outcome="crashes")

    assert said(evidence) == ["atomic deliveries and their effects disagree"]


def test_a_double_close_is_reported() -> None:
    evidence = sound()
    evidence.closes.append(Closed("plain", "a", WORKER, was="done"))

    assert said(evidence) == ["deliveries were closed twice", "deliveries were closed while nobody held them"]


def test_a_close_with_a_stale_token_is_reported() -> None:
    """The row was held by another worker by then, who had not come to the end."""
    evidence = sound()
    evidence.closes[0] = evidence.closes[0]._replace(pid=OTHER)

    assert said(evidence) == ["deliveries were closed for a holder that had not finished them"]


def test_a_close_by_a_worker_that_was_given_up_is_reported() -> None:
    evidence = sound()
    evidence.closes[0] = evidence.closes[0]._replace(known=False)

    assert said(evidence) == ["deliveries were closed while nobody held them"]


def test_a_second_start_needs_a_cause() -> None:
    evidence = sound()
    evidence.lines.append(Line(START, "plain", "a", OTHER, 50))

    assert said(evidence) == ["deliveries were started again and nothing had happened to the process before"]
    killed = replace(evidence, hits=[Hit(40, "KILL", "child", (WORKER,))])
    assert said(killed) == []
    failed = replace(evidence, lines=[*evidence.lines, Line(FAILED, "plain", "a", WORKER, 2.2)])
    assert said(failed) == []


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"crashes": 1}, "deliveries are blamed for more deaths than there were"),
        ({"attempts": 1}, "deliveries have more attempts than failures"),
        (
            {"state": "parked", "outcome": "attempts"},
            "deliveries were set aside for another reason than crashes",
        ),
    ],
)
def test_counts_need_a_cause(values: dict[str, object], says: str) -> None:
    evidence = sound()
    with_state(evidence, "slow", "a", **{"state": "done", **values})  # type: ignore[arg-type]

    assert said(evidence) == [says]


@pytest.mark.parametrize(
    "values",
    [{"integrity": "row 3 missing"}, {"left": ["9 of x"]}, {"complaints": ["it failed"]}, {"workers": 1}],
    ids=lambda values: next(iter(values)),
)
def test_what_is_left_behind_is_reported(values: dict[str, object]) -> None:
    assert len(check(replace(sound(), **values))) == 1  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_few_rounds_break_nothing() -> None:
    command = [sys.executable, "-m", "tests.crash", "--rounds", "8", "--seed", "7"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)

    assert "lost 0, phantom 0, double effects 0: every invariant holds" in done.stdout, (
        done.stdout + done.stderr
    )
    assert done.returncode == 0
    kills = re.search(r"^SIGKILL +(\d+)", done.stdout, re.MULTILINE)
    assert kills
    assert int(kills[1]) >= 5
