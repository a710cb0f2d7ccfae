"""The RPCs of `kubeqpu.v1.Gateway`: wire messages in, wire messages out."""

import asyncio
import contextlib
import hashlib
import re
from collections.abc import AsyncIterator
from typing import Any

import grpc

from kubeqpu.proto.v1 import gateway_pb2, gateway_pb2_grpc, qpu_pb2
from kubeqpu.qpu_gateway.access import Access, Caller, Verb
from kubeqpu.qpu_gateway.access.control import AccessControl
from kubeqpu.qpu_gateway.cancelling import Canceller
from kubeqpu.qpu_gateway.dispatcher import Dispatcher
from kubeqpu.qpu_gateway.errors import (
    InvalidRequestError,
    NotFoundError,
    ResourceExhaustedError,
)
from kubeqpu.qpu_gateway.feed import Feed
from kubeqpu.qpu_gateway.jobs import Job, JobState
from kubeqpu.qpu_gateway.messages import to_job_message, to_timestamp
from kubeqpu.qpu_gateway.qpus import QPUs
from kubeqpu.qpu_gateway.settings import GatewaySettings
from kubeqpu.qpu_gateway.store import Store
from kubeqpu.qpu_gateway.submission import Submission
from kubeqpu.qpu_gateway.telemetry import Telemetry
from kubeqpu.qpu_gateway.validation import check_ttl_seconds

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_JOB_ID = re.compile(r"[0-9a-f]{32}")
_DEFAULT_PAGE = 100
_LARGEST_PAGE = 1000

Context = grpc.aio.ServicerContext[Any, Any]


