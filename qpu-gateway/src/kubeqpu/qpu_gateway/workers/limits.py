"""What workers may use."""

import os

from pydantic import BaseModel, ConfigDict, Field


def _memory_bytes() -> int:
    """A quarter of the machine's memory, between 1 and 16 GiB."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(max(total // 4, 2**30), 16 * 2**30)


class WorkerLimits(BaseModel):
    """Sizes and limits of a pool of workers.

    Attributes:
        max_workers: Most processes that run circuits at once, over all tenants.
        max_inspectors: Most processes that load and describe circuits at once.
        memory_bytes: Address space a worker may add to what it has when it starts.
        run_seconds: Wall-clock limit of one batch.
        inspect_seconds: Wall-clock limit of one inspection.
        idle_seconds: An idle worker ends after this time.
        simulator_threads: Threads of one simulation.
        cached_jobs: Jobs whose circuits a worker keeps loaded and transpiled.
        max_payload_bytes: Largest QPY payload of a job.
        max_templates: Most circuits in one payload.
        max_qubits: Widest circuit.
        max_operations: Most operations of one circuit, nested ones counted.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_workers: int = Field(default_factory=lambda: max(4, 2 * (os.cpu_count() or 1)), ge=1)
    max_inspectors: int = Field(default=4, ge=1)
    memory_bytes: int = Field(default_factory=_memory_bytes, ge=256 * 2**20)
    run_seconds: float = Field(default=900.0, gt=0)
    inspect_seconds: float = Field(default=30.0, gt=0)
    idle_seconds: float = Field(default=300.0, gt=0)
    simulator_threads: int = Field(default=1, ge=1)
    cached_jobs: int = Field(default=8, ge=1)
    max_payload_bytes: int = Field(default=64 * 2**20, ge=1)
    max_templates: int = Field(default=10_000, ge=1)
    max_qubits: int = Field(default=1000, ge=1)
    max_operations: int = Field(default=1_000_000, ge=1)
