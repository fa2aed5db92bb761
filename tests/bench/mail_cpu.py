"""
What one personalised mail costs a worker in CPU time, beside what it costs the usual Python program.

    python tests/bench/mail_cpu.py [--mails 4000] [--rounds 3] [--dkim rsa|ed25519] [--json FILE] [--quick]

Each round sends one batch through the real daemon (one worker, four connections, contacts in SQLite, the
ledger in Valkey) to Postfix's smtp-sink on the loopback, and then some of them as a script does: Jinja2,
``EmailMessage`` and one kept smtplib connection, without queue, contacts and ledger; once with the CSS left
in the head, once with it inlined into each mail, as ours is. CPU is user + system of the process that sends.
A loop of fixed work beside it tells how slow the machine was in that round. Needs what the tests need, and
smtp-sink. Exits with 1 where a mail costs more than the limit.
"""

from __future__ import annotations

import argparse
import json
import smtplib
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from pathlib import Path
from typing import Any

import jinja2
import psutil
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from css_inline import inline

sys.path.insert(0, str(Path(__file__).parents[1]))

from rigs.daemon import Daemon, Sections  # found by the line above
from rigs.needs import find, is_root
from rigs.ports import free_port
from rigs.project import NAMES, address, job, push
from rigs.redis_server import RedisServer, shipped_valkey
from rigs.waiting import wait_until

LIMIT = 0.40  # ms of CPU in the worker, without DKIM
Figures = dict[str, float]
SUBJECT = "{{ name }}, {{ count }} things for you, Grüße"
CSS = """
body { font: 15px/22px Helvetica, Arial, sans-serif; color: #222; background: #f4f4f4 }
.frame { width: 600px; background: #fff; border-collapse: collapse }
.item td { padding: 12px 16px; border-bottom: 1px solid #ddd; vertical-align: top }
.name { font-weight: bold; font-size: 17px; margin: 0 0 4px }
.words { margin: 0; color: #555 } .price { color: #b00; font-size: 17px; text-align: right }
a.button { background: #06c; color: #fff; padding: 10px 18px; text-decoration: none }
.small { font-size: 11px }
"""
ITEM = """
<tr class="item"><td><img src="https://cdn.shop.example/i/{{ item.sku }}.png" width="120" alt=""></td>
<td><p class="name">{{ item.name }}</p><p class="words">{{ item.words }}</p>
<a class="button" href="https://shop.example/p/{{ item.sku }}?to={{ contact.id }}">See it</a></td>
<td class="price">{{ "%.2f"|format(item.price) }} €</td></tr>"""
HTML = f"""<!DOCTYPE html>
<html><head><meta charset="utf-8"><title>Shop</title><style>{CSS}</style></head><body><table class="frame">
<tr><td colspan="3"><h1>Hello {{{{ name }}}}</h1>
<p>As a customer of <b>{{{{ city }}}}</b> since {{{{ since }}}}
you see these first.{{% if vip %}} You are one of our best.{{% endif %}}</p></td></tr>
{{% for item in items %}}{ITEM}
{{% endfor %}}
<tr><td colspan="3" class="small">{"<p>Sent since you asked for it; prices hold while stocks last.</p>" * 25}
<a href="https://shop.example/u/{{{{ contact.id }}}}">Unsubscribe</a></td></tr></table></body></html>
"""
TEXT = """Hello {{ name }}

As a customer of {{ city }} since {{ since }} you see these first.
{% for item in items %}
{{ item.name }}: {{ item.words }} {{ "%.2f"|format(item.price) }} €
https://shop.example/p/{{ item.sku }}?to={{ contact.id }}
{% endfor %}
Unsubscribe: https://shop.example/u/{{ contact.id }}
"""
ITEMS = [
    {"sku": f"A{n:04}", "name": f"Thing no. {n}", "words": "It is made to last. " * 3, "price": 9.5 + n}
    for n in range(12)
]


@contextmanager
def smtp_sink() -> Iterator[int]:
    """A running smtp-sink; its port."""
    program = find("smtp-sink")
    assert program is not None, "no smtp-sink here (postfix)"
    port = free_port()
    user = ["-u", "nobody"] if is_root() else []
    process = subprocess.Popen([program, *user, f"127.0.0.1:{port}", "256"], stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: _answers(port), 5)
        yield port
    finally:
        process.kill()
        process.wait()


