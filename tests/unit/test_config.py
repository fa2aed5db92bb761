"""The configuration: its sources and their order, its problems, its secrets."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from mailerd.config import ClientLimit, Config, DomainLimit, load, locate, scrub
from mailerd.config.model import keys, sections
from mailerd.config.names import settings
from mailerd.config.urls import SentinelUrl, apply_redis_addr, parse_sentinel_url
from mailerd.errors import ConfigurationError

SENDING = '[mail]\ntransport = "smtp"\nfrom = "a@example.com"\n[smtp]\nhost = "mx"\n'
RELAY = SENDING + "[[smtp.relays]]\nhost='mx2'\n"

KEY = f"[[api.keys]]\nclient_id = 'shop'\nsha256 = '{'ab' * 32}'\n"


class Place:
    """A working directory with a configuration in it, and an environment."""

    def __init__(self, cwd: Path) -> None:
        self.cwd = cwd

    def load(self, toml: str = "", environ: Mapping[str, str] | None = None, dotenv: str = "") -> Config:
        (self.cwd / "config.toml").write_text(toml)
        if dotenv:
            (self.cwd / ".env").write_text(dotenv)
        return load(None, environ or {}, self.cwd)

    def problems(
        self, toml: str = "", environ: Mapping[str, str] | None = None, dotenv: str = ""
    ) -> list[str]:
        with pytest.raises(ConfigurationError) as caught:
            self.load(toml, environ, dotenv)
        return [str(problem) for problem in caught.value.problems]

    def credentials(self, **files: str) -> dict[str, str]:
        folder = self.cwd / "credentials"
        folder.mkdir()
        for name, text in files.items():
            (folder / name.replace("__", ".")).write_text(text)
        return {"CREDENTIALS_DIRECTORY": str(folder)}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def redis_url(config: Config) -> str:
    return config.redis.url.get_secret_value()


def password(config: Config) -> str:
    assert config.smtp
    return config.smtp.password.get_secret_value()


def test_nothing_set_is_all_defaults(tmp_path: Path) -> None:
    """Without any source the configuration is the defaults, which are those of the contract."""
    config = load(None, {}, tmp_path)

    assert config == Config()
    assert redis_url(config) == "redis://localhost:6379/0"
    assert (config.queue.name, config.queue.fetch, config.queue.slice) == ("email_queue", "blmove", 100)
    assert (config.api.host, config.api.port) == ("127.0.0.1", 8080)
    assert config.contacts is None
    assert config.smtp is None


def test_the_sources_in_their_order(place: Place) -> None:
    """Environment beats .env, which beats credentials, which beat the file, which beats the default."""
    toml = "[workers]\nprocesses = 3\nconnections = 3\nmax_jobs = 3\nmax_age = 3\n"
    environ = place.credentials(workers__connections="5\n", workers__max_jobs="5", workers__max_age="5")
    dotenv = "MAILERD_WORKERS__MAX_JOBS=6\nMAILERD_WORKERS__MAX_AGE=6\n"

    workers = place.load(toml, {**environ, "MAILERD_WORKERS__MAX_AGE": "7"}, dotenv).workers

    assert (workers.processes, workers.connections, workers.max_jobs, workers.max_age) == (3, 5, 6, 7)
    assert workers.drain_timeout == 30


def test_a_section_may_come_from_several_sources(place: Place) -> None:
    """Settings of one section add up over the sources."""
    config = place.load(SENDING, {"MAILERD_SMTP__PASSWORD": "p"}, "MAILERD_SMTP__USERNAME=u")

    assert config.smtp
    assert (config.smtp.host, config.smtp.username, password(config)) == ("mx", "u", "p")


@pytest.mark.parametrize(
    ("address", "url", "result"),
    [
        ("localhost:6379", "redis://localhost:6379/0", "redis://localhost:6379/0"),
        ("other:1", "redis://u:p%40@here:6379/3?x=1", "redis://u:p%40@other:1/3?x=1"),
        ("[::1]:6380", "rediss://here/0", "rediss://[::1]:6380/0"),
        ("10.0.0.1:6380", "unix:///run/redis.sock?db=2", "redis://10.0.0.1:6380/0"),
        ("other:1", "rediss+sentinel://u:p@s1,s2:5/main/3?x=1", "rediss://u:p@other:1/3?x=1"),
        ("redis+sentinel://s1/main", "redis://localhost:6379/0", "redis+sentinel://s1/main"),
        ("rediss://u:p@x:1/4", "redis://localhost:6379/0", "rediss://u:p@x:1/4"),
        ("unix:///run/redis.sock", "redis://localhost:6379/0", "unix:///run/redis.sock"),
    ],
)
def test_redis_addr_replaces_host_and_port_or_everything(address: str, url: str, result: str) -> None:
    """An address keeps the URL's scheme, user and database; a URL keeps nothing."""
    assert apply_redis_addr(address, url) == result


