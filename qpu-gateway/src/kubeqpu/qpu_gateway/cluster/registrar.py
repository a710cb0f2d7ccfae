"""Registers one QPU, and registers it again when its object is gone or changed."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from kubeqpu.common import api
from kubeqpu.common.backoff import Backoff
from kubeqpu.kube.errors import APIServerError
from kubeqpu.kube.objects import ObjectsAPI
from kubeqpu.kube.resources import CLUSTER_ROLES, QPUS, Manifest, uid_of, version_of
from kubeqpu.qpu_gateway.cluster.leases import LeaseKeeper
from kubeqpu.qpu_gateway.cluster.manifests import (
    Owner,
    find_conflicts,
    find_rival,
    is_current,
    make_manifest,
    make_spec,
)
from kubeqpu.qpu_gateway.errors import GatewayError
from kubeqpu.qpu_gateway.qpus import ServedQPU
from kubeqpu.qpu_gateway.settings import ClusterSettings

_LOG = structlog.get_logger(__name__)

_LONGEST_WAIT_SECONDS = 15.0
_BETWEEN_ATTEMPTS_SECONDS = 1.0
# How often a QPU is looked at although nothing was heard of it.
_CHECK_SECONDS = 300.0
_CONFLICT_CHECK_SECONDS = 30.0
# An unchanged reason is logged again after this many attempts.
_LOG_EVERY = 20


class NotRegisteredError(GatewayError):
    """A QPU cannot be registered for now.

    Attributes:
        rival: That another gateway serves it, in words; empty where none does.
    """

    def __init__(self, message: str, rival: str = "") -> None:
        super().__init__(message)
        self.rival = rival


@dataclass(frozen=True)
class Registered:
    """The QPU object of this gateway.

    Attributes:
        uid: Its uid.
        generation: Generation of its spec.
        version: Its resource version when it was registered.
        conditions: Its conditions when it was registered.
        conflict: Why its spec could not be written; empty where it was.
    """

    uid: str
    generation: int | None
    version: int
    conditions: tuple[api.Condition, ...]
    conflict: str = ""


class Registrar:
    """Keeps the object of one QPU.

    Args:
        objects: The API server.
        settings: The cluster's section of the gateway's settings.
        pod: Name of the gateway's pod.
        served: The QPU.
        on_change: Called when the QPU was registered, or no longer is.

    Attributes:
        spec: The QPU's spec as it should be.
        lease: Renews its Lease.
        registered: The object, while there is one of ours.

    Raises:
        ConfigurationError: If the API server would refuse the QPU.
    """

    def __init__(
        self,
        objects: ObjectsAPI,
        settings: ClusterSettings,
        pod: str,
        served: ServedQPU,
        on_change: Callable[[str], None],
    ) -> None:
        self.spec = make_spec(served.settings, served.provider)
        self.registered: Registered | None = None
        self.taken = ""
        self.lease = LeaseKeeper(objects, settings.namespace, served.name, pod, self._find_uid)
        self._objects = objects
        self._settings = settings
        self._pod = pod
        self._served = served
        self._on_change = on_change
        self._due = asyncio.Event()
        self._backoff = Backoff(_LONGEST_WAIT_SECONDS)
        self._wanted: Manifest = {}
        self._problem = ""
        self._attempts = 0

    async def run(self, slots: asyncio.Semaphore) -> None:
        """Registers whenever it is due, until cancelled; no error ends it.

        Args:
            slots: Limits how many QPUs are registered at once.
        """
        while True:
            self._due.clear()
            try:
                async with slots:
                    await self._register()
            except NotRegisteredError as error:
                self._set_registered(None)
                self.taken = error.rival
                self._tell("QPU not registered", str(error))
                await asyncio.sleep(self._backoff.fail())
            except (GatewayError, APIServerError) as error:
                # An API server that does not answer takes nothing away: the Lease goes on.
                self._tell("QPU not registered", str(error))
                await asyncio.sleep(self._backoff.fail())
            except Exception:
                _LOG.exception("QPU not registered", qpu=self._served.name)
                await asyncio.sleep(self._backoff.fail())
            else:
                self.taken = ""
                self._backoff.succeed()
                # Whoever undoes what we write does not make us a storm.
                await asyncio.sleep(_BETWEEN_ATTEMPTS_SECONDS)
                await self._wait_until_due()

    def request(self) -> None:
        """Asks for another registration."""
        self._due.set()

    def see(self, manifest: Manifest, found: api.QPU) -> None:
        """Takes in the object as the watch shows it."""
        own = self.registered
        if own is None or _number(version_of(manifest)) < own.version:
            return
        if uid_of(manifest) != own.uid:
            self.lose()
        elif found.status.gateway not in ("", self._settings.endpoint):
            # Another gateway took it: whether that one lives is found out before we write again.
            self.lose()
        elif not own.conflict and not is_current(found, self._wanted):
            self.request()
        elif found.metadata.generation != own.generation:
            self._set_registered(
                Registered(
                    own.uid, found.metadata.generation, own.version, own.conditions, own.conflict
                )
            )

    def lose(self) -> None:
        """Takes in that the object is gone, or no longer ours."""
        self._set_registered(None)
        self.request()

    async def _wait_until_due(self) -> None:
        conflict = self.registered is not None and self.registered.conflict
        wait = _CONFLICT_CHECK_SECONDS if conflict else _CHECK_SECONDS
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await self._due.wait()

    def _find_uid(self) -> str | None:
        return None if self.registered is None else self.registered.uid

    async def _register(self) -> None:
        owner = await self._read_owner()
        self._wanted = make_manifest(self._served.name, self.spec, self._settings.gateway, owner)
        manifest = await self._objects.read(QPUS, self._served.name)
        found = None if manifest is None else api.QPU.from_manifest(manifest)
        conflict = ""
        if found is not None:
            await self._check_rival(found)
            conflict = self._find_conflict(found)
        if manifest is None or found is None or not (conflict or is_current(found, self._wanted)):
            manifest = await self._objects.apply(QPUS, self._wanted)
            found = api.QPU.from_manifest(manifest)
        self._served.unschedulable = found.spec.unschedulable
        self._served.labels = dict(found.metadata.labels)
        uid = uid_of(manifest)
        known = self.registered is not None and self.registered.uid == uid
        if not known:
            # Before any status: with an old Lease the controller would not believe it.
            await self.lease.renew(uid)
        self._set_registered(
            Registered(
                uid=uid,
                generation=found.metadata.generation,
                version=_number(version_of(manifest)),
                conditions=found.status.conditions,
                conflict=conflict,
            )
        )
        if conflict:
            self._tell("QPU not configured", conflict)
        else:
            self._problem = ""
            if not known:
                _LOG.info("QPU registered", qpu=self._served.name, uid=uid)

    async def _read_owner(self) -> Owner | None:
        name = self._settings.owners.get(self._served.name)
        if name is None:
            return None
        role = await self._objects.read(CLUSTER_ROLES, name)
        if role is None:
            raise NotRegisteredError(
                f"ClusterRole {name}, with which QPU {self._served.name} is to be collected, does "
                "not exist; install it as the chart does, or leave it out of `cluster.owners`."
            )
        return Owner(name, uid_of(role))

    async def _check_rival(self, found: api.QPU) -> None:
        endpoint = self._settings.endpoint
        if found.status.gateway in ("", endpoint):
            return
        holder = await self.lease.read_holder()
        rival = find_rival(found, endpoint, self._pod, holder, datetime.now(UTC))
        if rival is not None:
            raise NotRegisteredError(
                f"QPU {self._served.name} belongs to the gateway at {rival}, which is alive; name "
                "this gateway's QPU differently, or remove it from the other gateway.",
                f"QPU {self._served.name} belongs to the gateway at {rival}.",
            )

    def _find_conflict(self, found: api.QPU) -> str:
        conflicts = find_conflicts(found.spec, self.spec)
        if not conflicts:
            return ""
        return (
            f"The configuration of QPU {self._served.name} contradicts its object, which cannot "
            f"change: {', '.join(conflicts)}. Give the QPU of the configuration another name, or "
            f"delete the object: kubectl delete qpu {self._served.name}."
        )

    def _set_registered(self, registered: Registered | None) -> None:
        if registered != self.registered:
            self.registered = registered
            self._on_change(self._served.name)

    def _tell(self, event: str, problem: str) -> None:
        """Logs a problem when it is new, and from time to time."""
        self._attempts = self._attempts + 1 if problem == self._problem else 0
        self._problem = problem
        if self._attempts % _LOG_EVERY == 0:
            _LOG.warning(event, qpu=self._served.name, reason=problem)


def _number(version: str) -> int:
    """A resource version as a number, for the newer one is the larger; 0 where it is none."""
    return int(version) if version.isdecimal() else 0
