"""Kills the scheduler that leads, and its extender, while pods are placed."""

import itertools
import random
from typing import Any

from tests.cluster.errors import ClusterError
from tests.e2e.placing import Placing
from tests.e2e.random_faults import RandomFaults, kill_container
from tests.e2e.release import NAMESPACE
from tests.e2e.testbed import read

LEASE = "kubeqpu-scheduler"
EXTENDER, SCHEDULER = "extender", "kube-scheduler"
# The scheduler once in a while: another leads only when its lease is over.
_TURNS = (EXTENDER, SCHEDULER, EXTENDER, EXTENDER)


def find_leader(placing: Placing) -> dict[str, Any]:
    """Reads the pod that schedules.

    Raises:
        ClusterError: If it is not there any more.
    """
    where = f"--namespace={NAMESPACE}"
    lease = read(placing.slots.testbed, "lease", LEASE, where)
    name = lease["spec"]["holderIdentity"].partition("_")[0]
    return read(placing.slots.testbed, "pod", name, where)


class SchedulerFaults(RandomFaults):
    """Kills extender and scheduler in turn, always those that lead.

    Args:
        placing: The release.
        chance: Chooses the moments.
        seconds: For how long it goes on at most.
    """

    def __init__(self, placing: Placing, chance: random.Random, seconds: float) -> None:
        super().__init__(chance, seconds, pause=(1, 4))
        self._placing = placing
        self._turns = itertools.cycle(_TURNS)
        self._turn = next(self._turns)

    def kill_one(self) -> str | None:
        """Kills whose turn it is."""
        try:
            killed = kill_container(self._placing.slots, find_leader(self._placing), self._turn)
        except ClusterError:
            return None  # it was just about to end, or is not there yet
        if not killed:
            return None
        name, self._turn = self._turn, next(self._turns)
        return name
