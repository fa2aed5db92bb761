"""The job on the wire: what its one parser takes, what it refuses, and with which words."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailerd.errors import JobRejected, NotJson
from mailerd.job import EmailJob, is_name, job_from, mask, parse_job, parse_json

GOOD: dict[str, Any] = {"client_id": "c1", "contact_ids": ["a", "b"], "template_id": "t1", "batch_id": "b1"}


def pushed(**fields: Any) -> bytes:
    """The bytes of a good job with some fields replaced."""
    return json.dumps(GOOD | fields).encode()


def problems(raw: bytes) -> dict[str, str]:
    """The problems that the parser finds in something that is strict JSON."""
    with pytest.raises(JobRejected) as caught:
        parse_job(raw)
    assert not isinstance(caught.value, NotJson)
    return {problem.field: problem.message for problem in caught.value.problems}


def test_the_original_job_is_read() -> None:
    """The four fields of the original give the job, and extra fields are ignored."""
    job = parse_job(pushed(priority=7))

    assert job == EmailJob("c1", ("a", "b"), "t1", "b1")


def test_white_space_around_a_job_says_nothing() -> None:
    """Before and after the object, as RFC 8259 allows; anything else there is none of ours."""
    raw = pushed()

    assert parse_job(b" \r\n\t" + raw + b"\n ") == parse_job(raw + b"\n") == parse_job(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" ",
        b"{",
        b'{"client_id": "c1",}',
        b"{'client_id': 'c1'}",
        b'{"a": 1} {"b": 2}',
        b"\xff\xfe{}",
        b'{"client_id": "\xc3\x28"}',
        b'{"client_id": "\xed\xa0\x80"}',
        b"\xef\xbb\xbf{}",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": -Infinity}',
        b'{"a": 1e999}',
        b'{"a": -1e999}',
        b'{"a": 1, "a": 1}',
        b'{"variables": {"x": {"y": 1, "y": 2}}}',
        b'{"a": "line\nbreak"}',
        rb'{"a": "\ud800"}',
        rb'{"a": "\ude00\ud83d"}',
        rb'{"\udfff": 1}',
        rb'[["\uDBFF"]]',
        b"[" * 100_000,
        b"[" * 5_000 + b"]" * 5_000,
        b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
        b"9" * 5_000,
        b"\x00",
    ],
    ids=lambda raw: repr(raw[:24]),
)
def test_what_is_not_strict_json_is_refused_as_such(raw: bytes) -> None:
    """Everything that is not strict JSON raises NotJson with one short sentence and nothing else."""
    with pytest.raises(NotJson) as caught:
        parse_json(raw)

    assert caught.value.reason.startswith("not ")
    assert "\n" not in caught.value.reason
    assert len(caught.value.reason) < 300


def test_a_key_of_any_length_that_stands_twice_gives_a_short_reason() -> None:
    """The reason goes into logs and dead letters, so a huge key is not repeated in full."""
    key = b'"' + b"k" * 1_000_000 + b'"'
    with pytest.raises(NotJson) as caught:
        parse_json(b"{" + key + b":1," + key + b":1}")

    assert len(caught.value.reason) < 300


@pytest.mark.parametrize("depth", [50, 400, 900, 940, 950, 960, 965, 970, 975, 980, 985, 990, 1000, 3000])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_no_nesting_escapes_as_another_error(depth: int, opening: str, closing: str) -> None:
    """However deep the variables are nested: a job or JobRejected, never a RecursionError, also later on."""
    deep = f'{{"a":{opening * depth}1{closing * depth}}}'
    raw = pushed(variables=0).replace(b'"variables": 0', f'"variables": {deep}'.encode())
    try:
        job = parse_job(raw)
    except JobRejected:
        return
    assert parse_job(job.to_json()).digest() == job.digest()


def test_what_nests_too_deep_does_not_depend_on_the_caller() -> None:
    """The API and the workers agree on what is too deep, however deep their own stacks are."""

    def ask(frames: int) -> str:
        if frames:
            return ask(frames - 1)
        with pytest.raises(NotJson) as caught:
            parse_json(b"[" * 101 + b"]" * 101)
        parse_json(b"[" * 100 + b"]" * 100)
        return caught.value.reason

    assert ask(0) == ask(500) == "not JSON that we take: nested too deeply"


def test_brackets_within_a_string_are_no_nesting() -> None:
    """What counts is the structure, not the text."""
    assert parse_json(b'["' + b"[" * 200 + b'"]') == ["[" * 200]
    assert parse_json(b'"' + b"{" * 200 + b'"') == "{" * 200


def test_a_pair_of_surrogates_is_a_character() -> None:
    """An escaped pair of surrogates is how JSON writes an emoji; it is no lone half."""
    assert parse_json(rb'["\ud83d\ude00", "\\ud800"]') == ["😀", "\\ud800"]


@pytest.mark.parametrize("raw", [b"null", b"[]", b"1", b"true", b'"job"', b'["a"]'])
def test_json_that_is_no_object_is_no_job(raw: bytes) -> None:
    """Strict JSON of another type is refused as not a job."""
    assert problems(raw) == {"": "must be a JSON object"}


def test_every_missing_field_is_named_at_once() -> None:
    """An empty object lacks four fields, and the answer names all four."""
    missing = {"client_id", "template_id", "batch_id", "contact_ids"}

    assert problems(b"{}") == dict.fromkeys(missing, "is missing")


@pytest.mark.parametrize("field", ["client_id", "template_id", "batch_id"])
@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "-a",
        ".a",
        "_a",
        "a b",
        "a\n",
        "\na",
        "a\x00",
        "a/b",
        "../a",
        "ä",
        "a" * 129,
        "a\u2028",
        "\u0661",
    ],
)
def test_a_name_outside_the_rule_is_refused(field: str, value: str) -> None:
    """Client, template and batch ids have 1 to 128 plain characters and begin with a letter or digit."""
    assert set(problems(pushed(**{field: value}))) == {field}
    assert not is_name(value)


@pytest.mark.parametrize("field", ["client_id", "template_id", "batch_id"])
@pytest.mark.parametrize("value", [1, 1.5, True, [], {}, ["a"]])
def test_a_name_of_another_type_is_refused(field: str, value: object) -> None:
    """A number is not turned into a string: what the producer wrote is what counts."""
    assert problems(pushed(**{field: value})) == {field: "must be a string"}


@pytest.mark.parametrize(
    "value", ["a", "0", "A.b_c@d+e-f", "a" * 128, "550e8400-e29b-41d4-a716-446655440000"]
)
def test_a_name_within_the_rule_is_taken(value: str) -> None:
    """The longest and the strangest allowed names pass in all three fields."""
    job = parse_job(pushed(client_id=value, template_id=value, batch_id=value))

    assert (job.client_id, job.template_id, job.batch_id) == (value, value, value)


@pytest.mark.parametrize(
    ("contacts", "field"),
    [
        (None, "contact_ids"),
        ("a", "contact_ids"),
        ({"a": 1}, "contact_ids"),
        (7, "contact_ids"),
        ([], "contact_ids"),
        ([1], "contact_ids[0]"),
        (["a", None], "contact_ids[1]"),
        (["a", ["b"]], "contact_ids[1]"),
        (["a", True], "contact_ids[1]"),
        ([""], "contact_ids[0]"),
        (["a", "b", "x" * 257], "contact_ids[2]"),
        (["a\nb"], "contact_ids[0]"),
        (["a\r\nBcc: x@y"], "contact_ids[0]"),
        (["\x00"], "contact_ids[0]"),
        (["a\x7f"], "contact_ids[0]"),
        (["a\x85b"], "contact_ids[0]"),
    ],
)
def test_contacts_outside_the_rule_are_refused(contacts: object, field: str) -> None:
    """Contact ids are a list of at least one string of 1 to 256 characters without control characters."""
    assert set(problems(pushed(contact_ids=contacts))) == {field}


@pytest.mark.parametrize(
    "contact", ["x" * 256, "😀" * 256, "user@example.com", " ", "007", "a,b", "<x>", "Ünïcode"]
)
def test_contacts_within_the_rule_are_taken_as_they_are(contact: str) -> None:
    """Nothing is trimmed, folded or normalised."""
    assert parse_job(pushed(contact_ids=[contact])).contact_ids == (contact,)


def test_repeated_contacts_count_once_in_the_order_of_their_first_mention() -> None:
    """The job keeps what was pushed; distinct is what counts."""
    job = parse_job(pushed(contact_ids=["b", "a", "b", "c", "a"]))

    assert job.contact_ids == ("b", "a", "b", "c", "a")
    assert job.distinct() == ("b", "a", "c")


@pytest.mark.parametrize("variables", [[], "x", 1, True])
def test_variables_that_are_no_object_are_refused(variables: object) -> None:
    """Variables are names with values."""
    assert problems(pushed(variables=variables)) == {"variables": "must be an object"}


def test_variables_may_have_exactly_64_kilobytes() -> None:
    """The limit is on the compact JSON in UTF-8, however the producer spaced it."""
    overhead = len('{"a":[1,2,3],"x":""}')
    full = {"a": [1, 2, 3], "x": "é" * ((64 * 1024 - overhead) // 2)}
    assert parse_job(pushed(variables=full)).variables == full

    full["x"] += "éé"

    assert problems(pushed(variables=full)) == {"variables": "must be at most 64 KB"}


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-31T12:00:00Z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31t12:00:00z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31 12:00:00Z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31T12:00:00.25+02:00", datetime(2026, 1, 31, 10, 0, 0, 250_000, tzinfo=UTC)),
        ("2026-01-31T12:00:00.123456789-00:30", datetime(2026, 1, 31, 12, 30, 0, 123_456, tzinfo=UTC)),
    ],
)
def test_an_rfc_3339_time_is_taken(text: str, moment: datetime) -> None:
    """expires_at is a moment, in whatever zone it was written."""
    assert parse_job(pushed(expires_at=text)).expires_at == moment


@pytest.mark.parametrize(
    "value",
    [
        "",
        "tomorrow",
        "2026-01-31",
        "2026-01-31T12:00:00",
        "2026-01-31T12:00Z",
        "20260131T120000Z",
        "2026-W05-6T12:00:00Z",
        "2026-01-31x12:00:00Z",
        "2026-02-31T12:00:00Z",
        "2026-01-31T25:00:00Z",
        "2026-01-31T12:00:00+25:00",
        "2026-01-31T12:00:00Z\n",
        "٢٠٢٦-01-31T12:00:00Z",
        1_769_860_800,
        True,
        [],
    ],
)
def test_what_is_no_rfc_3339_time_is_refused(value: object) -> None:
    """Another ISO form, a time without its zone or a number could be misread, so none is taken."""
    assert set(problems(pushed(expires_at=value))) == {"expires_at"}


def test_null_in_an_optional_field_is_as_good_as_leaving_it_out() -> None:
    """Producers in other languages write null for what they do not have."""
    assert parse_job(pushed(variables=None, expires_at=None)) == parse_job(pushed())


def test_the_digest_is_that_of_the_content() -> None:
    """Order and repeats of contacts, order of variables and expiry change no digest; content does."""
    job = parse_job(pushed(variables={"a": 1, "b": 2}))
    same = parse_job(
        pushed(contact_ids=["b", "a", "a"], variables={"b": 2, "a": 1}, expires_at="2026-01-31T12:00:00Z")
    )
    others = [
        parse_job(pushed(variables={"a": 1, "b": 2}, **change))
        for change in ({"client_id": "c2"}, {"template_id": "t2"}, {"contact_ids": ["a", "b", "c"]})
    ]
    others += [parse_job(pushed()), parse_job(pushed(variables={"a": 1, "b": "2"}))]

    assert same.digest() == job.digest()
    assert len({job.digest(), *(other.digest() for other in others)}) == len(others) + 1


def test_no_variables_and_empty_variables_are_the_same_content() -> None:
    """Both give the template nothing."""
    assert parse_job(pushed(variables={})).digest() == parse_job(pushed()).digest()


def test_the_summary_is_the_original_log_line() -> None:
    """People grep for these words exactly."""
    job = EmailJob("test-client", ("test1", "test2"), "test-template", "b1")

    assert (
        job.summary() == "{ClientID:test-client ContactIDs:[test1 test2] TemplateID:test-template BatchID:b1}"
    )


def test_the_summary_counts_what_it_does_not_show() -> None:
    """After ten ids the rest is a number."""
    ten, twelve = (EmailJob("c", tuple(str(i) for i in range(n)), "t", "b").summary() for n in (10, 12))

    assert "[0 1 2 3 4 5 6 7 8 9]" in ten
    assert "[0 1 2 3 4 5 6 7 8 9 +2 more]" in twelve


@pytest.mark.parametrize(
    ("contact", "shown"),
    [
        ("user1", "user1"),
        ("user@example.com", "u***@example.com"),
        ("x@user@example.com", "x***@example.com"),
        ("@example.com", "***@example.com"),
    ],
)
def test_an_address_among_the_ids_is_masked(contact: str, shown: str) -> None:
    """No mail address stands in a log line; of one only its first letter and its domain are shown."""
    assert mask(contact) == shown
    assert f"[{shown}]" in EmailJob("c", (contact,), "t", "b").summary()


def test_an_address_as_client_or_batch_is_masked_too() -> None:
    """A client may be named by its address; logs do not show it either."""
    summary = EmailJob("boss@example.com", ("a",), "mail@example.com", "run@example.com").summary()

    assert summary.count("***@example.com") == 3


NAMES = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._@+-]{0,20}\Z")
TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
CONTACTS = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=256)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4)
)


def _zone(minutes: int) -> Any:
    return datetime.strptime(
        f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}{abs(minutes) % 60:02}", "%z"
    ).tzinfo


JOBS = st.builds(
    EmailJob,
    client_id=NAMES,
    contact_ids=st.lists(CONTACTS, min_size=1, max_size=5).map(tuple),
    template_id=NAMES,
    batch_id=NAMES,
    variables=st.none() | st.dictionaries(TEXT, VALUES, max_size=4),
    expires_at=st.none() | st.datetimes(timezones=st.just(UTC) | st.integers(-1439, 1439).map(_zone)),
)


@given(JOBS)
def test_a_job_that_was_written_is_read_back(job: EmailJob) -> None:
    """What a producer writes is what the parser reads, byte for byte stable, with the same digest."""
    read = parse_job(job.to_json())

    assert read == job
    assert read.digest() == job.digest()
    assert read.to_json() == job.to_json()


@given(st.binary(max_size=200))
def test_any_bytes_give_a_job_or_a_reason(raw: bytes) -> None:
    """Whatever is pushed: a job, or JobRejected with a reason; no other error exists."""
    try:
        parse_job(raw)
    except JobRejected as rejected:
        assert rejected.reason  # noqa: PT017 # both endings are right


@given(VALUES | st.fixed_dictionaries({}, optional=dict.fromkeys(GOOD, VALUES)))
def test_any_json_gives_a_job_or_a_reason_with_problems(value: Any) -> None:
    """Whatever JSON is pushed: a job, or JobRejected that names at least one problem."""
    try:
        job = job_from(value)
    except JobRejected as rejected:
        assert rejected.problems  # noqa: PT017 # both endings are right
    else:
        assert parse_job(job.to_json()) == job


@given(JOBS, st.permutations(["client_id", "contact_ids", "template_id", "batch_id"]))
def test_the_digest_does_not_depend_on_how_json_was_written(job: EmailJob, order: list[str]) -> None:
    """Key order, spaces and escapes are the producer's taste."""
    fields = json.loads(job.to_json())
    shuffled = {name: fields[name] for name in order} | fields
    written = json.dumps(shuffled, ensure_ascii=True, indent=2).encode()

    assert parse_job(written).digest() == job.digest()


def test_expiry_far_away_can_be_compared() -> None:
    """The first and the last moment that RFC 3339 can write are moments like others."""
    first, last = (
        parse_job(pushed(expires_at=text)).expires_at
        for text in ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00")
    )
    now = datetime.now(UTC)

    assert first is not None
    assert last is not None
    assert first < now < last
    assert first.timestamp() < 0 < last.timestamp()
    assert last - now > timedelta(days=1)
