"""
Celery as people send mail with it: a task a recipient, one rendered mail, one smtplib connection.

acks_late, so that a killed worker's mail is sent again. The template is the bench's own, compiled once;
contacts come with the task.
"""

import json
import os
import smtplib
import ssl
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from pathlib import Path

import jinja2
from celery import Celery

AUTHORITY = os.environ.get("BENCH_AUTHORITY")
TEMPLATE = json.loads(Path(os.environ["BENCH_TEMPLATE"]).read_text())
environment = jinja2.Environment(autoescape=True)
html = environment.from_string(TEMPLATE["html"])
subject, text = jinja2.Template(TEMPLATE["subject"]), jinja2.Template(TEMPLATE["text"])

app = Celery("bench", broker=os.environ["BENCH_REDIS"])
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
)


@app.task
def send(contact: dict) -> None:
    """One mail."""
    variables = {**contact, "contact": contact, "items": TEMPLATE["items"], "count": len(TEMPLATE["items"])}
    mail = EmailMessage()
    mail["From"] = "Shop <news@sender.test>"
    mail["To"] = contact["email"]
    mail["Subject"] = subject.render(variables)
    mail["Date"] = formatdate()
    mail["Message-ID"] = make_msgid(domain="sender.test")
    mail.set_content(text.render(variables))
    mail.add_alternative(html.render(variables), subtype="html")
    with smtplib.SMTP("127.0.0.1", int(os.environ["BENCH_SMTP"])) as server:
        if AUTHORITY:
            server.starttls(context=ssl.create_default_context(cafile=AUTHORITY))
        server.send_message(mail)


def push(count: int) -> None:
    """A task for each recipient."""
    names = ("Jörg Müller", "Ann", "Ольга")
    with app.producer_pool.acquire() as producer:
        for n in range(count):
            contact = {"id": f"user{n}", "email": f"user{n}@example.com", "name": names[n % 3]}
            contact |= {"city": f"City {n % 90}", "since": 2000 + n % 25, "vip": n % 7}
            send.apply_async((contact,), producer=producer)
