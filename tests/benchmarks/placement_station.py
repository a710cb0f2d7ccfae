"""One QPU in the replay: its queue as it is, and its status as the gateway writes it."""

import math
from bisect import bisect_right
from collections import deque
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from kubeqpu.common.qpu import QPU, Calibration, Condition, ConditionStatus, Queue
from tests.benchmarks import placement_regimes as model
from tests.benchmarks.placement_courses import Course
from tests.benchmarks.placement_regimes import Estimate
from tests.benchmarks.placement_traces import Pod

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
_CONDITIONS = {
    up: {
        name: Condition(name, ConditionStatus.TRUE if up else ConditionStatus.FALSE)
        for name in ("Ready", "Accepting")
    }
    for up in (True, False)
}
_PROVIDER = "replay"


@dataclass(frozen=True)
class Run:
    """One job on a QPU, in seconds after the start; `pod` is None for another customer's."""

    pod: Pod | None
    submitted: float
    start: float
    end: float
    seconds: float


class Station:
    """A QPU with its queue, which is worked off in the order of submission.

    Args:
        course: What happens to it.
        slots: How many pods may use it at once.
        estimate: How the wait in its status comes about.

    Attributes:
        held: Slots that are held now.
        status: The QPU as its status says.
        runs: Everything that was ever submitted, in that order.
    """

    def __init__(self, course: Course, slots: int, estimate: Estimate) -> None:
        self.course = course
        self.slots = slots
        self.held = 0
        self.runs: list[Run] = []
        self._estimate = estimate
        self._milestones = sorted(
            [moment for outage in course.outages for moment in outage]
            + [calibration.time for calibration in course.calibrations[1:]]
        )
        self._calibrations = tuple(
            Calibration(
                id=f"{item.time:.0f}",
                time=EPOCH + timedelta(seconds=item.time),
                median_one_qubit_error=item.median_one_qubit_error,
                median_two_qubit_error=item.median_two_qubit_error,
                median_readout_error=item.median_readout_error,
            )
            for item in course.calibrations
        )
        self._calibrated_at = [item.time for item in course.calibrations]
        self._passed = 0
        self._next_external = 0
        self._pending: deque[Run] = deque()
        self._free_at = 0.0
        self._own_circuits = 0
        self._seconds_per_job = model.FIRST_SERVICE_SECONDS
        self._seconds_per_circuit = 0.0
        self._written_at = 0.0
        self._write_at = math.inf
        self.status = self._observe(0.0)

    @property
    def name(self) -> str:
        """Name of the QPU."""
        return self.course.name

    def has_free_slot(self) -> bool:
        """Tells whether a pod may be bound: the scheduler counts slots exactly."""
        return self.held < self.slots and self.status.is_true("Ready")

    def hold(self, now: float) -> None:
        """Binds a pod to a slot."""
        assert self.held < self.slots, f"{self.name} has no free slot"
        self.advance(now)
        self.held += 1
        self._touch(now)

    def release(self, now: float) -> None:
        """Frees a slot whose pod has ended."""
        assert self.held > 0, f"{self.name} has no slot that is held"
        self.advance(now)
        self.held -= 1
        self._touch(now)

    def submit(self, now: float, pod: Pod, seconds: float) -> Run:
        """Puts a pod's job at the end of the queue."""
        self.advance(now)
        self._own_circuits += pod.circuits
        return self._append(now, pod, seconds)

    def advance(self, now: float) -> None:
        """Lets everything happen that happens until a time, and what the gateway then writes."""
        while True:
            change = self._next_change()
            if min(change, self._write_at) > now:
                return
            if self._write_at < change:
                self._write(self._write_at)
            else:
                self._apply(change)
                self._touch(change)

    def look(self, now: float) -> QPU:
        """Gives the status that stands at a time; a true wait in it is that of the moment."""
        self.advance(now)
        if self._estimate is Estimate.EXACT:
            queue = replace(self.status.queue, estimated_wait_seconds=self.wait(now))
            return replace(self.status, queue=queue)
        return self.status

    def wait(self, now: float) -> float:
        """Tells how long a job submitted now waits until it begins."""
        return self.course.finish(max(now, self._free_at), 0.0)[0] - now

    def is_up(self, now: float) -> bool:
        """Tells whether the QPU is not away."""
        return not any(begin <= now < over for begin, over in self.course.outages)

    def _next_change(self) -> float:
        arrivals = self.course.external_arrivals
        external = (
            arrivals[self._next_external] if self._next_external < len(arrivals) else math.inf
        )
        end = self._pending[0].end if self._pending else math.inf
        milestone = (
            self._milestones[self._passed] if self._passed < len(self._milestones) else math.inf
        )
        return min(external, end, milestone)

    def _apply(self, now: float) -> None:
        if self._pending and self._pending[0].end == now:
            self._finish(self._pending.popleft())
        elif self._passed < len(self._milestones) and self._milestones[self._passed] == now:
            self._passed += 1
        else:
            seconds = self.course.external_seconds[self._next_external]
            self._next_external += 1
            self._append(now, None, seconds)

    def _append(self, now: float, pod: Pod | None, seconds: float) -> Run:
        start, end = self.course.finish(max(now, self._free_at), seconds)
        run = Run(pod, now, start, end, seconds)
        self._free_at = end
        self._pending.append(run)
        self.runs.append(run)
        self._touch(now)
        return run

    def _finish(self, run: Run) -> None:
        """Learns from a job of ours as the gateway does; others' jobs tell nothing."""
        if run.pod is None:
            return
        self._own_circuits -= run.pod.circuits
        rate = model.LEARNING_RATE
        self._seconds_per_job += rate * (run.seconds - self._seconds_per_job)
        newest = (run.end - run.submitted) / run.pod.circuits
        known = self._seconds_per_circuit
        self._seconds_per_circuit = newest if known == 0 else known + rate * (newest - known)

    def _touch(self, now: float) -> None:
        """Has the next poll look at what changed."""
        self._write_at = min(self._write_at, self._poll_after(now))

    def _poll_after(self, time: float) -> float:
        phase, period = self.course.phase, model.POLL_SECONDS
        return phase + period * math.ceil((time - phase) / period)

    def _write(self, now: float) -> None:
        """Writes the status if it changed enough for the time since the last writing."""
        found = self._observe(now)
        due = self._poll_after(self._written_at + model.SMALL_CHANGE_SECONDS)
        if found == self.status:
            self._write_at = math.inf
        elif now < due and not _is_large_change(self.status, found):
            self._write_at = due
        else:
            self.status = found
            self._written_at = now
            self._write_at = math.inf

    def _observe(self, now: float) -> QPU:
        return QPU(
            name=self.name,
            provider=_PROVIDER,
            simulator=False,
            num_qubits=self.course.num_qubits,
            conditions=_CONDITIONS[self.is_up(now)],
            queue=Queue(
                provider_pending=len(self._pending),
                gateway_pending=self._own_circuits,
                estimated_wait_seconds=self._estimated_wait(now),
            ),
            calibration=self._calibrations[bisect_right(self._calibrated_at, now) - 1],
            slots=self.slots,
            slots_held=self.held,
        )

    def _estimated_wait(self, now: float) -> float:
        if self._estimate is Estimate.EXACT:
            return self.wait(now)
        seconds = len(self._pending) * self._seconds_per_job
        if self._estimate is Estimate.GATEWAY:
            seconds += self._own_circuits * self._seconds_per_circuit / self.slots
        return seconds


def _is_large_change(old: QPU, new: QPU) -> bool:
    """Tells whether a change is written at once: a condition, or a number by more than a tenth."""
    if old.conditions != new.conditions or old.calibration != new.calibration:
        return True
    numbers = (
        (old.queue.provider_pending, new.queue.provider_pending),
        (old.queue.gateway_pending, new.queue.gateway_pending),
        (old.queue.estimated_wait_seconds, new.queue.estimated_wait_seconds),
        (old.slots_held, new.slots_held),
    )
    return any(
        abs(after - before) > model.LARGE_FRACTION * max(before, after) for before, after in numbers
    )
