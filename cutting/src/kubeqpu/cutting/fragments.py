"""Splits a circuit at given cuts into fragments.

A wire cut divides a qubit's wire into segments. Segments joined by gates that are not cut form a
fragment, so fragments are as small as the cuts allow.
"""

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from qiskit import qpy
from qiskit.circuit import Barrier, Instruction, QuantumCircuit, QuantumRegister

from kubeqpu.cutting.maps import Cut, EndKind, cut_gate, cut_wire

QPY_VERSION = 13
MARKER = "kubeqpu_end_"


@dataclass(frozen=True)
class CutPlaces:
    """Where a circuit is cut.

    Attributes:
        gates: Indices of the instructions that are cut.
        wires: Pairs (instruction index, qubit): the qubit's wire is cut just before it.
    """

    gates: frozenset[int] = frozenset()
    wires: frozenset[tuple[int, int]] = frozenset()

    @property
    def count(self) -> int:
        """How many cuts there are."""
        return len(self.gates) + len(self.wires)


@dataclass(frozen=True)
class End:
    """One side of a cut, as the fragment on that side sees it.

    Attributes:
        cut: Index of the cut.
        side: 0 or 1: which axis of the cut's coefficient matrix it is.
        kind: What the fragment does there.
        qubit: The fragment's qubit.
    """

    cut: int
    side: int
    kind: EndKind
    qubit: int


@dataclass(frozen=True)
class Fragment:
    """A part of a cut circuit that runs on one QPU.

    Attributes:
        index: Its place in the plan.
        circuit: QPY of its circuit, with a barrier labelled "kubeqpu_end_<n>" where end n sits.
        num_qubits: Its width.
        wires: Original qubit of each of its qubits.
        two_qubit_gates: Two-qubit gates in it.
        ends: The sides of cuts it sees, in the order of their markers.
        observables: Distinct Pauli labels the observables leave on it, the identity included.
        terms: Which of them belongs to each Pauli term of the plan.
    """

    index: int
    circuit: bytes
    num_qubits: int
    wires: tuple[int, ...]
    two_qubit_gates: int
    ends: tuple[End, ...]
    observables: tuple[str, ...]
    terms: tuple[int, ...]


def dump_circuits(circuits: Sequence[QuantumCircuit]) -> bytes:
    """Writes circuits as one QPY payload."""
    buffer = io.BytesIO()
    qpy.dump(list(circuits), buffer, version=QPY_VERSION)
    return buffer.getvalue()


def load_circuits(payload: bytes) -> list[QuantumCircuit]:
    """Reads a QPY payload that this package wrote."""
    return list(qpy.load(io.BytesIO(payload)))


class _Segments:
    """Segments of wires, joined into fragments by a union-find structure."""

    def __init__(self, num_qubits: int) -> None:
        self.current = list(range(num_qubits))
        self.wire = list(range(num_qubits))
        self._parent = list(range(num_qubits))

    def begin(self, qubit: int) -> tuple[int, int]:
        """Starts a new segment of a wire; returns the old and the new one."""
        old, new = self.current[qubit], len(self._parent)
        self._parent.append(new)
        self.wire.append(qubit)
        self.current[qubit] = new
        return old, new

    def find(self, segment: int) -> int:
        while self._parent[segment] != segment:
            self._parent[segment] = self._parent[self._parent[segment]]
            segment = self._parent[segment]
        return segment

    def join(self, first: int, second: int) -> None:
        self._parent[self.find(second)] = self.find(first)


@dataclass(frozen=True)
class _Step:
    """An operation on segments; an end of a cut if `end` is set."""

    operation: Instruction | None
    segments: tuple[int, ...]
    end: tuple[int, int, EndKind] | None = None


def split(
    circuit: QuantumCircuit, places: CutPlaces, terms: Sequence[str]
) -> tuple[tuple[Cut, ...], tuple[Fragment, ...]]:
    """Cuts a circuit.

    Args:
        circuit: One- and two-qubit gates only.
        places: Where to cut.
        terms: Pauli labels over all qubits, rightmost character on qubit 0.

    Returns:
        The cuts in circuit order and the fragments in the order of their first qubit.

    Raises:
        InvalidInputError: If a gate cannot be cut.
    """
    segments, steps, cuts = _walk(circuit, places)
    order = _number(segments, _used(segments, steps, terms))
    position = {
        segment: (index, qubit)
        for index, members in enumerate(order)
        for qubit, segment in enumerate(members)
    }
    builders = [_Builder(index, members, segments.wire) for index, members in enumerate(order)]
    for step in steps:
        index = position[step.segments[0]][0]
        builders[index].add(step, [position[segment][1] for segment in step.segments])
    last = [position.get(segment, (-1, 0)) for segment in segments.current]
    return tuple(cuts), tuple(builder.build(terms, last) for builder in builders)


