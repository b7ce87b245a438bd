"""Django's signals: the usual way for one application of a project to hear of another."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from bench.peers import import_peer


class Sender:
    """Sends the signal, as a model class would."""


def signal_with_receivers(count: int, event: object, *, use_caching: bool) -> Callable[[], object]:
    """Return the call that sends one signal to so many receivers that do nothing."""
    settings = import_peer("django.conf").settings
    if not settings.configured:
        settings.configure(DEBUG=False)
    signal = import_peer("django.dispatch").Signal(use_caching=use_caching)
    for position in range(count):
        signal.connect(_receiver(), weak=False, sender=Sender, dispatch_uid=str(position))
    return partial(signal.send, Sender, event=event)


def _receiver() -> Callable[..., None]:
    def receive(sender: Any, **named: Any) -> None:
        """Do nothing."""

    return receive
