"""Writes onto bound pods why they are where they are, once the scheduler leaves time for it."""

import asyncio
import time
from dataclasses import dataclass

import structlog

from kubeqpu.common.backoff import Backoff
from kubeqpu.common.names import ANNOTATION_PLACEMENT
from kubeqpu.common.requests import find_resources
from kubeqpu.kube.errors import APIServerError
from kubeqpu.kube.objects import ObjectsAPI
from kubeqpu.kube.resources import PODS, Manifest, Selection, uid_of
from kubeqpu.kube.watches import ObjectWatch
from kubeqpu.scheduler_extender.activity import Activity
from kubeqpu.scheduler_extender.errors import MalformedRequestError, StaleDataError
from kubeqpu.scheduler_extender.events import EventQueue
from kubeqpu.scheduler_extender.explanation import Decision, Explanation, explain, narrow
from kubeqpu.scheduler_extender.placements import Placements
from kubeqpu.scheduler_extender.telemetry import Telemetry
from kubeqpu.scheduler_extender.wire import Pod, parse_pod

_LOG = structlog.get_logger(__name__)

# Placing pods comes first; so long, explaining waits for it.
LONGEST_DELAY_SECONDS = 20.0
_LOOK_SECONDS = 1.0
_LONGEST_WAIT_SECONDS = 10.0
_TOO_MANY_REQUESTS = 429


@dataclass(frozen=True, slots=True)
class _Bound:
    pod: Pod
    node: str
    decision: Decision | None
    seen_at: float