def count_widths(circuit: QuantumCircuit, places: CutPlaces) -> list[int]:
    """Returns the widths of the fragments that cuts lead to, without building them."""
    segments, steps, _ = _walk(circuit, places, decompose=False)
    return [len(members) for members in _number(segments, _used(segments, steps, ()))]


def _walk(
    circuit: QuantumCircuit, places: CutPlaces, decompose: bool = True
) -> tuple[_Segments, list[_Step], list[Cut]]:
    segments = _Segments(circuit.num_qubits)
    steps: list[_Step] = []
    cuts: list[Cut] = []
    indices = {qubit: index for index, qubit in enumerate(circuit.qubits)}
    for number, instruction in enumerate(circuit.data):
        qubits = [indices[qubit] for qubit in instruction.qubits]
        for qubit in qubits:
            if (number, qubit) in places.wires:
                old, new = segments.begin(qubit)
                steps.append(_Step(None, (old,), (len(cuts), 0, EndKind.SOURCE)))
                steps.append(_Step(None, (new,), (len(cuts), 1, EndKind.DESTINATION)))
                cuts.append(cut_wire(qubit))
        here = tuple(segments.current[qubit] for qubit in qubits)
        if number not in places.gates:
            for other in here[1:]:
                segments.join(here[0], other)
            steps.append(_Step(instruction.operation, here))
        elif decompose:
            steps += [
                _Step(None, (here[side],), (len(cuts), side, EndKind.GATE)) for side in (0, 1)
            ]
            cuts.append(cut_gate(instruction.operation, (qubits[0], qubits[1])))
    return segments, steps, cuts


def _used(segments: _Segments, steps: Sequence[_Step], terms: Sequence[str]) -> set[int]:
    """Finds the segments that hold an operation or that an observable acts on."""
    used = {segment for step in steps for segment in step.segments}
    for qubit, segment in enumerate(segments.current):
        if any(term[-1 - qubit] != "I" for term in terms):
            used.add(segment)
    return used


def _number(segments: _Segments, used: set[int]) -> list[list[int]]:
    """Orders fragments, and the segments within, by original qubit and then by time."""
    members: dict[int, list[int]] = {}
    for segment in sorted(used, key=lambda s: (segments.wire[s], s)):
        members.setdefault(segments.find(segment), []).append(segment)
    return list(members.values())


class _Builder:
    """Collects one fragment."""

    def __init__(self, index: int, members: list[int], wires: Sequence[int]) -> None:
        self._index = index
        self._wires = tuple(wires[segment] for segment in members)
        register = QuantumRegister(len(members), "q")
        self._circuit = QuantumCircuit(register, name=f"fragment_{index}")
        self._ends: list[End] = []
        self._two_qubit_gates = 0

    def add(self, step: _Step, qubits: list[int]) -> None:
        if step.end is None:
            assert step.operation is not None
            self._append(step.operation, qubits)
            return
        # A labelled barrier: QPY gives instructions of our own a random name.
        marker = Barrier(1, label=f"{MARKER}{len(self._ends)}")
        self._circuit.append(marker, qubits)
        cut, side, kind = step.end
        self._ends.append(End(cut, side, kind, qubits[0]))

    def _append(self, operation: Instruction, qubits: list[int]) -> None:
        if operation.name == "unitary" and len(qubits) == 2:
            # Written out in gates that every QPU's transpiler and simulator knows.
            for inner in operation.definition.data:
                places = [operation.definition.find_bit(qubit).index for qubit in inner.qubits]
                self._append(inner.operation, [qubits[place] for place in places])
            return
        self._circuit.append(operation, qubits)
        self._two_qubit_gates += len(qubits) == 2

    def build(self, terms: Iterable[str], last: Sequence[tuple[int, int]]) -> Fragment:
        observables: dict[str, int] = {}
        numbers = []
        for term in terms:
            local = ["I"] * self._circuit.num_qubits
            for original, (index, qubit) in enumerate(last):
                if index == self._index:
                    local[-1 - qubit] = term[-1 - original]
            numbers.append(observables.setdefault("".join(local), len(observables)))
        return Fragment(
            index=self._index,
            circuit=dump_circuits([self._circuit]),
            num_qubits=self._circuit.num_qubits,
            wires=self._wires,
            two_qubit_gates=self._two_qubit_gates,
            ends=tuple(self._ends),
            observables=tuple(observables),
            terms=tuple(numbers),
        )
