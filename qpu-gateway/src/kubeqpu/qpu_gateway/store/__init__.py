"""The gateway's durable state: jobs, results and blobs."""

from kubeqpu.qpu_gateway.store.choice import choose_database
from kubeqpu.qpu_gateway.store.results import StoredChunk
from kubeqpu.qpu_gateway.store.store import Store

__all__ = ["Store", "StoredChunk", "choose_database"]
