"""``mailerd completion``: the script with which a shell completes mailerd's commands and options."""

from __future__ import annotations

import click
from click.shell_completion import BashComplete, FishComplete, ZshComplete

_SHELLS = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}
_EXAMPLES = """\b
For every new shell:
  bash: echo 'eval "$(mailerd completion bash)"' >> ~/.bashrc
  zsh:  echo 'eval "$(mailerd completion zsh)"' >> ~/.zshrc
  fish: mailerd completion fish > ~/.config/fish/completions/mailerd.fish
"""


@click.command(epilog=_EXAMPLES)
@click.argument("shell", type=click.Choice(list(_SHELLS)))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that completes mailerd's commands and options in a shell."""
    made = _SHELLS[shell](ctx.find_root().command, {}, "mailerd", "_MAILERD_COMPLETE")
    # Without the look at the version of the shell that click takes first: it would start one.
    click.echo(made.source_template % made.source_vars())
