"""Exceptions as text that may be kept: where it happened and what it said, without payload values."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator, Mapping
from typing import Any, Final

from whereupon.naming import shorten

TEXT_LIMIT: Final = 4096
"""The longest text that is kept of one exception, in characters."""
_WINDOW = 4 * TEXT_LIMIT
_SHORTEST = 3
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def describe_failure(error: BaseException, payload: Mapping[str, Any] | None = None) -> str:
    """Say what an exception was and where it was raised.

    Values of the payload that appear in its message are replaced, as the text ends up in logs and on the
    screens of operators. Control characters are escaped, and the text is cut at `TEXT_LIMIT`.
    """
    try:
        message = str(error)
    except Exception:  # noqa: BLE001 - __str__ is somebody else's code
        message = "(its message cannot be shown)"
    message = _shortened(message, payload or {})
    text = f"{type(error).__name__}{_place(error)}{': ' if message else ''}{message}"
    return printable(text)[:TEXT_LIMIT]


def printable(text: str) -> str:
    """Escape what a terminal or a log line would act upon instead of showing it."""
    return _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text).replace("\t", " ")


def redact(text: str, payload: Mapping[str, Any]) -> str:
    """Replace the values of a payload in a text, longest first; those under three characters stay."""
    for value in _secrets(payload):
        text = text.replace(value, "***")
    return text


def _shortened(message: str, payload: Mapping[str, Any]) -> str:
    """Redact a message, however long; a value that the cut went through is cut off with it."""
    text = redact(message[:_WINDOW], payload)
    if len(message) <= _WINDOW:
        return text
    longest = max(map(len, _secrets(payload)), default=0)
    return text[: max(0, len(text) - longest)]


def _secrets(payload: Mapping[str, Any]) -> list[str]:
    """Return the values of a payload, longest first: as they are, and as Python shows them in quotes."""
    values = set(_scalars(payload))
    values |= {repr(value)[1:-1] for value in values}
    return sorted((value for value in values if len(value) >= _SHORTEST), key=len, reverse=True)


def _scalars(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for item in value.values():
            yield from _scalars(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _scalars(item)
    elif isinstance(value, str):
        yield value
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield str(value)


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__, limit=-1)
    if not frames:
        return ""
    return f" at {shorten(frames[-1].filename)}:{frames[-1].lineno} in {frames[-1].name}"
