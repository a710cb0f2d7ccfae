"""Reads the client's results as this package's plain data."""

from collections.abc import Callable

import numpy as np

from kubeqpu.client import Counts, EntryResult, JobResult, Target
from kubeqpu.cutting.errors import ExecutionError
from kubeqpu.cutting.executors import ExecutionRecord, SamplerTask
from kubeqpu.cutting.histograms import WORD_BITS, Histogram, ReadoutError


def read_counts(counts: Counts) -> Histogram:
    """Reads counts of the client as a histogram."""
    lengths = np.diff(counts.offsets)
    words = max(1, -(-counts.num_clbits // WORD_BITS))
    padded = np.zeros((len(counts.outcomes), words * 8), dtype=np.uint8)
    padded[:, : counts.outcomes.shape[1]] = counts.outcomes[:, ::-1]
    return Histogram(np.repeat(np.arange(len(lengths)), lengths), padded.view("<u8"), counts.counts)


def read_executions(result: JobResult) -> tuple[ExecutionRecord, ...]:
    """Lists where and how a job was executed, without repetitions."""
    found = {
        ExecutionRecord(item.qpu, item.calibration_id, item.layout, item.method): None
        for entry in result.entries
        for _, item in entry.executions
    }
    return tuple(found)


def read_timing(result: JobResult) -> dict[str, str]:
    """Lists what differs from run to run: the job's id and times."""
    record = result.record
    times = {
        "submitted_at": record.submitted_at,
        "started_at": record.started_at,
        "finished_at": record.finished_at,
    }
    known = {name: time.isoformat() for name, time in times.items() if time is not None}
    return {"job": record.id, **known}


def find_readout_errors(
    task: SamplerTask, template: int, part: EntryResult, target: Callable[[], Target | None]
) -> tuple[ReadoutError, ...]:
    """Looks up the confusion of each classical bit's physical qubit.

    Args:
        task: What ran.
        template: Which of its circuits.
        part: What came back.
        target: Asks for the QPU's target; called only if there are physical qubits.

    Raises:
        ExecutionError: If the confusion is unknown or changed while the task ran.
    """
    layouts = {execution.layout for _, execution in part.executions}
    calibrations = {execution.calibration_id for _, execution in part.executions}
    if len(layouts) > 1 or len(calibrations) > 1:
        raise ExecutionError(
            f"QPU {task.qpu} was calibrated while fragment {task.fragment} ran, so its readout "
            "errors have no single value. Run again."
        )
    layout = layouts.pop()
    qubits = task.measured_qubits[template]
    if not layout:
        return (ReadoutError(0.0, 0.0),) * len(qubits)
    described = target()
    known = described.qubits if described is not None else ()
    errors = []
    for qubit in qubits:
        figures = known[layout[qubit]] if layout[qubit] < len(known) else None
        if figures is None or figures.prob_meas1_prep0 is None or figures.prob_meas0_prep1 is None:
            raise ExecutionError(
                f"QPU {task.qpu} does not tell the readout error of qubit {layout[qubit]}. Run "
                "without readout mitigation."
            )
        errors.append(ReadoutError(figures.prob_meas1_prep0, figures.prob_meas0_prep1))
    return tuple(errors)
