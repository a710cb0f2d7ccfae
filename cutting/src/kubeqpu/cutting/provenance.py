"""The provenance document: where values come from, as plain data.

The same input and seed give the same bytes, but for the section "timing", which holds all that
differs from run to run.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from pydantic import JsonValue

from kubeqpu.cutting.executors import EstimatorAnswer, ExecutionRecord, SamplerAnswer, Site
from kubeqpu.cutting.plans import Plan
from kubeqpu.cutting.reconstruction import Estimates

FORMAT = "kubeqpu.io/cutting-provenance/v1"
_PACKAGES = ("kubeqpu-cutting", "kubeqpu-client", "qiskit", "qiskit-addon-cutting", "numpy")


@dataclass(frozen=True)
class FragmentRun:
    """How one fragment was run.

    Attributes:
        site: Where.
        rows: Its local experiments.
        shots: Shots in all; 0 in exact mode.
        answers: What came back, per round.
    """

    site: Site
    rows: int
    shots: int
    answers: Sequence[SamplerAnswer | EstimatorAnswer]


def write_provenance(
    plan: Plan, estimates: Estimates, seed: int, runs: Sequence[FragmentRun], exact: bool
) -> Mapping[str, JsonValue]:
    """Collects the document.

    Args:
        plan: What was run.
        estimates: What came out.
        seed: Seed of the run.
        runs: How each fragment was run.
        exact: Whether values are exact.
    """
    return {
        "format": FORMAT,
        "versions": {name: _version(name) for name in _PACKAGES},
        "seed": seed,
        "mode": "exact" if exact else "sampled",
        "circuit": {"digest": plan.circuit_digest, "qubits": plan.num_qubits},
        "plan": {
            "digest": plan.digest,
            "method": plan.method,
            "kappa_squared": plan.kappa_squared,
            "limits": list(plan.limits),
            "cuts": [{"name": cut.name, "qubits": list(cut.qubits)} for cut in plan.cuts],
        },
        "fragments": [_describe(plan, index, run) for index, run in enumerate(runs)],
        "results": [
            {"observable": observable.name, "value": float(value), "standard_error": float(error)}
            for observable, value, error in zip(
                plan.observables, estimates.values, estimates.standard_errors, strict=True
            )
        ],
        "errors": "none: exact" if exact else "statistical only",
        # Scores depend on queues and on the age of calibrations, so the reason for a QPU stands
        # with what differs from run to run.
        "timing": {
            f"fragment-{index}": {
                "why": run.site.reason,
                "rounds": [
                    {"qpu_seconds": answer.qpu_seconds, **answer.timing} for answer in run.answers
                ],
            }
            for index, run in enumerate(runs)
        },
    }


def to_json(document: Mapping[str, JsonValue], *, timing: bool = True) -> bytes:
    """Writes a document as JSON with sorted keys.

    Args:
        document: The document.
        timing: Whether to keep the section that differs from run to run.
    """
    kept = {key: value for key, value in document.items() if timing or key != "timing"}
    return json.dumps(kept, sort_keys=True, indent=2, allow_nan=False).encode() + b"\n"


def _describe(plan: Plan, index: int, run: FragmentRun) -> dict[str, JsonValue]:
    fragment = plan.fragments[index]
    executions: dict[ExecutionRecord, None] = {}
    for answer in run.answers:
        executions.update(dict.fromkeys(answer.executions))
    return {
        "qubits": list(fragment.wires),
        "ends": [f"{end.kind} of cut {end.cut}" for end in fragment.ends],
        "local_experiments": run.rows,
        "shots": run.shots,
        "qpu": run.site.qpu,
        "deferred_measurement": run.site.deferred,
        "executions": [
            {
                "qpu": item.qpu,
                "calibration_id": item.calibration_id,
                "layout": list(item.layout),
                "method": item.method,
            }
            for item in executions
        ],
    }


@cache
def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
