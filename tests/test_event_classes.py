"""Event classes: their keywords, names, contexts, bases and annotations that are resolved late."""

import sys
from typing import Any, Literal

import pytest

from whereupon import Event, SchemaEvent, contract_of, payload_of
from whereupon.errors import InvalidContract, InvalidEvent
from whereupon.events import is_abstract, rebuild
from whereupon.routing import build_routes
from whereupon.subscriptions import subscribe


def declare(base=Event, title="Made", fields=(), module="shop.ci.events", **keywords):
    body = {"__annotations__": dict(fields), "__module__": module}
    return type(base)(title, (base,), body, **keywords)


# ---- the name on the wire


@pytest.mark.parametrize(
    ("title", "module", "name"),
    [
        ("PipelineCreated", "shop.ci.events", "ci.pipeline_created"),
        ("PipelineCreatedEvent", "shop.ci.events.pipeline", "ci.pipeline_created"),
        ("EventCreated", "shop.ci.events", "ci.event_created"),
        ("Event", "shop.ci.events", "ci.event"),
        ("Prevented", "shop.ci.models", "ci.prevented"),
    ],
)
def test_a_name_is_made_of_the_context_and_the_class_without_a_trailing_event(title, module, name):
    assert contract_of(declare(title=title, module=module)).name == name


def test_a_name_of_ones_own_goes_before_and_keeps_the_context_of_the_package():
    contract = contract_of(declare(name="billing.paid"))
    assert (contract.name, contract.context) == ("billing.paid", "ci")
    assert contract_of(declare(name="billing.paid", module="__main__")).context == "billing"


def test_the_context_is_that_of_the_package(package):
    module = package(
        {
            "ci/__init__.py": "",
            "ci/events/__init__.py": "",
            "ci/events/pipeline.py": "from whereupon import Event\nclass PipelineCreated(Event): ...",
        },
        "ci.events.pipeline",
    )
    contract = contract_of(module.PipelineCreated)
    assert (contract.context, contract.name) == ("ci", "ci.pipeline_created")


@pytest.mark.parametrize("module", ["__main__", "events", "shop.CI.events", "shop"])
def test_where_the_context_cannot_be_told_the_error_asks_for_a_name(module):
    with pytest.raises(InvalidContract) as caught:
        declare(title="PaidEvent", module=module)
    assert caught.value.problem == f"the context of PaidEvent cannot be told from the module {module}"
    assert caught.value.fix == 'write class PaidEvent(Event, name="context.paid")'
    assert caught.value.where == f"{module}.PaidEvent"
    assert "[WU101]" in str(caught.value)


def test_a_context_on_a_base_class_holds_for_all_below_and_can_be_replaced_there():
    base = declare(title="CiEvent", module="__main__", context="ci", abstract=True)
    below = declare(base, "PipelineCreated", module="elsewhere.orders.events")
    further = declare(below, "PipelineRetried", module="__main__")
    other = declare(base, "OrderPlaced", module="__main__", context="orders")
    assert [contract_of(each).name for each in (below, further, other)] == [
        "ci.pipeline_created",
        "ci.pipeline_retried",
        "orders.order_placed",
    ]


def test_a_name_is_not_inherited():
    base = declare(name="ci.made")
    assert contract_of(declare(base, "Retried")).name == "ci.retried"


@pytest.mark.parametrize("context", ["Ci", "c i", "ci.shop", "1", 3])
def test_a_context_is_one_lower_case_word(context):
    with pytest.raises(
        InvalidContract, match="cannot be a context: it takes lower-case letters, digits and _"
    ):
        declare(context=context)


@pytest.mark.parametrize(
    "name", ["made", "", "ci.Made", "ci.made ", "../made", "ci%00.made", "\u0441i.made", "ci." + "x" * 300, 3]
)
def test_a_name_that_cannot_travel_is_refused(name):
    """B30."""
    for keywords in ({"name": name}, {"name": "ci.made", "aliases": ["ci.old", name]}):
        with pytest.raises(InvalidContract) as caught:
            declare(**keywords)
        assert caught.value.problem == (
            f"{name!r} cannot be the name of an event: it takes two or more lower-case words joined by dots, "
            "at most 128 ASCII characters"
        )
        assert caught.value.fix == 'write name="context.something_happened" behind the base class'


def test_a_class_whose_words_make_no_name_asks_for_one():
    with pytest.raises(InvalidContract, match=r"'ci\._made' cannot be the name of an event"):
        declare(title="_Made")