@pytest.mark.parametrize(
    "address",
    ["localhost", "host:", ":6379", "host:99999", "a b:1", "http://x", "::1:6379", "u@host:1", "host:1/0"],
)
def test_redis_addr_that_is_none_is_a_problem(place: Place, address: str) -> None:
    """What is neither host:port nor a Redis URL is refused under the variable's own name."""
    [problem] = place.problems(environ={"REDIS_ADDR": address})

    assert problem.startswith("REDIS_ADDR: must be ")


def test_a_url_with_sentinels_says_whom_to_ask_and_how_to_talk_to_the_servers() -> None:
    """User, database and options are the servers'; a sentinel without a port has the usual one."""
    assert parse_sentinel_url(
        "rediss+sentinel://u:p%40@s1,[::1]:5000,s3:7/main/2?ssl_ca_certs=/x"
    ) == SentinelUrl(
        (("s1", 26379), ("::1", 5000), ("s3", 7)), "main", "rediss://u:p%40@master/2?ssl_ca_certs=/x"
    )


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://s1:26379",
        "redis+sentinel://s1:26379/",
        "redis+sentinel:///main",
        "redis+sentinel://s1,,s2/main",
        "redis+sentinel://s1:99999/main",
        "redis+sentinel://s1/main/x",
    ],
)
def test_a_url_with_sentinels_that_lacks_something_is_a_problem(place: Place, url: str) -> None:
    """No sentinel, no master, or a database that is no number."""
    [problem] = place.problems(f"[redis]\nurl = '{url}'")

    assert problem.startswith("redis.url: must ")


def test_redis_addr_among_the_sources(place: Place) -> None:
    """REDIS_ADDR changes what weaker sources say of the URL, and yields to MAILERD_REDIS__URL beside it."""
    toml = '[redis]\nurl = "redis://:secret@file:1/5"\n'
    environ = {"REDIS_ADDR": "addr:2"}

    assert redis_url(place.load(toml, environ)) == "redis://:secret@addr:2/5"
    both = {**environ, "MAILERD_REDIS__URL": "redis://own:3/0"}
    assert redis_url(place.load(toml, both)) == "redis://own:3/0"
    assert redis_url(place.load(toml, {}, "REDIS_ADDR=dot:4")) == "redis://:secret@dot:4/5"
    assert redis_url(place.load(toml, environ, "REDIS_ADDR=dot:4")) == "redis://:secret@addr:2/5"
    dotenv = "MAILERD_REDIS__URL=redis://dot:5/6"
    assert redis_url(place.load(toml, environ, dotenv)) == "redis://addr:2/6"
    assert redis_url(place.load(toml, {"REDIS_ADDR": ""}, "FOO=1")) == "redis://:secret@file:1/5"


def test_dotenv_lines_of_others_are_ignored(place: Place) -> None:
    """A .env is shared with others: only our lines count, whatever the rest looks like."""
    dotenv = "export REDIS_ADDR='addr:2' # here\nDATABASE_URL=x\n%%% what\nA=${HOME}\nBARE\n"
    dotenv += 'MAILERD_API__PORT="81"\n'

    config = place.load(dotenv=dotenv)

    assert redis_url(config) == "redis://addr:2/0"
    assert config.api.port == 81


