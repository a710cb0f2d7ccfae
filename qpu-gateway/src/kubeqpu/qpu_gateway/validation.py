"""Whether a job is well-formed: what can be told from the request and its circuits alone. Pure."""

import math
from collections.abc import Sequence

import numpy as np

from kubeqpu.proto.v1 import gateway_pb2
from kubeqpu.qpu_gateway.circuits import CircuitSummary
from kubeqpu.qpu_gateway.errors import (
    CircuitError,
    InvalidRequestError,
    ResourceExhaustedError,
)
from kubeqpu.qpu_gateway.jobs import entry_rows
from kubeqpu.qpu_gateway.settings import Limits

MAX_KEY_CHARACTERS = 128
_PAULIS = frozenset("IXYZ")
# Rows of float64 in little-endian order, as ParameterArray holds them.
_FLOAT64 = np.dtype("<f8")


def check_request(request: gateway_pb2.SubmitJobRequest, limits: Limits) -> None:
    """Checks everything that can be told without loading the circuits.

    Raises:
        InvalidRequestError: If something is missing or malformed.
        ResourceExhaustedError: If the job is larger than a limit.
    """
    _check_key(request.idempotency_key)
    spec = request.spec
    if not (spec.qpu or spec.qpu_class):
        raise InvalidRequestError("The job names no target; set `qpu` or `qpu_class`.")
    _check_sizes(spec, limits)
    if spec.WhichOneof("kind") == "sampler":
        _check_sampler(spec.sampler, limits)
    elif spec.WhichOneof("kind") == "estimator":
        _check_estimator(spec.estimator, limits)
    else:
        raise InvalidRequestError("The job has no kind; set `sampler` or `estimator`.")
    rows = sum(entry_rows(spec))
    if rows > limits.max_job_circuits:
        raise ResourceExhaustedError(
            f"The job has {rows} circuits and may have {limits.max_job_circuits}; divide it into "
            "several jobs."
        )
    _check_ttl(spec, limits)


def check_circuits(spec: gateway_pb2.JobSpec, summaries: Sequence[CircuitSummary]) -> None:
    """Checks a well-formed request against the circuits it carries.

    Raises:
        CircuitError: If a circuit cannot be used for this kind of job.
        InvalidRequestError: If the request does not fit its circuits.
    """
    if spec.HasField("sampler"):
        for index, entry in enumerate(spec.sampler.entries):
            summary = _template_of(summaries, index, entry.template)
            _check_columns(summary, index, entry.template, entry.parameters)
            _check_measures(summary, entry.template)
        return
    for index, item in enumerate(spec.estimator.entries):
        summary = _template_of(summaries, index, item.template)
        _check_columns(summary, index, item.template, item.parameters)
        if summary.measured_clbits:
            raise CircuitError(
                f"Circuit {item.template} measures, and an estimator job measures its observables "
                "itself; remove the measurements or submit a sampler job."
            )
        for number, observable in enumerate(item.observables):
            _check_width(summary, observable, f"Observable {number} of entry {index}")


def check_ttl_seconds(seconds: float, limits: Limits) -> None:
    """Checks how long a caller wants something kept.

    Raises:
        InvalidRequestError: If it is not positive or too long.
    """
    if not 0 < seconds <= limits.max_ttl_seconds:
        raise InvalidRequestError(
            f"The ttl is {seconds:g} s; expected more than 0 and at most "
            f"{limits.max_ttl_seconds:g} s."
        )


def _check_key(key: str) -> None:
    if not key or key != key.strip() or not key.isprintable():
        raise InvalidRequestError(
            f"The idempotency key {key!r} is empty, has spaces around it or cannot be printed; "
            "choose one that is unique per job, such as a UUID."
        )
    if len(key) > MAX_KEY_CHARACTERS:
        raise InvalidRequestError(
            f"The idempotency key has {len(key)} characters; at most {MAX_KEY_CHARACTERS} are "
            "allowed."
        )


def _check_sizes(spec: gateway_pb2.JobSpec, limits: Limits) -> None:
    if not spec.circuits:
        raise InvalidRequestError("The job has no circuits; put them into `circuits` as QPY.")
    if len(spec.circuits) > limits.max_circuit_bytes:
        raise ResourceExhaustedError(
            f"The circuits take {len(spec.circuits)} bytes and may take "
            f"{limits.max_circuit_bytes}; use templates with parameter arrays, or divide the job."
        )


def _check_ttl(spec: gateway_pb2.JobSpec, limits: Limits) -> None:
    if spec.HasField("result_ttl"):
        check_ttl_seconds(spec.result_ttl.seconds + spec.result_ttl.nanos / 1e9, limits)


