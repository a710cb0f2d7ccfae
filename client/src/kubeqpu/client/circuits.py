"""Circuits to the payload of a job; Qiskit is imported only when one is made."""

import io
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kubeqpu.client import errors

if TYPE_CHECKING:
    from qiskit import QuantumCircuit

# What gateways read: older versions have had code-execution flaws, newer ones are unknown to them.
OLDEST_QPY = 13
NEWEST_QPY = 18

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "kubeqpu.io")


def circuits_to_qpy(circuits: "QuantumCircuit | Sequence[QuantumCircuit]") -> bytes:
    """Writes circuits as one QPY payload, the templates of a job in their order.

    Only what runs is written: names of circuits and parameters and metadata stay here. So the same
    circuits give the same bytes in every process, and an idempotency key can be used again after a
    restart; gates with expressions of parameters, such as `2 * theta`, are the exception. The order
    of each circuit's parameters stays as it is.

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
        bare = [_strip(found, index) for index, found in enumerate(listed)]
        qpy.dump(bare, buffer, version=version)
    except (qpy.QpyError, TypeError) as error:
        raise errors.InvalidRequestError(
            f"The circuits cannot be written as QPY {version}: {error}"
        ) from error
    return buffer.getvalue()


def _strip(circuit: "QuantumCircuit", index: int) -> "QuantumCircuit":
    from qiskit.circuit import Parameter  # noqa: PLC0415

    bare = circuit.copy(name=f"template-{index}")
    bare.metadata = {}
    if circuit.num_parameters:
        # Padded numbers sort like the parameters they stand for.
        names = [f"p{column:06d}" for column in range(circuit.num_parameters)]
        bare.assign_parameters(
            [Parameter(name, uuid=uuid.uuid5(_NAMESPACE, name)) for name in names], inplace=True
        )
    return bare
