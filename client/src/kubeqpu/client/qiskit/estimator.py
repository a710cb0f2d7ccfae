"""Qiskit's estimator primitive on a gateway."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from qiskit.primitives import (
    BaseEstimatorV2,
    DataBin,
    EstimatorPubLike,
    PrimitiveResult,
    PubResult,
)
from qiskit.primitives.containers.estimator_pub import EstimatorPub

from kubeqpu.client import errors
from kubeqpu.client.circuits import circuits_to_qpy
from kubeqpu.client.gateway import GatewayClient
from kubeqpu.client.qiskit.jobs import GatewayPrimitiveJob
from kubeqpu.client.qiskit.options import EstimatorOptions, Placement, require_pubs
from kubeqpu.client.qiskit.pubs import (
    describe_run,
    place,
    provenance,
    share_templates,
    write_entry,
)
from kubeqpu.client.requests import EstimatorJob
from kubeqpu.client.results import EntryResult, JobResult


class GatewayEstimator(BaseEstimatorV2):  # type: ignore[misc]
    """Estimates expectation values on a QPU of a gateway; all PUBs of a run are one job.

    Precision 0 asks for exact values, which only simulators without noise give.

    Example:
        ```python
        estimator = GatewayEstimator("localhost:7070", qpu="fake-lagos")
        energy = estimator.run([(ansatz, hamiltonian, angles)]).result()[0].data.evs
        ```

    Args:
        gateway: A client to share, an address, or None for `KUBEQPU_GATEWAY`.
        qpu: Name of the QPU; None takes the client's default, see `KUBEQPU_QPU`.
        qpu_class: Name of the class of which the gateway picks a QPU, instead of `qpu`.
        options: Precision, seed, transpilation, error suppression and mitigation and so on.
    """

    def __init__(
        self,
        gateway: GatewayClient | str | None = None,
        *,
        qpu: str | None = None,
        qpu_class: str | None = None,
        options: EstimatorOptions | None = None,
    ) -> None:
        self._placement = Placement(gateway, qpu, qpu_class)
        self.options = options or EstimatorOptions()

    @property
    def client(self) -> GatewayClient:
        """The client in use."""
        return self._placement.client

    def run(
        self, pubs: Iterable[EstimatorPubLike], *, precision: float | None = None
    ) -> GatewayPrimitiveJob:
        """Submits PUBs: tuples of circuit, observables, parameter values and precision.

        Returns:
            The job. Its result has, per PUB, `evs` and `stds` (standard errors) of the shape to
            which observables and parameter values broadcast.

        Raises:
            InvalidRequestError: If a circuit cannot run or an option is not supported.
            UnavailableError: If the gateway cannot be reached.
        """
        default = self.options.default_precision if precision is None else precision
        coerced = [EstimatorPub.coerce(pub, default) for pub in pubs]
        require_pubs([pub.size for pub in coerced])
        circuits, templates = share_templates(coerced)
        entries = list(map(write_entry, coerced, templates))
        job = EstimatorJob(
            **self._placement.job_arguments(circuits, circuits_to_qpy(circuits), self.options),
            entries=[entry for entry, _ in entries],
            exact=_is_exact(coerced),
        )
        submitted = self.client.submit(job)
        places = [found for _, found in entries]
        return GatewayPrimitiveJob(submitted, lambda result: _decode(coerced, places, result))


def _is_exact(pubs: Sequence[EstimatorPub]) -> bool:
    exact = {bool(pub.precision == 0) for pub in pubs}
    if len(exact) > 1:
        raise errors.InvalidRequestError(
            "Some PUBs have precision 0, which means exact, and some do not; a run is exact as a "
            "whole, so use two runs."
        )
    return exact.pop()


def _decode(
    pubs: Sequence[EstimatorPub], places: Sequence[NDArray[np.intp]], result: JobResult
) -> PrimitiveResult:
    return PrimitiveResult(
        [
            PubResult(
                _data_bin(pub, found, entry),
                metadata={
                    "target_precision": pub.precision,
                    "shots": int(entry.expectations.shots.max()),
                    "circuit_metadata": pub.circuit.metadata,
                    "kubeqpu": provenance(entry),
                },
            )
            for pub, found, entry in zip(pubs, places, result.entries, strict=True)
        ],
        metadata={"version": 2, "kubeqpu": describe_run(result)},
    )


def _data_bin(pub: EstimatorPub, places: NDArray[np.intp], entry: EntryResult) -> DataBin:
    found = entry.expectations
    return DataBin(
        evs=place(found.values, places, pub.shape),
        stds=place(np.sqrt(found.variances), places, pub.shape),
        shape=pub.shape,
    )