def test_our_unknown_variables_are_refused(place: Place) -> None:
    """A misspelt MAILERD_ variable is an error that names the nearest one, in .env as well."""
    problems = place.problems(environ={"MAILERD_SMTP__PROT": "1", "MAILERD_CONFIG": ""}, dotenv="MAILERD_X=1")

    assert problems == [
        "MAILERD_X: is no setting in .env",
        "MAILERD_SMTP__PROT: is no setting; did you mean MAILERD_SMTP__PORT?",
    ]


def test_all_problems_of_all_sources_at_once(place: Place) -> None:
    """Every problem is reported in one go, each under its path and with the source that has it."""
    toml = (
        'port = 1\n[smtp]\ntls = "ssl"\nprt = 25\n[stmp]\nhost = "x"\n'
        '[queue]\nslice = 501\nfetch = "pop"\n[workers]\nprocesses = true\nconnections = 2.5\n'
        "[mail]\nretry_delays = [60, 0]\n[api]\nhost = '0.0.0.0'\n[redis]\nurl = 'http://u:hunter2@x'\n"
    )
    environ = {"MAILERD_API__PORT": "http", "MAILERD_LOG__ADDRESSES": "perhaps"}

    problems = place.problems(toml, environ, "MAILERD_QUEUE__LEASE=nan\n")

    assert sorted(problems) == sorted(
        [
            "port: is no section; did you mean api.port?",
            "smtp.tls: must be 'starttls', 'implicit' or 'none', not 'ssl'",
            "smtp.prt: is no setting; did you mean smtp.port?",
            "stmp: is no section; did you mean smtp?",
            "queue.slice: must be at most 500, not 501",
            "queue.fetch: must be 'blmove' or 'brpop', not 'pop'",
            "queue.lease: must be a number, not 'nan' (from MAILERD_QUEUE__LEASE in .env)",
            "workers.processes: must be a number, not True",
            "workers.connections: must be a whole number, not 2.5",
            "mail.retry_delays.1: must be more than 0, not 0",
            "api.port: must be a whole number, not 'http' (from MAILERD_API__PORT)",
            (
                "api.host: must be a loopback address as long as no [[api.keys]] guard the door, "
                "not 0.0.0.0: mailerd key create CLIENT makes one"
            ),
            "log.addresses: must be true or false, not 'perhaps' (from MAILERD_LOG__ADDRESSES)",
            "redis.url: must be a redis://, rediss://, unix:// or redis+sentinel:// URL",
            'mail.transport: must be set where [smtp] is given: "smtp" to send, "none" to send nothing',
        ]
    )


