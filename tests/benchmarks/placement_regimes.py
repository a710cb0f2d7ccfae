"""The circumstances that placement is replayed in, with every parameter of the model."""

from dataclasses import dataclass, replace
from enum import StrEnum

from tests.benchmarks.placement_devices import ALIKE, EXTREMES, FLEET

HOUR = 3600.0
DAY = 24 * HOUR


class Estimate(StrEnum):
    """How the wait in a QPU's status comes about.

    GATEWAY is what the gateway computes: jobs at the provider times measured seconds per job, plus
    own circuits pending times measured seconds per circuit, divided by slots. DEPTH leaves the
    second term out. EXACT is the true wait, which nobody knows.
    """

    GATEWAY = "gateway"
    DEPTH = "depth"
    EXACT = "exact"


@dataclass(frozen=True)
class Regime:
    """One set of circumstances.

    Attributes:
        name: Name in reports.
        about: What is special, for people.
        fleet: Fake backends, one QPU each.
        slots: Slots of each QPU.
        own_load: Work of the cluster's pods, as a share of what the fleet can do.
        external_load: Work of the provider's other customers, likewise, averaged over QPUs.
        popularity: How much more of it the best QPU gets than the worst, as a share of the mean.
        wave: Amplitude of the daily wave of all arrivals, in [0, 1].
        burst: Mean number of pods that arrive at once.
        swing: Standard deviation of the logarithm of external load, which wanders over hours.
        drift_per_hour: Rise of the logarithm of errors per hour since the calibration.
        drift_spread: Standard deviation of that logarithm after one hour; grows with the root.
        wrong_calibration: Whether each QPU reports another one's errors.
        outage: Share of the time that the best QPU is away, an hour and more at a stretch.
        annotated: Share of pods that tell their circuit's shape.
        estimate: How the wait is estimated.
        hours: How long pods arrive.
    """

    name: str
    about: str
    fleet: tuple[str, ...] = FLEET
    slots: int = 8
    own_load: float = 0.3
    external_load: float = 0.4
    popularity: float = 1.0
    wave: float = 0.5
    burst: float = 1.0
    swing: float = 0.5
    drift_per_hour: float = 0.01
    drift_spread: float = 0.03
    wrong_calibration: bool = False
    outage: float = 0.0
    annotated: float = 0.5
    estimate: Estimate = Estimate.GATEWAY
    hours: float = 24.0


TYPICAL = Regime("typical", "70 % load on average, 105 % at noon")
REGIMES = (
    replace(
        TYPICAL, name="light", about="20 % load",
        own_load=0.1, external_load=0.1,
    ),
    TYPICAL,
    replace(
        TYPICAL, name="overloaded", about="110 % load: queues grow",
        own_load=0.6, external_load=0.5,
    ),
    replace(TYPICAL, name="bursts", about="typical, pods arrive twenty at once", burst=20.0),
    replace(TYPICAL, name="few slots", about="typical, two slots for each QPU", slots=2),
    replace(TYPICAL, name="many slots", about="typical, 32 slots for each QPU", slots=32),
    replace(TYPICAL, name="alike", about="typical, eight QPUs with the same errors", fleet=ALIKE),
    replace(
        TYPICAL, name="heterogeneous", about="typical, median errors differ by a factor of 17",
        fleet=EXTREMES,
    ),
    replace(
        TYPICAL, name="heavy drift", about="typical, errors grow 2.6-fold from day to day",
        drift_per_hour=0.04, drift_spread=0.1,
    ),
    replace(
        TYPICAL, name="wrong calibration", about="typical, each QPU reports another one's errors",
        wrong_calibration=True,
    ),
    replace(
        TYPICAL, name="outage", about="typical, the best QPU is away half of the time",
        outage=0.5,
    ),
    replace(
        TYPICAL, name="exact waits", about="typical, and statuses tell the true wait",
        estimate=Estimate.EXACT,
    ),
)  # fmt: skip

# Pods.
MIN_WIDTH, MAX_WIDTH = 4, 16
MEDIAN_LAYERS, LAYERS_SPREAD, MAX_LAYERS = 5.0, 0.6, 30
MEDIAN_CIRCUITS, CIRCUITS_SPREAD, MAX_CIRCUITS = 60.0, 1.0, 1000
SHOTS = (1_000, 4_000, 10_000)
SHOTS_SHARES = (0.4, 0.4, 0.2)
MIN_START_SECONDS, MAX_START_SECONDS = 1.0, 3.0

# Service.
JOB_SECONDS = 5.0
CIRCUIT_SECONDS = 0.02
RESET_SECONDS = 250e-6
SPEED_SPREAD = 0.3
EXTERNAL_SERVICE_SPREAD = 1.0

# The queue before the first pod, so that no policy starts with an idle fleet.
WARM_UP_SECONDS = 2 * HOUR
SWING_HOURS = 3.0

# Errors.
DAY_SPREAD = 0.25
EDGE_SPREAD = 0.25
MEASURED_SPREAD = 0.05
LAYOUTS = 8
OUTAGE_STRETCH_SECONDS = HOUR

# What the gateway does.
FIRST_SERVICE_SECONDS = 60.0
LEARNING_RATE = 0.3
POLL_SECONDS = 1.0
SMALL_CHANGE_SECONDS = 5.0
LARGE_FRACTION = 0.1
