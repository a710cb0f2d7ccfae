"""A gateway in this process that speaks the whole contract and breaks when told to.

It computes with Qiskit's state vectors. What a real gateway does by accident (stop in the middle
of a stream, lose an acknowledgement) it does on request, so that clients can be tested for it.
"""

import dataclasses
import hashlib
import io
import threading
import time
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import NoReturn, Self

import grpc
import numpy as np
from qiskit import qpy

from kubeqpu.proto.v1 import gateway_pb2, gateway_pb2_grpc, qpu_pb2
from tests.support.memory_circuits import bind, describe_qpu, estimate, sample

NOT_FINAL = {gateway_pb2.JOB_STATE_QUEUED, gateway_pb2.JOB_STATE_RUNNING}

Entry = gateway_pb2.SamplerEntry | gateway_pb2.EstimatorEntry


@dataclasses.dataclass
class Faults:
    """What goes wrong next.

    Attributes:
        lost_acknowledgements: Submissions that are stored but answered with UNAVAILABLE.
        stream_breaks: Messages after which the next streams break, one number per stream.
        break_code: Status of a broken stream; None ends it without a status of its own.
        scrambled: Send chunks in reverse order.
    """

    lost_acknowledgements: int = 0
    stream_breaks: list[int] = dataclasses.field(default_factory=list)
    break_code: grpc.StatusCode | None = grpc.StatusCode.UNAVAILABLE
    scrambled: bool = False


