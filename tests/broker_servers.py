"""Redis and RabbitMQ of the tests' own, on free ports in temporary folders: killed and started again."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import kombu

from tests import rabbitmq_server
from tests.postgres_server import free_port, wait_for_port
from tests.servers import missing


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


class RabbitMQ(rabbitmq_server.RabbitMQ):
    """A node that can lose its queues, and is asked as rabbitmqctl does."""

    def __init__(self) -> None:
        program = rabbitmq_server.program()
        if program is None:
            missing("RabbitMQ", rabbitmq_server.WAY)
        super().__init__(program)

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
            env=self.environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return done.stdout
