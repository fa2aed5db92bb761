"""
The peers' own environments: one venv each at pinned versions, outside of the checkout, made at the first use.

Called by whoever starts a peer. Needs a network at that first use only; a peer that cannot be installed is
left out of the run, by name.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

Requirements = tuple[str, ...]


def python_with(requirements: Requirements, name: str, folder: Path) -> Path:
    """A Python that has these packages; the same requirements are installed once."""
    digest = hashlib.sha256("\n".join((sys.version, *requirements)).encode()).hexdigest()[:10]
    home = folder / f"{name}-{digest}"
    if not (home / "complete").exists():
        shutil.rmtree(home, ignore_errors=True)
        home.parent.mkdir(parents=True, exist_ok=True)
        print(f"installing {', '.join(requirements)} into {home}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True)
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", home]
        install = [*pip, "install", "-q", *requirements]
        subprocess.run(install, check=True, stderr=subprocess.PIPE, text=True)
        (home / "complete").touch()
    return home / "bin" / "python"


def left_out(peers: Mapping[str, Requirements], folder: Path) -> frozenset[str]:
    """Install all of these; the names of those that could not be, each of which is told with its reason."""
    missing = set[str]()
    for name, requirements in peers.items():
        try:
            python_with(requirements, name, folder)
        except subprocess.CalledProcessError as fault:
            *_, reason = (fault.stderr or str(fault)).strip().splitlines()
            print(f"{name}: left out, it cannot be installed: {reason}", flush=True)
            missing.add(name)
    return frozenset(missing)