class MemoryGateway(gateway_pb2_grpc.GatewayServicer):
    """Serves on a unix socket; jobs and blobs live as long as the object, over restarts."""

    def __init__(self, directory: Path, rows_per_chunk: int = 3) -> None:
        self.address = f"unix:{directory / 'memory.sock'}"
        self.faults = Faults()
        self.release = threading.Event()
        self.release.set()
        self.submissions: list[gateway_pb2.SubmitJobRequest] = []
        self.streams = 0
        self._rows_per_chunk = rows_per_chunk
        self._jobs: dict[str, gateway_pb2.Job] = {}
        self._specs: dict[str, gateway_pb2.JobSpec] = {}
        self._blobs: dict[str, bytes] = {}
        self._server: grpc.Server | None = None

    def start(self) -> Self:
        self._server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
        gateway_pb2_grpc.add_GatewayServicer_to_server(self, self._server)
        self._server.add_insecure_port(self.address)
        self._server.start()
        return self

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop(grace=None).wait()
            self._server = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.release.set()
        self.stop()

    def SubmitJob(  # noqa: N802
        self, request: gateway_pb2.SubmitJobRequest, context: grpc.ServicerContext
    ) -> gateway_pb2.Job:
        self.submissions.append(request)
        key, spec = request.idempotency_key, request.spec
        if spec.qpu not in {"memory", ""}:
            _abort(context, grpc.StatusCode.NOT_FOUND, f"There is no QPU {spec.qpu!r}.")
        if spec.options.HasField("twirling"):
            _abort(context, grpc.StatusCode.INVALID_ARGUMENT, "Provider memory cannot twirl.")
        entries: list[Entry] = [*spec.sampler.entries, *spec.estimator.entries]
        if key in self._specs and self._specs[key] != spec:
            _abort(context, grpc.StatusCode.ALREADY_EXISTS, f"Key {key} is used.")
        if key not in self._jobs:
            self._specs[key] = spec
            self._jobs[key] = gateway_pb2.Job(
                id=f"job-{len(self._jobs)}-{key[:8]}",
                qpu="memory",
                state=gateway_pb2.JOB_STATE_QUEUED,
                seed=spec.seed if spec.HasField("seed") else 7,
                circuits=sum(entry.parameters.rows for entry in entries),
                priority=spec.priority,
                idempotency_key=key,
            )
            self._jobs[key].submitted_at.GetCurrentTime()
        if self.faults.lost_acknowledgements:
            self.faults.lost_acknowledgements -= 1
            _abort(context, grpc.StatusCode.UNAVAILABLE, "The acknowledgement is lost.")
        return self._jobs[key]

    def GetJob(  # noqa: N802
        self, request: gateway_pb2.GetJobRequest, context: grpc.ServicerContext
    ) -> gateway_pb2.Job:
        return self._find(request.id, context)

    def ListJobs(  # noqa: N802
        self, request: gateway_pb2.ListJobsRequest, context: grpc.ServicerContext
    ) -> gateway_pb2.ListJobsResponse:
        jobs = [
            job
            for job in reversed(self._jobs.values())
            if not request.states or job.state in request.states
        ]
        begin = int(request.page_token or 0)
        end = begin + min(request.page_size, 2)
        token = str(end) if end < len(jobs) else ""
        return gateway_pb2.ListJobsResponse(jobs=jobs[begin:end], next_page_token=token)

    def CancelJob(  # noqa: N802
        self, request: gateway_pb2.CancelJobRequest, context: grpc.ServicerContext
    ) -> gateway_pb2.Job:
        job = self._find(request.id, context)
        if job.state in NOT_FINAL:
            job.state = gateway_pb2.JOB_STATE_CANCELLED
            job.message = "The caller cancelled it."
        return job

    def StreamResults(  # noqa: N802
        self, request: gateway_pb2.StreamResultsRequest, context: grpc.ServicerContext
    ) -> Iterator[gateway_pb2.StreamResultsResponse]:
        job = self._find(request.id, context)
        self.streams += 1
        left = self.faults.stream_breaks.pop(0) if self.faults.stream_breaks else None
        for response in self._respond(job, context):
            if left == 0:
                if self.faults.break_code is not None:
                    _abort(context, self.faults.break_code, "The stream is broken on request.")
                return
            left = None if left is None else left - 1
            yield response

    def _respond(
        self, job: gateway_pb2.Job, context: grpc.ServicerContext
    ) -> Iterator[gateway_pb2.StreamResultsResponse]:
        chunks = self._run(job)
        for chunk in reversed(list(chunks)) if self.faults.scrambled else chunks:
            yield gateway_pb2.StreamResultsResponse(chunk=chunk)
            while not self.release.wait(0.01):
                if not context.is_active():
                    return
                if job.state == gateway_pb2.JOB_STATE_CANCELLED:
                    yield gateway_pb2.StreamResultsResponse(job=job)
                    return
        if job.state in NOT_FINAL:
            job.state = gateway_pb2.JOB_STATE_SUCCEEDED
        job.circuits_finished = job.circuits
        yield gateway_pb2.StreamResultsResponse(job=job)

    def ListQPUs(  # noqa: N802
        self, request: gateway_pb2.ListQPUsRequest, context: grpc.ServicerContext
    ) -> gateway_pb2.ListQPUsResponse:
        return gateway_pb2.ListQPUsResponse(qpus=[describe_qpu(include_target=False)])

    def GetQPU(  # noqa: N802
        self, request: gateway_pb2.GetQPURequest, context: grpc.ServicerContext
    ) -> qpu_pb2.QPU:
        if request.name != "memory":
            _abort(context, grpc.StatusCode.NOT_FOUND, f"There is no QPU {request.name!r}.")
        return describe_qpu(request.include_target)

    def PutBlob(  # noqa: N802
        self, request: gateway_pb2.PutBlobRequest, context: grpc.ServicerContext
    ) -> gateway_pb2.PutBlobResponse:
        digest = "sha256:" + hashlib.sha256(request.data).hexdigest()
        self._blobs[digest] = request.data
        response = gateway_pb2.PutBlobResponse(digest=digest)
        response.expires_at.FromSeconds(int(time.time()) + request.ttl.seconds)
        return response

    def GetBlob(  # noqa: N802
        self, request: gateway_pb2.GetBlobRequest, context: grpc.ServicerContext
    ) -> gateway_pb2.GetBlobResponse:
        if request.digest not in self._blobs:
            _abort(context, grpc.StatusCode.NOT_FOUND, f"There is no blob {request.digest}.")
        return gateway_pb2.GetBlobResponse(data=self._blobs[request.digest])

    def spoil_blob(self, digest: str) -> None:
        """Flips a bit of a stored blob."""
        data = self._blobs[digest]
        self._blobs[digest] = bytes([data[0] ^ 1]) + data[1:]

    def fail(self, job_id: str, message: str) -> None:
        """Ends a job in failure."""
        job = next(job for job in self._jobs.values() if job.id == job_id)
        job.state, job.message = gateway_pb2.JOB_STATE_FAILED, message

    def _find(self, job_id: str, context: grpc.ServicerContext) -> gateway_pb2.Job:
        found = [job for job in self._jobs.values() if job.id == job_id]
        if not found:
            _abort(context, grpc.StatusCode.NOT_FOUND, f"There is no job {job_id!r}.")
        return found[0]

    def _run(self, job: gateway_pb2.Job) -> Iterator[gateway_pb2.ResultChunk]:
        spec = self._specs[job.idempotency_key]
        circuits = qpy.load(io.BytesIO(spec.circuits))
        entries: list[Entry] = [*spec.sampler.entries, *spec.estimator.entries]
        for index, entry in enumerate(entries):
            for first in range(0, entry.parameters.rows, self._rows_per_chunk):
                rows = range(first, min(first + self._rows_per_chunk, entry.parameters.rows))
                chunk = gateway_pb2.ResultChunk(entry=index, first_row=first, rows=len(rows))
                chunk.execution.qpu = "memory"
                chunk.execution.method = "statevector"
                bound = {row: bind(circuits[entry.template], entry.parameters, row) for row in rows}
                seeds = {row: np.random.SeedSequence([job.seed, index, row]) for row in rows}
                if isinstance(entry, gateway_pb2.EstimatorEntry):
                    estimate(chunk, entry, bound, seeds, spec.estimator.exact)
                else:
                    sample(chunk, entry, bound, seeds, spec.sampler.format)
                yield chunk


def _abort(context: grpc.ServicerContext, code: grpc.StatusCode, details: str) -> NoReturn:
    context.abort(code, details)
    raise AssertionError("abort raises")
