"""
The configuration as one frozen value: every section, every key, every default and its bounds.

Pure; reads no file and no environment (``loading.py`` does). Attribute names are the keys of the file, but
for ``mail.from``, which Python spells ``mail.from_``. Durations are seconds, sizes are MB (2**20 bytes).
Everybody below the command line is handed a ``Config`` or one of its sections.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SecretStr

from mailerd.config.entries import (
    ApiKeys,
    ClientLimits,
    DkimKeys,
    DomainLimits,
    Limit,
    SmtpRelays,
    SmtpReplies,
    Tls,
)
from mailerd.config.kinds import (
    BareAddress,
    ContactQuery,
    ContactUrl,
    Count,
    Delays,
    Folder,
    Mailbox,
    Number,
    OptionalPath,
    Positive,
    RedisUrl,
    Seconds,
    Section,
    Span,
    WebUrl,
)
from mailerd.config.urls import is_loopback

_TLS_PORTS = {"starttls": 587, "implicit": 465, "none": 25}


def _laid_over(given: dict[str, Any]) -> dict[str, Any]:
    """With other encryption comes its own port."""
    return {"port": _TLS_PORTS[given["tls"]], **given} if "tls" in given else given


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


class Daemon(Section):
    """The daemon itself."""

    state_dir: Folder = Path("~/.local/state/mailerd")


class Redis(Section):
    """Where the queue lives."""

    url: RedisUrl = SecretStr("redis://localhost:6379/0")
    url_file: OptionalPath = None
    embedded: bool = False
    startup_timeout: Seconds = 10.0
    accept_eviction: bool = False
    replicas: Count = 0
    sentinel_password: SecretStr = SecretStr("")
    sentinel_password_file: OptionalPath = None


class Queue(Section):
    """How jobs are taken and how long their traces are kept."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$")] = "email_queue"
    fetch: Literal["blmove", "brpop"] = "blmove"
    slice: Annotated[Positive, Field(le=500)] = 100
    lease: Annotated[Number, Field(ge=1)] = 15.0
    max_deaths: Positive = 3
    max_length: Count = 1_000_000
    max_job_mb: Annotated[Positive, Field(le=512)] = 32
    retention_days: Span = 30.0
    replay_days: Seconds = 400.0


class Workers(Section):
    """The pool of worker processes. A maximum of 0 is none."""

    processes: Annotated[Count, Field(le=64)] = 2
    connections: Annotated[Positive, Field(le=256)] = 4
    drain_timeout: Seconds = 30.0
    max_jobs: Count = 0
    max_age: Seconds = 0.0
    max_memory_mb: Count = 100


class Api(Section):
    """The HTTP door."""

    enabled: bool = True
    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    port: Annotated[Count, Field(le=65535)] = 8080
    socket: OptionalPath = None
    threads: Annotated[Positive, Field(le=64)] = 4
    one_core: bool = False
    max_body_mb: Annotated[Positive, Field(le=512)] = 8
    keys: ApiKeys = ()


class Contacts(Section):
    """Where the addresses come from."""

    url: ContactUrl = SecretStr("sqlite:///contacts.db")
    url_file: OptionalPath = None
    query: ContactQuery = "SELECT id, email, name FROM contacts WHERE id IN :contact_ids"


class Templates(Section):
    """Where the templates lie."""

    path: Folder = Path("templates")


class Mail(Section):
    """What every mail has in common. ``outbox`` unset: see ``Config.outbox``."""

    transport: Literal["none", "outbox", "smtp", "ses"] = "none"
    from_: Mailbox = Field(default="", alias="from")
    envelope_from: BareAddress = ""
    redirect_to: BareAddress = ""
    unknown: Literal["hold", "resend"] = "hold"
    max_age: Seconds = 172_800.0
    retry_delays: Delays = (60.0, 300.0, 900.0, 3600.0, 7200.0, 14_400.0, 28_800.0, 57_600.0)
    outbox: OptionalPath = None
    dkim: DkimKeys = ()


