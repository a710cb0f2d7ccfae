"""Traces: everything that happens in a replay whatever the policy does, drawn from a seed."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tests.benchmarks import placement_regimes as model
from tests.benchmarks.placement_courses import Course, make_course
from tests.benchmarks.placement_devices import Snapshot
from tests.benchmarks.placement_regimes import DAY, HOUR, Regime

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Pod:
    """One pod with one job.

    Attributes:
        arrival: Seconds after the start at which it is created.
        start_seconds: From its binding to its job's submission.
        circuits: Circuits of its job, all of the same shape.
        shots: Shots of each.
        two_qubit_gates: Of each circuit.
        measurements: Qubits measured, of each circuit.
        annotated: Whether it tells its shape.
        service_seconds: How long each QPU takes for the job.
        gate_exponents: −ln of the fidelity lost to two-qubit gates on each QPU, as calibrated.
        readout_exponents: The same for measurements.
        idle_exponents: The same for waiting qubits, which does not drift.
    """

    arrival: float
    start_seconds: float
    circuits: int
    shots: int
    two_qubit_gates: int
    measurements: int
    annotated: bool
    service_seconds: tuple[float, ...]
    gate_exponents: tuple[float, ...]
    readout_exponents: tuple[float, ...]
    idle_exponents: tuple[float, ...]


@dataclass(frozen=True)
class Trace:
    """What happens to a fleet, in order of time.

    Attributes:
        regime: Its circumstances.
        seed: What it was drawn from.
        pods: By arrival.
        courses: One per QPU.
        end: When the last pods may arrive, in seconds.
    """

    regime: Regime
    seed: int
    pods: tuple[Pod, ...]
    courses: tuple[Course, ...]
    end: float


@dataclass(frozen=True)
class _Work:
    """Columns of pods: width, layers, circuits and shots of each, as floats."""

    width: Floats
    layers: Floats
    circuits: Floats
    shots: Floats

    def __len__(self) -> int:
        return len(self.width)


def make_trace(regime: Regime, seed: int, snapshots: Mapping[str, Snapshot]) -> Trace:
    """Draws a trace; the same seed gives the same one."""
    fleet = [snapshots[name] for name in regime.fleet]
    # One source each, so that regimes differ in nothing but what they are about.
    sources = np.random.default_rng(seed).spawn(4 + len(fleet))
    speeds = np.exp(model.SPEED_SPREAD * sources[0].standard_normal(len(fleet)))
    end = model.WARM_UP_SECONDS + regime.hours * HOUR
    # What a pod takes on average, to turn loads into rates.
    sample = _draw_work(sources[0], 20_000)
    means = [
        float(_seconds(sample, item, speed).mean())
        for item, speed in zip(fleet, speeds, strict=True)
    ]
    capacity = sum(1 / mean for mean in means)
    arrivals = _draw_arrivals(sources[1], regime, regime.own_load * capacity, end)
    pods = _make_pods(sources[2], regime, arrivals, fleet, speeds)
    reported = _choose_reports(sources[3], regime, fleet)
    courses = tuple(
        make_course(source, regime, index, (fleet[index], reported[index]), means[index], end)
        for index, source in enumerate(sources[4:])
    )
    return Trace(regime, seed, pods, courses, end)


def _choose_reports(
    generator: np.random.Generator, regime: Regime, fleet: list[Snapshot]
) -> list[Snapshot]:
    """Says whose errors each QPU reports: its own, or another's, round a random ring."""
    if not regime.wrong_calibration:
        return fleet
    ring = generator.permutation(len(fleet))
    successor = dict(zip(ring.tolist(), np.roll(ring, 1).tolist(), strict=True))
    return [fleet[successor[index]] for index in range(len(fleet))]


def _draw_arrivals(
    generator: np.random.Generator, regime: Regime, rate: float, end: float
) -> Floats:
    """Draws arrivals of a Poisson process with a daily wave, single or in bursts."""
    start = model.WARM_UP_SECONDS
    peak = rate * (1 + regime.wave) / regime.burst
    count = generator.poisson(peak * (end - start))
    times = np.sort(generator.uniform(start, end, count))
    kept = generator.uniform(0, 1 + regime.wave, count) < wave_at(times, regime.wave)
    times = times[kept]
    if regime.burst > 1:
        sizes = generator.geometric(1 / regime.burst, len(times))
        times = np.sort(np.repeat(times, sizes) + generator.uniform(0, 1, int(sizes.sum())))
    return times


