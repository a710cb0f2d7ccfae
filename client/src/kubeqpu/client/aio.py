"""The gateway from asyncio code; the twin of `gateway`, call by call."""

import asyncio
from collections.abc import AsyncIterator, Iterable
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


class AsyncGatewayClient:
    """Talks to one gateway from one event loop; see `GatewayClient` for arguments and retries.

    May be made outside the loop; it connects at its first call.
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
        self._channel: grpc.aio.Channel | None = None
        self._closed = False

    @property
    def address(self) -> str:
        """Address of the gateway."""
        return self._connection.address

    @property
    def default_qpu(self) -> str | None:
        """QPU of jobs that name neither a QPU nor a class."""
        return self._connection.default_qpu

    async def submit(
        self, job: SamplerJob | EstimatorJob, *, idempotency_key: str | None = None
    ) -> "AsyncJob":
        """Submits a job; see `GatewayClient.submit`."""
        request = wire.write_submission(job, self.default_qpu, idempotency_key)
        return AsyncJob(self, read_record(await self._call(self._stub().SubmitJob, request)))

    async def job(self, job_id: str) -> "AsyncJob":
        """Finds a job by its id; see `GatewayClient.job`."""
        return AsyncJob(self, await self.record(job_id))

    async def record(self, job_id: str) -> JobRecord:
        """Reads a job's record now; see `GatewayClient.record`."""
        request = gateway_pb2.GetJobRequest(id=job_id)
        return read_record(await self._call(self._stub().GetJob, request))

    async def list_jobs(self, states: Iterable[JobState] = ()) -> AsyncIterator[JobRecord]:
        """Lists the tenant's jobs, newest first; see `GatewayClient.list_jobs`."""
        request = wire.write_listing(states)
        while True:
            response = await self._call(self._stub().ListJobs, request)
            for job in response.jobs:
                yield read_record(job)
            if not response.next_page_token:
                return
            request.page_token = response.next_page_token

    async def cancel(self, job_id: str) -> JobRecord:
        """Cancels what is queued or running; see `GatewayClient.cancel`."""
        request = gateway_pb2.CancelJobRequest(id=job_id)
        return read_record(await self._call(self._stub().CancelJob, request))

    async def results(
        self, job_id: str, *, timeout_seconds: float | None = None
    ) -> AsyncIterator[Chunk]:
        """Yields results as circuits finish, each row once; see `GatewayClient.results`."""
        inbox = Inbox()
        async for chunk in self._stream(job_id, inbox, timeout_seconds):
            yield chunk
        if inbox.record is not None:
            inbox.record.require_success()

    async def wait(self, job_id: str, *, timeout_seconds: float | None = None) -> JobResult:
        """Waits for a job and returns its whole result; see `GatewayClient.wait`."""
        inbox = Inbox()
        chunks = [chunk async for chunk in self._stream(job_id, inbox, timeout_seconds)]
        assert inbox.record is not None, "a stream ends with its job"
        return assemble(inbox.record.require_success(), chunks)

    async def qpus(self) -> list[QPUDescription]:
        """Describes every QPU the gateway serves, without targets."""
        response = await self._call(self._stub().ListQPUs, gateway_pb2.ListQPUsRequest())
        return [read_qpu(qpu) for qpu in response.qpus]

    async def qpu(self, name: str, *, include_target: bool = False) -> QPUDescription:
        """Describes one QPU; see `GatewayClient.qpu`."""
        request = gateway_pb2.GetQPURequest(name=name, include_target=include_target)
        return read_qpu(await self._call(self._stub().GetQPU, request))

    async def put_blob(self, data: bytes, *, ttl_seconds: float | None = None) -> Blob:
        """Stores bytes under their digest; see `GatewayClient.put_blob`."""
        request = wire.write_blob(data, ttl_seconds)
        return wire.read_blob(await self._call(self._stub().PutBlob, request))

    async def get_blob(self, digest: str) -> bytes:
        """Reads bytes by their digest and checks them; see `GatewayClient.get_blob`."""
        request = gateway_pb2.GetBlobRequest(digest=digest)
        return wire.check_blob(digest, (await self._call(self._stub().GetBlob, request)).data)

    async def close(self) -> None:
        """Closes the connection; jobs run on. Idempotent."""
        self._closed = True
        if self._channel is not None:
            await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def _stub(self) -> "gateway_pb2_grpc.GatewayAsyncStub":
        self._check_open()
        if self._channel is None:
            self._channel = self._connection.open_async_channel()
        return gateway_pb2_grpc.GatewayStub(self._channel)

    async def _call(
        self, method: "grpc.aio.UnaryUnaryMultiCallable[_Request, _Response]", request: _Request
    ) -> _Response:
        patience = connection.Patience(self._connection.patience_seconds)
        while True:
            self._check_open()
            try:
                return await method(request, timeout=self._connection.timeout_seconds)
            except grpc.RpcError as error:
                self._check_open()
                delay = wire.find_delay(error, patience, wire.RETRIED_CALLS, self.address)
            except asyncio.CancelledError:
                # Closing a channel cancels its calls, which is not the task being cancelled.
                self._check_open()
                raise
            await asyncio.sleep(delay)

    async def _stream(
        self, job_id: str, inbox: Inbox, timeout_seconds: float | None
    ) -> AsyncIterator[Chunk]:
        patience = connection.Patience(self._connection.patience_seconds)
        deadline = wire.StreamDeadline(job_id, timeout_seconds)
        request = gateway_pb2.StreamResultsRequest(id=job_id)
        while True:
            is_token_new = self._connection.watch_token()
            call = self._stub().StreamResults(request, timeout=deadline.left())
            failure: grpc.RpcError | None = None
            try:
                async for response in call:
                    patience.renew()
                    chunk = inbox.accept(response)
                    if chunk is not None:
                        yield chunk
            except grpc.RpcError as error:
                failure = error
            except asyncio.CancelledError:
                self._check_open()
                raise
            finally:
                call.cancel()
            if inbox.record is not None:
                return
            self._check_open()
            deadline.check(failure)
            retried = wire.choose_retried(is_token_new())
            delay = wire.find_delay(failure, patience, retried, self.address)
            await asyncio.sleep(delay)

    def _check_open(self) -> None:
        if self._closed:
            raise errors.ClosedError(
                "The client is closed; make a new AsyncGatewayClient, or work inside its "
                "`async with` block."
            )


class AsyncJob:
    """A job at the gateway."""

    def __init__(self, client: AsyncGatewayClient, record: JobRecord) -> None:
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

    async def refresh(self) -> JobRecord:
        """Reads the job's record now."""
        self._record = await self._client.record(self.id)
        return self._record

    async def status(self) -> JobState:
        """Returns the job's state now; asks the gateway unless the state is final."""
        final = self._record.state.is_final
        return (self._record if final else await self.refresh()).state

    def results(self, *, timeout_seconds: float | None = None) -> AsyncIterator[Chunk]:
        """Yields results as circuits finish; see `GatewayClient.results`."""
        return self._client.results(self.id, timeout_seconds=timeout_seconds)

    async def result(self, *, timeout_seconds: float | None = None) -> JobResult:
        """Waits for the job and returns its whole result; see `GatewayClient.results`."""
        result = await self._client.wait(self.id, timeout_seconds=timeout_seconds)
        self._record = result.record
        return result

    async def cancel(self) -> JobRecord:
        """Cancels what is queued or running; a job that has ended stays as it is."""
        self._record = await self._client.cancel(self.id)
        return self._record

    def __repr__(self) -> str:
        return f"<AsyncJob {self.id} on {self._record.qpu}: {self._record.state.name.lower()}>"