class Smtp(Section):
    """The SMTP server that takes the mail. ``port`` unset: the one usual for ``tls``."""

    host: str = ""
    tls: Tls = "starttls"
    port: Annotated[Positive, Field(le=65535)] = Field(
        default_factory=lambda section: _TLS_PORTS[section.get("tls", "starttls")]
    )
    username: str = ""
    password: SecretStr = SecretStr("")
    password_file: OptionalPath = None
    ca_file: OptionalPath = None
    helo_name: str = ""
    mails_per_connection: Positive = 100
    connect_timeout: Span = 30.0
    command_timeout: Span = 300.0
    data_timeout: Span = 600.0
    replies: SmtpReplies = ()
    relays: SmtpRelays = ()

    def servers(self) -> tuple[Smtp, ...]:
        """The settings of each server, the preferred one first."""
        first = self.model_copy(update={"relays": ()})
        return (first, *(first.model_copy(update=_laid_over(relay.given)) for relay in self.relays))


class Ses(Section):
    """Amazon SES. Credentials, and what is empty here, come from where AWS's own programs take them."""

    region: str = ""
    endpoint_url: WebUrl = ""
    configuration_set: str = ""
    connect_timeout: Span = 10.0
    read_timeout: Span = 60.0


class Limits(Limit):
    """How fast all workers of all hosts together hand mails over, and how many of them in 24 hours."""

    clients: ClientLimits = ()
    domains: DomainLimits = ()


class Log(Section):
    """What is logged, and how."""

    format: Literal["text", "json"] = "text"
    level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)] = "info"
    addresses: bool = False


class Config(Section):
    """The whole configuration; ``Config()`` is all defaults."""

    daemon: Daemon = Field(default_factory=Daemon)
    redis: Redis = Field(default_factory=Redis)
    queue: Queue = Field(default_factory=Queue)
    workers: Workers = Field(default_factory=Workers)
    api: Api = Field(default_factory=Api)
    contacts: Contacts | None = None
    templates: Templates = Field(default_factory=Templates)
    mail: Mail = Field(default_factory=Mail)
    smtp: Smtp | None = None
    ses: Ses | None = None
    limits: Limits = Field(default_factory=Limits)
    log: Log = Field(default_factory=Log)

    @property
    def outbox(self) -> Path:
        """The folder of the outbox transport: ``mail.outbox``, else ``outbox`` in the state directory."""
        return self.mail.outbox or self.daemon.state_dir / "outbox"

    def with_redis_url(self, url: str) -> Config:
        """The same configuration over another Redis, such as the embedded one."""
        redis = self.redis.model_copy(update={"url": SecretStr(url)})
        return self.model_copy(update={"redis": redis})

    def warnings(self) -> list[str]:
        """What is allowed and may still not be meant, one sentence each."""
        warnings = []
        if self.mail.transport == "none":
            warnings.append("mail.transport is none: jobs are logged and discarded, nobody gets mail")
        if self.mail.redirect_to:
            warnings.append(
                "mail.redirect_to is set (staging): EVERY MAIL GOES TO THAT ONE ADDRESS; "
                "no recipient gets one, and each counts as sent"
            )
        if self.redis.embedded and "url" in self.redis.model_fields_set:
            warnings.append("redis.embedded is on: redis.url and REDIS_ADDR are not used")
        if self.workers.processes == 0:
            warnings.append("workers.processes is 0: jobs are taken in and nobody works on them here")
        mail = self.mail
        if mail.dkim and mail.transport == "ses":
            warnings.append("mail.dkim is not used: SES writes Date and Message-ID anew, and signs by itself")
        elif mail.dkim and mail.from_ and not any(key.covers(mail.from_) for key in mail.dkim):
            warnings.append("mail.dkim has no key for the domain of mail.from: its mail goes unsigned")
        warnings += [
            f"smtp.tls is none: the password goes to {server.host} unencrypted"
            for server in (self.smtp.servers() if self.smtp else ())
            if server.password and server.tls == "none" and not is_loopback(server.host)
        ]
        return warnings


def sections() -> dict[str, type[Section]]:
    """The sections by name, as the file spells them."""
    found = {}
    for name, field in Config.model_fields.items():
        kinds = getattr(field.annotation, "__args__", (field.annotation,))
        found[name] = next(kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Section))
    return found


def keys(section: type[Section]) -> dict[str, str]:
    """The keys of a section as the file spells them, with the names of their attributes."""
    return {field.alias or name: name for name, field in section.model_fields.items()}


def is_secret(section: str, key: str) -> bool:
    """Whether the value of ``section.key`` must never be shown."""
    kind = sections().get(section)
    field = kind.model_fields.get(key) if kind else None
    return field is not None and field.annotation is SecretStr