class GatewayService(gateway_pb2_grpc.GatewayServicer):
    """Serves the contract.

    Every call tells first who calls. A job is looked up as its tenant's before anybody asks for
    rights on it, so that another tenant's job and one that does not exist take the same path.

    Args:
        settings: Limits and defaults.
        qpus: The QPUs of this gateway.
        store: Where jobs, results and blobs are.
        submission: Takes jobs in.
        dispatcher: Ends what is cancelled.
        feed: Streams results.
        telemetry: Told what happens.
        access: Knows callers and their rights.
    """

    def __init__(  # noqa: PLR0913 - the parts of a gateway meet here
        self,
        settings: GatewaySettings,
        qpus: QPUs,
        store: Store,
        submission: Submission,
        dispatcher: Dispatcher,
        feed: Feed,
        telemetry: Telemetry,
        *,
        access: Access,
    ) -> None:
        self._settings = settings
        self._qpus = qpus
        self._store = store
        self._submission = submission
        self._canceller = Canceller(store, dispatcher, feed, telemetry)
        self._feed = feed
        self._access = AccessControl(access, telemetry)

    async def SubmitJob(  # noqa: N802
        self, request: gateway_pb2.SubmitJobRequest, context: Context
    ) -> gateway_pb2.Job:
        """Stores a job durably, then acknowledges it."""
        caller = await self._identify(context)
        return to_job_message(await self._submission.submit(request, caller))

    async def GetJob(  # noqa: N802
        self, request: gateway_pb2.GetJobRequest, context: Context
    ) -> gateway_pb2.Job:
        """Reads a job."""
        caller = await self._identify(context)
        job = await self._store.read_job(request.id, caller.tenant)
        await self._access.authorise(caller, Verb.GET, job.qpu)
        return to_job_message(job)

    async def ListJobs(  # noqa: N802
        self, request: gateway_pb2.ListJobsRequest, context: Context
    ) -> gateway_pb2.ListJobsResponse:
        """Reads the tenant's jobs, newest first, page by page.

        Jobs on QPUs that the caller may not read are left out, so a page may be short, or empty
        with more to come.
        """
        caller = await self._identify(context)
        limit = min(request.page_size or _DEFAULT_PAGE, _LARGEST_PAGE)
        states = _states(request)
        before = await self._find_position(request.page_token, caller.tenant)
        jobs = await self._store.list_jobs(caller.tenant, states, limit + 1, before)
        more = len(jobs) > limit
        page = jobs[:limit]
        qpus = {job.qpu for job in page}
        permitted = await self._access.find_permitted(caller, Verb.GET, qpus)
        return gateway_pb2.ListJobsResponse(
            jobs=[to_job_message(job) for job in page if job.qpu in permitted],
            next_page_token=page[-1].id if more else "",
        )

    async def CancelJob(  # noqa: N802
        self, request: gateway_pb2.CancelJobRequest, context: Context
    ) -> gateway_pb2.Job:
        """Cancels a job that is queued or running; a final one stays as it is."""
        caller = await self._identify(context)
        before = await self._store.read_job(request.id, caller.tenant)
        await self._access.authorise(caller, Verb.DELETE, before.qpu)
        return to_job_message(await self._canceller.cancel(before, "Cancelled by its owner."))

    async def StreamResults(  # noqa: N802
        self, request: gateway_pb2.StreamResultsRequest, context: Context
    ) -> AsyncIterator[gateway_pb2.StreamResultsResponse]:
        """Sends stored results, then those to come, then the final job.

        Ends within a minute after the caller lost its right to read them.
        """
        caller = await self._identify(context)
        job = await self._store.read_job(request.id, caller.tenant)
        await self._access.authorise(caller, Verb.GET, job.qpu)
        right = self._access.stand(context.invocation_metadata(), Verb.GET, job.qpu)
        async with contextlib.aclosing(self._feed.stream(job.id, right)) as events:
            async for event in events:
                if isinstance(event, Job):
                    yield gateway_pb2.StreamResultsResponse(job=to_job_message(event))
                else:
                    yield gateway_pb2.StreamResultsResponse(chunk=event)

    async def ListQPUs(  # noqa: N802
        self, request: gateway_pb2.ListQPUsRequest, context: Context
    ) -> gateway_pb2.ListQPUsResponse:
        """Describes all QPUs, without their targets."""
        await self._identify(context)
        described = await asyncio.gather(*(qpu.describe() for qpu in self._qpus.values()))
        return gateway_pb2.ListQPUsResponse(qpus=described)

    async def GetQPU(  # noqa: N802
        self, request: gateway_pb2.GetQPURequest, context: Context
    ) -> qpu_pb2.QPU:
        """Describes one QPU."""
        await self._identify(context)
        return await self._qpus[request.name].describe(request.include_target)

    async def PutBlob(  # noqa: N802
        self, request: gateway_pb2.PutBlobRequest, context: Context
    ) -> gateway_pb2.PutBlobResponse:
        """Stores a blob under its digest; one that is there is kept for longer."""
        tenant = (await self._identify(context)).tenant
        limits = self._settings.limits
        if len(request.data) > limits.max_blob_bytes:
            raise ResourceExhaustedError(
                f"The blob has {len(request.data)} bytes and may have {limits.max_blob_bytes}; "
                "divide it."
            )
        ttl = self._settings.blob_ttl_seconds
        if request.HasField("ttl"):
            ttl = request.ttl.seconds + request.ttl.nanos / 1e9
            check_ttl_seconds(ttl, limits)
        digest = f"sha256:{hashlib.sha256(request.data).hexdigest()}"
        expires_at = await self._store.put_blob(tenant, digest, request.data, ttl)
        return gateway_pb2.PutBlobResponse(digest=digest, expires_at=to_timestamp(expires_at))

    async def GetBlob(  # noqa: N802
        self, request: gateway_pb2.GetBlobRequest, context: Context
    ) -> gateway_pb2.GetBlobResponse:
        """Reads a blob."""
        tenant = (await self._identify(context)).tenant
        if not _DIGEST.fullmatch(request.digest):
            raise InvalidRequestError(
                f"The digest {request.digest[:80]!r} is malformed; expected sha256: and 64 "
                "hexadecimal digits."
            )
        return gateway_pb2.GetBlobResponse(data=await self._store.get_blob(tenant, request.digest))

    async def _identify(self, context: Context) -> Caller:
        return await self._access.identify(context.invocation_metadata())

    async def _find_position(self, page_token: str, tenant: str) -> int | None:
        """Finds where a page begins.

        Tokens are the tenant's own job ids: sequence numbers would count other tenants' jobs.
        """
        if not page_token:
            return None
        if not _JOB_ID.fullmatch(page_token):
            raise InvalidRequestError(
                f"The page token {page_token[:80]!r} is malformed; use the one of the last page."
            )
        try:
            return (await self._store.read_job(page_token, tenant)).sequence
        except NotFoundError as error:
            raise InvalidRequestError(
                "The page's jobs expired meanwhile; list from the start."
            ) from error


def _states(request: gateway_pb2.ListJobsRequest) -> list[JobState]:
    try:
        return [JobState(state) for state in request.states]
    except ValueError as error:
        raise InvalidRequestError(
            f"The states {list(request.states)} hold one that does not exist; leave them out for "
            "all states."
        ) from error
