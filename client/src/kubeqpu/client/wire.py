"""Requests and answers of the gateway's calls, shared by the sync and the async client."""

import hashlib
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

import grpc

from kubeqpu.client import errors
from kubeqpu.client.connection import Patience
from kubeqpu.client.records import JobState
from kubeqpu.client.requests import EstimatorJob, SamplerJob, write_duration, write_spec
from kubeqpu.proto.v1 import gateway_pb2

MAX_KEY_CHARACTERS = 128
PAGE_SIZE = 200

RETRIED_CALLS = frozenset({grpc.StatusCode.UNAVAILABLE})
# A gateway that stops cancels its streams.
RETRIED_STREAMS = RETRIED_CALLS | {grpc.StatusCode.CANCELLED}

# A stream may outlast the token that it began with; the next attempt brings the one that follows.
RETRIED_WITH_NEW_TOKEN = RETRIED_STREAMS | {grpc.StatusCode.UNAUTHENTICATED}


@dataclass(frozen=True)
class Blob:
    """Bytes kept by the gateway.

    Attributes:
        digest: "sha256:" and 64 hexadecimal digits; what `get_blob` takes.
        expires_at: When the gateway deletes it, or None.
    """

    digest: str
    expires_at: datetime | None


def write_submission(
    job: SamplerJob | EstimatorJob, default_qpu: str | None, key: str | None
) -> gateway_pb2.SubmitJobRequest:
    """Writes a submission, with a key that makes repeating it safe.

    Raises:
        InvalidRequestError: If the job or the key cannot be written.
    """
    found = uuid.uuid4().hex if key is None else key
    if not 0 < len(found) <= MAX_KEY_CHARACTERS:
        raise errors.InvalidRequestError(
            f"The idempotency key has {len(found)} characters; expected 1 to {MAX_KEY_CHARACTERS}."
        )
    return gateway_pb2.SubmitJobRequest(idempotency_key=found, spec=write_spec(job, default_qpu))


def write_listing(states: Iterable[JobState]) -> gateway_pb2.ListJobsRequest:
    """Writes the request for the first page of jobs."""
    return gateway_pb2.ListJobsRequest(
        states=[state.value for state in states], page_size=PAGE_SIZE
    )


def write_blob(data: bytes, ttl_seconds: float | None) -> gateway_pb2.PutBlobRequest:
    """Writes the request that stores a blob."""
    ttl = None if ttl_seconds is None else write_duration("ttl_seconds", ttl_seconds)
    return gateway_pb2.PutBlobRequest(data=data, ttl=ttl)


def read_blob(response: gateway_pb2.PutBlobResponse) -> Blob:
    """Reads where a blob is kept."""
    present = response.HasField("expires_at")
    return Blob(response.digest, response.expires_at.ToDatetime(tzinfo=UTC) if present else None)


def check_blob(digest: str, data: bytes) -> bytes:
    """Returns the bytes if they have the digest.

    Raises:
        ProtocolError: If they do not.
    """
    found = "sha256:" + hashlib.sha256(data).hexdigest()
    if found != digest:
        raise errors.ProtocolError(
            f"The gateway sent bytes with digest {found} for {digest}; do not use them, and check "
            "the gateway's disk."
        )
    return data


class StreamDeadline:
    """How long a stream may take over all its attempts."""

    def __init__(self, job_id: str, timeout_seconds: float | None) -> None:
        self._job_id = job_id
        self._seconds = timeout_seconds
        self._end = None if timeout_seconds is None else time.monotonic() + timeout_seconds

    def left(self) -> float | None:
        """Returns the seconds left, or None without a limit."""
        return None if self._end is None else max(0.0, self._end - time.monotonic())

    def check(self, failure: grpc.RpcError | None) -> None:
        """Raises when time is up.

        Raises:
            DeadlineError: If it is; the job runs on.
        """
        if self.left() == 0.0:
            raise errors.DeadlineError(
                f"Job {self._job_id} did not finish within {self._seconds:g} seconds; it runs on. "
                "Ask again for its results later, or cancel it."
            ) from failure


def find_delay(
    failure: grpc.RpcError | None,
    patience: Patience,
    retried: frozenset[grpc.StatusCode],
    address: str,
) -> float:
    """Returns how many seconds to wait before a broken call is made again.

    Args:
        failure: What gRPC raised; None for a stream that ended before its job.
        patience: How long to go on.
        retried: Status codes worth another attempt.
        address: The gateway's address.

    Raises:
        ClientError: If another attempt is of no use, or time is up.
    """
    if failure is not None and (
        errors.read_status(failure)[0] not in retried
        or errors.find_refusal(failure, address) is not None
    ):
        raise errors.translate(failure, address) from failure
    delay = patience.next_delay()
    if delay is not None:
        return delay
    if failure is not None:
        raise errors.translate(failure, address) from failure
    raise errors.ProtocolError(
        f"The gateway at {address} ends the stream of results before the job's end, again and "
        "again. Look at the gateway's log."
    )


def choose_retried(is_token_new: bool) -> frozenset[grpc.StatusCode]:
    """Chooses after which status codes a stream is worth another attempt."""
    return RETRIED_WITH_NEW_TOKEN if is_token_new else RETRIED_STREAMS
