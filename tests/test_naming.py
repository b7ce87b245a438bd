"""Contexts, wire names, locations and suggestions."""

import functools
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whereupon.naming import (
    NAME_LIMIT,
    context_of,
    is_context,
    is_wire_name,
    location_of,
    shorten,
    shown,
    snake_case,
    suggestion,
)


@pytest.mark.parametrize(
    ("module", "context"),
    [
        ("shop.ci.events", "ci"),
        ("shop.ci.events.pipeline", "ci"),
        ("shop.ci.events.deep.er", "ci"),
        ("shop.merge_requests.subscribers", "merge_requests"),
        ("shop.merge_requests.subscriptions", "merge_requests"),
        ("shop.billing.tasks", "billing"),
        ("ci.events", "ci"),
        ("shop.events.ci.tasks", "shop"),
        ("shop.ci.domain_events", "ci"),
        ("shop.ci.models", "ci"),
        ("shop.v2.events", "v2"),
        ("events", None),
        ("tasks.ci.events", None),
        ("__main__", None),
        ("shop", None),
        ("shop.CI.events", None),
        ("shop._private.events", None),
        ("shop.2fa.events", None),
        ("shop.çi.events", None),
    ],
)
def test_context_is_the_package_before_the_first_marker_or_the_containing_one(module, context):
    assert context_of(module) == context


def test_a_package_that_declares_events_in_its_init_is_its_own_context(package):
    ci = package({"ci/__init__.py": ""}, "ci")
    assert context_of(ci.__name__) == "ci"


def test_a_module_on_the_top_level_has_no_context(tmp_path, monkeypatch):
    (tmp_path / "lonely_module_of_a_test.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    import lonely_module_of_a_test  # noqa: F401

    try:
        assert context_of("lonely_module_of_a_test") is None
    finally:
        del sys.modules["lonely_module_of_a_test"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("PipelineCreated", "pipeline_created"),
        ("HTTPServerStarted", "http_server_started"),
        ("ServerHTTPStarted", "server_http_started"),
        ("UserIDChanged", "user_id_changed"),
        ("OAuth2TokenIssued", "o_auth2_token_issued"),
        ("SHA256Computed", "sha256_computed"),
        ("V2Released", "v2_released"),
        ("Pipeline_Created", "pipeline_created"),
        ("created", "created"),
        ("A", "a"),
        ("ABC", "abc"),
    ],
)
def test_snake_case_cuts_a_class_name_into_words(name, words):
    assert snake_case(name) == words


@given(st.lists(st.from_regex(r"[A-Z][a-z]+", fullmatch=True), min_size=1, max_size=6))
def test_snake_case_joins_capitalised_words_by_underscores(words):
    assert snake_case("".join(words)) == "_".join(words).lower()


@given(st.from_regex(r"[A-Z][A-Za-z0-9]*", fullmatch=True))
def test_snake_case_of_any_ascii_class_name_is_a_context_and_stays_as_it_is(name):
    words = snake_case(name)
    assert words.replace("_", "") == name.lower()
    assert is_context(words)
    assert snake_case(words) == words


@pytest.mark.parametrize("text", ["ci", "a", "merge_requests", "v2", "a" * NAME_LIMIT])
def test_a_context_is_one_lower_case_word(text):
    assert is_context(text)


@pytest.mark.parametrize(
    "text",
    ["", "Ci", "1a", "_a", "a.b", "a-b", "a b", "a\n", "\u0441i", "é", "a" * (NAME_LIMIT + 1), None, 3],
)
def test_a_context_is_nothing_else(text):
    assert not is_context(text)


@pytest.mark.parametrize("text", ["ci.pipeline_created", "a.b", "shop.ci.created", "a.b2", "a." + "b" * 126])
def test_a_wire_name_is_two_or_more_lower_case_words_joined_by_dots(text):
    assert is_wire_name(text)


@pytest.mark.parametrize(
    "text",
    [
        "created",
        "",
        ".",
        "ci.",
        ".created",
        "ci..created",
        "ci.Created",
        "CI.created",
        "ci.1st",
        "ci._x",
        "ci created.x",
        "ci.created ",
        "ci.created\n",
        "../etc",
        "ci\\created",
        "ci%00.created",
        "ci.\0created",
        "\u0441i.created",
        "a." + "b" * 127,
        "a." + "b" * 300,
        None,
        7,
        b"a.b",
        ("a", "b"),
    ],
)
def test_a_wire_name_is_nothing_else(text):
    """B30: paths, escapes, look-alikes, twins that differ in case, and 300 characters."""
    assert not is_wire_name(text)


@given(st.text())
def test_every_wire_name_is_ascii_without_upper_case(text):
    if is_wire_name(text):
        assert text.isascii()
        assert text == text.lower()
        assert len(text) <= NAME_LIMIT


class Written:
    def __call__(self): ...


def written(): ...


@pytest.mark.parametrize(("thing", "line"), [(Written, "class Written:"), (written, "def written(): ...")])
def test_the_location_of_a_class_or_function_is_its_line(thing, line):
    path, _, number = location_of(thing).rpartition(":")
    lines = Path(__file__).read_text().splitlines()
    assert path.endswith("test_naming.py")
    assert lines[int(number) - 1] == line


def test_the_location_without_a_source_file_is_the_dotted_name():
    namespace = {"__name__": "shop.ci.events"}
    exec("class Made: ...\ndef made(): ...", namespace)
    assert location_of(namespace["Made"]) == "shop.ci.events.Made"
    assert location_of(namespace["made"]) == "shop.ci.events.made"


def test_the_location_of_something_callable_is_that_of_its_class():
    assert location_of(Written()) == f"{__name__}.Written"
    assert location_of(functools.partial(written)) == "functools.partial"
    assert location_of(len) == "builtins.len"


def test_a_path_below_the_current_directory_is_shown_without_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert shorten(str(tmp_path / "shop" / "events.py")) == "shop/events.py"
    assert shorten("/elsewhere/events.py") == "/elsewhere/events.py"


def test_a_suggestion_is_the_nearest_known_word_or_nothing():
    assert suggestion("requird", ["required", "title"]) == "; did you mean 'required'?"
    assert suggestion("zzz", ["required", "title"]) == ""
    assert suggestion("x", []) == ""


@pytest.mark.parametrize(
    ("thing", "name"),
    [
        (None, "None"),
        ("text", "'text'"),
        (3, "3"),
        (Written, "Written"),
        (written, "written"),
        (Written(), "an instance of Written"),
        (["secret"], "an instance of list"),
        (functools.partial(written, "secret"), "an instance of partial"),
    ],
)
def test_a_wrong_thing_is_named_without_what_it_holds(thing, name):
    assert shown(thing) == name
