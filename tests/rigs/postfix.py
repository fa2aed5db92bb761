"""
A throw-away Postfix: its own folder, STARTTLS, a login, and everybody's mail in one Maildir. Needs root.

It takes nothing without TLS and a login; passwords lie where Cyrus SASL keeps them.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Self

import trustme

from rigs import needs
from rigs.ports import free_port, listening
from rigs.waiting import wait_until

USER, PASSWORD = "shop", "open sésame"

_MAIN = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/mail.log
maillog_file_prefixes = {folder}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = postfix.test
mydestination =
local_recipient_maps =
alias_maps =
smtpd_tls_cert_file = {folder}/server.pem
smtpd_tls_key_file = {folder}/server.pem
smtpd_tls_security_level = may
smtpd_tls_auth_only = yes
smtpd_sasl_auth_enable = yes
smtpd_sasl_local_domain = postfix.test
smtpd_recipient_restrictions =
    check_recipient_access regexp:{folder}/unknown, permit_sasl_authenticated, reject
virtual_mailbox_domains = example.com
virtual_mailbox_base = {folder}/mail
virtual_mailbox_maps = static:inbox/
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
virtual_minimum_uid = 1
"""
_MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
virtual unix - n n - - virtual
error unix - - n - - error
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""
_SASL = """\
pwcheck_method: auxprop
auxprop_plugin: sasldb
mech_list: PLAIN LOGIN
sasldb_path: {folder}/sasldb2
"""


class Postfix:
    """
    The server on ``port`` of localhost. Use as a context manager.

    ``refuse``: a regular expression for recipients who are unknown there.
    """

    def __init__(self, refuse: str = "^$") -> None:
        needs.root()
        self._program = needs.program("postfix", "the package postfix")
        self._saslpasswd = needs.program("saslpasswd2", "the package sasl2-bin")
        self._refuse = refuse
        self.port = free_port()
        self._authority = trustme.CA()

    def __enter__(self) -> Self:
        # Its own users must reach the folder, and its sockets have short paths: not below pytest's.
        self.folder = Path(tempfile.mkdtemp(prefix="mailerd-postfix-", dir="/tmp"))
        self.folder.chmod(0o755)
        self._furnish()
        command = [self._program, "-c", str(self.folder / "etc"), "start-fg"]
        with (self.folder / "start.log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        wait_until(lambda: listening(self.port), 20, lambda: f"Postfix does not listen: {self.log}")
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(
            [self._program, "-c", str(self.folder / "etc"), "stop"], check=False, capture_output=True
        )
        self._process.wait(20)
        shutil.rmtree(self.folder)

    @property
    def settings(self) -> dict[str, object]:
        """What stands in [smtp] to send through it."""
        return {
            "host": "localhost",
            "port": self.port,
            "tls": "starttls",
            "username": f"{USER}@postfix.test",
            "password": PASSWORD,
            "ca_file": str(self.folder / "ca.pem"),
        }

    def mails(self) -> list[bytes]:
        """Every mail delivered so far, with CRLF, as it had come in below the headers of the way."""
        inbox = self.folder / "mail" / "inbox" / "new"
        return [path.read_bytes().replace(b"\n", b"\r\n") for path in sorted(inbox.glob("*"))]

    def wait_for(self, mails: int) -> list[bytes]:
        """Wait until that many have been delivered."""
        said: Callable[[], str] = lambda: f"{len(self.mails())} of {mails} mails: {self.log[-3000:]}"  # noqa: E731 # built only when it is needed
        wait_until(lambda: len(self.mails()) >= mails, 30, said)
        return self.mails()

    @property
    def log(self) -> str:
        """What it says of itself."""
        return "".join(
            file.read_text("utf-8", "replace")
            for file in (self.folder / "start.log", self.folder / "mail.log")
            if file.exists()
        )

    def _furnish(self) -> None:
        folder = self.folder
        for name in ("etc/sasl", "queue", "data", "mail"):
            (folder / name).mkdir(parents=True)
        shutil.chown(folder / "data", "postfix")
        shutil.chown(folder / "mail", 65534, 65534)
        texts = {"folder": folder, "port": self.port}
        (folder / "unknown").write_text(f"/{self._refuse}/ 550 5.1.1 no such user here\n")
        (folder / "etc" / "main.cf").write_text(_MAIN.format(**texts))
        (folder / "etc" / "master.cf").write_text(_MASTER.format(**texts))
        (folder / "etc" / "sasl" / "smtpd.conf").write_text(_SASL.format(**texts))
        self._authority.cert_pem.write_to_path(folder / "ca.pem")
        self._authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(
            folder / "server.pem"
        )
        self.knows(PASSWORD)

    def knows(self, password: str) -> None:
        """From now on this is the user's password."""
        database = self.folder / "sasldb2"
        command = [self._saslpasswd, "-f", str(database), "-u", "postfix.test", "-c", "-p", USER]
        subprocess.run(command, input=password.encode(), check=True)
        shutil.chown(database, "postfix")
