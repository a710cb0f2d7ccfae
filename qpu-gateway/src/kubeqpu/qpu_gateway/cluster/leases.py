"""The heartbeat: a Lease per QPU, renewed whatever else goes on."""

import asyncio
import random
from collections.abc import Callable
from datetime import UTC, datetime

import structlog
from pydantic import JsonValue

from kubeqpu.common import api
from kubeqpu.common.backoff import Backoff
from kubeqpu.kube.errors import APIServerError
from kubeqpu.kube.objects import ObjectsAPI
from kubeqpu.kube.resources import LEASES, Manifest
from kubeqpu.qpu_gateway.cluster.manifests import LEASE_SECONDS, Holder

_LOG = structlog.get_logger(__name__)

RENEW_SECONDS = 10.0
# A renewal that takes longer is made again: three more fit before the Lease ends.
_REQUEST_SECONDS = 5.0
_LONGEST_WAIT_SECONDS = 5.0


def make_lease(
    namespace: str, qpu: str, uid: str, holder: str | None, acquired_at: datetime, now: datetime
) -> dict[str, JsonValue]:
    """Writes a QPU's Lease for server-side apply; the QPU owns it.

    Args:
        namespace: Where the gateway runs.
        qpu: Name of the QPU.
        uid: Uid of the QPU object.
        holder: Name of the gateway's pod; None releases the Lease.
        acquired_at: When this process took it.
        now: The time of the renewal.
    """
    spec: dict[str, JsonValue] = {
        "leaseDurationSeconds": LEASE_SECONDS,
        "acquireTime": _micro_time(acquired_at),
        "renewTime": _micro_time(now),
    }
    if holder is not None:
        spec["holderIdentity"] = holder
    owner: dict[str, JsonValue] = {
        "apiVersion": api.API_VERSION,
        "kind": api.QPU.resource.kind,
        "name": qpu,
        "uid": uid,
    }
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": api.lease_name(qpu),
            "namespace": namespace,
            "ownerReferences": [owner],
        },
        "spec": spec,
    }


def read_holder(manifest: Manifest | None) -> Holder | None:
    """Reads who holds a Lease; None without a Lease."""
    if manifest is None:
        return None
    spec = manifest.get("spec")
    spec = spec if isinstance(spec, dict) else {}
    renewed, duration = spec.get("renewTime"), spec.get("leaseDurationSeconds")
    return Holder(
        name=str(spec.get("holderIdentity") or ""),
        renewed_at=datetime.fromisoformat(renewed) if isinstance(renewed, str) else None,
        duration_seconds=float(duration) if isinstance(duration, int) else float(LEASE_SECONDS),
    )


def _micro_time(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class LeaseKeeper:
    """Renews the Lease of one QPU.

    Args:
        objects: The API server.
        namespace: Where the gateway runs.
        qpu: Name of the QPU.
        pod: Name of the gateway's pod.
        find_uid: Gives the uid of the QPU object, or None while there is none of ours.
        renew_seconds: Time between two renewals.
    """

    def __init__(
        self,
        objects: ObjectsAPI,
        namespace: str,
        qpu: str,
        pod: str,
        find_uid: Callable[[], str | None],
        renew_seconds: float = RENEW_SECONDS,
    ) -> None:
        self._objects = objects
        self._namespace = namespace
        self._qpu = qpu
        self._pod = pod
        self._find_uid = find_uid
        self._renew_seconds = renew_seconds
        self._acquired_at = datetime.now(UTC)
        self._random = random.Random()  # noqa: S311 - jitter, no secret
        self._backoff = Backoff(_LONGEST_WAIT_SECONDS)

    async def read_holder(self) -> Holder | None:
        """Reads who holds the Lease.

        Raises:
            APIServerError: If it cannot be read.
        """
        kind = LEASES.within(self._namespace)
        return read_holder(await self._objects.read(kind, api.lease_name(self._qpu)))

    async def renew(self, uid: str) -> None:
        """Renews the Lease, or makes it.

        Raises:
            APIServerError: If that fails.
        """
        await self._write(uid, self._pod)

    async def release(self, uid: str) -> None:
        """Lets go of the Lease, so that another gateway may take the QPU at once.

        Raises:
            APIServerError: If that fails.
        """
        await self._write(uid, None)

    async def run(self) -> None:
        """Renews until cancelled; no error ends it."""
        # Spread over the first period, so that many QPUs do not renew in one burst.
        wait = self._random.uniform(0.1, 1.0) * self._renew_seconds
        while True:
            await asyncio.sleep(wait)
            wait = self._random.uniform(0.95, 1.05) * self._renew_seconds
            uid = self._find_uid()
            if uid is None:
                continue
            try:
                await self.renew(uid)
                self._backoff.succeed()
            except APIServerError as error:
                wait = self._backoff.fail()
                _LOG.warning("Lease not renewed", qpu=self._qpu, reason=str(error))
            except Exception:
                wait = self._backoff.fail()
                _LOG.exception("Lease not renewed", qpu=self._qpu)

    async def _write(self, uid: str, holder: str | None) -> None:
        lease = make_lease(
            self._namespace, self._qpu, uid, holder, self._acquired_at, datetime.now(UTC)
        )
        await self._objects.apply(LEASES.within(self._namespace), lease, _REQUEST_SECONDS)
