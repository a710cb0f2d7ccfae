"""Transpiling for devices: layouts from calibration, shared by like templates, and honoured."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector

from kubeqpu.proto.v1 import gateway_pb2
from kubeqpu.qpu_gateway.errors import CircuitError
from kubeqpu.qpu_gateway.providers.base import Span
from kubeqpu.qpu_gateway.simulation.device import DEAD_ERROR, Device, restrict
from kubeqpu.qpu_gateway.simulation.drift import CalibrationDrift, drift_calibration
from kubeqpu.qpu_gateway.simulation.subsets import best_line, is_connected
from kubeqpu.qpu_gateway.simulation.targets import build_target
from kubeqpu.qpu_gateway.simulation.transpilation import DeviceTranspiler, layout_leader
from tests.support.simulation import dump, line_device, noisy, parameter_array, run

LINE = line_device(9, seed=2)


def chain(width: int, measured: int, bonds: int | None = None) -> QuantumCircuit:
    angles = ParameterVector("t", width)
    circuit = QuantumCircuit(width, measured)
    for qubit in range(width):
        circuit.ry(angles[qubit], qubit)
    for qubit in range(width - 1 if bonds is None else bonds):
        circuit.rzz(0.4, qubit, qubit + 1)
    # Without these, the transpiler drops what is diagonal before the measurements.
    circuit.sx(range(width))
    circuit.measure(range(measured), range(measured))
    return circuit


def job(
    circuits: list[QuantumCircuit], options: gateway_pb2.Options, seed: int = 3
) -> gateway_pb2.JobSpec:
    entries = [
        gateway_pb2.SamplerEntry(
            template=index,
            parameters=parameter_array(np.full((1, circuit.num_parameters), 0.3)),
            shots=[100],
        )
        for index, circuit in enumerate(circuits)
    ]
    sampler = gateway_pb2.SamplerSpec(entries=entries, format=gateway_pb2.RESULT_FORMAT_COUNTS)
    return gateway_pb2.JobSpec(circuits=dump(circuits), sampler=sampler, options=options, seed=seed)


def worse_on(device: Device, qubits: set[int]) -> Device:
    """Ruins the gates and readouts of some qubits, but leaves them usable."""
    data = json.loads(device.model_dump_json())
    for instruction in data["instructions"]:
        for gate in instruction["gates"]:
            if instruction["name"] != "measure" and qubits & set(gate["qubits"]) and gate["error"]:
                gate["error"] = 0.4
    for qubit in qubits:
        data["qubits"][qubit] |= {"prob_meas1_prep0": 0.4, "prob_meas0_prep1": 0.4}
    return Device.model_validate(data)


def test_like_templates_share_one_layout_from_calibration() -> None:
    circuits = [chain(3, 3), chain(3, 1), chain(3, 2, bonds=1), chain(2, 2)]
    spec = job(circuits, gateway_pb2.Options(transpile_level=3))
    device = worse_on(LINE, {0, 1, 2, 3, 8})
    chunks = run(spec, [Span(entry, 0, 1) for entry in range(4)], noisy(device))
    layouts = [tuple(chunk.execution.layout) for chunk in chunks]
    assert layouts[0] == layouts[1] == layouts[2]
    assert set(layouts[0]) < {4, 5, 6, 7}
    assert len(layouts[3]) == 2
    assert chunks[0].execution.depth > 3
    assert chunks[0].execution.two_qubit_gates == 4
    assert chunks[0].execution.calibration_id == device.calibration_id


def test_the_layout_does_not_depend_on_which_template_runs_first() -> None:
    spec = job([chain(3, 3), chain(3, 1)], gateway_pb2.Options(transpile_level=3))
    together = run(spec, [Span(0, 0, 1), Span(1, 0, 1)], noisy(LINE))
    (alone,) = run(spec, [Span(1, 0, 1)], noisy(LINE))
    assert alone == together[1]


def test_another_calibration_gets_another_layout() -> None:
    spec = job([chain(3, 3)], gateway_pb2.Options(transpile_level=3))
    (before,) = run(spec, [Span(0, 0, 1)], noisy(worse_on(LINE, {0, 1, 2, 3, 4})))
    (after,) = run(spec, [Span(0, 0, 1)], noisy(worse_on(LINE, {4, 5, 6, 7, 8})))
    assert min(before.execution.layout) > 4 > max(after.execution.layout)


def test_a_given_layout_is_honoured() -> None:
    layout = gateway_pb2.Layout(qubits=[6, 5, 4])
    spec = job([chain(3, 3)], gateway_pb2.Options(initial_layout=layout))
    (chunk,) = run(spec, [Span(0, 0, 1)], noisy(LINE))
    assert list(chunk.execution.layout) == [6, 5, 4]


@pytest.mark.parametrize(
    ("qubits", "expected"),
    [([1, 2], "names 2 qubits"), ([1, 2, 2], "names 2 qubits"), ([1, 2, 9], "has qubits 0 to 8")],
)
def test_layouts_that_do_not_fit_are_refused(qubits: list[int], expected: str) -> None:
    options = gateway_pb2.Options(initial_layout=gateway_pb2.Layout(qubits=qubits))
    with pytest.raises(CircuitError, match=expected):
        run(job([chain(3, 3)], options), [Span(0, 0, 1)], noisy(LINE))


def test_without_transpilation_circuits_must_fit() -> None:
    fits, far = QuantumCircuit(9, 1), QuantumCircuit(9, 1)
    fits.cz(3, 4)
    fits.measure(4, 0)
    far.cz(3, 4)
    far.cz(3, 5)
    far.measure(4, 0)
    (chunk,) = run(job([fits], gateway_pb2.Options()), [Span(0, 0, 1)], noisy(LINE))
    assert list(chunk.execution.layout) == list(range(9))
    with pytest.raises(CircuitError, match=r"no 'cz' on qubits \[3, 5\]"):
        run(job([far], gateway_pb2.Options()), [Span(0, 0, 1)], noisy(LINE))
    with pytest.raises(CircuitError, match="has 10 qubits, noisy has 9"):
        run(job([QuantumCircuit(10, 1)], gateway_pb2.Options()), [Span(0, 0, 1)], noisy(LINE))


def test_trials_do_not_make_the_layout_worse() -> None:
    transpiler = DeviceTranspiler(build_target(LINE), "line")
    ring = chain(4, 4)
    ring.rzz(0.1, 0, 3)
    best = transpiler.log_fidelity(transpiler.transpile(ring, 3, 1).circuit)
    assert best >= transpiler.log_fidelity(transpiler.transpile(ring, 2, 1).circuit) - 1e-12
    assert best < 0


def test_leaders_include_the_interactions_of_their_followers() -> None:
    circuits = [chain(3, 3, bonds=1), chain(3, 3), chain(3, 1), chain(4, 4)]
    assert [layout_leader(circuits, template) for template in range(4)] == [0, 1, 1, 3]


@given(length=st.integers(1, 9), seed=st.integers(0, 5))
def test_best_lines_are_lines_of_working_gates(length: int, seed: int) -> None:
    device = line_device(9, seed)
    line = best_line(device, length)
    assert line is not None
    assert len(set(line)) == length
    assert is_connected(device, line)
    assert line == best_line(device, length)
    assert best_line(device, 10) is None


def test_dead_edges_are_left_out() -> None:
    data = json.loads(LINE.model_dump_json())
    for instruction in data["instructions"]:
        for gate in instruction["gates"]:
            if sorted(gate["qubits"]) == [4, 5]:
                gate["error"] = 1.0
    device = Device.model_validate(data)
    assert device.dead_edges() == 1
    assert device.median_gate_error(2) < DEAD_ERROR
    assert best_line(device, 6) is None
    assert not is_connected(device, [4, 5])
    assert restrict(device, (5, 4)).edges() == {(0, 1): 1.0}


def test_restriction_relabels_in_the_order_given() -> None:
    small = restrict(LINE, (4, 3, 5))
    assert small.num_qubits == 3
    assert small.qubits[0] == LINE.qubits[4]
    assert set(small.edges()) == {(0, 1), (0, 2)}
    assert small.edges()[0, 2] == LINE.edges()[4, 5]


@given(
    seed=st.one_of(st.none(), st.integers(0, 1000)),
    two=st.floats(0.1, 10),
    readout=st.floats(0.1, 10),
)
def test_drift_scales_errors_and_changes_the_id(
    seed: int | None, two: float, readout: float
) -> None:
    drift = CalibrationDrift(drift_seed=seed, scale_two_qubit=two, scale_readout=readout)
    drifted = drift_calibration(LINE, drift, LINE.calibrated_at)
    assert drifted == drift_calibration(LINE, drift, LINE.calibrated_at)
    moved = seed is not None or two != 1 or readout != 1
    assert (drifted.calibration_id != LINE.calibration_id) == moved
    if seed is None:
        for pair, error in LINE.edges().items():
            assert drifted.edges()[pair] == pytest.approx(min(error * two, 0.5))
        for before, after in zip(LINE.qubits, drifted.qubits, strict=True):
            for name in ("prob_meas1_prep0", "prob_meas0_prep1"):
                wanted = min(getattr(before, name) * readout, 0.5)
                assert getattr(after, name) == pytest.approx(wanted)
