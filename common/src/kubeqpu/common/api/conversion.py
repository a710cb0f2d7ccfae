"""From API objects to the plain data that decisions are made from, and back for classes."""

from datetime import timedelta

from kubeqpu.common import placement, qpu
from kubeqpu.common.api.metadata import (
    LabelSelector,
    LabelSelectorRequirement,
    ObjectMeta,
)
from kubeqpu.common.api.qpu import QPU, CalibrationStatus, QPUSpec, QPUStatus, Summary
from kubeqpu.common.api.qpuclass import QPUClass, QPUClassSpec, RequirementsSpec, WeightsSpec


def plain_qpu(found: QPU) -> qpu.QPU:
    """Gives a QPU as placement sees it; without a status it has no qubits and no conditions."""
    status = found.status
    return qpu.QPU(
        name=found.metadata.name,
        provider=found.spec.provider,
        simulator=found.spec.simulator,
        num_qubits=status.num_qubits,
        conditions={
            item.type: qpu.Condition(item.type, item.status, item.reason, item.message)
            for item in status.conditions
        },
        queue=qpu.Queue(
            provider_pending=status.queue.provider_pending,
            gateway_pending=status.queue.gateway_pending,
            estimated_wait_seconds=status.queue.estimated_wait_seconds,
        ),
        calibration=_plain_calibration(status.calibration) if status.calibration else None,
        slots=found.spec.slots,
        slots_held=sum(node.held for node in status.nodes),
        labels=dict(found.metadata.labels),
        unschedulable=found.spec.unschedulable,
    )


def _plain_calibration(found: CalibrationStatus) -> qpu.Calibration:
    return qpu.Calibration(
        id=found.id,
        time=found.time,
        median_one_qubit_error=found.median_one_qubit_error,
        median_two_qubit_error=found.median_two_qubit_error,
        median_readout_error=found.median_readout_error,
        median_t1_seconds=found.median_t1_seconds,
        median_t2_seconds=found.median_t2_seconds,
        eplg=found.eplg,
        dead_edges=found.dead_edges,
    )


def placement_class(found: QPUClass) -> placement.PlacementClass:
    """Gives a class as placement sees it.

    Raises:
        ValueError: If its weights are all 0, which the API server does not accept.
    """
    wanted, weights = found.spec.requirements, found.spec.weights
    return placement.PlacementClass(
        name=found.metadata.name,
        requirements=placement.Requirements(
            min_qubits=wanted.min_qubits,
            max_median_two_qubit_error=wanted.max_median_two_qubit_error,
            max_median_readout_error=wanted.max_median_readout_error,
            max_eplg=wanted.max_eplg,
            max_calibration_age_seconds=_seconds(wanted.max_calibration_age),
            max_estimated_wait_seconds=_seconds(wanted.max_estimated_wait),
            providers=frozenset(wanted.providers),
            simulators=wanted.simulators,
            selector=dict(wanted.selector.match_labels),
            selector_expressions=tuple(
                placement.LabelExpression(item.key, item.operator, frozenset(item.values))
                for item in wanted.selector.match_expressions
            ),
        ),
        weights=placement.Weights(
            weights.wait, weights.fidelity, weights.freshness, weights.utilisation
        ),
    )


def class_object(plain: placement.PlacementClass) -> QPUClass:
    """Makes the object of a class, with everything spelled out; its shape has no field there."""
    wanted = plain.requirements
    requirements = RequirementsSpec(
        min_qubits=wanted.min_qubits,
        max_median_two_qubit_error=wanted.max_median_two_qubit_error,
        max_median_readout_error=wanted.max_median_readout_error,
        max_eplg=wanted.max_eplg,
        max_calibration_age=_duration(wanted.max_calibration_age_seconds),
        max_estimated_wait=_duration(wanted.max_estimated_wait_seconds),
        providers=tuple(sorted(wanted.providers)),
        simulators=wanted.simulators,
        selector=LabelSelector(
            match_labels=dict(wanted.selector),
            match_expressions=tuple(
                LabelSelectorRequirement(
                    key=item.key,
                    operator=item.operator,
                    values=tuple(sorted(item.values)),
                )
                for item in wanted.selector_expressions
            ),
        ),
    )
    weights = WeightsSpec(
        wait=plain.weights.wait,
        fidelity=plain.weights.fidelity,
        freshness=plain.weights.freshness,
        utilisation=plain.weights.utilisation,
    )
    return QPUClass(
        metadata=ObjectMeta(name=plain.name),
        spec=QPUClassSpec(requirements=requirements, weights=weights),
    )


def summarise(spec: QPUSpec, status: QPUStatus) -> Summary:
    """Makes the texts that `kubectl get` shows."""
    held = sum(node.held for node in status.nodes)
    return Summary(
        wait=shorten_seconds(status.queue.estimated_wait_seconds), slots=f"{held}/{spec.slots}"
    )


def shorten_seconds(seconds: float) -> str:
    """Writes a time in its largest unit that leaves two digits or more: 45s, 12m, 30h, 4d."""
    for unit, size, limit in (("s", 1, 120), ("m", 60, 120), ("h", 3600, 72)):
        if round(seconds / size) < limit:
            return f"{round(seconds / size)}{unit}"
    return f"{min(round(seconds / 86_400), 99_999)}d"


def _seconds(duration: timedelta | None) -> float | None:
    return None if duration is None else duration.total_seconds()


def _duration(seconds: float | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)
