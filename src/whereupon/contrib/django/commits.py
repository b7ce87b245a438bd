"""Waiting for the commit of a Django transaction, for a store without a ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db.utils import DEFAULT_DB_ALIAS

from whereupon.contrib.django.joining import joined

if TYPE_CHECKING:
    from whereupon.handoff import Dispatch


def after_commit(on: object | None, dispatch: Dispatch) -> None:
    """Call `dispatch` when the transaction of `on` commits, as `transaction.on_commit` does.

    `on` is an alias of DATABASES or a Django connection; None is the default alias. In autocommit mode it is
    called at once, and in a `TestCase` by `captureOnCommitCallbacks(execute=True)` only.

    Raises `WrongConnection`, `InvalidConfiguration`.
    """
    joined(on, DEFAULT_DB_ALIAS).on_commit(dispatch)