@pytest.mark.parametrize(
    ("toml", "problem"),
    [
        ("[smtp]\nhost = 'x'", "mail.transport: must be set where [smtp] is given"),
        ("[mail]\ntransport='smtp'\nfrom='a@b.de'", "smtp.host: must name the server"),
        ("[mail]\ntransport='smtp'\nfrom='a@b.de'\n[smtp]\nport=25", "smtp.host: must name the server"),
        ("[mail]\ntransport='outbox'", 'mail.from: must be set when mail.transport is "outbox"'),
        ("[mail]\nfrom='News'", "mail.from: must be an address"),
        ('[mail]\nfrom="a@b.de\\r\\nBcc: c@d.de"', "mail.from: must be an address"),
        ("[mail]\nfrom='a@b.de, c@d.de'", "mail.from: must be an address"),
        ("[mail]\nenvelope_from='A <a@b.de>'", "mail.envelope_from: must be an address without a name"),
        ("[mail]\nredirect_to='QA <a@b.de>'", "mail.redirect_to: must be an address without a name"),
        ("[mail]\nredirect_to='a@b.de, c@d.de'", "mail.redirect_to: must be an address without a name"),
        (SENDING + "username='u'", "smtp.password: must be set where smtp.username is"),
        (SENDING + "password='p'", "smtp.username: must be set where smtp.password is"),
        (RELAY + "username='u'", "smtp.relays.0.password: must be set where smtp.relays.0.username is"),
        (RELAY + "password='p'", "smtp.relays.0.username: must be set where smtp.relays.0.password is"),
        (RELAY + "ca_file='/nowhere'", "smtp.relays.0.ca_file: cannot read /nowhere"),
        (RELAY + "helo_name='x'", "smtp.relays.0.helo_name: is nothing that one of smtp.relays has: host,"),
        (SENDING + "[[smtp.relays]]\nport=25", "smtp.relays.0.host: is missing"),
        (SENDING + "relays='mx2'", "smtp.relays: must be JSON on one line"),
        (SENDING + "ca_file='/nowhere/ca.pem'", "smtp.ca_file: cannot read /nowhere/ca.pem"),
        ("[api]\nhost='example.com'", "api.host: must be a loopback address"),
        ("[api]\nmax_body_mb=32", "api.max_body_mb: must be smaller than queue.max_job_mb (32)"),
        ("[[api.keys]]\nclient_id='x'", "api.keys.0.sha256: is missing"),
        ("[[api.keys]]\nclient_id='x'\nsha256='tok-en'", "api.keys.0.sha256: must be the 64 hex digits"),
        (KEY + "token='x'", "api.keys.0.token: is nothing that one of api.keys has: client_id, sha256"),
        (KEY + KEY, "api.keys: has one sha256 twice"),
        (KEY.replace("shop", "a b"), "api.keys.0.client_id: must be a client id"),
        ("[api]\nkeys=5", "api.keys: must be a list"),
        ("[contacts]\nquery='SELECT 1'", "contacts.query: must say which contacts"),
        ("[contacts]\nurl='contacts.db'", "contacts.url: must be a database URL"),
        ("[queue]\nname='{x}'", "queue.name: must be 1 to 64 of"),
        ("smtp = 5", "smtp: must be a section, not 5"),
        ("[redis]\nurl='redis://host:x'", "redis.url: must be a URL with a port from 0 to 65535"),
        ("[redis]\nurl='redis://:6379'", "redis.url: must name a host"),
        ("[redis]\nurl='redis://h/zero'", "redis.url: must end with the number of a database"),
        ("[ses]\nregion='eu-west-1'", "mail.transport: must be set where [ses] is given"),
        (
            "[mail]\ntransport='none'\n[ses]\nendpoint_url='email.example'",
            "ses.endpoint_url: must be the URL",
        ),
        ("[mail]\nretry_delays=[]", "mail.retry_delays: must not be empty"),
        ("[limits]\nper_second = -1", "limits.per_second: must be at least 0"),
        ("[[limits.clients]]\nclient_id='a'", "limits.clients.0: limits nothing"),
        (
            "[[limits.domains]]\ndomain='a.b'\nper_day=1\n" * 2,
            "limits.domains: has a.b twice",
        ),
        ("[[limits.domains]]\ndomain='a.b'\nper_dya=1\n", "limits.domains.0.per_dya: is nothing that"),
    ],
)
def test_what_does_not_fit_is_told(place: Place, toml: str, problem: str) -> None:
    """Each wrong setting, alone or beside others, is one problem that says what to do."""
    [only] = place.problems(toml)

    assert only.startswith(problem)


# Every key that the contract names.
CONTRACT = {
    "daemon": "state_dir",
    "redis": "url embedded startup_timeout accept_eviction replicas",
    "queue": "name fetch slice lease max_length max_deaths retention_days replay_days max_job_mb",
    "workers": "processes connections drain_timeout max_jobs max_age max_memory_mb",
    "api": "enabled host port socket threads max_body_mb keys",
    "contacts": "url query",
    "templates": "path",
    "mail": "transport from envelope_from redirect_to unknown max_age",
    "smtp": "host port tls username password password_file ca_file helo_name mails_per_connection",
    "ses": "region endpoint_url configuration_set",
    "limits": "per_second per_day clients domains",
    "log": "format level addresses",
}


def test_no_setting_of_the_contract_is_foreign() -> None:
    """Each that the contract names is a setting."""
    named = {(section, key) for section, names in CONTRACT.items() for key in names.split()}

    assert named - set(settings()) == set()


def test_a_secret_of_several_lines_is_none(place: Place) -> None:
    """The line end of an editor is no part of a secret; a second line is a mistake, and is not shown."""
    (place.cwd / "secret").write_text("hunter2\n")
    toml = SENDING + "username='u'\npassword_file='secret'"
    config = place.load(toml)
    (place.cwd / "secret").write_text("hunter2\nhunter3\n")

    assert config.smtp is not None
    assert config.smtp.password.get_secret_value() == "hunter2"
    assert place.problems(toml) == [
        f"smtp.password_file: {place.cwd}/secret holds several lines, and a secret is one"
    ]


