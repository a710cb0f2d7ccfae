"""Describing circuits: the short way must tell what the long way tells."""

from hypothesis import given
from hypothesis import strategies as st
from qiskit import QuantumCircuit

from kubeqpu.qpu_gateway.simulation.summaries import _glance, _Walk, summarise

QUBITS = 3
steps = st.lists(
    st.tuples(
        st.sampled_from(["h", "cx", "measure", "barrier", "reset", "delay"]),
        st.integers(0, QUBITS - 1),
    ),
    max_size=8,
)


def build(chosen: list[tuple[str, int]]) -> QuantumCircuit:
    circuit = QuantumCircuit(QUBITS, QUBITS)
    for name, qubit in chosen:
        if name == "cx":
            circuit.cx(qubit, (qubit + 1) % QUBITS)
        elif name == "measure":
            circuit.measure(qubit, qubit)
        elif name == "delay":
            circuit.delay(100, qubit)
        else:
            getattr(circuit, name)(qubit)
    return circuit


@given(steps)
def test_a_glance_tells_what_a_walk_tells(chosen: list[tuple[str, int]]) -> None:
    circuit = build(chosen)
    found = _glance(circuit)
    walk = _Walk()
    walk.visit(circuit, dict(zip(circuit.qubits, circuit.qubits, strict=True)))
    if found is not None:
        assert found.operations == walk.operations
        assert found.measured == walk.measured
        assert found.mid_circuit == walk.mid_circuit
        assert found.control_flow == walk.control_flow


def test_a_glance_suffices_for_what_most_people_send() -> None:
    circuit = build([("h", 0), ("cx", 0)])
    circuit.measure_all(add_bits=False)
    assert _glance(circuit) is not None
    assert summarise(circuit).measured_clbits == QUBITS


def test_a_conditional_circuit_is_walked() -> None:
    circuit = build([("measure", 0)])
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.x(1)
    assert _glance(circuit) is None
    assert summarise(circuit).control_flow
