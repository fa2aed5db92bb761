"""
What goes wrong in the first hour with mailerd, each mistake made for real: the message alone has to help.

``STARTS`` keep the daemon or a command from running, ``WARNINGS`` do not, all others show with the first job.
Each stands with the exact line that its maker reads.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from rigs.daemon import Daemon, Sections
from rigs.ports import free_port
from rigs.project import Project, job, push
from rigs.redis_server import RedisServer
from rigs.sink import Sink

Daemons = Callable[..., Daemon]
RedisServers = Callable[..., RedisServer]

SENDS = '[mail]\ntransport = "smtp"\nfrom = "a@b.example"\n[smtp]\nhost = "localhost"\n'
AT_ONCE = "[redis]\nstartup_timeout = 0\n"


@dataclass(frozen=True)
class Start:
    """A mistake before the start, its exit code and its message; names in braces are filled in."""

    mistake: str
    message: str
    code: int = 78
    toml: str = ""
    environ: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ("run",)


def mostly_slow(mistakes: Iterable[object]) -> list[object]:
    """Each of them starts a daemon: one in four stands for all in the default run."""
    slow = pytest.mark.slow
    return [each if at % 4 == 0 else pytest.param(each, marks=slow) for at, each in enumerate(mistakes)]


STARTS = [
    Start(
        "wrong Redis port",
        "no Redis at redis://127.0.0.1:{free}/0 within 0 s (Error 111 connecting to 127.0.0.1:{free}. "
        "Connection refused.); start it, or set REDIS_ADDR or redis.url",
        69,
        AT_ONCE,
        {"REDIS_ADDR": "127.0.0.1:{free}"},
    ),
    Start(
        "wrong Redis password",
        "the Redis at redis://***@{guarded}/0: WRONGPASS invalid username-password pair or user is disabled; "
        "put user and password into redis.url: redis://user:password@host:6379/0",
        environ={"REDIS_ADDR": "redis://:wrong@{guarded}/0"},
    ),
    Start(
        "no Redis password",
        "the Redis at redis://{guarded}/0: NOAUTH Authentication required; "
        "put user and password into redis.url: redis://user:password@host:6379/0",
        environ={"REDIS_ADDR": "{guarded}"},
    ),
    Start(
        "the port of something else than Redis",
        "no Redis at redis://127.0.0.1:{smtp}/0 within 0 s (what answers there is no Redis); "
        "start it, or set REDIS_ADDR or redis.url",
        69,
        AT_ONCE,
        {"REDIS_ADDR": "127.0.0.1:{smtp}"},
    ),
    Start(
        "TLS to a Redis without",
        "no Redis at rediss://{redis}/0 within 0 s (Timeout connecting to server); start it, "
        "or set REDIS_ADDR or redis.url (rediss:// is for a server with TLS)",
        69,
        AT_ONCE,
        {"REDIS_ADDR": "rediss://{redis}/0"},
    ),
    Start(
        "a Redis that evicts",
        "the Redis at redis://{evicting}/0: Redis evicts keys when it is full (maxmemory-policy "
        "allkeys-lru): that loses mail; set it to noeviction, or accept the loss with "
        "redis.accept_eviction = true",
        environ={"REDIS_ADDR": "{evicting}"},
    ),
    Start(
        "REDIS_ADDR with a foreign scheme",
        "REDIS_ADDR: must be host:port or a redis://, rediss:// or unix:// URL, not 'tcp://{redis}'",
        environ={"REDIS_ADDR": "tcp://{redis}"},
    ),
    Start(
        "REDIS_ADDR without a port",
        "REDIS_ADDR: must be host:port or a redis://, rediss:// or unix:// URL, not 'localhost'",
        environ={"REDIS_ADDR": "localhost"},
    ),
    Start(
        "REDIS_ADDR with a newline",
        "REDIS_ADDR: must be host:port or a redis://, rediss:// or unix:// URL, not 'localhost:6379\\n'",
        environ={"REDIS_ADDR": "localhost:6379\n"},
    ),
    Start(
        "a configuration file that is not there",
        "{here}/mailerd.toml: cannot be read (named by --config): No such file or directory",
        arguments=("run", "--config", "mailerd.toml"),
    ),
    Start(
        "a configuration that cannot be read",
        "{here}: cannot be read (named by MAILERD_CONFIG): Is a directory",
        environ={"MAILERD_CONFIG": "."},
    ),
    Start(
        "a text without quotes",
        "{here}/config.toml: is not TOML: Invalid value (at line 2, column 8); a text stands in quotes: "
        'key = "text"',
        toml="[smtp]\nhost = smtp.example.com\n",
    ),
    Start(
        "a setting of the wrong type",
        "api.port: must be a whole number, not 'http' (from MAILERD_API__PORT)",
        environ={"MAILERD_API__PORT": "http"},
    ),
    Start(
        "an unknown key",
        "smtp.prt: is no setting; did you mean smtp.port?",
        toml=SENDS + "prt = 25\n",
    ),
    Start(
        "a typo in .env",
        "MAILERD_REDIS_URL: is no setting in .env; did you mean MAILERD_REDIS__URL?",
        files={".env": "MAILERD_REDIS_URL=redis://localhost\n"},
    ),
    Start(
        "a forgotten transport",
        'mail.transport: must be set where [smtp] is given: "smtp" to send, "none" to send nothing',
        toml='[smtp]\nhost = "localhost"\n',
    ),
    Start(
        "a forgotten sender",
        'mail.from: must be set when mail.transport is "outbox": "News <news@example.com>"',
        toml='[mail]\ntransport = "outbox"\n',
    ),
    Start(
        "a sender that is no address",
        "mail.from: An email address cannot have two periods in a row.",
        toml='[mail]\ntransport = "outbox"\nfrom = "news@example..com"\n',
    ),
    Start(
        "a password file that is not there",
        "smtp.password_file: cannot read {here}/secret: No such file or directory",
        toml=SENDS + 'username = "u"\npassword_file = "secret"\n',
    ),
    Start(
        "a secret with a newline",
        "smtp.password_file: {here}/secret holds several lines, and a secret is one",
        toml=SENDS + 'username = "u"\npassword_file = "secret"\n',
        files={"secret": "hunter2\nhunter3\n"},
    ),
    Start(
        "a key pasted with a newline",
        "api.keys.0.sha256: must be the 64 hex digits that mailerd key create prints, not the token itself",
        toml='[[api.keys]]\nclient_id = "shop"\nsha256 = "' + 32 * "ab" + '\\n"\n',
    ),
    Start(
        "a certificate file that holds none",
        "smtp.ca_file: holds no certificates that can be used: "
        "[X509: NO_CERTIFICATE_OR_CRL_FOUND] no certificate or crl found (_ssl.c:…)",
        toml=SENDS + 'ca_file = "ca.pem"\n',
        files={"ca.pem": "nothing\n"},
    ),
    Start(
        "a database whose driver is missing",
        "contacts.url: the database's driver is missing: the package oracledb",
        toml='[mail]\ntransport = "outbox"\nfrom = "a@b.example"\n'
        '[contacts]\nurl = "oracle+oracledb://localhost/shop"\n',
    ),
    Start(
        "a database without a URL",
        'contacts.url: must be a database URL, such as "sqlite:///contacts.db"',
        toml='[contacts]\nurl = "contacts.db"\n',
    ),
    Start(
        "a query that asks for nobody",
        'contacts.query: must say which contacts: "... WHERE id IN :contact_ids", '
        "not 'SELECT id, email FROM contacts'",
        toml='[contacts]\nquery = "SELECT id, email FROM contacts"\n',
    ),
    Start(
        "a queue name that is none",
        "queue.name: must be 1 to 64 of A-Z a-z 0-9 . _ : - and begin with a letter or digit, not 'my queue'",
        toml='[queue]\nname = "my queue"\n',
    ),
    Start(
        "an open door without keys",
        "api.host: must be a loopback address as long as no [[api.keys]] guard the door, not 0.0.0.0: "
        "mailerd key create CLIENT makes one",
        toml='[api]\nhost = "0.0.0.0"\n',
    ),
    Start(
        "a port in use",
        "cannot listen on 127.0.0.1:{taken}: {holder} does; stop it or change api.port",
        71,
        environ={"MAILERD_API__PORT": "{taken}"},
    ),
    Start(
        "a state directory that cannot be written",
        "daemon.state_dir: cannot use {here}/file/state: Not a directory; it must be a folder of ours",
        environ={"MAILERD_DAEMON__STATE_DIR": "{here}/file/state"},
        files={"file": ""},
    ),
    Start(
        "contacts as CSV",
        "contact_ids: the file looks like CSV, and one contact id a line is wanted: "
        "cut -d, -f1 FILE | tail -n +2",
        1,
        files={"contacts.csv": "id,email\n1,a@b.example\n"},
        arguments=("enqueue", "--client", "c", "--template", "t", "--contacts-file", "contacts.csv"),
    ),
]


class Place:
    """An empty folder, servers of every kind, and whatever a message may have to name."""

    def __init__(self, folder: Path, names: Mapping[str, object]) -> None:
        self._folder = folder
        self._names = {"here": folder, "free": free_port(), **names}

    def filled(self, text: str) -> str:
        """``text`` with the names filled in."""
        return re.sub(r"\{(\w+)\}", lambda found: str(self._names[found[1]]), text)

    def run(self, start: Start) -> tuple[int, list[str]]:
        """Make the mistake; the exit code, and what was said, without its time and level."""
        (self._folder / "config.toml").write_text(start.toml)
        for name, content in start.files.items():
            (self._folder / name).write_text(content)
        common = {"REDIS_ADDR": "{redis}", "MAILERD_API__PORT": "0", "MAILERD_DAEMON__STATE_DIR": "state"}
        clean = Daemon(self._folder / "unused", {}).environ
        environ = {name: self.filled(value) for name, value in {**common, **start.environ}.items()}
        ended = subprocess.run(
            [sys.executable, "-m", "mailerd", *start.arguments],
            cwd=self._folder,
            env=clean | environ,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        return ended.returncode, words(ended.stdout + ended.stderr)


def words(log: str) -> list[str]:
    """What the lines say, without times, levels and other versions' line numbers."""
    lines = [re.sub(r"_ssl\.c:\d+", "_ssl.c:…", line) for line in log.splitlines()]
    prefix = r"(mailerd: |\S+ \S+ (INFO|WARNING|ERROR|CRITICAL) +(worker \d+: )?)"
    return [re.sub(f"^{prefix}", "", line) for line in lines]


