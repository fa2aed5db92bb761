"""
The demo's folder: contacts, templates, the configuration, and where everything will lie.

Called by ``cli/demo.py`` before anything is started; starts nothing itself.
"""

from __future__ import annotations

import json
import shutil
import socket
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mailerd.demo import people
from mailerd.errors import CannotBind

USUAL_PORT = 8080
SENDER = "Blümchen & Söhne <news@example.org>"


@dataclass(frozen=True, slots=True)
class Stage:
    """Where the demo keeps its things."""

    folder: Path

    @property
    def mails(self) -> Path:
        """One ``.eml`` file for each mail that arrived."""
        return self.folder / "mails"

    @property
    def state(self) -> Path:
        """The state directory of the daemon and its Valkey."""
        return self.folder / "state"

    @property
    def configuration(self) -> Path:
        """The daemon's configuration file."""
        return self.folder / "config.toml"

    @property
    def log(self) -> Path:
        """What the daemon says."""
        return self.folder / "mailerd.log"


def build() -> Stage:
    """A new folder with contacts and templates; it is never deleted."""
    stage = Stage(Path(tempfile.mkdtemp(prefix="mailerd-demo-")))
    stage.mails.mkdir()
    stage.state.mkdir(mode=0o700)
    people.write_database(stage.folder / "contacts.db")
    shutil.copytree(Path(__file__).parent / "templates", stage.folder / "templates")
    return stage


def write_configuration(stage: Stage, port: int, redis_url: str, smtp_port: int) -> None:
    """Write the configuration; every path in it is absolute, so it works from anywhere."""
    sections: dict[str, dict[str, Any]] = {
        "daemon": {"state_dir": str(stage.state)},
        "redis": {"url": redis_url},
        "api": {"port": port},
        "contacts": {
            "url": f"sqlite:///{stage.folder / 'contacts.db'}",
            "query": "SELECT id, email, name, city FROM contacts WHERE id IN :contact_ids",
        },
        "templates": {"path": str(stage.folder / "templates")},
        "mail": {"transport": "smtp", "from": SENDER},
        "smtp": {"host": "127.0.0.1", "port": smtp_port, "tls": "none"},
    }
    stage.configuration.write_text("\n".join(_section(*section) for section in sections.items()))


def choose_port(wanted: int | None) -> int:
    """
    The port that was asked for, else 8080, else any that is free.

    Raises ``CannotBind`` where the one that was asked for is taken.
    """
    if _free(wanted or USUAL_PORT):
        return wanted or USUAL_PORT
    if wanted:
        raise CannotBind(f"port {wanted} is taken; leave out --port to use a free one")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _section(name: str, keys: Mapping[str, Any]) -> str:
    # A JSON string or number is a TOML one as well.
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in keys.items()]
    return f"[{name}]\n" + "".join(lines)
