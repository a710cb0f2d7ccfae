"""Which refused pods are woken, and when."""

from collections.abc import Set

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from kubeqpu.common.placement import PlacementClass
from kubeqpu.scheduler_extender.questions import Demand
from kubeqpu.scheduler_extender.wakeups import FORGET_SECONDS, Prospect, Wake, Wakeups

NODES = ("n-1", "n-2", "n-3")
DEMANDS = tuple(Demand("kubeqpu.io/qpu", name) for name in ("", "precise", "wide"))
STANDARD = PlacementClass()

demands = st.lists(st.sampled_from(DEMANDS), min_size=1, max_size=2, unique=True).map(tuple)
pods = st.sampled_from(["a", "b", "c", "d"])
node_sets = st.frozensets(st.sampled_from(NODES))


class World:
    """What every demand could have."""

    def __init__(self) -> None:
        self.passing: dict[Demand, Set[str]] = dict.fromkeys(DEMANDS, frozenset())
        self.wanted: dict[Demand, PlacementClass | None] = dict.fromkeys(DEMANDS, STANDARD)
        self.nodes: tuple[str, ...] = NODES
        self.version = 0

    def allow(self, demand: Demand, *nodes: str) -> None:
        self.passing[demand] = frozenset(nodes)
        self.version += 1

    def find(self, demand: Demand, known: Prospect | None) -> Prospect:
        if known is not None and known.version == (self.version,):
            return known
        passing = self.passing.get(demand, frozenset())
        return Prospect(self.wanted.get(demand), passing, self.nodes, (self.version,))


