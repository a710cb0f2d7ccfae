"""Running rows of an estimator's job."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kubeqpu.proto.v1 import gateway_pb2
from kubeqpu.qpu_gateway.providers.base import Span
from kubeqpu.qpu_gateway.seeds import row_seeds
from kubeqpu.qpu_gateway.simulation.engine import CompiledExpectation, CompiledSampler, Engine
from kubeqpu.qpu_gateway.simulation.jobs import LoadedJob
from kubeqpu.qpu_gateway.simulation.observables import GroupedObservables, group_observables
from kubeqpu.qpu_gateway.simulation.programs import Saved
from kubeqpu.qpu_gateway.simulation.sampler import run_together
from kubeqpu.qpu_gateway.simulation.sampling import row_generator, unpack_bits
from kubeqpu.qpu_gateway.simulation.simulators import run_saved
from kubeqpu.qpu_gateway.simulation.spans import group_spans
from kubeqpu.qpu_gateway.simulation.suffixes import basis_suffix

# Fewer shots have no variance to report.
_MIN_SHOTS = 2


@dataclass(frozen=True)
class _RowEstimates:
    """Of shape (rows, observables), (rows, observables) and (rows,)."""

    values: NDArray[np.float64]
    variances: NDArray[np.float64]
    shots: NDArray[np.int64]


def run_estimator(
    job: LoadedJob, engine: Engine, engine_key: str, spans: Sequence[Span]
) -> Iterator[gateway_pb2.ResultChunk]:
    """Estimates spans and yields their results as they finish.

    With `exact`, values are those of the state and variances 0. Otherwise every group of strings
    that commute qubit by qubit is sampled with ceil(1 / precision²) shots, so that a Pauli string
    has a standard error of at most the precision.

    Raises:
        CircuitError: If a circuit cannot run.
    """
    runner = _Exact(job, engine, engine_key)
    sampled = _Sampled(job, engine, engine_key)
    exact = job.spec.estimator.exact
    cost = runner.row_cost if exact else sampled.row_cost
    for group in group_spans(spans, cost):
        for span in group:
            values = job.values(span.entry)[span.first_row : span.first_row + span.rows]
            if exact:
                estimates, execution = runner.run(span, values)
            else:
                estimates, execution = sampled.run(span, values)
            yield _chunk(job, span, estimates, execution)


class _Exact:
    """Expectation values of the state itself."""

    def __init__(self, job: LoadedJob, engine: Engine, engine_key: str) -> None:
        self._job, self._engine, self._key = job, engine, engine_key

    def row_cost(self, entry: int) -> int:
        return self._compiled(entry).program.cost

    def run(
        self, span: Span, values: NDArray[np.float64]
    ) -> tuple[_RowEstimates, gateway_pb2.Execution]:
        compiled = self._compiled(span.entry)
        program = compiled.program
        found = program.expectation_values(run_saved(program.backend, program.circuits(values)))
        zeros = np.zeros_like(found)
        return _RowEstimates(found, zeros, np.zeros(span.rows, np.int64)), compiled.execution

    def _compiled(self, entry: int) -> CompiledExpectation:
        job, template = self._job, self._job.template(entry)
        observables = list(job.spec.estimator.entries[entry].observables)
        return job.compiled(
            (self._key, "expectation", entry),
            lambda: self._engine.compile_expectation(job, template, observables),
        )


class _Sampled:
    """Expectation values from shots."""

    def __init__(self, job: LoadedJob, engine: Engine, engine_key: str) -> None:
        self._job, self._engine, self._key = job, engine, engine_key

    def row_cost(self, entry: int) -> int:
        return sum(sampler.program.cost for sampler in self._samplers(entry))

    def run(
        self, span: Span, values: NDArray[np.float64]
    ) -> tuple[_RowEstimates, gateway_pb2.Execution]:
        grouped, samplers = self._grouped(span.entry), self._samplers(span.entry)
        requests = [(one.program.backend, one.program.circuits(values)) for one in samplers]
        estimates = _RowEstimates(
            np.tile(grouped.constants, (span.rows, 1)),
            np.zeros((span.rows, len(grouped.constants))),
            np.zeros(span.rows, np.int64),
        )
        wanted = _wanted_observables(self._job.spec.estimator.entries[span.entry], span)
        for index, saved in enumerate(run_together(requests)):
            self._add_group(estimates, span, index, saved, wanted)
        return estimates, samplers[0].execution if samplers else gateway_pb2.Execution()

    def _add_group(
        self,
        estimates: _RowEstimates,
        span: Span,
        index: int,
        saved: Saved,
        wanted: NDArray[np.bool_],
    ) -> None:
        """Samples one group in the rows that want one of its observables."""
        group = self._grouped(span.entry).groups[index]
        sampler = self._samplers(span.entry)[index]
        needed = wanted @ group.weights.any(axis=1)
        (rows,) = np.nonzero(needed)
        seeds = row_seeds(self._job.spec.seed, span.entry, span.first_row, span.rows)[rows]
        generators = [row_generator(int(seed), index) for seed in seeds]
        values = self._job.values(span.entry)[span.first_row : span.first_row + span.rows][rows]
        shots = self._shots(span.entry)
        chosen = [[branch[row] for row in rows] for branch in saved]
        histograms = sampler.program.histograms(chosen, values, [shots] * len(rows), generators)
        for row, histogram in zip(rows, histograms, strict=True):
            bits = unpack_bits(histogram.outcomes, sampler.circuit.num_clbits)
            means, variances = group.estimate(bits[:, : len(group.bases)], histogram.counts)
            estimates.values[row] += means
            # Groups are measured in different shots: their errors are independent.
            estimates.variances[row] += variances
            estimates.shots[row] += shots

    def _shots(self, entry: int) -> int:
        precision = self._job.spec.estimator.entries[entry].precision
        # A relative margin, so that 1 / 0.1² counts as 100 and not 101.
        return max(_MIN_SHOTS, math.ceil(precision**-2 * (1 - 1e-12)))

    def _grouped(self, entry: int) -> GroupedObservables:
        observables = self._job.spec.estimator.entries[entry].observables
        return self._job.compiled(("groups", entry), lambda: group_observables(observables))

    def _samplers(self, entry: int) -> list[CompiledSampler]:
        job, template = self._job, self._job.template(entry)
        width, shots = job.circuits[template].num_qubits, self._shots(entry)

        def compile_groups() -> list[CompiledSampler]:
            return [
                self._engine.compile_sampler(job, template, shots, basis_suffix(width, group.bases))
                for group in self._grouped(entry).groups
            ]

        return job.compiled((self._key, "groups", entry), compile_groups)


def _pairs(entry: gateway_pb2.EstimatorEntry, span: Span) -> list[tuple[int, int]]:
    """Pairs of (row within the span, observable) to report, in the entry's order."""
    if not entry.pairs:
        return [(row, index) for row in range(span.rows) for index in range(len(entry.observables))]
    flat = list(entry.pairs)
    end = span.first_row + span.rows
    return [
        (row - span.first_row, observable)
        for row, observable in zip(flat[::2], flat[1::2], strict=True)
        if span.first_row <= row < end
    ]


def _wanted_observables(entry: gateway_pb2.EstimatorEntry, span: Span) -> NDArray[np.bool_]:
    wanted = np.zeros((span.rows, len(entry.observables)), dtype=np.bool_)
    for row, observable in _pairs(entry, span):
        wanted[row, observable] = True
    return wanted


def _chunk(
    job: LoadedJob, span: Span, estimates: _RowEstimates, execution: gateway_pb2.Execution
) -> gateway_pb2.ResultChunk:
    pairs = _pairs(job.spec.estimator.entries[span.entry], span)
    return gateway_pb2.ResultChunk(
        entry=span.entry,
        first_row=span.first_row,
        rows=span.rows,
        expectation=gateway_pb2.ExpectationResult(
            values=[float(estimates.values[pair]) for pair in pairs],
            variances=[float(estimates.variances[pair]) for pair in pairs],
            shots=estimates.shots.tolist(),
        ),
        execution=execution,
    )
