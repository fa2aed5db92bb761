"""The board: what a worker writes is what its heirs read, at every moment of its life."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path

import pytest

from mailerd.board import Answered, Board, Group, GroupRemains, Phase, Remains, Slot, SlotState
from mailerd.errors import BoardHeld, ConfigurationError, DiskFull
from mailerd.outcome import Kind, Outcome

GROUP = Group("acme", "batch-1", ["ann", "böb", "x" * 256])
SENT = Outcome(Kind.SENT, "250 2.0.0 Ok: queued as 4F2", "4F2")


def phases(slot: Slot) -> list[Phase]:
    group = slot.read_group()
    return [recipient.phase for recipient in group.recipients] if group else []


def test_a_group_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Names, phases and outcomes of a group come back whole."""
    slot = Board.create(tmp_path, 4, 3).slots[2]
    slot.open("incarnation-1", 1, 0.0)

    slot.begin_group(GROUP)
    slot.hand_over(0)
    slot.hand_over(1)
    slot.answer(1, SENT)

    group = slot.read_group()
    assert group is not None
    assert (group.client_id, group.batch_id) == ("acme", "batch-1")
    assert [recipient.contact_id for recipient in group.recipients] == ["ann", "böb", "x" * 256]
    assert phases(slot) == [Phase.HANDED_OVER, Phase.OUTCOME, Phase.CLAIMED]
    assert [recipient.outcome for recipient in group.recipients] == [None, SENT, None]


def test_a_cleared_group_is_gone(tmp_path: Path) -> None:
    """After ``clear_group``, and in a slot opened anew, nobody is in hand."""
    slot = Board.create(tmp_path, 1, 3).slots[0]
    slot.open("incarnation-1", 1, 0.0)
    slot.begin_group(GROUP)
    slot.clear_group()

    assert slot.read_group() is None

    slot.begin_group(GROUP)
    slot.open("incarnation-2", 1, 0.0)

    assert slot.remains() == Remains("incarnation-2", None)


def test_too_long_texts_are_cut_between_characters(tmp_path: Path) -> None:
    """A reason longer than its room is cut at a whole character, and the neighbours stay intact."""
    slot = Board.create(tmp_path, 1, 3).slots[0]
    slot.begin_group(GROUP)
    slot.answer(0, Outcome(Kind.DEFERRED, "a" + "é" * 200, "p" * 300))

    group = slot.read_group()
    assert group is not None
    assert group.recipients[0].outcome == Outcome(Kind.DEFERRED, "a" + "é" * 99, "p" * 128)
    assert group.recipients[1].contact_id == "böb"


def test_the_longest_ids_fit(tmp_path: Path) -> None:
    """Client, batch and contact ids of the greatest length, in the widest characters, are kept whole."""
    slot = Board.create(tmp_path, 1, 1).slots[0]
    slot.begin_group(Group("c" * 128, "b" * 128, ["😀" * 256]))

    group = slot.read_group()
    assert group is not None
    assert (group.client_id, group.batch_id) == ("c" * 128, "b" * 128)
    assert group.recipients[0].contact_id == "😀" * 256


def test_a_group_has_at_most_as_many_recipients_as_it_has_room_for(tmp_path: Path) -> None:
    """A larger group is refused before anything is written into the next slot."""
    board = Board.create(tmp_path, 2, 2)

    with pytest.raises(ValueError, match="at most 2"):
        board.slots[0].begin_group(GROUP)

    assert board.slots[1].read_group() is None


def test_numbers_and_flags_do_not_touch_each_other(tmp_path: Path) -> None:
    """Every number of a slot is kept by itself, also beside a neighbour that is full."""
    board = Board.create(tmp_path, 2, 3)
    slot, neighbour = board.slots
    slot.open("a" * 32, 7, 12.5)
    slot.pid, slot.jobs, slot.settled, slot.progress = 4_194_304, 3, 2**40, 99.25
    slot.state, slot.stop_flag = SlotState.SENDING, True
    neighbour.open("b" * 32, 8, 1.0)
    board.heartbeat = 5.5

    assert (slot.pid, slot.generation, slot.jobs, slot.settled) == (4_194_304, 7, 3, 2**40)
    assert (slot.deadline, slot.progress, slot.state) == (12.5, 99.25, SlotState.SENDING)
    assert (slot.stop_flag, neighbour.stop_flag) == (True, False)
    assert (slot.incarnation, neighbour.incarnation) == ("a" * 32, "b" * 32)
    assert board.heartbeat == 5.5