def wave_at(times: Floats, amplitude: float) -> Floats:
    """Gives the daily wave around 1, least at the start of a day."""
    return 1 - amplitude * np.cos(2 * math.pi * times / DAY)


def _draw_work(generator: np.random.Generator, count: int) -> _Work:
    width = generator.integers(model.MIN_WIDTH, model.MAX_WIDTH + 1, count).astype(float)
    layers = model.MEDIAN_LAYERS * np.exp(model.LAYERS_SPREAD * generator.standard_normal(count))
    layers = np.clip(np.rint(layers), 1, model.MAX_LAYERS)
    circuits = model.MEDIAN_CIRCUITS * np.exp(
        model.CIRCUITS_SPREAD * generator.standard_normal(count)
    )
    circuits = np.clip(np.rint(circuits), 1, model.MAX_CIRCUITS)
    shots = generator.choice(model.SHOTS, count, p=model.SHOTS_SHARES).astype(float)
    return _Work(width, layers, circuits, shots)


def _seconds(work: _Work, snapshot: Snapshot, speed: float) -> Floats:
    """Seconds that a QPU takes for each job: both halves of a layer, measurement and reset."""
    shot = 2 * work.layers * snapshot.gate_seconds + snapshot.measure_seconds + model.RESET_SECONDS
    circuit = model.CIRCUIT_SECONDS + work.shots * shot
    return np.asarray(model.JOB_SECONDS + speed * work.circuits * circuit)


def _make_pods(
    generator: np.random.Generator,
    regime: Regime,
    arrivals: Floats,
    fleet: list[Snapshot],
    speeds: Floats,
) -> tuple[Pod, ...]:
    count = len(arrivals)
    work = _draw_work(generator, count)
    delays = generator.uniform(model.MIN_START_SECONDS, model.MAX_START_SECONDS, count)
    annotated = generator.uniform(size=count) < regime.annotated
    gates = np.rint(work.width * work.layers)
    shape = (count, len(fleet))
    seconds, gate, readout, idle = (np.zeros(shape) for _ in range(4))
    for index, snapshot in enumerate(fleet):
        seconds[:, index] = _seconds(work, snapshot, float(speeds[index]))
        edges = _lay_out(generator, snapshot.edge_errors, work.width - 1)
        gate[:, index] = -gates * np.log1p(-edges)
        measured = _lay_out(generator, snapshot.readout_errors, work.width)
        readout[:, index] = -work.width * np.log1p(-measured)
        idle[:, index] = _idle(work, snapshot)
    return tuple(
        Pod(
            arrival=float(arrivals[row]),
            start_seconds=float(delays[row]),
            circuits=int(work.circuits[row]),
            shots=int(work.shots[row]),
            two_qubit_gates=int(gates[row]),
            measurements=int(work.width[row]),
            annotated=bool(annotated[row]),
            service_seconds=tuple(seconds[row].tolist()),
            gate_exponents=tuple(gate[row].tolist()),
            readout_exponents=tuple(readout[row].tolist()),
            idle_exponents=tuple(idle[row].tolist()),
        )
        for row in range(count)
    )


def _lay_out(generator: np.random.Generator, errors: tuple[float, ...], sizes: Floats) -> Floats:
    """Gives the mean true error of the edges or qubits that each circuit is laid out on.

    The layout is the best of a few random ones by the calibrated errors; the true ones differ from
    these, each for itself.
    """
    count, most = len(sizes), int(sizes.max(initial=1))
    known = np.minimum(np.asarray(errors), 0.5)
    chosen = known[generator.integers(len(known), size=(count, model.LAYOUTS, most))]
    used = np.arange(most)[None, None, :] < sizes[:, None, None]
    means = np.where(used, chosen, 0.0).sum(axis=2) / sizes[:, None]
    noise = np.exp(model.EDGE_SPREAD / np.sqrt(sizes) * generator.standard_normal(count))
    return np.asarray(np.minimum(means.min(axis=1) * noise, 0.5))


def _idle(work: _Work, snapshot: Snapshot) -> Floats:
    """Loss of qubits that idle through half of each layer: t/6T₁ + t/3T₂ each, to first order."""
    seconds = work.layers * snapshot.gate_seconds
    rate = 1 / (6 * snapshot.t1_seconds) + 1 / (3 * snapshot.t2_seconds)
    return np.asarray(work.width * seconds * rate)
