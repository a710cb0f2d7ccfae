"""What a container is told of the slots it gets."""

import pytest

from kubeqpu.deviceplugin.allocation import allocate_slots
from kubeqpu.deviceplugin.errors import UnknownSlotError
from kubeqpu.deviceplugin.ledger import Ledger
from kubeqpu.deviceplugin.slots import Offer, Slot

QPU = "kubeqpu.io/qpu"


@pytest.fixture
def ledger() -> Ledger:
    made = Ledger()
    for gateway, qpus in (("lab", ("fez", "torino")), ("other", ("heron",))):
        made.join(gateway)
        slots = tuple(Slot(f"{qpu}-{number}", qpu, QPU) for qpu in qpus for number in range(12))
        made.hear(Offer(gateway, f"{gateway}.quantum.svc:7070", slots), 0)
    made.review(0)
    return made


def test_one_slot(ledger: Ledger) -> None:
    assert allocate_slots(ledger, QPU, ["fez-3"]) == {
        "KUBEQPU_GATEWAY": "lab.quantum.svc:7070",
        "KUBEQPU_QPU": "fez",
        "KUBEQPU_SLOT": "fez-3",
    }


def test_several_stand_in_one_order_however_the_kubelet_names_them(ledger: Ledger) -> None:
    found = allocate_slots(ledger, QPU, ["torino-0", "fez-10", "fez-2"])
    assert found == {
        "KUBEQPU_GATEWAY": "lab.quantum.svc:7070",
        "KUBEQPU_QPU": "fez,fez,torino",
        "KUBEQPU_SLOT": "fez-2,fez-10,torino-0",
    }


def test_gateways_are_listed_where_they_differ(ledger: Ledger) -> None:
    found = allocate_slots(ledger, QPU, ["heron-0", "fez-0", "fez-1"])
    assert found["KUBEQPU_SLOT"] == "fez-0,fez-1,heron-0"
    assert found["KUBEQPU_GATEWAY"] == (
        "lab.quantum.svc:7070,lab.quantum.svc:7070,other.quantum.svc:7070"
    )


def test_a_slot_that_never_was_is_refused_with_a_sentence(ledger: Ledger) -> None:
    with pytest.raises(UnknownSlotError, match=r"No slot 'fez-99' of kubeqpu.io/qpu was ever"):
        allocate_slots(ledger, QPU, ["fez-0", "fez-99"])
    with pytest.raises(UnknownSlotError, match=r"No slot 'fez-0' of kubeqpu.io/cpu-simulator"):
        allocate_slots(ledger, "kubeqpu.io/cpu-simulator", ["fez-0"])


def test_a_slot_that_left_the_node_is_refused_but_not_to_its_holder(ledger: Ledger) -> None:
    ledger.hear(Offer("lab", "lab.quantum.svc:7070", ()), 1)
    ledger.hold({QPU: ["fez-1"]})
    ledger.review(1)
    with pytest.raises(UnknownSlotError, match="no longer has it on this node"):
        allocate_slots(ledger, QPU, ["fez-0"])
    assert allocate_slots(ledger, QPU, ["fez-1"])["KUBEQPU_SLOT"] == "fez-1"


def test_an_outage_or_a_lost_gateway_refuses_nobody(ledger: Ledger) -> None:
    ledger.hear(
        Offer("other", "other.quantum.svc:7070", (Slot("heron-0", "heron", QPU, False),)), 1
    )
    ledger.leave("lab", 1)
    ledger.review(1000)
    assert allocate_slots(ledger, QPU, ["heron-0"])["KUBEQPU_QPU"] == "heron"
    assert allocate_slots(ledger, QPU, ["fez-0"])["KUBEQPU_GATEWAY"] == "lab.quantum.svc:7070"


def test_a_held_slot_that_no_gateway_offered_yet_is_answered_for() -> None:
    ledger = Ledger()
    ledger.hold({QPU: ["fez-4"]})
    ledger.inherit({QPU: ["fez-5"]})
    ledger.review(0)
    assert allocate_slots(ledger, QPU, ["fez-4"]) == {"KUBEQPU_QPU": "fez", "KUBEQPU_SLOT": "fez-4"}
    with pytest.raises(UnknownSlotError, match="No gateway has offered it"):
        allocate_slots(ledger, QPU, ["fez-5"])
