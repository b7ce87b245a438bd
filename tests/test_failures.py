"""Exceptions as text that may be kept: without payload values, control characters and novels."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whereupon.failures import TEXT_LIMIT, describe_failure, printable, redact


def raised(error):
    try:
        raise error
    except BaseException as caught:
        return caught


def test_a_failure_says_what_was_raised_where_and_why():
    error = raised(ValueError("the shop is closed"))
    line = error.__traceback__.tb_lineno
    text = describe_failure(error)
    assert text.startswith("ValueError at ")
    assert text.endswith(f"test_failures.py:{line} in raised: the shop is closed")


def test_the_place_is_where_it_was_raised_and_not_where_it_was_caught():
    def deep():
        raise KeyError("a")

    with pytest.raises(KeyError) as caught:
        deep()
    assert " in deep: 'a'" in describe_failure(caught.value)


def test_an_exception_without_a_message_or_a_traceback_is_its_name():
    assert describe_failure(ValueError()) == "ValueError"
    assert describe_failure(ValueError("a")) == "ValueError: a"


def test_a_message_that_cannot_be_made_does_not_hide_the_failure():
    """B64."""

    class Broken(Exception):
        def __str__(self):
            raise RuntimeError

    assert describe_failure(Broken()) == "Broken: (its message cannot be shown)"


PAYLOAD = {
    "iban": "DE89370400440532013000",
    "lines": [{"sku": "blue-whale"}, ("tuple-text",)],
    "amount": 12345,
    "rate": 1.25,
    "flag": True,
    "nothing": None,
    "short": "ab",
    "quoted": "it's\nhers\\",
}


@pytest.mark.parametrize(
    ("message", "kept"),
    [
        ("no account DE89370400440532013000", "no account ***"),
        ("DE89370400440532013000DE89370400440532013000", "******"),
        ("no blue-whale for 12345 at 1.25", "no *** for *** at ***"),
        ("tuple-text", "***"),
        ("ab True None", "ab True None"),
        ("it's\nhers\\", "***"),
        (repr("it's\nhers\\"), '"***"'),
        ("nothing of it", "nothing of it"),
    ],
)
def test_values_of_the_payload_are_replaced_and_those_under_three_characters_stay(message, kept):
    assert redact(message, PAYLOAD) == kept
    assert describe_failure(ValueError(message), PAYLOAD) == f"ValueError: {kept}"


def test_a_value_of_three_characters_is_replaced():
    assert redact("abc abd", {"a": "abc"}) == "*** abd"


def test_the_longest_value_is_replaced_first():
    assert redact("blue-whale blue", {"a": "blue", "b": "blue-whale"}) == "*** ***"


@given(st.text(st.characters(categories=["L", "P", "Zs", "Cc"]), min_size=5), st.text(max_size=20))
def test_a_value_does_not_stay_in_a_message_as_it_is_or_as_python_shows_it(canary, around):
    for message in (around + canary + around, repr(canary), f"{canary!r}{canary}", str(KeyError(canary))):
        text = redact(message, {"deep": [{"er": canary}]})
        assert canary not in text.replace("***", "")
        assert repr(canary)[1:-1] not in text.replace("***", "")


@pytest.mark.parametrize("before", [0, 10, 4_000, 16_300, 16_383, 16_384, 20_000])
@pytest.mark.parametrize("length", [5, 1_000, 20_000, 200_000])
def test_a_value_that_the_cut_goes_through_does_not_stay_in_part(before, length):
    """B64: a long text in a longer message, wherever it begins."""
    canary = ("S3CRET" * length)[:length]
    message = "x" * before + canary + "x" * 20_000 + canary
    text = describe_failure(ValueError(message), {"body": canary})
    assert "S3C" not in text
    assert len(text) <= TEXT_LIMIT


def test_a_novel_is_cut():
    """B64."""
    text = describe_failure(ValueError("x" * 10_000_000))
    assert len(text) == TEXT_LIMIT
    assert text.startswith("ValueError: xxx")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("a\rb", "a\\x0db"),
        ("a\x07b\x7f\x9b", "a\\x07b\\x7f\\x9b"),
        ("a\0b", "a\\x00b"),
        ("\ud800", "\\xd800"),
        ("\u202eabc\u2066", "\\x202eabc\\x2066"),
        ("\u2028\u2029", "\\x2028\\x2029"),
        ("a\tb\nc", "a b\nc"),
        ("ünï ☃ 🐋", "ünï ☃ 🐋"),
    ],
)
def test_what_a_terminal_would_act_upon_is_escaped(text, shown):
    """B45, B64."""
    assert printable(text) == shown
    assert describe_failure(ValueError(text)) == f"ValueError: {shown}"


@given(st.text())
def test_a_described_failure_can_always_be_stored_and_shown(message):
    text = describe_failure(ValueError(message))
    assert text.encode()
    assert "\0" not in text
    assert "\x1b" not in text
