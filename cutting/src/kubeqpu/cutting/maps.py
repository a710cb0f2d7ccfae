"""Cuts as sums of products of local maps.

A cut replaces a two-qubit gate, or the identity on a wire, by Σ C[i, j] A_i ⊗ B_j, where A_i and
B_j act on one side each. A side is described by its *settings*: what is put into the circuit, as
`u(pre)`, an optional measurement, and `u(post)`. Gate cuts read one map from each setting. The
source side of a wire cut reads four (I, X, Y, Z) from three settings, since each of the runs that
measure X, Y or Z also tells the identity.

Sources: gates, Mitarai and Fujii (New J. Phys. 23, 023021) as implemented by qiskit-addon-cutting's
`QPDBasis`; wires, Peng et al. (arXiv 1904.00102), eq. 12 to 19.
"""

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt
from qiskit.circuit import Gate, Instruction
from qiskit.synthesis import OneQubitEulerDecomposer
from qiskit_addon_cutting.qpd import QPDBasis

from kubeqpu.cutting.errors import InvalidInputError

Angles = tuple[float, float, float]
ComplexMatrix = npt.NDArray[np.complex128]

NOTHING: Angles = (0.0, 0.0, 0.0)
# u(θ, φ, λ) that turns the Pauli's eigenbasis into the computational one.
BASIS_CHANGES: dict[str, Angles] = {
    "X": (math.pi / 2, 0.0, math.pi),
    "Y": (math.pi / 2, 0.0, math.pi / 2),
    "Z": NOTHING,
}
_PREPARATIONS: tuple[Angles, ...] = (
    NOTHING,  # |0>
    (math.pi, 0.0, math.pi),  # |1>
    (math.pi / 2, 0.0, 0.0),  # |+>
    (math.pi / 2, math.pi, 0.0),  # |->
    (math.pi / 2, math.pi / 2, 0.0),  # |+i>
    (math.pi / 2, -math.pi / 2, 0.0),  # |-i>
)
_ANGLE_DECIMALS = 13
_EQUAL = 1e-9


class EndKind(StrEnum):
    """What a fragment sees of a cut."""

    GATE = "gate"
    SOURCE = "source"
    DESTINATION = "destination"


@dataclass(frozen=True)
class LocalMap:
    """One setting of a side of a cut.

    Attributes:
        pre: Angles of the `u` gate before the measurement; the whole map if nothing is measured.
        measured: Whether the qubit is measured; its outcome's sign multiplies the result.
        post: Angles of the `u` gate after the measurement.
    """

    pre: Angles
    measured: bool = False
    post: Angles = NOTHING


@dataclass(frozen=True)
class Cut:
    """One cut gate or wire.

    Attributes:
        name: What was cut, such as "rzz(0.4)" or "wire".
        qubits: The original qubits: two of a gate, one of a wire.
        kinds: What the two sides are.
        settings: Settings of the two sides.
        coefficients: Matrix C over the maps read from the two sides, as rows.
    """

    name: str
    qubits: tuple[int, ...]
    kinds: tuple[EndKind, EndKind]
    settings: tuple[tuple[LocalMap, ...], tuple[LocalMap, ...]]
    coefficients: tuple[tuple[float, ...], ...]

    @property
    def matrix(self) -> npt.NDArray[np.float64]:
        """The coefficients, shape (maps of side 0, maps of side 1)."""
        return np.array(self.coefficients, dtype=np.float64)

    @property
    def kappa(self) -> float:
        """Σ |C|; shots grow with its square."""
        return float(np.abs(self.matrix).sum())


def cut_wire(qubit: int) -> Cut:
    """Cuts the wire of a qubit."""
    source = tuple(LocalMap(BASIS_CHANGES[pauli], measured=True) for pauli in "XYZ")
    destination = tuple(LocalMap(angles) for angles in _PREPARATIONS)
    return Cut(
        name="wire",
        qubits=(qubit,),
        kinds=(EndKind.SOURCE, EndKind.DESTINATION),
        settings=(source, destination),
        coefficients=(
            (0.5, 0.5, 0.0, 0.0, 0.0, 0.0),
            (0.0, 0.0, 0.5, -0.5, 0.0, 0.0),
            (0.0, 0.0, 0.0, 0.0, 0.5, -0.5),
            (0.5, -0.5, 0.0, 0.0, 0.0, 0.0),
        ),
    )


