"""The gateway from ordinary (synchronous) code."""

import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self, TypeVar

import grpc
from google.protobuf.message import Message

from kubeqpu.client import connection, credentials, errors, wire
from kubeqpu.client.decoding import Inbox
from kubeqpu.client.qpus import QPUDescription, read_qpu
from kubeqpu.client.records import JobRecord, JobState, read_record
from kubeqpu.client.requests import EstimatorJob, SamplerJob
from kubeqpu.client.results import Chunk, JobResult, assemble
from kubeqpu.client.wire import Blob
from kubeqpu.proto.v1 import gateway_pb2, gateway_pb2_grpc

_Request = TypeVar("_Request", bound=Message)
_Response = TypeVar("_Response", bound=Message)


class GatewayClient:
    """Talks to one gateway; safe to share between threads.

    Every call is repeated with back-off while the gateway is away, which is safe because
    submissions carry an idempotency key and everything else is idempotent anyway.

    Args:
        address: `host:port` or `unix:path`; None takes `KUBEQPU_GATEWAY`.
        qpu: QPU of jobs that name neither a QPU nor a class; None takes `KUBEQPU_QPU`.
        timeout_seconds: Deadline of every call; result streams have none, see `results`.
        patience_seconds: How long to go on trying while the gateway is away.
        token_file: File with a ServiceAccount token, read again when it changes; None takes
            `KUBEQPU_TOKEN_FILE` or the one mounted in this pod. It is sent over TLS only.
        ca_file: File with the gateway's authority, PEM; None takes `KUBEQPU_CA_FILE` or the one
            mounted in this pod. Without it, only a gateway on this machine is spoken to.

    Raises:
        InvalidRequestError: If address, or authority for TLS, is missing or has the wrong form.
        AccessDeniedError: If there is a token file that cannot be read.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        qpu: str | None = None,
        timeout_seconds: float = connection.CALL_TIMEOUT_SECONDS,
        patience_seconds: float = connection.PATIENCE_SECONDS,
        token_file: credentials.FilePath | None = None,
        ca_file: credentials.FilePath | None = None,
    ) -> None:
        self._connection = connection.find_gateway(
            address, qpu, timeout_seconds, patience_seconds, token_file=token_file, ca_file=ca_file
        )
        self._channel = self._connection.open_channel()
        self._stub = gateway_pb2_grpc.GatewayStub(self._channel)
        self._closed = False

    @property
    def address(self) -> str:
        """Address of the gateway."""
        return self._connection.address

    @property
    def default_qpu(self) -> str | None:
        """QPU of jobs that name neither a QPU nor a class."""
        return self._connection.default_qpu

    @property
    def patience_seconds(self) -> float:
        """How long the client goes on trying while the gateway, or a QPU's provider, is away."""
        return self._connection.patience_seconds

    def submit(
        self, job: SamplerJob | EstimatorJob, *, idempotency_key: str | None = None
    ) -> "Job":
        """Submits a job; when this returns, the gateway has it on disk.

        Args:
            job: What to run.
            idempotency_key: The same key gives the same job, however often it is submitted; None
                makes a new one.

        Raises:
            InvalidRequestError: If the job is malformed or asks for what the QPU lacks.
            NotFoundError: If there is no such QPU.
            ConflictError: If the key was used for a different job.
            LimitExceededError: If the job is larger than the gateway takes.
        """
        request = wire.write_submission(job, self.default_qpu, idempotency_key)
        return Job(self, read_record(self._call(self._stub.SubmitJob, request)))

    def job(self, job_id: str) -> "Job":
        """Finds a job by its id.

        Raises:
            NotFoundError: If there is none, or it belongs to another tenant.
        """
        return Job(self, self.record(job_id))

    def record(self, job_id: str) -> JobRecord:
        """Reads a job's record now; raises as `job` does."""
        return read_record(self._call(self._stub.GetJob, gateway_pb2.GetJobRequest(id=job_id)))

    def list_jobs(self, states: Iterable[JobState] = ()) -> Iterator[JobRecord]:
        """Lists the tenant's jobs, newest first; page by page, so that stopping early is cheap.

        Args:
            states: Only jobs in these states; none means all.
        """
        request = wire.write_listing(states)
        while True:
            response = self._call(self._stub.ListJobs, request)
            yield from (read_record(job) for job in response.jobs)
            if not response.next_page_token:
                return
            request.page_token = response.next_page_token

    def cancel(self, job_id: str) -> JobRecord:
        """Cancels what is queued or running; a job that has ended stays as it is.

        Raises:
            NotFoundError: If there is no such job.
        """
        request = gateway_pb2.CancelJobRequest(id=job_id)
        return read_record(self._call(self._stub.CancelJob, request))

    def results(self, job_id: str, *, timeout_seconds: float | None = None) -> Iterator[Chunk]:
        """Yields results as circuits finish, each row once; a broken stream is resumed.

        Args:
            job_id: The job.
            timeout_seconds: How long the whole stream may take; None waits as long as it takes.

        Raises:
            JobFailedError: If the job failed, after the results it had.
            JobCancelledError: If it was cancelled, after the results it had.
            DeadlineError: If it took longer than allowed; the job runs on.
            NotFoundError: If there is no such job, or its results expired.
        """
        inbox = Inbox()
        yield from self._stream(job_id, inbox, timeout_seconds)
        if inbox.record is not None:
            inbox.record.require_success()

    def wait(self, job_id: str, *, timeout_seconds: float | None = None) -> JobResult:
        """Waits for a job and returns its whole result; raises as `results` does."""
        inbox = Inbox()
        chunks = list(self._stream(job_id, inbox, timeout_seconds))
        assert inbox.record is not None, "a stream ends with its job"
        return assemble(inbox.record.require_success(), chunks)

    def qpus(self) -> list[QPUDescription]:
        """Describes every QPU the gateway serves, without targets."""
        response = self._call(self._stub.ListQPUs, gateway_pb2.ListQPUsRequest())
        return [read_qpu(qpu) for qpu in response.qpus]

    def qpu(self, name: str, *, include_target: bool = False) -> QPUDescription:
        """Describes one QPU.

        Args:
            name: Name of the QPU.
            include_target: Whether to transfer the transpilation target, which may be large.

        Raises:
            NotFoundError: If there is no such QPU.
        """
        request = gateway_pb2.GetQPURequest(name=name, include_target=include_target)
        return read_qpu(self._call(self._stub.GetQPU, request))

    def put_blob(self, data: bytes, *, ttl_seconds: float | None = None) -> Blob:
        """Stores bytes under their digest, for a later step of the same tenant.

        Raises:
            LimitExceededError: If the blob, or the tenant's blobs together, are too large.
        """
        request = wire.write_blob(data, ttl_seconds)
        return wire.read_blob(self._call(self._stub.PutBlob, request))

    def get_blob(self, digest: str) -> bytes:
        """Reads bytes by their digest and checks them against it.

        Raises:
            NotFoundError: If there is no such blob, or it expired.
            ProtocolError: If the bytes do not have the digest.
        """
        request = gateway_pb2.GetBlobRequest(digest=digest)
        return wire.check_blob(digest, self._call(self._stub.GetBlob, request).data)

    def close(self) -> None:
        """Closes the connection; jobs run on. Idempotent."""
        self._closed = True
        self._channel.close()

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        # A connection cannot be copied; qiskit-ibm-runtime copies backends, which hold clients.
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _call(
        self, method: "grpc.UnaryUnaryMultiCallable[_Request, _Response]", request: _Request
    ) -> _Response:
        patience = connection.Patience(self._connection.patience_seconds)
        while True:
            self._check_open()
            try:
                return method(request, timeout=self._connection.timeout_seconds)
            except grpc.RpcError as error:
                self._check_open()
                time.sleep(wire.find_delay(error, patience, wire.RETRIED_CALLS, self.address))

    def _stream(self, job_id: str, inbox: Inbox, timeout_seconds: float | None) -> Iterator[Chunk]:
        patience = connection.Patience(self._connection.patience_seconds)
        deadline = wire.StreamDeadline(job_id, timeout_seconds)
        request = gateway_pb2.StreamResultsRequest(id=job_id)
        while True:
            self._check_open()
            is_token_new = self._connection.watch_token()
            call = self._stub.StreamResults(request, timeout=deadline.left())
            failure: grpc.RpcError | None = None
            try:
                for response in call:
                    patience.renew()
                    chunk = inbox.accept(response)
                    if chunk is not None:
                        yield chunk
            except grpc.RpcError as error:
                failure = error
            finally:
                call.cancel()
            if inbox.record is not None:
                return
            self._check_open()
            deadline.check(failure)
            retried = wire.choose_retried(is_token_new())
            time.sleep(wire.find_delay(failure, patience, retried, self.address))

    def _check_open(self) -> None:
        if self._closed:
            raise errors.ClosedError(
                "The client is closed; make a new GatewayClient, or work inside its `with` block."
            )


