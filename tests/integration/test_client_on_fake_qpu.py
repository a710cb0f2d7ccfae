"""The client on a noisy QPU: transpilation, layouts, targets, classes."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from qiskit import QuantumCircuit, transpile
from qiskit.primitives import BackendSamplerV2, StatevectorEstimator
from qiskit.quantum_info import SparsePauliOp

from kubeqpu.client import GatewayClient, InvalidRequestError, UnavailableError
from kubeqpu.client.qiskit import (
    EstimatorOptions,
    GatewayBackend,
    GatewayEstimator,
    GatewaySampler,
    SamplerOptions,
)
from tests.support.gateway import GatewayProcess


@pytest.fixture(scope="module")
def noisy_client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayClient]:
    # Lagos as of its snapshot: readout errors from 2 % to 46 %, so the layout matters.
    qpus: list[dict[str, object]] = [
        {"name": "lagos", "provider": "fake", "options": {"backend": "FakeLagosV2"}},
        {"name": "aer", "provider": "aer"},
    ]
    with (
        GatewayProcess(tmp_path_factory.mktemp("noisy"), qpus) as process,
        GatewayClient(process.address, qpu="lagos") as client,
    ):
        yield client


def bell() -> QuantumCircuit:
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.cx(0, 1)
    return circuit


def measured_bell() -> QuantumCircuit:
    circuit: QuantumCircuit = bell().measure_all(inplace=False)
    return circuit


def test_a_backend_waits_for_its_provider_and_has_its_target(noisy_client: GatewayClient) -> None:
    backend = GatewayBackend(noisy_client)
    assert backend.num_qubits == 7
    assert {"cx", "rz", "sx", "x", "measure"} <= set(backend.target.operation_names)
    assert 0.2 < backend.target["measure"][5,].error < 0.3
    ready = transpile(measured_bell(), backend, optimization_level=3, seed_transpiler=1)
    counts = BackendSamplerV2(backend=backend).run([ready], shots=500).result()[0].data.meas
    assert sum(counts.get_counts().values()) == 500


def test_a_provider_that_cannot_start_is_told_with_its_reason(tmp_path: Path) -> None:
    qpus = [{"name": "broken", "provider": "fake", "options": {"backend": "FakeNothing"}}]
    with (
        GatewayProcess(tmp_path, qpus) as process,
        GatewayClient(process.address, qpu="broken", patience_seconds=3) as client,
    ):
        deadline = time.monotonic() + 60
        while "FakeNothing" not in str(client.qpu("broken")):
            assert time.monotonic() < deadline, str(client.qpu("broken"))
            time.sleep(0.1)
        with pytest.raises(UnavailableError, match=r"QPU broken has no target.*FakeNothing"):
            GatewayBackend(client)
        assert str(client.qpu("broken")).startswith("broken: not ready (")


def test_sampler_and_estimator_choose_the_same_layout(noisy_client: GatewayClient) -> None:
    sampled = GatewaySampler(noisy_client, options=SamplerOptions(seed=3)).run([measured_bell()])
    estimator = GatewayEstimator(noisy_client, options=EstimatorOptions(seed=3))
    estimated = estimator.run([(bell(), "ZZ")])
    (place,) = sampled.result()[0].metadata["kubeqpu"]["executions"]
    (other,) = estimated.result()[0].metadata["kubeqpu"]["executions"]
    assert place["layout"] == other["layout"]
    assert place["calibration_id"] == other["calibration_id"] != ""
    counts = sampled.result()[0].data.meas.get_counts()
    parity = (counts["00"] + counts["11"] - counts["01"] - counts["10"]) / 1024
    assert estimated.result()[0].data.evs == pytest.approx(parity, abs=0.15)


def test_circuits_that_were_laid_out_stay_where_they_are(noisy_client: GatewayClient) -> None:
    backend = GatewayBackend(noisy_client)
    ready = transpile(bell(), backend, initial_layout=[5, 4], optimization_level=1)
    observable = SparsePauliOp("ZZ").apply_layout(ready.layout)
    value = GatewayEstimator(noisy_client).run([(ready, observable)]).result()[0]
    chosen = GatewayEstimator(noisy_client).run([(bell(), "ZZ")]).result()[0]
    (execution,) = value.metadata["kubeqpu"]["executions"]
    assert execution["layout"] == tuple(range(7))
    # Qubits 4 and 5 read out far worse than the pair that the gateway chooses.
    assert value.data.evs < chosen.data.evs - 0.1


def test_a_given_layout_is_used_and_recorded(noisy_client: GatewayClient) -> None:
    options = SamplerOptions(initial_layout=[3, 5])
    result = GatewaySampler(noisy_client, options=options).run([measured_bell()]).result()[0]
    assert result.metadata["kubeqpu"]["executions"][0]["layout"] == (3, 5)


def test_a_class_picks_a_qpu_of_the_gateway(noisy_client: GatewayClient) -> None:
    job = GatewaySampler(noisy_client, qpu_class="standard").run([measured_bell()])
    assert job.result().metadata["kubeqpu"]["qpu"] in {"lagos", "aer"}
    with pytest.raises(InvalidRequestError, match="no class 'gold'"):
        GatewaySampler(noisy_client, qpu_class="gold").run([measured_bell()])


def test_a_noisy_qpu_refuses_to_be_exact(noisy_client: GatewayClient) -> None:
    with pytest.raises(InvalidRequestError, match="noisy"):
        GatewayEstimator(noisy_client).run([(bell(), "ZZ")], precision=0)


def test_estimates_shrink_under_noise_but_keep_their_signs(noisy_client: GatewayClient) -> None:
    observables = [["ZZ"], ["XX"], ["YY"]]
    circuit = bell()
    noisy = GatewayEstimator(noisy_client).run([(circuit, observables)]).result()[0].data.evs
    exact = StatevectorEstimator().run([(circuit, observables)]).result()[0].data.evs
    assert noisy.shape == exact.shape == (3, 1)
    assert np.all(np.sign(noisy) == np.sign(exact))
    assert np.all(np.abs(noisy) < np.abs(exact))
