"""Random circuits with cuts, and how to evaluate their fragments exactly."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st
from qiskit.circuit import QuantumCircuit
from qiskit_addon_cutting.instructions import CutWire

from kubeqpu.cutting.contraction import Network
from kubeqpu.cutting.exact import exact_experiments
from kubeqpu.cutting.executors import EstimatorEntry, EstimatorTask
from kubeqpu.cutting.experiments import Experiments
from kubeqpu.cutting.finder import take_markers
from kubeqpu.cutting.fragments import CutPlaces, dump_circuits, split
from kubeqpu.cutting.reconstruction import exact_tensor
from tests.support.state_vector import StateVectorExecutor

GateCase = tuple[QuantumCircuit, str, list[str]]
WireCase = tuple[QuantumCircuit, list[str]]
MixedCase = tuple[QuantumCircuit, int, list[str]]
FloatArray = npt.NDArray[np.float64]

CHEAP = ["cx", "cz", "rzz", "crx", "cp", "ecr", "rxx"]


def append_gate(circuit: QuantumCircuit, name: str, angle: float, first: int, second: int) -> None:
    angles = [angle] if name in ("rzz", "crx", "cp", "rxx", "ryy", "crz") else []
    getattr(circuit, name)(*angles, first, second)


def layer(circuit: QuantumCircuit, rng: np.random.Generator, qubits: Iterable[int]) -> None:
    for qubit in qubits:
        circuit.u(*rng.uniform(-np.pi, np.pi, 3), qubit)


def random_labels(rng: np.random.Generator, width: int, count: int = 5) -> list[str]:
    found = {"".join(rng.choice(list("IXYZ"), width)): None for _ in range(count)}
    return list(found)


@st.composite
def gate_cut_circuits(draw: st.DrawFn) -> GateCase:
    """Two or three blocks of qubits with one to three gates across."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    sizes = draw(st.lists(st.integers(1, 3), min_size=2, max_size=3))
    labels = "".join(letter * size for letter, size in zip("ABC", sizes, strict=False))
    circuit = QuantumCircuit(len(labels))
    crossings = draw(st.integers(1, 4))
    for _ in range(crossings):
        layer(circuit, rng, range(len(labels)))
        for qubit in range(len(labels) - 1):
            if labels[qubit] == labels[qubit + 1]:
                circuit.cx(qubit, qubit + 1)
        edge = draw(st.sampled_from(range(1, len(sizes))))
        across = sum(sizes[:edge])
        name = draw(st.sampled_from(CHEAP))
        append_gate(circuit, name, rng.uniform(-3, 3), across - 1, across)
    layer(circuit, rng, range(len(labels)))
    return circuit, labels, random_labels(rng, len(labels))


@st.composite
def wire_cut_circuits(draw: st.DrawFn) -> WireCase:
    """A chain whose links are joined by one qubit each, marked with CutWire."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    cuts = draw(st.integers(1, 3))
    width = min(cuts, 2) + 2 + draw(st.integers(0, 2))
    circuit = QuantumCircuit(width)
    joints = sorted(rng.choice(range(1, width - 1), size=min(cuts, width - 2), replace=False))
    layer(circuit, rng, range(width))
    for qubit in range(width - 1):
        if qubit in joints:
            circuit.append(CutWire(), [qubit])
        circuit.cx(qubit, qubit + 1)
        layer(circuit, rng, (qubit, qubit + 1))
    return circuit, random_labels(rng, width)


@st.composite
def mixed_cut_circuits(draw: st.DrawFn) -> MixedCase:
    """A wire-cut chain with one more qubit, whose only gate is cut; and that gate's number."""
    circuit, labels = draw(wire_cut_circuits())
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    mixed = QuantumCircuit(circuit.num_qubits + 1)
    mixed.compose(circuit, range(circuit.num_qubits), inplace=True)
    last = circuit.num_qubits
    mixed.u(*rng.uniform(-3, 3, 3), last)
    append_gate(mixed, rng.choice(CHEAP), rng.uniform(-3, 3), last - 1, last)
    number = len(mixed.data) - 1
    layer(mixed, rng, (last - 1, last))
    return mixed, number, [rng.choice(list("IXYZ")) + label for label in labels]


def mixed_values(mixed: QuantumCircuit, number: int, labels: list[str]) -> FloatArray:
    markers = sum(item.operation.name == "cut_wire" for item in mixed.data[:number])
    circuit, places = take_markers(mixed)
    places = CutPlaces(frozenset({number - markers}), places.wires)
    cuts, fragments = split(circuit, places, labels)
    assert {cut.name == "wire" for cut in cuts} == {True, False}
    executor = StateVectorExecutor()
    tensors = [evaluate(executor, exact_experiments(part, cuts)) for part in fragments]
    return Network(cuts, fragments).values(tensors)


def evaluate(executor: StateVectorExecutor, experiments: Experiments) -> FloatArray:
    if not experiments.blocks:
        return exact_tensor(experiments, ())
    entries = tuple(
        EstimatorEntry(block.template, block.parameters, block.observables)
        for block in experiments.blocks
    )
    task = EstimatorTask(0, "", dump_circuits(experiments.templates), entries)
    return exact_tensor(experiments, executor.evaluate([task])[0].values)
