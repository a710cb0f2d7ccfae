"""Takes our labels off nodes and our gates off what waits, before the release goes that did both.

The controller runs on while Helm waits for what comes before an uninstall. So its Lease is taken
first, and kept: whoever led stops to write, as it does for any successor, and nobody leads
afterwards. Should the release stay after all, its controller goes on when that time is over.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from functools import partial

import structlog

from kubeqpu.admission import leadership, nodelabels, nodes
from kubeqpu.admission.cluster import Cluster
from kubeqpu.admission.errors import CleanupError, ConflictError, NotFoundError
from kubeqpu.admission.gates.keeper import FIELD_MANAGER as GATES_MANAGER
from kubeqpu.admission.gates.waiting import (
    GATED,
    GATED_KINDS,
    PLACES,
    GatedKind,
    Key,
    Waiting,
    lift_patch,
    read_waiting,
)
from kubeqpu.admission.leadership import LEASE_SECONDS
from kubeqpu.admission.settings import CleanupSettings
from kubeqpu.kube.connection import open_api_client
from kubeqpu.kube.errors import CONFLICT, NOT_FOUND, APIServerError
from kubeqpu.kube.objects import ObjectsAPI

IDENTITY = "kubeqpu-cleanup"
# Longer than Helm takes to delete the controller.
HOLD_SECONDS = 300

_LOG = structlog.get_logger(__name__)
_TRIES = 20
_LOOKS = 3
_AT_ONCE = 10
_PAUSE_SECONDS = 0.1


async def run_cleanup(settings: CleanupSettings, wait_seconds: float = LEASE_SECONDS) -> None:
    """Removes what the release wrote outside of it, while its controller may still run.

    Args:
        settings: The controller's Lease.
        wait_seconds: For how long the controller may write after it lost the Lease.

    Raises:
        NoClusterError: If there is no API server to connect to.
        ClusterError: If the Lease could not be taken.
        APIServerError: If the API server was not reached or refused.
        CleanupError: If a label or a gate stayed.
    """
    async with open_api_client() as api_client:
        if await silence_controller(Cluster(api_client, settings.namespace), settings.lease):
            await asyncio.sleep(wait_seconds)
        removed = await remove_labels(ObjectsAPI(api_client, nodes.FIELD_MANAGER))
        lifted = await lift_gates(ObjectsAPI(api_client, GATES_MANAGER))
    _LOG.info("Cleanup finished", nodes=removed, gates=lifted)


async def silence_controller(cluster: Cluster, lease: str) -> bool:
    """Takes the controller's Lease, whoever holds it; tells whether someone may still act by it.

    Raises:
        ClusterError: If that was not possible.
    """
    for _ in range(_TRIES):
        try:
            found = await cluster.read_lease(lease)
            patch = leadership.claim(found, IDENTITY, datetime.now(UTC), HOLD_SECONDS)
            await cluster.patch_lease(lease, patch)
        except NotFoundError:
            return False  # the controller cannot lead without
        except ConflictError:
            continue  # its holder renewed it meanwhile
        _LOG.info("Lease taken", lease=lease, holder=found.holder)
        return bool(found.holder)
    raise CleanupError(
        f"Lease {lease} changed {_TRIES} times while it was taken from the controller; scale the "
        "controller down and try again."
    )


async def remove_labels(objects: ObjectsAPI) -> int:
    """Removes our labels from all nodes; gives how many nodes had any.

    Raises:
        APIServerError: If the API server was not reached or refused; other nodes have none any
            more.
        CleanupError: If labels come back.
    """
    cleaned: set[str] = set()
    for _ in range(_LOOKS):
        found = await nodes.list_labels(objects)
        if not found:
            return len(cleaned)
        cleaned |= found.keys()
        await _remove(objects, found)
    raise CleanupError(
        f"Labels of kubeqpu come back on {len(found)} nodes, such as {min(found)}. See who writes "
        f"them: kubectl get node {min(found)} --output=yaml --show-managed-fields"
    )


async def lift_gates(objects: ObjectsAPI) -> int:
    """Lifts all our gates, for nobody would do it any more; gives how many objects had one.

    What waited at them goes on to Kueue and the scheduler, which hold it by their own rules.

    Raises:
        APIServerError: If the API server was not reached or refused; other objects have none any
            more.
        CleanupError: If objects are gated again.
    """
    lifted: set[Key] = set()
    for _ in range(_LOOKS):
        found = [one for kind in GATED_KINDS for one in await _list_gated(objects, kind)]
        if not found:
            return len(lifted)
        lifted |= {one.key for one in found}
        await _write_all([partial(_lift, objects, one) for one in found])
    raise CleanupError(
        f"{len(found)} objects wait at gates of kubeqpu again, such as {found[0].kind} "
        f"{found[0].reference}. See who gates them: kubectl get mutatingwebhookconfigurations"
    )


async def _list_gated(objects: ObjectsAPI, kind: GatedKind) -> list[Waiting]:
    try:
        listing = await objects.list(kind.place, GATED)
    except APIServerError as error:
        if error.status == NOT_FOUND:
            return []  # JobSets are not installed
        raise
    read = [read_waiting(kind.name, kind.api_version, manifest) for manifest in listing.items]
    return [one for one in read if not one.over]


async def _lift(objects: ObjectsAPI, found: Waiting) -> None:
    place = PLACES[found.kind].within(found.namespace)
    try:
        await objects.merge(place, found.name, lift_patch(found))
    except APIServerError as error:
        if error.status not in (CONFLICT, NOT_FOUND):  # the next look tells what it is now
            raise


async def _remove(objects: ObjectsAPI, found: dict[str, dict[str, str]]) -> None:
    await _write_all(
        [
            partial(nodes.merge_labels, objects, name, nodelabels.mend(labels, frozenset()))
            for name, labels in sorted(found.items())
        ]
    )


async def _write_all(writes: Sequence[Callable[[], Awaitable[object]]]) -> None:
    """Writes all, some at a time; what was refused is told after the others."""
    errors: list[APIServerError] = []
    for start in range(0, len(writes), _AT_ONCE):
        batch = writes[start : start + _AT_ONCE]
        results = await asyncio.gather(*(write() for write in batch), return_exceptions=True)
        for result in results:
            if isinstance(result, APIServerError):
                errors.append(result)
            elif isinstance(result, BaseException):
                raise result
        await asyncio.sleep(_PAUSE_SECONDS)
    if errors:
        raise errors[0]
