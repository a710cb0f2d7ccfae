"""Which refused pods wait for what, and when something of it became possible.

The scheduler tries a pod that an extender refused again when any node changes, and a QPU is no
node. So when a node that was refused passes, one node is changed; that tries all refused pods.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, field

from kubeqpu.common.placement import PlacementClass
from kubeqpu.scheduler_extender.questions import Demand

MOST_PODS = 10_000
# Their nodes are compared at every change; more than these share one that is due now and then.
MOST_DEMANDS = 64
FORGET_SECONDS = 600.0
_CROWD_SECONDS = 10.0


@dataclass(frozen=True)
class Prospect:
    """What a demand could have now.

    Attributes:
        wanted: The class; None if there is none of its name.
        passing: Nodes that pass.
        nodes: All nodes with slots of the resource.
        version: As long as this is the same, so is everything.
    """

    wanted: PlacementClass | None
    passing: Set[str]
    nodes: Iterable[str]
    version: tuple[object, ...]


@dataclass(frozen=True)
class Wake:
    """A node to change, so that pods are tried again.

    Attributes:
        node: Its name.
        demands: What became possible.
        crowd: Whether it is for the pods whose demands are not compared.
        found_at: When that was seen, in monotonic seconds.
    """

    node: str
    demands: tuple[Demand, ...]
    crowd: bool
    found_at: float


@dataclass
class _Waiting:
    prospect: Prospect
    pods: set[str] = field(default_factory=set)
    due: bool = False


@dataclass
class _Pod:
    demands: tuple[Demand, ...]
    refused_at: float


class Wakeups:
    """Remembers refused pods.

    Args:
        find_prospect: Tells what a demand could have now, given what it could have before.
        most_pods: How many pods are remembered; those refused longest ago go.
        most_demands: How many demands are compared.
    """

    def __init__(
        self,
        find_prospect: Callable[[Demand, Prospect | None], Prospect],
        most_pods: int = MOST_PODS,
        most_demands: int = MOST_DEMANDS,
    ) -> None:
        self._find_prospect = find_prospect
        self._most_pods = most_pods
        self._most_demands = most_demands
        self._pods: OrderedDict[str, _Pod] = OrderedDict()
        self._waiting: dict[Demand, _Waiting] = {}
        # Pods of demands beyond the number that is compared, and when they were last woken.
        self._crowd: set[str] = set()
        self._crowd_woken_at = 0.0

    def __len__(self) -> int:
        return len(self._pods)

    @property
    def demands(self) -> Mapping[Demand, int]:
        """How many pods wait for each demand that is compared."""
        return {demand: len(waiting.pods) for demand, waiting in self._waiting.items()}

    def note_refusal(self, pod: str, demands: tuple[Demand, ...], now: float) -> None:
        """Remembers a pod that was refused.

        Args:
            pod: Its uid.
            demands: What it asks for.
            now: Monotonic seconds.
        """
        known = self._pods.get(pod)
        if known is not None and known.demands == demands:
            known.refused_at = now
            self._pods.move_to_end(pod)
            return
        self.forget(pod)
        self._pods[pod] = _Pod(demands, now)
        for demand in demands:
            self._join(pod, demand)
        while len(self._pods) > self._most_pods:
            self.forget(next(iter(self._pods)))

    def forget(self, pod: str) -> None:
        """Forgets a pod, for it passed or is long gone."""
        known = self._pods.pop(pod, None)
        if known is None:
            return
        self._crowd.discard(pod)
        for demand in known.demands:
            waiting = self._waiting.get(demand)
            if waiting is not None:
                waiting.pods.discard(pod)
                if not waiting.pods:
                    del self._waiting[demand]

    def find_wake(self, now: float) -> Wake | None:
        """Finds whether something became possible that pods wait for.

        It stays found until it is confirmed.

        Args:
            now: Monotonic seconds.
        """
        while self._pods and next(iter(self._pods.values())).refused_at < now - FORGET_SECONDS:
            self.forget(next(iter(self._pods)))
        for demand, waiting in self._waiting.items():
            self._compare(demand, waiting)
        due = {demand: item for demand, item in self._waiting.items() if item.due}
        node = next((found for item in due.values() if (found := _pick(item.prospect))), "")
        if node:
            return Wake(node, tuple(due), False, now)
        return self._find_crowd(now)

    def confirm(self, wake: Wake, now: float) -> None:
        """Notes that a node was changed: the pods that waited for it are tried again.

        Pods that were refused meanwhile were refused in the knowledge of what became possible, so
        they wait on.
        """
        for demand in wake.demands:
            waiting = self._waiting.get(demand)
            if waiting is not None:
                waiting.due = False
                self._release(waiting.pods, wake.found_at)
        if wake.crowd:
            self._crowd_woken_at = now
            self._release(self._crowd, wake.found_at)

    def _release(self, pods: Set[str], found_at: float) -> None:
        for pod in [pod for pod in pods if self._pods[pod].refused_at <= found_at]:
            self.forget(pod)

    def _join(self, pod: str, demand: Demand) -> None:
        waiting = self._waiting.get(demand)
        if waiting is None:
            if len(self._waiting) >= self._most_demands:
                self._crowd.add(pod)
                return
            waiting = self._waiting[demand] = _Waiting(self._find_prospect(demand, None))
        waiting.pods.add(pod)

    def _compare(self, demand: Demand, waiting: _Waiting) -> None:
        before = waiting.prospect
        found = self._find_prospect(demand, before)
        if found.version == before.version:
            return
        # A pod's reason names its class, which may be another now, or be there at last.
        waiting.due |= bool(found.passing - before.passing) or found.wanted != before.wanted
        waiting.prospect = found

    def _find_crowd(self, now: float) -> Wake | None:
        if not self._crowd or now - self._crowd_woken_at < _CROWD_SECONDS:
            return None
        demands = (demand for pod in self._crowd for demand in self._pods[pod].demands)
        for demand in demands:
            prospect = self._find_prospect(demand, None)
            if prospect.passing:
                return Wake(min(prospect.passing), (), True, now)
        return None


def _pick(prospect: Prospect) -> str:
    """Picks a node to change; the same for the same prospect."""
    return min(prospect.passing, default="") or min(prospect.nodes, default="")
