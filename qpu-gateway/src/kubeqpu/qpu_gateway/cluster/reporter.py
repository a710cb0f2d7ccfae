"""Watches the providers and keeps the statuses of their QPU objects up to date."""

import asyncio
import contextlib
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from kubeqpu.common import api
from kubeqpu.common.backoff import Backoff
from kubeqpu.common.qpu import ConditionStatus
from kubeqpu.kube.errors import CONFLICT, NOT_FOUND, APIServerError
from kubeqpu.kube.objects import ObjectsAPI
from kubeqpu.kube.resources import QPUS, version_of
from kubeqpu.proto.v1 import qpu_pb2
from kubeqpu.qpu_gateway.cluster.pacing import Budget, Pacer
from kubeqpu.qpu_gateway.cluster.registrar import Registrar
from kubeqpu.qpu_gateway.cluster.statuses import (
    ACCEPTING,
    READY,
    Context,
    Verdict,
    find_verdicts,
    make_conditions,
    make_status,
    same_verdicts,
    write_status,
)
from kubeqpu.qpu_gateway.qpus import ServedQPU
from kubeqpu.qpu_gateway.slots.board import SlotBoard

_LOG = structlog.get_logger(__name__)

POLL_SECONDS = 1.0
# With the poll and the write this stays below the 15 s in which an outage is to be seen.
DESCRIBE_SECONDS = 8.0
_WRITES_PER_SECOND = 20.0
_BURST_WRITES = 10.0
_TICK_SECONDS = 0.1
_WRITES_AT_ONCE = 16
_LONGEST_WAIT_SECONDS = 5.0
# What an earlier process reported stands while the provider starts, if that does not take longer.
_START_GRACE_SECONDS = 5.0


@dataclass
class _Reported:
    served: ServedQPU
    registrar: Registrar
    backoff: Backoff
    message: qpu_pb2.QPU | None = None
    problem: Verdict | None = None
    conditions: tuple[api.Condition, ...] = ()
    # What the status was made from, to make none where nothing changed.
    basis: object = None
    version: int = 0
    failure: str = ""


