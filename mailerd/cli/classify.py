"""
``mailerd classify``: what a mail server's reply would mean, and which row of which table says so.

Asks the table that the workers ask; connects to nothing.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from email.utils import parseaddr

import click

from mailerd.cli.configuration import config_option, configuration
from mailerd.cli.output import AskedAmiss, json_option, show_facts, show_json, span
from mailerd.config import Config
from mailerd.outcome import OUT_OF_ORDER, SLOWER, Kind
from mailerd.transports.replies import TRY_ELSEWHERE, At, Reply, ReplyTable, Verdict
from mailerd.transports.reply_table import Meaning

_ADDRESS = re.compile(r"<?([^\s<>,:;]+@[^\s<>,:;]+)>?")
_UNTOUCHED = "is left as it is: this is no attempt"
_GOES_ON = "goes on with the others"
_SLOWER = {
    Kind.THROTTLED: "all workers go on at half the rate, which grows back by itself",
    Kind.OVER_QUOTA: "waits: nobody is handed over; tried again after 10 min",
}


@dataclass(frozen=True, slots=True)
class Explanation:
    """What follows from a reply; ``row`` and ``source`` are empty where no table was asked."""

    outcome: str
    because: str
    recipient: str
    route: str
    row: str = ""
    source: str = ""


@click.command()
@click.argument("reply", metavar="REPLY")
@click.option(
    "--at",
    type=click.Choice([str(at) for at in At]),
    default=str(At.MAIL),
    show_default=True,
    help="What it replies to: MAIL FROM, RCPT TO (or DATA), or the end of the mail.",
)
@config_option
@json_option
def classify(reply: str, at: str, *, as_json: bool) -> None:
    """
    Explain what REPLY of a mail server means for the recipient and for everybody else.

    REPLY stands in quotes, as the server says it or a log shows it, also on several lines: mailerd classify
    '550 5.1.1 no such user'. The rows of smtp.replies are asked first, then those that mailerd brings along;
    the first that fits holds. Nothing is sent or changed. Exit code 2 when REPLY is none.
    """
    said = Reply.parse(reply)
    if said is None:
        raise AskedAmiss("this is no reply of a mail server, such as '550 5.1.1 no such user'")
    found = explain(said, At(at), configuration())
    if as_json:
        show_json(
            {"reply": str(said), "code": said.code, "enhanced": said.enhanced, "at": at, **asdict(found)}
        )
        return
    facts = {"reply": str(said), **asdict(found)}
    show_facts((name, value) for name, value in facts.items() if value)


def explain(reply: Reply, at: At, config: Config) -> Explanation:
    """What follows from this reply under this configuration."""
    if reply.positive:
        return _yes(at)
    if not reply.negative:
        return _no_answer(at)
    if at is not At.MAIL and reply.code in TRY_ELSEWHERE:
        return _hangs_up()
    table = ReplyTable(config.smtp.replies if config.smtp else ())
    verdict = table.verdict(_anonymous(reply, config), at)
    return Explanation(
        str(verdict.meaning),
        verdict.rule.because,
        _recipient(verdict, config),
        _route(verdict.kind),
        verdict.rule.looks_at,
        verdict.rule.source,
    )


def _recipient(verdict: Verdict, config: Config) -> str:
    if verdict.meaning is Meaning.FAILED:
        return "failed, for good; mailerd batch retry opens it again"
    if verdict.meaning is not Meaning.DEFERRED:
        return _UNTOUCHED
    delays = [max(delay, verdict.rule.wait) for delay in config.mail.retry_delays]
    pauses = ", ".join(map(span, delays))
    return f"deferred: an attempt, tried again after {pauses}, for {span(config.mail.max_age)} in all"


def _route(kind: Kind) -> str:
    if kind in SLOWER:
        return _SLOWER[kind]
    if kind not in OUT_OF_ORDER:
        return _GOES_ON
    from mailerd.delivery import end_of
    from mailerd.work.route import LONGEST_PAUSE

    longest = LONGEST_PAUSE[end_of(kind)]
    return f"pauses: nobody is handed over; tried again after 1 s, then ever later, up to {span(longest)}"


def _yes(at: At) -> Explanation:
    if at is At.MAIL:
        return Explanation("sent", "the server took the mail", "sent, for good", _GOES_ON)
    return Explanation("accepted", "the server wants to hear more", _UNTOUCHED, _GOES_ON)


def _no_answer(at: At) -> Explanation:
    if at is not At.MAIL:
        return _hangs_up()
    return Explanation(
        "unknown",
        "neither yes nor no, and the mail was handed over",
        "unknown: held or sent again, as mail.unknown says; see mailerd unknown list",
        "goes on over a new connection",
    )


def _hangs_up() -> Explanation:
    return Explanation(
        "connection",
        "nothing more can be learnt on this connection, and nothing was handed over",
        f"{_UNTOUCHED}; if it comes again for this recipient alone, it is deferred",
        "tries a new connection once, then pauses",
    )


def _anonymous(reply: Reply, config: Config) -> Reply:
    """As the workers see it: ``<sender>`` and ``<recipient>`` in place of addresses."""
    sender = (config.mail.envelope_from or parseaddr(config.mail.from_)[1]).lower()

    def shown(found: re.Match[str]) -> str:
        return "<sender>" if found[1].lower() == sender else "<recipient>"

    return Reply(reply.code, _ADDRESS.sub(shown, reply.text))
