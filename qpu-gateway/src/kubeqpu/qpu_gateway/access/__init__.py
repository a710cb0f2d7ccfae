"""Who calls, and what they may do: believed on loopback, asked of the cluster elsewhere."""

from kubeqpu.qpu_gateway.access.callers import Access, Caller, Pod, Verb
from kubeqpu.qpu_gateway.access.embedded import LOCAL_TENANT, EmbeddedAccess

__all__ = ["LOCAL_TENANT", "Access", "Caller", "EmbeddedAccess", "Pod", "Verb"]
