"""
One mail as bytes (RFC 5322), put together from parts that were prepared once per batch.

``composer.py`` makes the mail from its ``headers.py`` and its ``body.py``; ``settings.py`` is what a template
says about its mails, ``addresses.py`` what an address is, and ``dkim.py`` signs. Knows no template, no
transport and no Redis. The standard library's ``EmailMessage`` takes 3 to 9 ms a mail; this takes a fraction
of one. The tests hold it against the standard library's parser. Called by ``delivery``; ``contacts`` asks it
what an address is.
"""

from mailerd.message.addresses import address, mailbox
from mailerd.message.composer import Composer, Message, message_id, message_id_domain
from mailerd.message.dkim import Signer
from mailerd.message.headers import fits
from mailerd.message.rendered import Rendered
from mailerd.message.settings import MailSettings

__all__ = [
    "Composer",
    "MailSettings",
    "Message",
    "Rendered",
    "Signer",
    "address",
    "fits",
    "mailbox",
    "message_id",
    "message_id_domain",
]
