"""``systemctl start mailerd``, and what else an administrator types, under a real systemd."""

from __future__ import annotations

import pytest

from rigs.daemon import Sections
from rigs.service import Service
from rigs.sink import Sink

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(900)]


def test_start_post_mail(service: Service, sections: Sections, sink: Sink) -> None:
    """Once started it takes jobs at once, and what is posted arrives as mail."""
    service.start()

    assert service.request("GET", "/readyz").status == 200
    service.post("spring", ["user1", "user2"])
    sink.wait_for(2)
    assert sink.recipients() == {"user1@example.com": 1, "user2@example.com": 1}
    assert service.wait_for_batch("spring")["counts"]["sent"] == 2
