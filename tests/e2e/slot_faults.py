"""What is killed at random while pods come and go."""

import contextlib
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from tests.cluster import faults
from tests.cluster.errors import ClusterError
from tests.cluster.nodes import KUBELET, Node
from tests.e2e.release import GATEWAY_POD, NAMESPACE
from tests.e2e.slots import PLUGIN, Slots
from tests.e2e.testbed import read


class Faults(threading.Thread):
    """Kills kubelets, device plugins and the gateway, one at a time, until it is stopped.

    Args:
        slots: The release's slots.
        chance: Chooses.
        seconds: For how long it goes on at most.
    """

    def __init__(self, slots: Slots, chance: random.Random, seconds: float) -> None:
        super().__init__()
        self._slots = slots
        self._chance = chance
        self._seconds = seconds
        self._over = threading.Event()
        self.counts: Counter[str] = Counter()
        self.error: Exception | None = None

    def run(self) -> None:
        kinds: tuple[tuple[str, Callable[[], None]], ...] = (
            ("kubelet", self._kill_kubelet),
            ("device plugin", self._kill_plugin),
            ("gateway", self._kill_gateway),
        )
        ends_at = time.monotonic() + self._seconds
        while not self._over.wait(self._chance.uniform(1, 6)) and time.monotonic() < ends_at:
            name, kill = self._chance.choice(kinds)
            try:
                kill()
            except Exception as error:
                self.error = error
                return
            self.counts[name] += 1

    def stop(self) -> None:
        """Stops, everything being started again.

        Raises:
            Exception: What kept it from killing.
        """
        self._over.set()
        self.join()
        if self.error is not None:
            raise self.error

    def _node(self) -> Node:
        return self._chance.choice(self._slots.cluster.nodes)

    def _kill_kubelet(self) -> None:
        node = self._node()
        faults.kill(self._slots.cluster, node.process(KUBELET))
        time.sleep(self._chance.uniform(0, 3))
        faults.start_kubelet(node)

    def _kill_plugin(self) -> None:
        with contextlib.suppress(ClusterError, ValueError):
            self._kill(PLUGIN, self._slots.plugin_pod(self._node().name))

    def _kill_gateway(self) -> None:
        with contextlib.suppress(ClusterError):
            testbed = self._slots.testbed
            self._kill(NAMESPACE, read(testbed, "pod", GATEWAY_POD, f"--namespace={NAMESPACE}"))

    def _kill(self, namespace: str, pod: dict[str, Any]) -> None:
        """Kills a pod's process; the second time the pod goes with it.

        A kubelet waits ever longer before it starts a container again that was killed often.
        """
        (status,) = pod["status"].get("containerStatuses") or [{}]
        if "running" not in status.get("state", {}):
            return
        identifier = status["containerID"].removeprefix("containerd://")
        node = self._slots.cluster.node(pod["spec"]["nodeName"])
        node.ctr("tasks", "kill", "--signal=SIGKILL", identifier)
        if status["restartCount"] > 0:
            self._slots.testbed.kubectl(
                "delete", "pod", pod["metadata"]["name"], f"--namespace={namespace}",
                "--force", "--grace-period=0", "--wait=false",
            )  # fmt: skip
