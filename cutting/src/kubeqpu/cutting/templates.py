"""Builds the circuit of one template: a fragment with its ends filled in."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from qiskit.circuit import ClassicalRegister, Parameter, QuantumCircuit, QuantumRegister

from kubeqpu.cutting.fragments import MARKER, End, Fragment, load_circuits
from kubeqpu.cutting.maps import Angles, EndKind

GROUP = -1
_NAMESPACE = uuid.UUID("6b1f0c3e-51b5-4b0c-9a44-8f8e2b3d5a10")


@dataclass(frozen=True)
class Slot:
    """What a template has at one end.

    Attributes:
        end: The end.
        allowed: Settings the template's rows may choose.
        measured: Whether they measure.
        pre: Angles before the measurement, per setting.
        post: Angles after it.
    """

    end: End
    allowed: tuple[int, ...]
    measured: bool
    pre: tuple[Angles, ...]
    post: tuple[Angles, ...]


@dataclass(frozen=True)
class Template:
    """A parametrised circuit and what its parameters and bits mean.

    Attributes:
        circuit: The circuit.
        columns: Per parameter whose choice it follows (an end, or `GROUP`), and its values.
        end_bits: Classical bit of each end, if it is measured.
        qubit_bits: Classical bit of each measured qubit.
        ancillas: Ancilla of each end, where the measurement is deferred.
    """

    circuit: QuantumCircuit
    columns: tuple[tuple[int, tuple[float, ...]], ...]
    end_bits: tuple[int | None, ...]
    qubit_bits: Mapping[int, int]
    ancillas: tuple[int | None, ...]


def build_template(
    fragment: Fragment,
    slots: Sequence[Slot],
    bases: Mapping[int, tuple[Angles, ...]],
    deferred: bool,
    measured: bool = True,
) -> Template:
    """Fills in a fragment's ends.

    Args:
        fragment: The fragment.
        slots: What goes into each end.
        bases: Basis change of each measured qubit, per group of observables.
        deferred: Measure gate cuts on ancillas, last.
        measured: Whether there are measurements at all; without, observables tell the outcome.

    Returns:
        The template.
    """
    return _TemplateBuilder(fragment, slots, deferred, measured).build(bases)


class _TemplateBuilder:
    def __init__(
        self, fragment: Fragment, slots: Sequence[Slot], deferred: bool, measured: bool
    ) -> None:
        self._slots, self._measured = slots, measured
        self._source = load_circuits(fragment.circuit)[0]
        self._name = f"fragment_{fragment.index}"
        self._columns: list[tuple[int, tuple[float, ...]]] = []
        ancillas: list[int | None] = []
        bits: list[int | None] = []
        width, self._bits = fragment.num_qubits, 0
        for slot in slots:
            copied = deferred and slot.measured and slot.end.kind is EndKind.GATE
            ancillas.append(width if copied else None)
            width += copied
            read = measured and slot.measured
            bits.append(self._bits if read else None)
            self._bits += read
        self._width, self._ancillas, self._end_bits = width, tuple(ancillas), tuple(bits)

    def build(self, bases: Mapping[int, tuple[Angles, ...]]) -> Template:
        qubit_bits = {qubit: self._bits + index for index, qubit in enumerate(sorted(bases))}
        quantum = QuantumRegister(self._width, "q")
        registers: list[QuantumRegister | ClassicalRegister] = [quantum]
        if self._bits + len(qubit_bits):
            registers.append(ClassicalRegister(self._bits + len(qubit_bits), "c"))
        self._circuit = QuantumCircuit(*registers, name=self._name)
        for instruction in self._source.data:
            qubits = [self._source.find_bit(qubit).index for qubit in instruction.qubits]
            label = instruction.operation.label or ""
            if label.startswith(MARKER):
                self._fill(int(label.removeprefix(MARKER)))
            else:
                self._circuit.append(instruction.operation, qubits)
        for qubit, angles in sorted(bases.items()):
            self._rotate(qubit, GROUP, angles, range(len(angles)))
        for number, ancilla in enumerate(self._ancillas):
            if ancilla is not None and self._end_bits[number] is not None:
                self._circuit.measure(ancilla, self._end_bits[number])
        for qubit, bit in qubit_bits.items():
            self._circuit.measure(qubit, bit)
        return Template(
            self._circuit, tuple(self._columns), self._end_bits, qubit_bits, self._ancillas
        )

    def _fill(self, number: int) -> None:
        slot, qubit = self._slots[number], self._slots[number].end.qubit
        if slot.end.kind is EndKind.SOURCE and not self._measured:
            return
        self._rotate(qubit, number, slot.pre, slot.allowed)
        if not slot.measured:
            return
        ancilla = self._ancillas[number]
        if ancilla is not None:
            self._circuit.cx(qubit, ancilla)
        else:
            self._circuit.measure(qubit, self._end_bits[number])
        self._rotate(qubit, number, slot.post, slot.allowed)

    def _rotate(
        self, qubit: int, owner: int, angles: tuple[Angles, ...], allowed: Sequence[int]
    ) -> None:
        """Appends `u` with a parameter for each angle that differs among the allowed choices."""
        values: list[float | Parameter] = []
        for axis in range(3):
            different = {angles[choice][axis] for choice in allowed}
            if len(different) == 1:
                values.append(different.pop())
                continue
            name = f"t{len(self._columns):05d}"
            values.append(Parameter(name, uuid=uuid.uuid5(_NAMESPACE, name)))
            self._columns.append((owner, tuple(item[axis] for item in angles)))
        theta, phi, lam = values
        if isinstance(theta, float) and isinstance(phi, float) and theta == phi == 0.0:
            if lam != 0.0:
                self._circuit.rz(lam, qubit)
        else:
            self._circuit.u(theta, phi, lam, qubit)
