"""
mailerd as a systemd unit: installed in a container by the README's own lines, and seen through systemctl.

What is said of processes, files and control groups is looked up from outside, where it cannot be hidden.
"""

from __future__ import annotations

import http.client
import json
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import redis

from rigs.container import Container
from rigs.daemon import Answer, Sections
from rigs.debian import CHECKOUT, Debian
from rigs.toml import toml
from rigs.waiting import wait_until

UNIT = "mailerd.service"
PORT = 8080
_DROP_IN = f"/etc/systemd/system/{UNIT}.d/test.conf"
_WHEELS = "/root/wheels"
_OFFLINE = (
    f"PIP_NO_INDEX=1 PIP_FIND_LINKS={_WHEELS} PIP_ROOT_USER_ACTION=ignore PIP_DISABLE_PIP_VERSION_CHECK=1"
)


def readme_steps() -> str:
    """The lines that the README tells an administrator to type where no package fits."""
    section = (CHECKOUT / "README.md").read_text().split("\nElsewhere, by hand:", 1)[1]
    found = re.search(r"```sh\n(.*?)```", section, re.DOTALL)
    assert found, "README.md does not say how to install it under systemd"
    return found[1]


def install(container: Container, release: Debian) -> None:
    """Install it as the README says, from a copy of the checkout and with the network off."""
    shutil.copytree(release.wheels, container.path(_WHEELS))
    copy = container.path("/root/mailerd")
    copy.mkdir()
    for name in ("README.md", "pyproject.toml", "config.example.toml", "mailerd", "systemd"):
        subprocess.run(["cp", "-r", str(CHECKOUT / name), str(copy)], check=True)
    shutil.copy(copy / "config.example.toml", copy / "config.toml")
    steps = f"set -e; export {_OFFLINE}; cd /root/mailerd\n{readme_steps()}"
    container.run("sh", "-c", steps, timeout=180)
    container.run(
        "sh", "-c", f"{_OFFLINE} /opt/mailerd/current/bin/pip install -q 'mailerd[embedded,ses]'", timeout=60
    )


