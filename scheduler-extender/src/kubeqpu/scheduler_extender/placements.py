"""The decisions themselves: from the scheduler's arguments to its answers."""

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from pydantic import JsonValue

from kubeqpu.scheduler_extender import decisions
from kubeqpu.scheduler_extender.cache import Cache
from kubeqpu.scheduler_extender.decisions import Refused
from kubeqpu.scheduler_extender.explanation import Decision, decide_anew, keep_decision
from kubeqpu.scheduler_extender.questions import Asked, Demand, Question, read_questions
from kubeqpu.scheduler_extender.tables import LeastRecent, Table, Tables
from kubeqpu.scheduler_extender.telemetry import Telemetry
from kubeqpu.scheduler_extender.wakeups import Prospect, Wakeups
from kubeqpu.scheduler_extender.wire import Pod, Request

# A pod is bound within moments of its decision.
MOST_DECISIONS = 2048


class Placements:
    """Answers the scheduler from what the cache knows, and remembers what it answered.

    Args:
        cache: The QPUs and classes.
        telemetry: Counts decisions.
        best_nodes: How many nodes filter gives at most.
        now: Tells the time, with time zone.
        clock: Monotonic seconds.

    Attributes:
        wakeups: The pods that were refused.
    """

    def __init__(
        self,
        cache: Cache,
        telemetry: Telemetry,
        best_nodes: int = decisions.BEST_NODES,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cache = cache
        self._telemetry = telemetry
        self._best_nodes = best_nodes
        self._now = now
        self._clock = clock
        self._tables = Tables(cache.fleet, cache.classes)
        self._decisions: LeastRecent[str, Decision] = LeastRecent(MOST_DECISIONS)
        self.wakeups = Wakeups(self._find_prospect)

    @property
    def tables(self) -> int:
        """How many tables are kept."""
        return len(self._tables)

    def filter(self, request: Request) -> list[str] | Mapping[str, str]:
        """Finds the best of the nodes that pass; why not, by node, if none does.

        Raises:
            StaleDataError: If what is known may be out of date.
        """
        pod, nodes = request.pod, request.nodes
        asked = _read(pod)
        if asked.refusal:
            return self._refuse(decisions.refuse_all(nodes, asked.refusal), "malformed")
        if not asked.questions:
            self._telemetry.count_decision("not_asked")
            return list(nodes)
        self._cache.check()
        now = self._now()
        tables = self._look_up(asked, now)
        found = decisions.filter_nodes(tables, nodes, pod.uid, self._best_nodes)
        if isinstance(found, Refused):
            demands = tuple(question.demand for question in asked.questions)
            self.wakeups.note_refusal(pod.uid, demands, self._clock())
            return self._refuse(found, "refused")
        self.wakeups.forget(pod.uid)
        self._decisions.put(pod.uid, keep_decision(tables, found, now))
        self._telemetry.count_decision("placed")
        return list(found.nodes)

    def prioritize(self, request: Request) -> list[int]:
        """Gives points to nodes, in their order.

        Raises:
            StaleDataError: If what is known may be out of date.
        """
        asked = _read(request.pod)
        if asked.refusal or not asked.questions:
            return [0] * len(request.nodes)
        self._cache.check()
        return decisions.prioritize_nodes(self._look_up(asked, self._now()), request.nodes)

    def preempt(self, pod: Pod, victims: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
        """Keeps the nodes on which the pod could run if their victims gave way.

        Raises:
            StaleDataError: If what is known may be out of date.
        """
        asked = _read(pod)
        if asked.refusal:
            return {}
        if not asked.questions:
            return dict(victims)
        self._cache.check()
        helpful = decisions.choose_helpful(self._look_up(asked, self._now()), victims)
        return {node: victims[node] for node in helpful}

    def take_decision(self, uid: str) -> Decision | None:
        """Gives what was decided about a pod, once; None if nothing is known any more."""
        return self._decisions.pop(uid)

    def decide_anew(self, pod: Pod, node: str) -> Decision | None:
        """Judges a node for a pod that is on it already; None if the pod asks nothing of a QPU.

        Raises:
            StaleDataError: If what is known may be out of date.
        """
        asked = _read(pod)
        if asked.refusal or not asked.questions:
            return None
        self._cache.check()
        now = self._now()
        return decide_anew(self._look_up(asked, now), node, now)

    def _look_up(self, asked: Asked, now: datetime) -> list[Table]:
        return [self._tables.look_up(question, now) for question in asked.questions]

    def _refuse(self, refused: Refused, result: str) -> Mapping[str, str]:
        self._telemetry.count_decision(result)
        for word in {reason.word for reason in refused.reasons.values()}:
            self._telemetry.count_refusal(word)
        return {node: reason.sentence for node, reason in refused.reasons.items()}

    def _find_prospect(self, demand: Demand, known: Prospect | None) -> Prospect:
        table = self._tables.look_up(Question(demand), self._now())
        version = (table.eligibility, table.eligibility.version, table.groups.version, table.wanted)
        if known is not None and known.version == version:
            return known
        return Prospect(table.wanted, table.passing_nodes(), table.groups.ids.keys(), version)


def _read(pod: Pod) -> Asked:
    return read_questions(pod.resources, pod.annotations)
