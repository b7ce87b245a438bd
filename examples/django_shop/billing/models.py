"""Invoices."""

from django.db import models


class Invoice(models.Model):
    """What an order costs. Deliberately not unique by order: the ledger sees to it that there is one."""

    order_id = models.BigIntegerField()
    amount = models.DecimalField(max_digits=8, decimal_places=2)

    def __str__(self) -> str:
        return f"invoice {self.pk}"
