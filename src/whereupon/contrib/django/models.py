"""The tables of the ledger as models that Django only reads, for the admin and for queries."""

from __future__ import annotations

from django.db import models


class Event(models.Model):
    """One published event. Its envelope, which holds the payload, is left out."""

    id = models.TextField(primary_key=True)
    name = models.TextField()
    published_at = models.BigIntegerField()
    correlation_id = models.TextField()
    causation_id = models.TextField(null=True)
    subject = models.TextField(null=True)

    class Meta:
        """Not Django's to create: `whereupon.ledger.schema` does."""

        managed = False
        db_table = "whereupon_event"

    def __str__(self) -> str:
        return f"{self.name} {self.id}"


class Delivery(models.Model):
    """One event for one subscription, and what became of it. Times are milliseconds since 1970."""

    event = models.ForeignKey(Event, models.DO_NOTHING, related_name="deliveries", db_constraint=False)
    subscription = models.TextField()
    state = models.TextField(
        choices=[(each, each) for each in ("open", "claimed", "done", "parked")], default="open"
    )
    due_at = models.BigIntegerField()
    attempts = models.IntegerField(default=0)
    crashes = models.IntegerField(default=0)
    replays = models.IntegerField(default=0)
    outcome = models.TextField(null=True)
    error = models.TextField(null=True)
    history = models.TextField(null=True)
    done_at = models.BigIntegerField(null=True)

    class Meta:
        """Not Django's to create: `whereupon.ledger.schema` does."""

        managed = False
        db_table = "whereupon_delivery"
        verbose_name_plural = "deliveries"

    def __str__(self) -> str:
        return f"{self.subscription} {self.event_id}"
