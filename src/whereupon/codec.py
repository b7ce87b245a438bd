"""The strict JSON of the wire, the same on the way out and on the way in.

What Python's tools let pass and a contract must not: NaN and infinities, lone surrogates, the character
NUL (PostgreSQL cannot hold it), integers beyond 64 bits, a key that stands twice in one object, and more
than 64 levels.
"""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec

from whereupon.payloads import strict_faults
from whereupon.schemas import DEPTH_LIMIT

TEXT_LIMIT: Final = 2 * 1024 * 1024
"""The longest JSON text that is read, in bytes."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_pack = msgspec.msgpack.Encoder().encode


class NotStrict(ValueError):
    """A text is not the strict JSON of the wire; the message says why and shows none of it."""


def encode(data: Any) -> bytes:
    """Write plain JSON data that has been checked before."""
    return _encode(data)


def decode(text: bytes | str) -> Any:
    """Read strict JSON. Raises `NotStrict`."""
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    if len(raw) > TEXT_LIMIT:
        raise NotStrict(f"it is {len(raw):,} bytes, the limit is {TEXT_LIMIT:,}")
    if raw.count(b"[") + raw.count(b"{") > DEPTH_LIMIT or b"\\u0000" in raw:
        return _decode_carefully(raw)
    data = _decoded(raw)
    if _encode(data) != raw:
        return _decode_carefully(raw)
    try:
        _pack(data)
    except OverflowError:
        raise NotStrict("an integer has more than 64 bits") from None
    return data


def _decoded(raw: bytes) -> Any:
    try:
        return _decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise NotStrict(f"it is not JSON: {error}") from None


def _decode_carefully(raw: bytes) -> Any:
    """Read a text that could break a rule: it has many brackets, an escaped NUL, or is not compact."""
    data = _decoded(raw)
    try:
        json.loads(raw, object_pairs_hook=_refuse_twins)
    except (ValueError, RecursionError) as error:
        raise NotStrict(str(error)) from None
    for fault in strict_faults(data, "", -1):  # an envelope is one level around its payload
        raise NotStrict(str(fault))
    return data


def _refuse_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    if len(set(keys)) != len(keys):
        raise NotStrict("a key stands twice in one object")
    return dict(pairs)
