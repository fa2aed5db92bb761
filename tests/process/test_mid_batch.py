"""In the middle of a batch: reloads and stops, refused logins, throttling and hanging servers."""

from __future__ import annotations

import signal
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Iterator

import psutil
import pytest
import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from rigs.daemon import Daemon
from rigs.ports import free_port
from rigs.project import Project, address, job, push
from rigs.redis_server import RedisServer
from rigs.sink import Sink
from rigs.waiting import wait_until

pytestmark = pytest.mark.slow  # each of them waits for real time-outs and real deaths

Daemons = Callable[..., Daemon]
MB = 1 << 20


class Samples:
    """Looks at the batch's record all the time; ``early`` are the looks at which it was over and was not."""

    def __init__(self, redis: RedisServer, tag: str) -> None:
        self.early: list[dict[bytes, bytes]] = []
        self.taken = 0
        self._redis, self._key = redis, "{email_queue}:batch:" + tag
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join(10)

    def _run(self) -> None:
        with self._redis.client() as client:
            while not self._over.wait(0.005):
                record = client.hgetall(self._key)
                self.taken += 1
                if b"finished" in record and record.get(b"sent") != record[b"recipients"]:
                    self.early.append(record)


@pytest.mark.covers("mail-2")
def test_no_batch_is_done_before_everybody_is(
    daemons: Daemons, valkey: RedisServer, sink: Sink, project: Project
) -> None:
    """Over a reload, a smaller pool and a restart it is finished once everybody is sent, no sooner."""
    contacts = project.contacts(300)
    sink.behave(delay=0.03)
    daemon = daemons(project.sections(valkey, sink, queue={"slice": 20})).start()
    push(valkey, job("slow", contacts))
    sink.wait_for(20)
    samples = Samples(valkey, "c1/slow")
    daemon.signal(signal.SIGHUP)
    sink.wait_for(60)
    daemon.signal(signal.SIGTTOU)
    sink.wait_for(100)
    assert daemon.term() == 0
    assert daemon.start().batch("slow")["state"] == "sending"
    batch = daemon.wait_for_batch("slow", 30)
    samples.stop()

    assert batch["counts"] == {"sent": 300}
    assert sink.recipients() == Counter(map(address, contacts))
    assert (samples.early, samples.taken > 50) == ([], True)
    assert daemon.term() == 0


@pytest.fixture
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict[str, object], set[bytes]]]:
    """A mail server with TLS that knows the passwords in a set: ``[smtp]`` for it, and the set."""
    authority, passwords = trustme.CA(), set[bytes]()
    ca_file = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(ca_file)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    server = Controller(
        object(),
        hostname="127.0.0.1",
        port=free_port(),
        tls_context=context,
        authenticator=lambda *said: AuthResult(success=said[-1].password in passwords, handled=False),
    )
    server.start()
    smtp = {"port": server.port, "tls": "starttls", "ca_file": str(ca_file), "username": "shop"}
    yield {**smtp, "password": "late"}, passwords
    server.stop()


@pytest.mark.covers("mail-21")
def test_a_refused_login_fails_nobody_and_can_be_mended(
    daemons: Daemons,
    valkey: RedisServer,
    sink: Sink,
    project: Project,
    locked: tuple[dict[str, object], set[bytes]],
) -> None:
    """While the login is refused a batch can be cancelled; another one goes out once it is mended."""
    contacts = project.contacts(5)
    smtp, passwords = locked
    daemon = daemons(project.sections(valkey, sink, smtp=smtp)).start()
    for batch_id in ("given-up", "waits"):
        daemon.post("/queue", job(batch_id, contacts))
    assert daemon.wait_for_reason("waits")["counts"] == {"queued": 5}

    assert daemon.post("/batches/given-up/cancel").status == 202
    wait_until(lambda: daemon.batch("given-up")["counts"] == {"cancelled": 5}, 2)
    passwords.add(b"late")
    batch = daemon.wait_for_batch("waits", 40)

    assert batch["counts"] == {"sent": 5}
    assert daemon.term() == 0


