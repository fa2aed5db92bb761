"""The HTTP calls of the contract over the real queue: what each answers, and what is in Redis afterwards."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest

from mailerd.message import message_id
from mailerd.outcome import Kind
from rigs.door import Door, job
from rigs.ledger_bench import LedgerBench, booking, contacts
from rigs.ledger_bench import job as ledger_job
from rigs.redis_server import RedisServer
from rigs.waiting import wait_until

SHOP, CLUB, ALL = "shop-token", "club-token", "every-token"


@pytest.fixture
def door(valkey: RedisServer) -> Iterator[Door]:
    """A door without keys."""
    with Door(valkey.url) as door:
        yield door


@pytest.fixture
def guarded(valkey: RedisServer) -> Iterator[Door]:
    """A door with a key for each of two clients, and one for every client."""
    with Door(valkey.url, {SHOP: "shop", CLUB: "club", ALL: "*"}) as door:
        yield door


def queued(valkey: RedisServer) -> list[dict[str, object]]:
    """The jobs on the list, the oldest first."""
    with valkey.client() as client:
        return [json.loads(raw) for raw in reversed(client.lrange("email_queue", 0, -1))]  # type: ignore[arg-type, union-attr]  # "sync or async"


def test_a_job_is_queued_once_and_replayed_after(door: Door, valkey: RedisServer) -> None:
    """202, then 200 with the contacts in another order and repeated, then 409 with other content."""
    answer = door.post(job("b-1", "shop", "a", "b", "a"))
    assert (answer.status, answer.headers["location"]) == (202, "/batches/b-1")
    assert answer.json == {"queued": True, "batch_id": "b-1", "recipients": 2}
    answer = door.post(job("b-1", "shop", "b", "a", "b", "b"))
    assert (answer.status, answer.headers["location"]) == (200, "/batches/b-1")
    assert answer.json == {"queued": True, "batch_id": "b-1", "recipients": 2, "replayed": True}
    door.post(job("b-1", "shop", "a")).problem(409)
    door.post(job("b-1", variables={"x": 1})).problem(409)
    assert door.post(job("b-1", "club")).status == 202
    assert [one["client_id"] for one in queued(valkey)] == ["shop", "club"]


def test_an_idempotency_key_stands_for_a_batch(door: Door, valkey: RedisServer) -> None:
    """The same key of the same client is the same batch; another client's is not; batch_id wins over it."""
    first = door.post(job(None), Idempotency_Key="order 17")
    again = door.post(job(None), Idempotency_Key="order 17")
    assert (first.status, again.status) == (202, 200)
    assert UUID(first.json["batch_id"]).version == 5
    assert again.json == {**first.json, "replayed": True}
    door.post(job(None, "shop", "z"), Idempotency_Key="order 17").problem(409)
    other = door.post(job(None, "club"), Idempotency_Key="order 17")
    assert other.json["batch_id"] != first.json["batch_id"]
    assert door.post(job("b-1"), Idempotency_Key="order 17").json["batch_id"] == "b-1"
    assert len(queued(valkey)) == 3


def test_a_replay_is_known_after_a_restart_the_end_of_the_batch_and_its_retention(
    valkey: RedisServer,
) -> None:
    """The same content is replayed by another daemon, when all is sent, and when the batch is deleted."""
    with Door(valkey.url) as door:
        door.post(job("b-1", "shop", "a", "b"))
    with Door(valkey.url) as door, valkey.client() as client:
        replay = {"queued": True, "batch_id": "b-1", "recipients": 2, "replayed": True}
        assert door.post(job("b-1", "shop", "b", "a")).json == replay
        bench = LedgerBench(client, valkey.url, retention_days=1e-9)
        worker = bench.hands()
        claim = worker.took()
        batch = worker.admit(ledger_job(["a", "b"], "b-1", template="hello"))
        worker.claim(batch, "a", "b")
        worker.mark(batch, booking("a", Kind.SENT), booking("b", Kind.SENT))
        worker.claims.ack(claim)
        assert door.get("/batches/b-1").json["state"] == "done"
        assert door.post(job("b-1", "shop", "b", "a")).json == replay
        wait_until(bench.upkeep.forget_old_batches, 5, "the batch is kept")
        door.get("/batches/b-1").problem(404)
        assert door.post(job("b-1", "shop", "b", "a")).json == replay
        door.post(job("b-1", "shop", "a")).problem(409)
        assert door.bulk(job("b-1", "shop", "b", "a")).json["replayed"] == 1
    assert queued(valkey) == []


