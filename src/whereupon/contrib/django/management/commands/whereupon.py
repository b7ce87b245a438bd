"""`manage.py whereupon …`: the command `whereupon`, with the store that the settings name."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand

from whereupon.cli import main
from whereupon.contrib.django.configuration import configuration
from whereupon.contrib.django.development import python_path
from whereupon.errors import WhereuponError
from whereupon.loading import VARIABLE

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(BaseCommand):
    """Passes all of its arguments on."""

    help = "Publishes nothing by itself: runs workers, and shows and mends what is in the ledger."
    requires_system_checks: list[str] = []  # noqa: RUF012 - a broken store is told by the command itself

    def run_from_argv(self, argv: list[str]) -> None:
        """Run as from a command line, where options such as --help are those of `whereupon`."""
        sys.exit(self._run(argv[2:], f"{os.path.basename(argv[0])} {argv[1]}"))  # noqa: PTH119

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take what `call_command` is given."""
        parser.add_argument("arguments", nargs="*")

    def handle(self, *_: Any, arguments: list[str], **options: Any) -> None:
        """Run for `call_command("whereupon", "status")`; raises SystemExit if the command fails."""
        del options
        status = self._run(arguments, "manage.py whereupon")
        if status:
            raise SystemExit(status)

    def _run(self, arguments: list[str], program: str) -> int:
        try:
            store = configuration().store
        except WhereuponError as error:
            self.stderr.write(str(error))
            return 1
        if store:
            os.environ[VARIABLE] = store
        os.environ["PYTHONPATH"] = python_path()  # worker processes import what this one can
        try:
            main.main(list(arguments), prog_name=program, standalone_mode=True)
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else int(end.code is not None)
        return 0