def _answers(port: int) -> bool:
    try:
        smtplib.SMTP("127.0.0.1", port, timeout=1).quit()
    except OSError:
        return False
    return True


class Shop:
    """The contacts, and what renders their mails either way."""

    def __init__(self, folder: Path, contacts: int | Sequence[str]) -> None:
        """``contacts``: how many, or their ids."""
        ids = [f"user{n}" for n in range(contacts)] if isinstance(contacts, int) else contacts
        self.folder = folder
        self.rows = [
            (each, address(each), NAMES[n % len(NAMES)], f"City {n % 90}", 2000 + n % 25, n % 7)
            for n, each in enumerate(ids)
        ]
        connection = sqlite3.connect(folder / "contacts.db")
        with connection:
            connection.execute(
                "CREATE TABLE contacts (id TEXT PRIMARY KEY, email, name, city, since INT, vip INT)"
            )
            connection.executemany("INSERT INTO contacts VALUES (?, ?, ?, ?, ?, ?)", self.rows)
        connection.close()
        template = folder / "templates" / "offer"
        template.mkdir(parents=True)
        (template / "subject.txt").write_text(SUBJECT)
        (template / "body.html").write_text(HTML)

    def sections(self, redis: RedisServer, port: int, dkim: list[dict[str, str]]) -> Sections:
        """The daemon's configuration."""
        query = "SELECT id, email, name, city, since, vip FROM contacts WHERE id IN :contact_ids"
        return {
            "redis": {"url": redis.url},
            "contacts": {"url": f"sqlite:///{self.folder / 'contacts.db'}", "query": query},
            "templates": {"path": str(self.folder / "templates")},
            "mail": {"transport": "smtp", "from": "Shop <news@sender.test>"}
            | ({"dkim": dkim} if dkim else {}),
            "smtp": {"host": "127.0.0.1", "port": port, "tls": "none"},
            "workers": {"processes": 1},
        }

    def variables(self, row: tuple[Any, ...]) -> dict[str, Any]:
        """What the usual program renders with."""
        names = ("id", "email", "name", "city", "since", "vip")
        contact = dict(zip(names, row, strict=True))
        return {**contact, "items": ITEMS, "count": len(ITEMS), "contact": contact}


def cpu(process: psutil.Process) -> float:
    """CPU seconds that it has used so far."""
    times = process.cpu_times()
    return float(times.user + times.system)


def by_mailerd(daemon: Daemon, redis: RedisServer, batch_id: str, contact_ids: list[str]) -> Figures:
    """One batch through the daemon: CPU of its worker, and wall time, in ms per mail."""
    (worker,) = daemon.workers()
    before, begun = cpu(worker), time.monotonic()
    push(redis, job(batch_id, contact_ids, "offer") | {"variables": {"items": ITEMS, "count": len(ITEMS)}})
    wait_until(lambda: daemon.get(f"/batches/{batch_id}").status == 200, 60)
    batch = daemon.wait_for_batch(batch_id, 600)
    spent, took = cpu(worker) - before, time.monotonic() - begun
    assert batch["counts"].get("sent") == len(contact_ids), batch
    assert [each.pid for each in daemon.workers()] == [worker.pid], daemon.tail()
    return {"mailerd": 1e3 * spent / len(contact_ids), "mailerd_wall": 1e3 * took / len(contact_ids)}


