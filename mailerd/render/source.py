"""
A template as its author left it: the files of one folder, and the bytes that are kept with a batch.

Reads files and judges none of their content; ``template.py`` does. The bytes hold everything that a mail is
made of, so every host sends a batch with the template as it was at the batch's first claim.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from mailerd.errors import TemplateBroken
from mailerd.job import is_name

_SUFFIXES = frozenset({".txt", ".html", ".css", ".toml"})
_MAX_BYTES = 1024 * 1024  # of all files of one template: they are kept in Redis once per batch


@dataclass(frozen=True, slots=True)
class TemplateSource:
    """The files of one template, by name."""

    template_id: str
    files: Mapping[str, str]

    def pack(self) -> bytes:
        """The template in bytes: the same for the same files, on every host."""
        value = {"template_id": self.template_id, "files": dict(self.files)}
        return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()

    @classmethod
    def unpack(cls, packed: bytes) -> TemplateSource:
        """The template that ``pack`` packed."""
        value = json.loads(packed)
        return cls(value["template_id"], value["files"])

    @property
    def digest(self) -> str:
        """SHA-256 of the packed bytes, in hexadecimal."""
        return hashlib.sha256(self.pack()).hexdigest()


class TemplateFolder:
    """The folder that holds one folder per template."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def names(self) -> list[str]:
        """The templates there are, by name. Raises ``TemplateBroken`` where the folder cannot be read."""
        try:
            return sorted(each.name for each in self._path.iterdir() if is_name(each.name) and each.is_dir())
        except OSError as error:
            raise TemplateBroken(
                f"the folder {self._path.absolute()} cannot be read: {error.strerror}; see templates.path"
            ) from None

    def load(self, template_id: str) -> TemplateSource:
        """
        Read a template as it is now; names that begin with a dot and other kinds of files are left out.

        Raises ``TemplateBroken`` where it is missing, cannot be read, or lies outside the folder.
        """
        folder = self._path / template_id
        if not is_name(template_id) or not folder.is_dir():
            known = self.names()
            near = get_close_matches(template_id, known, 1)
            advice = f"; did you mean {near[0]}?" if near else "" if known else "; it is empty"
            raise TemplateBroken(f"there is no template {template_id} in {self._path.absolute()}{advice}")
        try:
            root = self._path.resolve(strict=True)
            files = {file.name: _text(file, root, template_id) for file in _files(folder)}
        except OSError as error:
            raise TemplateBroken(f"template {template_id} cannot be read: {error}") from None
        if sum(map(len, files.values())) > _MAX_BYTES:
            raise TemplateBroken(f"template {template_id} has more than {_MAX_BYTES >> 20} MB of files")
        return TemplateSource(template_id, files)


def _files(folder: Path) -> list[Path]:
    found = [file for file in folder.iterdir() if file.suffix in _SUFFIXES and file.name[0] != "."]
    return sorted(file for file in found if not file.is_dir())


def _text(file: Path, root: Path, template_id: str) -> str:
    if not file.resolve(strict=True).is_relative_to(root):
        raise TemplateBroken(f"template {template_id}/{file.name} is a link out of {root}")
    with file.open("rb") as opened:
        raw = opened.read(_MAX_BYTES + 1)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TemplateBroken(
            f"template {template_id}/{file.name} is not UTF-8: byte {error.start} is not valid"
        ) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")
