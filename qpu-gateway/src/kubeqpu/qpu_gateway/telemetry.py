"""Prometheus metrics of the gateway. Every label set exists from the start, at zero."""

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from kubeqpu.common.names import METRIC_PREFIX
from kubeqpu.proto.v1 import gateway_pb2, slots_pb2
from kubeqpu.qpu_gateway.jobs import FINAL_STATES, JobState

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
ACCESS_RESULTS = ("accepted", "refused", "unavailable")
REVIEWS = ("token", "access")
RPCS = (
    *gateway_pb2.DESCRIPTOR.services_by_name["Gateway"].methods_by_name,
    *slots_pb2.DESCRIPTOR.services_by_name["Slots"].methods_by_name,
)
SLOT_STATES = ("free", "held", "unassigned", "unhealthy")
REPORT_REFUSALS = ("account", "node", "malformed", "unknown", "elsewhere")


class Telemetry:
    """What the gateway counts and measures.

    Args:
        qpus: Names of the QPUs served.
    """

    def __init__(self, qpus: Iterable[str]) -> None:
        self.registry = CollectorRegistry()
        prefix = f"{METRIC_PREFIX}gateway_"
        self._jobs_submitted = Counter(
            f"{prefix}jobs_submitted", "Jobs stored.", ["qpu"], registry=self.registry
        )
        self._jobs_finished = Counter(
            f"{prefix}jobs_finished",
            "Jobs that reached a final state.",
            ["qpu", "state"],
            registry=self.registry,
        )
        self._circuits_finished = Counter(
            f"{prefix}circuits_finished",
            "Circuits whose results were stored.",
            ["qpu"],
            registry=self.registry,
        )
        self._circuits_pending = Gauge(
            f"{prefix}circuits_pending",
            "Circuits that wait or run.",
            ["qpu"],
            registry=self.registry,
        )
        self._batches_running = Gauge(
            f"{prefix}batches_running", "Batches at the provider.", ["qpu"], registry=self.registry
        )
        self._batch_seconds = Histogram(
            f"{prefix}batch_seconds",
            "How long batches ran.",
            ["qpu"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._provider_failures = Counter(
            f"{prefix}provider_failures",
            "Batches that the provider did not finish, by error.",
            ["qpu", "error"],
            registry=self.registry,
        )
        self._loop_failures = Counter(
            f"{prefix}dispatch_failures",
            "Unexpected errors that the dispatcher survived.",
            ["qpu"],
            registry=self.registry,
        )
        self._rpc_seconds = Histogram(
            f"{prefix}rpc_seconds",
            "How long calls took; for streams, until they ended.",
            ["method"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._rpc_failures = Counter(
            f"{prefix}rpc_failures",
            "Calls answered with a status other than OK.",
            ["method", "code"],
            registry=self.registry,
        )
        self._commit_seconds = Histogram(
            f"{prefix}store_commit_seconds",
            "How long transactions took until they were on disk.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._writes = Counter(
            f"{prefix}store_writes", "Changes that were committed.", registry=self.registry
        )
        self._expired = Counter(
            f"{prefix}expired", "Jobs and blobs deleted by age.", registry=self.registry
        )
        self._authentications = Counter(
            f"{prefix}authentications",
            "Calls by whether their caller could be identified.",
            ["result"],
            registry=self.registry,
        )
        self._authorisations = Counter(
            f"{prefix}authorisations",
            "Rights that were asked for, by whether the caller has them.",
            ["result"],
            registry=self.registry,
        )
        self._review_seconds = Histogram(
            f"{prefix}review_seconds",
            "How long the API server took to review tokens and rights.",
            ["review"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._slots = Gauge(
            f"{prefix}slots",
            "Slots by what they are to a new pod.",
            ["qpu", "state"],
            registry=self.registry,
        )
        self._slot_streams = Gauge(
            f"{prefix}slot_streams", "Device plugins that are connected.", registry=self.registry
        )
        self._slot_reports_refused = Counter(
            f"{prefix}slot_reports_refused",
            "Reports of holders, or lines of them, that did not count.",
            ["reason"],
            registry=self.registry,
        )
        self._initialise(tuple(qpus))

    def _initialise(self, qpus: tuple[str, ...]) -> None:
        for qpu in qpus:
            for state in FINAL_STATES:
                self._jobs_finished.labels(qpu, state.name.lower())
            for error in ("unavailable", "circuit", "worker", "provider", "internal", "store"):
                self._provider_failures.labels(qpu, error)
            self._jobs_submitted.labels(qpu)
            self._circuits_finished.labels(qpu)
            self._circuits_pending.labels(qpu)
            self._batches_running.labels(qpu)
            self._batch_seconds.labels(qpu)
            self._loop_failures.labels(qpu)
            for slot_state in SLOT_STATES:
                self._slots.labels(qpu, slot_state)
        for reason in REPORT_REFUSALS:
            self._slot_reports_refused.labels(reason)
        for method in RPCS:
            self._rpc_seconds.labels(method)
        for result in ACCESS_RESULTS:
            self._authentications.labels(result)
            self._authorisations.labels(result)
        for review in REVIEWS:
            self._review_seconds.labels(review)

    def count_submitted(self, qpu: str) -> None:
        """A job was stored."""
        self._jobs_submitted.labels(qpu).inc()

    def count_finished(self, qpu: str, state: JobState) -> None:
        """A job reached a final state."""
        self._jobs_finished.labels(qpu, state.name.lower()).inc()

    def count_circuits(self, qpu: str, circuits: int) -> None:
        """Results of circuits were stored."""
        self._circuits_finished.labels(qpu).inc(circuits)

    def watch_pending(self, qpu: str, count: Callable[[], int]) -> None:
        """Asks a function how many circuits wait or run whenever somebody looks."""
        self._circuits_pending.labels(qpu).set_function(count)

    def start_batch(self, qpu: str) -> None:
        """A batch went to the provider."""
        self._batches_running.labels(qpu).inc()

    def end_batch(self, qpu: str, seconds: float) -> None:
        """A batch left the provider."""
        self._batches_running.labels(qpu).dec()
        self._batch_seconds.labels(qpu).observe(seconds)

    def count_failure(self, qpu: str, error: str) -> None:
        """A batch failed."""
        self._provider_failures.labels(qpu, error).inc()

    def count_loop_failure(self, qpu: str) -> None:
        """The dispatcher met an error that it did not expect."""
        self._loop_failures.labels(qpu).inc()

    def observe_rpc(self, method: str, code: str, seconds: float) -> None:
        """A call ended."""
        self._rpc_seconds.labels(method).observe(seconds)
        if code != "OK":
            self._rpc_failures.labels(method, code).inc()

    def observe_commit(self, seconds: float, writes: int) -> None:
        """A transaction ended; called from the writer's thread."""
        self._commit_seconds.observe(seconds)
        self._writes.inc(writes)

    def count_expired(self, objects: int) -> None:
        """Jobs and blobs were deleted by age."""
        self._expired.inc(objects)

    def count_authentication(self, result: str) -> None:
        """A caller was identified, or not."""
        self._authentications.labels(result).inc()

    def count_authorisation(self, result: str) -> None:
        """A right was asked for."""
        self._authorisations.labels(result).inc()

    def set_slots(self, qpu: str, states: Mapping[str, int]) -> None:
        """A QPU's slots were counted by state."""
        for state in SLOT_STATES:
            self._slots.labels(qpu, state).set(states.get(state, 0))

    def set_slot_streams(self, streams: int) -> None:
        """A device plugin connected or disconnected."""
        self._slot_streams.set(streams)

    def count_refused_report(self, reason: str) -> None:
        """A report of holders, or a line of it, was refused."""
        self._slot_reports_refused.labels(reason).inc()

    def observe_review(self, review: str, seconds: float) -> None:
        """The API server answered a review, or failed to."""
        self._review_seconds.labels(review).observe(seconds)
