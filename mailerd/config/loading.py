"""
``load``: from every source to one ``Config``, or to every problem of all of them.

The story: read the sources, lay one over the other, read the secrets that lie in files, put in
``REDIS_ADDR``, validate, check what hangs together. Only the command line calls it, at start and at every
reload.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mailerd.config.checks import cross_problems
from mailerd.config.entries import relay_tables
from mailerd.config.messages import problem_of
from mailerd.config.model import Config, Redis, keys, sections
from mailerd.config.sources import (
    Setting,
    Source,
    from_credentials,
    from_file,
    from_variables,
    locate,
    read_dotenv,
    read_secret,
)
from mailerd.config.urls import apply_redis_addr
from mailerd.errors import ConfigurationError, Problem

_FILE = "_file"


def load(path: Path | None, environ: Mapping[str, str], cwd: Path) -> Config:
    """
    The configuration, from ``path`` or the file that ``locate`` finds and from all other sources.

    Raises ``ConfigurationError`` with every problem found, each with the path of its setting.
    """
    merged = _Merged(cwd)
    for source in _sources(path, environ, cwd):
        merged.lay(source)
    merged.read_secrets()
    merged.put_in_redis_addr()
    config = _validated(merged)
    if config is None or merged.problems:
        raise ConfigurationError(merged.problems)
    return config


def _sources(path: Path | None, environ: Mapping[str, str], cwd: Path) -> list[Source]:
    """All sources, the weakest first."""
    sources = []
    # systemd lists several directories with colons between them; the first is the one named mailerd.
    if state := environ.get("STATE_DIRECTORY", "").partition(":")[0]:
        sources.append(Source([Setting("daemon", "state_dir", state, "STATE_DIRECTORY")]))
    file, why = locate(path, environ, cwd)
    if file:
        sources.append(from_file(file, why))
    if directory := environ.get("CREDENTIALS_DIRECTORY"):
        sources.append(from_credentials(directory))
    found, problems = read_dotenv(cwd)
    sources += [Source(problems=problems), from_variables(found, ".env"), from_variables(environ)]
    return sources


class _Merged:
    """The settings of the sources laid so far, with where each came from."""

    def __init__(self, cwd: Path) -> None:
        self.raw: dict[str, Any] = {
            name: {} for name, field in Config.model_fields.items() if field.default_factory
        }
        self.origins: dict[str, str] = {}
        self.problems: list[Problem] = []
        self._cwd = cwd
        self._redis_addrs: list[tuple[str, str]] = []

    def lay(self, source: Source) -> None:
        """Lay a stronger source over the weaker ones."""
        self.problems += source.problems
        settings = [setting for setting in source.settings if not _is_empty_secret(setting)]
        self._report_doubles(settings)
        for section, table in source.sections.items():
            self.raw[section] = dict(self.raw.get(section) or {}) if isinstance(table, dict) else table
        if source.redis_addr:
            self._redis_addrs.append(source.redis_addr)
        for setting in settings:
            self._put(setting)

    def _put(self, setting: Setting) -> None:
        table = self.raw.setdefault(setting.section, {})
        if not isinstance(table, dict):
            return
        if (setting.section, setting.key.removesuffix(_FILE)) == ("redis", "url"):
            self._redis_addrs.clear()
        # A secret and its file are two ways to say one thing: the stronger source's way holds.
        other = setting.key.removesuffix(_FILE) if setting.key.endswith(_FILE) else setting.key + _FILE
        table.pop(other, None)
        table[setting.key] = setting.value
        self.origins[f"{setting.section}.{setting.key}"] = setting.origin

    def _report_doubles(self, settings: list[Setting]) -> None:
        given = {(setting.section, setting.key) for setting in settings}
        for section, key in sorted(_secret_files()):
            if {(section, key), (section, key + _FILE)} <= given:
                self.problems.append(_double(f"{section}.{key}"))

    def read_secrets(self) -> None:
        """Put in what the ``*_file`` settings point to."""
        for section, key in _secret_files():
            self._read_secret(self.raw.get(section), section, key)
        for number, relay in enumerate(self._relays()):
            place = f"smtp.relays.{number}"
            if isinstance(relay, dict) and relay.get("password") and relay.get("password_file"):
                self.problems.append(_double(f"{place}.password"))
            self._read_secret(relay, place, "password")

    def _relays(self) -> list[Any]:
        smtp = self.raw.get("smtp")
        relays = smtp.get("relays") if isinstance(smtp, dict) else None
        with suppress(ValueError):  # what is wrong with it the model tells
            relays = relay_tables(relays)
        if isinstance(smtp, dict) and isinstance(relays, list):
            smtp["relays"] = relays
            return relays
        return []

    def _read_secret(self, table: Any, place: str, key: str) -> None:
        file = table.get(key + _FILE) if isinstance(table, dict) else None
        if file and isinstance(file, str):
            path = f"{place}.{key}{_FILE}"
            # Without a home the "~" stays, and the message names the file as it was written.
            found = self._cwd / os.path.expanduser(file)  # noqa: PTH111 - pathlib's raises instead
            value = read_secret(found, path, self.problems)
            if value is not None:
                table[key] = value
                self.origins[f"{place}.{key}"] = path

    def put_in_redis_addr(self) -> None:
        """Let ``REDIS_ADDR`` change the Redis URL that the weaker sources gave."""
        table = self.raw["redis"]
        for address, origin in self._redis_addrs:
            url = table.get("url", Redis().url.get_secret_value()) if isinstance(table, dict) else None
            try:
                if isinstance(url, str):
                    table["url"] = apply_redis_addr(address, url)
            except ValueError as error:
                self.problems.append(Problem(origin, str(error)))


def _double(secret: str) -> Problem:
    return Problem(f"{secret}{_FILE}", f"and {secret} are both set: leave one out")


def _is_empty_secret(setting: Setting) -> bool:
    """Whether this is the example's line of a secret that is given in the other way, or not at all."""
    return setting.value == "" and (setting.section, setting.key.removesuffix(_FILE)) in _secret_files()


def _secret_files() -> list[tuple[str, str]]:
    return [
        (name, key.removesuffix(_FILE))
        for name, section in sections().items()
        for key in keys(section)
        if key.endswith(_FILE) and key.removesuffix(_FILE) in section.model_fields
    ]


def _validated(merged: _Merged) -> Config | None:
    """The configuration that the merged settings make, if they do; all problems go to ``merged``."""
    wrong = {problem.field for problem in merged.problems}
    config = None
    try:
        config = Config.model_validate(merged.raw)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            # A default that rests on a wrong setting is no problem of its own.
            if detail["type"] == "default_factory_not_called":
                continue
            merged.problems.append(problem_of(detail, merged.origins))
            wrong.add(".".join(map(str, detail["loc"][:2])))
            _drop(merged.raw, detail["loc"])
        config = _rest(merged.raw)
    if config:
        merged.problems += cross_problems(config, wrong)
    return config


def _drop(raw: dict[str, Any], loc: tuple[int | str, ...]) -> None:
    section, *rest = loc
    if rest and isinstance(raw.get(str(section)), dict):
        raw[str(section)].pop(rest[0], None)
    else:
        raw.pop(str(section), None)


def _rest(raw: dict[str, Any]) -> Config | None:
    """What is left without the wrong settings; none where a default is what does not fit here."""
    try:
        return Config.model_validate(raw)
    except ValidationError:
        return None
