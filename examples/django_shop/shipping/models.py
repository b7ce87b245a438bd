"""Parcels."""

from django.db import models


class Parcel(models.Model):
    """What is sent for an order."""

    order_id = models.BigIntegerField(unique=True)

    def __str__(self) -> str:
        return f"parcel {self.pk}"
