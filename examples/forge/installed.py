"""What a worker of an engine imports: the store is installed, and its subscribers are jobs of the engine."""

from forge.event_store import store

store.install()
