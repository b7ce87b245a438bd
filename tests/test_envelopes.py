"""Envelopes: CloudEvents 1.0 on the way out and on the way in, ids, causes and ambient context."""

import dataclasses
import functools
import json
import operator
import time
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whereupon import Envelope, Event, contract_of
from whereupon.envelopes import ATTRIBUTES, InvalidEnvelope, handled, new_id, seal

text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
words = st.from_regex(r"[a-z0-9]{1,20}", fullmatch=True).filter(lambda name: name not in ATTRIBUTES)
payloads = st.dictionaries(
    text, st.none() | st.booleans() | st.integers(-9, 9) | text | st.lists(text), max_size=3
)
envelopes = st.builds(
    Envelope,
    id=text,
    type=text.filter(lambda name: ":" not in name),
    source=text,
    time=st.datetimes(timezones=st.just(UTC)),
    fingerprint=st.from_regex(r"[0-9a-f]{16}", fullmatch=True),
    correlation_id=text,
    causation_id=st.none() | text,
    subject=st.none() | text,
    extensions=st.dictionaries(words, text, max_size=3),
    data=payloads,
)


class PipelineCreated(Event, name="ci.pipeline_created"):
    pipeline_id: int
    ref: str | None = None


def document(**changes):
    made = json.loads(seal(PipelineCreated(pipeline_id=7), {}).to_json())
    return json.dumps({name: value for name, value in (made | changes).items() if value is not ...})


@given(envelopes)
def test_an_envelope_that_is_written_is_read_again(envelope):
    assert Envelope.from_json(envelope.to_json()) == envelope
    assert Envelope.from_json(envelope.to_json().decode()) == envelope


@given(st.text() | st.binary())
def test_any_other_text_is_refused_as_no_envelope(raw):
    with pytest.raises(InvalidEnvelope):
        Envelope.from_json(raw)


def test_a_sealed_event_is_a_cloud_event():
    event = PipelineCreated(pipeline_id=7, ref="main")
    before = datetime.now(UTC)
    envelope = seal(event, {"tenantid": "acme"}, "user-1")
    contract = contract_of(PipelineCreated)
    found = json.loads(envelope.to_json())
    assert found == {
        "specversion": "1.0",
        "id": envelope.id,
        "source": f"/{contract.context}",
        "type": "ci.pipeline_created",
        "time": found["time"],
        "datacontenttype": "application/json",
        "dataschema": f"urn:whereupon:contract:ci.pipeline_created:{contract.fingerprint}",
        "correlationid": envelope.id,
        "subject": "user-1",
        "tenantid": "acme",
        "data": {"pipeline_id": 7, "ref": "main"},
    }
    assert found["time"].endswith("Z")
    moment = datetime.fromisoformat(found["time"])
    assert before - timedelta(seconds=1) <= moment <= datetime.now(UTC) + timedelta(seconds=1)


def test_what_is_absent_is_left_out():
    found = json.loads(seal(PipelineCreated(pipeline_id=7), {}).to_json())
    assert not {"subject", "causationid"} & found.keys()


def test_changing_the_data_of_an_envelope_does_not_change_the_event():
    event = PipelineCreated(pipeline_id=7)
    seal(event, {}).data["pipeline_id"] = 8
    assert event == PipelineCreated(pipeline_id=7)


@pytest.mark.parametrize("name", sorted(ATTRIBUTES))
def test_an_extension_never_replaces_an_attribute(name):
    """Conformance 87."""
    envelope = dataclasses.replace(seal(PipelineCreated(pipeline_id=7), {}), subject="s", causation_id="c")
    shadowed = dataclasses.replace(envelope, extensions={name: "forged", "locale": "de"})
    assert json.loads(shadowed.to_json()) == json.loads(envelope.to_json()) | {"locale": "de"}


def test_an_event_that_is_published_while_another_is_handled_names_it_as_its_cause():
    first = seal(PipelineCreated(pipeline_id=1), {"tenantid": "acme", "locale": "de"}, "user-1")
    token = handled.set(first)
    try:
        second = seal(PipelineCreated(pipeline_id=2), {"locale": "fr"})
    finally:
        handled.reset(token)
    third = seal(PipelineCreated(pipeline_id=3), {})
    assert (second.causation_id, second.correlation_id) == (first.id, first.id)
    assert second.extensions == {"tenantid": "acme", "locale": "fr"}
    assert second.subject is None
    assert (third.causation_id, third.correlation_id, third.extensions) == (None, third.id, {})


