"""
The places that settings come from, each read into the same shape.

Reads files, touches nothing, and knows the names of the settings but not their meaning: whether a value
fits is the model's word. Only ``loading.py`` calls this. Nothing here looks at ``os.environ``; the
environment and the working directory are arguments.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

from mailerd.config.names import is_setting, nearest, variables
from mailerd.errors import Problem

SYSTEM_FILE = Path("/etc/mailerd/config.toml")
CONFIG_VARIABLE = "MAILERD_CONFIG"
REDIS_VARIABLE = "REDIS_ADDR"
_PREFIX = "MAILERD_"


@dataclass(frozen=True, slots=True)
class Setting:
    """One value as one source gives it; ``origin`` is empty for the file, which needs no telling."""

    section: str
    key: str
    value: Any
    origin: str = ""


@dataclass(slots=True)
class Source:
    """What one place says: settings, the Redis address if it names one, and what is wrong there."""

    settings: list[Setting] = field(default_factory=list)
    sections: dict[str, Any] = field(default_factory=dict)
    redis_addr: tuple[str, str] | None = None
    problems: list[Problem] = field(default_factory=list)


def locate(path: Path | None, environ: Mapping[str, str], cwd: Path) -> tuple[Path | None, str]:
    """
    The configuration file, and how it came to be chosen (empty: by itself).

    Without an explicit one the first of ``config.toml`` and the system's file that exists, or none.
    """
    if path:
        return cwd / path, "named by --config"
    named = environ.get(CONFIG_VARIABLE) or read_dotenv(cwd)[0].get(CONFIG_VARIABLE)
    if named:
        return cwd / named, f"named by {CONFIG_VARIABLE}"
    usual = (cwd / "config.toml", SYSTEM_FILE)
    return next((file for file in usual if file.exists()), None), ""


def from_file(path: Path, why: str) -> Source:
    """The configuration file; a table that is none is left to the model's judgement."""
    source = Source()
    try:
        source.sections = tomllib.loads(path.read_text("utf-8-sig"))
    except OSError as error:
        named = f" ({why})" if why else ""
        source.problems.append(Problem(str(path), f"cannot be read{named}: {error.strerror}"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        advice = '; a text stands in quotes: key = "text"' if str(error).startswith("Invalid value") else ""
        source.problems.append(Problem(str(path), f"is not TOML: {error}{advice}"))
    for section, table in source.sections.items():
        if isinstance(table, dict):
            source.settings += [Setting(section, key, value) for key, value in table.items()]
    return source


def from_variables(found: Mapping[str, str], where: str = "") -> Source:
    """``MAILERD_<SECTION>__<KEY>`` and ``REDIS_ADDR`` of the environment or of a ``.env``."""
    source = Source()
    known = variables()
    suffix = f" in {where}" if where else ""
    for name in sorted(found):
        if name in known:
            section, key = known[name]
            source.settings.append(Setting(section, key, found[name], f"{name}{suffix}"))
        elif name.startswith(_PREFIX) and name != CONFIG_VARIABLE:
            source.problems.append(Problem(name, f"is no setting{suffix}{nearest(name, known)}"))
    if found.get(REDIS_VARIABLE):
        source.redis_addr = (found[REDIS_VARIABLE], f"{REDIS_VARIABLE}{suffix}")
    return source


def read_dotenv(cwd: Path) -> tuple[dict[str, str], list[Problem]]:
    """The variables of ``.env`` in the working directory; what is no assignment there is not our business."""
    try:
        text = (cwd / ".env").read_text("utf-8-sig")
    except (FileNotFoundError, IsADirectoryError):
        return {}, []
    except (OSError, UnicodeDecodeError) as error:
        return {}, [Problem(".env", f"cannot be read: {getattr(error, 'strerror', None) or error}")]
    # Its reader is imported by those only who have such a file; the public door of the library complains
    # about foreign lines and reads os.environ.
    from dotenv.parser import parse_stream  # noqa: PLC0415

    bindings = parse_stream(StringIO(text))
    return {
        binding.key: binding.value for binding in bindings if binding.key and binding.value is not None
    }, []


def from_credentials(directory: str) -> Source:
    """The ``$CREDENTIALS_DIRECTORY`` of systemd: each file named like a setting holds its value."""
    source = Source()
    try:
        files = sorted(Path(directory).iterdir())
    except OSError as error:
        source.problems.append(Problem("CREDENTIALS_DIRECTORY", f"cannot be read: {error.strerror}"))
        return source
    for file in files:
        section, _, key = file.name.partition(".")
        if is_setting(section, key):
            source.settings += _credential(file, source.problems)
        elif is_setting(section):
            known = [f"{section}.{name}" for _, name in variables().values()]
            source.problems.append(
                Problem(file.name, f"is no setting (credential){nearest(file.name, known)}")
            )
    return source


def _credential(file: Path, problems: list[Problem]) -> Iterator[Setting]:
    value = read_secret(file, file.name, problems)
    if value is not None:
        section, _, key = file.name.partition(".")
        yield Setting(section, key, value, f"credential {file.name}")


def read_secret(file: Path, path: str, problems: list[Problem]) -> str | None:
    """The content of a secret's file less its line ends; adds a problem for ``path`` where there is none."""
    try:
        value = file.read_text("utf-8").rstrip("\r\n")
    except OSError as error:
        problems.append(Problem(path, f"cannot read {file}: {error.strerror}"))
    except UnicodeDecodeError:
        problems.append(Problem(path, f"{file} is not UTF-8"))
    else:
        if value and "\n" not in value:
            return value
        held = "holds several lines, and a secret is one" if value else "is empty"
        problems.append(Problem(path, f"{file} {held}"))
    return None