def test_limits(place: Place) -> None:
    """Limits come from the file or from one variable, in fractions too; names are as the DNS has them."""
    domain = "[[limits.domains]]\ndomain = 'GMail.com'\nmx = 'google.com.'\nper_day = 9\n"
    toml = f"[limits]\nper_second = 0.5\n{domain}"
    limits = place.load(toml, {"MAILERD_LIMITS__CLIENTS": '[{"client_id": "shop", "per_second": 2}]'}).limits

    assert (limits.per_second, limits.per_day) == (0.5, 0)
    assert limits.clients == (ClientLimit(client_id="shop", per_second=2),)
    assert limits.domains == (DomainLimit(domain="gmail.com", mx="google.com", per_day=9),)


def test_keys_of_the_api(place: Place) -> None:
    """Keys come from the file or from one variable, for a client or for every one; they free the host."""
    toml = "[api]\nhost = '0.0.0.0'\n" + KEY + KEY.replace("ab" * 32, "CD" * 32)
    keys = [(key.client_id, key.sha256.get_secret_value()) for key in place.load(toml).api.keys]
    assert keys == [("shop", "ab" * 32), ("shop", "cd" * 32)]
    environ = {"MAILERD_API__KEYS": f"club:{'ef' * 32}, *:{'01' * 32}"}
    api = place.load(toml, environ).api
    assert [key.client_id for key in api.keys] == ["club", "*"]
    assert "ef" * 32 not in repr(api)


def test_keys_that_sign(place: Place) -> None:
    """Keys come from the file or from one variable; none of them is shown."""
    file = place.cwd / "key.pem"
    file.write_text("PEM")
    key = "[[mail.dkim]]\ndomain='Example.com'\nselector='s1'\n"
    [inline] = place.load(key + "key='secret PEM'").mail.dkim
    assert (inline.domain, inline.selector) == ("example.com", "s1")
    assert "secret" not in repr(inline)
    named = place.load("", {"MAILERD_MAIL__DKIM": f"example.com:s1:{file}, b.example:s2:{file}"}).mail.dkim
    assert [(each.domain, each.key_file) for each in named] == [("example.com", file), ("b.example", file)]
    assert place.problems(key) == ["mail.dkim.0: needs the private key, in key_file or in key"]
    assert place.problems(key + f"key='x'\nkey_file='{file}'") == place.problems(key)
    assert place.problems(key + "key_file='/nowhere.pem'") == [
        "mail.dkim.0.key_file: cannot read /nowhere.pem"
    ]
    assert place.problems(key.replace("s1", "s 1") + "key='x'")[0].startswith("mail.dkim.0.selector: must be")


def test_a_sender_whose_mail_goes_unsigned_is_warned_of(place: Place) -> None:
    """Keys that nothing is signed with are told: of another domain than the sender's, or with SES."""
    key = "[[mail.dkim]]\ndomain='example.com'\nselector='s1'\nkey='PEM'\n"

    def warned(sending: str) -> list[str]:
        return [each for each in place.load(sending + key).warnings() if each.startswith("mail.dkim")]

    assert warned("[mail]\ntransport='outbox'\nfrom='News <a@mail.Example.com>'\n") == []
    [elsewhere] = warned("[mail]\ntransport='outbox'\nfrom='a@notexample.com'\n")
    assert "goes unsigned" in elsewhere
    [ses] = warned("[mail]\ntransport='ses'\nfrom='a@example.com'\n")
    assert "signs by itself" in ses


def test_a_token_in_place_of_its_digest_is_not_shown(place: Place) -> None:
    """Whoever pastes the token itself reads what to do, and not the token."""
    [problem] = place.problems("", {"MAILERD_API__KEYS": "shop:hunter2"})
    assert "64 hex digits" in problem
    assert "hunter2" not in problem


def test_api_host_is_free_behind_a_socket_or_when_off(place: Place) -> None:
    """Where the host is not used, it may be any."""
    assert place.load("[api]\nhost='0.0.0.0'\nsocket='/run/x.sock'").api.socket == Path("/run/x.sock")
    assert not place.load("[api]\nhost='0.0.0.0'\nenabled=false").api.enabled


