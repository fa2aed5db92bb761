"""
The listening socket: the one that the service manager kept, or a new one.

A kept socket counts only as long as it is what the configuration asks for: what we bound ourselves, and for
which address, is noted in the state directory, so that a changed ``api.port`` takes effect although the
service manager still holds the old one. A socket that we did not bind was set up by the administrator (a
socket unit) and is taken as it is. Knows no HTTP; main calls it.
"""

from __future__ import annotations

import errno
import json
import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from mailerd.config.model import Api
from mailerd.daemon import processes
from mailerd.errors import CannotBind

NAME = "http"
_BACKLOG = 1024


def open_listener(api: Api, passed: Mapping[str, socket.socket], state_dir: Path) -> socket.socket:
    """
    A listening socket; those of ``passed`` that are not taken are closed.

    Raises ``CannotBind`` with a sentence that names who is in the way.
    """
    note = state_dir / "listener.json"
    kept = passed.get(NAME) or next(iter(passed.values()), None)
    for other in passed.values():
        if other is not kept or _is_outdated(kept, api, note):
            other.close()
    if kept is not None and kept.fileno() >= 0:
        return kept
    listener = _bind_unix(api.socket) if api.socket else _bind_tcp(api.host, api.port)
    listener.listen(_BACKLOG)
    note.write_text(json.dumps({"bound": _address(listener), "for": _wanted(api)}))
    return listener


def where(listener: socket.socket) -> str:
    """Where it listens, as the log says it."""
    address = listener.getsockname()
    return f"socket {address}" if listener.family == socket.AF_UNIX else f"port {address[1]}"


def _is_outdated(kept: socket.socket, api: Api, note: Path) -> bool:
    with suppress(FileNotFoundError, ValueError):
        noted = json.loads(note.read_text())
        return bool(noted["bound"] == _address(kept) and noted["for"] != _wanted(api))
    return False


def _address(listener: socket.socket) -> str:
    return repr(listener.getsockname())


def _wanted(api: Api) -> str:
    return str(api.socket) if api.socket else f"{api.host}:{api.port}"


def _bind_tcp(host: str, port: int) -> socket.socket:
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        raise CannotBind(_why(error, f"{host}:{port}", (host, port), "api.port")) from None
    return listener


def _bind_unix(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    try:
        if path.is_socket() and not _is_answered(path):
            path.unlink()
        listener.bind(str(path))
        path.chmod(0o660)
    except OSError as error:
        raise CannotBind(_why(error, str(path), str(path), "api.socket")) from None
    return listener


def _is_answered(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(os.fspath(path)) == 0


def _why(error: OSError, place: str, address: tuple[str, int] | str, key: str) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"cannot listen on {place}: {processes.who_listens(address)} does; stop it or change {key}"
    return f"cannot listen on {place}: {error.strerror}; change {key}"