def test_one_text_as_aliases_is_refused_with_the_list_it_should_be():
    with pytest.raises(InvalidContract, match="aliases of Made is one text, not a list") as caught:
        declare(aliases="ci.old")
    assert caught.value.fix == "write aliases=['ci.old']"


def test_an_old_name_still_finds_the_class(package):
    made = declare(aliases=["ci.created", "pipelines.created"])

    def handle(event): ...

    handle.__module__ = "shop.ci.subscribers"
    routes, faults = build_routes([subscribe(handle, to=made)])
    assert not faults
    assert routes.by_name == dict.fromkeys(("ci.made", "ci.created", "pipelines.created"), made)


# ---- class keywords


@pytest.mark.parametrize(
    ("keyword", "hint"),
    [("nmae", "; did you mean 'name'?"), ("alias", "; did you mean 'aliases'?"), ("frozen", "")],
)
@pytest.mark.parametrize("base", [Event, SchemaEvent])
def test_a_misspelt_class_keyword_is_an_error_with_the_nearest_one(base, keyword, hint):
    with pytest.raises(InvalidContract) as caught:
        declare(base, **{keyword: "x"})
    assert caught.value.problem == f"Made has the unknown class keyword {keyword}={hint}"
    assert caught.value.where == "shop.ci.events.Made"
    assert caught.value.fix == "the keywords are name, aliases, context, abstract, upcast, schema"


def test_a_schema_beside_annotations_is_refused():
    with pytest.raises(InvalidContract, match=r"Made has schema= and derives from Event") as caught:
        declare(schema={"type": "object"})
    assert caught.value.fix == "derive from SchemaEvent, or annotate the fields instead"


# ---- bases


class Timed(Event, context="ci", abstract=True):
    """Something that took its time."""

    seconds: float
    host: str = "localhost"

    def minutes(self) -> float:
        return self.seconds / 60


class Built(Timed):
    ref: str


def test_fields_and_methods_are_inherited_base_first():
    assert payload_of(Built(ref="main", seconds=90)) == {"seconds": 90.0, "host": "localhost", "ref": "main"}
    assert Built(ref="main", seconds=90).minutes() == 1.5
    assert list(contract_of(Built).schema["properties"]) == ["seconds", "host", "ref"]


def test_an_inherited_field_is_refused_like_an_own_one():
    with pytest.raises(InvalidEvent, match="seconds: is required"):
        Built(ref="main")


def test_a_field_can_get_another_type_or_default_below():
    class Local(Built):
        host: Literal["a", "b"] = "b"
        ref: str = "main"

    assert payload_of(Local(seconds=1)) == {"seconds": 1.0, "host": "b", "ref": "main"}
    assert payload_of(Built(seconds=1, ref="x"))["host"] == "localhost"


def test_a_default_without_an_annotation_is_refused_as_it_would_hide_the_field():
    with pytest.raises(InvalidContract, match=r"Made\.host hides a field of its base class") as caught:
        type(Event)("Made", (Built,), {"__module__": __name__, "host": "x"})
    assert caught.value.fix == "annotate it to give the field another default: host: ... = ..."


def test_a_method_that_hides_a_field_is_refused():
    with pytest.raises(InvalidContract, match=r"Made\.host hides a field of its base class"):

        class Made(Built):
            def host(self): ...


class Placed(Event, context="ci", abstract=True):
    place: str = "here"


def test_fields_of_several_bases_are_all_there():
    class Both(Timed, Placed):
        own: int

    made = Both(seconds=1, own=2, place="there")
    assert payload_of(made) == {"seconds": 1.0, "host": "localhost", "place": "there", "own": 2}
    assert rebuild(contract_of(Both), payload_of(made)) == made


def test_of_several_bases_the_first_that_declares_a_field_decides():
    class Base(Event, context="ci", abstract=True):
        x: int = 0

    class Left(Base, abstract=True):
        left: int = 1

    class Right(Base, abstract=True):
        x: int = 2

    class Both(Left, Right):
        pass

    assert payload_of(Both()) == {"x": 2, "left": 1}


def test_a_plain_class_may_lend_its_methods():
    class Greeting:
        def greet(self) -> str:
            return f"hello {self.ref}"

    class Made(Greeting, Built):
        pass

    assert Made(ref="main", seconds=1).greet() == "hello main"


