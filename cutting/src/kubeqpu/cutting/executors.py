"""The boundary to whatever runs circuits."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from kubeqpu.cutting.histograms import Histogram, ReadoutError
from kubeqpu.cutting.plans import Plan

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Site:
    """Where a fragment will run.

    Attributes:
        qpu: Name of the QPU; empty where there is only one.
        deferred: Whether gate cuts may be measured last, on ancillas: noiseless simulators only.
        reason: Why this QPU, in one sentence.
    """

    qpu: str = ""
    deferred: bool = False
    reason: str = ""


@dataclass(frozen=True)
class SamplerEntry:
    """Rows of one template to sample.

    Attributes:
        template: Index of the circuit.
        parameters: Shape (rows, parameters).
        shots: Shots of each row, at least 1.
    """

    template: int
    parameters: FloatArray
    shots: IntArray


@dataclass(frozen=True)
class EstimatorEntry:
    """Rows of one template whose exact expectation values are wanted.

    Attributes:
        template: Index of the circuit.
        parameters: Shape (rows, parameters).
        observables: Pauli labels, each wanted for each row.
    """

    template: int
    parameters: FloatArray
    observables: tuple[str, ...]


@dataclass(frozen=True)
class SamplerTask:
    """One round of a fragment's experiments.

    Attributes:
        fragment: Index of the fragment.
        qpu: Where it runs, as `choose_sites` said.
        circuits: QPY of the templates.
        entries: What to sample.
        seed: Fixes the outcomes on simulators.
        measured_qubits: Per template, the qubit that each classical bit reads.
        with_readout: Whether the confusion of the classical bits is wanted.
    """

    fragment: int
    qpu: str
    circuits: bytes
    entries: tuple[SamplerEntry, ...]
    seed: int
    measured_qubits: tuple[tuple[int, ...], ...]
    with_readout: bool = False


@dataclass(frozen=True)
class EstimatorTask:
    """A fragment's exact experiments.

    Attributes:
        fragment: Index of the fragment.
        qpu: Where it runs, as `choose_sites` said.
        circuits: QPY of the templates.
        entries: What to evaluate.
    """

    fragment: int
    qpu: str
    circuits: bytes
    entries: tuple[EstimatorEntry, ...]


@dataclass(frozen=True)
class ExecutionRecord:
    """Where and how a fragment was executed, for the provenance document.

    Attributes:
        qpu: Name of the QPU.
        calibration_id: Calibration at that time; empty where there is none.
        layout: Physical qubit of each qubit; empty where there are none.
        method: What computed it.
    """

    qpu: str
    calibration_id: str = ""
    layout: tuple[int, ...] = ()
    method: str = ""


@dataclass(frozen=True)
class SamplerAnswer:
    """Outcomes of a sampler task.

    Attributes:
        histograms: One per entry.
        executions: Where and how, without repetitions.
        readout: Confusion of each classical bit per entry, if it was wanted.
        qpu_seconds: Time the QPU was busy.
        timing: What is no part of the result: job ids and times.
    """

    histograms: tuple[Histogram, ...]
    executions: tuple[ExecutionRecord, ...]
    readout: tuple[tuple[ReadoutError, ...], ...] = ()
    qpu_seconds: float = 0.0
    timing: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class EstimatorAnswer:
    """Expectation values of an estimator task.

    Attributes:
        values: One array per entry, shape (rows, observables).
        executions: Where and how, without repetitions.
        qpu_seconds: Time the simulator was busy.
        timing: What is no part of the result: job ids and times.
    """

    values: tuple[FloatArray, ...]
    executions: tuple[ExecutionRecord, ...]
    qpu_seconds: float = 0.0
    timing: dict[str, str] = field(default_factory=dict)


class Executor(Protocol):
    """Runs the experiments of fragments; tasks of one call may run at the same time."""

    def choose_sites(self, plan: Plan, exact: bool) -> tuple[Site, ...]:
        """Chooses where each fragment runs.

        Raises:
            ExecutionError: If a fragment fits nowhere, or `exact` is wanted of noisy QPUs.
        """

    def sample(self, tasks: Sequence[SamplerTask]) -> list[SamplerAnswer]:
        """Runs tasks and returns their answers in order.

        Raises:
            ExecutionError: If one of them fails.
        """

    def evaluate(self, tasks: Sequence[EstimatorTask]) -> list[EstimatorAnswer]:
        """Evaluates tasks without sampling error and returns their answers in order.

        Raises:
            ExecutionError: If one of them fails.
        """
