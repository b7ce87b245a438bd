"""The setting WHEREUPON, and the store that it names."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from django.conf import settings
from django.utils.module_loading import import_string

from whereupon.contrib.django.ledger import DjangoLedger
from whereupon.errors import InvalidConfiguration, InvalidStore, WhereuponError
from whereupon.naming import shorten, suggestion
from whereupon.store import EventStore

SETTING: Final = "WHEREUPON"
_KEYS: Final = ("STORE", "DEV_WORKER")
_EXAMPLE: Final = 'WHEREUPON = {"STORE": "shop.event_store.store"}'

_log = logging.getLogger("whereupon.django")


@dataclass(frozen=True, slots=True)
class Configuration:
    """What WHEREUPON says: the store as `module:attribute`, empty for none, and whether runserver works."""

    store: str = ""
    dev_worker: bool = False


@dataclass(frozen=True, slots=True)
class Loaded:
    """The store that the settings name, or what is wrong with it."""

    configuration: Configuration = Configuration()
    store: EventStore | None = None
    faults: tuple[WhereuponError, ...] = ()

    @property
    def ledger(self) -> DjangoLedger | None:
        """The store's ledger if it is a DjangoLedger; that of the default alias where there is no store."""
        if self.store is None:
            return DjangoLedger()
        return self.store.ledger if isinstance(self.store.ledger, DjangoLedger) else None


def configuration() -> Configuration:
    """Read the setting WHEREUPON. Raises `InvalidConfiguration`."""
    given: Any = getattr(settings, SETTING, {})
    if not isinstance(given, Mapping):
        raise InvalidConfiguration(f"{SETTING} is not a mapping", fix=_EXAMPLE)
    for key in given:
        if key not in _KEYS:
            raise InvalidConfiguration(
                f"{SETTING} has the unknown key {key!r}{suggestion(str(key), _KEYS)}",
                fix=f"its keys are {' and '.join(_KEYS)}; the rest is said where the store is built",
            )
    name, dev_worker = given.get("STORE", ""), given.get("DEV_WORKER", False)
    if not isinstance(dev_worker, bool):
        raise InvalidConfiguration(f"DEV_WORKER of {SETTING} takes True or False, not {dev_worker!r}")
    if not isinstance(name, str):
        raise InvalidConfiguration(f"STORE of {SETTING} takes the name of the store", fix=_EXAMPLE)
    return Configuration(_with_colon(name) if name else "", dev_worker)


def _with_colon(name: str) -> str:
    module, _, attribute = name.rpartition("." if ":" not in name else ":")
    if not module or not attribute:
        raise InvalidConfiguration(f"STORE of {SETTING}, {name!r}, does not name a store", fix=_EXAMPLE)
    return f"{module}:{attribute}"


def load() -> Loaded:
    """Import the store that the settings name. Whatever is wrong is returned, and not raised."""
    try:
        found = configuration()
    except InvalidConfiguration as error:
        return Loaded(faults=(error,))
    try:
        store = _imported(found.store) if found.store else None
    except InvalidStore as error:
        return Loaded(found, faults=error.faults)
    except WhereuponError as error:
        return Loaded(found, faults=(error,))
    return Loaded(found, store)


def _imported(name: str) -> EventStore:
    try:
        store = import_string(name.replace(":", "."))
    except WhereuponError:
        raise
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        _log.debug("importing %s failed", name, exc_info=True)
        raise InvalidConfiguration(
            f"STORE of {SETTING}, {name}, cannot be imported: {type(error).__name__}: {error}",
            where=f"{shorten(last.filename)}:{last.lineno}",
        ) from error
    if not isinstance(store, EventStore):
        raise InvalidConfiguration(
            f"STORE of {SETTING}, {name}, is {type(store).__name__} and not an EventStore", fix=_EXAMPLE
        )
    return store