@pytest.mark.covers("mail-6", "mail-25")
def test_a_throttled_route_is_asked_again_with_growing_pauses(
    daemons: Daemons, valkey: RedisServer, sink: Sink, project: Project
) -> None:
    """While the server says that it is too much, it is left in peace, and nobody's attempts are counted."""
    contacts = project.contacts(4)
    sink.behave(rules=[{"at": "dot", "do": "454 Throttling failure: Maximum sending rate exceeded."}])
    sections = project.sections(valkey, sink, workers={"processes": 1, "connections": 1})
    daemon = daemons({**sections, "mail": {**sections["mail"], "max_age": 1}}).start()
    daemon.post("/queue", job("throttled", contacts))
    wait_until(lambda: len(sink.hand_overs()) >= 3, 20, daemon.tail)
    began = [one.begun for one in sink.hand_overs()]
    sink.behave()
    batch = daemon.wait_for_batch("throttled", 20)

    assert began[1] - began[0] >= 1.0
    assert began[2] - began[1] >= 2.0
    assert batch["counts"] == {"sent": 4}  # a counted attempt would be a deferral, and too old by now
    assert daemon.term() == 0


@pytest.mark.covers("mail-24")
def test_a_recipient_at_whom_the_server_hangs_expires_in_time(
    daemons: Daemons, valkey: RedisServer, sink: Sink, project: Project
) -> None:
    """A server that never answers for one of them delays nobody else; that one is given up after max_age."""
    contacts = project.contacts(4)
    sink.behave(rules=[{"at": "rcpt", "match": "^user2@", "do": "hang"}])
    smtp = {"command_timeout": 0.3}
    daemon = daemons(project.sections(valkey, sink, smtp=smtp, mail={"max_age": 1.5})).start()
    daemon.post("/queue", job("hung", contacts))
    batch = daemon.wait_for_batch("hung", 40)

    assert batch["counts"] == {"sent": 3, "expired": 1}
    assert address("user2") not in sink.recipients()
    assert daemon.term() == 0


@pytest.mark.covers("mail-27", "mail-30")
def test_a_server_that_bears_twenty_mails_a_connection(
    daemons: Daemons, valkey: RedisServer, sink: Sink, project: Project
) -> None:
    """Told 421 in the middle, a worker goes on over a new connection: nobody is lost or mailed twice."""
    contacts = project.contacts(200)
    rules = [
        {"at": "mail", "do": "421 4.7.0 too many mails in this connection", "times": 3},
        {"at": "rcpt", "do": "421 4.7.0 too many mails in this connection", "times": 3},
    ]
    daemon = daemons(project.sections(valkey, sink)).start()
    push(valkey, job("busy", contacts))
    sink.wait_for(50)
    sink.behave(rules=rules)
    wait_until(lambda: daemon.get("/batches/busy").status == 200, 5, daemon.tail)
    batch = daemon.wait_for_batch("busy", 30)

    assert batch["counts"] == {"sent": 200}
    assert sink.recipients() == Counter(map(address, contacts))
    assert len({one.port for one in sink.hand_overs()}) <= 8 + 6
    assert daemon.term() == 0


def uss(process: psutil.Process) -> float:
    return float(process.memory_full_info().uss) / MB


@pytest.mark.slow
@pytest.mark.covers("mail-31")
def test_a_long_batch_costs_no_more_memory_than_a_short_one(daemons: Daemons, valkey: RedisServer) -> None:
    """Whoever cuts a long job is replaced after it; main and those who send its slices stay small."""
    daemon = daemons({"redis": {"url": valkey.url}}).start()
    push(valkey, job("short", [f"contact-{number:06}" for number in range(10_000)]))
    wait_until(lambda: daemon.get("/batches/short").status == 200, 20)
    daemon.wait_for_batch("short", 60)
    before, main = max(map(uss, daemon.workers())), uss(psutil.Process(daemon.pid))

    push(valkey, job("long", [f"contact-{number:06}" for number in range(260_000)]))
    wait_until(lambda: daemon.get("/batches/long").status == 200, 60)
    wait_until(lambda: daemon.batch("long")["counts"].get("discarded", 0) > 60_000, 60)
    sizes = [uss(worker) for worker in daemon.workers()]
    daemon.post("/batches/long/cancel")
    daemon.wait_for_batch("long", 60, ("cancelled",))
    sizes += [uss(worker) for worker in daemon.workers()]

    print(f"workers {before:.1f} MB, then {max(sizes):.1f} MB; main {main:.1f} MB")
    assert max(sizes) < before + 20
    assert uss(psutil.Process(daemon.pid)) < main + 20
    assert daemon.term() == 0
