"""What the scheduler is answered, over HTTP and in its own words."""

from kubeqpu.common.names import RESOURCE_CPU_SIMULATOR, RESOURCE_QPU
from tests.support.extender_objects import class_object, pod_object, qpu_object
from tests.support.extender_stand import Stand, extender, until_true
from tests.support.object_server import ObjectServer

NODES = ["n-1", "n-2", "n-3", "n-4"]


def three_qpus() -> ObjectServer:
    server = ObjectServer()
    server.put("qpus", qpu_object("quick", {"n-1": (2, 0)}, wait=0))
    server.put("qpus", qpu_object("slow", {"n-2": (2, 0)}, wait=600))
    server.put("qpus", qpu_object("noisy", {"n-3": (2, 0)}, error=0.03))
    server.put("qpuclasses", class_object("precise", maxMedianTwoQubitError=0.01))
    return server


async def refusals(stand: Stand, annotations: dict[str, str]) -> set[str]:
    found = await stand.filter(pod_object(annotations=annotations), NODES)
    assert found["NodeNames"] == []
    assert set(found["FailedAndUnresolvableNodes"]) == set(NODES)
    return set(found["FailedAndUnresolvableNodes"].values())


async def test_the_best_nodes_come_first_and_those_without_slots_not_at_all() -> None:
    async with extender(three_qpus()) as stand:
        found = await stand.filter(pod_object(), NODES)
        assert found == {"NodeNames": ["n-1", "n-3", "n-2"]}
        points = await stand.prioritize(pod_object(), NODES)
        assert points["n-1"] == 10
        assert points["n-1"] > points["n-3"] > points["n-2"] >= points["n-4"] == 0


async def test_a_pod_that_asks_for_no_qpu_passes_everywhere() -> None:
    async with extender(three_qpus()) as stand:
        for resources in ({"cpu": "1"}, {RESOURCE_QPU: "0"}):
            pod = pod_object(resources=resources)
            assert await stand.filter(pod, NODES) == {"NodeNames": NODES}
            assert await stand.prioritize(pod, NODES) == dict.fromkeys(NODES, 0)
            victims = (await stand.preempt(pod, NODES))["NodeNameToMetaVictims"]
            assert set(victims) == set(NODES)


async def test_the_class_decides_and_a_refusal_says_what_it_allows() -> None:
    async with extender(three_qpus()) as stand:
        precise = {"kubeqpu.io/class": "precise"}
        found = await stand.filter(pod_object(annotations=precise), NODES)
        assert set(found["NodeNames"]) == {"n-1", "n-2"}
        found = await stand.filter(pod_object(annotations=precise), ["n-3", "n-4"])
        assert found["FailedAndUnresolvableNodes"] == {
            "n-3": "QPU noisy: median 2q error 3.0e-02 above 1.0e-02 allowed by class precise",
            "n-4": "no QPU has slots of kubeqpu.io/qpu here",
        }
        wide = {"kubeqpu.io/min-qubits": "100"}
        assert await refusals(stand, wide) == {
            "no QPU has slots of kubeqpu.io/qpu here",
            "QPU noisy: 27 qubits below the 100 needed (class standard)",
            "QPU quick: 27 qubits below the 100 needed (class standard)",
            "QPU slow: 27 qubits below the 100 needed (class standard)",
        }


async def test_annotations_that_make_no_sense_refuse_every_node_in_one_sentence() -> None:
    wrong = {
        "kubeqpu.io/class": "no-such",
        "kubeqpu.io/min-qubits": "many",
        "kubeqpu.io/circuit-shape": "50;10",
    }
    async with extender(three_qpus()) as stand:
        for key, value in wrong.items():
            sentences = await refusals(stand, {key: value})
            assert len(sentences) == 1
            assert value in sentences.pop()
        metrics = await stand.metrics()
        assert metrics['decisions_total{result="malformed"}'] == 2
        assert metrics['refusals_total{reason="UnknownClass"}'] == 1


async def test_preemption_helps_only_where_the_pod_could_run() -> None:
    async with extender(three_qpus()) as stand:
        precise = pod_object(annotations={"kubeqpu.io/class": "precise"})
        found = await stand.preempt(precise, ["n-1", "n-3", "n-4"])
        victims = {"Pods": [{"UID": "victim-on-n-1"}], "NumPDBViolations": 0}
        assert found == {"NodeNameToMetaVictims": {"n-1": victims}}
        unknown = pod_object(annotations={"kubeqpu.io/class": "no-such"})
        assert await stand.preempt(unknown, NODES) == {"NodeNameToMetaVictims": {}}
        malformed = pod_object(annotations={"kubeqpu.io/min-qubits": "many"})
        assert await stand.preempt(malformed, NODES) == {"NodeNameToMetaVictims": {}}


async def test_a_pod_of_two_resources_needs_a_pass_for_each() -> None:
    server = three_qpus()
    aer = {"n-1": (1, 0), "n-3": (1, 0)}
    server.put("qpus", qpu_object("aer", aer, resource=RESOURCE_CPU_SIMULATOR))
    both = pod_object(resources={RESOURCE_QPU: "1", RESOURCE_CPU_SIMULATOR: "1"})
    async with extender(server) as stand:
        found = await stand.filter(both, NODES)
        assert found["NodeNames"] == ["n-1", "n-3"]
        found = await stand.filter(both, ["n-2"])
        reason = "no QPU has slots of kubeqpu.io/cpu-simulator here"
        assert found["FailedAndUnresolvableNodes"] == {"n-2": reason}


async def test_changes_count_from_the_next_decision_on() -> None:
    server = three_qpus()
    async with extender(server) as stand:

        async def best_is(node: str) -> bool:
            return bool((await stand.filter(pod_object(), NODES))["NodeNames"][0] == node)

        assert await best_is("n-1")
        server.put("qpus", qpu_object("quick", {"n-1": (2, 0)}, wait=9999))
        server.put("qpuclasses", class_object("mine", default=True, maxMedianTwoQubitError=0.01))
        await until_true(lambda: best_is("n-2"), seconds=1)
        server.delete("qpus", "slow")
        await until_true(lambda: best_is("n-1"), seconds=1)
