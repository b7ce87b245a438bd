"""The bench runs: tiny rounds give a table and well-formed JSON. No figure is judged here."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests import rabbitmq_server
from tests.postgres_server import binaries
from tests.servers import missing

ROOT = Path(__file__).parents[2]
EXHAUSTIVE = [pytest.mark.slow, pytest.mark.exhaustive]
ENGINES = {
    "celery": "celery",
    "celery-rabbitmq": "celery",
    "dramatiq": "dramatiq",
    "dramatiq-rabbitmq": "dramatiq",
    "rq": "rq",
    "procrastinate": "procrastinate",
    "django-tasks": "django_tasks_db",
}
NEEDS = {
    "construct": "jsonschema",
    "rebuild": "jsonschema",
    "plan": "django",
    "drain": "huey",
    "outbox": "django_outbox_pattern",
}


def run_bench(path, names):
    only = [word for name in names for word in ("--only", name)]
    return subprocess.run(
        [sys.executable, "-m", "bench", "--quick", "--rounds", "1", "--json", str(path), *only],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )


def leftovers(folder):
    """Processes that know the folder, as every worker does by its environment, and files in it."""
    needle = str(folder).encode()
    pids = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if needle in (process / "environ").read_bytes():
                pids.append(process.name)
        except OSError:
            continue
    return pids, [each.name for each in folder.iterdir()]


def test_one_round_of_the_rows_without_processes(tmp_path):
    names = ["control", "publish", "import"]
    finished = run_bench(tmp_path / "out.json", names)
    assert finished.returncode == 0, finished.stderr
    document = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert document["failed"] == []
    assert document["run"]["rounds"] == 1
    for line in document["lines"]:
        assert line["ours"] > 0
        assert (line["theirs"] is None) == (line["ratio"] is None)
        assert set(line["reached"]) == {"at_least", "aim"}
        assert line["name"].strip() in finished.stdout


@pytest.mark.parametrize("name", ["construct", "rebuild", "plan"])
def test_a_row_against_a_peer(tmp_path, name):
    pytest.importorskip(NEEDS[name])
    finished = run_bench(tmp_path / "out.json", [name])
    assert finished.returncode == 0, finished.stderr
    assert all(line["ratio"] > 0 for line in json.loads((tmp_path / "out.json").read_text())["lines"])


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("publish-postgres", 9),
        pytest.param("claims-postgres", 3, marks=EXHAUSTIVE),
        pytest.param("outbox", 3, marks=EXHAUSTIVE),
    ],
)
def test_a_row_on_postgresql(tmp_path, name, count):
    needs_postgresql(name)
    finished = run_bench(tmp_path / "out.json", [name])
    assert finished.returncode == 0, finished.stderr
    lines = json.loads((tmp_path / "out.json").read_text())["lines"]
    assert len(lines) == count
    assert all(line["ratio"] > 0 for line in lines)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "latency-postgres",
        *(pytest.param(name, marks=EXHAUSTIVE) for name in ("drain-postgres", "waiting-postgres")),
    ],
)
def test_a_row_on_postgresql_with_worker_processes(tmp_path, name):
    needs_postgresql(name)
    finished = run_bench(tmp_path / "out.json", [name])
    assert finished.returncode == 0, finished.stderr
    assert json.loads((tmp_path / "out.json").read_text())["lines"]


def needs_postgresql(name):
    pytest.importorskip("psycopg")
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    if binaries() is None:
        missing("PostgreSQL", "apt install postgresql")


def test_a_row_whose_server_is_missing_is_left_out_with_the_reason_and_the_others_run(tmp_path):
    pytest.importorskip("psycopg")
    code = (
        "import sys, bench.postgres; from bench.__main__ import main\n"
        "bench.postgres.binaries = lambda: None\n"
        "sys.exit(main(['--quick', '--only', 'claims-postgres', '--only', 'control', '--json', sys.argv[1]]))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "o")]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert finished.returncode == 1
    assert "claims-postgres: left out, as PostgreSQL is not installed: apt install" in finished.stderr
    assert "Traceback" not in finished.stderr
    document = json.loads((tmp_path / "o").read_text())
    assert document["failed"] == ["claims-postgres"]
    assert len(document["lines"]) == 1


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("handoff-celery", 3),
        ("handoff-procrastinate", 3),
        ("sending-celery", 3),
        *(pytest.param(f"sending-{name}", 3, marks=EXHAUSTIVE) for name in ENGINES if name != "celery"),
        *(pytest.param(f"handling-{name}", 1, marks=EXHAUSTIVE) for name in ENGINES),
        *(pytest.param(f"latency-{name}", 3, marks=EXHAUSTIVE) for name in ENGINES),
    ],
)
def test_a_row_of_an_engine(tmp_path, name, count):
    engine = name.partition("-")[2]
    pytest.importorskip(ENGINES[engine])
    if engine in ("celery", "dramatiq", "rq") and shutil.which("redis-server") is None:
        missing("Redis", "apt install redis-server")
    if engine.endswith("rabbitmq") and rabbitmq_server.program() is None:
        missing("RabbitMQ", rabbitmq_server.WAY)
    if engine in ("procrastinate", "django-tasks"):
        needs_postgresql(name)
    finished = run_bench(tmp_path / "out.json", [name])
    assert finished.returncode == 0, finished.stderr
    lines = json.loads((tmp_path / "out.json").read_text())["lines"]
    assert len(lines) == count
    assert all(line["ours"] > 0 or line["kind"] == "share" for line in lines)  # an idle worker may use none


@pytest.mark.slow
@pytest.mark.parametrize("name", ["latency", "drain", "waiting"])
def test_a_row_with_worker_processes(tmp_path, name):
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    finished = run_bench(tmp_path / "out.json", [name])
    assert finished.returncode == 0, finished.stderr
    assert json.loads((tmp_path / "out.json").read_text())["lines"]


def test_a_row_that_fails_is_reported_and_the_others_run(tmp_path):
    code = (
        "import sys, bench.rows as rows; from bench.__main__ import main\n"
        "rows.ROWS['plan'] = lambda scale: 1 / 0\n"
        "sys.exit(main(['--quick', '--only', 'plan', '--only', 'control', '--json', sys.argv[1]]))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "o")]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert finished.returncode == 1
    assert "ZeroDivisionError" in finished.stderr
    assert "could not be measured: plan" in finished.stdout
    document = json.loads((tmp_path / "o").read_text())
    assert document["failed"] == ["plan"]
    assert len(document["lines"]) == 1


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_nothing_behind(tmp_path, number):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "bench", "--only", "latency"],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(temporary)},
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 30
    while len(leftovers(temporary)[0]) < 3:  # itself, the worker, and the worker's child
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(number)
    assert process.wait(timeout=20) in (130, 128 + signal.SIGTERM)
    assert leftovers(temporary) == ([], [])
