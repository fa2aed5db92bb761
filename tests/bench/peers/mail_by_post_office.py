"""
django-post_office as its documentation has it where many mails are sent: a row a mail, rendered on delivery.

    python mail_by_post_office.py push COUNT FIRST | send PROCESSES THREADS | left

A thread keeps its connection for a batch; whoever was sent to is noted when the whole batch is through. The
mail is the bench's own; Django's templates write the price otherwise than Jinja.
"""

import json
import logging
import os
import sys
from pathlib import Path

import django
from django.conf import settings
from django.core.management import call_command

FOLDER = Path(os.environ["BENCH_FOLDER"])
AUTHORITY = os.environ["BENCH_AUTHORITY"]
BATCH = 1000  # what is read, sent and noted in one go
TEMPLATE = json.loads(Path(os.environ["BENCH_TEMPLATE"]).read_text())
NAMES = ("Jörg Müller", "Ann", "Ольга")
settings.configure(
    INSTALLED_APPS=["django.contrib.contenttypes", "post_office"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": FOLDER / "post_office.db",
            "OPTIONS": {"timeout": 60},
        }
    },
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}],
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    DEFAULT_FROM_EMAIL="Shop <news@sender.test>",
    EMAIL_BACKEND="post_office.EmailBackend",
    EMAIL_HOST="127.0.0.1",
    EMAIL_PORT=int(os.environ["BENCH_SMTP"]),
    EMAIL_USE_TLS=bool(AUTHORITY),
    POST_OFFICE={
        "BATCH_SIZE": BATCH,
        "THREADS_PER_PROCESS": int(sys.argv[3]) if sys.argv[1] == "send" else 1,
        "LOG_LEVEL": 1,
        "BATCH_DELIVERY_TIMEOUT": 600,
        "MESSAGE_ID_ENABLED": True,
        "MESSAGE_ID_FQDN": "sender.test",
    },
    USE_TZ=True,
)
django.setup()

from post_office import mail, models  # noqa: E402 # Django wants its settings first

logging.getLogger("post_office").setLevel(logging.WARNING)
if AUTHORITY:
    os.environ["SSL_CERT_FILE"] = AUTHORITY  # whom Django's backend trusts


def prepare() -> models.EmailTemplate:
    """The tables and the template, made once."""
    call_command("migrate", verbosity=0)
    texts = {
        name: TEMPLATE[name].replace('"%.2f"|format(item.price)', "item.price|floatformat:2")
        for name in ("subject", "html", "text")
    }
    fields = {"subject": texts["subject"], "content": texts["text"], "html_content": texts["html"]}
    return models.EmailTemplate.objects.get_or_create(name="offer", defaults=fields)[0]


def push(count: int, first: int) -> None:
    """A row for each recipient."""
    template, items = prepare(), TEMPLATE["items"]
    mails = []
    for n in range(first, first + count):
        contact = {"id": f"user{n}", "name": NAMES[n % 3], "city": f"City {n % 90}"}
        contact |= {"since": 2000 + n % 25, "vip": n % 7}
        context = {**contact, "contact": contact, "items": items, "count": len(items)}
        to = f"user{n}@example.com"
        mails.append({"recipients": to, "template": template, "context": context, "render_on_delivery": True})
    for begin in range(0, count, BATCH):
        mail.send_many(mails[begin : begin + BATCH])


if __name__ == "__main__":
    if sys.argv[1] == "push":
        push(int(sys.argv[2]), int(sys.argv[3]))
    elif sys.argv[1] == "send":
        call_command("send_queued_mail", processes=int(sys.argv[2]), lockfile=str(FOLDER / "post_office"))
    else:
        print(models.Email.objects.filter(status__in=(models.STATUS.queued, models.STATUS.requeued)).count())
