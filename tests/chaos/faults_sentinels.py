"""Faults of a group under sentinels: the master dies or freezes, and another one is made the master."""

from __future__ import annotations

from chaos.group import Group
from chaos.schedule import Fault
from chaos.stage import End, Stage


def _group(stage: Stage) -> Group:
    assert stage.fleet.group is not None, "this run has no sentinels"
    return stage.fleet.group


def failover(stage: Stage, fault: Fault) -> End:
    """The master is killed; a replica becomes the master, and the old one comes back as a replica."""
    group, old = _group(stage), stage.fleet.redis
    old.kill()

    def end() -> None:
        group.succeed(old)
        old.start()
        group.follow(old)
        group.rejoin(old)

    return end


def failover_unseen(stage: Stage, fault: Fault) -> End:
    """The same while the sentinels are silent for a while."""
    group = _group(stage)
    group.silence()
    finish = failover(stage, fault)

    def end() -> None:
        group.listen()
        finish()

    return end


def master_frozen(stage: Stage, fault: Fault) -> End:
    """The master freezes, another one is made, and the old one goes on until it is told."""
    group, old = _group(stage), stage.fleet.redis
    old.freeze()

    def end() -> None:
        group.succeed(old)
        old.thaw()
        group.rejoin(old)

    return end


FAULTS = {"failover": failover, "failover-unseen": failover_unseen, "master-frozen": master_frozen}