@pytest.mark.parametrize("base", [Event, SchemaEvent, Timed, Placed])
def test_a_base_class_has_no_contract_and_makes_no_events(base):
    assert is_abstract(base)
    for attempt in (lambda: contract_of(base), base, lambda: base(seconds=1)):
        with pytest.raises(InvalidContract) as caught:
            attempt()
        assert caught.value.problem == f"{base.__name__} is a base class and has no contract of its own"
        assert caught.value.fix == "derive a class from it and publish that one"


def test_a_class_below_a_real_event_is_an_event_of_its_own():
    class Rebuilt(Built):
        pass

    assert contract_of(Rebuilt) is not contract_of(Built)
    assert not is_abstract(Rebuilt)
    assert Rebuilt(ref="a", seconds=1) != Built(ref="a", seconds=1)
    assert Rebuilt(ref="a", seconds=1) == Rebuilt(ref="a", seconds=1)


@pytest.mark.parametrize("thing", [int, Built(ref="a", seconds=1), None, "ci.built", Any])
def test_only_event_classes_have_a_contract(thing):
    with pytest.raises(InvalidContract, match="is not an event class"):
        contract_of(thing)


# ---- what the schema says


def test_docstring_and_descriptions_stand_in_the_schema_and_a_bases_docstring_does_not():
    assert "description" not in contract_of(Built).schema
    made = type(Event)(
        "Made", (Built,), {"__module__": __name__, "__doc__": "One line.\n\n    Another.\n    "}
    )
    assert contract_of(made).schema["description"] == "One line.\n\nAnother."
    assert contract_of(made).schema["title"] == "Made"


# ---- annotations that are resolved late

LATE = """
from __future__ import annotations
from typing import TYPE_CHECKING, Any
from msgspec import Struct
from whereupon import Event
if TYPE_CHECKING:
    from decimal import Decimal

class OrderPlaced(Event):
    lines: tuple[Line, ...]
    note: Any = None

class OrderPaid(Event):
    amount: Decimal

class Line(Struct, frozen=True):
    sku: str
"""


def test_an_annotation_may_name_a_class_that_is_written_further_down(package):
    events = package({"orders/__init__.py": "", "orders/events.py": LATE}, "orders.events")
    made = events.OrderPlaced(lines=[{"sku": "a"}])
    assert made.lines == (events.Line("a"),)
    assert contract_of(events.OrderPlaced).name == "orders.order_placed"
    assert events.OrderPlaced(lines=[]) != made
    with pytest.raises(InvalidEvent, match=r"lines\[0\].sku: is required"):
        events.OrderPlaced(lines=[{}])


def test_a_fault_in_a_late_annotation_is_told_when_it_is_resolved(package):
    source = LATE.replace("note: Any", "note: set")
    events = package({"orders/__init__.py": "", "orders/events.py": source}, "orders.events")
    with pytest.raises(InvalidContract, match="note: set is not a type that JSON can carry"):
        contract_of(events.OrderPlaced)


def test_an_annotation_that_is_not_there_at_run_time_names_the_setting_of_ruff(package):
    events = package({"orders/__init__.py": "", "orders/events.py": LATE}, "orders.events")
    for attempt in (lambda: contract_of(events.OrderPaid), lambda: events.OrderPaid(amount=1)):
        with pytest.raises(InvalidContract) as caught:
            attempt()
        assert caught.value.problem == (
            "an annotation of OrderPaid uses Decimal, which is not there at run time"
        )
        assert "import it outside `if TYPE_CHECKING:`" in caught.value.fix
        assert (
            "flake8-type-checking] runtime-evaluated-base-classes = ['whereupon.Event']" in caught.value.fix
        )
        assert caught.value.where.endswith("orders/events.py:13")


def test_a_name_of_a_module_that_is_still_being_imported_is_resolved_late(package):
    sources = {
        "orders/__init__.py": "",
        "orders/models.py": "import ROOT.orders.events\nclass Kind(__import__('enum').Enum):\n    A = 'a'",
        "orders/events.py": (
            "from __future__ import annotations\nimport ROOT.orders.models as models\n"
            "from whereupon import Event\nclass Placed(Event):\n    kind: models.Kind"
        ),
    }
    models = package(sources, "orders.models")
    events = sys.modules[models.__name__.replace("models", "events")]
    assert events.Placed(kind="a").kind is models.Kind.A
