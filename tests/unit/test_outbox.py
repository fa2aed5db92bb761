"""The outbox: files that are whole, in their place, or not there."""

from __future__ import annotations

from pathlib import Path

from mailerd.message import Message
from mailerd.outcome import Kind
from mailerd.transports.outbox import OutboxTransport


def message(content: bytes = b"Subject: x\r\n\r\n", name: str = "<1@example.com>") -> Message:
    return Message("a@example.com", "b@example.com", content, name, "batch-1")


def test_a_mail_written_again_takes_its_own_place(tmp_path: Path) -> None:
    """The same Message-ID is the same file, whose name shows no address; nothing else is left behind."""
    session = OutboxTransport(tmp_path / "out").conversation()

    session.deliver(message(b"one\r\n"), lambda: True)
    session.deliver(message(b"two\r\n"), lambda: True)
    session.deliver(message(b"three\r\n", "<2@example.com>"), lambda: False)

    (file,) = (tmp_path / "out").rglob("*.*")
    assert file.parent == tmp_path / "out" / "batch-1"
    assert file.suffix == ".eml"
    assert file.read_bytes() == b"two\r\n"
    assert "@" not in file.name


def test_a_folder_that_cannot_be_blocks_the_route_before_it_begins(tmp_path: Path) -> None:
    """Where nothing can be written the route is blocked, says where, and ``begin`` is not asked."""
    (tmp_path / "out").write_text("a file stands where the folder should")
    asked: list[bool] = []

    outcome = (
        OutboxTransport(tmp_path / "out").conversation().deliver(message(), lambda: not asked.append(True))
    )

    assert outcome.kind is Kind.BLOCKED
    assert str(tmp_path / "out") in outcome.reason
    assert asked == []
