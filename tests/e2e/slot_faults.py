"""Kills what slots depend on while pods come and go."""

import contextlib
import random
import time
from collections.abc import Callable
from typing import Any

from tests.cluster import faults
from tests.cluster.errors import ClusterError
from tests.cluster.nodes import KUBELET, Node
from tests.e2e.random_faults import RandomFaults, kill_container
from tests.e2e.release import GATEWAY_POD, NAMESPACE
from tests.e2e.slots import Slots
from tests.e2e.testbed import read


class SlotFaults(RandomFaults):
    """Kills kubelets, device plugins and the gateway, one at a time.

    Args:
        slots: The release's slots.
        chance: Chooses.
        seconds: For how long it goes on at most.
    """

    def __init__(self, slots: Slots, chance: random.Random, seconds: float) -> None:
        super().__init__(chance, seconds, pause=(1, 6))
        self._slots = slots

    def kill_one(self) -> str | None:
        """Kills one of them; what is just starting again counts as well."""
        kinds: tuple[tuple[str, Callable[[], None]], ...] = (
            ("kubelet", self._kill_kubelet),
            ("device plugin", self._kill_plugin),
            ("gateway", self._kill_gateway),
        )
        name, kill = self.chance.choice(kinds)
        kill()
        return name

    def _node(self) -> Node:
        return self.chance.choice(self._slots.cluster.nodes)

    def _kill_kubelet(self) -> None:
        node = self._node()
        faults.kill(self._slots.cluster, node.process(KUBELET))
        time.sleep(self.chance.uniform(0, 3))
        faults.start_kubelet(node)

    def _kill_plugin(self) -> None:
        with contextlib.suppress(ClusterError, ValueError):
            pod = self._slots.plugin_pod(self._node().name)
            kill_container(self._slots, pod, _only_container(pod))

    def _kill_gateway(self) -> None:
        with contextlib.suppress(ClusterError):
            where = f"--namespace={NAMESPACE}"
            pod = read(self._slots.testbed, "pod", GATEWAY_POD, where)
            kill_container(self._slots, pod, _only_container(pod))


def _only_container(pod: dict[str, Any]) -> str:
    (container,) = pod["spec"]["containers"]
    return str(container["name"])
