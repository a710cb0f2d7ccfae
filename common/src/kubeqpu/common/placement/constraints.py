"""Whether a QPU satisfies the requirements of a class, with the reason where it does not."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from kubeqpu.common.placement.policy import Requirements, SimulatorPolicy
from kubeqpu.common.qpu import QPU, Calibration


class RefusalReason(StrEnum):
    """On what ground a QPU cannot take a piece of work, in the order they are looked at."""

    CORDONED = "Cordoned"
    NOT_READY = "NotReady"
    NOT_ACCEPTING = "NotAccepting"
    PROVIDER_NOT_ALLOWED = "ProviderNotAllowed"
    SIMULATOR_FORBIDDEN = "SimulatorForbidden"
    SIMULATOR_REQUIRED = "SimulatorRequired"
    SELECTOR_MISMATCH = "SelectorMismatch"
    TOO_FEW_QUBITS = "TooFewQubits"
    WAIT_TOO_LONG = "WaitTooLong"
    NO_CALIBRATION = "NoCalibration"
    CALIBRATION_TOO_OLD = "CalibrationTooOld"
    ERROR_TOO_HIGH = "ErrorTooHigh"


@dataclass(frozen=True)
class Refusal:
    """Why a QPU cannot take a piece of work.

    Attributes:
        qpu: Name of the QPU.
        reason: The ground.
        message: What is, and what was required.
    """

    qpu: str
    reason: RefusalReason
    message: str

    def __str__(self) -> str:
        return f"QPU {self.qpu}: {self.message}"


def fits(
    qpu: QPU, requirements: Requirements, now: datetime, class_name: str = "standard"
) -> Refusal | None:
    """Checks a QPU against requirements; the first one it fails is the answer.

    Args:
        qpu: The candidate.
        requirements: What it must satisfy.
        now: Time against which the calibration's age is taken, with time zone.
        class_name: Named in the message, so that a person knows which class to change.

    Returns:
        None if the QPU fits, else why not.
    """
    checks = (_availability, _kind, _size, _wait)
    for check in checks:
        if refusal := check(qpu, requirements, class_name):
            return refusal
    return _calibration(qpu, requirements, now, class_name)


def _availability(qpu: QPU, _: Requirements, __: str) -> Refusal | None:
    if qpu.unschedulable:
        return Refusal(qpu.name, RefusalReason.CORDONED, "cordoned by an operator")
    for condition, reason in (
        ("Ready", RefusalReason.NOT_READY),
        ("Accepting", RefusalReason.NOT_ACCEPTING),
    ):
        if not qpu.is_true(condition):
            found = qpu.conditions.get(condition)
            detail = f" ({found.message})" if found and found.message else ""
            status = found.status if found else "not reported"
            return Refusal(qpu.name, reason, f"{condition} is {status}{detail}")
    return None


def _kind(qpu: QPU, wanted: Requirements, class_name: str) -> Refusal | None:
    if wanted.providers and qpu.provider not in wanted.providers:
        allowed = ", ".join(sorted(wanted.providers))
        return Refusal(
            qpu.name,
            RefusalReason.PROVIDER_NOT_ALLOWED,
            f"provider {qpu.provider} is not among those of class {class_name} ({allowed})",
        )
    if wanted.simulators is SimulatorPolicy.FORBID and qpu.simulator:
        return Refusal(
            qpu.name,
            RefusalReason.SIMULATOR_FORBIDDEN,
            f"a simulator, which class {class_name} forbids",
        )
    if wanted.simulators is SimulatorPolicy.REQUIRE and not qpu.simulator:
        return Refusal(
            qpu.name,
            RefusalReason.SIMULATOR_REQUIRED,
            f"a real QPU, and class {class_name} requires simulators",
        )
    for key, value in wanted.selector.items():
        if qpu.labels.get(key) != value:
            return Refusal(
                qpu.name,
                RefusalReason.SELECTOR_MISMATCH,
                f"label {key} is {qpu.labels.get(key)!r}, class {class_name} selects {value!r}",
            )
    for expression in wanted.selector_expressions:
        if not expression.holds(qpu.labels):
            found = qpu.labels.get(expression.key)
            return Refusal(
                qpu.name,
                RefusalReason.SELECTOR_MISMATCH,
                f"label {expression.key} is {found!r}, class {class_name} selects {expression}",
            )
    return None


def _size(qpu: QPU, wanted: Requirements, class_name: str) -> Refusal | None:
    if qpu.num_qubits >= wanted.min_qubits:
        return None
    return Refusal(
        qpu.name,
        RefusalReason.TOO_FEW_QUBITS,
        f"{qpu.num_qubits} qubits below the {wanted.min_qubits} needed (class {class_name})",
    )


def _wait(qpu: QPU, wanted: Requirements, class_name: str) -> Refusal | None:
    limit = wanted.max_estimated_wait_seconds
    wait = qpu.queue.estimated_wait_seconds
    if limit is None or wait <= limit:
        return None
    return Refusal(
        qpu.name,
        RefusalReason.WAIT_TOO_LONG,
        f"estimated wait {wait:.0f} s above {limit:.0f} s allowed by class {class_name}",
    )


def _calibration(qpu: QPU, wanted: Requirements, now: datetime, class_name: str) -> Refusal | None:
    calibration = qpu.calibration
    if calibration is None:
        # A simulator without errors has nothing to calibrate; a device that reports nothing may
        # not pass a class that asks for something.
        if qpu.simulator or not _asks_for_calibration(wanted):
            return None
        return Refusal(
            qpu.name,
            RefusalReason.NO_CALIBRATION,
            f"reports no calibration, and class {class_name} limits its errors or age",
        )
    return _age(qpu.name, calibration, wanted, now, class_name) or _errors(
        qpu.name, calibration, wanted, class_name
    )


def _asks_for_calibration(wanted: Requirements) -> bool:
    limits = (
        wanted.max_median_two_qubit_error,
        wanted.max_median_readout_error,
        wanted.max_eplg,
        wanted.max_calibration_age_seconds,
    )
    return any(limit is not None for limit in limits)


def _age(
    name: str, calibration: Calibration, wanted: Requirements, now: datetime, class_name: str
) -> Refusal | None:
    limit = wanted.max_calibration_age_seconds
    age = (now - calibration.time).total_seconds()
    if limit is None or age <= limit:
        return None
    return Refusal(
        name,
        RefusalReason.CALIBRATION_TOO_OLD,
        f"calibrated {age / 3600:.1f} h ago, above {limit / 3600:.1f} h allowed by class "
        f"{class_name}",
    )


def _errors(
    name: str, calibration: Calibration, wanted: Requirements, class_name: str
) -> Refusal | None:
    limits = (
        ("median 2q error", calibration.median_two_qubit_error, wanted.max_median_two_qubit_error),
        ("median readout error", calibration.median_readout_error, wanted.max_median_readout_error),
    )
    for label, value, limit in limits:
        if limit is not None and value > limit:
            return Refusal(
                name,
                RefusalReason.ERROR_TOO_HIGH,
                f"{label} {value:.1e} above {limit:.1e} allowed by class {class_name}",
            )
    if wanted.max_eplg is None:
        return None
    if calibration.eplg is None:
        return Refusal(
            name, RefusalReason.ERROR_TOO_HIGH, f"reports no EPLG, and class {class_name} limits it"
        )
    if calibration.eplg > wanted.max_eplg:
        return Refusal(
            name,
            RefusalReason.ERROR_TOO_HIGH,
            f"EPLG {calibration.eplg:.1e} above {wanted.max_eplg:.1e} allowed by class "
            f"{class_name}",
        )
    return None
