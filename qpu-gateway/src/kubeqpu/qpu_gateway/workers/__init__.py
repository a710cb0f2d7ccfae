"""Worker processes: where circuits are loaded and simulated, apart from the gateway itself."""

from kubeqpu.qpu_gateway.workers.limits import WorkerLimits
from kubeqpu.qpu_gateway.workers.pool import WorkerPool

__all__ = ["WorkerLimits", "WorkerPool"]
