"""Who hears what: one model of the frozen table, for the CLI, the graph and the tests."""
