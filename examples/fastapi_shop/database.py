"""Where the shop keeps its rows: SQLite, or what DATABASE_URL says."""

import os

from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase

_DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+psycopg"}

URL = make_url(os.environ.get("DATABASE_URL", "sqlite:///fastapi_shop.sqlite3"))
URL = URL.set(drivername=_DRIVERS.get(URL.drivername, URL.drivername))

engine = create_async_engine(URL)
sessions = async_sessionmaker(engine, expire_on_commit=False)


class Base(DeclarativeBase):
    """The tables of all contexts."""
