"""The store and the queue against a model that keeps everything in dictionaries."""

import asyncio
import dataclasses
import functools
import itertools
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from kubeqpu.proto.v1 import gateway_pb2
from kubeqpu.qpu_gateway.errors import (
    ConflictError,
    NotFoundError,
    ProviderError,
)
from kubeqpu.qpu_gateway.jobs import JobState
from kubeqpu.qpu_gateway.providers.base import Span
from kubeqpu.qpu_gateway.settings import Limits
from kubeqpu.qpu_gateway.store import Store, StoredChunk
from kubeqpu.qpu_gateway.work import JobQueue, Work
from tests.support.store import ROWS, TTL_SECONDS, OpenDatabase, make_job

T = TypeVar("T")

TENANTS = st.sampled_from(["a", "b"])
KEYS = st.sampled_from(["k1", "k2", "k3"])


@dataclass
class Model:
    """What a job should be."""

    tenant: str
    key: str
    digest: str
    priority: int
    state: JobState = JobState.QUEUED
    chunks: dict[Span, bytes] = field(default_factory=dict)
    expires_at: float | None = None

    def rows(self) -> set[int]:
        return {span.first_row + i for span in self.chunks for i in range(span.rows)}


class StoreMachine(RuleBasedStateMachine):
    """Submits, stores, cancels, fails, restarts and expires in any order."""

    jobs = Bundle("jobs")

    def __init__(self, open_database: OpenDatabase, numbers: Iterator[int]) -> None:
        super().__init__()
        self.open_database = functools.partial(open_database, next(numbers))
        self.loop = asyncio.new_event_loop()
        self.now = 1000.0
        self.models: dict[str, Model] = {}
        self.counter = 0
        self.store = self.open()

    def open(self) -> Store:
        store = Store(self.open_database(), Limits(), clock=lambda: self.now)
        self.run(store.open())
        return store

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def teardown(self) -> None:
        self.store.close()
        self.loop.close()

    @rule(
        target=jobs,
        tenant=TENANTS,
        key=KEYS,
        digest=st.sampled_from(["d1", "d2"]),
        priority=st.integers(-1, 1),
    )
    def submit(self, tenant: str, key: str, digest: str, priority: int) -> object:
        self.counter += 1
        new = make_job(self.counter, tenant, key, digest, priority=priority)
        new = dataclasses.replace(new, submitted_at=self.now)
        same = [i for i, m in self.models.items() if (m.tenant, m.key) == (tenant, key)]
        if same and self.models[same[0]].digest != digest:
            with pytest.raises(ConflictError):
                self.run(self.store.insert_job(new))
            return multiple()
        job, is_new = self.run(self.store.insert_job(new))
        assert is_new == (not same)
        assert job.id == (same[0] if same else new.id)
        if is_new:
            self.models[job.id] = Model(tenant, key, digest, priority)
            assert job == self.run(self.store.read_job(job.id))
        return job.id

    @rule(job=jobs, first=st.integers(0, ROWS - 1), sizes=st.lists(st.integers(1, 3), min_size=1))
    def save(self, job: str, first: int, sizes: list[int]) -> None:
        model = self.models.get(job)
        chunks = []
        for size in sizes:
            if first + size <= ROWS:
                chunks.append(StoredChunk(Span(0, first, size), f"{first}+{size}".encode()))
            first += size
        if not chunks:
            return
        wanted = {c.span.first_row + i for c in chunks for i in range(c.span.rows)}
        if model is None:
            with pytest.raises(NotFoundError):
                self.run(self.store.insert_chunks(job, chunks, 0.5))
        elif not model.state.final and wanted & model.rows():
            with pytest.raises(ProviderError):
                self.run(self.store.insert_chunks(job, chunks, 0.5))
        else:
            self.run(self.store.insert_chunks(job, chunks, 0.5))
            if not model.state.final:
                model.chunks |= {chunk.span: chunk.data for chunk in chunks}
                model.state = JobState.RUNNING
                if len(model.rows()) == ROWS:
                    model.state = JobState.SUCCEEDED
                    model.expires_at = self.now + TTL_SECONDS

    @rule(job=jobs, wanted=st.sampled_from([s for s in JobState if s is not JobState.SUCCEEDED]))
    def change(self, job: str, wanted: JobState) -> None:
        model = self.models.get(job)
        if model is None:
            with pytest.raises(NotFoundError):
                self.run(self.store.change_state(job, wanted, "why"))
            return
        self.run(self.store.change_state(job, wanted, "why"))
        if model.state.final or wanted is JobState.QUEUED:
            return
        model.state = wanted
        if wanted.final:
            model.expires_at = self.now + TTL_SECONDS

    @rule()
    def restart(self) -> None:
        self.store.close()
        self.store = self.open()

    @rule(seconds=st.sampled_from([10.0, 60.0]))
    def wait_and_sweep(self, seconds: float) -> None:
        self.now += seconds
        self.run(self.store.delete_expired())
        self.models = {
            job: model
            for job, model in self.models.items()
            if model.expires_at is None or model.expires_at > self.now
        }

    @invariant()
    def every_job_is_as_modelled(self) -> None:
        for job_id, model in self.models.items():
            job, chunks = self.run(self.store.read_chunks(job_id, 0, 2**20))
            assert (job.state, job.tenant, job.priority) == (
                model.state,
                model.tenant,
                model.priority,
            )
            assert job.circuits_finished == len(model.rows())
            assert sorted(data for _, data in chunks) == sorted(model.chunks.values())
            assert job.expires_at == model.expires_at
            assert (job.state is JobState.SUCCEEDED) == (job.circuits_finished == ROWS)

    @invariant()
    def tenants_see_only_their_own(self) -> None:
        for tenant in ("a", "b"):
            listed = self.run(self.store.list_jobs(tenant, [], 100, None))
            mine = {job for job, model in self.models.items() if model.tenant == tenant}
            assert {job.id for job in listed} == mine
            for job_id, model in self.models.items():
                if model.tenant != tenant:
                    with pytest.raises(NotFoundError):
                        self.run(self.store.read_job(job_id, tenant))

    @invariant()
    def the_queue_serves_by_priority_then_age(self) -> None:
        queue = JobQueue()
        for job in self.run(self.store.list_unfinished()):
            queue.add(job)
        served = []
        while (first := queue.first_waiting()) is not None:
            served.append(first.job.id)
            queue.remove(first.job.id)
        unfinished = [j for j, model in self.models.items() if not model.state.final]
        assert served == sorted(unfinished, key=lambda j: (-self.models[j].priority, j))


def test_the_store_is_as_modelled(
    open_database: OpenDatabase, request: pytest.FixtureRequest
) -> None:
    machine = functools.partial(StoreMachine, open_database, itertools.count())
    fewer = settings(
        max_examples=25 if "sqlite" in request.node.name else 3,
        stateful_step_count=30,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    run_state_machine_as_test(machine, settings=fewer)  # type: ignore[arg-type]


def test_rows_given_back_are_handed_out_again_first() -> None:
    spec = gateway_pb2.JobSpec()
    spec.sampler.entries.add(parameters=gateway_pb2.ParameterArray(rows=10))
    work = Work(spec, [Span(0, 2, 3)])
    taken = work.take(4)
    assert taken == (Span(0, 0, 2), Span(0, 5, 2))
    assert work.pending_rows == 3
    work.give_back(taken)
    assert work.take(100) == (Span(0, 0, 2), Span(0, 5, 2), Span(0, 7, 3))
    assert work.pending_rows == 0
