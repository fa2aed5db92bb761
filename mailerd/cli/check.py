"""
``mailerd check``: whether the configuration can be used, and what it comes to.

Reads and tells; changes nothing.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from pydantic import SecretStr

from mailerd.cli.configuration import config_option, configuration, configuration_file
from mailerd.cli.output import printable
from mailerd.config import Config, scrub
from mailerd.config.entries import ApiKey, Dkim, Limit, SmtpRelay, SmtpReply
from mailerd.config.model import keys
from mailerd.errors import EXIT_CLEAN, EXIT_CONFIGURATION, ConfigurationError


@click.command()
@config_option
@click.option("--show", is_flag=True, help="Also show every setting as it is in force; secrets stay hidden.")
@click.option(
    "--online",
    is_flag=True,
    help="Also try Redis, the mail server, the contacts and the templates; sends nothing.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check(*, show: bool, online: bool, as_json: bool) -> int:
    """
    Tell whether the configuration can be used.

    Reads every source (file, .env, environment, credentials) as the daemon would, and names all problems at
    once. Exit code 0 when it can be used, 78 when not; with --online 69 when only Redis is out of reach.
    """
    if as_json:
        return _as_json(show=show, online=online)
    config = configuration()
    click.echo(f"configuration file: {configuration_file() or 'none, defaults are in force'}")
    for warning in config.warnings():
        click.echo(f"warning: {warning}")
    if show:
        click.echo(_as_toml(config))
    click.echo("configuration is good")
    return _online(config) if online else EXIT_CLEAN


def _online(config: Config) -> int:
    from mailerd.cli.online import exit_code, findings

    found = []
    for finding in findings(config):
        click.echo(printable(f"{finding.grade}: {finding.about}: {finding.text}"))
        found.append(finding)
    return exit_code(found)


def _as_json(*, show: bool, online: bool) -> int:
    report: dict[str, Any] = {
        "file": _text(configuration_file()),
        "good": True,
        "warnings": [],
        "problems": [],
    }
    code = EXIT_CLEAN
    try:
        config = configuration()
    except ConfigurationError as error:
        report["good"], code = False, EXIT_CONFIGURATION
        report["problems"] = [
            {"field": problem.field, "message": problem.message} for problem in error.problems
        ]
    else:
        report["warnings"] = config.warnings()
        if show:
            report["settings"] = shown(config)
        if online:
            code, report["checks"] = _tried(config)
            report["good"] = code == EXIT_CLEAN
    click.echo(json.dumps(report, ensure_ascii=False, indent=2))
    return code


def _tried(config: Config) -> tuple[int, list[dict[str, str]]]:
    from mailerd.cli.online import exit_code, findings

    found = list(findings(config))
    checks = [{"about": finding.about, "result": finding.grade, "message": finding.text} for finding in found]
    return exit_code(found), checks


def shown(config: Config) -> dict[str, dict[str, Any]]:
    """Every setting in force by section and key, as it may be shown."""
    return {
        name: {key: _showable(getattr(section, attribute)) for key, attribute in keys(type(section)).items()}
        for name, section in config
        if section is not None
    }


def _showable(value: Any) -> Any:
    match value:
        case SecretStr():
            secret = value.get_secret_value()
            return scrub(secret) if "://" in secret else "***" if secret else ""
        case Path() | None:
            return _text(value)
        case (ApiKey(), *_):
            return [f"{key.client_id}:***" for key in value]
        case (Dkim(), *_):
            return [f"{key.domain}:{key.selector}:{key.key_file or '***'}" for key in value]
        case (SmtpReply() | SmtpRelay() | Limit(), *_):
            return [str(entry) for entry in value]
        case _:
            return value


def _text(path: Path | None) -> str:
    return "" if path is None else str(path)


def _as_toml(config: Config) -> str:
    blocks = []
    for name, settings in shown(config).items():
        lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in settings.items()]
        blocks.append("\n".join([f"[{name}]", *lines]))
    return "\n\n".join(blocks) + "\n"