class Job:
    """A job at the gateway."""

    def __init__(self, client: GatewayClient, record: JobRecord) -> None:
        self._client = client
        self._record = record

    @property
    def id(self) -> str:
        """The job's id, by which any client of the tenant finds it again."""
        return self._record.id

    @property
    def record(self) -> JobRecord:
        """The job as it was when last read; `refresh` reads it again."""
        return self._record

    def refresh(self) -> JobRecord:
        """Reads the job's record now."""
        self._record = self._client.record(self.id)
        return self._record

    def status(self) -> JobState:
        """Returns the job's state now; asks the gateway unless the state is final."""
        return (self._record if self._record.state.is_final else self.refresh()).state

    def results(self, *, timeout_seconds: float | None = None) -> Iterator[Chunk]:
        """Yields results as circuits finish; see `GatewayClient.results`."""
        return self._client.results(self.id, timeout_seconds=timeout_seconds)

    def result(self, *, timeout_seconds: float | None = None) -> JobResult:
        """Waits for the job and returns its whole result; see `GatewayClient.results`."""
        result = self._client.wait(self.id, timeout_seconds=timeout_seconds)
        self._record = result.record
        return result

    def cancel(self) -> JobRecord:
        """Cancels what is queued or running; a job that has ended stays as it is."""
        self._record = self._client.cancel(self.id)
        return self._record

    def __repr__(self) -> str:
        return f"<Job {self.id} on {self._record.qpu}: {self._record.state.name.lower()}>"
