"""
The job on the wire: an ``EmailJob``, its JSON, and the one strict parser for every producer.

HTTP bodies and foreign ``LPUSH``es pass the same two steps: ``parse_json`` (is it strict JSON?) and
``job_from`` (is that JSON a job?). Pure; knows no Redis and no HTTP. Both the API and the workers call it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn

from mailerd.errors import JobRejected, NotJson, Problem

MAX_VARIABLES_BYTES = 64 * 1024
MAX_CONTACT_ID = 256
MAX_NESTING = 100

# Made once: ``json.dumps`` makes one at each call that is not its plainest.
_as_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
_as_sorted_json = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}")
_THREE_NAMES = re.compile("\n".join([_NAME.pattern] * 3))
_TOO_DEEP = "not JSON that we take: nested too deeply"
_NAME_RULE = "1 to 128 of A-Z a-z 0-9 . _ @ + -, beginning with a letter or digit"
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
# Halves of surrogate pairs, which no UTF-8 can carry, come in only as escapes.
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")
_SURROGATE = re.compile("[\ud800-\udfff]")
# Python's own parser of ISO 8601 takes many forms that RFC 3339 does not know.
_RFC_3339 = re.compile(
    "[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)


@dataclass(frozen=True, slots=True)
class EmailJob:
    """
    A request to send one template to some contacts of one client's batch.

    ``contact_ids`` keeps the producer's order and repeats; ``distinct`` is what counts. ``variables`` are
    template variables common to the batch; ``expires_at`` is an aware time after which nothing is sent.
    """

    client_id: str
    contact_ids: tuple[str, ...]
    template_id: str
    batch_id: str
    variables: Mapping[str, Any] | None = None
    expires_at: datetime | None = None

    def distinct(self) -> tuple[str, ...]:
        """The contacts, each once, in the order of their first mention."""
        return tuple(dict.fromkeys(self.contact_ids))

    def to_json(self) -> bytes:
        """The job's wire form, as every producer pushes it."""
        contacts = ",".join(map(_as_json, self.contact_ids))
        text = (
            f'{{"client_id":{_as_json(self.client_id)},"contact_ids":[{contacts}],'
            f'"template_id":{_as_json(self.template_id)},"batch_id":{_as_json(self.batch_id)}'
        )
        if self.variables is not None:
            text += f',"variables":{_as_json(dict(self.variables))}'
        if self.expires_at is not None:
            text += f',"expires_at":{_as_json(self.expires_at.isoformat())}'
        return f"{text}}}".encode()

    def variables_json(self) -> str:
        """The variables in one canonical form, so that equal ones compare equal."""
        return _as_sorted_json(self.variables) if self.variables else "{}"

    def expires_ms(self) -> str:
        """When it expires as scripts take it: milliseconds since 1970, or nothing."""
        return "" if self.expires_at is None else str(int(self.expires_at.timestamp() * 1000))

    def digest(self) -> str:
        """SHA-256 of the content: template, variables and the distinct contacts in any order."""
        contacts = sorted(set(self.contact_ids))
        content = "\n".join((self.client_id, self.template_id, self.variables_json(), *contacts, ""))
        return hashlib.sha256(content.encode()).hexdigest()

    def summary(self, ids: int = 10) -> str:
        """The job in the form of the log line; an id with ``@`` is masked."""
        shown = " ".join(mask(contact) for contact in self.contact_ids[:ids])
        rest = len(self.contact_ids) - ids
        more = f" +{rest} more" if rest > 0 else ""
        return (
            f"{{ClientID:{mask(self.client_id)} ContactIDs:[{shown}{more}] "
            f"TemplateID:{mask(self.template_id)} BatchID:{mask(self.batch_id)}}}"
        )


def mask(name: str) -> str:
    """An id as logs may show it: of an address only its first letter and its domain."""
    local, at, domain = name.rpartition("@")
    return f"{local[:1]}***@{domain}" if at else name


def parse_job(raw: bytes) -> EmailJob:
    """
    The job in ``raw``.

    Raises ``NotJson`` where it is not strict JSON and ``JobRejected`` where that JSON is not a job.
    """
    return job_from(parse_json(raw))


