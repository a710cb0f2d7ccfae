"""A job as a worker holds it: its spec, its loaded circuits and what was compiled from them."""

from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter

from kubeqpu.proto.v1 import gateway_pb2
from kubeqpu.qpu_gateway.errors import CircuitError
from kubeqpu.qpu_gateway.simulation.loading import load_circuits
from kubeqpu.qpu_gateway.workers.limits import WorkerLimits

_MAX_COMPILED = 512
_Compiled = TypeVar("_Compiled")


class LoadedJob:
    """One job's templates and parameter values.

    Attributes:
        spec: The job as submitted.
    """

    def __init__(self, spec: gateway_pb2.JobSpec, limits: WorkerLimits) -> None:
        self.spec = spec
        self._limits = limits
        self._circuits: list[QuantumCircuit] | None = None
        self._values: dict[int, NDArray[np.float64]] = {}
        self._compiled: OrderedDict[tuple[object, ...], object] = OrderedDict()

    @property
    def circuits(self) -> list[QuantumCircuit]:
        """The templates, of known kinds of operations.

        Raises:
            CircuitError: If the payload is not acceptable.
        """
        if self._circuits is None:
            self._circuits = load_circuits(self.spec.circuits, self._limits)
        return self._circuits

    def template(self, entry: int) -> int:
        """Index of an entry's template."""
        return int(self._entry(entry).template)

    def columns(self, template: int) -> dict[Parameter, int]:
        """Column of each parameter of a template."""
        return {name: column for column, name in enumerate(self.circuits[template].parameters)}

    def values(self, entry: int) -> NDArray[np.float64]:
        """Parameter values of an entry, of shape (rows, columns).

        Raises:
            CircuitError: If one is not finite.
        """
        if entry not in self._values:
            array = self._entry(entry).parameters
            flat = np.frombuffer(array.values, "<f8")
            if not np.isfinite(flat).all():
                raise CircuitError(
                    f"Entry {entry} has parameter values that are not finite; give finite numbers."
                )
            self._values[entry] = flat.reshape(array.rows, array.columns)
        return self._values[entry]

    def shots(self, entry: int) -> NDArray[np.int64]:
        """Shots of each row of a sampler's entry."""
        rows = self._entry(entry).parameters.rows
        return np.broadcast_to(
            np.array(self.spec.sampler.entries[entry].shots, dtype=np.int64), (rows,)
        )

    def compiled(self, key: tuple[object, ...], compile_: Callable[[], _Compiled]) -> _Compiled:
        """Compiles once and keeps what was compiled, up to a number of the latest."""
        if key not in self._compiled:
            self._compiled[key] = compile_()
        self._compiled.move_to_end(key)
        while len(self._compiled) > _MAX_COMPILED:
            self._compiled.popitem(last=False)
        return self._compiled[key]  # type: ignore[return-value]

    def _entry(self, entry: int) -> gateway_pb2.SamplerEntry | gateway_pb2.EstimatorEntry:
        if self.spec.WhichOneof("kind") == "sampler":
            return self.spec.sampler.entries[entry]
        return self.spec.estimator.entries[entry]
