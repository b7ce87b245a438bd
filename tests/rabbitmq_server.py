"""A RabbitMQ of one's own: started from what is installed, in a temporary folder, on a free port.

For tests and for the bench; nothing here needs pytest.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from tests.postgres_server import free_port, wait_for_port

WAY = "apt install rabbitmq-server"
"""How to get it on most machines."""


class RabbitMQ:
    """A node of its own, with its own name and no port but that of AMQP."""

    def __init__(self, program: str) -> None:
        self._program = program
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="whereupon-rabbitmq-"))
        self.node = f"whereupon{self.port}@localhost"
        (self.folder / "enabled_plugins").write_text("[].\n")
        (self.folder / "conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self.port}\ndisk_free_limit.absolute = 50MB\n"
        )
        self.environment = os.environ | {
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_CONFIG_FILE": str(self.folder / "conf"),
            "RABBITMQ_CONF_ENV_FILE": str(self.folder / "env"),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_PID_FILE": str(self.folder / "pid"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "enabled_plugins"),
            "HOME": str(self.folder),
        }
        self.start()

    @property
    def url(self) -> str:
        """Return the URL of its only virtual host."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}/%2F"

    def start(self) -> None:
        """Start the server and wait until it listens."""
        with (self.folder / "output").open("ab") as output:
            self._process = subprocess.Popen(
                [self._program], env=self.environment, stdout=output, stderr=output, start_new_session=True
            )
        wait_for_port(self.port, seconds=60)

    @property
    def pid(self) -> int:
        """Return the process that is the server, and not what started it."""
        return int((self.folder / "pid").read_text())

    def kill(self) -> None:
        """Kill the server with all its processes."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, ValueError):
            os.kill(self.pid, signal.SIGKILL)
        time.sleep(0.2)

    def end(self) -> None:
        """Kill the server and delete its folder."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def program() -> str | None:
    """Return what starts a server; None where RabbitMQ is not installed."""
    script = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")  # Debian's command asks for its own user
    if script.exists():
        return str(script)
    return shutil.which("rabbitmq-server") or shutil.which("rabbitmq-server", path="/usr/sbin")
