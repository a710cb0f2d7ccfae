"""Steps of a workflow: execute one fragment anywhere, put the documents together later.

`plan` → one `execute_fragment` per fragment → `combine_fragments`. Documents are plain data; a
step's input digest names its output, so that a repeated step can find what it has done already.
A step sees its own fragment only, so shots follow the marginal weights; `run`, which sees all
fragments, also learns from a pilot.
"""

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict, TypeAdapter

from kubeqpu.cutting.allocation import check_budget, divide_by_weight
from kubeqpu.cutting.errors import ExecutionError, InvalidInputError
from kubeqpu.cutting.executors import ExecutionRecord, Executor, SamplerAnswer, Site
from kubeqpu.cutting.experiments import Experiments, sampling_experiments
from kubeqpu.cutting.histograms import Histogram, ReadoutError
from kubeqpu.cutting.plans import Plan
from kubeqpu.cutting.provenance import FragmentRun
from kubeqpu.cutting.reconstruction import FragmentSamples, reconstruct
from kubeqpu.cutting.rounds import FragmentRounds
from kubeqpu.cutting.running import Result, make_result

FORMAT = "kubeqpu.io/cutting-fragment/v1"


@dataclass(frozen=True)
class PackedHistogram:
    """A histogram as compressed little-endian bytes; see `Histogram`."""

    words: int
    rows: bytes
    outcomes: bytes
    counts: bytes


@dataclass(frozen=True)
class FragmentDocument:
    """What one fragment's step leaves for reconstruction.

    Attributes:
        format: Name of this format.
        plan_digest: Digest of the plan it belongs to.
        fragment: Index of the fragment.
        seed: Seed of the run.
        shots: Shots of this fragment.
        site: Where it ran.
        histograms: One per block of its experiments.
        readout: Confusion of the classical bits per block, or None.
        executions: Where and how.
        qpu_seconds: Time the QPU was busy.
    """

    format: str
    plan_digest: str
    fragment: int
    seed: int
    shots: int
    site: Site
    histograms: tuple[PackedHistogram, ...]
    readout: tuple[tuple[ReadoutError, ...], ...] | None
    executions: tuple[ExecutionRecord, ...]
    qpu_seconds: float

    __pydantic_config__ = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    def to_json(self) -> bytes:
        """Writes the document as JSON."""
        return _ADAPTER.dump_json(self)

    @classmethod
    def from_json(cls, document: bytes | str) -> "FragmentDocument":
        """Reads a document that `to_json` wrote; raises pydantic.ValidationError if it is none."""
        return _ADAPTER.validate_json(document)


_ADAPTER = TypeAdapter(FragmentDocument)


def digest_step(plan: Plan, fragment: int, shots: int, seed: int, readout: bool = False) -> str:
    """Names the output of a fragment's step by all of its input."""
    text = f"{FORMAT}/{plan.digest}/{fragment}/{shots}/{seed}/{readout}"
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def execute_fragment(
    plan: Plan,
    fragment: int,
    executor: Executor,
    shots: int,
    seed: int = 0,
    *,
    readout_mitigation: bool = False,
) -> FragmentDocument:
    """Runs one fragment's experiments.

    Args:
        plan: The plan.
        fragment: Index of the fragment.
        executor: What runs it.
        shots: Budget of this fragment.
        seed: Seed of the whole run, the same for all fragments.
        readout_mitigation: Whether to record the readout errors for reconstruction.

    Raises:
        InvalidInputError: If the plan has no such fragment.
        BudgetError: If there are too few shots.
        ExecutionError: If it cannot run.
    """
    if not 0 <= fragment < len(plan.fragments):
        raise InvalidInputError(
            f"There is no fragment {fragment}; the plan has {len(plan.fragments)}, from 0 on."
        )
    site = executor.choose_sites(plan, exact=False)[fragment]
    experiments = _rebuild(plan, fragment, site)
    check_budget([experiments], shots)
    rounds = FragmentRounds(fragment, experiments, site, seed, readout_mitigation)
    division = divide_by_weight([experiments], [plan.fragments[fragment]], plan.cuts, shots)
    task = rounds.ask(division[0])
    if task is not None:
        rounds.keep(executor.sample([task])[0])
    samples = rounds.samples()
    return FragmentDocument(
        format=FORMAT,
        plan_digest=plan.digest,
        fragment=fragment,
        seed=seed,
        shots=sum(int(counts.sum()) for counts in rounds.shots()),
        site=site,
        histograms=tuple(_pack(histogram) for histogram in samples.histograms),
        readout=samples.readout,
        executions=rounds.answers[0].executions if rounds.answers else (),
        qpu_seconds=sum(answer.qpu_seconds for answer in rounds.answers),
    )


def combine_fragments(plan: Plan, documents: Sequence[FragmentDocument]) -> Result:
    """Puts the documents of all fragments together.

    Args:
        plan: The plan they belong to.
        documents: One per fragment, in any order.

    Raises:
        ExecutionError: If one is missing, given twice, or of another plan or run.
    """
    ordered = sorted(documents, key=lambda item: item.fragment)
    present = [item.fragment for item in ordered]
    if present != list(range(len(plan.fragments))):
        raise ExecutionError(
            f"Results of fragments {present} were given, but the plan has fragments 0 to "
            f"{len(plan.fragments) - 1}, each wanted once."
        )
    if any(item.plan_digest != plan.digest for item in ordered):
        raise ExecutionError(
            "Results of another plan were given. Execute every fragment of this one."
        )
    if len({item.seed for item in ordered}) > 1:
        raise ExecutionError(
            "Fragments were executed with different seeds. Execute them as one run."
        )
    experiments = [_rebuild(plan, item.fragment, item.site) for item in ordered]
    samples = [
        FragmentSamples(tuple(_unpack(packed) for packed in item.histograms), item.readout)
        for item in ordered
    ]
    runs = [
        FragmentRun(
            item.site,
            built.rows,
            item.shots,
            [SamplerAnswer((), item.executions, qpu_seconds=item.qpu_seconds)],
        )
        for item, built in zip(ordered, experiments, strict=True)
    ]
    estimates = reconstruct(plan, experiments, samples)
    return make_result(plan, estimates, ordered[0].seed, runs, exact=False)


def _rebuild(plan: Plan, fragment: int, site: Site) -> Experiments:
    return sampling_experiments(plan.fragments[fragment], plan.cuts, site.deferred)


def _pack(histogram: Histogram) -> PackedHistogram:
    return PackedHistogram(
        histogram.outcomes.shape[1],
        _compress(histogram.rows),
        _compress(histogram.outcomes),
        _compress(histogram.counts),
    )


def _unpack(packed: PackedHistogram) -> Histogram:
    outcomes = np.frombuffer(zlib.decompress(packed.outcomes), dtype="<u8")
    return Histogram(
        np.frombuffer(zlib.decompress(packed.rows), dtype="<i8"),
        outcomes.reshape(-1, packed.words),
        np.frombuffer(zlib.decompress(packed.counts), dtype="<i8"),
    )


def _compress(values: npt.NDArray[np.int64] | npt.NDArray[np.uint64]) -> bytes:
    return zlib.compress(values.astype(values.dtype.newbyteorder("<")).tobytes())
