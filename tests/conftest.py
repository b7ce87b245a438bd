"""What all tests share."""

import importlib
import signal
import sys
from uuid import uuid4

import pytest
from hypothesis import settings

pytest_plugins = ["pytester"]

settings.register_profile("calm", deadline=None)
settings.load_profile("calm")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a job that a shell has put into the background
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Write a package under a name of its own, import a module of it, and forget all of it afterwards.

    In the sources `ROOT` stands for that name.
    """
    root = f"shop_{uuid4().hex}"
    monkeypatch.syspath_prepend(tmp_path)

    def write(sources, module):
        for path, source in {"__init__.py": "", **sources}.items():
            file = tmp_path / root / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(source.replace("ROOT", root))
        importlib.invalidate_caches()
        return importlib.import_module(f"{root}.{module}")

    yield write
    for name in [name for name in sys.modules if name.split(".")[0] == root]:
        del sys.modules[name]
