"""Binds pods, with the explanation in the same request: no bound pod is without it."""

import structlog

from kubeqpu.common.names import ANNOTATION_PLACEMENT
from kubeqpu.kube.errors import APIServerError
from kubeqpu.kube.objects import ObjectsAPI
from kubeqpu.kube.resources import PODS, Manifest, uid_of
from kubeqpu.scheduler_extender.errors import MalformedRequestError, StaleDataError
from kubeqpu.scheduler_extender.events import EventQueue
from kubeqpu.scheduler_extender.explanation import Decision, Explanation, explain
from kubeqpu.scheduler_extender.placements import Placements
from kubeqpu.scheduler_extender.telemetry import Telemetry
from kubeqpu.scheduler_extender.wire import BindRequest, parse_pod

_LOG = structlog.get_logger(__name__)


class Binder:
    """Creates bindings.

    Args:
        objects: The API server.
        placements: What was decided.
        events: Tells people.
        telemetry: Counts bindings.
        timeout_seconds: How long a request to the API server may take.
    """

    def __init__(
        self,
        objects: ObjectsAPI,
        placements: Placements,
        events: EventQueue,
        telemetry: Telemetry,
        timeout_seconds: float,
    ) -> None:
        self._objects = objects
        self._placements = placements
        self._events = events
        self._telemetry = telemetry
        self._timeout_seconds = timeout_seconds

    async def bind(self, request: BindRequest) -> str:
        """Binds a pod to a node; returns why it could not, or nothing."""
        reference = f"{request.namespace}/{request.name}"
        try:
            decision, explanation = await self._explain(request)
            await self._objects.create(
                PODS.within(request.namespace),
                write_binding(request, explanation),
                self._timeout_seconds,
                part="binding",
            )
        except (APIServerError, StaleDataError, MalformedRequestError) as error:
            self._telemetry.count_bind("failed")
            self._telemetry.count_error("bind")
            _LOG.warning("Pod not bound", pod=reference, node=request.node, reason=str(error))
            return str(error)
        self._placements.forget(request.uid)
        self._report(request, decision, explanation)
        return ""

    async def _explain(self, request: BindRequest) -> tuple[Decision, Explanation | None]:
        kept = self._placements.recall(request.uid)
        if kept is not None:
            explanation = explain(kept, request.node)
            if explanation is not None or not kept.questions:
                return kept, explanation
        pods = PODS.within(request.namespace)
        found = await self._objects.read(pods, request.name, self._timeout_seconds)
        if found is None or uid_of(found) != request.uid:
            raise APIServerError(
                f"Pod {request.namespace}/{request.name} is not there any more, so it is not bound."
            )
        decision = self._placements.decide_anew(parse_pod(found), request.node)
        return decision, explain(decision, request.node)

    def _report(
        self, request: BindRequest, decision: Decision, explanation: Explanation | None
    ) -> None:
        if explanation is None:
            self._telemetry.count_bind("bound_plainly")
            return
        self._telemetry.count_bind("bound_anew" if decision.anew else "bound")
        self._events.tell(request.namespace, request.name, request.uid, explanation.sentence)


def write_binding(request: BindRequest, explanation: Explanation | None) -> Manifest:
    """Writes a Binding; the API server merges its annotations into the pod."""
    annotations = {ANNOTATION_PLACEMENT: explanation.annotation} if explanation else {}
    return {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {
            "name": request.name,
            "namespace": request.namespace,
            "uid": request.uid,
            "annotations": dict(annotations),
        },
        "target": {"apiVersion": "v1", "kind": "Node", "name": request.node},
    }