def test_parallel_copies_of_one_post_are_one_batch(door: Door, valkey: RedisServer) -> None:
    """200 copies at once: one is queued, every other is a replay, one job lies in the list."""
    with ThreadPoolExecutor(50) as clients:
        answers = list(clients.map(lambda _: door.post(job()), range(200)))
    # A refusal for want of time is an answer too: its client comes again.
    answered = [answer for answer in answers if answer.status != 503]
    assert sorted(answer.status for answer in answered) == [200] * (len(answered) - 1) + [202]
    assert len(answered) > 100
    assert len(queued(valkey)) == 1


def test_bulk_queues_a_batch_for_each_client_and_id(door: Door, valkey: RedisServer) -> None:
    """Lines of one batch are one job of all their contacts; blank lines and line ends do not matter."""
    lines = [job("b-1", "shop", "a", "b"), job("b-2"), b"", b"  \r", job("b-1", "shop", "b", "c"), b""]
    answer = door.bulk(*lines)
    assert answer.status == 202
    assert answer.json == {"queued": 2, "batch_ids": ["b-1", "b-2"], "replayed": 0}
    assert {one["batch_id"]: one["contact_ids"] for one in queued(valkey)} == {
        "b-1": ["a", "b", "c"],
        "b-2": ["a", "b"],
    }
    assert door.get("/batches/b-1").json["recipients"] == 3


def test_bulk_again_is_a_replay_of_each_batch(door: Door, valkey: RedisServer) -> None:
    """What is known is counted as replayed, what is new is queued."""
    door.bulk(job("b-1", "shop", "a"), job("b-1", "shop", "b"))
    answer = door.bulk(job("b-1", "shop", "b", "a"), job("b-2"))
    assert answer.json == {"queued": 1, "batch_ids": ["b-1", "b-2"], "replayed": 1}
    answer = door.bulk(job("b-1"), job("b-2"))
    assert (answer.status, answer.json["queued"], answer.json["replayed"]) == (202, 0, 2)
    assert door.post(job("b-1")).json["replayed"] is True
    assert len(queued(valkey)) == 2


def test_bulk_without_batch_ids(door: Door, valkey: RedisServer) -> None:
    """Each line is a batch of its own; with an Idempotency-Key the same request finds all of them again."""
    fresh = [door.bulk(job(None), job(None)).json["batch_ids"] for _ in range(2)]
    assert len({*fresh[0], *fresh[1]}) == 4
    keyed = [door.bulk(job(None), job(None), Idempotency_Key="k").json for _ in range(2)]
    assert keyed[0]["batch_ids"] == keyed[1]["batch_ids"]
    assert [one["replayed"] for one in keyed] == [0, 2]
    assert len(queued(valkey)) == 6


def test_bulk_is_all_or_nothing(door: Door, valkey: RedisServer) -> None:
    """One conflict, and nothing is queued; the line whose batch it is is named."""
    door.post(job("b-2"))
    answer = door.bulk(job("b-1"), b"", job("b-2", "shop", "z"), job("b-3"))
    assert answer.fields(409) == ["line 3: batch_id"]
    assert [one["batch_id"] for one in queued(valkey)] == ["b-2"]
    door.get("/batches/b-1").problem(404)


def test_bulk_of_the_most_lines(door: Door, valkey: RedisServer) -> None:
    """10,000 lines are taken at once, and one more is a 413."""
    lines = [job(f"b-{number}", "shop", "a") for number in range(10_000)]
    assert door.bulk(*lines).json["queued"] == 10_000
    door.bulk(*lines, job("more")).problem(413)
    assert len(queued(valkey)) == 10_000


def test_a_full_queue_is_a_429(valkey: RedisServer) -> None:
    """POST and bulk answer 429 with Retry-After when the queue is as long as it may be."""
    with Door(valkey.url, max_length=1) as door:
        assert door.post(job("b-1")).status == 202
        for answer in (door.post(job("b-2")), door.bulk(job("b-3"))):
            answer.problem(429)
            assert int(answer.headers["retry-after"]) > 0
        assert door.post(job("b-1")).status == 200


