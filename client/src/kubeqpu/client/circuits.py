"""Circuits to the payload of a job; Qiskit is imported only when one is made."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kubeqpu.client import errors

if TYPE_CHECKING:
    from qiskit import QuantumCircuit

# What gateways read: older versions have had code-execution flaws, newer ones are unknown to them.
OLDEST_QPY = 13
NEWEST_QPY = 18


def circuits_to_qpy(circuits: "QuantumCircuit | Sequence[QuantumCircuit]") -> bytes:
    """Writes circuits as one QPY payload, the templates of a job in their order.

    Metadata of the circuits stays here: it need not be JSON, and providers need not see it.

    Args:
        circuits: One circuit or several.

    Raises:
        InvalidRequestError: If something is no circuit, cannot be written as QPY, or Qiskit is
            missing.
    """
    try:
        from qiskit import QuantumCircuit, qpy  # noqa: PLC0415
    except ImportError as error:
        raise errors.InvalidRequestError(
            "Writing circuits needs Qiskit: install kubeqpu-client[qiskit], or give QPY bytes."
        ) from error

    listed = [circuits] if isinstance(circuits, QuantumCircuit) else list(circuits)
    if not listed:
        raise errors.InvalidRequestError("There are no circuits to write; give at least one.")
    for index, circuit in enumerate(listed):
        if not isinstance(circuit, QuantumCircuit):
            raise errors.InvalidRequestError(
                f"Item {index} is a {type(circuit).__name__}; expected a QuantumCircuit."
            )
    buffer = io.BytesIO()
    version = min(qpy.common.QPY_VERSION, NEWEST_QPY)
    try:
        qpy.dump([_without_metadata(found) for found in listed], buffer, version=version)
    except (qpy.QpyError, TypeError) as error:
        raise errors.InvalidRequestError(
            f"The circuits cannot be written as QPY {version}: {error}"
        ) from error
    return buffer.getvalue()


def _without_metadata(circuit: "QuantumCircuit") -> "QuantumCircuit":
    if not circuit.metadata:
        return circuit
    bare = circuit.copy()
    bare.metadata = {}
    return bare
