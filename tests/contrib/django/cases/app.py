"""The app: checks, the command, the admin; run by test_cases.py."""

import io
from contextlib import redirect_stdout
from dataclasses import replace

import pytest
from django.apps import apps
from django.contrib.auth.models import Permission, User
from django.core.management import call_command
from django.test import override_settings
from tests.contrib.django.shop.event_store import store
from tests.contrib.django.shop.orders.services import place

from whereupon.contrib.django import DjangoLedger
from whereupon.contrib.django.checks import check
from whereupon.contrib.django.configuration import Loaded, configuration, load
from whereupon.contrib.django.models import Delivery, Event
from whereupon.errors import InvalidConfiguration
from whereupon.store import installed

APP = apps.get_app_config("whereupon")


@pytest.fixture
def loaded(monkeypatch):
    """Return a function that says what the app has loaded."""

    def load_instead(**values):
        monkeypatch.setattr(APP, "loaded", replace(APP.loaded, **values))
        return [(each.id, each.msg, each.hint) for each in check()]

    return load_instead


def test_the_store_of_the_settings_is_installed():
    assert installed() is store
    assert check() == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"STOER": "x"}, "did you mean 'STORE'?"),
        ({"STORE": "event_store"}, "does not name a store"),
        ({"STORE": 7}, "takes the name of the store"),
        ({"DEV_WORKER": "yes"}, "takes True or False"),
        ("shop", "is not a mapping"),
    ],
)
def test_a_wrong_setting_is_an_error(given, said):
    with override_settings(WHEREUPON=given), pytest.raises(InvalidConfiguration) as wrong:
        configuration()
    assert said in str(wrong.value)


@pytest.mark.parametrize("name", ["shop.store.it", "shop.store:it"])
def test_a_store_is_named_either_way(name):
    with override_settings(WHEREUPON={"STORE": name}):
        assert configuration().store == "shop.store:it"


def test_faults_become_checks(loaded):
    with override_settings(WHEREUPON={"STORE": "tests.contrib.django.shop.broken.store"}):
        found = load()
    messages = loaded(store=None, faults=found.faults)
    assert [each[0] for each in messages] == ["whereupon.E001", "whereupon.E002"]
    assert "twice" in messages[0][1] or "twice" in messages[1][1]
    for name, said in (("tests.nowhere.store", "cannot be imported"), ("os.path", "not an EventStore")):
        with override_settings(WHEREUPON={"STORE": name}):
            (message,) = loaded(store=None, faults=load().faults)
        assert said in message[1]


def test_what_a_store_cannot_do_with_this_project_is_a_check(loaded, settings):
    from whereupon import SQLiteLedger

    (message,) = loaded(store=replace(store, ledger=DjangoLedger(using="nowhere")))
    assert message[:2] == ("whereupon.E001", "DATABASES has no alias 'nowhere' [WU601]")
    (message,) = loaded(store=replace(store, ledger=SQLiteLedger("x.sqlite3")))
    assert message[0] == "whereupon.W002"
    (message,) = loaded(store=None, configuration=Loaded().configuration)
    assert message[0] == "whereupon.W001"


def test_a_ledger_needs_no_settings_and_its_schema_reaches_the_admin(monkeypatch):
    assert DjangoLedger("somewhere", schema="events") == DjangoLedger(using="somewhere", schema="events")
    for model in (Event, Delivery):
        monkeypatch.setattr(model._meta, "db_table", model._meta.db_table)
    APP._name_tables(Loaded(store=replace(store, ledger=DjangoLedger(schema="events"))))
    assert 'FROM "events"."whereupon_event"' in str(Event.objects.all().query)


@pytest.mark.django_db
def test_nothing_is_left_to_migrate():
    call_command("makemigrations", "--check", "--dry-run", verbosity=0)


@pytest.mark.django_db
def test_the_command_reads_the_store_of_the_settings():
    place(1)
    output = io.StringIO()
    with redirect_stdout(output):
        call_command("whereupon", "status")
    assert "billing.create_invoice:orders.order_placed  1" in output.getvalue()
    with pytest.raises(SystemExit) as ended:
        call_command("whereupon", "show", "nobody")
    assert ended.value.code == 1


@pytest.fixture
def parked(db):
    """Park two deliveries."""
    for number in (1, 2):
        place(number)
    with store.ledger.transaction() as transaction:
        transaction.run("UPDATE whereupon_delivery SET state = 'parked', error = '<b>no</b>'")
    return list(Delivery.objects.order_by("id"))


def test_the_admin_shows_events_and_deliveries_and_no_payload(admin_client, parked):
    event = parked[0].event_id
    for address in ("event/", f"event/?q={event}", f"event/{event}/change/"):
        page = admin_client.get(f"/admin/whereupon/{address}").content.decode()
        assert "orders.order_placed" in page
        assert "number" not in page
    page = admin_client.get(f"/admin/whereupon/delivery/?state=parked&q={event}").content.decode()
    assert "1 result" in page
    page = admin_client.get(f"/admin/whereupon/delivery/{parked[0].id}/change/").content.decode()
    assert "&lt;b&gt;no&lt;/b&gt;" in page
    assert 'name="_save"' not in page


@pytest.mark.parametrize(
    "address", ["event/add/", "delivery/add/", "delivery/{}/delete/", "event/{}/delete/"]
)
def test_the_admin_changes_nothing_by_hand(admin_client, parked, address):
    key = parked[0].event_id if address.startswith("event") else parked[0].id
    assert admin_client.get(f"/admin/whereupon/{address.format(key)}").status_code == 403


@pytest.mark.parametrize(("action", "state"), [("retry_parked", "open"), ("discard_parked", "done")])
def test_what_is_parked_is_retried_or_discarded(admin_client, parked, action, state):
    chosen = {"action": action, "_selected_action": [parked[0].id]}
    page = admin_client.post("/admin/whereupon/delivery/", chosen, follow=True).content.decode()
    assert "1 of 1 deliveries were parked" in page
    assert [each.state for each in Delivery.objects.order_by("id")] == [state, "parked"]


def test_the_actions_take_the_permission_to_change(client, parked):
    viewer = User.objects.create_user("viewer", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_delivery"))
    client.force_login(viewer)
    chosen = {"action": "retry_parked", "_selected_action": [parked[0].id]}
    assert "retry_parked" not in client.get("/admin/whereupon/delivery/").content.decode()
    client.post("/admin/whereupon/delivery/", chosen, follow=True)
    assert Delivery.objects.filter(state="open").count() == 0