@pytest.mark.parametrize(
    "sender",
    [
        "a@b.de",
        "News <news@example.com>",
        '"Doe, J." <j@d.de>',
        "<a@b.de>",
        "Größe <ü.x@bücher.de>",
        "N<a@b.de>",
    ],
)
def test_senders(place: Place, sender: str) -> None:
    """mail.from takes an address with a name or without one, in any script."""
    assert place.load(f"[mail]\nfrom = '{sender}'").mail.from_ == sender


@pytest.mark.parametrize(("tls", "port"), [("starttls", 587), ("implicit", 465), ("none", 25)])
def test_the_port_follows_tls(place: Place, tls: str, port: int) -> None:
    """Without smtp.port the server is met at the port that is usual for smtp.tls."""
    config = place.load(f"{SENDING}tls = '{tls}'\n")

    assert config.smtp
    assert config.smtp.port == port


def test_secrets_from_files(place: Place) -> None:
    """A *_file setting reads the secret and strips the line end; a relative path starts in the directory."""
    (place.cwd / "password").write_text("p w\n")
    (place.cwd / "url").write_text("redis://:x@h:1/2\r\n")
    toml = f"{SENDING}username='u'\npassword_file = 'password'\n[redis]\nurl_file = '{place.cwd}/url'\n"

    config = place.load(toml, {"REDIS_ADDR": "addr:9"})

    assert password(config) == "p w"
    assert redis_url(config) == "redis://:x@addr:9/2"


def test_a_relay_is_as_smtp_says_but_for_what_it_says_itself(place: Place) -> None:
    """What a relay leaves out is as in [smtp]; other encryption has its port, another user no password."""
    (place.cwd / "second").write_text("p2\n")
    toml = f"{SENDING}port=2525\nusername='u'\npassword='p'\nhelo_name='me'\n[[smtp.relays]]\nhost='mx2'\n"
    toml += "[[smtp.relays]]\nhost='mx3'\ntls='implicit'\nusername='v'\npassword_file='second'\n"
    toml += "[[smtp.relays]]\nhost='mx4'\ntls='none'\nport=26\nusername=''\n"

    smtp = place.load(toml).smtp

    assert smtp
    assert [(one.host, one.port, one.tls, one.username) for one in smtp.servers()] == [
        ("mx", 2525, "starttls", "u"),
        ("mx2", 2525, "starttls", "u"),
        ("mx3", 465, "implicit", "v"),
        ("mx4", 26, "none", ""),
    ]
    assert [one.password.get_secret_value() for one in smtp.servers()] == ["p", "p", "p2", ""]
    assert {one.helo_name for one in smtp.servers()} == {"me"}
    assert "p2" not in repr(smtp)


def test_relays_in_one_line(place: Place) -> None:
    """A variable or a credential holds relays as JSON, secrets and all; nothing of it is shown when wrong."""
    (place.cwd / "second").write_text("p2\n")
    line = '[{"host": "mx2", "username": "u", "password_file": "second"}]'

    smtp = place.load(SENDING, {"MAILERD_SMTP__RELAYS": line}).smtp

    assert smtp
    assert smtp.servers()[1].password.get_secret_value() == "p2"
    both = line.replace("}", ', "password": "hunter2"}')
    assert place.problems(SENDING, {"MAILERD_SMTP__RELAYS": both}) == [
        "smtp.relays.0.password_file: and smtp.relays.0.password are both set: leave one out"
    ]
    wrong = place.problems(SENDING, {"MAILERD_SMTP__RELAYS": '[{"host": "mx2", "password": ["hunter2"]}]'})
    assert "hunter2" not in "".join(wrong)


def test_secret_files_that_do_not_do(place: Place) -> None:
    """A missing, an empty and a doubled secret are problems under the file's setting."""
    (place.cwd / "empty").write_text("\n")
    toml = f"{SENDING}username='u'\npassword='a'\npassword_file='nowhere'\n[redis]\nurl_file='empty'\n"

    assert place.problems(toml) == [
        "smtp.password_file: and smtp.password are both set: leave one out",
        f"redis.url_file: {place.cwd}/empty is empty",
        f"smtp.password_file: cannot read {place.cwd}/nowhere: No such file or directory",
    ]