def cut_gate(gate: Instruction, qubits: tuple[int, int]) -> Cut:
    """Cuts a two-qubit gate, or takes the decomposition of one that is marked as cut.

    Args:
        gate: Any gate with a matrix, or qiskit-addon-cutting's `TwoQubitQPDGate`.
        qubits: The qubits it acts on.

    Raises:
        InvalidInputError: If the gate has no known decomposition.
    """
    basis = getattr(gate, "basis", None)
    if not isinstance(basis, QPDBasis):
        try:
            basis = QPDBasis.from_instruction(gate)
        except ValueError as error:
            raise InvalidInputError(
                f"Gate {gate.name} on qubits {qubits} cannot be cut: {error} Cut elsewhere, or "
                "write the gate in terms of rzz or cx."
            ) from error
    sides: tuple[list[LocalMap], list[LocalMap]] = ([], [])
    keys: tuple[list[_Key], list[_Key]] = ([], [])
    terms: list[tuple[int, int, float]] = []
    for maps, coefficient in zip(basis.maps, basis.coeffs, strict=True):
        if abs(coefficient) < 1e-14:
            continue
        first, second = (_find(keys[side], sides[side], list(maps[side])) for side in (0, 1))
        terms.append((first, second, float(coefficient)))
    matrix = np.zeros((len(sides[0]), len(sides[1])))
    for first, second, coefficient in terms:
        matrix[first, second] += coefficient
    return Cut(
        name=_describe(gate),
        qubits=qubits,
        kinds=(EndKind.GATE, EndKind.GATE),
        settings=(tuple(sides[0]), tuple(sides[1])),
        coefficients=tuple(tuple(float(value) for value in row) for row in matrix),
    )


_Key = tuple[ComplexMatrix, bool, ComplexMatrix]


def _find(keys: list[_Key], maps: list[LocalMap], operations: list[Instruction]) -> int:
    """Returns the index of the map that these operations are, adding it if it is new."""
    before, after, measured = np.eye(2, dtype=complex), np.eye(2, dtype=complex), False
    for operation in operations:
        if operation.name == "qpd_measure":
            measured = True
        elif not isinstance(operation, Gate):
            raise InvalidInputError(
                f"The decomposition of a cut uses {operation.name}, which is no gate."
            )
        elif measured:
            after = operation.to_matrix() @ after
        else:
            before = operation.to_matrix() @ before
    for index, (pre, same, post) in enumerate(keys):
        if same == measured and _equal(pre, before) and _equal(post, after):
            return index
    keys.append((before, measured, after))
    maps.append(LocalMap(u_angles(before), measured, u_angles(after)))
    return len(maps) - 1


def _equal(first: ComplexMatrix, second: ComplexMatrix) -> bool:
    """Tells whether two unitaries differ by a phase at most."""
    overlap: complex = np.trace(first.conj().T @ second)
    return abs(abs(overlap) - 2.0) < _EQUAL


def u_angles(matrix: ComplexMatrix) -> Angles:
    """Returns (θ, φ, λ) of the `u` gate that equals a 2×2 unitary up to a phase.

    Diagonal matrices come out as (0, 0, λ).
    """
    theta, phi, lam = (float(value) for value in OneQubitEulerDecomposer("U").angles(matrix))
    if abs(math.sin(theta / 2)) < 1e-12:
        theta, phi, lam = 0.0, 0.0, phi + lam
    wrapped = tuple(
        round(math.remainder(angle, 2 * math.pi), _ANGLE_DECIMALS) + 0.0
        for angle in (theta, phi, lam)
    )
    return (wrapped[0], wrapped[1], wrapped[2])


def _describe(gate: Instruction) -> str:
    name = gate.label if gate.name == "qpd_2q" and gate.label else gate.name
    if gate.params and all(isinstance(value, int | float) for value in gate.params):
        return f"{name}({', '.join(f'{float(value):.4g}' for value in gate.params)})"
    return str(name)
