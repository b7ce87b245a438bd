"""The one visible table: which context hears what, and the ledger that it is delivered from."""

from fastapi_shop.billing import subscriptions as billing
from fastapi_shop.database import engine
from fastapi_shop.loyalty import subscriptions as loyalty
from fastapi_shop.orders import subscriptions as orders
from fastapi_shop.shipping import subscriptions as shipping
from whereupon import EventStore
from whereupon.contrib.sqlalchemy import SQLAlchemyLedger

store = EventStore(
    subscriptions=[
        *billing.subscriptions,
        *loyalty.subscriptions,
        *orders.subscriptions,
        *shipping.subscriptions,
    ],
    ledger=SQLAlchemyLedger(engine),
)
