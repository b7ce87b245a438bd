"""`whereupon explain CODE`: what an error means, and the way out."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import click

from whereupon.cli.reporting import print_table, say
from whereupon.errors import NotFound, WhereuponError
from whereupon.naming import suggestion

if TYPE_CHECKING:
    from collections.abc import Iterator


@click.command()
@click.argument("code", required=False)
def explain(code: str | None) -> None:
    """Explain an error code; without one, list them."""
    errors = {each.code: each for each in all_errors()}
    if code is None:
        print_table(
            ["code", "error", "what"],
            [[key, each.__name__, summary(each)] for key, each in sorted(errors.items())],
        )
        return
    error = errors.get(code.upper())
    if error is None:
        raise NotFound(f"there is no error {code}{suggestion(code.upper(), errors)}", fix="whereupon explain")
    say(f"{error.code} {error.__name__}\n\n{inspect.cleandoc(error.__doc__ or '')}")


def all_errors(root: type[WhereuponError] = WhereuponError) -> Iterator[type[WhereuponError]]:
    """Yield every error class below the root of the tree."""
    for each in root.__subclasses__():
        yield each
        yield from all_errors(each)


def summary(error: type[WhereuponError]) -> str:
    """Return the first sentence of an error's docstring."""
    return inspect.cleandoc(error.__doc__ or "").split("\n\n")[0].replace("\n", " ")
