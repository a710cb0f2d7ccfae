"""Jobs of primitives and backend: a gateway job seen through Qiskit's interfaces."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from qiskit.primitives import BasePrimitiveJob, PrimitiveResult
from qiskit.providers import JobStatus, JobV1
from qiskit.result import Result

from kubeqpu.client import errors
from kubeqpu.client.gateway import Job
from kubeqpu.client.records import JobState
from kubeqpu.client.results import JobResult

if TYPE_CHECKING:
    from kubeqpu.client.qiskit.backend import GatewayBackend

_STATUS = {
    JobState.QUEUED: JobStatus.QUEUED,
    JobState.RUNNING: JobStatus.RUNNING,
    JobState.SUCCEEDED: JobStatus.DONE,
    JobState.FAILED: JobStatus.ERROR,
    JobState.CANCELLED: JobStatus.CANCELLED,
}


class GatewayPrimitiveJob(BasePrimitiveJob[PrimitiveResult, JobStatus]):  # type: ignore[misc]
    """A run of a primitive.

    Attributes:
        job: The job at the gateway, with its record and its stream of results.
    """

    def __init__(self, job: Job, decode: Callable[[JobResult], PrimitiveResult]) -> None:
        super().__init__(job.id)
        self.job = job
        self._decode = decode
        self._result: PrimitiveResult | None = None

    def result(self, timeout_seconds: float | None = None) -> PrimitiveResult:
        """Waits for the run and returns its result.

        Args:
            timeout_seconds: How long to wait; None waits as long as it takes.

        Raises:
            JobFailedError: If the job failed, with the gateway's reason.
            JobCancelledError: If it was cancelled.
            DeadlineError: If it took longer than allowed; it runs on.
        """
        if self._result is None:
            self._result = self._decode(self.job.result(timeout_seconds=timeout_seconds))
        return self._result

    def status(self) -> JobStatus:
        """Returns the job's status now."""
        return _STATUS[self.job.status()]

    def done(self) -> bool:
        """Whether the job has succeeded."""
        return self.status() is JobStatus.DONE

    def running(self) -> bool:
        """Whether the job is running now."""
        return self.status() is JobStatus.RUNNING

    def cancelled(self) -> bool:
        """Whether the job was cancelled."""
        return self.status() is JobStatus.CANCELLED

    def in_final_state(self) -> bool:
        """Whether the job has ended."""
        return self.job.status().is_final

    def cancel(self) -> bool:
        """Cancels the job; tells whether it is cancelled now."""
        return self.job.cancel().state is JobState.CANCELLED

    def __repr__(self) -> str:
        return f"<GatewayPrimitiveJob of {self.job!r}>"


class GatewayBackendJob(JobV1):  # type: ignore[misc]
    """A run of `GatewayBackend`.

    Attributes:
        job: The job at the gateway, with its record and its stream of results.
    """

    def __init__(
        self, backend: "GatewayBackend", job: Job, decode: Callable[[JobResult], Result]
    ) -> None:
        super().__init__(backend, job.id)
        self.job = job
        self._decode = decode
        self._result: Result | None = None

    def submit(self) -> None:
        """Refuses: `GatewayBackend.run` has submitted the job.

        Raises:
            ClientError: Always.
        """
        raise errors.ClientError("The job is submitted already; call `backend.run` for another.")

    def result(self, timeout: float | None = None) -> Result:
        """Waits for the job and returns its result; raises as `GatewayPrimitiveJob.result` does.

        Args:
            timeout: Seconds to wait; None waits as long as it takes.
        """
        if self._result is None:
            self._result = self._decode(self.job.result(timeout_seconds=timeout))
        return self._result

    def status(self) -> JobStatus:
        """Returns the job's status now."""
        return _STATUS[self.job.status()]

    def cancel(self) -> bool:
        """Cancels the job; tells whether it is cancelled now."""
        return self.job.cancel().state is JobState.CANCELLED