class Script:
    """The usual program, a careful one: templates compiled once, one connection."""

    def __init__(self, shop: Shop, port: int) -> None:
        environment = jinja2.Environment(autoescape=True)
        self._html = environment.from_string(HTML)
        self._subject = jinja2.Template(SUBJECT)
        self._text = jinja2.Template(TEXT)
        self._shop = shop
        self._port = port

    def run(self, name: str, count: int, *, inlined: bool) -> Figures:
        """Send so many mails: CPU of this process, and wall time, in ms per mail."""
        before, begun = time.process_time(), time.monotonic()
        with smtplib.SMTP("127.0.0.1", self._port) as server:
            for row in self._shop.rows[:count]:
                server.send_message(self._mail(self._shop.variables(row), inlined=inlined))
        spent, took = time.process_time() - before, time.monotonic() - begun
        return {name: 1e3 * spent / count, f"{name}_wall": 1e3 * took / count}

    def _mail(self, variables: dict[str, Any], *, inlined: bool) -> EmailMessage:
        html = self._html.render(variables)
        mail = EmailMessage()
        mail["From"] = "Shop <news@sender.test>"
        mail["To"] = variables["email"]
        mail["Subject"] = self._subject.render(variables)
        mail["Date"] = formatdate()
        mail["Message-ID"] = make_msgid(domain="sender.test")
        mail.set_content(self._text.render(variables))
        mail.add_alternative(inline(html, keep_style_tags=True) if inlined else html, subtype="html")
        return mail


def fixed_work() -> Figures:
    """What a loop of always the same work costs now, in ms: the higher, the slower the machine is."""
    before = time.process_time()
    sum(number * number for number in range(1_000_000))
    return {"fixed_work": 1e3 * (time.process_time() - before)}


def dkim_keys(folder: Path, kind: str) -> list[dict[str, str]]:
    """``mail.dkim`` with a new key of this kind; empty: none."""
    if not kind:
        return []
    key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey = ed25519.Ed25519PrivateKey.generate()
    if kind == "rsa":
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form, hidden = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    file = folder / "dkim.pem"
    file.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, hidden))
    return [{"domain": "sender.test", "selector": "s1", "key_file": str(file)}]


def measure(folder: Path, port: int, asked: argparse.Namespace) -> list[Figures]:
    """All rounds."""
    program = shipped_valkey()
    assert program is not None, "no Valkey or Redis server here"
    shop = Shop(folder, asked.mails)
    script = Script(shop, port)
    contact_ids = [row[0] for row in shop.rows]
    redis = RedisServer(program, folder / "redis").start()
    daemon = Daemon(folder / "daemon", shop.sections(redis, port, dkim_keys(folder, asked.dkim))).start()
    rounds = []
    try:
        by_mailerd(daemon, redis, "warm", contact_ids[:200])
        for number in range(asked.rounds):
            figures = by_mailerd(daemon, redis, f"round{number}", contact_ids)
            figures |= script.run("script", asked.mails // 8, inlined=False)
            figures |= script.run("script_inlining", asked.mails // 8, inlined=True)
            rounds.append(figures | fixed_work())
            print("  ".join(f"{name} {value:.2f}" for name, value in rounds[-1].items()), flush=True)
        daemon.term()
    finally:
        daemon.close()
        redis.close()
    return rounds


def main() -> int:
    """Measure; 1 when a mail costs more than the limit."""
    arguments = argparse.ArgumentParser(description="CPU per mail, beside the usual Python program.")
    arguments.add_argument("--mails", type=int, default=4000)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--dkim", choices=("", "rsa", "ed25519"), default="")
    arguments.add_argument("--json", type=Path)
    arguments.add_argument("--quick", action="store_true", help="one round of 800 mails")
    asked = arguments.parse_args()
    if asked.quick:
        asked.mails, asked.rounds = 800, 1
    with tempfile.TemporaryDirectory() as name, smtp_sink() as port:
        Path(name).chmod(0o755)
        rounds = measure(Path(name), port, asked)
    median = {figure: round(statistics.median(each[figure] for each in rounds), 3) for figure in rounds[0]}
    ratios = {name: round(median[name] / median["mailerd"], 1) for name in ("script", "script_inlining")}
    report = {"dkim": asked.dkim, "limit": LIMIT, "median_ms": median, "ratio": ratios, "rounds": rounds}
    if asked.json:
        asked.json.write_text(json.dumps(report, indent=2) + "\n")
    print(f"CPU per mail in the worker: {median['mailerd']:.2f} ms (limit {LIMIT} ms without DKIM)")
    print(
        f"a script: {ratios['script']} times as much, with the CSS inlined {ratios['script_inlining']} times"
    )
    return 0 if asked.dkim or median["mailerd"] <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
