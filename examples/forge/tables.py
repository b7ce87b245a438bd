"""All tables of the application, each written down in the context that owns it."""

from typing import Final

from forge import database
from forge.ci import tables as ci
from forge.git import tables as git
from forge.merge_requests import tables as merge_requests
from forge.onboarding import tables as onboarding
from forge.search import tables as search

TABLES: Final = (*git.TABLES, *ci.TABLES, *merge_requests.TABLES, *onboarding.TABLES, *search.TABLES)


def create_tables() -> None:
    """Create what is missing. The ledger's own tables come from `whereupon ledger migrate`."""
    with database.transaction() as connection:
        for table in TABLES:
            connection.execute(table)
