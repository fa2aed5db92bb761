"""The Debian package: built by one command in the system it is for, installed, upgraded, refused, removed."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rigs import debian, needs
from rigs.clients import Client, accepted, several, wait_for_more
from rigs.container import Container
from rigs.daemon import Sections
from rigs.debian import CHECKOUT, Debian
from rigs.package import DPKG, Package
from rigs.project import Project
from rigs.service import PORT, UNIT
from rigs.sink import Sink

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(900)]

CLIENTS = 24


@pytest.fixture(scope="module", params=debian.RELEASES, ids=lambda release: release.name)
def release(request: pytest.FixtureRequest, roots: None) -> Debian:
    """Each release in turn."""
    chosen: Debian = request.param
    return chosen


@pytest.fixture(scope="module")
def machine(release: Debian, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Package]:
    """A booted machine with the packages of this and of the next version built in it."""
    container = Container(f"deb-{release.name}", release.root, tmp_path_factory.mktemp(f"deb-{release.name}"))
    try:
        container.boot()
        yield Package(container, release)
    finally:
        container.close()


@pytest.fixture
def package(machine: Package) -> Iterator[Package]:
    """This version, installed and running; the test is on the machine's network."""
    machine.begin()
    with machine.container.network():
        yield machine


@pytest.fixture
def sink(package: Package, tmp_path: Path) -> Iterator[Sink]:
    """A mail server on the machine's network that keeps the truth."""
    with Sink(tmp_path / "sink") as server:
        yield server


@pytest.fixture
def sections(package: Package, sink: Sink) -> Sections:
    """A configuration that sends to the sink, an address being its own contact; in force."""
    Project(package.container.path("/etc/mailerd"))
    made: Sections = {
        "mail": {"transport": "smtp", "from": "News <news@sender.test>", "retry_delays": [1, 1, 1]},
        "smtp": {"host": "127.0.0.1", "port": sink.port, "tls": "none"},
    }
    package.configure(made)
    package.restart()
    return made


@pytest.fixture
def clients(package: Package, sections: Sections) -> Iterator[list[Client]]:
    """24 clients, half of them keep-alive, posting all the time."""
    made = several(CLIENTS, PORT, 0.2)
    yield made
    for client in made:
        client.stop()


def test_an_installation_is_ready_to_use(package: Package) -> None:
    """The service runs and starts at boot; command, manual, completion and settings are where one looks."""
    assert package.is_up
    assert package.systemctl("is-enabled", UNIT).strip() == "enabled"
    assert package.running == package.version
    assert f"mailerd {package.version.partition('+')[0]}" in package.shell("mailerd --version")
    assert "configuration file: /etc/mailerd/config.toml" in package.shell("cd / && mailerd check")
    assert package.shell("stat -c '%U:%G %a' /etc/mailerd/config.toml").strip() == "root:mailerd 640"
    listed = package.dpkg("--listfiles", "mailerd").splitlines()
    for name in (
        "man/man1/mailerd.1.gz",
        "man/man8/mailerd-switch.8.gz",
        "bash-completion/completions/mailerd",
    ):
        assert f"/usr/share/{name}" in listed
    assert package.dpkg("--verify", "mailerd").strip() == ""


