"""
What the SES v2 API takes and answers, from botocore's own model of it. Used by ``fake_ses``.

An error that the model does not list for an operation cannot be made, but for those of every AWS service.
"""

from __future__ import annotations

import base64
import binascii
import email
import email.policy
import json
import re
from dataclasses import dataclass
from email.message import EmailMessage
from functools import cache
from typing import Any, NoReturn

import botocore.session
from botocore.validate import ParamValidator

LARGEST_MAIL = 40 * 2**20
MOST_RECIPIENTS = 50
_TAG = re.compile("[A-Za-z0-9_-]{1,256}")

# Of every AWS service, and in no model.
_COMMON = {
    "AccessDeniedException": 403,
    "ExpiredTokenException": 403,
    "IncompleteSignatureException": 403,
    "InvalidSignatureException": 403,
    "MissingAuthenticationTokenException": 403,
    "UnrecognizedClientException": 403,
    "UnknownOperationException": 404,
    "ValidationException": 400,
    "ThrottlingException": 400,
    "InternalFailure": 500,
    "ServiceUnavailable": 503,
}


class Problem(Exception):
    """An error answer: its code and text."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text


@cache
def model() -> Any:
    """The service as botocore knows it."""
    return botocore.session.get_session().get_service_model("sesv2")


@cache
def operation_at(method: str, path: str) -> str:
    """The operation at a path; '' for none."""
    for name in model().operation_names:
        http = model().operation_model(name).http
        if (http["method"], http["requestUri"]) == (method, path):
            return str(name)
    return ""


def documented_errors(operation: str) -> dict[str, int]:
    """The errors that the model lists for an operation, with their HTTP status."""
    shapes = model().operation_model(operation).error_shapes
    return {shape.name: shape.metadata["error"]["httpStatusCode"] for shape in shapes}


def error_answer(operation: str, problem: Problem) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body with which SES tells a problem."""
    known = _COMMON | (documented_errors(operation) if operation else {})
    status = known[problem.code]  # what the model does not list, SES would not say
    return status, {"x-amzn-ErrorType": problem.code}, json.dumps({"message": problem.text}).encode()


@dataclass(frozen=True)
class Sending:
    """One valid SendEmail."""

    recipients: tuple[str, ...]
    content: bytes
    message: EmailMessage
    tags: dict[str, str]
    configuration_set: str
    feedback_to: str


def read_sending(body: bytes) -> Sending:
    """The request of a SendEmail with raw content; raises ``Problem`` where SES would refuse it."""
    request = _decoded(body)
    destination = request.get("Destination", {})
    recipients = tuple(
        address for kind in ("To", "Cc", "Bcc") for address in destination.get(f"{kind}Addresses", [])
    )
    if not 1 <= len(recipients) <= MOST_RECIPIENTS:
        _bad(f"Recipient count must be 1 to {MOST_RECIPIENTS}")
    for address in recipients:
        _check_address(address)
    tags = {tag["Name"]: tag["Value"] for tag in request.get("EmailTags", [])}
    if not all(_TAG.fullmatch(part) for tag in tags.items() for part in tag):
        _bad("Invalid tag: only alphanumeric ASCII characters, '_', and '-' are allowed")
    content = request["Content"]["Raw"]["Data"]
    feedback_to = request.get("FeedbackForwardingEmailAddress", "")
    return Sending(
        recipients, content, _parsed(content), tags, request.get("ConfigurationSetName", ""), feedback_to
    )


def _decoded(body: bytes) -> dict[str, Any]:
    shape = model().operation_model("SendEmail").input_shape
    try:
        request: dict[str, Any] = json.loads(body)
        raw = request["Content"]["Raw"]
        raw["Data"] = base64.b64decode(raw["Data"], validate=True)
    except (ValueError, KeyError, TypeError, binascii.Error) as error:
        raise Problem("BadRequestException", f"unreadable request: {error}") from None
    report = ParamValidator().validate(request, shape)
    if report.has_errors():
        _bad(report.generate_report())
    if foreign := set(request) - set(shape.members):
        _bad(f"unknown members: {sorted(foreign)}")
    return request


def _check_address(address: str) -> None:
    local, at, domain = address.rpartition("@")
    if not at or not domain:
        _bad("Missing final '@domain'")
    if not address.isascii() or not local or " " in address:
        _bad("Local address contains control or whitespace")


def _parsed(content: bytes) -> EmailMessage:
    if len(content) > LARGEST_MAIL:
        raise Problem(
            "MessageRejected", f"Message length is more than {LARGEST_MAIL} bytes long: {len(content)}."
        )
    message = email.message_from_bytes(content, policy=email.policy.default)
    bare = content.replace(b"\r\n", b"")
    if b"\r" in bare or b"\n" in bare or max(map(len, content.split(b"\r\n"))) > 998:
        raise Problem("MessageRejected", "Lines must end with CRLF and have at most 998 characters.")
    for header in ("From", "To", "Subject", "Date", "Message-ID", "MIME-Version"):
        if len(message.get_all(header, [])) != 1:
            raise Problem("MessageRejected", f"There must be exactly one header {header}.")
    if any(part.defects for part in message.walk()):
        raise Problem("MessageRejected", f"The MIME is broken: {message.defects}")
    return message


def _bad(text: str) -> NoReturn:
    raise Problem("BadRequestException", text)
