"""The state table that USR1 writes to the log, and the one line for the service manager; pure."""

from __future__ import annotations

from mailerd.board import Board, Slot, SlotState


def rows(board: Board, now: float) -> list[str]:
    """One line for the supervisor and one for each worker."""
    supervisor = f"supervisor: last went round {now - board.heartbeat:.1f} s ago"
    return [supervisor, *(_row(slot, now) for slot in board.slots if slot.state != SlotState.EMPTY)]


def staffing(board: Board, wanted: int, trouble: str) -> str:
    """How many workers there are of how many, and what keeps one away."""
    present = sum(slot.state not in {SlotState.EMPTY, SlotState.BOOTING} for slot in board.slots)
    return f"{present}/{wanted} workers" + (f" ({trouble})" if trouble else "")


def _row(slot: Slot, now: float) -> str:
    progress = f"{now - slot.progress:.1f} s ago" if slot.progress else "never"
    deadline = f"in {slot.deadline - now:.1f} s" if slot.deadline else "none"
    return (
        f"worker {slot.number}: pid {slot.pid}, {slot.state.name.lower()}, generation {slot.generation}, "
        f"{slot.jobs} jobs, {slot.settled} recipients settled, last progress {progress}, deadline {deadline}"
    )
