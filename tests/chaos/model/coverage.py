"""Which script is which function of the model, and why some are none; a test holds it against the folder."""

from __future__ import annotations

from collections.abc import Callable

from chaos.model import lists, rows

MODELLED: dict[str, Callable[..., object]] = {
    step.__name__.rstrip("_"): step
    for step in (
        lists.ack_and_take,
        lists.bury,
        lists.draw,
        lists.finish,
        lists.give_back,
        lists.leave,
        lists.park,
        lists.promote,
        lists.reap,
        lists.register,
        lists.renew,
        lists.revive,
        lists.take,
        lists.unpark,
        rows.act,
        rows.admit,
        rows.arrive,
        rows.claim,
        rows.mark,
        rows.open_,
        rows.replay,
        rows.resolve,
        rows.sweep,
    )
}

NOT_MODELLED = {
    "alert": "touches what the log says, and no mail (test_alerts)",
    "alert_over": "the same",
    "call_up": "moves slices from a line to the queue, one list to the other",
    "discard": "nothing is handed over, and all is one step (test_discards, test_interleavings)",
    "enqueue": "its repeat is known by the request's token, whatever came in between (test_enqueue)",
    "enqueue_all": "the same for several batches (test_bulk_and_pages)",
    "figures": "reads",
    "forget": "touches only what ended weeks ago",
    "grant": "touches limits alone",
    "limits": "reads",
    "line_up": "finish, with what is left in a line instead of aside (test_limits)",
    "permit": "touches limits alone: they say who goes when, and never whose turn a recipient is",
    "pin": "touches the template alone",
    "record": "literal BRPOP is exempt from the promise between pop and record",
}