class Explainer:
    """Follows the pods that are bound.

    The scheduler binds them itself, and the explanation comes after: a pod does not wait for it,
    and what a request to the API server takes, no other pod waits for.

    Args:
        objects: The API server.
        placements: What was decided.
        events: Tells people.
        telemetry: Counts explanations.
        activity: Tells whether the scheduler rests.
        scheduler_name: The `schedulerName` of the pods.
        orphan_seconds: After how long a pod that nobody explained is judged anew: who decided
            explains, unless it was restarted.
    """

    def __init__(
        self,
        objects: ObjectsAPI,
        placements: Placements,
        events: EventQueue,
        telemetry: Telemetry,
        activity: Activity,
        scheduler_name: str,
        orphan_seconds: float,
    ) -> None:
        self._objects = objects
        self._placements = placements
        self._events = events
        self._telemetry = telemetry
        self._activity = activity
        self._orphan_seconds = orphan_seconds
        self._backoff = Backoff(_LONGEST_WAIT_SECONDS)
        # By uid, and the uids of those whose decision is known, in their order.
        self._unexplained: dict[str, _Bound] = {}
        self._known: asyncio.Queue[str] = asyncio.Queue()
        self._watch = ObjectWatch(
            objects,
            PODS,
            self._see_all,
            self._see,
            self._forget,
            Selection(
                fields=f"spec.schedulerName={scheduler_name},spec.nodeName!=",
                wanted=_asks_for_slots,
            ),
        )

    def __len__(self) -> int:
        return len(self._unexplained)

    async def run(self) -> None:
        """Explains until cancelled; no error ends it."""
        async with asyncio.TaskGroup() as group:
            for loop in (self._watch.run, self._explain_known, self._explain_orphans):
                group.create_task(loop())

    async def drain(self, seconds: float) -> None:
        """Waits until what was decided is explained, for so long at most."""
        try:
            async with asyncio.timeout(seconds):
                await self._known.join()
        except TimeoutError:
            _LOG.warning("Explanations left to the next extender", pods=self._known.qsize())

    def _see_all(self, manifests: tuple[Manifest, ...]) -> None:
        there = {uid_of(manifest) for manifest in manifests}
        for uid in self._unexplained.keys() - there:
            del self._unexplained[uid]
        for manifest in manifests:
            self._see(manifest)

    def _see(self, manifest: Manifest) -> None:
        if not _asks_for_slots(manifest):
            return
        uid = uid_of(manifest)
        waiting = self._unexplained.get(uid)
        if waiting is not None:
            if waiting.decision is None and _is_explained(manifest):
                del self._unexplained[uid]
            return
        node, taken = _node_of(manifest), self._placements.take_decision(uid)
        decision = narrow(taken, node) if taken is not None else None
        if decision is None and _is_explained(manifest):
            return
        try:
            bound = _Bound(parse_pod(manifest), node, decision, time.monotonic())
        except MalformedRequestError as error:
            self._telemetry.count_error("object")
            _LOG.warning("Pod not understood", uid=uid, reason=str(error))
            return
        self._unexplained[uid] = bound
        if decision is not None:
            self._known.put_nowait(uid)

    def _forget(self, manifest: Manifest) -> None:
        self._unexplained.pop(uid_of(manifest), None)

    async def _explain_known(self) -> None:
        while True:
            uid = await self._known.get()
            try:
                bound = self._unexplained.get(uid)
                if bound is not None and bound.decision is not None:
                    await self._activity.rest(until=bound.seen_at + LONGEST_DELAY_SECONDS)
                    await self._explain(bound, bound.decision)
            finally:
                self._known.task_done()

    async def _explain_orphans(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            latest = time.monotonic() - self._orphan_seconds
            orphans = [
                uid
                for uid, bound in self._unexplained.items()
                if bound.decision is None and bound.seen_at <= latest
            ]
            try:
                for uid in orphans:
                    # Another may have explained it meanwhile.
                    if (bound := self._unexplained.get(uid)) is not None:
                        decision = self._placements.decide_anew(bound.pod, bound.node)
                        await self._explain(bound, decision)
            except StaleDataError:
                continue  # they are judged when it is known from what

    async def _explain(self, bound: _Bound, decision: Decision | None) -> None:
        """Explains a pod, however often that takes, unless it makes no sense any more."""
        explanation = explain(decision, bound.node) if decision is not None else None
        while explanation is not None and bound.pod.uid in self._unexplained:
            try:
                await self._write(bound.pod, explanation)
            except APIServerError as error:
                self._telemetry.count_error("explanation")
                _LOG.warning("Pod not explained", pod=bound.pod.reference, reason=str(error))
                if 400 <= error.status < 500 and error.status != _TOO_MANY_REQUESTS:
                    self._telemetry.count_explanation("given_up")
                    break  # the pod is gone, or will never take it
                await asyncio.sleep(self._backoff.fail())
            else:
                self._backoff.succeed()
                anew = decision is not None and decision.anew
                self._telemetry.count_explanation("written_anew" if anew else "written")
                pod = bound.pod
                self._events.tell(pod.namespace, pod.name, pod.uid, explanation.sentence)
                break
        self._unexplained.pop(bound.pod.uid, None)

    async def _write(self, pod: Pod, explanation: Explanation) -> None:
        # Of its status, because that right the scheduler has anyway, and it changes no container.
        annotations = {ANNOTATION_PLACEMENT: explanation.annotation}
        patch: Manifest = {"metadata": {"uid": pod.uid, "annotations": {**annotations}}}
        await self._objects.merge(PODS.within(pod.namespace), pod.name, patch, part="status")


def _asks_for_slots(manifest: Manifest) -> bool:
    spec = manifest.get("spec")
    return isinstance(spec, dict) and bool(find_resources(spec))


def _is_explained(manifest: Manifest) -> bool:
    metadata = manifest.get("metadata")
    annotations = metadata.get("annotations") if isinstance(metadata, dict) else None
    return isinstance(annotations, dict) and ANNOTATION_PLACEMENT in annotations


def _node_of(manifest: Manifest) -> str:
    spec = manifest.get("spec")
    node = spec.get("nodeName") if isinstance(spec, dict) else None
    return node if isinstance(node, str) else ""
