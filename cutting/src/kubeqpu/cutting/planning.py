"""Finds where to cut a circuit."""

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from qiskit.circuit import QuantumCircuit

from kubeqpu.cutting.errors import InvalidInputError, NoPlanError
from kubeqpu.cutting.experiments import count_rows
from kubeqpu.cutting.finder import find_places, take_markers
from kubeqpu.cutting.fragments import CutPlaces, Fragment, split
from kubeqpu.cutting.inputs import normalise
from kubeqpu.cutting.maps import Cut, cut_gate
from kubeqpu.cutting.observables import Observable, ObservablesLike, collect_terms, read_observables
from kubeqpu.cutting.partitions import propose_partitions
from kubeqpu.cutting.plans import FORMAT, Plan
from kubeqpu.cutting.recollection import keep_light_cone, recollect

MAX_COST = 1e5
MAX_ROWS = 20_000
FINDER_SECONDS = 20.0
# A cost of exp(600) is beyond any limit, and its square root is still a float.
_HOPELESS = 600.0


@dataclass(frozen=True)
class _Candidate:
    method: str
    places: CutPlaces
    cuts: tuple[Cut, ...]
    fragments: tuple[Fragment, ...]

    @property
    def logarithm(self) -> float:
        return 2.0 * sum(math.log(cut.kappa) for cut in self.cuts)

    @property
    def rows(self) -> int:
        return sum(count_rows(fragment, self.cuts) for fragment in self.fragments)

    @property
    def rank(self) -> tuple[float, int, int]:
        return (round(self.logarithm, 9), self.rows, len(self.fragments))


def plan(
    circuit: QuantumCircuit,
    observables: ObservablesLike,
    max_qubits: int | Sequence[int],
    *,
    partition_labels: Sequence[str | int] | None = None,
    max_cost: float = MAX_COST,
    max_rows: int = MAX_ROWS,
    finder_seconds: float = FINDER_SECONDS,
) -> Plan:
    """Decides where to cut a circuit so that every fragment fits a QPU.

    The cheapest plan wins: least κ², then fewest local experiments. Searched are consecutive parts
    of line orders, recursive bisection, and qiskit-addon-cutting's search for gate and wire cuts.
    Cuts of the caller, as `CutWire` markers or `partition_labels`, are taken as they are.

    Args:
        circuit: Gates with all parameters bound; measurements at the end are dropped.
        observables: What is wanted; see `read_observables`.
        max_qubits: Width of a fragment; or the widths of the QPUs that are available, of which
            the widest fragments take one each.
        partition_labels: One label per qubit; gates between different labels are cut.
        max_cost: Largest κ² that is accepted.
        max_rows: Most local experiments that are accepted.
        finder_seconds: Time for qiskit-addon-cutting's search; 0 leaves it out.

    Raises:
        InvalidInputError: If the circuit or an observable cannot be used.
        NoPlanError: If nothing keeps the limits, with the reason.
    """
    limits = _read_limits(max_qubits)
    digest = "sha256:" + hashlib.sha256(_canonical(circuit)).hexdigest()
    normal = normalise(circuit)
    wanted = read_observables(observables, normal.num_qubits)
    wanted = _fold_idle(wanted, normal)
    terms = collect_terms(wanted)
    prepared = recollect(keep_light_cone(normal, terms))
    wanted = _fold_idle(wanted, prepared)
    terms = collect_terms(wanted)
    candidates = list(_candidates(prepared, terms, limits, partition_labels, finder_seconds))
    best = _choose(candidates, limits, max_cost, max_rows)
    return Plan(
        format=FORMAT,
        circuit_digest=digest,
        num_qubits=normal.num_qubits,
        observables=wanted,
        terms=terms,
        cuts=best.cuts,
        fragments=best.fragments,
        limits=limits,
        method=best.method,
    )


def _read_limits(max_qubits: int | Sequence[int]) -> tuple[int, ...]:
    limits = (max_qubits,) if isinstance(max_qubits, int) else tuple(max_qubits)
    if not limits or min(limits) < 1:
        raise InvalidInputError(
            f"max_qubits is {max_qubits}. Give the width of a QPU, at least 1, or one per QPU."
        )
    return tuple(sorted(limits, reverse=True))


def _canonical(circuit: QuantumCircuit) -> bytes:
    """Bytes of the circuit that do not depend on names the process made up."""
    lines = [f"{circuit.num_qubits}"]
    for instruction in circuit.data:
        qubits = [circuit.find_bit(qubit).index for qubit in instruction.qubits]
        bits = [circuit.find_bit(bit).index for bit in instruction.clbits]
        operation = instruction.operation
        parameters = [
            item.tobytes().hex() if isinstance(item, np.ndarray) else str(item)
            for item in operation.params
        ]
        lines.append(f"{operation.name} {operation.label} {parameters} {qubits} {bits}")
    return "\n".join(lines).encode()


