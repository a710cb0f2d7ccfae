"""What pods add to their class."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeqpu.common.placement import (
    CircuitShape,
    PlacementClass,
    Requirements,
    parse_circuit_shape,
    parse_min_qubits,
    raise_min_qubits,
)


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_a_shape_is_two_numbers(gates: int, measurements: int) -> None:
    for text in (f"{gates},{measurements}", f" {gates}, {measurements} "):
        assert parse_circuit_shape(text) == CircuitShape(gates, measurements)


@pytest.mark.parametrize(
    "text", ["", "5", "5,", ",5", "1,2,3", "-1,2", "1.5,2", "1e3,2", "٣,٤", "1_0,2", "1000000001,1"]
)
def test_anything_else_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="expected the number of two-qubit gates"):
        parse_circuit_shape(text)


@pytest.mark.parametrize("text", ["", "0", "-3", "many", "2.0", "+2", "9" * 400])
def test_no_number_of_qubits(text: str) -> None:
    with pytest.raises(ValueError, match="expected a whole number, 1 to") as caught:
        parse_min_qubits(text)
    assert len(str(caught.value)) < 150


def test_a_pod_may_only_ask_for_more() -> None:
    wanted = PlacementClass("wide", Requirements(min_qubits=20))
    assert raise_min_qubits(wanted, parse_min_qubits("5")) is wanted
    raised = raise_min_qubits(wanted, parse_min_qubits(" 100 "))
    assert (raised.name, raised.requirements.min_qubits) == ("wide", 100)
