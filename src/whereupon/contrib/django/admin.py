"""The admin of the ledger: what was published, what became of it, and what is set aside. Read-only.

Payloads are not shown.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.db import transaction
from django.utils.html import format_html_join

from whereupon.contrib.django.apps import loaded_store
from whereupon.contrib.django.databases import connection_of
from whereupon.contrib.django.models import Delivery, Event
from whereupon.contrib.django.transactions import DjangoTransaction
from whereupon.ledger import operators

if TYPE_CHECKING:
    from collections.abc import Callable


def _time(milliseconds: int | None) -> datetime | None:
    return None if milliseconds is None else datetime.fromtimestamp(milliseconds / 1000, UTC)


class _ReadOnly(admin.ModelAdmin):
    """Shows what is in the ledger's alias, and lets nothing be written."""

    show_full_result_count = False

    def get_queryset(self, request: Any) -> Any:
        """Read from the alias of the ledger."""
        ledger = loaded_store().ledger
        rows = super().get_queryset(request)
        return rows.using(ledger.using) if ledger is not None else rows.none()

    def has_add_permission(self, request: Any, obj: Any = None) -> bool:  # noqa: ARG002
        """Refuse: events are made by publish."""
        return False

    def has_delete_permission(self, request: Any, obj: Any = None) -> bool:  # noqa: ARG002
        """Refuse: rows leave by retention, or by `whereupon ledger purge`."""
        return False

    def get_readonly_fields(self, request: Any, obj: Any = None) -> Any:  # noqa: ARG002
        """Show every field as text."""
        return self.fields


class _Deliveries(admin.TabularInline):
    """The deliveries of one event."""

    model = Delivery
    extra = 0
    can_delete = False
    show_change_link = True
    fields = readonly_fields = ("subscription", "state", "attempts", "crashes", "outcome", "error")

    def has_add_permission(self, request: Any, obj: Any = None) -> bool:  # noqa: ARG002
        return False

    def has_change_permission(self, request: Any, obj: Any = None) -> bool:  # noqa: ARG002
        return False


@admin.register(Event)
class EventAdmin(_ReadOnly):
    """What was published: name, time, cause, and its deliveries."""

    list_display = ("id", "name", "published", "subject")
    search_fields = ("=id", "=correlation_id", "=name")
    ordering = ("-id",)
    fields = ("id", "name", "published", "correlation_id", "causation_id", "subject")
    inlines = (_Deliveries,)

    @admin.display(ordering="published_at")
    def published(self, event: Event) -> datetime | None:
        """When it was published."""
        return _time(event.published_at)

    def has_change_permission(self, request: Any, obj: Any = None) -> bool:  # noqa: ARG002
        """Refuse: a fact does not change."""
        return False


@admin.register(Delivery)
class DeliveryAdmin(_ReadOnly):
    """What became of each event for each subscription; what is parked can be retried or discarded."""

    list_display = ("id", "subscription", "state", "event_id", "due", "attempts", "crashes", "outcome")
    list_filter = ("state", "subscription")
    search_fields = ("=event__id",)
    ordering = ("-id",)
    actions = ("retry_parked", "discard_parked")
    fields = (
        *("subscription", "state", "event", "due", "attempts", "crashes", "replays", "outcome", "done"),
        *("error", "failures"),
    )

    def has_change_permission(self, request: Any, obj: Any = None) -> bool:
        """Refuse to change one by hand; who may change deliveries may use the actions of the list."""
        return obj is None and bool(super().has_change_permission(request, obj))

    @admin.display(ordering="due_at")
    def due(self, delivery: Delivery) -> datetime | None:
        """When it is or was to be delivered."""
        return _time(delivery.due_at)

    @admin.display(ordering="done_at")
    def done(self, delivery: Delivery) -> datetime | None:
        """When it was done."""
        return _time(delivery.done_at)

    @admin.display(description="history")
    def failures(self, delivery: Delivery) -> str:
        """List the failures that are kept, oldest first."""
        entries = json.loads(delivery.history or "[]")
        rows = ((_time(each["at"]), each["attempt"] or "process died", each["error"]) for each in entries)
        return format_html_join("", "<p>{} ({}): {}</p>", rows)

    @admin.action(description="Retry parked deliveries", permissions=["change"])
    def retry_parked(self, request: Any, queryset: Any) -> None:
        """Open what is parked again, with all its attempts."""
        self._operate(request, queryset, operators.retry_parked, "opened again")

    @admin.action(description="Discard parked deliveries", permissions=["change"])
    def discard_parked(self, request: Any, queryset: Any) -> None:
        """Close what is parked for good."""
        self._operate(request, queryset, operators.discard_parked, "discarded")

    def _operate(
        self, request: Any, queryset: Any, operate: Callable[[Any, list[int]], int], word: str
    ) -> None:
        ledger = loaded_store().ledger
        if ledger is None:
            return
        ids = list(queryset.values_list("id", flat=True))
        with transaction.atomic(using=ledger.using):
            changed = operate(DjangoTransaction(connection_of(ledger.using), ledger.dialect), ids)
        level = messages.SUCCESS if changed == len(ids) else messages.WARNING
        self.message_user(request, f"{changed} of {len(ids)} deliveries were parked and are {word}.", level)
