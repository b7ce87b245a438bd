"""The demo: a repository's history replayed as pushes, with a worker that is killed on the way."""