def parse_json(raw: bytes) -> Any:
    """
    Strict JSON (RFC 8259): UTF-8, no NaN or Infinity, no key twice, no half of a surrogate pair.

    It may nest ``MAX_NESTING`` deep: Python's own limit depends on how deep the caller's stack is.
    Raises ``NotJson`` with a sentence that says what is wrong with it.
    """
    try:
        value = _decoded(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise NotJson(f"not UTF-8: byte {error.start} is not valid") from None
    except RecursionError:
        raise NotJson(_TOO_DEEP) from None
    except ValueError as error:
        raise NotJson(f"not JSON: {error}") from None
    if raw.count(b"[") + raw.count(b"{") > MAX_NESTING and _nests_too_deep(value):
        raise NotJson(_TOO_DEEP)
    doubtful = b"\\u" in raw and _SURROGATE_ESCAPE.search(raw)
    if doubtful and _SURROGATE.search(json.dumps(value, ensure_ascii=False)):
        raise NotJson("not JSON that we take: a string holds half a surrogate pair")
    return value


def job_from(value: Any) -> EmailJob:
    """
    The job that what ``parse_json`` returned stands for; extra fields are ignored.

    Raises ``JobRejected`` with every problem, each with its field.
    """
    if not isinstance(value, dict):
        raise JobRejected("not a job: a JSON object is needed", (Problem("", "must be a JSON object"),))
    problems = [
        *_names(value),
        *_contacts(value),
        *_variables(value),
    ]
    expires_at = _expiry(value, problems)
    if problems:
        raise JobRejected("not a job: " + "; ".join(map(str, problems)), tuple(problems))
    return EmailJob(
        client_id=value["client_id"],
        contact_ids=tuple(value["contact_ids"]),
        template_id=value["template_id"],
        batch_id=value["batch_id"],
        variables=value.get("variables"),
        expires_at=expires_at,
    )


def is_name(text: str) -> bool:
    """Whether ``text`` can be a client, template or batch id."""
    return _NAME.fullmatch(text) is not None


def is_contact_id(text: str) -> bool:
    """Whether ``text`` can be a contact id."""
    return 0 < len(text) <= MAX_CONTACT_ID and not _CONTROL.search(text)


def _decoded(text: str) -> Any:
    """What the decoder makes of it, without its two looks for white space where there is none around it."""
    try:
        value, end = _scan(text, 0)
    except StopIteration:
        end = -1
    return value if end == len(text) else _DECODER.decode(text)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice[:100]!r} stands twice in one object")
    return fields


def _nests_too_deep(value: Any) -> bool:
    containers: list[Any] = [[value]]
    for _ in range(MAX_NESTING + 1):
        inner = (item.values() if isinstance(item, dict) else item for item in containers)
        containers = [item for items in inner for item in items if isinstance(item, (dict, list))]
    return bool(containers)


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"the number {text[:100]} is too large")
    return number


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


# Made once, and fast: it is the C scanner, which calls back for each object, fraction and constant only.
_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite)
_scan = _DECODER.scan_once  # type: ignore[attr-defined] # its types do not know it


def _names(value: dict[str, Any]) -> list[Problem]:
    try:
        # No name holds a line break, so that one look tells of all.
        if _THREE_NAMES.fullmatch("\n".join((value["client_id"], value["template_id"], value["batch_id"]))):
            return []
    except (KeyError, TypeError):
        pass  # missing, or no string: each is looked at
    return [problem for field in ("client_id", "template_id", "batch_id") for problem in _name(value, field)]


def _name(value: dict[str, Any], field: str) -> list[Problem]:
    name = value.get(field)
    if name is None:
        return [Problem(field, "is missing")]
    if not isinstance(name, str):
        return [Problem(field, "must be a string")]
    return [] if is_name(name) else [Problem(field, f"must be {_NAME_RULE}")]


def _contacts(value: dict[str, Any]) -> list[Problem]:
    contacts = value.get("contact_ids")
    if contacts is None:
        return [Problem("contact_ids", "is missing")]
    if not isinstance(contacts, list):
        return [Problem("contact_ids", "must be a list of strings")]
    if not contacts:
        return [Problem("contact_ids", "must name at least one contact")]
    return [] if _surely_contact_ids(contacts) else _first_bad_contact(contacts)


def _surely_contact_ids(contacts: list[Any]) -> bool:
    """Whether a quick look finds nothing to doubt; what it doubts may still be right."""
    try:
        # No control character is printable, though some that are none are not either.
        printable = "".join(contacts).isprintable()
    except TypeError:
        return False
    lengths = set(map(len, contacts))
    return printable and min(lengths) > 0 and max(lengths) <= MAX_CONTACT_ID


def _first_bad_contact(contacts: list[Any]) -> list[Problem]:
    for index, contact in enumerate(contacts):
        if not isinstance(contact, str):
            return [Problem(f"contact_ids[{index}]", "must be a string")]
        if not is_contact_id(contact):
            rule = f"must have 1 to {MAX_CONTACT_ID} characters and no control characters"
            return [Problem(f"contact_ids[{index}]", rule)]
    return []


def _variables(value: dict[str, Any]) -> list[Problem]:
    variables = value.get("variables")
    if variables is None:
        return []
    if not isinstance(variables, dict):
        return [Problem("variables", "must be an object")]
    text = _as_json(variables)
    if len(text.encode()) > MAX_VARIABLES_BYTES:
        return [Problem("variables", f"must be at most {MAX_VARIABLES_BYTES // 1024} KB")]
    return []


def _expiry(value: dict[str, Any], problems: list[Problem]) -> datetime | None:
    text = value.get("expires_at")
    if text is None:
        return None
    if isinstance(text, str) and _RFC_3339.fullmatch(text):
        # A date that the calendar does not have is refused below, with the same words.
        with contextlib.suppress(ValueError):
            return datetime.fromisoformat(text.upper())
    problems.append(Problem("expires_at", "must be an RFC 3339 time with its zone, 2026-01-31T12:00:00Z"))
    return None
