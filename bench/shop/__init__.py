"""The application whose events are measured: one context, and a ledger that the environment names."""
