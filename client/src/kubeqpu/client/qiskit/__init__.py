"""Qiskit's V2 primitives and backend on a kubeqpu gateway; needs the extra `qiskit`."""

from kubeqpu.client.qiskit.backend import GatewayBackend
from kubeqpu.client.qiskit.estimator import GatewayEstimator
from kubeqpu.client.qiskit.jobs import GatewayBackendJob, GatewayPrimitiveJob
from kubeqpu.client.qiskit.options import EstimatorOptions, SamplerOptions
from kubeqpu.client.qiskit.sampler import GatewaySampler
from kubeqpu.client.qiskit.targets import build_target

__all__ = [
    "EstimatorOptions",
    "GatewayBackend",
    "GatewayBackendJob",
    "GatewayEstimator",
    "GatewayPrimitiveJob",
    "GatewaySampler",
    "SamplerOptions",
    "build_target",
]
