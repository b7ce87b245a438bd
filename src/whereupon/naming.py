"""Contexts and wire names: how a class or function in a package gets its stable name."""

from __future__ import annotations

import difflib
import inspect
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MARKERS: Final = frozenset({"events", "subscribers", "subscriptions", "tasks"})
"""Module or package names that stand directly below the package that is the context."""

NAME_LIMIT: Final = 128
"""The longest wire name, in characters."""

_WORD = re.compile(r"[a-z][a-z0-9_]*", re.ASCII)
_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+", re.ASCII)
_BOUNDARY = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def context_of(module: str) -> str | None:
    """Derive the context from a dotted module path, or None where it cannot be told.

    The context is the package directly before the first part named in `MARKERS`
    (`shop.ci.events.pipeline` gives `ci`); without such a part it is the containing package.
    """
    if module == "__main__":
        return None
    parts = module.split(".")
    for position, part in enumerate(parts):
        if part in MARKERS:
            return _as_context(parts[position - 1]) if position else None
    package = getattr(sys.modules.get(module), "__package__", None) or ".".join(parts[:-1])
    return _as_context(package.rpartition(".")[2])


def _as_context(package: str) -> str | None:
    return package if is_context(package) else None


def is_context(text: object) -> bool:
    """Tell whether `text` can be a context: lower-case ASCII letters, digits and underscores."""
    return isinstance(text, str) and len(text) <= NAME_LIMIT and bool(_WORD.fullmatch(text))


def is_wire_name(text: object) -> bool:
    """Tell whether `text` can be a name on the wire: two or more dotted words, at most `NAME_LIMIT`."""
    return isinstance(text, str) and len(text) <= NAME_LIMIT and bool(_NAME.fullmatch(text))


def snake_case(name: str) -> str:
    """Turn a class name into words: `HTTPServerStarted` into `http_server_started`."""
    return _BOUNDARY.sub("_", name).lower()


def location_of(thing: type | Callable[..., object]) -> str:
    """Say where a class or function is written, as `path:line`; its dotted name where that is unknown."""
    try:
        path = inspect.getsourcefile(thing)
        line = inspect.getsourcelines(thing)[1]
    except (OSError, TypeError):
        return f"{thing.__module__}.{getattr(thing, '__qualname__', type(thing).__qualname__)}"
    return f"{shorten(path or '')}:{line}"


def shown(thing: object) -> str:
    """Name a thing that is the wrong one, without showing what it holds: it may be an event."""
    if thing is None or isinstance(thing, str | int | float):
        return repr(thing)
    return getattr(thing, "__name__", None) or f"an instance of {type(thing).__name__}"


def shorten(path: str) -> str:
    """Make a path relative to the current directory where it lies below it."""
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except (OSError, ValueError):
        return path


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the nearest of the known words, or nothing."""
    nearest = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean '{nearest[0]}'?" if nearest else ""