def test_batches_are_listed_newest_first_page_by_page(door: Door) -> None:
    """Pages follow each other by their cursor until next is null, and each batch comes once."""
    for number in range(7):
        door.post(job(f"b-{number}", "shop" if number % 2 else "club"))
    seen, cursor = [], ""
    while cursor is not None:
        page = door.get("/batches", cursor=cursor, limit=3).json
        assert len(page["batches"]) <= 3
        seen += page["batches"]
        cursor = page["next"]
    assert sorted(batch["batch_id"] for batch in seen) == [f"b-{number}" for number in range(7)]
    created = [batch["created_at"] for batch in seen]
    assert created == sorted(created, reverse=True)
    of_club = door.get("/batches", client_id="club").json["batches"]
    assert {batch["client_id"] for batch in of_club} == {"club"}
    assert len(of_club) == 4


def test_batches_by_state(door: Door) -> None:
    """Only those in the state that was asked for."""
    door.post(job("b-1"))
    door.post(job("b-2"))
    door.act("pause", "b-2")
    for state, expected in (("queued", ["b-1"]), ("paused", ["b-2"]), ("done", [])):
        found = door.get("/batches", state=state).json
        assert [batch["batch_id"] for batch in found["batches"]] == expected
        assert found["next"] is None


@pytest.mark.parametrize("size", [5, 300])
def test_recipients_page_by_page(door: Door, valkey: RedisServer, size: int) -> None:
    """Every recipient comes once, by pages, with all that the contract shows of it."""
    everybody = contacts(size)
    with valkey.client() as client:
        worker = LedgerBench(client, valkey.url).hands()
        batch = worker.admit(ledger_job(everybody, "b-1"))
        worker.ledger.pin(batch, "digest", b"packed", "hold", "example.com")
        worker.claim(batch, "c1")
        worker.mark(batch, booking("c1", Kind.SENT), booking("c2", Kind.INVALID, "no such contact"))
    seen, cursor = [], ""
    while cursor is not None:
        page = door.get("/batches/b-1/recipients", cursor=cursor, limit=97).json
        seen += page["recipients"]
        cursor = page["next"]
    assert sorted(one["contact_id"] for one in seen) == sorted(everybody)
    (sent,) = door.get("/batches/b-1/recipients", state="sent").json["recipients"]
    (invalid,) = door.get("/batches/b-1/recipients", state="invalid").json["recipients"]
    assert set(sent) == {"contact_id", "state", "reason", "message_id", "time"}
    assert (sent["contact_id"], sent["state"]) == ("c1", "sent")
    assert sent["message_id"] == message_id("shop", "b-1", "c1", "example.com")
    assert (invalid["reason"], invalid["message_id"]) == ("no such contact", None)


def test_actions(door: Door) -> None:
    """Each answers 202 with the batch as it is then, and 409 where there is nothing to do."""
    door.post(job("b-1"))
    for action, state in (("pause", "paused"), ("resume", "queued"), ("cancel", "cancelled")):
        if action == "pause":
            assert "nothing to resume" in door.act("resume", "b-1").problem(409)["detail"]
        answer = door.act(action, "b-1")
        assert (answer.status, answer.json["state"], answer.json["batch_id"]) == (202, state, "b-1")
        assert door.get("/batches/b-1").json["state"] == state
        door.act(action, "b-1").problem(409)
    for action in ("pause", "resume", "retry", "cancel"):
        door.act(action, "b-1").problem(409)
        door.act(action, "unknown").problem(404)


def test_two_clients_with_one_batch_id_are_told_apart(door: Door) -> None:
    """Every call about such a batch is a 409 that names client_id, and works with it."""
    for client in ("shop", "club"):
        door.post(job("b-1", client))
    assert door.get("/batches/b-1").fields(409) == ["client_id"]
    assert door.get("/batches/b-1/recipients").fields(409) == ["client_id"]
    assert door.act("pause", "b-1").fields(409) == ["client_id"]
    assert door.act("pause", "b-1", query="?client_id=club").json["client_id"] == "club"
    states = {client: door.get("/batches/b-1", client_id=client).json["state"] for client in ("shop", "club")}
    assert states == {"shop": "queued", "club": "paused"}
    door.get("/batches/b-1", client_id="other").problem(404)


def test_a_head_is_a_get_without_its_body(door: Door) -> None:
    """HEAD works wherever GET does."""
    door.post(job("b-1"))
    for path in ("/batches", "/batches/b-1", "/batches/b-1/recipients", "/healthz", "/readyz"):
        answer = door.ask("HEAD", path)
        assert (answer.status, answer.body) == (200, b"")


