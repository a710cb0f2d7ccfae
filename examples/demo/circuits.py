"""The three circuits of the demo and what is asked of them."""

import json
from dataclasses import dataclass
from pathlib import Path

from qiskit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp

HERE = Path(__file__).parent

# Marriage ties among fifteen families of fifteenth-century Florence; J. F. Padgett and
# C. K. Ansell, Robust Action and the Rise of the Medici, Am. J. Sociol. 98, 1259 (1993).
FLORENTINE_TIES = """
    Acciaiuoli-Medici Albizzi-Ginori Albizzi-Guadagni Albizzi-Medici Barbadori-Castellani
    Barbadori-Medici Bischeri-Guadagni Bischeri-Peruzzi Bischeri-Strozzi Castellani-Peruzzi
    Castellani-Strozzi Guadagni-Lamberteschi Guadagni-Tornabuoni Medici-Ridolfi Medici-Salviati
    Medici-Tornabuoni Pazzi-Salviati Peruzzi-Strozzi Ridolfi-Strozzi Ridolfi-Tornabuoni
"""


@dataclass(frozen=True)
class Task:
    """A circuit, the observables asked of it, and the width it has to fit.

    Attributes:
        name: Short name, used in files.
        title: What it is, for people.
        circuit: The circuit, without measurements.
        observables: What to estimate, by name.
        max_qubits: Width of the QPUs it is cut for.
        shots: Shots over all fragments.
        uncut_shots: Shots for the whole circuit; wide noisy circuits are slow to simulate.
    """

    name: str
    title: str
    circuit: QuantumCircuit
    observables: dict[str, SparsePauliOp]
    max_qubits: int
    shots: int
    uncut_shots: int


def ising_chain(
    qubits: int = 21, steps: int = 2, step: float = 0.2, coupling: float = 1.0, field: float = 1.0
) -> Task:
    """Quenches a transverse-field Ising chain, by first-order Trotter steps.

    The chain starts with all spins up and evolves under H = −J Σ Z_i Z_{i+1} − h Σ X_i.

    Args:
        qubits: Length of the chain.
        steps: Number of Trotter steps.
        step: Time of one step.
        coupling: J.
        field: h.

    Returns:
        The task; its observables are the end-to-end correlator and the energy per site.
    """
    circuit = QuantumCircuit(qubits, name="ising")
    for _ in range(steps):
        circuit.rx(-2 * field * step, range(qubits))
        for first in (0, 1):
            for left in range(first, qubits - 1, 2):
                circuit.rzz(-2 * coupling * step, left, left + 1)
    bonds = [("ZZ", [site, site + 1], -coupling / qubits) for site in range(qubits - 1)]
    fields = [("X", [site], -field / qubits) for site in range(qubits)]
    return Task(
        name="ising",
        title=f"Transverse-field Ising chain, {qubits} qubits, {steps} Trotter steps",
        circuit=circuit,
        observables={
            "end-to-end correlator": SparsePauliOp.from_sparse_list(
                [("ZZ", [0, qubits - 1], 1.0)], num_qubits=qubits
            ),
            "energy per site": SparsePauliOp.from_sparse_list(bonds + fields, num_qubits=qubits),
        },
        max_qubits=7,
        shots=400_000,
        uncut_shots=2_000,
    )


def molecule() -> Task:
    """Prepares an approximate ground state of BeH2 with one hardware-efficient layer.

    Hamiltonian and angles are read from `beh2.json`, which names their source.
    """
    data = json.loads((HERE / "beh2.json").read_text())
    first, second = data["angles"]
    circuit = QuantumCircuit(6, name="beh2")
    for qubit, angle in enumerate(first):
        circuit.ry(angle, qubit)
    for left in (0, 2, 4, 1, 3):
        circuit.cz(left, left + 1)
    for qubit, angle in enumerate(second):
        circuit.ry(angle, qubit)
    # The published labels begin with qubit 0, Qiskit's end with it.
    terms = [(label[::-1], coefficient) for label, coefficient in data["terms"].items()]
    return Task(
        name="beh2",
        title="BeH2 in six qubits, one layer of a hardware-efficient ansatz",
        circuit=circuit,
        observables={"electronic energy (hartree)": SparsePauliOp.from_list(terms)},
        max_qubits=3,
        shots=400_000,
        uncut_shots=400_000,
    )


def max_cut(gamma: float = 0.35, beta: float = 0.39) -> Task:
    """Divides the Florentine families by one layer of QAOA for the maximum cut.

    Args:
        gamma: Angle of the cost layer.
        beta: Angle of the mixing layer.

    Returns:
        The task; its observable is the expected number of ties that are cut.
    """
    ties = [tuple(tie.split("-")) for tie in FLORENTINE_TIES.split()]
    families = {name: index for index, name in enumerate(sorted({n for tie in ties for n in tie}))}
    pairs = [(families[one], families[other]) for one, other in ties]
    qubits = len(families)
    circuit = QuantumCircuit(qubits, name="maxcut")
    circuit.h(range(qubits))
    for one, other in pairs:
        circuit.rzz(-gamma, one, other)
    circuit.rx(2 * beta, range(qubits))
    terms = [("ZZ", list(pair), -0.5) for pair in pairs]
    constant: list[tuple[str, list[int], float]] = [("", [], 0.5 * len(pairs))]
    return Task(
        name="maxcut",
        title=f"Maximum cut of the Florentine families, {qubits} qubits, QAOA with one layer",
        circuit=circuit,
        observables={
            "ties cut": SparsePauliOp.from_sparse_list(terms + constant, num_qubits=qubits)
        },
        max_qubits=10,
        shots=50_000,
        uncut_shots=500,
    )


def all_tasks() -> tuple[Task, ...]:
    """The demo's tasks, in the order they run."""
    return ising_chain(), molecule(), max_cut()
