"""Observables as plain data: real combinations of Pauli strings."""

from collections.abc import Mapping

from kubeqpu.client import errors
from kubeqpu.proto.v1 import gateway_pb2

# Pauli string to coefficient, or one string with coefficient 1. The rightmost character acts on
# qubit 0, as in Qiskit.
Observable = Mapping[str, float] | str


def write_observable(observable: Observable) -> gateway_pb2.Observable:
    """Writes an observable for the wire.

    Raises:
        InvalidRequestError: If it has no terms, or a coefficient is not real.
    """
    terms = {observable: 1.0} if isinstance(observable, str) else observable
    if not terms:
        raise errors.InvalidRequestError(
            "An observable has no terms; expected at least one Pauli string with a coefficient."
        )
    try:
        return gateway_pb2.Observable(
            terms=[
                gateway_pb2.PauliTerm(pauli=pauli, coefficient=float(coefficient))
                for pauli, coefficient in terms.items()
            ]
        )
    except TypeError as error:
        raise errors.InvalidRequestError(
            f"Observable {observable!r} is not a real combination of Pauli strings, such as "
            "{'ZZ': 1.0, 'XI': 0.5}: " + str(error)
        ) from error
