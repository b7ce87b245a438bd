"""Dramatiq's workers beside a team's own actors and middleware, and how they and their helpers end."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from redis import Redis as Client

from tests.engines.dramatiq.test_contract import DramatiqKind
from whereupon import publish_many
from whereupon.publishing import publish
from whereupon.testing import engine_contract
from whereupon.testing.engine_contract.app import Crowded, Grouped, Happened

pytestmark = pytest.mark.slow
OURS = "dramatiq.unlimited"


class TeamKind(DramatiqKind):
    """One process of four threads, with middleware of the team's."""

    app = "tests.engines.dramatiq.team_app"
    processes, threads = 1, 4
    sends_again_soon = False


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.fixture(scope="module")
def rig(redis, tmp_path_factory):
    redis.lose_everything()
    kind = TeamKind("dramatiq-team", tmp_path_factory.mktemp("team"), redis)
    with engine_contract.Rig(kind) as rig:
        yield rig
    kind.close()


def test_what_the_team_s_middleware_does_by_default_it_does_not_do_to_subscribers(rig):
    rig.at_least(1)
    number, own, *rest = [rig.number() for _ in range(10)]
    rig.kind.send_own("greet", own)
    publish(Happened(number=number, what="2.5"))
    publish_many([*(Grouped(number=each) for each in rest[:4]), *(Crowded(number=each) for each in rest[4:])])
    rig.until_quiet()
    assert rig.count("start", "unlimited") == rig.count("done", "unlimited") == {number: 1}
    assert rig.count("done", "limited") == dict.fromkeys(rest[:4], 1), "a limit of a second for each event"
    assert rig.count("done", "in_turn") == dict.fromkeys(rest[4:], 1), "the wait for a turn does not count"
    assert rig.count("done", "greet") == {own: 1}
    assert "at attempt" not in rig.output()


def test_a_message_that_fails_is_not_tried_again(rig, redis):
    rig.at_least(1)
    rig.kind.send(OURS, "forged")
    rig.until(lambda: redis.command("ZCARD", "dramatiq:default.XQ") == "1")
    time.sleep(0.5)
    assert rig.output().count("called with something that is no wake-up") == 1


def test_what_is_no_message_stops_nobody(rig, redis):
    rig.at_least(1)
    client = Client.from_url(redis.url)
    for key, forged in enumerate([pickle.dumps(print), b'{"queue_name": "default", "act', b"[]"]):
        client.hset("dramatiq:default.msgs", str(key), forged)
    client.rpush("dramatiq:default", 0, 1, 2)
    rig.until(lambda: "Restarting consumer" in rig.output())
    publish(Happened(number=(number := rig.number())))
    rig.until(lambda: rig.count("done", "unlimited")[number], 10)


def test_what_a_dead_worker_had_fetched_is_sent_again_within_seconds(rig):
    rig.at_least(2)
    warm, *numbers = [rig.number() for _ in range(41)]

    def are_both_known() -> bool:
        publish(Happened(number=warm, what="0.2"))
        return len({line.pid for line in rig.log() if line.number == warm}) == 2

    rig.until(are_both_known)
    rig.until_quiet()
    time.sleep(2)  # the relays have seen both workers
    publish_many([Happened(number=each, what="0.5") for each in numbers])
    rig.until(lambda: len({line.pid for line in rig.log() if line.number >= numbers[0]}) == 2)
    killed = time.monotonic()
    rig.kill(rig.running()[0])
    rig.until_quiet()
    assert rig.count("done", "unlimited") >= Counter(dict.fromkeys(numbers, 1))
    assert "seem to be lost" in rig.output(), "the dead one had fetched some"
    assert time.monotonic() - killed < 20


def test_a_handler_finishes_where_the_team_interrupts_its_own(rig):
    rig.end_workers()
    rig.at_least(1)
    publish(Happened(number=(number := rig.number()), what="2"))
    rig.until(lambda: rig.count("start", "unlimited")[number])
    (running,) = rig.running()
    running.terminate()
    assert running.wait(30) == 0
    assert rig.count("start", "unlimited")[number] == rig.count("done", "unlimited")[number] == 1


class GroupKind(TeamKind):
    """Three processes that one parent has started."""

    processes, threads = 3, 1


def test_processes_of_one_parent_take_turns_with_the_helper_and_end_it(redis, tmp_path):
    redis.lose_everything()
    kind = GroupKind("dramatiq-group", tmp_path, redis)
    with engine_contract.Rig(kind) as rig:
        rig.at_least(1)
        rig.until(rig.helpers)
        time.sleep(1)
        (first,) = rig.helpers()
        os.kill(rig.running()[0].pid, signal.SIGKILL)  # what lives on is nobody's
        publish(Happened(number=(number := rig.number())))
        rig.until(lambda: rig.count("done", "unlimited")[number])
        assert rig.helpers() == [first], "it ends with its process, and not with the parent"
        for _ in range(3):
            (helper,) = rig.helpers()
            os.kill(parent_of(helper), signal.SIGKILL)
            rig.until(lambda helper=helper: helper not in rig.helpers())
            time.sleep(1)
        assert rig.helpers() == []
    kind.close()


def test_a_worker_whose_store_no_helper_could_find_takes_no_messages(rig, redis):
    rig.end_workers()
    redis.lose_everything()
    rig.kind.send_own("greet", 1)
    path = os.pathsep.join(sys.path)
    done = subprocess.run(
        rig.kind.command(0), capture_output=True, text=True, timeout=30, cwd=rig.kind.folder,
        env=os.environ | rig.kind.environment | {"NAMELESS": "1", "PYTHONPATH": path},
    )  # fmt: skip
    assert done.returncode == 1
    assert "is found in no module, so workers cannot tell what to import" in done.stderr
    assert redis.command("LLEN", "dramatiq:default") == "1"
