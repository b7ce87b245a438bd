"""The command line on an application with a ledger of its own."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from tests.testing import shop
from whereupon import SQLiteLedger
from whereupon.cli import main
from whereupon.testing import using_store

STORE = "tests.testing.shop:store"


class Command:
    """Runs `whereupon` in this process and keeps what it printed."""

    def __init__(self, store) -> None:
        self.store = store

    def __call__(self, *arguments: str, status: int = 0) -> str:
        result = CliRunner().invoke(main, arguments)
        output = result.output
        assert result.exit_code == status, f"{result.exit_code}: {output} {result.exception!r}"
        assert "Traceback" not in output
        return output

    def json(self, *arguments: str, status: int = 0):
        return json.loads(self(*arguments, "--json", status=status))


@pytest.fixture
def command(tmp_path, monkeypatch):
    store = shop.make_store(SQLiteLedger(tmp_path / "shop.sqlite3", own_transaction=True))
    store.ledger.migrate()
    monkeypatch.setattr(shop, "store", store, raising=False)
    monkeypatch.setenv("WHEREUPON_STORE", STORE)
    with using_store(store):
        yield Command(store)