class Service:
    """The installed unit of one container."""

    def __init__(self, container: Container) -> None:
        self.container = container
        self._mark = 0.0  # seconds since 1970

    # --- what an administrator types ----------------------------------------------------------------

    def systemctl(self, *arguments: str, check: bool = True) -> str:
        """What ``systemctl`` prints; with ``check`` it must succeed."""
        return self.container.run("systemctl", *arguments, check=check)

    def start(self) -> None:
        """``systemctl start``, which returns when it is active."""
        self._do("start")

    def stop(self) -> None:
        """``systemctl stop``, which returns when it is gone."""
        self._do("stop")

    def restart(self) -> None:
        """``systemctl restart``."""
        self._do("restart")

    def reload(self) -> None:
        """``systemctl reload``."""
        self._do("reload")

    def _do(self, verb: str) -> None:
        done = self.container.execute("systemctl", verb, UNIT)
        assert done.returncode == 0, f"{verb}: {done.stdout.decode()}\n{self.journal()[-6000:]}"

    def show(self, name: str) -> str:
        """One property of the unit."""
        return self.systemctl("show", UNIT, "--value", f"--property={name}").strip()

    @property
    def state(self) -> str:
        """``active``, ``activating``, ``failed``, ..."""
        return self.show("ActiveState")

    @property
    def is_up(self) -> bool:
        """Whether it is active and takes jobs."""
        try:
            return self.state == "active" and self.request("GET", "/readyz").status == 200
        except (OSError, http.client.HTTPException):
            return False

    @property
    def systemd_version(self) -> int:
        """252, 257, ..."""
        return int(self.systemctl("--version").split()[1])

    @property
    def restarts(self) -> int:
        """How often systemd started it again by itself."""
        return int(self.show("NRestarts"))

    def journal(self, *arguments: str) -> str:
        """What the unit logged since ``reset``; a line an entry, or as ``arguments`` want it."""
        since = [f"--since=@{self._mark:.6f}"]
        command = ["journalctl", "--no-pager", "--quiet", *since, *(arguments or ("-o", "cat", "-u", UNIT))]
        return self.container.run(*command, check=False)

    def wait_for_line(self, text: str, deadline: float = 30.0) -> None:
        """Wait for a line in the journal."""
        wait_until(
            lambda: text in self.journal(), deadline, lambda: f"no {text!r} in\n{self.journal()[-6000:]}"
        )

    # --- its settings -------------------------------------------------------------------------------

    def configure(self, sections: Sections) -> None:
        """Write the configuration as the README installs it."""
        self.container.write("/etc/mailerd/config.toml", toml(sections), "640", "mailerd")

    def drop_in(self, text: str, name: str = "test.conf") -> None:
        """What ``systemctl edit`` would write."""
        self.container.write(f"/etc/systemd/system/{UNIT}.d/{name}", text)
        self.systemctl("daemon-reload")

    def reset(self) -> None:
        """As after the installation: stopped, nothing of it on disk or in Redis, the journal behind us."""
        self.container.execute("systemctl", "kill", "-s", "KILL", UNIT)
        self.systemctl("stop", UNIT)
        self.container.execute("systemctl", "reset-failed", UNIT)
        scratch = "/etc/systemd/system/mailerd.service.d /etc/default/mailerd /var/lib/mailerd"
        self.container.run("sh", "-c", f"rm -rf {scratch} /etc/mailerd/* /etc/credstore/*")
        self.systemctl("daemon-reload")
        self.systemctl("start", "redis-server")
        self.container.run("redis-cli", "FLUSHALL")
        self._mark = time.time()

    # --- its processes, by the numbers that they have outside ------------------------------------------

    def processes(self) -> dict[int, str]:
        """All of its control group, with their titles."""
        try:
            pids = (self.container.group(UNIT) / "cgroup.procs").read_text().split()
        except OSError:
            return {}
        titles = {int(pid): title(int(pid)) for pid in pids}
        return {pid: text for pid, text in titles.items() if text}

    @property
    def main(self) -> int:
        """The main process."""
        return self._only("mailerd")

    @property
    def supervisor(self) -> int:
        """The supervisor."""
        return self._only("mailerd: supervisor")

    @property
    def workers(self) -> set[int]:
        """The workers."""
        return {pid for pid, text in self.processes().items() if text.startswith("mailerd: worker")}

    def _only(self, wanted: str) -> int:
        (found,) = [pid for pid, text in self.processes().items() if text == wanted]
        return found

    # --- its door -----------------------------------------------------------------------------------

    def request(self, method: str, path: str, body: object = None) -> Answer:
        """One request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=20)
        headers = {} if body is None else {"Content-Type": "application/json"}
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()

    def post(self, batch_id: str, contacts: list[str], template_id: str = "plain") -> None:
        """Enqueue one batch, which must be accepted."""
        job = {"client_id": "shop", "contact_ids": contacts, "template_id": template_id, "batch_id": batch_id}
        answer = self.request("POST", "/queue", job)
        assert answer.status == 202, answer

    def batch(self, batch_id: str) -> Any:
        """The batch as GET shows it."""
        answer = self.request("GET", f"/batches/{batch_id}")
        assert answer.status == 200, answer
        return answer.json

    def recipients(self, batch_id: str) -> list[Any]:
        """All recipients of a batch, with what became of them."""
        rows, cursor = [], ""
        while cursor is not None:
            page = self.request("GET", f"/batches/{batch_id}/recipients?limit=1000{cursor}").json
            rows += page["recipients"]
            cursor = f"&cursor={page['next']}" if page["next"] else None
        return rows

    def push_foreign(self, batch_id: str, contacts: int) -> None:
        """LPUSH a job as another program would."""
        ids = [f"contact{number}" for number in range(contacts)]
        job = {"client_id": "shop", "contact_ids": ids, "template_id": "plain", "batch_id": batch_id}
        client = redis.Redis()
        client.lpush("email_queue", json.dumps(job))
        client.close()

    def wait_for_batch(self, batch_id: str, deadline: float = 60.0) -> Any:
        """The batch, once it is done."""

        def done() -> bool:
            answer = self.request("GET", f"/batches/{batch_id}")
            return answer.status == 200 and answer.json["state"] == "done"

        wait_until(done, deadline, lambda: self.journal()[-6000:])
        return self.batch(batch_id)


def title(pid: int) -> str:
    """What ``ps`` shows of a process; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except OSError:
        return ""
