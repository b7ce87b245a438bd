"""The strict JSON of the wire: the same on the way out and on the way in."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import scalars, strict_json, text
from whereupon.codec import TEXT_LIMIT, NotStrict, decode, encode


def same(one, other):
    """Compare as JSON: true is not 1, and 1 is not 1.0."""
    return json.dumps(one) == json.dumps(other)


@given(strict_json)
def test_what_is_written_is_read_again(document):
    assert same(decode(encode(document)), document)
    assert same(decode(encode(document).decode()), document)


@given(
    strict_json, st.sampled_from([None, 0, 2]), st.booleans(), st.sampled_from([(",", ":"), (" , ", " : ")])
)
def test_json_that_others_have_written_is_read_whatever_its_spacing_and_escapes(
    document, indent, escaped, separators
):
    written = json.dumps(document, indent=indent, ensure_ascii=escaped, separators=separators)
    assert same(decode(written), document)
    assert same(decode(written.encode()), document)


@given(st.binary() | st.text())
def test_whatever_is_read_can_be_written_and_read_again_and_the_rest_is_refused(raw):
    try:
        document = decode(raw)
    except NotStrict:
        return
    assert same(decode(encode(document)), document)


@given(st.text(alphabet='{}[]",:0123456789.eE+-\\u abntrufls\0\ud800'))
def test_what_is_read_is_what_the_standard_library_reads(raw):
    try:
        document = decode(raw)
    except NotStrict:
        return
    assert same(document, json.loads(raw))


@pytest.mark.parametrize(
    "raw",
    [
        "NaN",
        '{"a":NaN}',
        "[Infinity]",
        "[-Infinity]",
        "1e999",
        '{"a":-1e999}',
        "[1e400]",
        "",
        " ",
        "nul",
        "{",
        '{"a":1',
        "{}{}",
        "{} x",
        "[1,]",
        '{"a":1,}',
        "01",
        "+1",
        ".5",
        "1.",
        "{1:2}",
        "{'a':1}",
        "{a:1}",
        "// {}",
        '"a\nb"',
        '"a\0b"',
        '"\\x41"',
        '"\\ud800"',
        '"\\udfff x"',
        '{"\\ud800":1}',
        '"\ud800"',
        b"\xff",
        b'"\xff"',
        b'"\xc0\x80"',
        b"\xef\xbb\xbf{}",
        "{}".encode("utf-16"),
        "{}".encode("utf-32"),
        b"\x1f\x8b\x08",
        b"\x80\x04}.",
        "1" * 5000,
        "[" * 100_000,
        '{"a":' * 100_000,
    ],
)
def test_what_is_no_json_is_refused(raw):
    """B01, B02, B04, B50, B51, B53."""
    with pytest.raises(NotStrict, match=r"^it is not JSON: "):
        decode(raw)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ('"\\u0000"', "payload: must not contain the character NUL"),
        ('{"a":["b\\u0000"]}', "a[0]: must not contain the character NUL"),
        ('{"\\u0000":1}', "payload: has a key that must not contain the character NUL"),
        ("18446744073709551616", "an integer has more than 64 bits"),
        ("[-9223372036854775809]", "an integer has more than 64 bits"),
        ("[ -9223372036854775809 ]", "[0]: must be an integer of at most 64 bits"),
        ('{"a":1,"a":2}', "a key stands twice in one object"),
        ('{"a":1,"a":1}', "a key stands twice in one object"),
        ('{"a":1,"\\u0061":2}', "a key stands twice in one object"),
        ('[{"b":{"a":1,"c":2,"a":3}}]', "a key stands twice in one object"),
        ('{"a":1,"a":1e6}', "a key stands twice in one object"),
        ('{"a":1,"a":1E15}', "a key stands twice in one object"),
    ],
)
def test_what_is_json_and_not_strict_is_refused_with_the_reason(raw, reason):
    """B03, B04, B06, B52."""
    with pytest.raises(NotStrict) as caught:
        decode(raw)
    assert str(caught.value) == reason


@given(st.dictionaries(text, scalars, min_size=1, max_size=3), st.data())
def test_a_key_that_stands_twice_is_refused_however_long_the_values_are(document, data):
    """What is read is shorter by the lost pair, and may be longer by numbers that are written out."""
    twice = data.draw(st.sampled_from(list(document)))
    value = data.draw(scalars.map(json.dumps) | st.integers(0, 15).map("1e{}".format))
    raw = json.dumps(document, separators=(",", ":"), ensure_ascii=data.draw(st.booleans()))
    pair = f"{json.dumps(twice)}:{value}"
    for raw_twice in (f"{raw[:-1]},{pair}}}", f"{{{pair},{raw[1:]}", f"[{raw[:-1]},{pair}}}]"):
        with pytest.raises(NotStrict, match="a key stands twice in one object"):
            decode(raw_twice)


def test_a_backslash_before_u0000_is_text_and_no_nul():
    assert decode(r'"\\u0000"') == r"\u0000"


@pytest.mark.parametrize("raw", ["18446744073709551615", "-9223372036854775808", "[1e-400]", "-0.0", "1E2"])
def test_numbers_at_the_edge_are_read(raw):
    assert decode(raw) == json.loads(raw)


def nested(levels):
    return "[" * levels + "0" + "]" * levels


def test_a_payload_of_sixty_four_levels_fits_into_an_envelope_and_one_more_is_refused():
    """B53: sixty-four levels, the innermost value among them, and the envelope around."""
    assert decode(nested(65)) == json.loads(nested(65))
    with pytest.raises(NotStrict, match="is nested more than 64 levels deep"):
        decode(nested(66))
    assert decode("[" + ",".join(["[]"] * 1000) + "]") == [[]] * 1000


def test_a_text_beyond_the_limit_is_refused_before_it_is_read():
    """B53: with its size; what it says does not matter."""
    with pytest.raises(NotStrict, match="it is 2,097,153 bytes, the limit is 2,097,152"):
        decode("{" * (TEXT_LIMIT + 1))
    assert decode('"' + "x" * (TEXT_LIMIT - 2) + '"')


@given(st.text(st.characters(categories=["Lu"]), min_size=5))
def test_no_value_stands_in_the_reason(canary):
    for raw in (
        f'{{"a":"{canary}\\u0000"}}',
        f'{{"a":"{canary}"',
        f'["{canary}",NaN]',
        f'{{"a":1,"a":"{canary}"}}',
        f'["{canary}",{2**64}]',
    ):
        with pytest.raises(NotStrict) as caught:
            decode(raw)
        assert canary not in str(caught.value)
