"""Replays a trace under a policy: a discrete-event simulation of pods, slots and queues.

A pod is created, waits until a QPU that is Ready has a free slot, and is bound to one of them by
the policy. It starts and submits its job, which joins the provider's queue behind all customers'
jobs; with the job the pod ends and its slot is free. The policy sees QPUs as their statuses are.
"""

import heapq
import itertools
import math
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum

from kubeqpu.common.placement import CircuitShape
from tests.benchmarks import placement_regimes as model
from tests.benchmarks.placement_policies import Candidate, Policy
from tests.benchmarks.placement_station import EPOCH, Station
from tests.benchmarks.placement_traces import Pod, Trace


class _Kind(IntEnum):
    """What happens; of two things at the same time, the lower number happens first."""

    ENDED = 0
    RECOVERED = 1
    CREATED = 2
    STARTED = 3


@dataclass(frozen=True)
class Stay:
    """What became of a pod; times in seconds after the start of the trace.

    Attributes:
        pod: The pod's place in the trace.
        qpu: The QPU's place in the fleet.
        created: When it was created.
        bound: When it was given a slot.
        submitted: When its job joined the queue.
        started: When the QPU began with it.
        ended: When its results were there.
        fidelity: Fidelity that its circuits reached, by the true errors when it began.
    """

    pod: int
    qpu: int
    created: float
    bound: float
    submitted: float
    started: float
    ended: float
    fidelity: float

    @property
    def completion_seconds(self) -> float:
        """From the pod's creation to its results."""
        return self.ended - self.created


@dataclass(frozen=True)
class Outcome:
    """What a replay leaves behind.

    Attributes:
        stays: One per pod, in the order of the trace.
        busy: Per QPU, the share of the time it computed while pods arrived.
        stations: The QPUs as they ended.
    """

    stays: tuple[Stay, ...]
    busy: tuple[float, ...]
    stations: tuple[Station, ...]


def replay(trace: Trace, policy: Policy) -> Outcome:
    """Replays a trace until its last pod has ended; the same trace gives the same outcome."""
    return _Replay(trace, policy).run()


class _Replay:
    def __init__(self, trace: Trace, policy: Policy) -> None:
        self._trace = trace
        self._policy = policy
        regime = trace.regime
        self._stations = tuple(
            Station(course, regime.slots, regime.estimate) for course in trace.courses
        )
        self._places = {station.name: place for place, station in enumerate(self._stations)}
        self._generator = random.Random(trace.seed)
        self._pending: deque[int] = deque()
        self._bound: dict[int, tuple[int, float]] = {}
        self._stays: dict[int, Stay] = {}
        self._counter = itertools.count()
        self._events: list[tuple[float, _Kind, int, int]] = []

    def run(self) -> Outcome:
        for index, pod in enumerate(self._trace.pods):
            self._plan(pod.arrival, _Kind.CREATED, index)
        for place, station in enumerate(self._stations):
            for _, over in station.course.outages:
                # By then the gateway has written that the QPU is back.
                self._plan(over + 2 * model.POLL_SECONDS, _Kind.RECOVERED, place)
        handlers: dict[_Kind, Callable[[float, int], None]] = {
            _Kind.CREATED: lambda _, index: self._pending.append(index),
            _Kind.STARTED: self._submit,
            _Kind.ENDED: self._end,
            _Kind.RECOVERED: lambda _, __: None,
        }
        while self._events and len(self._stays) < len(self._trace.pods):
            now, kind, _, subject = heapq.heappop(self._events)
            handlers[kind](now, subject)
            if self._pending and kind is not _Kind.STARTED:
                self._schedule(now)
        stays = tuple(self._stays[index] for index in range(len(self._trace.pods)))
        busy = tuple(
            measure_busy(station, model.WARM_UP_SECONDS, self._trace.end)
            for station in self._stations
        )
        return Outcome(stays, busy, self._stations)

    def _plan(self, time: float, kind: _Kind, subject: int) -> None:
        heapq.heappush(self._events, (time, kind, next(self._counter), subject))

    def _schedule(self, now: float) -> None:
        """Binds pods in the order of their creation until none is left or no slot is free."""
        while self._pending:
            seen = [(station, station.look(now)) for station in self._stations]
            free = [
                Candidate(status, station.held)
                for station, status in seen
                if station.has_free_slot()
            ]
            if not free:
                return
            index = self._pending.popleft()
            pod = self._trace.pods[index]
            shape = CircuitShape(pod.two_qubit_gates, pod.measurements) if pod.annotated else None
            moment = EPOCH + timedelta(seconds=now)
            place = self._places[self._policy.choose(free, shape, moment, self._generator)]
            self._stations[place].hold(now)
            self._bound[index] = (place, now)
            self._plan(now + pod.start_seconds, _Kind.STARTED, index)

    def _submit(self, now: float, index: int) -> None:
        place, bound = self._bound.pop(index)
        pod = self._trace.pods[index]
        station = self._stations[place]
        run = station.submit(now, pod, pod.service_seconds[place])
        fidelity = reach_fidelity(pod, place, station.course.drift_at(run.start))
        self._stays[index] = Stay(
            index, place, pod.arrival, bound, now, run.start, run.end, fidelity
        )
        self._plan(run.end, _Kind.ENDED, place)

    def _end(self, now: float, place: int) -> None:
        self._stations[place].release(now)


def reach_fidelity(pod: Pod, place: int, drift: float) -> float:
    """Gives the fidelity of a pod's circuits on a QPU whose errors have grown by a factor.

    Readout errors grow by the root of it, losses of idle qubits stay.
    """
    exponent = (
        drift * pod.gate_exponents[place]
        + math.sqrt(drift) * pod.readout_exponents[place]
        + pod.idle_exponents[place]
    )
    return math.exp(-exponent)


def measure_busy(station: Station, begin: float, end: float) -> float:
    """Gives the share of a span of time in which a QPU computed for anyone."""
    busy = 0.0
    for run in station.runs:
        inside = min(run.end, end) - max(run.start, begin)
        if inside > 0 and run.end > run.start:
            # What an outage interrupts counts evenly from its start to its end.
            busy += run.seconds * inside / (run.end - run.start)
    return busy / (end - begin)
