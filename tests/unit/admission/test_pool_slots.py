"""Every slot counts once, for the flavor that says most of its node."""

from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from kubeqpu.admission.pool.slots import (
    Count,
    Flavor,
    Pair,
    QPUSlots,
    choose_flavor,
    count_slots,
    read_qpu,
)
from kubeqpu.common import api, names

QPU, GPU, CPU = names.RESOURCES
labels = st.dictionaries(st.sampled_from("abc"), st.sampled_from("xy"), max_size=3)
node_names = st.sampled_from(["n1", "n2", "n3", "gone"])
qpus = st.builds(
    QPUSlots,
    st.sampled_from(names.RESOURCES),
    st.booleans(),
    st.dictionaries(node_names, st.integers(1, 4), max_size=3),
)


@given(
    st.lists(qpus, max_size=8),
    st.fixed_dictionaries({"n1": labels, "n2": labels, "n3": labels}),
    st.lists(labels, min_size=1, max_size=4),
    st.sets(st.tuples(st.sampled_from(names.RESOURCES), st.integers(0, 4)), max_size=10),
)
def test_every_slot_counts_once(
    found: list[QPUSlots],
    nodes: dict[str, dict[str, str]],
    flavors: list[dict[str, str]],
    named: set[tuple[str, int]],
) -> None:
    known = {f"f{number}": Flavor(f"f{number}", each) for number, each in enumerate(flavors)}
    declared = frozenset(Pair(resource, f"f{number}") for resource, number in named)
    counts = count_slots(found, nodes, known, declared)
    assert counts.keys() == declared
    for resource in names.RESOURCES:
        usable = stranded = 0
        for qpu in (one for one in found if one.resource == resource):
            for node, slots in qpu.nodes.items():
                fitting = [
                    pair
                    for pair in declared
                    if pair.resource == resource and pair.flavor in known and node in nodes
                    and known[pair.flavor].fits(nodes[node])
                ]  # fmt: skip
                usable += slots if fitting and qpu.usable else 0
                stranded += slots if fitting and not qpu.usable else 0
        total = sum((counts[pair] for pair in declared if pair.resource == resource), Count())
        assert total == Count(usable, stranded)


def test_the_flavor_with_most_labels_wins_then_the_name() -> None:
    everywhere, rack, other = Flavor("all"), Flavor("z", {"rack": "1"}), Flavor("b", {"kind": "q"})
    node = {"rack": "1", "kind": "q"}
    assert choose_flavor(node, [everywhere, rack, other]) == "b"
    assert choose_flavor({"rack": "1"}, [everywhere, rack, other]) == "z"
    assert choose_flavor({}, [everywhere, rack, other]) == "all"
    assert choose_flavor({}, [rack, other]) is None


def test_a_flavor_takes_nodes_only_from_those_named_for_the_same_resource() -> None:
    # A node of flavor "narrow", which no queue names for simulators.
    flavors = {"wide": Flavor("wide"), "narrow": Flavor("narrow", {"a": "x"})}
    declared = frozenset({Pair(QPU, "narrow"), Pair(CPU, "wide")})
    found = [QPUSlots(QPU, True, {"n1": 2}), QPUSlots(CPU, True, {"n1": 3})]
    counts = count_slots(found, {"n1": {"a": "x"}}, flavors, declared)
    assert counts == {Pair(QPU, "narrow"): Count(2), Pair(CPU, "wide"): Count(3)}


def make_qpu(*conditions: tuple[str, str], cordoned: bool = False) -> api.QPU:
    written: list[JsonValue] = [
        {"type": kind, "status": status, "reason": "Said", "message": "",
         "lastTransitionTime": "2026-11-23T12:00:00Z"}
        for kind, status in conditions
    ]  # fmt: skip
    return api.QPU.from_manifest({
        "apiVersion": api.API_VERSION,
        "kind": "QPU",
        "metadata": {"name": "fez"},
        "spec": {"provider": "fake", "slots": 4, "unschedulable": cordoned},
        "status": {
            "conditions": written,
            "nodes": [{"name": "n1", "slots": 3, "held": 1}, {"name": "n2", "slots": 1}],
        },
    })  # fmt: skip


def test_slots_of_a_qpu_count_while_it_is_ready_and_accepting() -> None:
    good = (("Ready", "True"), ("Accepting", "True"))
    assert read_qpu(make_qpu(*good)) == QPUSlots(QPU, True, {"n1": 3, "n2": 1})
    held = QPUSlots(QPU, False, {"n1": 1})
    assert read_qpu(make_qpu()) == held
    assert read_qpu(make_qpu(*good, cordoned=True)) == held
    for condition in ("Ready", "Accepting"):
        for status in ("False", "Unknown"):
            others = [one for one in good if one[0] != condition]
            assert read_qpu(make_qpu(*others, (condition, status))) == held