def test_lintian_finds_nothing(machine: Package) -> None:
    """Debian's own judge has no error and no warning; few overrides, each needed and below its reason."""
    program = needs.program("lintian", "the package lintian")
    # The package that users build is compressed.
    ignored = "uses-no-compression-for-control-tarball,uses-no-compression-for-data-tarball"
    # With the overrides shown it would count them as failures.
    command = [program, "--allow-root", "--show-overrides", "--fail-on", "none", "--suppress-tags", ignored]

    done = subprocess.run(
        [*command, machine.outside(machine.version)], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert [line for line in done.stdout.splitlines() if line.startswith(("E:", "W:"))] == []
    lines = (CHECKOUT / "systemd/debian/lintian-overrides").read_text().splitlines()
    tags = [line.split()[1] for line in lines if not line.startswith("#")]
    assert lines[0].startswith("# ")
    assert len(tags) <= 5
    assert [tag for tag in tags if f"O: mailerd: {tag} " not in done.stdout] == []


def test_everything_compiled_finds_its_libraries(package: Package) -> None:
    """What the package names as dependencies is all that its libraries need."""
    libraries = "find /opt/mailerd/current/ -name '*.so*' -print0 | xargs -0 ldd"

    assert "not found" not in package.shell(libraries)


def test_upgrade_and_way_back_refuse_nobody(package: Package, clients: list[Client], sink: Sink) -> None:
    """Under 24 posting clients no request fails, each batch is delivered once, and the settings stay."""
    wait_for_more(clients, 30, package.journal)
    package.dpkg("--install", package.file(package.next_version))
    assert package.running == package.current == package.next_version
    assert package.show("Description").startswith(f"mailerd {package.next_version},")
    wait_for_more(clients, 30, package.journal)
    package.shell("mailerd-switch previous")
    assert package.running == package.current == package.version
    wait_for_more(clients, 30, package.journal)
    for client in clients:
        client.stop()

    assert [failure for client in clients for failure in client.failures] == []
    batches = accepted(clients)
    sink.wait_for(len(batches), 90.0)
    assert sink.recipients() == Counter(f"{batch}@example.com" for batch in batches)
    assert package.shell("mailerd-switch").splitlines() == [
        f"{package.version} (current)",
        f"{package.next_version} (previous)",
    ]


def test_a_version_that_refuses_the_configuration_does_not_run(package: Package, sections: Sections) -> None:
    """The upgrade fails and says why, the old version runs on untouched; once mended, dpkg goes on."""
    before = package.main
    package.configure(sections | {"smtp": sections["smtp"] | {"prot": 25}})

    said = package.dpkg("--install", package.file(package.next_version), check=False)

    assert "smtp.prot" in said
    assert f"mailerd {package.version} stays and runs on" in said
    assert "dpkg --configure mailerd" in said
    assert package.shell("dpkg-query -W -f '${db:Status-Status}' mailerd") == "half-configured"
    assert (package.main, package.current) == (before, package.version)
    assert package.request("GET", "/readyz").status == 200
    package.configure(sections)
    package.dpkg("--configure", "mailerd")
    assert package.running == package.next_version


def test_the_check_sees_what_the_service_sees(package: Package, sections: Sections) -> None:
    """A secret that only the unit's drop-in hands in counts; without it the same configuration is refused."""
    package.shell("cp -al /opt/mailerd/current/ /opt/mailerd/other")
    credential = "[Service]\nLoadCredential=redis.url:/root/secret\nEnvironment=MAILERD_LOG__LEVEL=%s\n"
    package.shell("echo redis://localhost:6379/0 >/root/secret")

    package.drop_in(credential % "chatty")
    said = package.shell("mailerd-switch other", check=False)
    assert "log.level" in said
    assert package.current == package.version
    package.drop_in(credential % "info")
    package.shell("echo no-url >/root/secret")
    assert "redis.url" in package.shell("mailerd-switch other", check=False)
    package.shell("echo redis://localhost:6379/0 >/root/secret")
    package.shell("mailerd-switch other")

    assert package.current == "other"
    assert package.is_up
    package.shell("mailerd-switch previous; rm -rf /opt/mailerd/other /root/secret")


def test_remove_and_purge(package: Package) -> None:
    """Removed, it is stopped; only settings and state stay. Purged, only the account and what is not ours."""
    package.shell("echo mine >/etc/mailerd/templates/mine")

    package.dpkg("--remove", "mailerd")
    assert package.state == "inactive"
    for gone in ("/opt/mailerd", "/usr/lib/mailerd", "/usr/bin/mailerd"):
        assert not package.container.path(gone).exists()
    package.shell("ls /etc/mailerd/config.toml /etc/default/mailerd /var/lib/mailerd")
    package.dpkg("--purge", "mailerd")

    left = package.shell("find / -xdev -path /root -prune -o -path '*mailerd*' -print").split()
    assert left == ["/etc/mailerd", "/etc/mailerd/templates", "/etc/mailerd/templates/mine"]
    assert "mailerd" in package.shell("id mailerd")


def test_where_no_systemd_runs(machine: Package, release: Debian, tmp_path: Path) -> None:
    """
    In a chroot, as images are made: all the same steps, and the service is enabled for the first boot.

    A unit that was installed by hand would go before the package's: that is said.
    """
    with overlay(release.root, tmp_path) as root:
        machine.copy_to(root / "root/built")
        said: list[str] = []

        def run(*command: str) -> str:
            done = subprocess.run(["chroot", root, *command], capture_output=True, text=True, check=False)
            said.append(done.stderr)
            assert done.returncode == 0, done.stdout + done.stderr
            return done.stdout

        run(*DPKG, "--install", machine.file(machine.version))
        assert "hides the package's unit" not in said[-1]
        assert run("readlink", "/opt/mailerd/current").strip() == machine.version
        assert run("systemctl", "is-enabled", UNIT).strip() == "enabled"
        by_hand = root / "etc/systemd/system/mailerd.service"
        by_hand.touch()
        run(*DPKG, "--install", machine.file(machine.next_version))
        assert "mailerd.service hides the package's unit" in said[-1]
        by_hand.unlink()
        assert run("readlink", "/opt/mailerd/current").strip() == machine.next_version
        assert "mailerd" in run("mailerd", "--version")
        run(*DPKG, "--remove", "mailerd")
        run(*DPKG, "--purge", "mailerd")
        assert run("find", "/etc", "/opt", "/usr", "/var/lib", "-xdev", "-path", "*mailerd*") == ""


@contextmanager
def overlay(base: Path, folder: Path) -> Iterator[Path]:
    """A root file system to write to, without anything that runs in it."""
    for name in ("root", "upper", "work"):
        (folder / name).mkdir()
    layers = f"lowerdir={base},upperdir={folder}/upper,workdir={folder}/work"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", layers, folder / "root"], check=True)
    try:
        yield folder / "root"
    finally:
        subprocess.run(["umount", folder / "root"], check=True)
