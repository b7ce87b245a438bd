"""A ledger for tests of what is published: it keeps what a store has it write."""

import contextlib

from whereupon.errors import InvalidSubscriber


class RecordingLedger:
    """Keeps records with the connection they were written on, and objects to the queue `unknown`."""

    takes_turns = False
    atomic_timeout = None

    def __init__(self):
        self.written = []

    def write(self, records, on, *, strict):
        self.written.append((list(records), on))

    async def awrite(self, records, on, *, strict):
        self.write(records, on, strict=strict)

    def scope(self):
        return contextlib.nullcontext()

    def faults_of(self, subscription):
        if subscription.subscriber.options.queue == "unknown":
            yield InvalidSubscriber(f"nobody serves the queue of {subscription.id}")
