"""Kills the scheduler that leads, and its extender, while pods are placed."""

import itertools
import random
import threading
import time
from collections import Counter
from typing import Any

from tests.cluster.errors import ClusterError
from tests.e2e.placing import Placing
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


def status_of(pod: dict[str, Any], container: str) -> dict[str, Any]:
    """Reads a container's status."""
    statuses: list[dict[str, Any]] = pod["status"].get("containerStatuses", [])
    return next((item for item in statuses if item["name"] == container), {"state": {}})


def kill(placing: Placing, pod: dict[str, Any], container: str) -> bool:
    """Kills a container's process, on its node; whether there was one.

    The second time the pod goes with it: a kubelet waits ever longer before it starts a container
    again that was killed often.
    """
    status = status_of(pod, container)
    if "running" not in status["state"]:
        return False
    node = placing.slots.cluster.node(pod["spec"]["nodeName"])
    identifier = status["containerID"].removeprefix("containerd://")
    node.ctr("tasks", "kill", "--signal=SIGKILL", identifier)
    if status["restartCount"] > 0:
        placing.slots.testbed.kubectl(
            "delete", "pod", pod["metadata"]["name"], f"--namespace={NAMESPACE}",
            "--force", "--grace-period=0", "--wait=false",
        )  # fmt: skip
    return True


class SchedulerFaults(threading.Thread):
    """Kills extender and scheduler in turn, always those that lead, until it is stopped.

    Args:
        placing: The release.
        chance: Chooses the moments.
        seconds: For how long it goes on at most.

    Attributes:
        counts: How often each was killed.
    """

    def __init__(self, placing: Placing, chance: random.Random, seconds: float) -> None:
        super().__init__()
        self._placing = placing
        self._chance = chance
        self._seconds = seconds
        self._over = threading.Event()
        self.counts: Counter[str] = Counter()
        self.error: Exception | None = None

    def run(self) -> None:
        ends_at = time.monotonic() + self._seconds
        turns = itertools.cycle(_TURNS)
        turn = next(turns)
        while not self._over.wait(self._chance.uniform(1, 4)) and time.monotonic() < ends_at:
            try:
                killed = kill(self._placing, find_leader(self._placing), turn)
            except ClusterError:
                continue  # it was just about to end, or is not there yet
            except Exception as error:
                self.error = error
                return
            if killed:
                self.counts[turn] += 1
                turn = next(turns)

    def stop(self) -> None:
        """Stops.

        Raises:
            Exception: What kept it from killing.
        """
        self._over.set()
        self.join()
        if self.error is not None:
            raise self.error
