"""PUBs to entries of a job, and back: pure functions on arrays."""

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.sampler_pub import SamplerPub
from qiskit.quantum_info import SparseObservable, SparsePauliOp

from kubeqpu.client.requests import EstimatorEntry
from kubeqpu.client.results import EntryResult, JobResult

JsonObject = dict[str, object]


def share_templates(
    pubs: Sequence[SamplerPub] | Sequence[EstimatorPub],
) -> tuple[list[QuantumCircuit], list[int]]:
    """Lists each circuit once: PUBs with the same circuit object are transpiled once.

    Returns:
        The circuits, and the index of each PUB's circuit among them.
    """
    places: dict[int, int] = {}
    circuits: list[QuantumCircuit] = []
    for pub in pubs:
        if places.setdefault(id(pub.circuit), len(circuits)) == len(circuits):
            circuits.append(pub.circuit)
    return circuits, [places[id(pub.circuit)] for pub in pubs]


def flatten_parameters(pub: SamplerPub | EstimatorPub) -> NDArray[np.float64]:
    """Returns the parameter values as (rows, columns): rows row-major over the values' shape.

    Columns follow `QuantumCircuit.parameters`.
    """
    values = np.asarray(pub.parameter_values.as_array(pub.circuit.parameters), dtype=np.float64)
    return values.reshape(pub.parameter_values.size, pub.circuit.num_parameters)


def write_entry(pub: EstimatorPub, template: int) -> tuple[EstimatorEntry, NDArray[np.intp]]:
    """Makes the entry of an estimator PUB.

    Broadcasting stretches each axis of parameter values or observables at most once, so no pair
    of row and observable occurs twice.

    Returns:
        The entry, and where its values belong: value i at flat index `places[i]` of the PUB.
    """
    values, observables = pub.parameter_values, pub.observables
    rows = np.broadcast_to(np.arange(values.size).reshape(values.shape), pub.shape).ravel()
    columns = np.broadcast_to(
        np.arange(observables.size).reshape(observables.shape), pub.shape
    ).ravel()
    places = np.lexsort((columns, rows))
    every = pub.size == values.size * observables.size
    entry = EstimatorEntry(
        observables=[
            write_paulis(found) for found in observables.ravel().sparse_observables_array()
        ],
        parameters=flatten_parameters(pub),
        precision=pub.precision,
        pairs=None if every else np.stack([rows[places], columns[places]], axis=1),
        template=template,
    )
    return entry, places


def write_paulis(observable: SparseObservable) -> dict[str, float]:
    """Expands an observable, projectors included, into Pauli strings with real coefficients."""
    terms: dict[str, float] = {}
    operator = SparsePauliOp.from_sparse_observable(observable.as_paulis())
    for label, coefficient in operator.to_list():
        terms[label] = terms.get(label, 0.0) + float(np.real(coefficient))
    return terms


def place(
    values: NDArray[np.float64], places: NDArray[np.intp], shape: tuple[int, ...]
) -> NDArray[np.float64]:
    """Puts the values of an entry into the PUB's shape."""
    placed = np.empty(len(values), dtype=np.float64)
    placed[places] = values
    return placed.reshape(shape)


def describe_run(result: JobResult) -> JsonObject:
    """Tells which job gave a result, for its metadata."""
    record = result.record
    return {
        "job_id": record.id,
        "qpu": record.qpu,
        "seed": record.seed,
        "qpu_seconds": record.qpu_seconds,
    }


def provenance(entry: EntryResult) -> JsonObject:
    """Tells where and how the rows of a PUB were executed, for its metadata."""
    found = [{"first_row": row, **asdict(execution)} for row, execution in entry.executions]
    return {"executions": found}
