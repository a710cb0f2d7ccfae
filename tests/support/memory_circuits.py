"""What the gateway in memory computes, and the QPU it describes."""

import numpy as np
from qiskit import QuantumCircuit
from qiskit.primitives import StatevectorSampler
from qiskit.quantum_info import SparsePauliOp, Statevector

from kubeqpu.proto.v1 import gateway_pb2, qpu_pb2


def bind(
    circuit: QuantumCircuit, parameters: gateway_pb2.ParameterArray, row: int
) -> QuantumCircuit:
    """Returns a template with the parameter values of a row."""
    values = np.frombuffer(parameters.values, "<f8").reshape(parameters.rows, parameters.columns)
    return circuit.assign_parameters(values[row])


def sample(
    chunk: gateway_pb2.ResultChunk,
    entry: gateway_pb2.SamplerEntry,
    bound: dict[int, QuantumCircuit],
    seeds: dict[int, np.random.SeedSequence],
    wanted: gateway_pb2.ResultFormat.ValueType,
) -> None:
    """Fills a chunk with outcomes, in the wanted format."""
    for row, circuit in bound.items():
        shots = entry.shots[row] if len(entry.shots) > 1 else entry.shots[0]
        generator = np.random.default_rng(seeds[row])
        data = StatevectorSampler(seed=generator).run([circuit], shots=shots).result()[0].data
        if wanted == gateway_pb2.RESULT_FORMAT_BITS:
            chunk.bits.shots.append(shots)
            for index, register in enumerate(circuit.cregs):
                if index == len(chunk.bits.registers):
                    chunk.bits.registers.add(name=register.name, num_bits=register.size)
                chunk.bits.registers[index].data += data[register.name].array.tobytes()
        else:
            size = -(-circuit.num_clbits // 8)
            chunk.counts.num_clbits = circuit.num_clbits
            outcomes = np.zeros(shots, dtype=object)
            offset = 0
            for register in circuit.cregs:
                bits = [int(text, 2) for text in data[register.name].get_bitstrings()]
                outcomes += np.array(bits, dtype=object) << offset
                offset += register.size
            values, counts = np.unique(outcomes, return_counts=True)
            chunk.counts.rows.add(
                outcomes=b"".join(int(value).to_bytes(size, "big") for value in values),
                counts=counts.tolist(),
            )


def estimate(
    chunk: gateway_pb2.ResultChunk,
    entry: gateway_pb2.EstimatorEntry,
    bound: dict[int, QuantumCircuit],
    seeds: dict[int, np.random.SeedSequence],
    exact: bool,
) -> None:
    """Fills a chunk with expectation values."""
    every = [(row, column) for row in bound for column in range(len(entry.observables))]
    listed = list(zip(entry.pairs[::2], entry.pairs[1::2], strict=True))
    pairs = [pair for pair in listed if pair[0] in bound] if listed else every
    chunk.expectation.shots.extend([0 if exact else int(np.ceil(entry.precision**-2))] * len(bound))
    states = {row: Statevector(circuit) for row, circuit in bound.items()}
    for row, column in pairs:
        terms = entry.observables[column].terms
        operator = SparsePauliOp.from_list([(term.pauli, term.coefficient) for term in terms])
        value = float(np.real(states[row].expectation_value(operator)))
        if not exact:
            seed = np.random.SeedSequence([*seeds[row].generate_state(4).tolist(), column])
            value += np.random.default_rng(seed).normal(0, entry.precision)
        chunk.expectation.values.append(value)
        chunk.expectation.variances.append(0.0 if exact else entry.precision**2)


def describe_qpu(include_target: bool) -> qpu_pb2.QPU:
    """A QPU of five qubits in a line, with one dead edge and a calibration."""
    qpu = qpu_pb2.QPU(
        name="memory",
        provider="memory",
        backend_name="statevector",
        simulator=True,
        num_qubits=5,
        slots=2,
        max_shots=100_000,
        max_circuits=1000,
        basis_gates=["cz", "rz", "sx", "x"],
        conditions=[qpu_pb2.Condition(type="Ready", status="True", reason="Up")],
        queue=qpu_pb2.Queue(provider_pending=3, estimated_wait_seconds=1.5),
        calibration=qpu_pb2.Calibration(id="c1", median_two_qubit_error=0.01, dead_edges=1),
        capabilities=qpu_pb2.Capabilities(
            exact=True, execution_modes=["job"], dynamical_decoupling=["XY4"]
        ),
    )
    qpu.calibration.time.FromSeconds(1_700_000_000)
    if include_target:
        qpu.target.num_qubits = 5
        qpu.target.dt = 1e-9
        for name, parameters in (("rz", ["λ"]), ("sx", []), ("x", []), ("measure", [])):
            instruction = qpu.target.instructions.add(name=name, parameters=parameters)
            for qubit in range(5):
                instruction.gates.add(qubits=[qubit], error=1e-3, duration_seconds=3e-8)
        edges = qpu.target.instructions.add(name="cz")
        for qubit in range(4):
            edges.gates.add(qubits=[qubit, qubit + 1], error=0.01 if qubit else 1.0)
        qpu.target.instructions.add(name="delay", parameters=["t"])
        for qubit in range(5):
            qpu.target.qubits.add(t1_seconds=1e-4, t2_seconds=2e-4 - qubit * 1e-5)
    return qpu