def _check_sampler(sampler: gateway_pb2.SamplerSpec, limits: Limits) -> None:
    if not sampler.entries:
        raise InvalidRequestError("The job is empty; give it at least one entry.")
    if sampler.format not in (gateway_pb2.RESULT_FORMAT_BITS, gateway_pb2.RESULT_FORMAT_COUNTS):
        raise InvalidRequestError(
            f"The result format is {sampler.format}; choose RESULT_FORMAT_BITS or "
            "RESULT_FORMAT_COUNTS."
        )
    total = 0
    for index, entry in enumerate(sampler.entries):
        _check_parameters(entry.parameters, index)
        rows = entry.parameters.rows
        if len(entry.shots) not in (1, rows):
            raise InvalidRequestError(
                f"Entry {index} gives {len(entry.shots)} numbers of shots for {rows} rows; give "
                "one for all rows, or one per row."
            )
        if 0 in entry.shots:
            raise InvalidRequestError(f"Entry {index} asks for 0 shots; ask for at least 1.")
        total += sum(entry.shots) * (rows if len(entry.shots) == 1 else 1)
    if total > limits.max_job_shots:
        raise ResourceExhaustedError(
            f"The job asks for {total} shots in all and may ask for {limits.max_job_shots}; ask "
            "for fewer, or divide it into several jobs."
        )


def _check_estimator(estimator: gateway_pb2.EstimatorSpec, limits: Limits) -> None:
    if not estimator.entries:
        raise InvalidRequestError("The job is empty; give it at least one entry.")
    terms = 0
    for index, entry in enumerate(estimator.entries):
        _check_parameters(entry.parameters, index)
        if not estimator.exact and not (math.isfinite(entry.precision) and entry.precision > 0):
            raise InvalidRequestError(
                f"Entry {index} has precision {entry.precision:g}; expected a positive standard "
                "error, or `exact`."
            )
        if not entry.observables:
            raise InvalidRequestError(f"Entry {index} has no observable; give it at least one.")
        for number, observable in enumerate(entry.observables):
            _check_observable(observable, f"Observable {number} of entry {index}")
            terms += len(observable.terms)
        _check_pairs(entry, index)
    if terms > limits.max_pauli_terms:
        raise ResourceExhaustedError(
            f"The job has {terms} Pauli terms and may have {limits.max_pauli_terms}; divide it."
        )


def _check_parameters(parameters: gateway_pb2.ParameterArray, entry: int) -> None:
    rows, columns = parameters.rows, parameters.columns
    if rows < 1:
        raise InvalidRequestError(
            f"Entry {entry} has no rows; a circuit without parameters has rows 1 and columns 0."
        )
    if len(parameters.values) != rows * columns * 8:
        raise InvalidRequestError(
            f"Entry {entry} has {len(parameters.values)} bytes of parameter values; {rows} rows of "
            f"{columns} float64 take {rows * columns * 8}."
        )
    if not np.isfinite(np.frombuffer(parameters.values, _FLOAT64)).all():
        raise InvalidRequestError(
            f"Entry {entry} has a parameter value that is NaN or infinite; give finite values."
        )


def _check_observable(observable: gateway_pb2.Observable, name: str) -> None:
    if not observable.terms:
        raise InvalidRequestError(f"{name} has no terms; give it at least one Pauli string.")
    for term in observable.terms:
        if not term.pauli or not _PAULIS.issuperset(term.pauli):
            raise InvalidRequestError(
                f"{name} has the Pauli string {term.pauli[:80]!r}; expected letters I, X, Y and Z, "
                "one per qubit."
            )
        if not math.isfinite(term.coefficient):
            raise InvalidRequestError(
                f"{name} has a coefficient that is NaN or infinite; give finite numbers."
            )


def _check_pairs(entry: gateway_pb2.EstimatorEntry, index: int) -> None:
    if len(entry.pairs) % 2:
        raise InvalidRequestError(
            f"Entry {index} has {len(entry.pairs)} numbers in `pairs`; expected pairs of row and "
            "observable, flattened."
        )
    rows, observables = entry.parameters.rows, len(entry.observables)
    if not entry.pairs:
        return
    row, observable = max(entry.pairs[::2]), max(entry.pairs[1::2])
    if row >= rows or observable >= observables:
        raise InvalidRequestError(
            f"Entry {index} pairs row {row} with observable {observable} at most, but has {rows} "
            f"rows and {observables} observables, counted from 0."
        )


def _template_of(summaries: Sequence[CircuitSummary], entry: int, template: int) -> CircuitSummary:
    if template < len(summaries):
        return summaries[template]
    raise InvalidRequestError(
        f"Entry {entry} uses circuit {template}, but the job has {len(summaries)} circuits, "
        "counted from 0."
    )


def _check_columns(
    summary: CircuitSummary, entry: int, template: int, parameters: gateway_pb2.ParameterArray
) -> None:
    if parameters.columns != summary.num_parameters:
        raise InvalidRequestError(
            f"Entry {entry} gives {parameters.columns} values per row, but circuit {template} has "
            f"{summary.num_parameters} parameters; give one value for each."
        )


def _check_measures(summary: CircuitSummary, template: int) -> None:
    if not summary.num_clbits:
        raise CircuitError(
            f"Circuit {template} has no classical bits, so sampling it gives nothing; add "
            "measurements (`measure_all`) or submit an estimator job."
        )
    if not summary.measured_clbits:
        raise CircuitError(
            f"Circuit {template} measures nothing; add measurements or submit an estimator job."
        )


def _check_width(summary: CircuitSummary, observable: gateway_pb2.Observable, name: str) -> None:
    for term in observable.terms:
        if len(term.pauli) != summary.num_qubits:
            raise InvalidRequestError(
                f"{name} acts on {len(term.pauli)} qubits, but its circuit has "
                f"{summary.num_qubits}; give one letter per qubit."
            )
