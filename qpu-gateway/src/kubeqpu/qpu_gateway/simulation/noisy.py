"""Simulation with a device's noise."""

from collections.abc import Mapping, Sequence

from qiskit import QuantumCircuit
from qiskit.circuit import Parameter

from kubeqpu.qpu_gateway.errors import CircuitError
from kubeqpu.qpu_gateway.simulation.branching import branch_circuits, observed_middle
from kubeqpu.qpu_gateway.simulation.compaction import compact, used_qubits
from kubeqpu.qpu_gateway.simulation.device import Device
from kubeqpu.qpu_gateway.simulation.measurements import (
    MeasurementPlan,
    has_control_flow,
    plan_measurements,
)
from kubeqpu.qpu_gateway.simulation.noise import DeviceNoise, GateKey, clip_coherence
from kubeqpu.qpu_gateway.simulation.programs import (
    DistributionProgram,
    Program,
    SampledProgram,
    save_probabilities,
)
from kubeqpu.qpu_gateway.simulation.simulators import simulator

# Widest density matrix: 4^12 amplitudes are a quarter of a GiB.
_MAX_DENSITY_QUBITS = 12
# Costs of one gate in units of one amplitude of one trajectory, measured with qiskit-aer 0.18: a
# density-matrix amplitude with fused noise, and the fixed costs of a gate of one trajectory.
_DENSITY_AMPLITUDE = 1.8
_STATEVECTOR_GATE = 600
_BOND_GATE = 4000
_BOND_CUBED = 20


class NoisySimulation:
    """Compiles circuits that fit a device for simulation with its noise."""

    def __init__(self, device: Device, threads: int) -> None:
        self._noise = DeviceNoise(device)
        self._product_noise = DeviceNoise(clip_coherence(device))
        self._threads = threads

    def compile_sampler(
        self,
        circuit: QuantumCircuit,
        columns: Mapping[Parameter, int],
        shots: int,
        order: Sequence[int],
    ) -> Program:
        """Compiles a circuit for sampling.

        Args:
            circuit: On the device's qubits, of its operations.
            columns: Column of each parameter.
            shots: Most shots of a row; part of the cost estimate.
            order: Physical qubits, neighbours beside each other; a good order keeps matrix product
                states small.

        Raises:
            CircuitError: If it is too wide to be simulated.
        """
        used = set(used_qubits(circuit))
        ordered = [qubit for qubit in dict.fromkeys([*order, *sorted(used)]) if qubit in used]
        gates = list(physical_gates(circuit))
        small = self._noise.relax_delays(compact(circuit, tuple(ordered)), ordered)
        used_columns = {parameter: columns[parameter] for parameter in small.parameters}
        if not has_control_flow(small):
            plan = plan_measurements(small)
            if _prefers_density_matrix(small, plan, shots):
                return self._distribution(small, plan, used_columns, ordered, gates)
        return self._trajectories(small, used_columns, ordered, gates)

    def _distribution(
        self,
        circuit: QuantumCircuit,
        plan: MeasurementPlan,
        columns: Mapping[Parameter, int],
        qubits: Sequence[int],
        gates: Sequence[GateKey],
    ) -> DistributionProgram:
        middle = observed_middle(plan)
        final = sorted(plan.final)
        branches = tuple(branch_circuits(circuit, plan)) if plan.clbits else ()
        for branch in branches:
            save_probabilities(branch, [plan.final[clbit] for clbit in final])
        measured = [plan.final[clbit] for clbit in final] + [event.qubit for event in middle]
        noise = self._noise.model(gates, qubits, readout=False)
        return DistributionProgram(
            backend=simulator("density_matrix", self._threads, noise=noise),
            method="aer-density-matrix",
            cost=len(branches) * 4**circuit.num_qubits,
            branches=branches,
            columns=columns,
            saved_clbits=(*final, *(event.clbit for event in middle if event.clbit is not None)),
            num_clbits=circuit.num_clbits,
            confusion=tuple(self._noise.confusion(qubits[qubit]) for qubit in measured),
        )

    def _trajectories(
        self,
        circuit: QuantumCircuit,
        columns: Mapping[Parameter, int],
        qubits: Sequence[int],
        gates: Sequence[GateKey],
    ) -> SampledProgram:
        as_product, as_vector = trajectory_costs(circuit)
        method = "matrix_product_state" if as_product < as_vector else "statevector"
        source = self._product_noise if as_product < as_vector else self._noise
        noise = source.model(gates, qubits, readout=True)
        if min(as_product, as_vector) > 2**30:
            raise CircuitError(
                f"The circuit uses {circuit.num_qubits} qubits too entangled to be simulated with "
                "noise; cut it, or use an ideal simulator."
            )
        return SampledProgram(
            backend=simulator(method, self._threads, noise=noise),
            method=f"aer-{method.replace('_', '-')}-trajectories",
            cost=2**20,
            circuit=circuit,
            columns=columns,
        )


def physical_gates(circuit: QuantumCircuit) -> list[GateKey]:
    """Lists operations with their qubits, those inside control flow included."""
    found: list[GateKey] = []

    def visit(block: QuantumCircuit, place: Mapping[object, int]) -> None:
        for instruction in block.data:
            qubits = tuple(place[bit] for bit in instruction.qubits)
            if instruction.is_control_flow():
                for inner in instruction.operation.blocks:
                    visit(inner, dict(zip(inner.qubits, qubits, strict=True)))
            else:
                found.append((instruction.name, qubits))

    visit(circuit, {bit: index for index, bit in enumerate(circuit.qubits)})
    return found


def trajectory_costs(circuit: QuantumCircuit) -> tuple[float, float]:
    """Estimates the cost of a gate of one trajectory as matrix product state and as statevector.

    The bond between qubits c and c + 1 grows at most by the Schmidt rank, 2, of each two-qubit gate
    across it, and never beyond the smaller side.
    """
    width = circuit.num_qubits
    crossings = [0] * max(1, width - 1)
    index = {bit: position for position, bit in enumerate(circuit.qubits)}
    for instruction in circuit.data:
        places = [index[bit] for bit in instruction.qubits]
        if len(places) == 2 and instruction.name != "barrier":
            for cut in range(min(places), max(places)):
                crossings[cut] += 1
    bond = max(min(count, cut + 1, width - cut - 1) for cut, count in enumerate(crossings))
    return _BOND_GATE + _BOND_CUBED * 8.0**bond, _STATEVECTOR_GATE + 2.0**width


def _prefers_density_matrix(circuit: QuantumCircuit, plan: MeasurementPlan, shots: int) -> bool:
    width = int(circuit.num_qubits)
    if width > _MAX_DENSITY_QUBITS:
        return False
    branches = 2.0 ** len(observed_middle(plan))
    # A density matrix serves all shots of a row at once.
    return branches * _DENSITY_AMPLITUDE * 4.0**width <= shots * min(trajectory_costs(circuit))
