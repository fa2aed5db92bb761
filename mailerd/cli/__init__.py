"""
The command line: which commands there are, and how a fault ends one.

A command is imported when it is run, so that ``--help`` is quick. Commands return an exit code, or nothing
for 0, and raise the faults of ``errors.py``; ``main`` turns those into one line and their exit code.
"""

from __future__ import annotations

import errno
import io
import sys
from collections.abc import Sequence
from importlib import import_module

import click

from mailerd.cli.configuration import config_option
from mailerd.errors import EXIT_CLEAN, EXIT_INTERNAL, EXIT_NO, ConfigurationError, MailerdError

# Where each command lives, and what the help says of it.
_COMMANDS = {
    "run": ("mailerd.cli.run:run", "Run the daemon in the foreground."),
    "demo": ("mailerd.cli.demo:demo", "See a hundred mails go their way, with nothing to set up."),
    "check": ("mailerd.cli.check:check", "Tell whether the configuration can be used."),
    "status": ("mailerd.cli.status:status", "Show the queue, its workers, and what needs attention."),
    "doctor": ("mailerd.cli.doctor:doctor", "Say what is wrong with Redis and the queue, and what to do."),
    "enqueue": ("mailerd.cli.enqueue:enqueue", "Put jobs on the queue."),
    "batch": ("mailerd.cli.batch:batch", "List, show, watch, cancel, pause, resume or retry batches."),
    "dead": ("mailerd.cli.dead:dead", "Look at dead letters, queue them again, or drop them."),
    "unknown": ("mailerd.cli.unknown:unknown", "Look at recipients of unknown outcome, and settle them."),
    "preflight": ("mailerd.cli.preflight:preflight", "Look at a whole batch before its first mail."),
    "classify": ("mailerd.cli.classify:classify", "Explain what a reply of a mail server would mean."),
    "key": ("mailerd.cli.key:key", "Make keys for the HTTP door."),
    "help": ("mailerd.cli.help:help_", "Explain a topic: drain, unknown, signals, exit codes and more."),
    "completion": ("mailerd.cli.completion:completion", "Print the completion script of a shell."),
}


class _Commands(click.Group):
    """A group that knows its commands by name and imports the one that is run."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's
        """See click; in the order of the table."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's
        """See click."""
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's
        """See click; from the table, importing nothing."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


@click.command(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Every setting can also be given as MAILERD_<SECTION>__<KEY> in the environment.",
)
@config_option
@click.version_option(package_name="mailerd", message="mailerd %(version)s")
def mailerd() -> None:
    """Send e-mail batches from a Redis queue: every contact exactly one mail, or a reason why not."""


def main() -> None:
    """Run the command of this process' arguments and exit."""
    for stream in (sys.stdout, sys.stderr):
        # What the terminal's encoding lacks is no reason to fail.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run the command that ``arguments`` name; its exit code."""
    try:
        return mailerd.main(list(arguments), "mailerd", standalone_mode=False) or EXIT_CLEAN
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return EXIT_NO
    except ConfigurationError as error:
        _complain(*map(str, error.problems))
        return error.exit_code
    except MailerdError as error:
        _complain(str(error))
        return error.exit_code
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        _complain("there is no room on the disk for what was to be written")
        return EXIT_INTERNAL


def _complain(*complaints: str) -> None:
    from mailerd.cli.output import complain

    for text in complaints:
        complain(text)
