"""``mailerd run``: the daemon in the foreground; what systemd starts."""

from __future__ import annotations

import click

from mailerd.cli.configuration import config_option, configuration
from mailerd.config import Config


@click.command()
@config_option
@click.option(
    "--embedded",
    is_flag=True,
    help="Bring an own Valkey, kept in the state directory. Should it die, restart mailerd.",
)
def run(*, embedded: bool) -> int:
    """
    Run the daemon in the foreground.

    TERM or Ctrl-C drains it (twice: faster), QUIT stops it at once, HUP reloads the configuration, TTIN and
    TTOU make it one worker more or fewer, USR1 logs its state, USR2 its stacks.
    """
    from mailerd import wiring

    def read() -> Config:
        config = configuration()
        if not embedded:
            return config
        redis = config.redis.model_copy(update={"embedded": True})
        return config.model_copy(update={"redis": redis})

    return wiring.run(read(), read)