def test_another_process_reads_what_a_killed_worker_wrote(tmp_path: Path) -> None:
    """What a worker wrote right before its SIGKILL is what its parent reads."""
    slot = Board.create(tmp_path, 1, 3).slots[0]
    slot.open("incarnation-1", 1, 0.0)
    child = os.fork()
    if child == 0:
        slot.begin_group(GROUP)
        slot.hand_over(2)
        os.kill(os.getpid(), signal.SIGKILL)

    os.waitpid(child, 0)

    assert phases(slot) == [Phase.CLAIMED, Phase.CLAIMED, Phase.HANDED_OVER]


def test_the_next_life_reads_the_remains(tmp_path: Path) -> None:
    """A new board, even of other dimensions, finds what the workers of the lives before had in hand."""
    for life in ("first", "second"):
        board = Board.create(tmp_path, 4, 3)
        board.slots[1].open(life, 1, 0.0)
        board.slots[1].begin_group(GROUP)
        board.slots[1].answer(0, SENT)
        board.close()

    Board.create(tmp_path, 2, 1)

    remains = {left.incarnation: left.group for left in Board.previous(tmp_path)}
    assert remains.keys() == {"first", "second"}
    assert remains["first"] == remains["second"] == board_group(tmp_path / "elsewhere")

    Board.forget(tmp_path, "first")

    assert [left.incarnation for left in Board.previous(tmp_path)] == ["second"]


def board_group(state_dir: Path) -> GroupRemains | None:
    slot = Board.create(state_dir, 1, 3).slots[0]
    slot.begin_group(GROUP)
    slot.answer(0, SENT)
    return slot.read_group()


def test_a_cleared_slot_is_remembered_until_it_is_settled(tmp_path: Path) -> None:
    """What a worker left outlives the reuse of its slot and the daemon, and goes when it is forgotten."""
    board = Board.create(tmp_path, 1, 3)
    slot = board.slots[0]
    slot.open("first", 1, 0.0)
    slot.begin_group(GROUP)

    remains = board.clear(slot, 0.0)

    assert (slot.state, slot.read_group()) == (SlotState.EMPTY, None)
    assert remains.group is not None
    assert Board.previous(tmp_path) == [remains]

    board.close()
    Board.create(tmp_path, 1, 3)
    assert Board.previous(tmp_path) == [remains]

    Board.forget(tmp_path, "first")
    Board.forget(tmp_path, "first")
    assert Board.previous(tmp_path) == []


def test_what_is_settled_while_it_is_listed_is_passed_over(tmp_path: Path) -> None:
    """Remains that the janitor forgets between listing and reading are no fault, and hide no others."""
    board = Board.create(tmp_path, 1, 3)
    board.slots[0].open("kept", 1, 0.0)
    remains = board.clear(board.slots[0], 0.0)
    (tmp_path / "remains" / "gone.json").symlink_to(tmp_path / "nowhere")  # listed, and not there to be read

    assert Board.previous(tmp_path) == [remains]


def test_a_slot_is_cleared_also_when_its_remains_cannot_be_kept(tmp_path: Path) -> None:
    """A full or broken disk costs the memory over a restart, not the worker's successor."""
    board = Board.create(tmp_path, 1, 3)
    board.slots[0].open("first", 1, 0.0)
    board.slots[0].begin_group(GROUP)
    (tmp_path / "remains").touch()

    remains = board.clear(board.slots[0], 0.0)

    assert remains.group is not None
    assert board.slots[0].state == SlotState.EMPTY


def test_a_life_whose_workers_all_left_has_no_remains(tmp_path: Path) -> None:
    """A slot that was closed tells nothing to the next life."""
    board = Board.create(tmp_path, 1, 1)
    board.slots[0].open("first", 1, 0.0)
    board.slots[0].close()
    board.close()

    Board.create(tmp_path, 1, 1)

    assert Board.previous(tmp_path) == []


