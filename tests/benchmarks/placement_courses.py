"""What happens to one QPU whatever pods do: other customers, outages, calibrations and drift."""

import math
from bisect import bisect_right
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tests.benchmarks import placement_regimes as model
from tests.benchmarks.placement_devices import Snapshot
from tests.benchmarks.placement_regimes import DAY, HOUR, Regime

Floats = NDArray[np.float64]
_STEP = 600.0


@dataclass(frozen=True)
class Reported:
    """A calibration as the QPU reports it, from `time` on, in seconds after the start."""

    time: float
    median_one_qubit_error: float
    median_two_qubit_error: float
    median_readout_error: float


@dataclass(frozen=True)
class Course:
    """What happens to one QPU.

    Attributes:
        name: Name of the QPU.
        num_qubits: Its width.
        external_arrivals: Seconds at which other customers' jobs come, ascending.
        external_seconds: How long each of them takes.
        outages: Beginning and end of each, ascending and apart.
        calibrations: Ascending; the first is older than the start.
        drift_step_seconds: Distance of `drift`.
        drift: By how much the true errors exceed the snapshot's, from the start on.
        phase: When within a second the gateway polls.
    """

    name: str
    num_qubits: int
    external_arrivals: tuple[float, ...]
    external_seconds: tuple[float, ...]
    outages: tuple[tuple[float, float], ...]
    calibrations: tuple[Reported, ...]
    drift_step_seconds: float
    drift: tuple[float, ...]
    phase: float

    def drift_at(self, time: float) -> float:
        """Gives the factor on the snapshot's errors at a time."""
        return self.drift[min(int(time / self.drift_step_seconds), len(self.drift) - 1)]

    def finish(self, start: float, seconds: float) -> tuple[float, float]:
        """Tells when work that may begin at a time begins and ends; outages interrupt it."""
        position = bisect_right(self.outages, (start, math.inf)) - 1
        if position >= 0:
            start = max(start, self.outages[position][1])
        end = start + seconds
        for begin, over in self.outages[position + 1 :]:
            if begin >= end:
                break
            end += over - begin
        return start, end


def make_course(
    generator: np.random.Generator,
    regime: Regime,
    index: int,
    snapshots: tuple[Snapshot, Snapshot],
    mean_seconds: float,
    end: float,
) -> Course:
    """Draws the course of one QPU.

    Args:
        generator: Source of randomness.
        regime: Circumstances.
        index: The QPU's place in the fleet, from the best to the worst.
        snapshots: What it is, and what it reports to be.
        mean_seconds: What a pod's job takes here on average.
        end: When the last pods may arrive; pods may run for long after that.
    """
    snapshot, reported = snapshots
    size = len(regime.fleet)
    # Between 1 + popularity/2 and 1 - popularity/2 of the mean.
    share = 1 + regime.popularity * (0.5 - index / max(size - 1, 1))
    horizon = 2 * end
    customers, errors, absences = generator.spawn(3)
    arrivals = _draw_external(customers, regime, share * regime.external_load / mean_seconds, end)
    spread = model.EXTERNAL_SERVICE_SPREAD
    seconds = mean_seconds * np.exp(
        spread * customers.standard_normal(len(arrivals)) - spread**2 / 2
    )
    calibrations, drift = _draw_drift(errors, regime, reported, horizon)
    outages = _draw_outages(absences, regime.outage if index == 0 else 0.0, horizon)
    return Course(
        name=f"{snapshot.name.removeprefix('Fake').lower()}-{index}",
        num_qubits=snapshot.num_qubits,
        external_arrivals=tuple(arrivals.tolist()),
        external_seconds=tuple(seconds.tolist()),
        outages=outages,
        calibrations=calibrations,
        drift_step_seconds=_STEP,
        drift=drift,
        phase=float(generator.uniform(0, model.POLL_SECONDS)),
    )


def _draw_external(
    generator: np.random.Generator, regime: Regime, rate: float, end: float
) -> Floats:
    """Draws arrivals whose rate follows the daily wave and wanders over hours."""
    steps = math.ceil(end / _STEP)
    keep = math.exp(-_STEP / (model.SWING_HOURS * HOUR))
    level = generator.standard_normal()
    rates = np.empty(steps)
    for step in range(steps):
        rates[step] = rate * math.exp(regime.swing * level - regime.swing**2 / 2)
        level = keep * level + math.sqrt(1 - keep**2) * generator.standard_normal()
    middle = (np.arange(steps) + 0.5) * _STEP
    rates *= 1 - regime.wave * np.cos(2 * math.pi * middle / DAY)
    counts = generator.poisson(rates * _STEP)
    times = np.repeat(np.arange(steps) * _STEP, counts)
    return np.sort(times + generator.uniform(0, _STEP, len(times)))


def _draw_drift(
    generator: np.random.Generator, regime: Regime, reported: Snapshot, horizon: float
) -> tuple[tuple[Reported, ...], tuple[float, ...]]:
    """Draws daily calibrations and what the errors do between them."""
    steps = math.ceil(horizon / _STEP)
    hours = _STEP / HOUR
    next_calibration = generator.uniform(0, DAY)
    calibrated = next_calibration - DAY
    base = model.DAY_SPREAD * generator.standard_normal()
    # What has happened since the calibration that is older than the start.
    since = -calibrated / HOUR
    walk = regime.drift_per_hour * since + (
        regime.drift_spread * math.sqrt(since) * generator.standard_normal()
    )
    found = [_report(generator, calibrated, reported, base)]
    drift = []
    for step in range(steps):
        if step * _STEP >= next_calibration:
            base, walk = model.DAY_SPREAD * generator.standard_normal(), 0.0
            found.append(_report(generator, next_calibration, reported, base))
            next_calibration += DAY
        drift.append(math.exp(base + walk))
        walk += regime.drift_per_hour * hours
        walk += regime.drift_spread * math.sqrt(hours) * generator.standard_normal()
    return tuple(found), tuple(drift)


def _report(
    generator: np.random.Generator, time: float, snapshot: Snapshot, base: float
) -> Reported:
    """Measures the errors of a day, with errors of measurement; readout changes half as much."""
    gates, readout = model.MEASURED_SPREAD * generator.standard_normal(2)
    return Reported(
        time=time,
        median_one_qubit_error=snapshot.median_one_qubit_error * math.exp(base + gates),
        median_two_qubit_error=snapshot.median_two_qubit_error * math.exp(base + gates),
        median_readout_error=snapshot.median_readout_error * math.exp(base / 2 + readout),
    )


def _draw_outages(
    generator: np.random.Generator, share: float, horizon: float
) -> tuple[tuple[float, float], ...]:
    """Draws outages of one to two hours that fill a share of the time."""
    if share <= 0:
        return ()
    found = []
    time = 0.0
    while time < horizon:
        away = model.OUTAGE_STRETCH_SECONDS * generator.uniform(1, 2)
        there = away * (1 - share) / share
        found.append((time + there, time + there + away))
        time += there + away
    return tuple(found)
