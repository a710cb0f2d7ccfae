"""Qiskit's sampler primitive on a gateway."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from qiskit.primitives import (
    BaseSamplerV2,
    BitArray,
    DataBin,
    PrimitiveResult,
    SamplerPubLike,
    SamplerPubResult,
)
from qiskit.primitives.containers.sampler_pub import SamplerPub

from kubeqpu.client.circuits import circuits_to_qpy
from kubeqpu.client.gateway import GatewayClient
from kubeqpu.client.qiskit.jobs import GatewayPrimitiveJob
from kubeqpu.client.qiskit.options import Placement, SamplerOptions, require_pubs
from kubeqpu.client.qiskit.pubs import (
    describe_run,
    flatten_parameters,
    provenance,
    share_templates,
)
from kubeqpu.client.requests import ResultFormat, SamplerEntry, SamplerJob
from kubeqpu.client.results import EntryResult, JobResult


class GatewaySampler(BaseSamplerV2):  # type: ignore[misc]
    """Samples circuits on a QPU of a gateway; all PUBs of a run are one job.

    Example:
        ```python
        sampler = GatewaySampler("localhost:7070", qpu="fake-lagos")
        counts = sampler.run([bell], shots=1000).result()[0].data.meas.get_counts()
        ```

    Args:
        gateway: A client to share, an address, or None for `KUBEQPU_GATEWAY`.
        qpu: Name of the QPU; None takes the client's default, see `KUBEQPU_QPU`.
        qpu_class: Name of the class of which the gateway picks a QPU, instead of `qpu`.
        options: Shots, seed, transpilation, error suppression and so on.
    """

    def __init__(
        self,
        gateway: GatewayClient | str | None = None,
        *,
        qpu: str | None = None,
        qpu_class: str | None = None,
        options: SamplerOptions | None = None,
    ) -> None:
        self._placement = Placement(gateway, qpu, qpu_class)
        self.options = options or SamplerOptions()

    @property
    def client(self) -> GatewayClient:
        """The client in use."""
        return self._placement.client

    def run(
        self, pubs: Iterable[SamplerPubLike], *, shots: int | None = None
    ) -> GatewayPrimitiveJob:
        """Submits PUBs: circuits, or tuples of circuit, parameter values and shots.

        Returns:
            The job. Its result has, per PUB and classical register, a BitArray of the parameter
            values' shape; its metadata hold where and how the circuits were executed.

        Raises:
            InvalidRequestError: If a circuit cannot run or an option is not supported.
            UnavailableError: If the gateway cannot be reached.
        """
        default = self.options.default_shots if shots is None else shots
        coerced = [SamplerPub.coerce(pub, default) for pub in pubs]
        require_pubs([pub.size for pub in coerced])
        circuits, templates = share_templates(coerced)
        job = SamplerJob(
            **self._placement.job_arguments(circuits, circuits_to_qpy(circuits), self.options),
            entries=[
                SamplerEntry(pub.shots, flatten_parameters(pub), template)
                for pub, template in zip(coerced, templates, strict=True)
            ],
            format=ResultFormat.BITS,
        )
        submitted = self.client.submit(job)
        return GatewayPrimitiveJob(submitted, lambda result: _decode(coerced, result))


def _decode(pubs: Sequence[SamplerPub], result: JobResult) -> PrimitiveResult:
    return PrimitiveResult(
        [
            SamplerPubResult(
                DataBin(**_bit_arrays(pub, entry), shape=pub.shape),
                metadata={
                    "shots": pub.shots,
                    "circuit_metadata": pub.circuit.metadata,
                    "kubeqpu": provenance(entry),
                },
            )
            for pub, entry in zip(pubs, result.entries, strict=True)
        ],
        metadata={"version": 2, "kubeqpu": describe_run(result)},
    )


def _bit_arrays(pub: SamplerPub, entry: EntryResult) -> dict[str, BitArray]:
    bits = entry.bits
    return {
        name: BitArray(_shape_rows(data, pub), bits.num_bits[name])
        for name, data in bits.registers.items()
    }


def _shape_rows(data: NDArray[np.uint8], pub: SamplerPub) -> NDArray[np.uint8]:
    return data.reshape(*pub.shape, pub.shots, data.shape[-1])
