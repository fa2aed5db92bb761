"""``mailerd key create``: what it prints opens the door, and nothing else does."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from pathlib import Path

import pytest

from mailerd.cli import run
from mailerd.config import load


@pytest.mark.parametrize("client", ["shop", "a.b+c@d", "*"])
def test_the_printed_lines_are_the_configuration_of_the_printed_token(
    client: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The lines stand at the end and can be pasted; their digest is that of the token."""
    assert run(["key", "create", client]) == 0
    out = capsys.readouterr().out
    (token,) = re.findall(r"Authorization: Bearer (\S+)", out)
    lines = out[out.index("[[api.keys]]") :]
    (tmp_path / "config.toml").write_text("[api]\nhost = '0.0.0.0'\n" + lines)
    (key,) = load(None, {}, tmp_path).api.keys
    assert key.client_id == client
    assert key.sha256.get_secret_value() == hashlib.sha256(token.encode()).hexdigest()
    assert tomllib.loads(lines)["api"]["keys"][0]["client_id"] == client


def test_each_token_is_another(capsys: pytest.CaptureFixture[str]) -> None:
    """With --json the same, for programs; 256 bits that nobody can guess."""
    made = []
    for _ in range(3):
        assert run(["key", "create", "shop", "--json"]) == 0
        made.append(json.loads(capsys.readouterr().out))
    assert all(set(one) == {"client_id", "token", "sha256"} for one in made)
    assert len({one["token"] for one in made}) == 3
    assert all(len(one["token"]) >= 43 for one in made)


@pytest.mark.parametrize("client", ["", "my shop", "**", "-x", 'a"b', "x" * 129])
def test_what_can_be_no_client_gets_no_key(client: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Usage error 2, and no token."""
    assert run(["key", "create", "--", client]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "128" in captured.err