def test_without_a_key_the_door_is_shut(guarded: Door, valkey: RedisServer) -> None:
    """No key, no scheme, another scheme and a wrong key are 401 with a challenge, and nothing is queued."""
    for header in (
        None,
        "",
        "Bearer",
        "Bearer ",
        "Basic c2hvcDp4",
        SHOP,
        f"Basic {SHOP}",
        f"Bearer x{SHOP}",
        f"Bearer {SHOP} x",
    ):
        sent = {} if header is None else {"Authorization": header}
        for method, path in (
            ("POST", "/queue"),
            ("POST", "/queue/test"),
            ("GET", "/batches"),
            ("PUT", "/queue"),
        ):
            answer = guarded.ask(method, path, b"{}", **sent)
            answer.problem(401)
            assert answer.headers["www-authenticate"].startswith("Bearer")
    for path in ("/healthz", "/readyz"):
        assert guarded.get(path).status == 200
    assert queued(valkey) == []


def test_a_key_opens_its_clients_door_only(guarded: Door, valkey: RedisServer) -> None:
    """A client's key queues its own jobs; another client's are 403, in bulk with the line."""
    assert guarded.ask("POST", "/queue", b"{}", Authorization=f"bearer {SHOP}").status == 415
    assert guarded.post(job("b-1"), key=SHOP).status == 202
    guarded.post(job("b-2"), key=CLUB).problem(403)
    guarded.ask("POST", "/queue/test", key=SHOP).problem(403)
    answer = guarded.bulk(job("b-3", "club"), job("b-4"), key=CLUB)
    assert answer.fields(403) == ["line 2: client_id"]
    assert guarded.post(job("b-1", "club"), key=CLUB).status == 202
    assert guarded.post(job("b-5", "third"), key=ALL).status == 202
    assert guarded.ask("POST", "/queue/test", key=ALL).status == 200
    assert [one["batch_id"] for one in queued(valkey)][:3] == ["b-1", "b-1", "b-5"]


def test_another_clients_batch_is_as_unknown_as_none(guarded: Door) -> None:
    """With a client's key, another's batch and one that does not exist get the same answer to every call."""
    guarded.post(job("theirs-1", "club"), key=CLUB)
    calls = [("GET", ""), ("GET", "/recipients"), ("HEAD", "")]
    calls += [("POST", f"/{action}") for action in ("cancel", "pause", "resume", "retry")]
    for query in ("", "?client_id=club", "?client_id=shop"):
        for method, rest in calls:
            theirs, none = (
                guarded.ask(method, f"/batches/{batch}{rest}{query}", key=SHOP)
                for batch in ("theirs-1", "nobody-1")
            )
            assert (theirs.status, none.status) == (404, 404)
            assert theirs.body.replace(b"theirs-1", b"nobody-1") == none.body
            assert {**theirs.headers, "date": ""} == {**none.headers, "date": ""}
    assert guarded.get("/batches/theirs-1", key=CLUB).json["state"] == "queued"
    guarded.post(job("mine-1"), key=SHOP)
    guarded.get("/batches/mine-1", key=SHOP, client_id="club").problem(404)


def test_a_client_sees_and_counts_its_own_batches_only(guarded: Door) -> None:
    """Lists, their cursors and an id that both clients use tell nothing of the other client's batches."""
    for number in range(4):
        guarded.post(job(f"b-{number}", "club"), key=CLUB)
    assert guarded.get("/batches", key=SHOP).json == {"batches": [], "next": None}
    guarded.post(job("b-1", "shop", "x", "y", "z"), key=SHOP)
    (mine,) = guarded.get("/batches", key=SHOP).json["batches"]
    assert (mine["client_id"], mine["recipients"]) == ("shop", 3)
    assert guarded.get("/batches/b-1", key=SHOP).json["client_id"] == "shop"
    guarded.get("/batches", key=SHOP, client_id="club").problem(403)
    cursor = guarded.get("/batches", key=CLUB, limit=1).json["next"]
    theirs = guarded.get("/batches", key=SHOP, cursor=cursor).json["batches"]
    assert {batch["client_id"] for batch in theirs} <= {"shop"}


def test_the_key_for_every_client_sees_them_all(guarded: Door) -> None:
    """An operator's key sees what a door without keys shows."""
    for key, client in ((SHOP, "shop"), (CLUB, "club")):
        guarded.post(job("b-1", client), key=key)
    assert len(guarded.get("/batches", key=ALL).json["batches"]) == 2
    assert guarded.get("/batches/b-1", key=ALL).fields(409) == ["client_id"]
    assert guarded.act("pause", "b-1", key=ALL, query="?client_id=club").json["state"] == "paused"