def test_what_is_from_before_the_last_boot_names_only_the_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a reboot nobody knows what had reached the disk: no phase, on the board or kept, is believed."""
    board = Board.create(tmp_path, 2, 3)
    for slot, incarnation in zip(board.slots, ("kept", "open"), strict=True):
        slot.open(incarnation, 1, 0.0)
        slot.begin_group(GROUP)
    board.clear(board.slots[0], 0.0)
    board.close()
    monkeypatch.setattr("mailerd.board.file._boot", lambda: "another boot")

    Board.create(tmp_path, 1, 3)

    assert Board.previous(tmp_path) == [Remains("kept", None), Remains("open", None)]


def ended(tmp_path: Path, *, sealed: bool) -> Remains:
    """A life ends: one worker was cleared with recipients in hand, Redis being away; the ring of another."""
    board = Board.create(tmp_path, 2, 3)
    board.slots[0].open("9", 1, 0.0)
    board.slots[0].begin_group(GROUP)
    board.slots[0].answer(0, SENT)
    board.slots[0].era = board.slots[1].era = "e1"
    board.slots[1].ring.add(Answered(1.0, "77", "shop", "b1", (("a", Kind.SENT),)))
    remains = board.clear(board.slots[0], 5.0)
    if sealed:
        board.seal()
    board.close()
    return remains


def test_what_was_sealed_is_believed_after_a_reboot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whom a worker had in hand, and the rings; also once the life after the reboot has ended anyhow."""
    remains = ended(tmp_path, sealed=True)
    monkeypatch.setattr("mailerd.board.file._boot", lambda: "another boot")

    board = Board.create(tmp_path, 2, 3)
    assert Board.previous(tmp_path) == [remains]
    assert [len(slot.ring.read()) for slot in board.slots] == [1, 1]
    assert [slot.era for slot in board.slots] == ["e1", "e1"]
    board.close()
    Board.create(tmp_path, 2, 3).close()
    assert Board.previous(tmp_path) == [remains]


def test_a_life_that_was_not_sealed_is_not_believed_after_a_reboot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither its remains nor its rings, though the one before it was: its power was cut."""
    ended(tmp_path, sealed=True)
    Board.create(tmp_path, 2, 3).close()
    monkeypatch.setattr("mailerd.board.file._boot", lambda: "another boot")

    board = Board.create(tmp_path, 2, 3)
    assert Board.previous(tmp_path) == [Remains("9", None)]
    assert [slot.ring.read() for slot in board.slots] == [[], []]


def test_a_sealed_board_that_a_power_cut_brings_back_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That it was put away may not have reached the disk; that its seal was broken has."""
    ended(tmp_path, sealed=True)
    (tmp_path / "kept").hardlink_to(tmp_path / "board")
    Board.create(tmp_path, 2, 3).close()
    (tmp_path / "kept").replace(tmp_path / "board")
    monkeypatch.setattr("mailerd.board.file._boot", lambda: "another boot")

    board = Board.create(tmp_path, 2, 3)
    assert Board.previous(tmp_path) == [Remains("9", None)]
    assert [slot.ring.read() for slot in board.slots] == [[], []]


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 10_000])
def test_an_unreadable_board_is_passed_over(tmp_path: Path, content: bytes) -> None:
    """A file of another layout, or one cut short, is replaced."""
    (tmp_path / "board").write_bytes(content)

    Board.create(tmp_path, 1, 3)

    assert Board.previous(tmp_path) == []


def test_a_state_directory_belongs_to_one_daemon(tmp_path: Path) -> None:
    """The second taker is told who holds it, until every process of the first has let go."""
    board = Board.create(tmp_path, 1, 1)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(write)
        os.read(read, 1)
        os._exit(0)
    os.close(read)
    board.close()

    with pytest.raises(BoardHeld, match=f"pid {os.getpid()}"):
        Board.create(tmp_path, 1, 1)

    os.close(write)
    os.waitpid(child, 0)
    Board.create(tmp_path, 1, 1).close()


def test_a_disk_that_is_full_is_no_problem_of_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gets better by itself: systemd is to start the daemon again."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)
        with pytest.raises(DiskFull, match=f"{tmp_path}.*No space left") as caught:
            Board.create(tmp_path, 1, 1)
    assert caught.value.exit_code == 70


def test_a_state_directory_that_cannot_be_made_is_a_problem_of_the_configuration(tmp_path: Path) -> None:
    """The problem names the key and the path."""
    (tmp_path / "file").touch()

    with pytest.raises(ConfigurationError, match=r"daemon\.state_dir: .*file"):
        Board.create(tmp_path / "file" / "state", 1, 1)
