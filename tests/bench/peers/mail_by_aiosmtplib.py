"""The same mail with aiosmtplib on ten connections that stay open: ``mail_by_aiosmtplib.py PORT MAILS``."""

import asyncio
import json
import os
import sys
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from pathlib import Path

import aiosmtplib
import jinja2

CONNECTIONS = 10
TEMPLATE = json.loads(Path(os.environ["BENCH_TEMPLATE"]).read_text())
environment = jinja2.Environment(autoescape=True)
html = environment.from_string(TEMPLATE["html"])
subject, text = jinja2.Template(TEMPLATE["subject"]), jinja2.Template(TEMPLATE["text"])


def mail_to(number: int) -> EmailMessage:
    """The mail for one contact."""
    contact = {"id": f"user{number}", "email": f"user{number}@example.com", "name": "Jörg Müller"}
    contact |= {"city": f"City {number % 90}", "since": 2000 + number % 25, "vip": number % 7}
    variables = {**contact, "contact": contact, "items": TEMPLATE["items"], "count": len(TEMPLATE["items"])}
    mail = EmailMessage()
    mail["From"] = "Shop <news@sender.test>"
    mail["To"] = contact["email"]
    mail["Subject"] = subject.render(variables)
    mail["Date"] = formatdate()
    mail["Message-ID"] = make_msgid(domain="sender.test")
    mail.set_content(text.render(variables))
    mail.add_alternative(html.render(variables), subtype="html")
    return mail


async def send(port: int, numbers: range) -> None:
    """One connection's share."""
    async with aiosmtplib.SMTP(hostname="127.0.0.1", port=port, start_tls=False) as server:
        for number in numbers:
            await server.send_message(mail_to(number))


async def main(port: int, mails: int) -> None:
    """All of them."""
    await asyncio.gather(*(send(port, range(first, mails, CONNECTIONS)) for first in range(CONNECTIONS)))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
