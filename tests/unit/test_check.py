"""``mailerd check``, and how the command line tells what went wrong."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mailerd.cli import run


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory and no settings in the environment."""
    monkeypatch.chdir(tmp_path)
    for name in ("REDIS_ADDR", "MAILERD_CONFIG", "CREDENTIALS_DIRECTORY", "STATE_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_a_good_configuration(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It names the file, warns of what may not be meant, and says that all is well."""
    (here / "config.toml").write_text("")

    code = run(["check"])

    assert code == 0
    assert capsys.readouterr().out.splitlines() == [
        f"configuration file: {here}/config.toml",
        "warning: mail.transport is none: jobs are logged and discarded, nobody gets mail",
        "configuration is good",
    ]


def test_a_bad_configuration(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every problem is one line on standard error, and the exit code is 78."""
    (here / "own.toml").write_text("[smtp]\nprt = 1\n[api]\nport = -1\n")

    codes = {run(["check", "--config", "own.toml"]), run(["-c", "own.toml", "check"])}

    out, err = capsys.readouterr()
    assert codes == {78}
    assert out == ""
    assert len(set(err.splitlines())) == 3
    assert "mailerd: smtp.prt: is no setting; did you mean smtp.port?" in err.splitlines()


def test_what_is_in_force(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """--show prints every setting in force as TOML that could be used, but for the secrets in it."""
    monkeypatch.setenv("MAILERD_API__PORT", "81")
    (here / "config.toml").write_text(
        "[mail]\ntransport='smtp'\nfrom='Ü <a@b.de>'\n[smtp]\nhost='mx'\nusername='u'\npassword='hunter2'\n"
        "[redis]\nurl='redis://u:hunter2@h:1/0'\n"
    )

    assert run(["check", "--show"]) == 0

    out = capsys.readouterr().out
    assert "hunter2" not in out
    assert 'url = "redis://***@h:1/0"' in out
    assert 'password = "***"' in out
    assert "port = 81" in out
    assert 'from = "Ü <a@b.de>"' in out
    (here / "config.toml").write_text(out[out.index("[daemon]") : out.index("configuration is good")])
    assert run(["check"]) == 0


def test_every_list_of_tables_can_be_shown(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Relays and limits stand there in words, without a relay's password."""
    (here / "config.toml").write_text(
        "[mail]\ntransport='smtp'\nfrom='a@b.de'\n[smtp]\nhost='mx'\n"
        "[[smtp.relays]]\nhost='mx2'\nport=26\nusername='u'\npassword='hunter2'\n"
        "[[limits.clients]]\nclient_id='shop'\nper_second=1\n[[limits.domains]]\ndomain='x.org'\nper_day=9\n"
    )

    assert run(["check", "--show"]) == 0
    out = capsys.readouterr().out
    assert "hunter2" not in out
    assert 'relays = ["mx2 port=26 username=u"]' in out
    assert "shop" in out
    assert "x.org" in out


def test_json(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--json prints one object, good or not, and keeps the exit code."""
    assert run(["check", "--json", "--show"]) == 0
    good = json.loads(capsys.readouterr().out)
    (here / "config.toml").write_text("[api]\nport = -1\n")
    assert run(["check", "--json"]) == 78
    bad = json.loads(capsys.readouterr().out)

    assert (good["good"], good["file"], good["problems"]) == (True, "", [])
    assert good["settings"]["redis"]["url"] == "redis://localhost:6379/0"
    assert len(good["warnings"]) == 1
    assert (bad["good"], bad["file"]) == (False, f"{here}/config.toml")
    assert bad["problems"] == [{"field": "api.port", "message": "must be at least 0, not -1"}]


@pytest.mark.parametrize("arguments", [["chek"], ["check", "--nope"], []])
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """What is no command gets the usage and exit code 2."""
    assert run(arguments) == 2
    assert capsys.readouterr().err.startswith("Usage: mailerd")


def test_help_imports_no_command(here: Path) -> None:
    """--help lists the commands without importing one of them, or what they import."""
    program = (
        "import sys; from mailerd.cli import run; code = run(['--help']); "
        "assert code == 0; heavy = {'redis', 'falcon', 'jinja2', 'sqlalchemy', 'rich', 'mailerd.cli.check'}; "
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )

    help_text = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout

    assert re.search(r"check +Tell whether the configuration can be used\.", help_text)


def test_the_module_is_the_command(here: Path) -> None:
    """``python -m mailerd`` does what ``mailerd`` does, its exit code included."""
    (here / "config.toml").write_text("[nope]\n")

    done = subprocess.run(
        [sys.executable, "-m", "mailerd", "check"], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (78, "mailerd: nope: is no section\n")
