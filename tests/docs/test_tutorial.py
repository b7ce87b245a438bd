"""The tutorial, followed to the letter: its files, its commands, what it says that they print."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text()
BLOCK = re.compile(r"^```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```", re.MULTILINE | re.DOTALL)


def files() -> dict[str, str]:
    return {name: text for _, name, text in BLOCK.findall(TUTORIAL) if name}


def commands() -> list[str]:
    return [
        line.removeprefix("$ ")
        for kind, _, text in BLOCK.findall(TUTORIAL)
        for line in text.splitlines()
        if kind == "console" and line.startswith("$ ")
    ]


@pytest.fixture
def shop(tmp_path):
    for name, text in files().items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def run(shop: Path, command: str) -> str:
    words = command.split()
    program = [sys.executable, *(["-m", "whereupon"] if words[0] == "whereupon" else []), *words[1:]]
    environment = os.environ | {"WHEREUPON_STORE": "shop.event_store:store"}
    return subprocess.run(
        program, cwd=shop, env=environment, capture_output=True, text=True, check=True
    ).stdout


def test_it_takes_fewer_than_25_lines_of_code():
    lines = [line for text in files().values() for line in text.splitlines() if line.strip()]
    assert len(lines) < 25


@pytest.mark.slow
def test_the_event_of_the_tutorial_is_delivered(shop):
    export, migrate, publish, worker, why, status = commands()
    assert export == "export WHEREUPON_STORE=shop.event_store:store"
    assert worker == "whereupon worker"
    assert "went from version 0" in run(shop, migrate)
    assert re.fullmatch(r"[0-9a-f-]{36}\n", run(shop, publish))
    output = shop / "output"
    with output.open("w") as file:
        running = subprocess.Popen(
            [sys.executable, "-m", "whereupon", "worker"],
            cwd=shop,
            env=os.environ | {"WHEREUPON_STORE": "shop.event_store:store"},
            stdout=file,
            stderr=file,
        )
    try:
        deadline = time.monotonic() + 30
        while "receipt for order 7 over 42.00" not in output.read_text():
            assert time.monotonic() < deadline, output.read_text()
            time.sleep(0.05)
    finally:
        running.terminate()
        assert running.wait(30) == 0
    assert "mails.send_receipt" in run(shop, why)
    assert "mails.send_receipt:orders.order_placed" in run(shop, status)


def test_the_refusal_of_the_tutorial_is_what_is_printed(shop):
    code = 'from shop.orders.events import OrderPlaced\nOrderPlaced(order_id="7", total=4200)\n'
    done = subprocess.run([sys.executable, "-c", code], cwd=shop, capture_output=True, text=True, check=False)
    promised = next(text for kind, _, text in BLOCK.findall(TUTORIAL) if kind == "text")
    assert promised.strip() in done.stderr


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda path: path.stem)
def test_every_python_block_of_the_docs_is_python(page):
    for kind, _, text in BLOCK.findall(page.read_text()):
        if kind == "python":
            ast.parse(text)


def test_every_page_is_in_the_navigation_and_every_link_leads_somewhere():
    navigation = (ROOT / "zensical.toml").read_text()
    for page in (ROOT / "docs").rglob("*.md"):
        name = page.relative_to(ROOT / "docs").as_posix()
        assert name in navigation or name.startswith("decisions/"), name
        for target in re.findall(r"\]\(([^)#]+\.md)[^)]*\)", page.read_text()):
            assert (page.parent / target).exists(), f"{name} links to {target}"


def test_every_test_that_the_guarantees_name_is_there():
    sources = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("*.py"))
    page = (ROOT / "docs" / "guarantees.md").read_text()
    for name in re.findall(r"`(test_\w+)(…?)`", page):
        found = re.search(rf"def {re.escape(name[0])}{'' if name[1] else '[(]'}", sources)
        assert found, name[0]
    for path in re.findall(r"`(tests/[\w/.]+)`", page):
        assert (ROOT / path).exists(), path
