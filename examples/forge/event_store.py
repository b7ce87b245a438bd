"""The one visible table: which context hears what, and the ledger that it is delivered from."""

from forge import database, engines
from forge.ci import subscriptions as ci
from forge.merge_requests import subscriptions as merge_requests
from forge.onboarding import subscriptions as onboarding
from forge.search import subscriptions as search
from whereupon import EventStore

store = EventStore(
    subscriptions=engines.fitted(
        [
            *ci.subscriptions,
            *merge_requests.subscriptions,
            *onboarding.subscriptions,
            *search.subscriptions,
        ]
    ),
    ledger=database.LEDGER,
    engine=engines.engine(),
)
