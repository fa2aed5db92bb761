"""What answers where Redis should be, and is none: it is called that, whoever speaks first."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from mailerd.config import Config
from mailerd.errors import RedisUnavailable
from mailerd.queue.connection import connect, translated

GREETING = b"220 mail.example ESMTP\r\n"


@pytest.fixture(params=["at once", "when asked"])
def mail_server(request: pytest.FixtureRequest) -> Iterator[int]:
    """The port of what greets at once, or only when something has been said."""

    def greet() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with client:
                if request.param == "when asked":
                    client.recv(1024)
                client.sendall(GREETING)
                client.recv(1024)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=greet)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_what_is_no_redis_is_called_that(mail_server: int) -> None:
    """Whether it speaks before it is asked, or answers in another tongue."""
    settings = Config.model_validate({"redis": {"url": f"redis://127.0.0.1:{mail_server}/0"}}).redis
    with connect(settings) as client, pytest.raises(RedisUnavailable, match="is no Redis"), translated():
        client.ping()
