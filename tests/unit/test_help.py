"""``mailerd help``, the man page and the completion, held against what they speak of."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from signal import Signals

import pytest

from mailerd import errors
from mailerd.cli import run, topics
from mailerd.cli.help import lines
from mailerd.config.names import settings
from mailerd.daemon.signals import KNOWN
from mailerd.queue.keys import Batch, Keys
from rigs import needs

PAGE = Path(topics.__file__).with_name("mailerd.1")

Printed = Callable[..., str]


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Printed:
    """What a command prints; it must succeed."""

    def call(*arguments: str) -> str:
        assert run(arguments) == 0
        return capsys.readouterr().out

    return call


def text(name: str) -> str:
    """A topic as it is written."""
    return Path(topics.__file__).with_name("texts").joinpath(f"{name}.txt").read_text()


def names_in(name: str) -> set[str]:
    """The names that the lists of a topic explain."""
    entries = [block.items for block in topics.topic(name).blocks if isinstance(block, topics.Entries)]
    return {each for items in entries for listed, _ in items for each in listed.split(", ")}


def test_help_lists_every_topic(printed: Printed) -> None:
    """Without a topic all are listed, and each can be read."""
    listed = printed("help")

    for name in topics.NAMES:
        shown = printed("help", name)
        assert f"  {name} " in listed
        assert shown.startswith(topics.topic(name).title + "\n\n")
        assert set(re.findall(r"[\w.]+", text(name))) == set(re.findall(r"[\w.]+", shown))


def test_every_text_is_a_topic() -> None:
    """No file lies there that nobody can read."""
    files = Path(topics.__file__).with_name("texts").glob("*")

    assert sorted(file.name for file in files) == sorted(f"{name}.txt" for name in topics.NAMES)


@pytest.mark.parametrize("width", [60, 80, 100])
@pytest.mark.parametrize("name", topics.NAMES)
def test_a_topic_fits_the_terminal(name: str, width: int) -> None:
    """No line is longer than the terminal is wide, but for examples that must stay whole."""
    shown = lines(topics.topic(name), width)

    assert [line for line in shown if len(line) > width and not line.startswith("    mailerd")] == []


def test_help_of_a_command_is_its_help(printed: Printed) -> None:
    """``mailerd help batch show`` is ``mailerd batch show --help``."""
    assert printed("help", "batch", "show") == printed("batch", "show", "--help")


def test_help_of_something_else_names_the_topics(capsys: pytest.CaptureFixture[str]) -> None:
    """Neither a topic nor a command: usage, 2, and what there is."""
    assert run(["help", "retries"]) == 2
    assert "retries is neither a topic nor a command; the topics are " in capsys.readouterr().err


def test_the_settings_that_the_texts_name_exist() -> None:
    """A setting that was renamed is renamed in the texts too."""
    known = {f"{section}.{key}" for section, key in settings()}
    sections = {section for section, _ in settings()}
    named = {
        found
        for name in topics.NAMES
        for found in re.findall(r"\b[a-z]+\.[a-z_]+\b", text(name))
        if found.split(".")[0] in sections
    }

    assert named
    assert named - known <= {"mail.toml"}


def test_the_signals_are_those_that_the_daemon_knows() -> None:
    """Each signal that the main process hears is explained, and no other."""
    heard = {number.name.removeprefix("SIG") for number in KNOWN - {Signals.SIGCHLD}}

    assert names_in("signals") == heard


def test_the_exit_codes_are_those_of_the_errors() -> None:
    """Each exit code is explained, but for the one between a worker and its supervisor."""
    codes = {str(value) for name, value in vars(errors).items() if name.startswith("EXIT_")}

    assert names_in("exit-codes") == codes - {str(errors.EXIT_RECYCLE)}


def test_the_redis_keys_are_those_that_are_built() -> None:
    """Each key is explained, and no other."""
    keys, batch = Keys("email_queue"), Batch("CLIENT", "BATCH", 1)
    built = {value for value in vars(keys).values() if not value.endswith(":")} - {keys.unused}
    built |= {keys.lease("INCARNATION"), keys.hand("INCARNATION"), keys.bucket(batch, 0)}
    built |= {keys.batches_of("CLIENT"), keys.limit("NAME"), keys.line("NAME")}
    built |= {make(batch.tag) for make in (keys.batch, keys.side, keys.parked, keys.tombstone, keys.told)}
    short = {key.removeprefix("{email_queue}:").replace("BATCH:0", "BATCH:NUMBER") for key in built}

    assert names_in("redis-keys") == short


def test_the_man_page_is_up_to_date(printed: Printed) -> None:
    """The page that is installed says what the commands say: mailerd help --man > mailerd/cli/mailerd.1."""
    assert printed("help", "--man") == PAGE.read_text()


def test_the_man_page_has_every_command_and_topic(printed: Printed) -> None:
    """NAME, SYNOPSIS and all the rest stand in it, each command with its options."""
    page = PAGE.read_text()

    for section in ("NAME", "SYNOPSIS", "DESCRIPTION", "COMMANDS", "DRAIN", "SIGNALS", "EXIT STATUS"):
        assert f".SH {section}\n" in page
    for command in ("mailerd run", "mailerd batch show", "mailerd dead retry", "mailerd unknown resolve"):
        assert f".SS {command} [OPTIONS]" in page
    assert page.isascii()


def test_the_man_page_renders_without_a_warning() -> None:
    """The formatter has nothing to say against it."""
    groff = needs.program("groff", "the package groff")
    rendered = subprocess.run(
        [groff, "-man", "-ww", "-Tascii", "-P-cbou", str(PAGE)], capture_output=True, text=True, check=True
    )

    assert rendered.stderr == ""
    assert "systemctl reload mailerd" in " ".join(rendered.stdout.split())


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_script(printed: Printed, shell: str) -> None:
    """It asks mailerd itself what may stand there, in the way that this shell wants."""
    script = printed("completion", shell)

    assert f"_MAILERD_COMPLETE={shell}_complete" in script
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)


@pytest.mark.parametrize(
    ("words", "answers"),
    [
        ("mailerd sta", {"status"}),
        ("mailerd batch wat", {"watch"}),
        ("mailerd unknown resolve b1 --as re", {"resend"}),
        ("mailerd enqueue --contacts-", {"--contacts-file"}),
        ("mailerd help dr", {"drain"}),
    ],
)
def test_what_bash_is_told(words: str, answers: set[str], tmp_path: Path) -> None:
    """The script's question is answered with the commands, options and values that fit."""
    asked = {"_MAILERD_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    code = "import sys; from mailerd.cli import main; sys.argv = ['mailerd']; main()"
    told = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **asked},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )

    assert {line.partition(",")[2] for line in told.stdout.splitlines()} == answers
