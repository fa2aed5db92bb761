"""
What must be right between settings that are each right by themselves.

Looks at files only to see that they are there. Called by ``loading.py`` with a valid ``Config``. A check
names the settings it judges by, and is left out when one of those is wrong: its answer would be noise.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from mailerd.config.model import Config, Smtp
from mailerd.config.urls import is_loopback
from mailerd.errors import Problem


def cross_problems(config: Config, wrong: set[str]) -> list[Problem]:
    """Every problem between settings, but for those that rest on the settings in ``wrong``."""
    return [problem for needs, check in _CHECKS if not wrong & needs for problem in check(config)]


def _transport_given(config: Config) -> Iterator[Problem]:
    given = "smtp" if config.smtp else "ses" if config.ses else ""
    if given and "transport" not in config.mail.model_fields_set:
        yield Problem(
            "mail.transport",
            f'must be set where [{given}] is given: "{given}" to send, "none" to send nothing',
        )


def _smtp_host(config: Config) -> Iterator[Problem]:
    if config.mail.transport == "smtp" and not (config.smtp and config.smtp.host):
        yield Problem("smtp.host", 'must name the server that takes the mail when mail.transport is "smtp"')


def _from(config: Config) -> Iterator[Problem]:
    if config.mail.transport != "none" and not config.mail.from_:
        yield Problem(
            "mail.from",
            f'must be set when mail.transport is "{config.mail.transport}": "News <news@example.com>"',
        )


def _login(config: Config) -> Iterator[Problem]:
    for place, server in _servers(config):
        if bool(server.username) != bool(server.password):
            missing, given = ("password", "username") if server.username else ("username", "password")
            yield Problem(f"{place}.{missing}", f"must be set where {place}.{given} is")


def _ca_file(config: Config) -> Iterator[Problem]:
    for place, server in _servers(config):
        if server.ca_file and not os.access(server.ca_file, os.R_OK):
            yield Problem(f"{place}.ca_file", f"cannot read {server.ca_file}")


def _servers(config: Config) -> Iterator[tuple[str, Smtp]]:
    """Each server for mail with its place in the file; a fault that a relay has from [smtp] is told there."""
    if config.smtp:
        first, *relays = config.smtp.servers()
        yield "smtp", first
        for number, (relay, server) in enumerate(zip(config.smtp.relays, relays, strict=True)):
            if relay.given.keys() & {"username", "password", "ca_file"}:
                yield f"smtp.relays.{number}", server


def _dkim_files(config: Config) -> Iterator[Problem]:
    for number, key in enumerate(config.mail.dkim):
        if key.key_file and not os.access(key.key_file, os.R_OK):
            yield Problem(f"mail.dkim.{number}.key_file", f"cannot read {key.key_file}")


def _api_host(config: Config) -> Iterator[Problem]:
    api = config.api
    if api.enabled and not api.keys and not api.socket and not is_loopback(api.host):
        yield Problem(
            "api.host",
            f"must be a loopback address as long as no [[api.keys]] guard the door, not {api.host}: "
            "mailerd key create CLIENT makes one",
        )


def _body_and_job(config: Config) -> Iterator[Problem]:
    if config.api.enabled and config.api.max_body_mb >= config.queue.max_job_mb:
        yield Problem(
            "api.max_body_mb",
            f"must be smaller than queue.max_job_mb ({config.queue.max_job_mb}): workers bury what is larger",
        )


_CHECKS: tuple[tuple[set[str], Callable[[Config], Iterator[Problem]]], ...] = (
    ({"mail", "mail.transport"}, _transport_given),
    ({"mail", "mail.transport", "smtp", "smtp.host"}, _smtp_host),
    ({"mail", "mail.transport", "mail.from"}, _from),
    ({"smtp", "smtp.username", "smtp.password", "smtp.password_file", "smtp.relays"}, _login),
    ({"smtp.ca_file", "smtp.relays"}, _ca_file),
    ({"mail", "mail.dkim"}, _dkim_files),
    ({"api", "api.host", "api.socket", "api.enabled", "api.keys"}, _api_host),
    ({"api", "api.enabled", "api.max_body_mb", "queue", "queue.max_job_mb"}, _body_and_job),
)
