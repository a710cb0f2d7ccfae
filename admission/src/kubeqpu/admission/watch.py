"""Watches QPUs, QPUClasses and Leases by kopf.

kopf runs in a thread of its own: when it stops, it cancels every task of its event loop that is
younger than itself, whoever started it, and it is started anew whenever the API server ends its
watches for good. Its handlers do nothing but hand over what they get.
"""

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any

import kopf
import structlog
from pydantic import JsonValue, TypeAdapter, ValidationError

from kubeqpu.admission.cluster import Cluster
from kubeqpu.admission.errors import ClusterError
from kubeqpu.admission.leases import Lease, parse_lease
from kubeqpu.admission.loops import Progress
from kubeqpu.admission.observations import Observations
from kubeqpu.common import api

_LOG = structlog.get_logger(__name__)
_KINDS = frozenset({api.QPU.resource.plural, api.QPUClass.resource.plural})
_BEAT_SECONDS = 5.0
_STOP_SECONDS = 5.0
_EVENT: TypeAdapter[dict[str, JsonValue]] = TypeAdapter(dict[str, JsonValue])


def quieten_kopf() -> None:
    """Keeps kopf's own words to what is not told in ours: failures of handlers."""
    logging.getLogger("kopf").setLevel(logging.CRITICAL)
    logging.getLogger("kopf.objects").setLevel(logging.ERROR)


class Watch:
    """Feeds the observations for as long as it runs.

    Args:
        cluster: The API server.
        observations: Takes in what is seen.
        progress: Learns that the watches run, or wait for the API server.
        namespace: Where the Leases are.
        on_lease: Called with every Lease that is seen.
        on_class: Called when a QPUClass changed.
    """

    def __init__(
        self,
        cluster: Cluster,
        observations: Observations,
        progress: Progress,
        *,
        namespace: str,
        on_lease: Callable[[Lease], None],
        on_class: Callable[[], None],
    ) -> None:
        self._cluster = cluster
        self._observations = observations
        self._progress = progress
        self._namespace = namespace
        self._on_lease = on_lease
        self._on_class = on_class

    async def step(self) -> float:
        """Watches until the watches fail; gives the seconds until the next try.

        Raises:
            ClusterError: If the API server was not reached, or ended the watches.
        """
        if not await self._cluster.find_kinds() >= _KINDS:
            return 1.0
        _LOG.info("Watches started", namespace=self._namespace)
        operator = _Operator(self._namespace, self._take_in)
        try:
            while not await operator.ended(_BEAT_SECONDS):
                self._progress.beat("watch")
        finally:
            operator.stop()
        raise ClusterError(f"The watches ended: {operator.failure or 'without an error'}")

    def _take_in(self, plural: str, event: dict[str, JsonValue]) -> None:
        try:
            kind, manifest = event["type"], _EVENT.validate_python(event["object"])
            if plural == "leases":
                self._take_in_lease(parse_lease(manifest), kind)
            elif plural == api.QPU.resource.plural:
                self._take_in_qpu(api.QPU.from_manifest(manifest), kind)
            else:
                self._on_class()
        except (KeyError, ValueError, ValidationError) as error:
            _LOG.warning("Object not understood", resource=plural, error=str(error))

    def _take_in_lease(self, lease: Lease, kind: JsonValue) -> None:
        if kind == "DELETED":
            self._observations.forget_lease(lease.name)
        else:
            self._observations.see_lease(lease, listed=kind is None)
        self._on_lease(lease)

    def _take_in_qpu(self, qpu: api.QPU, kind: JsonValue) -> None:
        if kind == "DELETED":
            self._observations.forget_qpu(qpu.metadata.name)
        else:
            self._observations.see_qpu(qpu)


class _Operator:
    """One run of kopf, in a thread."""

    def __init__(
        self, namespace: str, take_in: Callable[[str, dict[str, JsonValue]], None]
    ) -> None:
        self._namespace = namespace
        self._take_in = take_in
        self._loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        self._stop = threading.Event()
        self.failure: str = ""
        self._thread = threading.Thread(target=self._run, name="kopf", daemon=True)
        self._thread.start()

    async def ended(self, seconds: float) -> bool:
        """Waits for its end, but not for longer."""
        try:
            async with asyncio.timeout(seconds):
                await self._over.wait()
        except TimeoutError:
            return False
        return True

    def stop(self) -> None:
        """Tells it to end, without waiting; what it still sees is dropped."""
        self._stop.set()

    def _run(self) -> None:
        try:
            asyncio.run(
                kopf.operator(
                    registry=self._registry(),
                    settings=_settings(),
                    standalone=True,
                    # It would be made from the user's name, which a user id alone does not have.
                    identity="kubeqpu-controller",  # type: ignore[arg-type]
                    namespaces=[self._namespace],
                    stop_flag=self._stop,
                )
            )
        except Exception as error:  # whatever ended it, it is started anew
            self.failure = f"{type(error).__name__}: {error}"
        self._hand_over(self._over.set)

    def _registry(self) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()

        @kopf.on.login(registry=registry)
        async def log_in(**context: Any) -> kopf.ConnectionInfo | None:
            return kopf.login_with_service_account(**context) or kopf.login_with_kubeconfig(
                **context
            )

        def hand_over(plural: str) -> Callable[..., None]:
            async def handler(event: Any, **_: Any) -> None:
                # A copy, for kopf goes on with its own.
                copied = {"type": event["type"], "object": dict(event["object"])}
                self._hand_over(self._take_in, plural, copied)

            return handler  # type: ignore[return-value]

        for group, version, plural in (
            ("coordination.k8s.io", "v1", "leases"),
            (api.GROUP, api.VERSION, api.QPU.resource.plural),
            (api.GROUP, api.VERSION, api.QPUClass.resource.plural),
        ):
            kopf.on.event(group, version, plural, id=plural, registry=registry)(hand_over(plural))
        return registry

    def _hand_over(self, call: Callable[..., None], *arguments: object) -> None:
        if self._stop.is_set() and arguments:
            return
        try:
            self._loop.call_soon_threadsafe(call, *arguments)
        except RuntimeError:
            self._stop.set()  # our own loop is closed: the process ends


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.process.ultimate_exiting_timeout = None
    # The kinds are waited for before, and the namespace is known.
    settings.scanning.disabled = True
    settings.networking.error_backoffs = (0.5, 1.0, 2.0)
    settings.networking.connect_timeout = 5.0
    settings.watching.reconnect_backoff = 1.0
    # A connection that died silently is noticed; the Leases are never quiet for so long.
    settings.watching.inactivity_timeout = 30.0
    settings.queueing.exit_timeout = 1.0
    return settings
