"""
One slot of the board: where each field lies, and in which order it is written.

Every field has one writer and no lock; a group's payload is written before the one byte that makes it count.
Knows nothing of files or processes; ``file.py`` hands it the mapped memory.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Sequence
from typing import Generic, TypeVar

from mailerd.board.ring import RING_SIZE, Ring
from mailerd.board.tally import TALLY_SIZE, Tally
from mailerd.board.values import Answered, Group, GroupRemains, Phase, RecipientRemains, Remains, SlotState
from mailerd.outcome import Kind, Outcome

# Inside a slot: numbers first, then texts, each a length (2 bytes) and room for its bytes.
_STATE_AT, _STOP_AT, _OPEN_AT, _COUNT_AT = 8, 9, 10, 12
_INCARNATION_AT, _INCARNATION_ROOM = 48, 32
_CLIENT_AT, _BATCH_AT, _NAME_ROOM = 82, 212, 128
_TALLY_AT = 344
_TURN_AT = _TALLY_AT + TALLY_SIZE
_ERA_AT, _ERA_ROOM = _TURN_AT + 8, 102
_RING_AT = _ERA_AT + 104
_SLOT_SIZE = _RING_AT + RING_SIZE
# Inside the entry of one recipient.
_PHASE_AT = 0
_KIND_AT, _KIND_ROOM = 4, 16
_PROVIDER_AT, _PROVIDER_ROOM = 22, 128
_REASON_AT, _REASON_ROOM = 152, 200
_CONTACT_AT, _CONTACT_ROOM = 354, 1024
_ENTRY_SIZE = 1384
# Of a group: recipients for each connection, and recipients at most unless there are more connections.
_EACH, _MOST = 8, 64

_U16 = struct.Struct("@H")
_Number = TypeVar("_Number", int, float)


class _Cell(Generic[_Number]):
    """A number at a fixed place of a slot, aligned so that no reader sees half of it."""

    def __init__(self, code: str, offset: int) -> None:
        self._struct = struct.Struct(f"@{code}")
        self._offset = offset

    def __get__(self, slot: Slot, _: type[Slot]) -> _Number:
        value: _Number = self._struct.unpack_from(slot.memory, slot.base + self._offset)[0]
        return value

    def __set__(self, slot: Slot, value: _Number) -> None:
        self._struct.pack_into(slot.memory, slot.base + self._offset, value)


class Slot:
    """
    The place of one worker on the board; ``number`` counts from 1.

    ``deadline``: CLOCK_MONOTONIC seconds by which the worker will have written a new one, 0 for none;
    whoever is late counts as wedged. ``progress``: when something was last settled. ``jobs``: how many
    it has worked on. ``settled``: how many recipients it has settled. All of this life only; ``tally`` counts
    on over all the workers that have this slot in turn, and ``ring`` keeps what their hand-overs came to.
    ``turn``: changes whenever the group in hand does. ``peers``: all slots of the board.
    """

    pid: _Cell[int] = _Cell("I", 0)
    generation: _Cell[int] = _Cell("I", 4)
    deadline: _Cell[float] = _Cell("d", 16)
    progress: _Cell[float] = _Cell("d", 24)
    jobs: _Cell[int] = _Cell("Q", 32)
    settled: _Cell[int] = _Cell("Q", 40)
    turn: _Cell[int] = _Cell("Q", _TURN_AT)

    def __init__(self, memory: mmap.mmap, base: int, number: int, room: int) -> None:
        self.memory = memory
        self.base = base
        self.number = number
        self.room = room
        self.tally = Tally(memory, base + _TALLY_AT)
        self.ring = Ring(memory, base + _RING_AT)
        self.peers: Sequence[Slot] = (self,)

    @property
    def state(self) -> SlotState:
        """What the worker is doing."""
        return SlotState(self.memory[self.base + _STATE_AT])

    @state.setter
    def state(self, state: SlotState) -> None:
        self.memory[self.base + _STATE_AT] = state

    @property
    def stop_flag(self) -> bool:
        """Whether nothing more may be handed over; looked at before each hand-over."""
        return self.memory[self.base + _STOP_AT] != 0

    @stop_flag.setter
    def stop_flag(self, raised: bool) -> None:
        self.memory[self.base + _STOP_AT] = raised

    @property
    def incarnation(self) -> str:
        """The name of this life of the worker: at most 32 ASCII characters, never used again."""
        return self._read(_INCARNATION_AT)

    @incarnation.setter
    def incarnation(self, incarnation: str) -> None:
        self.clear_group()
        self._write(_INCARNATION_AT, _INCARNATION_ROOM, incarnation)

    @property
    def era(self) -> str:
        """Which life of Redis knows everything that the ring tells; empty for none."""
        return self._read(_ERA_AT)

    @era.setter
    def era(self, era: str) -> None:
        self._write(_ERA_AT, _ERA_ROOM, era)

    def open(self, incarnation: str, generation: int, deadline: float) -> None:
        """Prepare the slot for a new worker, before it is forked; what a former one left is forgotten."""
        self.clear_group()
        self._write(_INCARNATION_AT, _INCARNATION_ROOM, incarnation)
        self.pid = self.jobs = self.settled = 0
        self.generation = generation
        self.progress = 0.0
        self.deadline = deadline
        self.stop_flag = False
        self.state = SlotState.BOOTING

    def close(self) -> None:
        """Leave the slot empty; its remains have been read."""
        self.clear_group()
        self.deadline = 0.0
        self.pid = 0
        self.state = SlotState.EMPTY

    def begin_group(self, group: Group) -> None:
        """Note who is in hand, each CLAIMED; to be called before the recipients are claimed in the ledger."""
        if len(group.contact_ids) > self.room:
            raise ValueError(f"a group has at most {self.room} recipients")
        self.clear_group()
        self._write(_CLIENT_AT, _NAME_ROOM, group.client_id)
        self._write(_BATCH_AT, _NAME_ROOM, group.batch_id)
        for index, contact_id in enumerate(group.contact_ids):
            entry = self._entry(index)
            self.memory[self.base + entry + _PHASE_AT] = Phase.CLAIMED
            self._write(entry + _CONTACT_AT, _CONTACT_ROOM, contact_id)
        _U16.pack_into(self.memory, self.base + _COUNT_AT, len(group.contact_ids))
        self.memory[self.base + _OPEN_AT] = 1

    def hand_over(self, index: int) -> None:
        """Note, with a single byte, that from now on the recipient may have the mail."""
        self.memory[self.base + self._entry(index) + _PHASE_AT] = Phase.HANDED_OVER

    def answer(self, index: int, outcome: Outcome) -> None:
        """Note what became of the recipient; too long a reason or id is cut."""
        entry = self._entry(index)
        self._write(entry + _KIND_AT, _KIND_ROOM, outcome.kind)
        self._write(entry + _PROVIDER_AT, _PROVIDER_ROOM, outcome.provider_id)
        self._write(entry + _REASON_AT, _REASON_ROOM, outcome.reason)
        self.memory[self.base + entry + _PHASE_AT] = Phase.OUTCOME

    def clear_group(self) -> None:
        """Forget the group: everybody in it is settled."""
        self.turn += 1
        self.memory[self.base + _OPEN_AT] = 0

    def read_group(self) -> GroupRemains | None:
        """The group in hand; meant for another process after the owner's death."""
        if not self.memory[self.base + _OPEN_AT]:
            return None
        count = _U16.unpack_from(self.memory, self.base + _COUNT_AT)[0]
        recipients = tuple(self._recipient(self._entry(index)) for index in range(count))
        return GroupRemains(self._read(_CLIENT_AT), self._read(_BATCH_AT), recipients)

    def recall(self, now: float) -> list[Answered]:
        """
        Who has been handed over, at the moment without an answer or lately; for any process, at any time.

        The group in hand is read first: what is settled meanwhile is in the ring by then.
        """
        group, incarnation = self._read_steady_group()
        handed = () if group is None else group.recipients
        begun = [one for one in handed if one.phase is not Phase.CLAIMED]
        outcomes = tuple((one.contact_id, _lasting(one)) for one in begun if _counts(one))
        if group is None or not outcomes:
            return self.ring.read()
        return [Answered(now, incarnation, group.client_id, group.batch_id, outcomes), *self.ring.read()]

    def _read_steady_group(self) -> tuple[GroupRemains | None, str]:
        """The group in hand though its owner lives and goes on."""
        while True:
            turn = self.turn
            try:
                found = self.read_group(), self.incarnation
            except ValueError:  # half of one text, half of another
                if turn == self.turn:
                    raise
                continue
            if turn == self.turn:
                return found

    def remains(self) -> Remains:
        """What the worker that had this slot left; to be read after its death."""
        return Remains(self.incarnation, self.read_group())

    def note_end(self, now: float) -> None:
        """Put whom the dead worker had in hand on the ring; to be called before its name leaves the slot."""
        answered = self.remains().answered(now)
        if answered is not None:
            self.ring.add(answered)

    def _entry(self, index: int) -> int:
        return _SLOT_SIZE + index * _ENTRY_SIZE

    def _recipient(self, entry: int) -> RecipientRemains:
        phase = Phase(self.memory[self.base + entry + _PHASE_AT])
        outcome = None
        if phase is Phase.OUTCOME:
            kind = Kind(self._read(entry + _KIND_AT))
            outcome = Outcome(kind, self._read(entry + _REASON_AT), self._read(entry + _PROVIDER_AT))
        return RecipientRemains(self._read(entry + _CONTACT_AT), phase, outcome)

    def _write(self, offset: int, room: int, text: str) -> None:
        at, raw = self.base + offset, text.encode()
        if len(raw) > room:
            raw = raw[:room].decode(errors="ignore").encode()
        self.memory[at + 2 : at + 2 + len(raw)] = raw
        _U16.pack_into(self.memory, at, len(raw))

    def _read(self, offset: int) -> str:
        at = self.base + offset
        length = _U16.unpack_from(self.memory, at)[0]
        return self.memory[at + 2 : at + 2 + length].decode()


def _lasting(one: RecipientRemains) -> Kind | None:
    return one.outcome.kind if one.outcome else None


def _counts(one: RecipientRemains) -> bool:
    return _lasting(one) in (None, Kind.SENT, Kind.UNKNOWN)


def slot_size(room: int) -> int:
    """The bytes of one slot whose groups have at most ``room`` recipients."""
    return _SLOT_SIZE + room * _ENTRY_SIZE


def room_for(connections: int) -> int:
    """How many recipients a worker of so many connections may have in hand: several for each."""
    return max(connections, min(_EACH * connections, _MOST))