class Reporter:
    """Reports all QPUs of a gateway.

    Args:
        objects: The API server.
        endpoint: Where the gateway listens.
        served: The QPUs by name.
        registrars: Their registrars by name.
        slots: Knows their slots, or None where nobody is given any.
    """

    def __init__(
        self,
        objects: ObjectsAPI,
        endpoint: str,
        served: Mapping[str, ServedQPU],
        registrars: Mapping[str, Registrar],
        slots: SlotBoard | None = None,
    ) -> None:
        self._objects = objects
        self._shares = slots
        self._endpoint = endpoint
        self._reported = {
            name: _Reported(served[name], registrar, Backoff(_LONGEST_WAIT_SECONDS))
            for name, registrar in registrars.items()
        }
        self._pacer = Pacer(Budget(_WRITES_PER_SECOND, _BURST_WRITES))
        self._slots = asyncio.Semaphore(_WRITES_AT_ONCE)
        self._writes: set[asyncio.Task[None]] = set()
        self._began = time.monotonic()

    async def poll(self, name: str) -> None:
        """Asks one provider about once a second until cancelled; no error ends it."""
        reported = self._reported[name]
        # Spread over a second, so that many providers are not asked in one burst.
        await asyncio.sleep(random.uniform(0, POLL_SECONDS / 2))  # noqa: S311 - jitter
        while True:
            began = time.monotonic()
            try:
                async with asyncio.timeout(DESCRIBE_SECONDS):
                    reported.message = await reported.served.describe()
                reported.problem = None
            except TimeoutError:
                self._note_problem(
                    name,
                    "ProviderTimeout",
                    f"The provider did not answer within {DESCRIBE_SECONDS:g} s.",
                )
            except Exception as error:
                self._note_problem(
                    name, "ProviderFailed", f"The provider failed with {type(error).__name__}."
                )
            self.refresh(name)
            self.observe(name)
            pause = max(0.1, POLL_SECONDS - (time.monotonic() - began))
            if reported.served.started:
                await asyncio.sleep(pause)
                continue
            with contextlib.suppress(TimeoutError):
                # A provider that has started is news.
                async with asyncio.timeout(pause):
                    await reported.served.wait_started()

    async def write(self) -> None:
        """Writes what is due until cancelled; no error ends it."""
        try:
            while True:
                try:
                    for name, status in self._pacer.choose(time.monotonic()).items():
                        task = asyncio.create_task(self._write(name, status))
                        self._writes.add(task)
                        task.add_done_callback(self._writes.discard)
                except Exception:
                    _LOG.exception("Statuses not written")
                await asyncio.sleep(_TICK_SECONDS)
        finally:
            for task in self._writes:
                task.cancel()

    def observe(self, name: str) -> None:
        """Tells of a QPU's state to whom its slots are; never raises."""
        reported = self._reported[name]
        if self._shares is None or reported.message is None:
            return
        try:
            own = reported.registrar.registered
            overrides = _overrides(reported.problem, "" if own is None else own.conflict)
            verdicts = {**find_verdicts(reported.message), **overrides}
            self._shares.observe(name, reported.message, verdicts, reported.registrar.taken)
        except Exception:
            _LOG.exception("Slots not told", qpu=name)

    def refresh(self, name: str) -> None:
        """Makes a QPU's status anew where what it is made from changed; never raises."""
        reported = self._reported[name]
        own = reported.registrar.registered
        if own is None:
            reported.basis, reported.conditions = None, ()
            self._pacer.forget(name)
            return
        if reported.message is None or self._waits_for_provider(reported):
            return
        overrides = _overrides(reported.problem, own.conflict)
        nodes = None if self._shares is None else self._shares.nodes_of(name)
        basis = (reported.message, own.uid, own.generation, overrides, nodes)
        if basis == reported.basis:
            return
        if reported.basis is None:
            reported.conditions, reported.version = own.conditions, own.version
        try:
            status = make_status(reported.message, self._context(reported, overrides, nodes))
        except ValueError as error:
            # The next report may be better.
            self._note_problem(name, "InvalidReport", f"The provider's report is odd: {error}")
            return
        reported.basis, reported.conditions = basis, status.conditions
        self._pacer.offer(name, status)

    def see(self, name: str, version: int, found: api.QPU) -> None:
        """Takes in an object; conditions that someone else wrote are put right."""
        reported = self._reported[name]
        known = self._pacer.known(name)
        if not known or version <= reported.version:
            return
        there = found.status.conditions
        if not any(same_verdicts(there, status.conditions) for status in known):
            reported.conditions, reported.basis = there, ()
            self._pacer.expire(name)
            self.refresh(name)

    async def stop(self) -> None:
        """Says of all QPUs that the gateway stopped, and lets go of their Leases."""
        await asyncio.gather(*(self._say_stopped(name) for name in self._reported))

    def _waits_for_provider(self, reported: _Reported) -> bool:
        own = reported.registrar.registered
        fresh = time.monotonic() - self._began < _START_GRACE_SECONDS
        return reported.served.starting and fresh and own is not None and bool(own.conditions)

    def _context(
        self,
        reported: _Reported,
        overrides: Mapping[str, Verdict],
        nodes: tuple[api.NodeSlots, ...] | None = None,
    ) -> Context:
        own = reported.registrar.registered
        return Context(
            spec=reported.registrar.spec,
            endpoint=self._endpoint,
            generation=None if own is None else own.generation,
            previous=reported.conditions,
            now=datetime.now(UTC),
            overrides=overrides,
            nodes=nodes,
        )

    def _note_problem(self, name: str, reason: str, text: str) -> None:
        reported = self._reported[name]
        if reported.problem is None:
            _LOG.warning(
                "QPU not described", qpu=name, reason=text, exc_info=reason != "ProviderTimeout"
            )
        reported.problem = Verdict(ConditionStatus.FALSE, reason, text)
        if reported.message is None:
            reported.message = qpu_pb2.QPU(name=name)

    async def _write(self, name: str, status: api.QPUStatus) -> None:
        reported = self._reported[name]
        own = reported.registrar.registered
        if own is None:
            return
        try:
            async with self._slots:
                written = await self._objects.apply_status(
                    QPUS, write_status(name, own.uid, status)
                )
            version = version_of(written)
            reported.version = int(version) if version.isdecimal() else reported.version
            reported.failure = ""
            reported.backoff.succeed()
            self._pacer.confirm(name)
        except Exception as error:
            self._pacer.fail(name, time.monotonic() + reported.backoff.fail())
            if isinstance(error, APIServerError) and error.status in (NOT_FOUND, CONFLICT):
                reported.registrar.request()
            if str(error) != reported.failure:
                reported.failure = str(error)
                _LOG.warning("Status not written", qpu=name, reason=str(error))

    async def _say_stopped(self, name: str) -> None:
        reported = self._reported[name]
        own, status = reported.registrar.registered, self._pacer.current(name)
        if own is None:
            return
        try:
            if status is not None:
                message = (
                    "The gateway was stopped as planned; queued jobs are kept and go on when it is "
                    "back."
                )
                verdicts = {
                    item.type: Verdict(item.status, item.reason, item.message)
                    for item in status.conditions
                }
                verdicts[READY] = Verdict(ConditionStatus.UNKNOWN, "GatewayStopped", message)
                conditions = make_conditions(verdicts, self._context(reported, {}))
                last = status.model_copy(update={"conditions": conditions})
                async with self._slots:
                    await self._objects.apply_status(QPUS, write_status(name, own.uid, last))
            async with self._slots:
                await reported.registrar.lease.release(own.uid)
        except APIServerError as error:
            _LOG.warning("Stop not reported", qpu=name, reason=str(error))


def _overrides(problem: Verdict | None, conflict: str) -> dict[str, Verdict]:
    if conflict:
        verdict = Verdict(ConditionStatus.FALSE, "ConfigurationConflict", conflict)
        return {READY: verdict, ACCEPTING: verdict}
    if problem is not None:
        return {
            READY: problem,
            ACCEPTING: Verdict(ConditionStatus.UNKNOWN, problem.reason, problem.message),
        }
    return {}
