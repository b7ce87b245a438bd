"""jsonschema: the validator that most Python code uses, built once for each schema."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from bench.peers import import_peer


def cached_validator(schema: Mapping[str, Any]) -> Callable[[object], object]:
    """Return the function that validates with a validator built once.

    Formats are asserted where the contract has one, as whereupon does.
    """
    validator_class = import_peer("jsonschema").Draft202012Validator
    has_format = '"format":' in json.dumps(schema)
    validator = validator_class(schema, format_checker=validator_class.FORMAT_CHECKER if has_format else None)
    validate: Callable[[object], object] = validator.validate
    return validate
