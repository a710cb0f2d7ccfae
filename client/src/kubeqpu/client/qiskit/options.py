"""Options of the primitives, and how a primitive turns them into options of a job."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TypedDict

from qiskit import QuantumCircuit

from kubeqpu.client import errors
from kubeqpu.client.gateway import GatewayClient
from kubeqpu.client.options import Options

AUTO_LEVEL = 3


@dataclass(frozen=True)
class PrimitiveOptions(Options):
    """What both primitives know, beyond the options of every job.

    Attributes:
        auto_transpile: When neither `transpile_level` nor `initial_layout` is set, the gateway
            transpiles at level 3 with a layout from the latest calibration, unless a circuit
            carries a layout already (it was transpiled) or the QPU is a simulator without noise.
            False runs circuits as they are.
        seed: Fixes all random numbers; None lets the gateway choose and record one.
        merge_identical: Run identical circuits once; their results are then fully correlated.
        priority: Higher runs first.
        result_ttl_seconds: How long results are kept; None is the gateway's default.
    """

    auto_transpile: bool = True
    seed: int | None = None
    merge_identical: bool = False
    priority: int = 0
    result_ttl_seconds: float | None = None


@dataclass(frozen=True)
class SamplerOptions(PrimitiveOptions):
    """Options of `GatewaySampler`.

    Attributes:
        default_shots: Shots of PUBs and runs that name none.
    """

    default_shots: int = 1024


@dataclass(frozen=True)
class EstimatorOptions(PrimitiveOptions):
    """Options of `GatewayEstimator`.

    Attributes:
        default_precision: Target standard error of PUBs and runs that name none; 0 means exact.
    """

    default_precision: float = 1 / 64


class JobArguments(TypedDict):
    """Arguments that sampler and estimator jobs share."""

    circuits: bytes
    qpu: str | None
    qpu_class: str | None
    seed: int | None
    options: Options
    merge_identical: bool
    priority: int
    result_ttl_seconds: float | None


class Placement:
    """A gateway and where on it a primitive runs.

    Args:
        gateway: A client to share, an address, or None for `KUBEQPU_GATEWAY`.
        qpu: Name of the QPU; None takes the client's default unless a class is named.
        qpu_class: Name of the class of which the gateway picks a QPU.
    """

    def __init__(
        self, gateway: GatewayClient | str | None, qpu: str | None, qpu_class: str | None
    ) -> None:
        self.client = gateway if isinstance(gateway, GatewayClient) else GatewayClient(gateway)
        self.qpu = qpu or (None if qpu_class else self.client.default_qpu)
        self.qpu_class = qpu_class
        self._is_ideal: bool | None = None

    def job_arguments(
        self, circuits: Sequence[QuantumCircuit], payload: bytes, options: PrimitiveOptions
    ) -> JobArguments:
        """Completes the arguments of a job from a primitive's options."""
        plain = Options(**{field.name: getattr(options, field.name) for field in fields(Options)})
        if self._wants_transpilation(circuits, options):
            plain = replace(plain, transpile_level=AUTO_LEVEL)
        return JobArguments(
            circuits=payload,
            qpu=self.qpu,
            qpu_class=self.qpu_class,
            seed=options.seed,
            options=plain,
            merge_identical=options.merge_identical,
            priority=options.priority,
            result_ttl_seconds=options.result_ttl_seconds,
        )

    def _wants_transpilation(
        self, circuits: Sequence[QuantumCircuit], options: PrimitiveOptions
    ) -> bool:
        chosen = options.transpile_level is not None or options.initial_layout is not None
        if chosen or not options.auto_transpile:
            return False
        if any(circuit.layout is not None for circuit in circuits):
            return False
        if self._is_ideal is None and self.qpu is not None:
            found = self.client.qpu(self.qpu)
            if not found.is_started:
                return True
            self._is_ideal = found.is_ideal
        return not self._is_ideal


def require_pubs(sizes: Sequence[int]) -> None:
    """Checks that there is something to run.

    Raises:
        InvalidRequestError: If there are no PUBs, or one has no parameter sets.
    """
    if not sizes:
        raise errors.InvalidRequestError("There are no PUBs; run needs a list of at least one.")
    for index, size in enumerate(sizes):
        if size == 0:
            raise errors.InvalidRequestError(
                f"PUB {index} has no parameter sets or observables: one of its axes has length 0."
            )
