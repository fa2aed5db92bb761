"""
How a command gets its configuration: ``--config`` before or after its name, and ``configuration()``.

A command that needs one is decorated with ``config_option`` and calls ``configuration``.

The only place that hands the process' environment and working directory to the configuration.
"""

from __future__ import annotations

import os
from pathlib import Path

import click

from mailerd.config import Config, load, locate

_KEY = "mailerd.config"


def _remember(ctx: click.Context, _parameter: click.Parameter, value: Path | None) -> None:
    if value:
        ctx.meta[_KEY] = value


config_option = click.option(
    "-c",
    "--config",
    type=click.Path(path_type=Path, readable=False),
    metavar="FILE",
    expose_value=False,
    callback=_remember,
    help="The configuration file; without it $MAILERD_CONFIG, ./config.toml or /etc/mailerd/config.toml.",
)


def configuration() -> Config:
    """The configuration of the command that runs; raises ``ConfigurationError`` with all its problems."""
    return load(_named(), os.environ, Path.cwd())


def configuration_file() -> Path | None:
    """The file that ``configuration`` reads, if any."""
    return locate(_named(), os.environ, Path.cwd())[0]


def _named() -> Path | None:
    named: Path | None = click.get_current_context().meta.get(_KEY)
    return named