def _fold_idle(
    observables: tuple[Observable, ...], circuit: QuantumCircuit
) -> tuple[Observable, ...]:
    """Evaluates observables on qubits that stay |0>: Z is 1 there, X and Y are 0."""
    busy = {circuit.find_bit(qubit).index for item in circuit.data for qubit in item.qubits}
    result = []
    for observable in observables:
        terms: dict[str, float] = {}
        for label, coefficient in observable.terms:
            idle = {label[-1 - qubit] for qubit in range(len(label)) if qubit not in busy}
            folded = "".join(
                pauli if len(label) - 1 - place in busy else "I"
                for place, pauli in enumerate(label)
            )
            value = 0.0 if idle & {"X", "Y"} else coefficient
            folded = folded if value else "I" * len(label)
            terms[folded] = terms.get(folded, 0.0) + value
        result.append(Observable(observable.name, tuple(terms.items())))
    return tuple(result)


def _candidates(
    circuit: QuantumCircuit,
    terms: Sequence[str],
    limits: tuple[int, ...],
    partition_labels: Sequence[str | int] | None,
    finder_seconds: float,
) -> Iterator[_Candidate]:
    stripped, places = take_markers(circuit)
    if partition_labels is not None:
        if len(partition_labels) != circuit.num_qubits:
            raise InvalidInputError(
                f"There are {len(partition_labels)} partition labels for {circuit.num_qubits} "
                "qubits. Give one label per qubit."
            )
        gates = _crossing(stripped, list(partition_labels))
        places = CutPlaces(places.gates | gates, places.wires)
        yield _candidate("the caller's labels", stripped, places, terms)
    elif places.count:
        yield _candidate("the caller's cuts", stripped, places, terms)
    else:
        yield from _search(stripped, terms, limits, finder_seconds)


def _search(
    circuit: QuantumCircuit, terms: Sequence[str], limits: tuple[int, ...], seconds: float
) -> Iterator[_Candidate]:
    uncut = _candidate("no cuts needed", circuit, CutPlaces(), terms)
    if _fit([fragment.num_qubits for fragment in uncut.fragments], limits):
        yield uncut
        return
    bounds = limits[0] if len(limits) == 1 else limits
    proposals = dict.fromkeys(propose_partitions(_interactions(circuit), bounds))
    for labels in proposals:
        yield _candidate("partition", circuit, CutPlaces(_crossing(circuit, list(labels))), terms)
    if seconds > 0:
        found = find_places(circuit, limits[0], seconds)
        if found is not None:
            yield _candidate("qiskit-addon-cutting's search", circuit, found, terms)


def _candidate(
    method: str, circuit: QuantumCircuit, places: CutPlaces, terms: Sequence[str]
) -> _Candidate:
    cuts, fragments = split(circuit, places, terms)
    return _Candidate(method, places, cuts, fragments)


def _crossing(circuit: QuantumCircuit, labels: Sequence[str | int]) -> frozenset[int]:
    return frozenset(
        number
        for number, instruction in enumerate(circuit.data)
        if len({labels[circuit.find_bit(qubit).index] for qubit in instruction.qubits}) > 1
    )


def _interactions(circuit: QuantumCircuit) -> npt.NDArray[np.float64]:
    """Cost of cutting all gates of each pair of qubits, log κ², symmetric."""
    weights = np.zeros((circuit.num_qubits, circuit.num_qubits))
    for instruction in circuit.data:
        if len(instruction.qubits) == 2:
            first, second = (circuit.find_bit(qubit).index for qubit in instruction.qubits)
            cost = 2.0 * math.log(cut_gate(instruction.operation, (first, second)).kappa)
            weights[first, second] += cost
            weights[second, first] += cost
    return weights


def _fit(widths: Sequence[int], limits: tuple[int, ...]) -> bool:
    """Tells whether fragments fit: the widest on a QPU each, further ones on the widest QPU."""
    if len(limits) == 1:
        return max(widths, default=0) <= limits[0]
    ranked = sorted(widths, reverse=True)
    return all(
        width <= (limits[place] if place < len(limits) else limits[0])
        for place, width in enumerate(ranked)
    )


def _choose(
    candidates: Iterable[_Candidate], limits: tuple[int, ...], max_cost: float, max_rows: int
) -> _Candidate:
    widths = ", ".join(str(limit) for limit in limits)
    fitting = [
        candidate
        for candidate in candidates
        if _fit([fragment.num_qubits for fragment in candidate.fragments], limits)
    ]
    if not fitting:
        given = next((item for item in candidates if item.method.startswith("the caller")), None)
        found = (
            f"the given cuts leave fragments of {[f.num_qubits for f in given.fragments]} qubits"
            if given is not None
            else "no search found a way to cut the circuit into such fragments"
        )
        raise NoPlanError(
            f"No plan fits QPUs of {widths} qubits: {found}. Allow wider fragments or cut "
            "elsewhere."
        )
    best = min(fitting, key=lambda candidate: candidate.rank)
    if best.logarithm > math.log(max_cost):
        cost = f"{math.exp(best.logarithm):.3g}" if best.logarithm < _HOPELESS else "over 1e260"
        raise NoPlanError(
            f"The cheapest plan found has {len(best.cuts)} cuts and needs {cost} times the shots "
            f"of the uncut circuit (κ²), above the limit of {max_cost:.3g}. Use wider QPUs than "
            f"{widths} qubits, a shallower circuit, or raise max_cost."
        )
    if best.rows > max_rows:
        raise NoPlanError(
            f"The cheapest plan found needs {best.rows} local experiments, above the limit of "
            f"{max_rows}. Use wider QPUs than {widths} qubits, or raise max_rows."
        )
    return best
