"""`whereupon demo`: replay a repository's history as events, kill the worker, and lose nothing."""

from __future__ import annotations

import importlib.util
import os
import pkgutil
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Final

import click

from whereupon.cli.reporting import FINDINGS, say
from whereupon.errors import InvalidConfiguration

_PACKAGE: Final = Path(__file__).parents[1]
_PLACES: Final = (_PACKAGE.parents[1] / "examples", _PACKAGE / "examples")
"""Where the example is: beside the checkout, or inside the installed package."""
_ENGINES: Final = ("celery", "dramatiq", "rq", "procrastinate")
_DATABASE: Final = "forge.sqlite3"


@click.command()
@click.option(
    "--repo", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="PATH",
    help="The git repository to replay; the one around the current directory if left out.",
)  # fmt: skip
@click.option(
    "--pushes", type=click.IntRange(1, 100_000), default=200, show_default=True,
    help="Replay at most this many, the newest ones.",
)  # fmt: skip
@click.option(
    "--engine", type=click.Choice(["local", *_ENGINES]), default="local", show_default=True,
    help="Whose workers handle the events.",
)  # fmt: skip
@click.option(
    "--broker", metavar="URL", help="The broker of the engine, if not the usual one on this machine."
)
@click.option(
    "--keep", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
    help="Keep the database and the logs in this folder.",
)  # fmt: skip
def demo(repo: Path | None, pushes: int, engine: str, broker: str | None, keep: Path | None) -> None:
    """Publish the history of a git repository as events, kill the worker, and lose nothing.

    Runs the example application Forge, with a real worker in a process of its own.
    """
    if engine != "local" and importlib.util.find_spec(engine) is None:
        raise InvalidConfiguration(f"{engine} is not installed", fix=f"pip install 'whereupon[{engine}]'")
    examples = _examples()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    folder = _folder(keep)
    is_kept = keep is not None
    try:
        os.environ["FORGE_DATABASE"] = str(folder / _DATABASE)
        os.environ |= {"FORGE_ENGINE": engine} | ({"FORGE_BROKER": broker} if broker else {})
        sys.path.insert(0, str(examples))
        is_well = _play(repo.absolute() if repo else None, pushes, folder)
        is_kept = is_kept or not is_well
    finally:
        if not is_kept:
            shutil.rmtree(folder, ignore_errors=True)
    if is_kept:
        say(f"\nThe database and the logs are in {folder}.")
    sys.exit(0 if is_well else FINDINGS)


def _play(repo: Path | None, pushes: int, folder: Path) -> bool:
    """Run the example, which is found at run time: it is not a part of this package."""
    play = pkgutil.resolve_name("forge.demo.play:play")
    return bool(play(repo, pushes, folder))


def _examples() -> Path:
    for place in _PLACES:
        if (place / "forge" / "event_store.py").is_file():
            return place
    raise InvalidConfiguration(
        "the example application is not there", fix="install whereupon from its wheel, or from a checkout"
    )


def _folder(keep: Path | None) -> Path:
    """Make a folder that no earlier demo has used: the one to be kept, or a temporary one."""
    if keep is None:
        return Path(tempfile.mkdtemp(prefix="whereupon-demo-"))
    if (keep / _DATABASE).exists():
        raise click.BadParameter("the folder holds an earlier demo; name another", param_hint="'--keep'")
    keep.mkdir(parents=True, exist_ok=True)
    return keep.absolute()
