"""Client of the kubeqpu gateway.

Imports neither Qiskit nor a simulator; Qiskit's primitives and backend on a gateway are in
`kubeqpu.client.qiskit`, which needs the extra `qiskit`.
"""

from kubeqpu.client.aio import AsyncGatewayClient, AsyncJob
from kubeqpu.client.circuits import circuits_to_qpy
from kubeqpu.client.errors import (
    AccessDeniedError,
    CertificateError,
    ClientError,
    ClosedError,
    ConflictError,
    DeadlineError,
    GatewayFailureError,
    InvalidRequestError,
    JobCancelledError,
    JobFailedError,
    LimitExceededError,
    NotFoundError,
    ProtocolError,
    UnavailableError,
)
from kubeqpu.client.gateway import GatewayClient, Job
from kubeqpu.client.observables import Observable
from kubeqpu.client.options import ExecutionMode, Options, Twirling
from kubeqpu.client.qpus import Capabilities, QPUDescription, Target
from kubeqpu.client.records import JobRecord, JobState
from kubeqpu.client.requests import (
    EstimatorEntry,
    EstimatorJob,
    ResultFormat,
    SamplerEntry,
    SamplerJob,
)
from kubeqpu.client.results import (
    Bits,
    Chunk,
    Counts,
    EntryResult,
    Execution,
    Expectations,
    JobResult,
)
from kubeqpu.client.wire import Blob

__all__ = [
    "AccessDeniedError",
    "AsyncGatewayClient",
    "AsyncJob",
    "Bits",
    "Blob",
    "Capabilities",
    "CertificateError",
    "Chunk",
    "ClientError",
    "ClosedError",
    "ConflictError",
    "Counts",
    "DeadlineError",
    "EntryResult",
    "EstimatorEntry",
    "EstimatorJob",
    "Execution",
    "ExecutionMode",
    "Expectations",
    "GatewayClient",
    "GatewayFailureError",
    "InvalidRequestError",
    "Job",
    "JobCancelledError",
    "JobFailedError",
    "JobRecord",
    "JobResult",
    "JobState",
    "LimitExceededError",
    "NotFoundError",
    "Observable",
    "Options",
    "ProtocolError",
    "QPUDescription",
    "ResultFormat",
    "SamplerEntry",
    "SamplerJob",
    "Target",
    "Twirling",
    "UnavailableError",
    "circuits_to_qpy",
]
