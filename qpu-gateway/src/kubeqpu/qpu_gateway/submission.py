"""Submitting a job: checked, placed, stored; in this order, and nothing changes before the last."""

import asyncio
import hashlib
import secrets
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Protocol

import structlog

from kubeqpu.common.placement import (
    CircuitShape,
    NoFittingQPUError,
    PlacementClass,
    place,
)
from kubeqpu.proto.v1 import gateway_pb2, qpu_pb2
from kubeqpu.qpu_gateway.access import Access, Caller, Verb
from kubeqpu.qpu_gateway.access.control import AccessControl
from kubeqpu.qpu_gateway.circuits import CircuitSummary
from kubeqpu.qpu_gateway.dispatcher import Dispatcher
from kubeqpu.qpu_gateway.errors import (
    GatewayError,
    InvalidRequestError,
    ProviderUnavailableError,
)
from kubeqpu.qpu_gateway.fitness import check_fitness
from kubeqpu.qpu_gateway.jobs import Job, NewJob, entry_rows
from kubeqpu.qpu_gateway.messages import to_qpu
from kubeqpu.qpu_gateway.qpus import QPUs
from kubeqpu.qpu_gateway.settings import GatewaySettings
from kubeqpu.qpu_gateway.store import Store
from kubeqpu.qpu_gateway.telemetry import Telemetry
from kubeqpu.qpu_gateway.validation import check_circuits, check_request

_LOG = structlog.get_logger(__name__)

# Counted when the shape of a job is estimated, which ranks QPUs and decides nothing else.
_TWO_QUBIT_GATES = frozenset(
    [
        *("cx", "cz", "cy", "ch", "cp", "crx", "cry", "crz", "ecr", "iswap", "swap", "dcx"),
        *("rxx", "ryy", "rzz", "rzx", "csx", "cs", "csdg", "cu", "xx_plus_yy", "xx_minus_yy"),
    ]
)
# Refusals by which a QPU may be free again in a while.
_PASSING_REFUSALS = frozenset(["NotReady", "NotAccepting", "Cordoned", "WaitTooLong"])


class Inspector(Protocol):
    """Loads circuits apart from this process and describes them."""

    async def inspect(self, tenant: str, qpy: bytes) -> tuple[CircuitSummary, ...]:
        """Describes each circuit of a QPY payload.

        Raises:
            CircuitError: If the payload is not acceptable.
        """


