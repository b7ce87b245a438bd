"""The ledger in the database of an application that uses SQLAlchemy, and its tables for Alembic."""

from whereupon.contrib.sqlalchemy.commits import after_commit
from whereupon.contrib.sqlalchemy.ledger import SQLAlchemyLedger
from whereupon.contrib.sqlalchemy.tables import include_name, make_metadata, metadata, upgrade

__all__ = ["SQLAlchemyLedger", "after_commit", "include_name", "make_metadata", "metadata", "upgrade"]
