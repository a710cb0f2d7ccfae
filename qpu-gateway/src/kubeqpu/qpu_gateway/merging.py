"""Identical rows of a job: found, run once, and their results copied. Pure; no I/O.

It happens only where the caller asked (`merge_identical`): rows that share a result are fully
correlated.
"""

from collections.abc import Iterable, Mapping, Sequence

from kubeqpu.proto.v1 import gateway_pb2
from kubeqpu.qpu_gateway.jobs import entry_rows
from kubeqpu.qpu_gateway.providers.base import Span

Row = tuple[int, int]


def find_copies(spec: gateway_pb2.JobSpec) -> dict[Row, list[Row]]:
    """Finds rows that repeat an earlier one.

    Rows are identical if template, parameter values (bit by bit) and shots are; of an estimator
    job, if template, values, precision and the observables evaluated are.

    Args:
        spec: A validated job.

    Returns:
        For each row that is repeated later, those repetitions, as (entry, row).
    """
    first_seen: dict[tuple[object, ...], Row] = {}
    copies: dict[Row, list[Row]] = {}
    for entry, key_of in enumerate(_key_functions(spec)):
        for row in range(entry_rows(spec)[entry]):
            original = first_seen.setdefault(key_of(row), (entry, row))
            if original != (entry, row):
                copies.setdefault(original, []).append((entry, row))
    return copies


def join_rows(rows: Iterable[Row]) -> list[Span]:
    """Joins rows into spans; rows that follow one another within an entry share one."""
    spans: list[Span] = []
    for entry, row in sorted(rows):
        last = spans[-1] if spans else None
        if last is not None and last.entry == entry and last.first_row + last.rows == row:
            spans[-1] = Span(entry, last.first_row, last.rows + 1)
        else:
            spans.append(Span(entry, row, 1))
    return spans


def copy_results(
    spec: gateway_pb2.JobSpec,
    chunk: gateway_pb2.ResultChunk,
    copies: Mapping[Row, Sequence[Row]],
) -> list[gateway_pb2.ResultChunk]:
    """Copies a chunk's results to the rows that repeat its rows.

    Args:
        spec: The job.
        chunk: Results of rows that ran.
        copies: What `find_copies` returned.

    Returns:
        Chunks of the repeating rows; none if nothing repeats the chunk's rows.
    """
    sources = {
        copy: offset
        for offset in range(chunk.rows)
        for copy in copies.get((chunk.entry, chunk.first_row + offset), ())
    }
    if not sources:
        return []
    rows = _Rows(spec, chunk)
    return [
        rows.assemble(span, [sources[span.entry, span.first_row + i] for i in range(span.rows)])
        for span in join_rows(sources)
    ]


def _key_functions(spec: gateway_pb2.JobSpec) -> Iterable["_Key"]:
    if spec.HasField("sampler"):
        for entry in spec.sampler.entries:
            yield _Key(entry.template, entry.parameters, list(entry.shots), [()])
    else:
        for item in spec.estimator.entries:
            observables = [o.SerializeToString(deterministic=True) for o in item.observables]
            per_row = [tuple(observables[i] for i in row) for row in pairs_by_row(item)]
            yield _Key(item.template, item.parameters, [item.precision], per_row)


class _Key:
    """What makes a row of one entry the same as another."""

    def __init__(
        self,
        template: int,
        parameters: gateway_pb2.ParameterArray,
        efforts: Sequence[float],
        observables: Sequence[tuple[bytes, ...]],
    ) -> None:
        self._template = template
        self._width = parameters.columns * 8
        self._values = parameters.values
        self._efforts = efforts
        self._observables = observables

    def __call__(self, row: int) -> tuple[object, ...]:
        values = self._values[row * self._width : (row + 1) * self._width]
        effort = self._efforts[row if len(self._efforts) > 1 else 0]
        observables = self._observables[row if len(self._observables) > 1 else 0]
        return self._template, values, effort, observables


def pairs_by_row(entry: gateway_pb2.EstimatorEntry) -> list[list[int]]:
    """Gives the observables evaluated on each row, in the order of the entry's pairs."""
    rows = entry.parameters.rows
    if not entry.pairs:
        return [list(range(len(entry.observables)))] * rows
    found: list[list[int]] = [[] for _ in range(rows)]
    for row, observable in zip(entry.pairs[::2], entry.pairs[1::2], strict=True):
        found[row].append(observable)
    return found


class _Rows:
    """A chunk taken apart into rows, from which other chunks are assembled."""

    def __init__(self, spec: gateway_pb2.JobSpec, chunk: gateway_pb2.ResultChunk) -> None:
        self._spec = spec
        self._chunk = chunk

    def assemble(self, span: Span, offsets: Sequence[int]) -> gateway_pb2.ResultChunk:
        """Makes the chunk of a span from rows of the original, given by their offsets."""
        chunk = gateway_pb2.ResultChunk(
            entry=span.entry,
            first_row=span.first_row,
            rows=span.rows,
            execution=self._chunk.execution,
        )
        kind = self._chunk.WhichOneof("results")
        if kind == "bits":
            self._copy_bits(chunk.bits, offsets)
        elif kind == "counts":
            chunk.counts.num_clbits = self._chunk.counts.num_clbits
            chunk.counts.rows.extend(self._chunk.counts.rows[offset] for offset in offsets)
        else:
            self._copy_expectation(chunk.expectation, span, offsets)
        return chunk

    def _copy_bits(self, target: gateway_pb2.BitsResult, offsets: Sequence[int]) -> None:
        source = self._chunk.bits
        starts = [0]
        for shots in source.shots:
            starts.append(starts[-1] + shots)
        target.shots.extend(source.shots[offset] for offset in offsets)
        for register in source.registers:
            width = -(-register.num_bits // 8)
            parts = [
                register.data[starts[offset] * width : starts[offset + 1] * width]
                for offset in offsets
            ]
            target.registers.add(
                name=register.name, num_bits=register.num_bits, data=b"".join(parts)
            )

    def _copy_expectation(
        self, target: gateway_pb2.ExpectationResult, span: Span, offsets: Sequence[int]
    ) -> None:
        source = self._chunk.expectation
        positions = _positions(
            self._spec, self._chunk.entry, self._chunk.first_row, self._chunk.rows
        )
        wanted = _positions(self._spec, span.entry, span.first_row, span.rows)
        size = sum(len(row) for row in wanted)
        values, variances = [0.0] * size, [0.0] * size
        for row, offset in zip(wanted, offsets, strict=True):
            for to, of in zip(row, positions[offset], strict=True):
                values[to] = source.values[of]
                variances[to] = source.variances[of]
        target.values.extend(values)
        target.variances.extend(variances)
        target.shots.extend(source.shots[offset] for offset in offsets)


def _positions(spec: gateway_pb2.JobSpec, entry: int, first_row: int, rows: int) -> list[list[int]]:
    """Finds where in a chunk's list of values those of each of its rows stand."""
    item = spec.estimator.entries[entry]
    found: list[list[int]] = [[] for _ in range(rows)]
    if not item.pairs:
        width = len(item.observables)
        return [list(range(row * width, (row + 1) * width)) for row in range(rows)]
    position = 0
    for row in item.pairs[::2]:
        if first_row <= row < first_row + rows:
            found[row - first_row].append(position)
            position += 1
    return found
