"""Runs fragments through a kubeqpu gateway."""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

from kubeqpu.client import (
    ClientError,
    EstimatorJob,
    GatewayClient,
    Job,
    JobResult,
    Options,
    QPUDescription,
    SamplerJob,
    Target,
)
from kubeqpu.client import EstimatorEntry as ClientEstimatorEntry
from kubeqpu.client import SamplerEntry as ClientSamplerEntry
from kubeqpu.client.results import assemble
from kubeqpu.common.placement import NoFittingQPUError, PlacementClass, place
from kubeqpu.cutting.errors import ExecutionError
from kubeqpu.cutting.executors import (
    EstimatorAnswer,
    EstimatorTask,
    SamplerAnswer,
    SamplerEntry,
    SamplerTask,
    Site,
)
from kubeqpu.cutting.experiments import count_ancillas
from kubeqpu.cutting.gateway_results import (
    find_readout_errors,
    read_counts,
    read_executions,
    read_timing,
)
from kubeqpu.cutting.plans import Plan

TRANSPILE_LEVEL = 3
START_SECONDS = 60.0
_POLL_SECONDS = 0.2
# Fragment, rows that have finished, rows in all.
Progress = Callable[[int, int, int], None]


class GatewayExecutor:
    """Runs tasks as jobs of a gateway, one job per fragment and round, all at the same time.

    Each fragment goes to the QPU with the best placement score among those no other fragment of the
    plan took; when every fitting QPU is taken, they are shared.
    """

    def __init__(
        self,
        client: GatewayClient,
        *,
        qpus: Sequence[str] | None = None,
        wanted: PlacementClass | None = None,
        transpile_level: int | None = TRANSPILE_LEVEL,
        run_id: str | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Makes an executor.

        Args:
            client: Connection to the gateway.
            qpus: QPUs that may be used; None means all.
            wanted: What the QPUs must satisfy and how they are ranked; None ranks by the defaults.
            transpile_level: Level of transpilation for QPUs with noise; ideal simulators run
                circuits as they are. None leaves circuits as they are everywhere.
            run_id: The same id, plan and seed find the jobs of an earlier run again instead of
                running anew; None always runs.
            progress: Called with (fragment, rows finished, rows) as results arrive.
        """
        self._client = client
        self._allowed = None if qpus is None else frozenset(qpus)
        self._wanted = wanted or PlacementClass()
        self._level = transpile_level
        self._run_id = run_id
        self._progress = progress
        self._described: dict[str, QPUDescription] = {}

    def choose_sites(self, plan: Plan, exact: bool) -> tuple[Site, ...]:
        """Chooses a QPU for each fragment, widest first.

        Raises:
            ExecutionError: If a fragment fits nowhere, with a reason for each QPU.
        """
        known = self._list_started()
        self._described = {item.name: item for item in known}
        candidates = [
            item
            for item in known
            if (self._allowed is None or item.name in self._allowed)
            and (item.capabilities.exact or not exact)
        ]
        if not candidates:
            what = "computes exact values" if exact else "may be used"
            raise ExecutionError(
                f"No QPU of the gateway {what}; it serves {', '.join(self._described) or 'none'}."
            )
        sites: dict[int, Site] = {}
        taken: set[str] = set()
        for fragment in sorted(plan.fragments, key=lambda item: (-item.num_qubits, item.index)):
            width = fragment.num_qubits + (count_ancillas(fragment, plan.cuts) if exact else 0)
            site = self._choose(plan, fragment.index, width, candidates, taken)
            taken.add(site.qpu)
            sites[fragment.index] = site
        return tuple(sites[index] for index in range(len(plan.fragments)))

    def _list_started(self) -> list[QPUDescription]:
        """Lists the QPUs; waits a while for those whose providers are starting."""
        deadline = time.monotonic() + START_SECONDS
        try:
            while True:
                known = self._client.qpus()
                starting = [item.name for item in known if _is_starting(item)]
                if not starting or time.monotonic() > deadline:
                    return known
                time.sleep(_POLL_SECONDS)
        except ClientError as error:
            raise ExecutionError(f"The gateway's QPUs cannot be listed: {error}") from error

    def _choose(
        self,
        plan: Plan,
        fragment: int,
        width: int,
        candidates: Sequence[QPUDescription],
        taken: set[str],
    ) -> Site:
        requirements = self._wanted.requirements
        wanted = replace(
            self._wanted,
            requirements=replace(requirements, min_qubits=max(width, requirements.min_qubits)),
        )
        free = [item.qpu for item in candidates if item.name not in taken]
        now, shape = datetime.now(UTC), plan.shape(fragment)
        try:
            placement = place(free, wanted, now, shape)
        except NoFittingQPUError:
            try:
                placement = place([item.qpu for item in candidates], wanted, now, shape)
            except NoFittingQPUError as error:
                raise ExecutionError(f"Fragment {fragment} fits nowhere. {error}") from error
        return Site(placement.qpu, reason=placement.sentence())

    def sample(self, tasks: Sequence[SamplerTask]) -> list[SamplerAnswer]:
        """Runs sampler jobs; raises ExecutionError if one fails."""
        jobs = [
            SamplerJob(
                circuits=task.circuits,
                qpu=task.qpu,
                seed=task.seed,
                options=self._options(task.qpu),
                entries=[
                    ClientSamplerEntry(entry.shots, entry.parameters, entry.template)
                    for entry in task.entries
                ],
            )
            for task in tasks
        ]
        answers = []
        for task, result in zip(tasks, self._run(tasks, jobs), strict=True):
            histograms = tuple(read_counts(entry.counts) for entry in result.entries)
            readout = tuple(
                find_readout_errors(task, entry.template, part, partial(self._target, task.qpu))
                for entry, part in zip(task.entries, result.entries, strict=True)
                if task.with_readout
            )
            answers.append(
                SamplerAnswer(
                    histograms,
                    read_executions(result),
                    readout,
                    result.record.qpu_seconds,
                    read_timing(result),
                )
            )
        return answers

    def evaluate(self, tasks: Sequence[EstimatorTask]) -> list[EstimatorAnswer]:
        """Runs exact estimator jobs; raises ExecutionError if one fails."""
        jobs = [
            EstimatorJob(
                circuits=task.circuits,
                qpu=task.qpu,
                exact=True,
                entries=[
                    ClientEstimatorEntry(
                        list(entry.observables), entry.parameters, template=entry.template
                    )
                    for entry in task.entries
                ],
            )
            for task in tasks
        ]
        return [
            EstimatorAnswer(
                tuple(
                    part.expectations.values.reshape(len(entry.parameters), -1)
                    for entry, part in zip(task.entries, result.entries, strict=True)
                ),
                read_executions(result),
                result.record.qpu_seconds,
                read_timing(result),
            )
            for task, result in zip(tasks, self._run(tasks, jobs), strict=True)
        ]

    def _options(self, qpu: str) -> Options:
        described = self._described.get(qpu)
        ideal = described is not None and described.qpu.simulator and not described.noisy
        return Options(transpile_level=None if ideal else self._level)

    def _run(
        self,
        tasks: Sequence[SamplerTask | EstimatorTask],
        jobs: Sequence[SamplerJob | EstimatorJob],
    ) -> list[JobResult]:
        try:
            submitted = [
                self._client.submit(job, idempotency_key=self._key(task))
                for task, job in zip(tasks, jobs, strict=True)
            ]
            return [self._wait(task, job) for task, job in zip(tasks, submitted, strict=True)]
        except ClientError as error:
            raise ExecutionError(f"The gateway could not run the fragments: {error}") from error

    def _wait(self, task: SamplerTask | EstimatorTask, job: Job) -> JobResult:
        total = sum(len(entry.parameters) for entry in task.entries)
        done, chunks = 0, []
        for chunk in job.results():
            chunks.append(chunk)
            done += chunk.rows
            if self._progress is not None:
                self._progress(task.fragment, done, total)
        return assemble(job.refresh(), chunks)

    def _key(self, task: SamplerTask | EstimatorTask) -> str | None:
        """Names a job by its content, so that the same step of the same run finds it again."""
        if self._run_id is None:
            return None
        digest = hashlib.sha256(f"{self._run_id}/{task.fragment}/{task.qpu}/".encode())
        digest.update(task.circuits)
        if isinstance(task, SamplerTask):
            digest.update(str(task.seed).encode())
        for entry in task.entries:
            digest.update(f"/{entry.template}/".encode() + entry.parameters.tobytes())
            if isinstance(entry, SamplerEntry):
                digest.update(entry.shots.tobytes())
            else:
                digest.update("/".join(entry.observables).encode())
        return f"kubeqpu-cutting-{digest.hexdigest()}"

    def _target(self, qpu: str) -> Target | None:
        described = self._described[qpu]
        if described.target is None:
            described = self._client.qpu(qpu, include_target=True)
            self._described[qpu] = described
        return described.target


def _is_starting(described: QPUDescription) -> bool:
    ready = described.qpu.conditions.get("Ready")
    return ready is not None and ready.reason == "ProviderNotStarted"
