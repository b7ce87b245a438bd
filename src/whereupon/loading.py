"""Finding the store of an application by name, for the CLI and for worker processes."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from whereupon.errors import InvalidConfiguration, WhereuponError
from whereupon.naming import suggestion
from whereupon.store import EventStore

VARIABLE: Final = "WHEREUPON_STORE"
_KEYS: Final = ("store",)
_LIMIT: Final = 1024 * 1024
_EXAMPLE: Final = "shop.event_store:store"


def store_name(given: str | None) -> str:
    """Return the name of the store: as given, else from WHEREUPON_STORE, else from pyproject.toml.

    Raises `InvalidConfiguration`.
    """
    name = given or os.environ.get(VARIABLE) or _configured(Path("pyproject.toml"))
    if not name:
        raise InvalidConfiguration(
            "no store is named",
            fix=f'pass --store {_EXAMPLE}, set {VARIABLE}, or write [tool.whereupon] store = "{_EXAMPLE}" '
            "into pyproject.toml",
        )
    return name


def load_store(name: str) -> EventStore:
    """Import the store `package.module:attribute`, with the current directory on the path.

    Where DJANGO_SETTINGS_MODULE is set, Django is set up before. Raises `InvalidConfiguration`, and
    whatever the application's own errors of whereupon are.
    """
    module_name, separator, attribute = name.partition(":")
    if not separator or not module_name or not attribute:
        raise InvalidConfiguration(f"{name!r} does not name a store", fix=f"write it as {_EXAMPLE}")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        if os.environ.get("DJANGO_SETTINGS_MODULE") and importlib.util.find_spec("django"):
            importlib.import_module("whereupon.contrib.django.starting").start()
        module = importlib.import_module(module_name)
    except WhereuponError:
        raise
    except Exception as error:
        raise InvalidConfiguration(
            f"{module_name} cannot be imported: {type(error).__name__}: {error}", where=name
        ) from error
    store = getattr(module, attribute, None)
    if not isinstance(store, EventStore):
        found = "nothing" if store is None else type(store).__name__
        raise InvalidConfiguration(
            f"{name} is {found} and not an EventStore{suggestion(attribute, vars(module))}",
            fix=f"write it as {_EXAMPLE}",
        )
    return store


def _configured(path: Path) -> str | None:
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InvalidConfiguration(f"{path} cannot be read: {error.strerror}") from None
    if len(text) > _LIMIT:
        raise InvalidConfiguration(f"{path} has {len(text):,} bytes; that is not a pyproject.toml")
    try:
        document = tomllib.loads(text.decode("utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidConfiguration(f"{path} is not TOML in UTF-8: {error}") from None
    table = document.get("tool", {}).get("whereupon", {})
    return _checked(path, table)


def _checked(path: Path, table: Any) -> str | None:
    if not isinstance(table, Mapping):
        raise InvalidConfiguration(f"[tool.whereupon] in {path} is not a table")
    for key in table:
        if key not in _KEYS:
            raise InvalidConfiguration(
                f"[tool.whereupon] in {path} has the unknown key {key}{suggestion(key, _KEYS)}",
                fix="ledger and engine are said in Python, where the store is built",
            )
    name = table.get("store")
    if name is not None and not isinstance(name, str):
        raise InvalidConfiguration(f"store in [tool.whereupon] of {path} must be text")
    return name


def configure_logging(level: str) -> None:
    """Log to standard error, unless the application has set up logging by itself."""
    if not logging.getLogger().handlers:
        logging.basicConfig(
            level=level.upper(),
            format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
            datefmt="%H:%M:%S",
        )
