"""The application that the tests share: its table, and its event."""

from __future__ import annotations

from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from whereupon import Event

ASYNC = ("aiosqlite", "asyncpg", "psycopg_async")


class Base(DeclarativeBase):
    """The tables of the application."""


class Order(Base):
    __tablename__ = "shop_order"

    number: Mapped[int] = mapped_column(primary_key=True)


class Created(Event, name="shop.created"):
    number: int


def on_created(event: Created) -> None: ...
