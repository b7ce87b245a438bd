"""whereupon in a Django project: the ledger on a Django connection, and the app `whereupon.contrib.django`.

Importing it needs neither settings nor loaded apps, so that the module of the store can be imported first.
"""

from whereupon.contrib.django.commits import after_commit
from whereupon.contrib.django.ledger import DjangoLedger

__all__ = ["DjangoLedger", "after_commit"]