def test_a_stronger_source_replaces_a_secret_file(place: Place) -> None:
    """A password in the environment takes the place of a password_file in the file, and the other way."""
    toml = f"{SENDING}username='u'\npassword_file = '/nowhere'\n"
    (place.cwd / "password").write_text("from file\n")

    assert password(place.load(toml, {"MAILERD_SMTP__PASSWORD": "own"})) == "own"
    toml = f"{SENDING}username='u'\npassword = 'weak'\n"
    assert password(place.load(toml, {"MAILERD_SMTP__PASSWORD_FILE": "password"})) == "from file"


def test_systemd_credentials(place: Place) -> None:
    """Credentials named like a setting are read, foreign ones are left alone, misspelt ones are refused."""
    environ = place.credentials(smtp__password="p\n", redis__url="redis://c:1/1", tls="x", smtp__pasword="x")

    [problem] = place.problems(f"{SENDING}username='u'\n", environ)
    assert problem == "smtp.pasword: is no setting (credential); did you mean smtp.password?"

    (place.cwd / "credentials" / "smtp.pasword").unlink()
    config = place.load(f"{SENDING}username='u'\n", environ)
    assert (password(config), redis_url(config)) == ("p", "redis://c:1/1")


def test_no_secret_is_shown(place: Place) -> None:
    """Neither the repr nor any problem holds a secret, also where the secret itself is what is wrong."""
    toml = f"{SENDING}username='u'\npassword='hunter2'\n[redis]\nurl='redis://u:hunter2@h:1/0'\n"
    toml += "[contacts]\nurl='postgresql://u:hunter2@h/db'\n"
    wrong = {
        "MAILERD_REDIS__URL": "http://hunter2@x",
        "MAILERD_CONTACTS__URL": "hunter2",
        "MAILERD_SMTP__PASSWORD": "hunter2\ud800",
    }

    assert "hunter2" not in repr(place.load(toml))
    assert "hunter2" not in "\n".join(place.problems(toml, wrong))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://h:1/0", "redis://h:1/0"),
        ("redis://:p@h:1/0", "redis://***@h:1/0"),
        ("redis://u:p@/ss@h:1/0", "redis://***@h:1/0"),
        ("unix:///run/x?db=1&password=p&y=2", "unix:///run/x?db=1&password=***&y=2"),
    ],
)
def test_scrubbed_urls(url: str, shown: str) -> None:
    """A URL is shown without its user and password, wherever they stand."""
    assert scrub(url) == shown


