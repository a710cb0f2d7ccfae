"""Running rows of a sampler's job."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from qiskit_aer import AerSimulator

from kubeqpu.proto.v1 import gateway_pb2
from kubeqpu.qpu_gateway.providers.base import Span
from kubeqpu.qpu_gateway.seeds import row_seeds
from kubeqpu.qpu_gateway.simulation.engine import CompiledSampler, Engine
from kubeqpu.qpu_gateway.simulation.jobs import LoadedJob
from kubeqpu.qpu_gateway.simulation.programs import Saved
from kubeqpu.qpu_gateway.simulation.results import bits_result, counts_result
from kubeqpu.qpu_gateway.simulation.sampling import row_generator
from kubeqpu.qpu_gateway.simulation.simulators import BoundCircuit, run_saved
from kubeqpu.qpu_gateway.simulation.spans import group_spans


def run_sampler(
    job: LoadedJob, engine: Engine, engine_key: str, spans: Sequence[Span]
) -> Iterator[gateway_pb2.ResultChunk]:
    """Samples spans and yields their results as they finish.

    Raises:
        CircuitError: If a circuit cannot run.
    """

    def compiled(entry: int) -> CompiledSampler:
        template, shots = job.template(entry), int(job.shots(entry).max())
        return job.compiled(
            (engine_key, "sampler", template, shots),
            lambda: engine.compile_sampler(job, template, shots),
        )

    for group in group_spans(spans, lambda entry: compiled(entry).program.cost):
        programs = [compiled(span.entry) for span in group]
        requests = [
            (sampler.program.backend, sampler.program.circuits(_values(job, span)))
            for sampler, span in zip(programs, group, strict=True)
        ]
        for sampler, span, saved in zip(programs, group, run_together(requests), strict=True):
            yield _chunk(job, sampler, span, saved)


def run_together(
    requests: Sequence[tuple[AerSimulator, list[BoundCircuit]]],
) -> list[Saved]:
    """Runs circuits of several requests in one call per simulator.

    Returns:
        For each request what its circuits saved.
    """
    backends = {id(backend): backend for backend, _ in requests}
    results: dict[int, Saved] = {
        key: run_saved(
            backend,
            [bound for other, circuits in requests if other is backend for bound in circuits],
        )
        for key, backend in backends.items()
    }
    taken = dict.fromkeys(backends, 0)
    shared: list[Saved] = []
    for backend, circuits in requests:
        start = taken[id(backend)]
        taken[id(backend)] = start + len(circuits)
        shared.append(results[id(backend)][start : start + len(circuits)])
    return shared


def _values(job: LoadedJob, span: Span) -> NDArray[np.float64]:
    return job.values(span.entry)[span.first_row : span.first_row + span.rows]


def _chunk(
    job: LoadedJob, sampler: CompiledSampler, span: Span, saved: Saved
) -> gateway_pb2.ResultChunk:
    seeds = row_seeds(job.spec.seed, span.entry, span.first_row, span.rows)
    shots = job.shots(span.entry)[span.first_row : span.first_row + span.rows].tolist()
    generators = [row_generator(int(seed)) for seed in seeds]
    rows = sampler.program.histograms(saved, _values(job, span), shots, generators)
    chunk = gateway_pb2.ResultChunk(
        entry=span.entry, first_row=span.first_row, rows=span.rows, execution=sampler.execution
    )
    if job.spec.sampler.format == gateway_pb2.RESULT_FORMAT_BITS:
        chunk.bits.CopyFrom(bits_result(rows, seeds, sampler.circuit))
    else:
        chunk.counts.CopyFrom(counts_result(rows, sampler.circuit.num_clbits))
    return chunk
