"""GatewayBackend: the target rebuilt, results as Qiskit's own, and Qiskit's wrappers around it."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister, transpile
from qiskit.circuit import Clbit, IfElseOp
from qiskit.primitives import BackendEstimatorV2, BackendSamplerV2
from qiskit.providers import JobStatus

from kubeqpu.client import ClientError, GatewayClient, InvalidRequestError, NotFoundError
from kubeqpu.client.errors import ProtocolError
from kubeqpu.client.qiskit import GatewayBackend, build_target
from kubeqpu.client.qpus import GateSite, Target, TargetInstruction
from tests.support.memory_gateway import MemoryGateway


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MemoryGateway]:
    with MemoryGateway(Path(tmp_path_factory.mktemp("gateway"))) as found:
        yield found


@pytest.fixture(scope="module")
def backend(gateway: MemoryGateway) -> Iterator[GatewayBackend]:
    with GatewayClient(gateway.address) as client:
        yield GatewayBackend(client, qpu="memory")


def ghz(size: int) -> QuantumCircuit:
    circuit = QuantumCircuit(size)
    circuit.h(0)
    for qubit in range(size - 1):
        circuit.cx(qubit, qubit + 1)
    return circuit


def test_the_target_is_rebuilt(backend: GatewayBackend) -> None:
    target = backend.target
    assert (backend.name, target.num_qubits, target.dt) == ("memory", 5, 1e-9)
    assert target["cz"][0, 1].error == 1.0
    assert target["sx"][3,].duration == pytest.approx(3e-8)
    assert target.qubit_properties[2].t1 == pytest.approx(1e-4)
    assert set(target.operation_names) == {"rz", "sx", "x", "measure", "cz", "delay"}
    assert target.operation_from_name("rz").params[0].name == "λ"


def test_circuits_are_transpiled_for_it(backend: GatewayBackend) -> None:
    found = transpile(ghz(3), backend, optimization_level=3, seed_transpiler=1)
    used = {
        tuple(found.find_bit(qubit).index for qubit in instruction.qubits)
        for instruction in found.data
        if instruction.operation.name == "cz"
    }
    assert used <= {(0, 1), (1, 2), (2, 3), (3, 4)}
    assert used


def test_fixed_parameters_control_flow_and_unknown_instructions_are_rebuilt() -> None:
    site = (GateSite((0, 1), 0.1, None),)
    target = build_target(
        Target(
            2,
            None,
            (
                TargetInstruction("rx", ("0.5",), (GateSite((0,), None, None),)),
                TargetInstruction("if_else", (), ()),
                TargetInstruction("zap", ("theta",), site),
            ),
            (),
        )
    )
    assert target.operation_from_name("rx").params == [0.5]
    assert target.operation_from_name("if_else") is IfElseOp
    assert target.operation_from_name("zap").num_qubits == 2
    with pytest.raises(ProtocolError, match="'zap' that Qiskit does not know"):
        build_target(Target(2, None, (TargetInstruction("zap", (), ()),), ()))


def test_run_gives_counts_and_on_request_memory(backend: GatewayBackend) -> None:
    circuit = ghz(3)
    circuit.measure_all()
    job = backend.run(circuit, shots=200, seed_simulator=3)
    result = job.result()
    assert job.status() is JobStatus.DONE
    assert set(result.get_counts()) <= {"000", "111"}
    assert sum(result.get_counts().values()) == 200
    assert not hasattr(result.results[0].data, "memory")
    remembered = backend.run([circuit, circuit], shots=50, memory=True, seed_simulator=3).result()
    assert len(remembered.get_memory(1)) == 50
    assert (
        sum(word == "111" for word in remembered.get_memory(1)) == remembered.get_counts(1)["111"]
    )


def test_outcomes_follow_clbits_not_registers(backend: GatewayBackend) -> None:
    bits = [Clbit() for _ in range(12)]
    circuit = QuantumCircuit(QuantumRegister(3), bits)
    # Two registers that share a bit and run against the order of the bits; the rest has none.
    circuit.add_register(ClassicalRegister(bits=[bits[4], bits[2]], name="back"))
    circuit.add_register(ClassicalRegister(bits=[bits[2], bits[9]], name="shared"))
    circuit.x([0, 1])
    circuit.measure([0, 1, 2], [2, 11, 0])
    result = backend.run(circuit, shots=5, memory=True).result()
    assert result.results[0].data.memory == [hex(1 << 2 | 1 << 11)] * 5
    assert result.results[0].data.counts == {hex(1 << 2 | 1 << 11): 5}


def test_qiskits_wrapped_primitives_work(backend: GatewayBackend) -> None:
    circuit = ghz(2)
    measured = circuit.measure_all(inplace=False)
    sampler = BackendSamplerV2(backend=backend, options={"seed_simulator": 1})
    data = sampler.run([transpile(measured, backend)], shots=300).result()[0].data
    assert set(data.meas.get_counts()) <= {"00", "11"}
    estimator = BackendEstimatorV2(backend=backend, options={"seed_simulator": 1})
    ready = transpile(circuit, backend, initial_layout=[1, 2], optimization_level=1)
    from_layout = [("IIZZI", 1.0)]
    value = estimator.run([(ready, dict(from_layout))], precision=0.05).result()[0].data.evs
    assert value == pytest.approx(1.0)


def test_the_runtimes_client_side_sampler_never_reaches_the_gateway(
    gateway: MemoryGateway, backend: GatewayBackend
) -> None:
    """The trap that GatewayBackend's docstring warns of; if this fails, the warning is outdated."""
    from qiskit_ibm_runtime import SamplerV2  # noqa: PLC0415
    from qiskit_ibm_runtime.executor_sampler import Sampler  # noqa: PLC0415

    circuit = transpile(ghz(2).measure_all(inplace=False), backend, initial_layout=[2, 3])
    before = len(gateway.submissions)
    simulated = Sampler(mode=backend).run([circuit]).result()[0].data.meas
    assert simulated.num_shots > 0
    assert len(gateway.submissions) == before
    assert "never call `run`" in (GatewayBackend.__doc__ or "")
    sampled = SamplerV2(mode=backend).run([circuit], shots=30).result()[0].data.meas
    assert len(gateway.submissions) == before + 1
    assert sampled.num_shots == 30


def test_bad_runs_get_a_sentence(backend: GatewayBackend) -> None:
    circuit = ghz(2)
    circuit.measure_all()
    with pytest.raises(InvalidRequestError, match="Option 'meas_level' is unknown"):
        backend.run(circuit, meas_level=1)
    with pytest.raises(InvalidRequestError, match="expected a QuantumCircuit"):
        backend.run(["circuit"])
    with pytest.raises(InvalidRequestError, match="expected 1 to"):
        backend.run(circuit, shots=0)
    with pytest.raises(ClientError, match="submitted already"):
        backend.run(circuit).submit()
    with pytest.raises(NotFoundError):
        GatewayBackend(backend.client, qpu="none")
    with pytest.raises(InvalidRequestError, match="No QPU is named"):
        GatewayBackend(backend.client)


def test_options_of_the_backend_are_defaults_and_refresh_reads_again(
    gateway: MemoryGateway, backend: GatewayBackend
) -> None:
    mine = GatewayBackend(backend.client, qpu="memory")
    mine.set_options(shots=7)
    circuit = ghz(2)
    circuit.measure_all()
    assert sum(mine.run(circuit).result().get_counts().values()) == 7
    before = mine.target
    mine.refresh()
    assert mine.target is not before
    assert mine.qpu.capabilities.exact
    assert mine.max_circuits is None
    assert np.isclose(mine.target["cz"][1, 2].error, 0.01)