def test_correlation_goes_on_over_several_causes():
    first = seal(PipelineCreated(pipeline_id=1), {})
    middle = dataclasses.replace(seal(PipelineCreated(pipeline_id=2), {}), correlation_id=first.id)
    token = handled.set(middle)
    try:
        last = seal(PipelineCreated(pipeline_id=3), {})
    finally:
        handled.reset(token)
    assert (last.causation_id, last.correlation_id) == (middle.id, first.id)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"specversion": "0.3"}, "it is not a CloudEvents 1.0 object"),
        ({"specversion": ...}, "it is not a CloudEvents 1.0 object"),
        ({"specversion": 1.0}, "it is not a CloudEvents 1.0 object"),
        *(
            ({name: value}, f"the attribute {name} is missing or not text")
            for name in ("id", "source", "type", "time")
            for value in (..., None, "", 3, ["x"], {})
        ),
        *(({"data": value}, "data is not a JSON object") for value in (..., None, "x", 3, [])),
        *(
            ({"time": value}, "the attribute time is not a date and time")
            for value in ("now", "2026-13-01", "12:00")
        ),
    ],
)
def test_an_envelope_without_a_needed_attribute_is_refused(changes, reason):
    """B18, B50, B54."""
    with pytest.raises(InvalidEnvelope) as caught:
        Envelope.from_json(document(**changes))
    assert str(caught.value) == reason


@pytest.mark.parametrize("raw", ["[]", "3", "null", '"text"', "{}", '[{"specversion":"1.0"}]'])
def test_json_that_is_no_envelope_is_refused(raw):
    with pytest.raises(InvalidEnvelope, match=r"it is not a CloudEvents 1\.0 object"):
        Envelope.from_json(raw)


def test_an_envelope_with_a_key_twice_or_a_nul_is_refused():
    """B52."""
    raw = document()
    with pytest.raises(InvalidEnvelope, match="a key stands twice in one object"):
        Envelope.from_json(raw[:-1] + ',"id":"other"}')
    with pytest.raises(InvalidEnvelope, match="must not contain the character NUL"):
        Envelope.from_json(document(id="\0"))


def test_what_others_left_out_or_added_is_borne_with():
    raw = document(
        correlationid=...,
        dataschema="https://example.org/x",
        datacontenttype=...,
        traceparent="00-1",
        sampledrate=3,
    )
    envelope = Envelope.from_json(raw)
    assert envelope.correlation_id == envelope.id
    assert envelope.fingerprint != contract_of(PipelineCreated).fingerprint
    assert envelope.extensions == {"traceparent": "00-1"}
    assert Envelope.from_json(document(dataschema=3)).fingerprint == ""
    assert Envelope.from_json(document(causationid="", subject=3)).subject is None


@pytest.mark.parametrize(
    ("written", "moment"),
    [
        ("2026-11-24T12:00:00Z", datetime(2026, 11, 24, 12, tzinfo=UTC)),
        ("2026-11-24T12:00:00.123456Z", datetime(2026, 11, 24, 12, 0, 0, 123456, UTC)),
        ("2026-11-24T12:00:00+02:00", datetime(2026, 11, 24, 12, tzinfo=timezone(timedelta(hours=2)))),
        ("2026-11-24T12:00:00", datetime(2026, 11, 24, 12, tzinfo=UTC)),
    ],
)
def test_a_time_without_a_zone_is_utc(written, moment):
    assert Envelope.from_json(document(time=written)).time == moment


def test_an_envelope_cannot_be_changed_and_its_repr_shows_no_payload():
    envelope = seal(PipelineCreated(pipeline_id=7, ref="canary"), {})
    with pytest.raises(dataclasses.FrozenInstanceError):
        envelope.id = "x"
    assert "canary" not in repr(envelope)


@given(st.integers(0, 2**47))
def test_an_id_is_a_uuid_of_version_seven_that_begins_with_the_time(milliseconds):
    identity = UUID(new_id(milliseconds * 1_000_000 + 999_999))
    assert identity.version == 7
    assert identity.variant == "specified in RFC 4122"
    assert identity.int >> 80 == milliseconds


def test_all_bits_of_an_id_but_time_version_and_variant_are_random():
    ids = [UUID(new_id(1_000_000)).int for _ in range(300)]
    varies = functools.reduce(operator.or_, (each ^ ids[0] for each in ids))
    assert varies == (1 << 80) - 1 - (0xF << 76) - (0b11 << 62)


def test_ids_of_one_moment_differ_and_later_ones_sort_behind():
    now = time.time_ns()
    ids = [new_id(now) for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert max(ids) < new_id(now + 2_000_000)