class Waking(RuleBasedStateMachine):
    """Refuses pods and makes things possible in any order; nobody is forgotten or woken twice."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.wakeups = Wakeups(self.world.find)
        self.now = 0.0
        # By pod: what it asks for, and whether something of it became possible since.
        self.refused: dict[str, tuple[Demand, ...]] = {}
        self.seen: dict[Demand, Set[str]] = {}
        self.due: set[Demand] = set()

    @rule(pod=pods, wanted=demands)
    def refuse(self, pod: str, wanted: tuple[Demand, ...]) -> None:
        if self.refused.get(pod) != wanted:
            self.forget(pod)
        self.refused[pod] = wanted
        for demand in wanted:
            self.seen.setdefault(demand, self.world.passing[demand])
        self.wakeups.note_refusal(pod, wanted, self.now)

    @rule(pod=pods)
    def pass_(self, pod: str) -> None:
        self.forget(pod)
        self.wakeups.forget(pod)

    @rule(demand=st.sampled_from(DEMANDS), nodes=node_sets)
    def change(self, demand: Demand, nodes: Set[str]) -> None:
        self.world.allow(demand, *nodes)

    @rule(seconds=st.floats(0.1, 5))
    def look(self, seconds: float) -> None:
        self.now += seconds
        for demand, before in self.seen.items():
            if self.world.passing[demand] - before:
                self.due.add(demand)
            self.seen[demand] = self.world.passing[demand]
        wake = self.wakeups.find_wake(self.now)
        if not self.due:
            assert wake is None
            return
        assert wake is not None
        assert set(wake.demands) == self.due
        possible = {node for demand in self.due for node in self.world.passing[demand]}
        assert wake.node in possible or (not possible and wake.node in NODES)
        # Found until it is done, as often as it is looked for.
        assert self.wakeups.find_wake(self.now) == wake
        self.wakeups.confirm(wake, self.now)
        for pod in [pod for pod, wanted in self.refused.items() if self.due & set(wanted)]:
            self.forget(pod)
        self.due.clear()
        assert self.wakeups.find_wake(self.now) is None

    @precondition(lambda self: self.refused)
    @rule()
    def grow_old(self) -> None:
        self.now += FORGET_SECONDS + 1
        self.wakeups.find_wake(self.now)
        self.refused, self.seen, self.due = {}, {}, set()

    def forget(self, pod: str) -> None:
        self.refused.pop(pod, None)
        wanted = {demand for found in self.refused.values() for demand in found}
        self.seen = {demand: seen for demand, seen in self.seen.items() if demand in wanted}
        self.due &= wanted

    @invariant()
    def remembers_who_was_refused(self) -> None:
        assert len(self.wakeups) == len(self.refused)
        counted = {demand: sum(demand in found for found in self.refused.values())
                   for demand in DEMANDS}  # fmt: skip
        assert dict(self.wakeups.demands) == {key: n for key, n in counted.items() if n}


TestWaking = Waking.TestCase
TestWaking.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)


def look(wakeups: Wakeups, now: float) -> Wake:
    found = wakeups.find_wake(now)
    assert found is not None
    return found


def test_a_pod_refused_while_a_node_is_changed_waits_on() -> None:
    world = World()
    wakeups = Wakeups(world.find)
    wakeups.note_refusal("early", (DEMANDS[0],), 1.0)
    wakeups.note_refusal("both", (DEMANDS[0],), 1.0)
    world.allow(DEMANDS[0], "n-1")
    wake = look(wakeups, 2.0)
    # It was refused in the knowledge of n-1, whatever the change of the node wakes.
    wakeups.note_refusal("late", (DEMANDS[0],), 2.5)
    wakeups.note_refusal("both", (DEMANDS[0],), 2.5)
    wakeups.confirm(wake, 3.0)
    assert wakeups.demands == {DEMANDS[0]: 2}
    assert wakeups.find_wake(4.0) is None
    world.allow(DEMANDS[0], "n-1", "n-2")
    assert look(wakeups, 5.0).demands == (DEMANDS[0],)


def test_a_class_that_appears_wakes_even_where_nothing_passes_it() -> None:
    world = World()
    wakeups = Wakeups(world.find)
    world.wanted[DEMANDS[1]] = None
    wakeups.note_refusal("pod", (DEMANDS[1],), 1.0)
    assert wakeups.find_wake(2.0) is None
    world.wanted[DEMANDS[1]] = PlacementClass("precise")
    world.allow(DEMANDS[1])
    assert look(wakeups, 3.0).node == "n-1"


def test_without_any_node_it_stays_due_until_there_is_one() -> None:
    world = World()
    world.nodes = ()
    wakeups = Wakeups(world.find)
    wakeups.note_refusal("pod", (DEMANDS[1],), 1.0)
    world.wanted[DEMANDS[1]] = PlacementClass("precise")
    world.allow(DEMANDS[1])
    assert wakeups.find_wake(2.0) is None
    world.nodes = ("n-9",)
    world.allow(DEMANDS[1])
    assert look(wakeups, 3.0).node == "n-9"


def sized(qubits: int) -> Demand:
    return Demand("kubeqpu.io/qpu", "", qubits)


def test_few_pods_and_demands_are_kept() -> None:
    wakeups = Wakeups(World().find, most_pods=8, most_demands=2)
    for number in range(100):
        wakeups.note_refusal(f"pod-{number}", (sized(number + 1),), 1.0)
    assert len(wakeups) == 8
    assert len(wakeups.demands) <= 2


def test_pods_beyond_the_demands_compared_are_woken_now_and_then() -> None:
    world = World()
    wakeups = Wakeups(world.find, most_demands=2)
    for number in range(4):
        wakeups.note_refusal(f"pod-{number}", (sized(number + 1),), 1.0)
    assert wakeups.find_wake(100.0) is None
    world.allow(sized(4), "n-3")
    wake = look(wakeups, 101.0)
    assert (wake.node, wake.crowd) == ("n-3", True)
    wakeups.confirm(wake, 101.0)
    assert wakeups.demands == {sized(1): 1, sized(2): 1}
    wakeups.note_refusal("again", (sized(4),), 102.0)
    assert wakeups.find_wake(105.0) is None
    assert look(wakeups, 111.0).crowd
