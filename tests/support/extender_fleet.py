"""Plain QPUs for tests of the scheduler extender, and its decisions made slowly."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from kubeqpu.common import api
from kubeqpu.common.names import ANNOTATION_DEFAULT_CLASS, RESOURCE_CPU_SIMULATOR, RESOURCE_QPU
from kubeqpu.common.placement import (
    CircuitShape,
    PlacementClass,
    Requirements,
    Weights,
    fits,
    raise_min_qubits,
    score,
)
from kubeqpu.common.qpu import QPU, Calibration, Condition, ConditionStatus, Queue
from kubeqpu.scheduler_extender.qpus import SeenQPU
from kubeqpu.scheduler_extender.questions import Demand, Question

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
NODES = tuple(f"n-{number}" for number in range(6))
HEALTHY = {name: Condition(name, ConditionStatus.TRUE) for name in ("Ready", "Accepting")}
ILL = {**HEALTHY, "Ready": Condition("Ready", ConditionStatus.UNKNOWN, message="gone")}


def seen_qpu(
    name: str,
    nodes: Mapping[str, bool],
    *,
    wait: float = 0.0,
    error: float | None = 4e-3,
    hours: float = 1.0,
    qubits: int = 27,
    ready: bool = True,
    resource: str = RESOURCE_QPU,
    held: int = 0,
) -> SeenQPU:
    calibration = None
    if error is not None:
        calibration = Calibration("c", NOW - timedelta(hours=hours), 2e-4, error, 2 * error)
    plain = QPU(
        name=name, provider="fake", simulator=False, num_qubits=qubits,
        conditions=HEALTHY if ready else ILL, queue=Queue(estimated_wait_seconds=wait),
        calibration=calibration, slots=4, slots_held=held,
    )  # fmt: skip
    return SeenQPU(plain, resource, dict(nodes), NOW)


def class_of(plain: PlacementClass, default: bool = False, age_days: int = 0) -> api.QPUClass:
    metadata = api.ObjectMeta(
        name=plain.name,
        annotations={ANNOTATION_DEFAULT_CLASS: "true"} if default else {},
        creation_timestamp=NOW - timedelta(days=age_days),
    )
    return api.class_object(plain).model_copy(update={"metadata": metadata})


names = st.sampled_from("abcdefg")
fleets = st.builds(
    seen_qpu,
    names,
    st.dictionaries(st.sampled_from(NODES), st.booleans()),
    wait=st.floats(0, 1e5),
    error=st.none() | st.floats(0, 0.5),
    hours=st.floats(0, 72),
    qubits=st.sampled_from([5, 27, 127]),
    ready=st.sampled_from([True, True, True, True, False]),
    resource=st.sampled_from([RESOURCE_QPU, RESOURCE_QPU, RESOURCE_QPU, RESOURCE_CPU_SIMULATOR]),
    held=st.integers(0, 4),
)
weights = st.builds(
    Weights,
    wait=st.floats(0, 3),
    fidelity=st.floats(0, 3),
    freshness=st.floats(0, 3),
    utilisation=st.floats(0.01, 3),
)
requirements = st.builds(
    Requirements,
    min_qubits=st.sampled_from([1, 20]),
    max_median_two_qubit_error=st.none() | st.floats(1e-3, 0.5),
    max_calibration_age_seconds=st.none() | st.integers(3600, 200_000).map(float),
    max_estimated_wait_seconds=st.none() | st.floats(1, 1e5),
)
class_names = st.sampled_from(["standard", "precise", "wide"])
classes = st.builds(
    class_of,
    st.builds(PlacementClass, class_names, requirements, weights),
    st.booleans(),
    st.integers(0, 9),
)
shapes = st.none() | st.builds(CircuitShape, st.integers(0, 1000), st.integers(0, 100))
questions = st.builds(
    Question,
    st.builds(
        Demand,
        st.sampled_from([RESOURCE_QPU, RESOURCE_QPU, RESOURCE_QPU, RESOURCE_CPU_SIMULATOR]),
        st.sampled_from(["", "", "standard", "standard", "precise", "wide", "none-such"]),
        st.sampled_from([1, 1, 1, 50]),
    ),
    shapes,
)


def judge_slowly(
    qpus: Iterable[SeenQPU], wanted: PlacementClass | None, question: Question, now: datetime
) -> dict[str, float]:
    """Gives the score of each node that passes, from one QPU and node at a time."""
    if wanted is None:
        return {}
    wanted = raise_min_qubits(wanted, question.demand.min_qubits)
    here = [seen for seen in qpus if seen.resource == question.demand.resource]
    judged: dict[str, float] = {}
    for node in {node for seen in here for node in seen.nodes}:
        there = [seen for seen in here if node in seen.nodes]
        if any(fits(seen.plain, wanted.requirements, now) for seen in there):
            continue
        free = [seen for seen in there if seen.nodes[node]] or there
        shape = question.shape or wanted.shape
        judged[node] = max(score(seen.plain, wanted.weights, shape, now).total for seen in free)
    return judged
