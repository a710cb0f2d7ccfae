"""Why a pod is where it is, for programs and for people."""

import json
from datetime import timedelta
from typing import Any

from kubeqpu.common.names import RESOURCE_CPU_SIMULATOR, RESOURCE_QPU
from kubeqpu.common.placement import score
from kubeqpu.scheduler_extender.classes import Classes
from kubeqpu.scheduler_extender.decisions import Passed, filter_nodes
from kubeqpu.scheduler_extender.explanation import (
    Decision,
    Explanation,
    decide_anew,
    explain,
    keep_decision,
    narrow,
)
from kubeqpu.scheduler_extender.fleet import Fleet
from kubeqpu.scheduler_extender.qpus import SeenQPU
from kubeqpu.scheduler_extender.questions import Demand, Question
from kubeqpu.scheduler_extender.tables import Table, Tables
from tests.support.extender_fleet import NOW, seen_qpu

LATER = NOW + timedelta(seconds=3)


def tables(*qpus: SeenQPU, resources: tuple[str, ...] = (RESOURCE_QPU,)) -> list[Table]:
    fleet = Fleet()
    for seen in qpus:
        fleet.put(seen)
    made = Tables(fleet, Classes())
    return [made.look_up(Question(Demand(resource)), LATER) for resource in resources]


def decide(found: list[Table], nodes: list[str], best: int = 64) -> Decision:
    passed = filter_nodes(found, nodes, "pod", best)
    assert isinstance(passed, Passed)
    return keep_decision(found, passed, LATER)


def told(explanation: Explanation | None) -> dict[str, Any]:
    assert explanation is not None
    found: dict[str, Any] = json.loads(explanation.annotation)
    return found


def test_the_chosen_node_and_the_best_other_qpu_are_told() -> None:
    quick = seen_qpu("quick", {"n-1": True, "n-2": True}, held=2)
    found = tables(quick, seen_qpu("slow", {"n-3": True}, wait=600))
    explanation = explain(decide(found, ["n-1", "n-2", "n-3", "n-4"]), "n-2")
    content = told(explanation)
    expected = score(quick.plain, found[0].wanted.weights, found[0].wanted.shape, LATER)  # type: ignore[union-attr]
    assert abs(content["score"] - expected.total) < 1e-3
    assert content["parts"]["utilisation"] == 0.5
    assert content["runnerUp"]["qpu"] == "slow"
    assert content["runnerUp"]["node"] == "n-3"
    assert (content["considered"], content["passing"]) == (4, 3)
    assert (content["dataAgeSeconds"], content["calibrationAgeSeconds"]) == (3.0, 3603)
    assert explanation is not None
    assert explanation.sentence.startswith("QPU quick on node n-2 scored 0.")
    assert "ahead of QPU slow on node n-3 at 0." in explanation.sentence
    assert "3 of 4 nodes passed" in explanation.sentence
    assert explanation.sentence.endswith("last heard of 3 s before.")


def test_a_runner_up_is_known_even_where_it_was_not_among_the_best() -> None:
    quick = seen_qpu("quick", dict.fromkeys(("n-1", "n-2", "n-3"), True))
    found = tables(quick, seen_qpu("slow", {"n-4": True}, wait=600))
    decision = decide(found, ["n-1", "n-2", "n-3", "n-4"], best=2)
    assert told(explain(decision, decision.nodes[0]))["runnerUp"]["qpu"] == "slow"


def test_a_narrowed_decision_explains_the_same() -> None:
    quick = seen_qpu("quick", {"n-1": True, "n-2": True})
    nodes = [f"n-{number}" for number in range(1, 5)]
    found = tables(quick, seen_qpu("slow", {"n-3": True, "n-4": True}, wait=600))
    decision = decide(found, nodes)
    for node in nodes:
        narrowed = narrow(decision, node)
        assert narrowed is not None
        assert len(narrowed.nodes) == 2
        assert explain(narrowed, node) == explain(decision, node)
    assert narrow(decision, "n-5") is None


def test_a_worse_node_says_what_it_is_behind() -> None:
    found = tables(seen_qpu("quick", {"n-1": True}), seen_qpu("slow", {"n-2": True}, wait=60))
    explanation = explain(decide(found, ["n-1", "n-2"]), "n-2")
    assert explanation is not None
    assert "behind QPU quick on node n-1" in explanation.sentence


def test_an_only_choice_has_no_runner_up() -> None:
    found = tables(seen_qpu("only", {"n-1": True}, error=None))
    content = told(explain(decide(found, ["n-1"]), "n-1"))
    assert "runnerUp" not in content
    assert "calibrationAgeSeconds" not in content


def test_of_several_resources_the_worst_is_explained_and_the_others_named() -> None:
    aer = seen_qpu("aer", {"n-1": True}, wait=600, resource=RESOURCE_CPU_SIMULATOR)
    resources = (RESOURCE_CPU_SIMULATOR, RESOURCE_QPU)
    found = tables(seen_qpu("fez", {"n-1": True}), aer, resources=resources)
    content = told(explain(decide(found, ["n-1"]), "n-1"))
    assert (content["qpu"], content["resource"]) == ("aer", RESOURCE_CPU_SIMULATOR)
    assert [other["qpu"] for other in content["others"]] == ["fez"]
    assert content["others"][0]["score"] > content["score"]


def test_what_was_not_decided_is_not_explained() -> None:
    found = tables(seen_qpu("fez", {"n-1": True}))
    assert explain(decide(found, ["n-1"]), "n-2") is None
    assert explain(decide_anew(found, "n-2", LATER), "n-2") is None
    anew = explain(decide_anew(found, "n-1", LATER), "n-1")
    assert told(anew)["decidedAnew"] is True
    assert anew is not None
    assert "judged after it was bound" in anew.sentence
