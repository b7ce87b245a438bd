"""Points."""

from django.db import models


class Points(models.Model):
    """What a customer has earned with one order."""

    order_id = models.BigIntegerField(unique=True)
    customer = models.CharField(max_length=100)
    amount = models.PositiveIntegerField()

    def __str__(self) -> str:
        return f"{self.amount} points"
