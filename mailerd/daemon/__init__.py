"""
The processes of the daemon and nothing else: main, the supervisor, the workers' frame.

They know no Redis, HTTP or mail; what they do comes as ``Roles``.
"""

from mailerd.daemon.gate import Gate
from mailerd.daemon.main import run
from mailerd.daemon.roles import Roles, Server

__all__ = ["Gate", "Roles", "Server", "run"]
