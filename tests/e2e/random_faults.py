"""Kills something again and again, at random moments, beside a test."""

import random
import threading
import time
from abc import abstractmethod
from collections import Counter
from typing import Any

from tests.e2e.slots import Slots


class RandomFaults(threading.Thread):
    """Kills until it is stopped.

    Args:
        chance: Chooses.
        seconds: For how long it goes on at most.
        pause: How long it waits between two, in seconds: at least and at most.

    Attributes:
        counts: How often each thing was killed.
        error: What keeps it from killing; None while nothing does.
    """

    def __init__(self, chance: random.Random, seconds: float, pause: tuple[float, float]) -> None:
        super().__init__()
        self.chance = chance
        self.counts: Counter[str] = Counter()
        self.error: Exception | None = None
        self._seconds = seconds
        self._pause = pause
        self._over = threading.Event()

    @abstractmethod
    def kill_one(self) -> str | None:
        """Kills something and names it; None if it was not there."""

    def run(self) -> None:
        ends_at = time.monotonic() + self._seconds
        while not self._over.wait(self.chance.uniform(*self._pause)) and time.monotonic() < ends_at:
            try:
                if killed := self.kill_one():
                    self.counts[killed] += 1
            except Exception as error:
                self.error = error
                return

    def stop(self) -> None:
        """Stops, everything being started again.

        Raises:
            Exception: What kept it from killing.
        """
        self._over.set()
        self.join()
        if self.error is not None:
            raise self.error


def status_of(pod: dict[str, Any], container: str) -> dict[str, Any]:
    """Reads a container's status."""
    statuses: list[dict[str, Any]] = pod["status"].get("containerStatuses", [])
    return next((item for item in statuses if item["name"] == container), {"state": {}})


def kill_container(slots: Slots, pod: dict[str, Any], container: str) -> bool:
    """Kills a container's process, on its node; tells whether there was one.

    The second time the pod goes with it: a kubelet waits ever longer before it starts a container
    again that was killed often.
    """
    status = status_of(pod, container)
    if "running" not in status["state"]:
        return False
    identifier = status["containerID"].removeprefix("containerd://")
    node = slots.cluster.node(pod["spec"]["nodeName"])
    node.ctr("tasks", "kill", "--signal=SIGKILL", identifier)
    if status["restartCount"] > 0:
        slots.testbed.kubectl(
            "delete", "pod", pod["metadata"]["name"],
            f"--namespace={pod['metadata']['namespace']}",
            "--force", "--grace-period=0", "--wait=false",
        )  # fmt: skip
    return True
