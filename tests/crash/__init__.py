"""The fault rig: kills publishers and workers of a real application, and looks for what that broke.

    python -m tests.crash --rounds 100        so many hits, a line for each, and a verdict

The evidence lies outside the system: a log that publishers and handlers append to, the list of hits, the
application's own tables and triggers, and the database at rest. No counter of the library is believed.

`rig` runs it: `processes` starts the `app` and its `publisher`, `killer` hits them, `evidence` is what they
leave behind (`oracle`, `hits`, `database`), and `checker` judges it.
"""