class Submission:
    """Takes jobs in.

    Args:
        settings: Limits and defaults.
        classes: QPU classes by name, which may change at any time.
        qpus: The QPUs of this gateway.
        store: Where jobs go.
        inspector: Loads the circuits.
        dispatcher: Runs stored jobs.
        telemetry: Told what happens.
        access: Knows callers and their rights.
    """

    def __init__(  # noqa: PLR0913 - what a job passes on its way in
        self,
        settings: GatewaySettings,
        classes: Mapping[str, PlacementClass],
        qpus: QPUs,
        store: Store,
        inspector: Inspector,
        dispatcher: Dispatcher,
        telemetry: Telemetry,
        *,
        access: Access,
    ) -> None:
        self._settings = settings
        self._classes = classes
        self._qpus = qpus
        self._store = store
        self._inspector = inspector
        self._dispatcher = dispatcher
        self._telemetry = telemetry
        self._access = AccessControl(access, telemetry)

    async def submit(self, request: gateway_pb2.SubmitJobRequest, caller: Caller) -> Job:
        """Stores a job durably, or finds the one with its idempotency key.

        Raises:
            GatewayError: If the job is refused; then nothing changed.
        """
        check_request(request, self._settings.limits)
        spec = request.spec
        self._check_target(spec)
        permitted = await self._find_permitted(spec, caller)
        # Now: the pod may be gone when its circuits have been looked at.
        held = {name for name in permitted if self._access.holds(caller, name)}
        digest = hashlib.sha256(spec.SerializeToString(deterministic=True)).hexdigest()
        try:
            summaries = await self._inspector.inspect(caller.tenant, spec.circuits)
            check_circuits(spec, summaries)
            qpu, placement = await self._place(spec, summaries, permitted)
        except GatewayError:
            # A job taken earlier stays the same job, even if today it would be refused.
            same = await self._store.find_same(caller.tenant, request.idempotency_key, digest)
            if same is None:
                raise
            return await self._hand_back(same, caller, permitted)
        new = self._new_job(request, caller, digest, qpu, placement)
        new = replace(new, follows_pod=qpu in held and not spec.detached)
        job, is_new = await self._store.insert_job(new)
        if not is_new:
            return await self._hand_back(job, caller, permitted)
        self._telemetry.count_submitted(qpu)
        self._dispatcher.submit(job, new.spec)
        _LOG.info("Job stored", job=job.reference, qpu=qpu, circuits=job.circuits)
        return job

    async def _find_permitted(self, spec: gateway_pb2.JobSpec, caller: Caller) -> frozenset[str]:
        """Finds the QPUs among which to place a job; asks before its circuits cost anything."""
        if spec.HasField("qpu"):
            await self._access.authorise(caller, Verb.CREATE, spec.qpu)
            return frozenset([spec.qpu])
        return await self._access.require_any(caller, Verb.CREATE, self._qpus)

    async def _hand_back(self, job: Job, caller: Caller, permitted: frozenset[str]) -> Job:
        """Gives a job taken earlier, which may be where the caller may go no longer."""
        if job.qpu not in permitted:
            await self._access.authorise(caller, Verb.CREATE, job.qpu)
        pod = caller.pod
        if job.state.final or not job.follows_pod or (pod and pod.uid == job.pod_uid):
            return job
        if pod is None or self._access.is_present(job.submitter):
            # Two want it now, so it ends with neither.
            return await self._store.hand_over(job.id, job.pod, job.pod_uid, follows_pod=False)
        follows = self._access.holds(caller, job.qpu)
        return await self._store.hand_over(job.id, pod.name, pod.uid, follows)

    def _check_target(self, spec: gateway_pb2.JobSpec) -> None:
        if spec.HasField("qpu"):
            self._qpus[spec.qpu]
        elif spec.qpu_class not in self._classes:
            raise InvalidRequestError(
                f"There is no class {spec.qpu_class!r}; choose one of "
                f"{', '.join(sorted(self._classes))}."
            )

    async def _place(
        self,
        spec: gateway_pb2.JobSpec,
        summaries: Sequence[CircuitSummary],
        permitted: frozenset[str],
    ) -> tuple[str, str]:
        if spec.HasField("qpu"):
            qpu = self._qpus[spec.qpu]
            qpu.check_schedulable()
            check_fitness(spec, summaries, await qpu.describe_recently())
            return spec.qpu, ""
        served = [qpu for qpu in self._qpus.values() if qpu.name in permitted]
        described = await asyncio.gather(*(qpu.describe() for qpu in served))
        fitting, refused = _divide(spec, summaries, described)
        if not fitting:
            reasons = [*refused.values(), *self._say_left_out(permitted)]
            raise InvalidRequestError(f"No QPU can run this job. {' '.join(reasons)}")
        candidates = []
        for item in fitting:
            qpu = self._qpus[item.name]
            candidates.append(to_qpu(item, qpu.count_running(), qpu.unschedulable, qpu.labels))
        wanted = _with_width(self._classes[spec.qpu_class], summaries)
        try:
            chosen = place(candidates, wanted, datetime.now(UTC), _shape(spec, summaries))
        except NoFittingQPUError as error:
            message = " ".join([str(error), *self._say_left_out(permitted)])
            if any(refusal.reason in _PASSING_REFUSALS for refusal in error.refusals):
                raise ProviderUnavailableError(f"{message} Try again later.") from error
            raise InvalidRequestError(message) from error
        return chosen.qpu, chosen.sentence()

    def _say_left_out(self, permitted: frozenset[str]) -> list[str]:
        """Tells which QPUs were no candidates because the caller may not use them."""
        left_out = [name for name in self._qpus if name not in permitted]
        return [f"You may not run circuits on {', '.join(left_out)}."] if left_out else []

    def _new_job(
        self,
        request: gateway_pb2.SubmitJobRequest,
        caller: Caller,
        digest: str,
        qpu: str,
        placement: str,
    ) -> NewJob:
        stored = gateway_pb2.JobSpec()
        stored.CopyFrom(request.spec)
        stored.qpu = qpu
        if not stored.HasField("seed"):
            stored.seed = secrets.randbits(64)
        ttl = self._settings.result_ttl_seconds
        if stored.HasField("result_ttl"):
            ttl = stored.result_ttl.seconds + stored.result_ttl.nanos / 1e9
        return NewJob(
            id=uuid.uuid4().hex,
            tenant=caller.tenant,
            idempotency_key=request.idempotency_key,
            spec_digest=digest,
            spec=stored.SerializeToString(),
            qpu=qpu,
            placement=placement,
            seed=stored.seed,
            circuits=sum(entry_rows(stored)),
            priority=stored.priority,
            submitted_at=time.time(),
            result_ttl_seconds=ttl,
            pod="" if caller.pod is None else caller.pod.name,
            pod_uid="" if caller.pod is None else caller.pod.uid,
        )


def _divide(
    spec: gateway_pb2.JobSpec,
    summaries: Sequence[CircuitSummary],
    described: Sequence[qpu_pb2.QPU],
) -> tuple[list[qpu_pb2.QPU], Mapping[str, str]]:
    """Divides QPUs into those that can run a job and, with the reason, those that cannot."""
    fitting: list[qpu_pb2.QPU] = []
    refused: dict[str, str] = {}
    for qpu in described:
        if qpu.num_qubits == 0:
            # Not started yet: placement tells why it is not ready.
            fitting.append(qpu)
            continue
        try:
            check_fitness(spec, summaries, qpu)
        except GatewayError as error:
            refused[qpu.name] = str(error)
        else:
            fitting.append(qpu)
    return fitting, refused


def _with_width(wanted: PlacementClass, summaries: Sequence[CircuitSummary]) -> PlacementClass:
    width = max((summary.num_qubits for summary in summaries), default=1)
    least = max(width, wanted.requirements.min_qubits)
    return replace(wanted, requirements=replace(wanted.requirements, min_qubits=least))


def _shape(spec: gateway_pb2.JobSpec, summaries: Sequence[CircuitSummary]) -> CircuitShape:
    """Estimates the shape of a job's largest circuit."""

    def count(summary: CircuitSummary) -> int:
        found = summary.operations.items()
        return sum(times for name, times in found if name in _TWO_QUBIT_GATES)

    largest = max(summaries, key=count)
    measured = largest.measured_clbits if spec.HasField("sampler") else largest.num_qubits
    return CircuitShape(count(largest), measured)
