"""Signed mail from the real daemon, as a mail server got it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rigs.daemon import Daemon
from rigs.project import Project, job
from rigs.redis_server import RedisServer
from rigs.signatures import keys, pem, verdicts
from rigs.sink import Sink

Daemons = Callable[..., Daemon]


def entry(selector: str, folder: Path, text: str = "") -> dict[str, str]:
    """A table of ``[[mail.dkim]]``, its key in a file."""
    file = folder / f"{selector}.pem"
    file.write_text(text or pem(keys()[selector]))
    return {"domain": "example.com", "selector": selector, "key_file": str(file)}


@pytest.mark.slow
def test_what_arrives_is_signed_and_can_be_unsubscribed_from(
    daemons: Daemons, valkey: RedisServer, sink: Sink, project: Project, tmp_path: Path
) -> None:
    """Each mail arrives with two signatures that hold, over each contact's own List-Unsubscribe too."""
    contacts = project.contacts(5)
    folder = project.template("offer", text=".dot\n" + "long " * 300, html="<p>{{ name }}</p>\n.\n")
    (folder / "mail.toml").write_text(
        'from = "Gr\u00fc\u00dfe <news@example.com>"\n[headers]\n'
        'List-Unsubscribe = "<https://shop.example/u/{{ contact.id }}/{{ code }}>"\n'
        'List-Unsubscribe-Post = "List-Unsubscribe=One-Click"\n'
    )
    signing = {"dkim": [entry("r1", tmp_path), entry("e1", tmp_path)]}
    daemon = daemons(project.sections(valkey, sink, mail=signing)).start()
    daemon.post("/queue", job("news", contacts, "offer") | {"variables": {"code": "x1"}})
    daemon.wait_for_batch("news")

    mails = sink.mails()
    links = {f"<https://shop.example/u/{contact_id}/x1>" for contact_id in contacts}
    assert {str(mail.message["List-Unsubscribe"]) for mail in mails} == links
    assert [verdicts(mail.content) for mail in mails] == [[True, True]] * 5
    assert daemon.term() == 0


@pytest.mark.slow
def test_a_key_that_cannot_sign_ends_the_start(
    daemons: Daemons, valkey: RedisServer, sink: Sink, project: Project, tmp_path: Path
) -> None:
    """With a bad key the daemon ends with 78 and names the key, and nothing was sent unsigned."""
    bad = {"dkim": [entry("r1", tmp_path, "no key")]}
    daemon = daemons(project.sections(valkey, sink, mail=bad)).start(ready=False)

    assert daemon.wait() == 78
    assert "mail.dkim.0: the key is no private key in PEM" in daemon.log
