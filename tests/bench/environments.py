"""
The peers' own environments: one venv each at pinned versions, outside of the checkout, made at the first use.

Called by whoever starts a peer. Needs a network at that first use only.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path


def python_with(requirements: tuple[str, ...], name: str, folder: Path) -> Path:
    """A Python that has these packages; the same requirements are installed once."""
    digest = hashlib.sha256("\n".join((sys.version, *requirements)).encode()).hexdigest()[:10]
    home = folder / f"{name}-{digest}"
    if not (home / "complete").exists():
        shutil.rmtree(home, ignore_errors=True)
        home.parent.mkdir(parents=True, exist_ok=True)
        print(f"installing {', '.join(requirements)} into {home}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", home], check=True)
        subprocess.run([home / "bin" / "pip", "install", "-q", *requirements], check=True)
        (home / "complete").touch()
    return home / "bin" / "python"
