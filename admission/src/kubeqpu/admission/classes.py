"""Sees to it that there is a default QPUClass.

The rule holds at all times, not only at first: while no class is the default and none is called
`standard`, that one is made, as `kubectl get qpuclass` of a new installation shows. So deleting the
only default brings it back, after a while in which a replacement can be created, for the
controller keeps no memory by which it could tell an admin's wish from an accident. Who wants no
default says so on the object: `standard` with the annotation "false" is left as it is.
"""

import time
from collections.abc import Callable, Sequence
from enum import Enum

import structlog

from kubeqpu.admission.cluster import Cluster
from kubeqpu.admission.errors import ConflictError
from kubeqpu.admission.telemetry import Telemetry
from kubeqpu.common import api, placement
from kubeqpu.common.names import ANNOTATION_DEFAULT_CLASS

STANDARD = "standard"

_LOG = structlog.get_logger(__name__)
_LOOK_AGAIN_SECONDS = 300.0
_REPLACE_SECONDS = 10.0


class Verdict(Enum):
    """What to do about the default class."""

    KEEP = "there is a default"
    RESPECT = "there is no default, but a class called standard, which says so"
    MAKE = "there is no default"


def decide(classes: Sequence[api.ObjectMeta]) -> Verdict:
    """Decides from the metadata of all classes whether to make the default one."""
    if any(found.annotations.get(ANNOTATION_DEFAULT_CLASS) == "true" for found in classes):
        return Verdict.KEEP
    if any(found.name == STANDARD for found in classes):
        return Verdict.RESPECT
    return Verdict.MAKE


def make_standard() -> api.QPUClass:
    """Makes the class `standard`: no limits, the default."""
    made = api.class_object(placement.PlacementClass(name=STANDARD))
    annotations = {ANNOTATION_DEFAULT_CLASS: "true"}
    return made.model_copy(
        update={"metadata": api.ObjectMeta(name=STANDARD, annotations=annotations)}
    )


class DefaultClass:
    """Makes the default class when it is missing.

    Args:
        cluster: The API server.
        is_leader: Tells whether we may write at this moment.
        telemetry: Counts what is written.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        cluster: Cluster,
        is_leader: Callable[[], bool],
        telemetry: Telemetry,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cluster = cluster
        self._is_leader = is_leader
        self._telemetry = telemetry
        self._clock = clock
        self._had_default = False
        self._missing_since: float | None = None

    async def step(self) -> float:
        """Makes the class if it is missing; gives the seconds until the next look.

        Raises:
            ClusterError: If the API server was not reached or refused.
        """
        if not self._is_leader():
            return 1.0
        if api.QPUClass.resource.plural not in await self._cluster.find_kinds():
            return 1.0
        verdict = decide(await self._cluster.list_classes())
        if verdict is not Verdict.MAKE:
            self._had_default = self._had_default or verdict is Verdict.KEEP
            self._missing_since = None
            return _LOOK_AGAIN_SECONDS
        now = self._clock()
        if self._missing_since is None:
            self._missing_since = now
        # One that was there may be about to be replaced, as `kubectl replace --force` does it.
        rest = self._missing_since + (_REPLACE_SECONDS if self._had_default else 0.0) - now
        if rest > 0:
            return rest
        if self._is_leader():
            await self._make()
        return 1.0

    async def _make(self) -> None:
        try:
            await self._cluster.create_class(make_standard())
        except ConflictError:
            return  # someone made it meanwhile; what it is shows the next look
        self._telemetry.count_write("class")
        _LOG.info("Default QPUClass created", qpuclass=STANDARD)
