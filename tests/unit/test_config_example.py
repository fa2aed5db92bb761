"""``config.example.toml`` held against the model."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from mailerd.config import Config, load
from mailerd.config.model import keys, sections

EXAMPLE = Path(__file__).parents[2] / "config.example.toml"


def lines() -> list[str]:
    return EXAMPLE.read_text("utf-8").splitlines()


def in_full() -> str:
    """The example with every commented setting and section put in."""
    return "\n".join(re.sub(r"^# (\[\w+\]$|\w+ = )", r"\1", line) for line in lines())


def test_it_works_unchanged_when_copied(tmp_path: Path) -> None:
    """A copy of the example is the configuration of all defaults."""
    (tmp_path / "config.toml").write_text(EXAMPLE.read_text("utf-8"))

    assert load(None, {}, tmp_path) == Config()


def test_every_setting_stands_in_it_and_no_other() -> None:
    """The example lists the model's sections and keys, and nothing else."""
    listed = {name: sorted(table) for name, table in tomllib.loads(in_full()).items()}

    assert listed == {name: sorted(keys(section)) for name, section in sections().items()}
    assert list(listed) == list(sections())


def test_every_value_in_it_is_the_default() -> None:
    """Each setting, commented or not, shows its default."""
    tables = tomllib.loads(in_full())

    for name, section in sections().items():
        assert section.model_validate(tables[name]) == section(), name


def test_every_setting_has_its_line_of_why() -> None:
    """Above each setting stands a comment that is none of the settings itself."""
    setting = re.compile(r"^(# )?\w+ = ")
    numbered = list(enumerate(lines()))
    bare = [line for number, line in numbered if setting.match(line) and not _is_prose(lines()[number - 1])]

    assert not bare


def _is_prose(line: str) -> bool:
    return line.startswith("# ") and not re.match(r"^# (\w+ = |\[)", line)