@pytest.fixture(scope="module")
def redises(valkey_program: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """The addresses of a Redis that wants a password and of one that evicts."""
    kept = {"guarded": ("requirepass", "secret"), "evicting": ("maxmemory-policy", "allkeys-lru")}
    servers = {name: RedisServer(valkey_program, tmp_path_factory.mktemp(name)).start() for name in kept}
    for name, setting in kept.items():
        with contextlib.closing(servers[name].client()) as client:
            client.config_set(*setting)
    yield {name: server.addr for name, server in servers.items()}
    for server in servers.values():
        server.close()


@pytest.fixture
def place(tmp_path: Path, valkey: RedisServer, redises: Mapping[str, str], sink: Sink) -> Iterator[Place]:
    """See ``Place``; port ``taken`` is this process' own."""
    folder = tmp_path / "here"
    folder.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as door:
        holder = f"{psutil.Process().name()} (pid {os.getpid()})"
        names = {"redis": valkey.addr, "smtp": sink.port, "taken": door.getsockname()[1], "holder": holder}
        yield Place(folder, {**names, **redises})


@pytest.mark.parametrize("start", mostly_slow(STARTS), ids=lambda start: start.mistake.replace(" ", "-"))
def test_a_mistake_before_the_start(place: Place, start: Start) -> None:
    """One line says what is wrong and what to do, the exit code says of what kind it is, no traceback."""
    code, said = place.run(start)

    assert place.filled(start.message) in said
    assert code == start.code
    assert not [line for line in said if "Traceback" in line or "Exception" in line or "hunter" in line]


# What is allowed and is said loudly at the start:
WARNINGS: dict[str, tuple[Sections, str]] = {
    "a Redis without an append-only file": (
        {},
        "Redis keeps no append-only file (appendonly no): what it forgets in a crash, nobody can deliver",
    ),
    "no transport": (
        {"mail": {"transport": "none"}},
        "mail.transport is none: jobs are logged and discarded, nobody gets mail",
    ),
    "staging": (
        {"mail": {"redirect_to": "qa@example.com"}},
        (
            "mail.redirect_to is set (staging): EVERY MAIL GOES TO THAT ONE ADDRESS; no recipient gets one, "
            "and each counts as sent"
        ),
    ),
    "no workers": (
        {"workers": {"processes": 0}},
        "workers.processes is 0: jobs are taken in and nobody works on them here",
    ),
    "no folder of templates": (
        {"templates": {"path": "nowhere"}},
        (
            "No mail can be made: the folder {here}/nowhere cannot be read: No such file or directory; "
            "see templates.path"
        ),
    ),
    "another queue than the producers'": (
        {"queue": {"name": "emails"}},
        "1 waiting in email_queue, which nobody serves: queue.name says emails",
    ),
}


@pytest.mark.parametrize("mistake", mostly_slow(WARNINGS))
def test_what_may_not_be_meant_is_said_at_the_start(
    daemons: Daemons, valkey: RedisServer, sink: Sink, project: Project, mistake: str
) -> None:
    """The daemon runs, and its log says in its first lines what may be wrong."""
    sections, message = WARNINGS[mistake]
    push(valkey, job("early", ["user1"]))
    one = {"workers": {"processes": 1}}
    daemon = daemons(project.sections(valkey, sink, **{**one, **sections})).start()

    assert message.replace("{here}", str(daemon.folder)) in words(daemon.log)
    assert daemon.term() == 0


# With the first job. What each recipient's reason says, by template and contact:
REASONS = {
    "a typo in the template's name": (
        "wellcome",
        "user1",
        "there is no template wellcome in {folder}/templates; did you mean welcome?",
    ),
    "a typo in a variable": (
        "typo",
        "user1",
        (
            "template typo/body.txt line 2: 'nmae' is undefined; "
            "it may use batch_id, client_id, contact, email, id, name"
        ),
    ),
    "an if without an end": (
        "open",
        "user1",
        (
            "template open/body.txt line 1: Unexpected end of template. Jinja was looking for the following "
            "tags: 'elif' or 'else' or 'endif'. The innermost block that needs to be closed is 'if'."
        ),
    ),
    "a template without a subject": (
        "bare",
        "user1",
        "template bare needs subject.txt, and body.html or body.txt",
    ),
    "a typo in mail.toml": (
        "settings",
        "user1",
        "template settings/mail.toml: unknown key form; it may hold from, reply_to, headers, unknown",
    ),
    "an unknown contact": (
        "plain",
        "user9",
        "no such contact: contacts.query gives no row with this id",
    ),
    "a contact without an address": ("plain", "nobody", "the contact has no address"),
}

# The reason of the dead letter, by what was pushed:
LETTERS = {
    "not JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)": (
        b"{'client_id': 'c1', 'contact_ids': ['user1'], 'template_id': 'plain', 'batch_id': 'b'}"
    ),
    "not a job: contact_ids: must be a list of strings": (
        b'{"client_id": "c1", "contact_ids": "user1", "template_id": "plain", "batch_id": "b"}'
    ),
    "not a job: template_id: is missing": b'{"client_id": "c1", "contact_ids": ["user1"], "batch_id": "b"}',
}

GOOD = json.dumps(job("posted", ["user1"])).encode()
# What curl shows, by the request:
ANSWERS = {
    "the body needs the header Content-Type: application/json": (
        ("POST", "/queue", GOOD, {"Content_Type": "application/x-www-form-urlencoded"}),
        415,
    ),
    "nothing is at /queues; /openapi.json has every path": (("POST", "/queues", GOOD, {}), 404),
    "GET is no method of /queue; it takes POST, OPTIONS": (("GET", "/queue", None, {}), 405),
}


def test_mistakes_in_jobs_and_templates(
    daemons: Daemons, valkey: RedisServer, sink: Sink, project: Project
) -> None:
    """Each recipient can be asked why it got nothing, and each dead letter why it is one."""
    project.contacts(1)
    project.insert([("nobody", None, "x")])
    project.template("typo", text="Hello,\ndear {{ nmae }}")
    project.template("open", text="{% if name %}Hello")
    project.template("bare", subject="", text="Hello")
    project.template("settings", text="Hello", settings='form = "a@b.example"')
    daemon = daemons(project.sections(valkey, sink, workers={"processes": 1})).start()
    for number, (template, contact, _) in enumerate(REASONS.values()):
        daemon.post("/queue", job(f"b{number}", [contact], template))
    push(valkey, *LETTERS.values())

    for number, (mistake, (_, _, reason)) in enumerate(REASONS.items()):
        daemon.wait_for_batch(f"b{number}", 20)
        (recipient,) = daemon.get(f"/batches/b{number}/recipients").json["recipients"]
        assert (mistake, recipient["reason"]) == (mistake, reason.replace("{folder}", str(project.folder)))
    for reason in LETTERS:
        daemon.wait_for_line(f"Job buried, see `mailerd dead list`: {reason}")
    assert "did you mean welcome? (batch b0)" in daemon.log
    assert sink.mails() == []
    assert daemon.term() == 0


def test_forgotten_contacts(daemons: Daemons, valkey: RedisServer, sink: Sink, project: Project) -> None:
    """Without [contacts] an id that is no address is told so; one that is an address gets its mail."""
    sections = project.sections(valkey, sink, workers={"processes": 1})
    del sections["contacts"]
    daemon = daemons(sections).start()
    daemon.post("/queue", job("mixed", ["user1", "user2@example.com"]))
    daemon.wait_for_batch("mixed", 20)
    (invalid,) = daemon.get("/batches/mixed/recipients?state=invalid").json["recipients"]

    assert invalid["reason"] == (
        "no such contact: without [contacts] in the configuration an id must be an address"
    )
    assert list(sink.recipients()) == ["user2@example.com"]
    assert daemon.term() == 0


def test_mistakes_in_requests(daemons: Daemons, valkey: RedisServer) -> None:
    """The answer to a request that is none of ours says what would be one."""
    daemon = daemons({"redis": {"url": valkey.url}, "workers": {"processes": 0}}).start()

    for message, ((method, path, body, headers), status) in ANSWERS.items():
        answer = daemon.request(method, path, body, **headers)
        assert (answer.status, answer.json["detail"]) == (status, message)
    assert daemon.term() == 0


def test_a_job_pushed_at_the_wrong_end_is_a_job(
    daemons: Daemons, valkey: RedisServer, sink: Sink, project: Project
) -> None:
    """RPUSH in place of LPUSH only makes it the next one: its mail goes out."""
    project.contacts(1)
    daemon = daemons(project.sections(valkey, sink)).start()
    with contextlib.closing(valkey.client()) as client:
        client.rpush("email_queue", json.dumps(job("rpush", ["user1"])))

    sink.wait_for(1)
    assert daemon.term() == 0


@dataclass(frozen=True)
class Route:
    """A mistake by which the first batch waits, and for what it says that it does."""

    mistake: str
    message: str
    sections: Sections


ROUTES = [
    Route(
        "a column missing in the query",
        "contacts.query gives no column email; name it so: SELECT key AS id, mail AS email",
        {"contacts": {"query": "SELECT id, name FROM contacts WHERE id IN :contact_ids"}},
    ),
    Route(
        "a column missing in the table",
        "contacts from sqlite:///{folder}/contacts.db: no such column: mail; see contacts.query",
        {"contacts": {"query": "SELECT id, mail AS email FROM contacts WHERE id IN :contact_ids"}},
    ),
    Route(
        "a table missing in the database",
        "contacts from sqlite:///{folder}/contacts.db: no such table: customers; see contacts.query",
        {"contacts": {"query": "SELECT id, email FROM customers WHERE id IN :contact_ids"}},
    ),
    Route(
        "a database file missing",
        "contacts from sqlite:///customers.db: unable to open database file (from {here}); see contacts.url",
        {"contacts": {"url": "sqlite:///customers.db"}},
    ),
    Route(
        "the mail server's port",
        "cannot connect to 127.0.0.1:{free}: Connection refused; see smtp.host and smtp.port",
        {"smtp": {"port": "{free}"}},
    ),
    Route(
        "STARTTLS where there is none",
        '127.0.0.1:{smtp} does not offer STARTTLS; smtp.tls says otherwise ("implicit" for TLS from the '
        'start, "none" to send unencrypted)',
        {"smtp": {"tls": "starttls"}},
    ),
    Route(
        "TLS from the start where there is none",
        '127.0.0.1:{smtp}: TLS failed: it speaks none from the start; smtp.tls = "starttls" may '
        "be what it wants",
        {"smtp": {"tls": "implicit"}},
    ),
    Route(
        "a login where there is none",
        "127.0.0.1:{smtp} offers no login that mailerd knows (AUTH PLAIN, AUTH LOGIN); "
        "leave out smtp.username, or see smtp.tls: many offer it over TLS only",
        {"smtp": {"username": "shop", "password": "hunter2"}},
    ),
    Route(
        "a wrong password for the mail server",
        "127.0.0.1:{secured} refused the login: 535 5.7.8 Authentication credentials invalid; "
        "see smtp.username and smtp.password",
        {
            "smtp": {
                "port": "{secured}",
                "tls": "starttls",
                "ca_file": "{authority}",
                "username": "shop",
                "password": "hunter2",
            }
        },
    ),
    Route(
        "a certificate that is not trusted",
        "127.0.0.1:{secured}: its certificate is not trusted: unable to get local issuer certificate; "
        "see smtp.host, or have smtp.ca_file name the authority's certificate",
        {"smtp": {"port": "{secured}", "tls": "starttls"}},
    ),
    Route(
        "a sender that the mail server does not take",
        "127.0.0.1:{smtp} refused the sender: 553 5.7.1 not your address; see mail.from and "
        "mail.envelope_from",
        {"mail": {"from": "somebody@else.example"}},
    ),
]


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[Mapping[str, object]]:
    """A mail server with TLS that lets nobody in: its port, and the file of its authority."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    server = Controller(
        object(),
        hostname="127.0.0.1",
        port=free_port(),
        tls_context=context,
        authenticator=lambda *_: AuthResult(success=False, handled=False),
    )
    server.start()
    yield {"secured": server.port, "authority": tmp_path / "ca.pem"}
    server.stop()


@pytest.mark.parametrize("route", mostly_slow(ROUTES), ids=lambda route: route.mistake.replace(" ", "-"))
def test_a_mistake_on_the_way_out(
    daemons: Daemons,
    valkey: RedisServer,
    sink: Sink,
    project: Project,
    secured: Mapping[str, object],
    route: Route,
) -> None:
    """The batch waits, nobody has failed, and it says for what, as the log does; no secret with it."""
    project.contacts(1)
    sink.behave(rules=[{"at": "mail", "match": "somebody@else", "do": "553 5.7.1 not your address"}])
    names = {"folder": project.folder, "smtp": sink.port, "free": free_port(), **secured}
    filler = Place(project.folder, names)
    sections = json.loads(filler.filled(json.dumps(route.sections)))
    daemon = daemons(project.sections(valkey, sink, workers={"processes": 1}, **sections)).start()
    message = Place(daemon.folder, names).filled(route.message)
    daemon.post("/queue", job("first", ["user1"]))
    daemon.wait_for_line("The route is blocked: ")

    batch = daemon.wait_for_reason("first")
    assert (batch["waiting_for"], batch["counts"]) == (message, {"queued": 1})
    assert f"The route is blocked: {message}" in words(daemon.log)
    assert "hunter2" not in daemon.log
    assert daemon.term() == 0
