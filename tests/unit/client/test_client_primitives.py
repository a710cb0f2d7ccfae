"""The primitives give what Qiskit's own give, whatever shapes are broadcast."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import BroadcastableShapes, mutually_broadcastable_shapes
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister, generate_preset_pass_manager
from qiskit.circuit import Parameter, ParameterVector
from qiskit.primitives import StatevectorEstimator, StatevectorSampler
from qiskit.providers import JobStatus
from qiskit.quantum_info import SparseObservable, SparsePauliOp

from kubeqpu.client import (
    DeadlineError,
    GatewayClient,
    InvalidRequestError,
    JobCancelledError,
    NotFoundError,
)
from kubeqpu.client.qiskit import (
    EstimatorOptions,
    GatewayBackend,
    GatewayEstimator,
    GatewaySampler,
    SamplerOptions,
)
from tests.support.memory_gateway import MemoryGateway

relaxed = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MemoryGateway]:
    with MemoryGateway(Path(tmp_path_factory.mktemp("gateway"))) as found:
        yield found


@pytest.fixture(scope="module")
def client(gateway: MemoryGateway) -> Iterator[GatewayClient]:
    with GatewayClient(gateway.address, qpu="memory") as found:
        yield found


def ansatz() -> QuantumCircuit:
    circuit = QuantumCircuit(2)
    first, second = Parameter("b"), Parameter("a")
    circuit.ry(first, 0)
    circuit.rx(second, 1)
    circuit.crz(first + second, 0, 1)
    circuit.h(0)
    return circuit


OBSERVABLES = ["ZZ", "XI", {"ZI": 0.5, "YY": -2.0}, SparsePauliOp(["IX", "ZZ"], [1.5, 0.25])]


CROSSED = BroadcastableShapes(input_shapes=((1, 3), (2, 1)), result_shape=(2, 3))
NESTED = BroadcastableShapes(input_shapes=((3, 1, 2), (2, 1)), result_shape=(3, 2, 2))


@relaxed
@example(shapes=CROSSED, seed=1)
@example(shapes=NESTED, seed=2)
@given(
    shapes=mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=3),
    seed=st.integers(0, 2**32),
)
def test_exact_estimates_are_qiskits_for_all_shapes(
    client: GatewayClient, shapes: BroadcastableShapes, seed: int
) -> None:
    random = np.random.default_rng(seed)
    values = random.uniform(-4, 4, (*shapes.input_shapes[0], 2))
    observables = np.empty(shapes.input_shapes[1], dtype=object)
    for index in np.ndindex(observables.shape):
        observables[index] = OBSERVABLES[random.integers(len(OBSERVABLES))]
    pub = (ansatz(), observables.tolist(), values)
    ours = GatewayEstimator(client).run([pub], precision=0).result()[0]
    theirs = StatevectorEstimator().run([pub]).result()[0]
    assert ours.data.shape == theirs.data.shape == shapes.result_shape
    np.testing.assert_allclose(ours.data.evs, theirs.data.evs, atol=1e-10)
    np.testing.assert_allclose(ours.data.stds, theirs.data.stds, atol=1e-10)
    assert theirs.metadata.items() <= ours.metadata.items()


@relaxed
@given(st.lists(st.integers(1, 3), max_size=3), st.integers(0, 2**32))
def test_samples_have_qiskits_shapes_and_distribution(
    client: GatewayClient, shape: list[int], seed: int
) -> None:
    values = np.random.default_rng(seed).uniform(-4, 4, (*shape, 2))
    circuit = QuantumCircuit(
        QuantumRegister(2), ClassicalRegister(2, "b"), ClassicalRegister(9, "a")
    )
    circuit.compose(ansatz(), inplace=True)
    circuit.measure([0, 1, 1], [1, 2, 10])
    pub = (circuit, values, 400)
    ours = GatewaySampler(client, options=SamplerOptions(seed=seed)).run([pub]).result()[0]
    theirs = StatevectorSampler(seed=seed).run([pub]).result()[0]
    assert list(ours.data) == list(theirs.data)
    assert theirs.metadata.items() <= ours.metadata.items()
    for name in theirs.data:
        got, expected = ours.data[name], theirs.data[name]
        assert (got.shape, got.num_shots, got.num_bits) == (
            expected.shape,
            expected.num_shots,
            expected.num_bits,
        )
        assert got.array.dtype == expected.array.dtype
        for index in np.ndindex(got.shape):
            left, right = got.get_int_counts(index), expected.get_int_counts(index)
            distance = sum(abs(left.get(key, 0) - right.get(key, 0)) for key in left | right)
            assert distance / 400 < 0.3  # about 5 standard deviations for four outcomes


def test_noisy_estimates_are_within_their_errors(client: GatewayClient) -> None:
    values = np.linspace(0, 3, 200).reshape(100, 2)
    estimator = GatewayEstimator(client, options=EstimatorOptions(default_precision=0.1))
    noisy = estimator.run([(ansatz(), "ZZ", values)]).result()[0]
    exact = StatevectorEstimator().run([(ansatz(), "ZZ", values)]).result()[0]
    np.testing.assert_allclose(noisy.data.stds, 0.1)
    z = (noisy.data.evs - exact.data.evs) / noisy.data.stds
    assert 0.7 < np.std(z) < 1.3
    assert noisy.metadata["target_precision"] == 0.1
    assert noisy.metadata["shots"] == 100


def test_the_default_precision_is_qiskits(gateway: MemoryGateway, client: GatewayClient) -> None:
    GatewayEstimator(client).run([(ansatz(), "ZZ", [0, 0])]).result()
    assert gateway.submissions[-1].spec.estimator.entries[0].precision == 1 / 64


def test_pubs_share_the_template_of_a_circuit(
    gateway: MemoryGateway, client: GatewayClient
) -> None:
    shared, other = ansatz(), ansatz()
    pubs = [(shared, "ZZ", [0.1, 0.2]), (other, "XI", [0.3, 0.4]), (shared, "IX", [0.5, 0.6])]
    ours = GatewayEstimator(client).run(pubs, precision=0).result()
    theirs = StatevectorEstimator().run(pubs).result()
    entries = gateway.submissions[-1].spec.estimator.entries
    assert [entry.template for entry in entries] == [0, 1, 0]
    for got, expected in zip(ours, theirs, strict=True):
        assert got.data.evs == pytest.approx(expected.data.evs, abs=1e-10)


def test_projectors_are_expanded(client: GatewayClient) -> None:
    observable = SparseObservable.from_list([("0+", 1.0), ("rI", 0.5), ("1-", -2.0)])
    pub = (ansatz(), observable, [0.4, 1.1])
    ours = GatewayEstimator(client).run([pub], precision=0).result()[0].data.evs
    bound = ansatz().assign_parameters([0.4, 1.1])
    state = StatevectorEstimator().run(
        [(bound, SparsePauliOp.from_sparse_observable(observable.as_paulis()))]
    )
    assert ours == pytest.approx(state.result()[0].data.evs, abs=1e-10)


def test_all_pubs_of_a_run_are_one_job(gateway: MemoryGateway, client: GatewayClient) -> None:
    before = len(gateway.submissions)
    bell = QuantumCircuit(2, metadata={"name": "bell"})
    bell.h(0)
    bell.cx(0, 1)
    bell.measure_all()
    result = GatewaySampler(client).run([bell, (bell, None, 7)], shots=20).result()
    assert len(gateway.submissions) == before + 1
    assert [pub.data.meas.num_shots for pub in result] == [20, 7]
    assert result[0].metadata["circuit_metadata"] == {"name": "bell"}
    assert result.metadata["version"] == 2
    assert result.metadata["kubeqpu"]["qpu"] == "memory"
    assert result[1].metadata["kubeqpu"]["executions"][0]["method"] == "statevector"


def test_only_the_needed_pairs_are_asked_for(gateway: MemoryGateway, client: GatewayClient) -> None:
    values = np.zeros((3, 2))
    GatewayEstimator(client).run([(ansatz(), ["ZZ", "XX", "IZ"], values)], precision=0).result()
    assert list(gateway.submissions[-1].spec.estimator.entries[0].pairs) == [0, 0, 1, 1, 2, 2]
    GatewayEstimator(client).run([(ansatz(), [["ZZ"], ["XX"]], values)], precision=0).result()
    assert list(gateway.submissions[-1].spec.estimator.entries[0].pairs) == []


def test_options_reach_the_job(gateway: MemoryGateway, client: GatewayClient) -> None:
    options = EstimatorOptions(
        seed=5, transpile_level=1, merge_identical=True, priority=2, result_ttl_seconds=60
    )
    GatewayEstimator(client, options=options).run([(ansatz(), "ZZ", [0, 0])])
    spec = gateway.submissions[-1].spec
    assert (spec.seed, spec.options.transpile_level, spec.priority) == (5, 1, 2)
    assert spec.merge_identical
    assert spec.result_ttl.seconds == 60


def test_circuits_are_transpiled_where_it_is_needed(
    gateway: MemoryGateway, client: GatewayClient
) -> None:
    measured = QuantumCircuit(1)
    measured.h(0)
    measured.measure_all()

    def asked(sampler: GatewaySampler, circuit: QuantumCircuit) -> int | None:
        sampler.run([circuit], shots=1).result()
        options = gateway.submissions[-1].spec.options
        return options.transpile_level if options.HasField("transpile_level") else None

    # The memory gateway's QPU is a simulator without noise.
    assert asked(GatewaySampler(client), measured) is None
    by_class = GatewaySampler(client, qpu_class="any")
    assert asked(by_class, measured) == 3
    laid_out = generate_preset_pass_manager(
        1, target=GatewayBackend(client).target, seed_transpiler=1
    ).run(measured)
    assert asked(by_class, laid_out) is None
    as_is = GatewaySampler(client, qpu_class="any", options=SamplerOptions(auto_transpile=False))
    assert asked(as_is, measured) is None


def test_jobs_tell_their_state_and_can_be_cancelled(tmp_path: Path) -> None:
    with MemoryGateway(tmp_path) as gateway:
        gateway.release.clear()
        vector = ParameterVector("x", 1)
        circuit = QuantumCircuit(1)
        circuit.rx(vector[0], 0)
        circuit.measure_all()
        with GatewayClient(gateway.address, qpu="memory") as client:
            job = GatewaySampler(client).run([(circuit, np.zeros((10, 1)))])
            assert job.job_id() == job.job.id
            assert job.status() is JobStatus.QUEUED
            told = [job.done(), job.running(), job.cancelled(), job.in_final_state()]
            assert told == [False] * 4
            with pytest.raises(DeadlineError, match="it runs on"):
                job.result(timeout_seconds=0.2)
            assert job.cancel()
            assert job.cancelled()
            assert job.in_final_state()
            with pytest.raises(JobCancelledError):
                job.result()


def test_results_are_kept_and_jobs_end_done(client: GatewayClient) -> None:
    job = GatewayEstimator(client).run([(ansatz(), "ZZ", [0, 0])])
    assert job.result() is job.result()
    assert job.done()
    assert not job.cancel()


def test_bad_input_gets_a_sentence(client: GatewayClient) -> None:
    with pytest.raises(InvalidRequestError, match="no PUBs"):
        GatewaySampler(client).run([])
    with pytest.raises(InvalidRequestError, match="one of its axes has length 0"):
        GatewayEstimator(client).run([(ansatz(), "ZZ", np.zeros((0, 2)))])
    with pytest.raises(InvalidRequestError, match="use two runs"):
        GatewayEstimator(client).run([(ansatz(), "ZZ", [0, 0], 0.1), (ansatz(), "ZZ", [0, 0], 0.0)])
    with pytest.raises(NotFoundError, match="no QPU 'none'"):
        GatewaySampler(client, qpu="none").run([ansatz().assign_parameters([0, 0])])
    with pytest.raises(InvalidRequestError, match="KUBEQPU_GATEWAY"):
        GatewaySampler()
