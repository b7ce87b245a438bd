"""Redis and RabbitMQ of the tests' own, on free ports in temporary folders: killed and started again."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import kombu

from tests.postgres_server import free_port
from tests.servers import missing, wait_for_port


class Redis:
    """A server that keeps nothing on disk, so that a stop loses all it had."""

    def __init__(self) -> None:
        self._program = shutil.which("redis-server")
        if self._program is None:
            missing("Redis", "apt install redis-server")
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="whereupon-redis-"))
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        self._process = subprocess.Popen(
            [self._program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
             "--dir", self.folder],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        wait_for_port(self.port)

    @property
    def pid(self) -> int:
        return self._process.pid

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def command(self, *words: str) -> str:
        """Run one command as redis-cli does."""
        done = subprocess.run(
            ["redis-cli", "-p", str(self.port), *words], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    def lose_everything(self) -> None:
        self.command("FLUSHALL")

    def waiting(self) -> int:
        """Return how many messages lie in Celery's queues of each priority, and in its workers' hands.

        In one script, so that none is seen in both places.
        """
        script = """
            local waiting = redis.call('HLEN', 'unacked')
            for _, key in ipairs(redis.call('KEYS', 'celery*')) do
                if redis.call('TYPE', key).ok == 'list' then waiting = waiting + redis.call('LLEN', key) end
            end
            return waiting
        """
        return int(self.command("EVAL", script, "0"))

    def end(self) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


class RabbitMQ:
    """A node of its own, with its own name and no port but that of AMQP."""

    def __init__(self) -> None:
        found = shutil.which("rabbitmq-server") or shutil.which("rabbitmq-server", path="/usr/sbin")
        if found is None:
            missing("RabbitMQ", "apt install rabbitmq-server")
        script = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")  # Debian's command asks for its own user
        self._program = str(script) if script.exists() else found
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="whereupon-rabbitmq-"))
        self.node = f"whereupon{self.port}@localhost"
        (self.folder / "enabled_plugins").write_text("[].\n")
        (self.folder / "conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self.port}\ndisk_free_limit.absolute = 50MB\n"
        )
        self._environment = os.environ | {
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
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}/%2F"

    def start(self) -> None:
        with (self.folder / "output").open("ab") as output:
            self._process = subprocess.Popen(
                [self._program], env=self._environment, stdout=output, stderr=output, start_new_session=True
            )
        wait_for_port(self.port, seconds=60)

    def lose_everything(self) -> None:
        for queue in self._queues():
            self.control("delete_queue", queue)

    def waiting(self) -> int:
        """Return how many messages lie in Celery's queue."""
        with kombu.Connection(self.url) as connection:
            return connection.default_channel.queue_declare("celery", passive=True).message_count

    def _queues(self) -> list[str]:
        lines = self.control("list_queues", "name").splitlines()
        return [line for line in lines if line in {"celery", "default", "other"}]

    def control(self, *words: str) -> str:
        """Run one command as rabbitmqctl does."""
        script = Path("/usr/lib/rabbitmq/bin/rabbitmqctl")
        program = script if script.exists() else "rabbitmqctl"
        done = subprocess.run(
            [program, "-q", "-n", self.node, *words],
            env=self._environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return done.stdout

    @property
    def pid(self) -> int:
        return int((self.folder / "pid").read_text())

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        pid = self.folder / "pid"
        if pid.exists():
            with contextlib.suppress(ProcessLookupError, ValueError):
                os.kill(int(pid.read_text()), signal.SIGKILL)
        time.sleep(0.2)

    def end(self) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
