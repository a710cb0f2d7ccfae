"""What a job asks for, as plain data, and how it is written for the wire.

A job holds templates (circuits) as one QPY payload and entries: a template with rows of parameter
values. One row is one circuit to run. Arrays go to the wire as bytes, without loops over rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

import numpy as np
from google.protobuf import duration_pb2
from numpy.typing import ArrayLike

from kubeqpu.client import errors
from kubeqpu.client.observables import Observable, write_observable
from kubeqpu.client.options import Options, check_range
from kubeqpu.proto.v1 import gateway_pb2


class ResultFormat(Enum):
    """What a sampler job returns."""

    BITS = gateway_pb2.RESULT_FORMAT_BITS
    COUNTS = gateway_pb2.RESULT_FORMAT_COUNTS


@dataclass(frozen=True, eq=False)
class SamplerEntry:
    """A template to sample.

    Attributes:
        shots: One number for all rows, or one per row.
        parameters: Values of shape (rows, columns), or (columns,) for one row; columns follow the
            template's `QuantumCircuit.parameters`. None: a template without parameters, run once,
            or once per number in `shots`.
        template: Index of the circuit within the job's QPY payload.
    """

    shots: ArrayLike
    parameters: ArrayLike | None = None
    template: int = 0


@dataclass(frozen=True, eq=False)
class EstimatorEntry:
    """A template whose observables to estimate.

    Attributes:
        observables: What to estimate on every row, or on the rows that `pairs` names.
        parameters: As in `SamplerEntry`.
        precision: Target standard error of each expectation value; not used by exact jobs.
        pairs: Integers of shape (n, 2): (row, observable) to evaluate, rows ascending; None
            evaluates every row with every observable, row-major.
        template: Index of the circuit within the job's QPY payload.
    """

    observables: Sequence[Observable]
    parameters: ArrayLike | None = None
    precision: float = 1 / 64
    pairs: ArrayLike | None = None
    template: int = 0


@dataclass(frozen=True, kw_only=True)
class _Job:
    """What sampler and estimator jobs share.

    Attributes:
        circuits: One QPY payload, version 13 to 18, with every template; see `circuits_to_qpy`.
        qpu: Name of the QPU to run on; neither it nor `qpu_class`: the client's default.
        qpu_class: Name of the class of which the gateway picks a QPU.
        seed: Fixes every row's random numbers, in [0, 2**64); None lets the gateway choose and
            record one.
        options: Transpilation, error suppression and mitigation, execution mode.
        merge_identical: Run identical rows once; their estimates are then fully correlated.
        priority: Higher runs first.
        result_ttl_seconds: How long results are kept; None is the gateway's default.
        detached: Go on when the pod that submitted the job is gone; otherwise a job submitted by
            right of a slot is cancelled some time after.
    """

    circuits: bytes
    qpu: str | None = None
    qpu_class: str | None = None
    seed: int | None = None
    options: Options = field(default_factory=Options)
    merge_identical: bool = False
    priority: int = 0
    result_ttl_seconds: float | None = None
    detached: bool = False


@dataclass(frozen=True, kw_only=True)
class SamplerJob(_Job):
    """Asks for outcomes of measurements.

    Attributes:
        entries: Templates with their parameter values and shots.
        format: Counts over all classical bits, or bits of every shot per register.
    """

    entries: Sequence[SamplerEntry]
    format: ResultFormat = ResultFormat.COUNTS


@dataclass(frozen=True, kw_only=True)
class EstimatorJob(_Job):
    """Asks for expectation values.

    Attributes:
        entries: Templates with their parameter values and observables.
        exact: Without sampling error; refused by everything noisy.
    """

    entries: Sequence[EstimatorEntry]
    exact: bool = False


def write_spec(job: SamplerJob | EstimatorJob, default_qpu: str | None) -> gateway_pb2.JobSpec:
    """Writes a job for the wire.

    Args:
        job: What to run.
        default_qpu: QPU to use when the job names neither a QPU nor a class.

    Raises:
        InvalidRequestError: If the job contradicts itself or cannot be written.
    """
    spec = gateway_pb2.JobSpec(
        circuits=job.circuits,
        options=job.options.to_proto(),
        merge_identical=job.merge_identical,
        detached=job.detached,
        priority=check_range("priority", job.priority, 2**31 - 1, -(2**31)),
    )
    _write_target(spec, job, default_qpu)
    if job.seed is not None:
        spec.seed = check_range("seed", job.seed, 2**64 - 1)
    if job.result_ttl_seconds is not None:
        spec.result_ttl.CopyFrom(write_duration("result_ttl_seconds", job.result_ttl_seconds))
    if not job.entries:
        raise errors.InvalidRequestError("The job has no entries; give at least one.")
    if isinstance(job, SamplerJob):
        spec.sampler.format = job.format.value
        spec.sampler.entries.extend(_write_sampler_entry(entry) for entry in job.entries)
    else:
        spec.estimator.exact = job.exact
        spec.estimator.entries.extend(_write_estimator_entry(entry) for entry in job.entries)
    return spec


def _write_target(spec: gateway_pb2.JobSpec, job: _Job, default_qpu: str | None) -> None:
    if job.qpu and job.qpu_class:
        raise errors.InvalidRequestError(
            f"The job names QPU {job.qpu!r} and class {job.qpu_class!r}; name one of them."
        )
    if job.qpu_class:
        spec.qpu_class = job.qpu_class
    elif job.qpu or default_qpu:
        spec.qpu = job.qpu or default_qpu or ""
    else:
        raise errors.InvalidRequestError(
            "No QPU is named: give the job a `qpu` or `qpu_class`, give the client a default "
            "`qpu`, or set KUBEQPU_QPU (pods that hold a slot have it)."
        )


def write_duration(name: str, seconds: float) -> duration_pb2.Duration:
    """Writes seconds for the wire.

    Raises:
        InvalidRequestError: If they are not positive and finite.
    """
    if not 0 < seconds < 1e10:
        raise errors.InvalidRequestError(
            f"{name} is {seconds}; expected a positive number of seconds."
        )
    whole = int(seconds)
    return duration_pb2.Duration(seconds=whole, nanos=int((seconds - whole) * 1e9))


def _write_sampler_entry(entry: SamplerEntry) -> gateway_pb2.SamplerEntry:
    shots = np.asarray(entry.shots)
    if shots.ndim > 1 or not np.issubdtype(shots.dtype, np.integer) or shots.size == 0:
        raise errors.InvalidRequestError(
            f"Shots are {entry.shots!r}; expected a whole number, or one per row."
        )
    if shots.min() < 1 or shots.max() > 2**32 - 1:
        raise errors.InvalidRequestError(
            f"Shots lie between {shots.min()} and {shots.max()}; expected 1 to 2**32 - 1."
        )
    parameters = _write_parameters(entry.parameters, rows=max(shots.size, 1))
    if shots.ndim == 1 and shots.size != parameters.rows:
        raise errors.InvalidRequestError(
            f"There are {shots.size} numbers of shots for {parameters.rows} rows of parameters; "
            "expected one number, or one per row."
        )
    return gateway_pb2.SamplerEntry(
        template=check_range("template", entry.template, 2**32 - 1),
        parameters=parameters,
        shots=shots.ravel().tolist(),
    )


def _write_estimator_entry(entry: EstimatorEntry) -> gateway_pb2.EstimatorEntry:
    message = gateway_pb2.EstimatorEntry(
        template=check_range("template", entry.template, 2**32 - 1),
        parameters=_write_parameters(entry.parameters, rows=1),
        observables=[write_observable(observable) for observable in entry.observables],
        precision=entry.precision,
    )
    if entry.pairs is not None:
        pairs = np.asarray(entry.pairs)
        _check_pairs(pairs, message.parameters.rows, len(message.observables))
        message.pairs.extend(pairs.ravel().tolist())
    return message


def _write_parameters(parameters: ArrayLike | None, rows: int) -> gateway_pb2.ParameterArray:
    if parameters is None:
        return gateway_pb2.ParameterArray(rows=rows, columns=0)
    values = np.asarray(parameters)
    if values.ndim not in {1, 2} or values.dtype.kind not in "fiu":
        raise errors.InvalidRequestError(
            f"Parameters have shape {values.shape} and type {values.dtype}; expected real numbers "
            "of shape (rows, columns), or (columns,) for one row."
        )
    values = np.atleast_2d(values)
    return gateway_pb2.ParameterArray(
        rows=values.shape[0], columns=values.shape[1], values=values.astype("<f8").tobytes()
    )


def _check_pairs(pairs: np.ndarray, rows: int, observables: int) -> None:
    if pairs.ndim != 2 or pairs.shape[1] != 2 or pairs.dtype.kind not in "iu" or not pairs.size:
        raise errors.InvalidRequestError(
            f"Pairs have shape {pairs.shape} and type {pairs.dtype}; expected integers of shape "
            "(n, 2): row, observable."
        )
    if pairs.min() < 0 or pairs[:, 0].max() >= rows or pairs[:, 1].max() >= observables:
        raise errors.InvalidRequestError(
            f"A pair lies outside {rows} rows and {observables} observables."
        )
    # Chunks arrive per range of rows, so only ascending rows keep values in the order of pairs.
    if np.any(np.diff(pairs[:, 0]) < 0):
        raise errors.InvalidRequestError("The rows of the pairs must ascend; sort the pairs.")
