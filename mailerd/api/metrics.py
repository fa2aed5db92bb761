"""
``GET /metrics``: the queue as Redis tells it, and this daemon as its board tells it, for Prometheus.

Answers also while Redis is away: then the queue's part is missing and ``mailerd_redis_up`` is 0. What is said
of the queue is the same from every daemon on it; what is said of the daemon adds up over daemons. Labels are
bounded: states, outcomes, events and worker numbers only. Routed by ``app.py``.
"""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import reduce
from importlib.metadata import version
from operator import add

import falcon

from mailerd.api.access import caller_of
from mailerd.api.exposition import CONTENT_TYPE, Family, Sample, Type, gauge, histogram, labelled, render
from mailerd.api.ports import Sources
from mailerd.api.problems import Refusal
from mailerd.board import Event, Histogram, Slot, SlotState
from mailerd.errors import RedisRefused, RedisUnavailable
from mailerd.outcome import Kind
from mailerd.queue.figures import QueueFigures
from mailerd.queue.limit_views import LimitView


class Metrics:
    """The resource."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Every family, read now; a client's key does not open it, since it counts everybody's."""
        if caller_of(req).client_id is not None:
            raise Refusal(403, "metrics tell of every client: they need a key that opens every client's")
        resp.content_type = CONTENT_TYPE
        resp.data = render(self._families())

    on_head = on_get

    def _families(self) -> Iterator[Family]:
        labels = {"version": version("mailerd"), "python": platform.python_version()}
        told = "Which mailerd this is; always 1."
        yield Family("mailerd_build_info", Type.GAUGE, told, (Sample(1, labels),))
        try:
            figures, limits = self._sources.queue(), self._sources.limits()
        except (RedisUnavailable, RedisRefused):
            yield gauge("mailerd_redis_up", "Whether Redis answered this scrape.", 0)
        else:
            yield gauge("mailerd_redis_up", "Whether Redis answered this scrape.", 1)
            yield from _queue(figures)
            yield from _limits(limits)
        used = [slot for slot in self._sources.slots if slot.tally.count_of(Event.BORN)]
        yield from _deliveries(used)
        yield _events(used, self._sources.events())
        yield from _workers(used, self._sources.memory)


def _queue(figures: QueueFigures) -> Iterator[Family]:
    yield gauge("mailerd_queue_jobs", "Jobs that wait in the queue.", figures.length)
    yield gauge(
        "mailerd_queue_oldest_seconds",
        "How long the job that is next has waited; of one that another program pushed, since it was seen.",
        figures.oldest_seconds,
    )
    yield gauge("mailerd_queue_put_aside_jobs", "Jobs put aside until a retry is due.", figures.put_aside)
    yield gauge("mailerd_dead_letters", "Jobs that were buried and wait for an operator.", figures.dead)
    yield gauge(
        "mailerd_queue_workers", "Workers of all daemons that hold a living lease.", figures.workers_alive
    )
    batches = {
        "open": figures.batches_open,
        "needs_attention": figures.batches_needing_attention,
        "ended": figures.batches_ended,
    }
    text = "Batches that are not deleted yet, by state."
    yield labelled("mailerd_batches", Type.GAUGE, text, "state", batches.items())
    text = "Recipients of all batches that are not deleted yet, by state."
    yield labelled("mailerd_recipients", Type.GAUGE, text, "state", figures.recipients.items())
    text = "Recipients accepted less those in any state; anything but 0 is an error of mailerd."
    yield gauge("mailerd_conservation_gap", text, figures.conservation_gap)


def _limits(views: Iterable[LimitView]) -> Iterator[Family]:
    views = list(views)
    rates = [view for view in views if view.per_second]
    days = [view for view in views if view.per_day]
    text = "Mails a second that each limit lets through now, over all hosts."
    yield labelled("mailerd_limit_rate", Type.GAUGE, text, "limit", [(v.name, v.per_second) for v in rates])
    text = "What of each limit is in a worker's hand or not free again yet."
    yield labelled("mailerd_limit_in_use", Type.GAUGE, text, "limit", [(v.name, v.in_use) for v in rates])
    text = "Mails that each limit still lets through, of those in 24 hours."
    left = [(view.name, max(0, view.per_day - view.used)) for view in days]
    yield labelled("mailerd_limit_day_left", Type.GAUGE, text, "limit", left)
    text = "Slices of batches that stand in line for each limit."
    yield labelled(
        "mailerd_limit_slices_in_line", Type.GAUGE, text, "limit", [(v.name, v.in_line) for v in views]
    )


def _deliveries(slots: Iterable[Slot]) -> Iterator[Family]:
    tallies = [slot.tally for slot in slots]
    outcomes = dict.fromkeys(Kind, 0)
    for tally in tallies:
        for kind, number in tally.outcomes():
            outcomes[kind] += number
    text = "What attempts to deliver came to, by this daemon's workers."
    yield labelled("mailerd_outcomes_total", Type.COUNTER, text, "outcome", outcomes.items())
    if tallies:
        text = "How long hand-overs to the transport took."
        yield _summed("mailerd_hand_over_seconds", text, [tally.hand_overs() for tally in tallies])
        text = "How long jobs that were enqueued over HTTP waited for a worker."
        yield _summed("mailerd_pick_up_seconds", text, [tally.pick_ups() for tally in tallies])


def _summed(name: str, text: str, histograms: Iterable[Histogram]) -> Family:
    whole = reduce(add, histograms)
    return histogram(name, text, whole.bounds, whole.counts, whole.total)


def _events(slots: Iterable[Slot], janitors: Mapping[str, int]) -> Family:
    counts = Counter(janitors)
    counts["lease_lost"] = sum(slot.tally.count_of(Event.LEASE_LOST) for slot in slots)
    counts["recipient_busy"] = sum(slot.tally.count_of(Event.BUSY) for slot in slots)
    counts["recipient_limited"] = sum(slot.tally.count_of(Event.LIMITED) for slot in slots)
    counts["recipient_unknown"] += sum(dict(slot.tally.outcomes())[Kind.UNKNOWN] for slot in slots)
    text = "Rare events of leases and of the ledger, in this daemon."
    return labelled("mailerd_events_total", Type.COUNTER, text, "event", sorted(counts.items()))


def _workers(slots: Iterable[Slot], memory: Callable[[int], int]) -> Iterator[Family]:
    by_number = {str(slot.number): slot for slot in slots}
    states = tuple(
        Sample(slot.state == state, {"worker": number, "state": state.name.lower()})
        for number, slot in by_number.items()
        for state in SlotState
    )
    yield Family("mailerd_worker_state", Type.GAUGE, "What each worker is doing: 1 for its state.", states)
    text = "Memory that each worker has for itself (USS)."
    sizes = [(number, memory(slot.pid)) for number, slot in by_number.items() if slot.pid]
    yield labelled("mailerd_worker_uss_bytes", Type.GAUGE, text, "worker", sizes)
    born = {number: slot.tally.count_of(Event.BORN) - 1 for number, slot in by_number.items()}
    text = "How often each worker was replaced, for whatever reason."
    yield labelled("mailerd_worker_restarts_total", Type.COUNTER, text, "worker", born.items())
    died = {number: slot.tally.count_of(Event.DIED) for number, slot in by_number.items()}
    text = "How often each worker ended otherwise than in order."
    yield labelled("mailerd_worker_deaths_total", Type.COUNTER, text, "worker", died.items())
