"""Keeps the quota of the Cohort `kubeqpu` as the slots are that can be used now."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from kubeqpu.admission.errors import NotFoundError
from kubeqpu.admission.pool.groups import MAX_FLAVORS, Group, fill, flatten, group
from kubeqpu.admission.pool.kueue import (
    API_VERSION,
    COHORT,
    KIND,
    Cohort,
    Owner,
    write_groups,
    write_new,
)
from kubeqpu.admission.pool.levels import Level, find_next, observe_all, recall
from kubeqpu.admission.pool.slots import Pair
from kubeqpu.admission.pool.supply import Supply
from kubeqpu.admission.pool.telemetry import PoolTelemetry
from kubeqpu.admission.telemetry import Telemetry
from kubeqpu.common import names
from kubeqpu.kube.errors import CONFLICT, NOT_FOUND, APIServerError
from kubeqpu.kube.events import Regarding, Reporter, write_event
from kubeqpu.kube.objects import ObjectsAPI
from kubeqpu.kube.resources import CLUSTER_ROLES, COHORTS, EVENTS, uid_of

FIELD_MANAGER = "kubeqpu-pool"
TAKEN = "CohortTaken"
NO_ROOM = "NoRoomInCohort"

_LOG = structlog.get_logger(__name__)
_LOOK_SECONDS = 1.0
_WRITE_PERIOD_SECONDS = 1.0
_LONGEST_PERIOD_SECONDS = 60.0
_MOST_SHOWN = 5
# A write that a leader began is over before another may lead.
_WRITE_SECONDS = 2.0


@dataclass(frozen=True)
class PoolOptions:
    """What the pool is told.

    Attributes:
        owner: Name of the ClusterRole with which the Cohort is collected; empty for none.
        lower_seconds: For how long fewer slots lower no quota.
        instance: Who signs Events.
    """

    owner: str = ""
    lower_seconds: float = 30.0
    instance: str = ""


class QuotaPool:
    """Writes the Cohort when its quotas have to change.

    Every controller follows the slots, so that one which begins to lead knows since when there are
    fewer.

    Args:
        objects: The API server.
        supply: What quotas are made from.
        is_leader: Tells whether we may write at this moment.
        telemetry: Counts what is written.
        pool_telemetry: Shows the quotas.
        options: What it is told.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        objects: ObjectsAPI,
        supply: Supply,
        is_leader: Callable[[], bool],
        telemetry: Telemetry,
        pool_telemetry: PoolTelemetry,
        options: PoolOptions,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._objects = objects
        self._supply = supply
        self._is_leader = is_leader
        self._telemetry = telemetry
        self._pool_telemetry = pool_telemetry
        self._options = options
        self._reporter = Reporter(f"{names.DOMAIN}/controller", options.instance)
        self._clock = clock
        self._levels: dict[Pair, Level] | None = None
        self._left_out: tuple[Pair, ...] = ()
        self._written: tuple[Group, ...] | None = None
        self._written_at = -_LONGEST_PERIOD_SECONDS
        self._undone = 0
        self._told: tuple[str, ...] = ()

    async def step(self) -> float:
        """Writes the Cohort if it has to change; gives the seconds until the next time.

        Raises:
            APIServerError: If the API server, or Kueue's webhook, was not reached or refused.
            NotFoundError: If there is no ClusterRole that could own the Cohort.
        """
        if not self._supply.is_complete():
            return _LOOK_SECONDS
        now = self._clock()
        wanted = self._decide(now)
        cohort = self._supply.cohort
        blocked = cohort is not None and not cohort.is_ours and bool(wanted)
        self._pool_telemetry.show_blocked(blocked)
        # Whether we lead is looked at soon, for nothing else tells of that.
        rest = min(self._find_next() - now, _LOOK_SECONDS)
        if not self._is_leader():
            self._told = ()
        elif cohort is not None and not cohort.is_ours:
            await self._tell(cohort, _describe_taken() if wanted else "")
        elif wanted != (() if cohort is None else cohort.groups):
            rest = min(rest, await self._write_in_time(cohort, wanted, now))
        elif cohort is not None:
            await self._tell(cohort, _describe_left_out(self._left_out))
        return max(0.0, rest)

    def _decide(self, now: float) -> tuple[Group, ...]:
        counts = self._supply.count()
        if self._levels is None:
            cohort = self._supply.cohort
            found = flatten(cohort.groups or ()) if cohort is not None and cohort.is_ours else {}
            self._levels = {pair: recall(quota, now) for pair, quota in found.items()}
        self._levels = observe_all(self._levels, counts, now, self._options.lower_seconds)
        quotas = {pair: level.quota for pair, level in self._levels.items()}
        grouping = group(quotas)
        self._left_out = grouping.left_out
        shown = {pair: slots for pair, slots in quotas.items() if pair not in grouping.left_out}
        self._pool_telemetry.show_slots(shown)
        self._pool_telemetry.show_left_out(len(grouping.left_out))
        return fill(grouping, quotas)

    def _find_next(self) -> float:
        return find_next((self._levels or {}).values(), self._options.lower_seconds)

    async def _write_in_time(
        self, cohort: Cohort | None, wanted: tuple[Group, ...], now: float
    ) -> float:
        """Writes, unless the last time was just now; gives the seconds until the next time."""
        period = _WRITE_PERIOD_SECONDS
        undone = wanted == self._written
        if undone:
            # Someone who takes back what we write is not fought with.
            period = min(2.0 ** min(self._undone, 10), _LONGEST_PERIOD_SECONDS)
        if self._written_at + period > now:
            return self._written_at + period - now
        self._undone = self._undone + 1 if undone else 0
        if undone:
            _LOG.warning("Cohort changed by others", cohort=COHORT, times=self._undone)
        self._written_at = now
        await self._write(cohort, wanted)
        return _LOOK_SECONDS

    async def _write(self, cohort: Cohort | None, wanted: tuple[Group, ...]) -> None:
        try:
            if cohort is None:
                made = write_new(wanted, await self._read_owner())
                done = await self._objects.create(COHORTS, made, _WRITE_SECONDS)
            else:
                made = write_groups(cohort, wanted)
                done = await self._objects.apply(COHORTS, made, _WRITE_SECONDS)
        except APIServerError as error:
            if error.status in (CONFLICT, NOT_FOUND):
                _LOG.info("Cohort not as it was", cohort=COHORT, reason=str(error))
                return  # the watch tells what it is now
            raise
        self._written = wanted
        self._telemetry.count_write("cohort")
        self._supply.put_cohort(done)
        quotas = {
            f"{pair.flavor}:{pair.resource}": slots for pair, slots in flatten(wanted).items()
        }
        _LOG.info("Quota written", cohort=COHORT, slots=quotas)

    async def _read_owner(self) -> Owner | None:
        name = self._options.owner
        if not name:
            return None
        role = await self._objects.read(CLUSTER_ROLES, name)
        if role is None:
            raise NotFoundError(
                f"ClusterRole {name}, with which Cohort {COHORT} is to be deleted, does not exist; "
                "install it as the chart does, or leave `owner` empty."
            )
        return Owner(name, uid_of(role))

    async def _tell(self, cohort: Cohort, note: str) -> None:
        """Records an Event about what cannot be done, once for each time that it changes."""
        told = (cohort.uid, note) if note else ()
        if told == self._told:
            return
        if note:
            _LOG.warning("Quota not written", cohort=COHORT, reason=note)
            about = Regarding(API_VERSION, KIND, COHORT, cohort.uid)
            event = write_event(
                about,
                self._reporter,
                reason=NO_ROOM if cohort.is_ours else TAKEN,
                action="WriteQuota",
                note=note,
                is_warning=True,
            )
            await self._objects.create(EVENTS.within("default"), event, _WRITE_SECONDS)
            self._telemetry.count_write("event")
        self._told = told


def _describe_taken() -> str:
    return (
        f"Cohort {COHORT} was made by someone else, so no quota of QPU slots is written: label it "
        f"{names.LABEL_MANAGED}=true to hand its resourceGroups over, or give it another name."
    )


def _describe_left_out(left_out: tuple[Pair, ...]) -> str:
    if not left_out:
        return ""
    shown = ", ".join(f"{pair.flavor} of {pair.resource}" for pair in left_out[:_MOST_SHOWN])
    return (
        f"Cohort {COHORT} has no room for {len(left_out)} flavors, which get no quota ({shown}): "
        f"Kueue takes {MAX_FLAVORS} flavors of resources that share one. Let ClusterQueues name "
        "fewer."
    )
