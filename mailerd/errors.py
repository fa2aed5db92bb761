"""
The faults of mailerd, all on one screen; a leaf that imports nothing.

A fault means that something outside is broken or that we have a bug. What happens to a recipient is no
fault: that is an outcome (``outcome.py``) and is returned. Every foreign library's errors are translated
into these at the door of the one room that uses it.

    MailerdError                    70  anything below
    ├── ConfigurationError          78  the configuration cannot be used; lists every problem
    ├── CannotBind                  71  the listening address is taken or not ours
    ├── BoardHeld                   70  another daemon has the state directory
    ├── DiskFull                    70  there is no room for the board
    ├── RedisNotReachable           69  no Redis within redis.startup_timeout
    ├── RedisRefused                78  Redis is there but does not let us in, or must not be used
    ├── RedisUnavailable            69  a passing fault of Redis; tenacity tries again
    │   ├── NearlyFull                  it has no room for new jobs; nothing was written
    │   ├── RedisReplaced               it is another life of Redis than before; whoever meets it says so
    │   └── TooFewCopies                it took the write, and too few replicas have confirmed it
    ├── LeaseLost                       this incarnation was declared dead; its claim is somebody else's
    ├── JobRejected                     the bytes are not a job
    │   └── NotJson                     they are not even strict JSON
    ├── TemplateBroken                  the template is missing or does not compile; nobody can get it
    ├── RenderFailed                    the template raised for this one contact
    │   └── VariableMissing             it uses a variable that nobody gave
    └── ContactsUnavailable             the contact database does not answer; nobody's fault
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

EXIT_CLEAN = 0
EXIT_NO = 1
EXIT_USAGE = 2
EXIT_REDIS = 69
EXIT_INTERNAL = 70
EXIT_BIND = 71
EXIT_RECYCLE = 75  # of a worker that wants a successor
EXIT_CONFIGURATION = 78


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with one field: its path (``smtp.port``) and a sentence."""

    field: str
    message: str

    def __str__(self) -> str:
        """The form in which users read it."""
        return f"{self.field}: {self.message}" if self.field else self.message


class MailerdError(Exception):
    """Something went wrong inside mailerd."""

    exit_code = EXIT_INTERNAL

    def __init__(self, message: str = "") -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())


class ConfigurationError(MailerdError):
    """The configuration cannot be used."""

    exit_code = EXIT_CONFIGURATION

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class CannotBind(MailerdError):
    """The listening address cannot be used."""

    exit_code = EXIT_BIND


class BoardHeld(MailerdError):
    """Another daemon has the state directory; ``holder`` is the process id that it gave."""

    def __init__(self, state_dir: Path, holder: int) -> None:
        super().__init__(
            f"{state_dir} is in use by another mailerd (pid {holder}); "
            "stop that one, or give this one a daemon.state_dir of its own"
        )
        self.holder = holder


class DiskFull(MailerdError):
    """There is no room for the board."""

    def __init__(self, path: str | Path, why: str) -> None:
        super().__init__(f"{path} cannot be written: {why}; make room, or put daemon.state_dir elsewhere")


class RedisUnavailable(MailerdError):
    """Redis does not answer or cannot take writes now."""

    exit_code = EXIT_REDIS


class NearlyFull(RedisUnavailable):
    """Redis has no room for new jobs; nothing was written."""


class RedisReplaced(RedisUnavailable):
    """It is another life of Redis than before."""


class TooFewCopies(RedisUnavailable):
    """Fewer replicas have confirmed a write than redis.replicas asks for."""

    def __init__(self, copies: int, wanted: int) -> None:
        super().__init__(f"{copies} of {wanted} replicas (redis.replicas) have confirmed what Redis was told")


class RedisNotReachable(MailerdError):
    """Redis was not reachable at start."""

    exit_code = EXIT_REDIS


class RedisRefused(MailerdError):
    """Redis is there but refuses us."""

    exit_code = EXIT_CONFIGURATION


class LeaseLost(MailerdError):
    """The lease of this incarnation has lapsed; the claim belongs to somebody else."""


class JobRejected(MailerdError):
    """These bytes are not a job."""

    def __init__(self, reason: str, problems: tuple[Problem, ...] = ()) -> None:
        super().__init__(reason)
        self.reason = reason
        self.problems = problems


class NotJson(JobRejected):
    """These bytes are not strict JSON."""


class TemplateBroken(MailerdError):
    """The template is missing or does not compile."""


class RenderFailed(MailerdError):
    """The template could not be rendered for this contact."""


class VariableMissing(RenderFailed):
    """The template uses a variable that nobody gave: ``name``."""

    def __init__(self, message: str, name: str) -> None:
        super().__init__(message)
        self.name = name


class ContactsUnavailable(MailerdError):
    """The contact database does not answer."""