def test_which_file(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--config, MAILERD_CONFIG, its line in .env, ./config.toml and the system's file, in this order."""
    system = tmp_path / "system.toml"
    monkeypatch.setattr("mailerd.config.sources.SYSTEM_FILE", system)
    environ = {"MAILERD_CONFIG": "env.toml"}

    assert locate(None, {}, tmp_path)[0] is None
    system.write_text("")
    assert locate(None, {}, tmp_path)[0] == system
    (tmp_path / "config.toml").write_text("")
    assert locate(None, {}, tmp_path)[0] == tmp_path / "config.toml"
    (tmp_path / ".env").write_text("MAILERD_CONFIG=dot.toml")
    assert locate(None, {}, tmp_path)[0] == tmp_path / "dot.toml"
    assert locate(None, environ, tmp_path)[0] == tmp_path / "env.toml"
    assert locate(Path("/given.toml"), environ, tmp_path)[0] == Path("/given.toml")


@pytest.mark.parametrize(
    ("prepare", "problem"),
    [
        (lambda _file: None, "cannot be read (named by --config): No such file or directory"),
        (lambda file: file.mkdir(), "cannot be read (named by --config): Is a directory"),
        (lambda file: file.write_text("[mail\n"), "is not TOML: Expected ']'"),
        (lambda file: file.write_bytes(b"\xff\xfe"), "is not TOML: 'utf-8' codec can't decode"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, prepare: Callable[[Path], object], problem: str) -> None:
    """A file that is named and missing or broken is a problem, told beside those of other sources."""
    file = tmp_path / "own.toml"
    prepare(file)

    with pytest.raises(ConfigurationError) as caught:
        load(file, {"MAILERD_X": ""}, tmp_path)

    first, second = map(str, caught.value.problems)
    assert first.startswith(f"{file}: {problem}")
    assert second == "MAILERD_X: is no setting"


def test_unreadable_credentials_and_dotenv(place: Place) -> None:
    """A credentials directory that is not there and a .env that is no text are problems."""
    (place.cwd / ".env").write_bytes(b"\xff")

    problems = place.problems(environ={"CREDENTIALS_DIRECTORY": "/nowhere"})

    assert problems[0] == "CREDENTIALS_DIRECTORY: cannot be read: No such file or directory"
    assert problems[1].startswith(".env: cannot be read: 'utf-8' codec")


def test_every_variable_spells_a_setting(place: Place) -> None:
    """Each setting has its variable, lists and booleans included."""
    environ = {
        "MAILERD_MAIL__RETRY_DELAYS": "[1, 2.5]",
        "MAILERD_MAIL__FROM": "N <n@example.com>",
        "MAILERD_API__ENABLED": "off",
        "MAILERD_LOG__LEVEL": "DEBUG",
    }

    config = place.load(environ=environ)

    assert config.mail.retry_delays == (1, 2.5)
    assert config.mail.from_ == "N <n@example.com>"
    assert not config.api.enabled
    assert config.log.level == "debug"


def test_paths(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The state directory is systemd's first, if any; a tilde is the home; the outbox is in there."""
    monkeypatch.setenv("HOME", "/home/u")

    assert place.load().daemon.state_dir == Path("/home/u/.local/state/mailerd")
    config = place.load("", {"STATE_DIRECTORY": "/var/lib/mailerd:/x"})
    assert config.outbox == Path("/var/lib/mailerd/outbox")
    config = place.load("[daemon]\nstate_dir='~/s'\n[mail]\noutbox='/o'", {"STATE_DIRECTORY": "/x"})
    assert (config.daemon.state_dir, config.outbox) == (Path("/home/u/s"), Path("/o"))


def test_no_home_is_told(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without a home directory, as in containers, is asked for a path and gets no traceback."""

    def homeless(_path: str) -> str:
        return "~/.local/state/mailerd"

    monkeypatch.setattr("posixpath.expanduser", homeless)

    assert place.problems("[api]\nport = -1") == [
        "daemon.state_dir: needs an absolute path: this user has no home directory",
        "api.port: must be at least 0, not -1",
    ]


def test_warnings(place: Place) -> None:
    """What is allowed and may not be meant is warned of; a usual sending configuration is not."""
    toml = "[redis]\nembedded=true\n[workers]\nprocesses=0\n[mail]\ntransport='none'\n"
    toml += "[smtp]\nhost='mx'\ntls='none'\nusername='u'\npassword='p'\n"

    warnings = place.load(toml, {"REDIS_ADDR": "h:1"}).warnings()

    assert [warning.split(" is ")[0] for warning in warnings] == [
        "mail.transport",
        "redis.embedded",
        "workers.processes",
        "smtp.tls",
    ]
    assert not place.load(SENDING).warnings()


def test_the_value_is_frozen_and_travels(place: Place) -> None:
    """Nobody changes a configuration, and it passes between processes whole."""
    config = place.load(f"{SENDING}username='u'\npassword='p'\n")

    with pytest.raises(ValueError, match="frozen"):
        config.redis.embedded = True  # type: ignore[misc] # that it cannot be set is the point
    assert pickle.loads(pickle.dumps(config)) == config  # noqa: S301 - our own bytes
    assert redis_url(config.with_redis_url("unix:///x")) == "unix:///x"


def test_every_setting_has_a_default_that_its_own_rules_accept() -> None:
    """Whatever is in force by default could be written into the file as well."""
    for name, section in sections().items():
        values = json.loads(section().model_dump_json(by_alias=True, exclude_none=True))
        for secret in ("url", "password"):
            values.pop(secret, None)
        assert section.model_validate(values) == section(), name
        assert set(values) <= set(keys(section))
