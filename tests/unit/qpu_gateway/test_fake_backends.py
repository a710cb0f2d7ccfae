"""IBM's published device snapshots: each can be read and made into a target."""

import pytest

from kubeqpu.qpu_gateway.errors import ProviderError
from kubeqpu.qpu_gateway.simulation.fake_backends import load_fake_backend
from kubeqpu.qpu_gateway.simulation.targets import build_target


# Boston and Pittsburgh carry the vendor's own instructions, such as `measure_2`.
@pytest.mark.parametrize("name", ["FakeBoston", "FakePittsburgh", "FakeFez", "FakeManilaV2"])
def test_a_snapshot_becomes_a_target_of_known_instructions(name: str) -> None:
    device = load_fake_backend(name)
    target = build_target(device)
    assert target.num_qubits == device.num_qubits
    assert {"measure", "sx", "rz"} <= set(target.operation_names)
    assert not {"measure_2", "reset_2"} & set(target.operation_names)


def test_an_unknown_snapshot_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ProviderError, match=r"no fake backend 'FakeAtlantis'; there are .*FakeFez"):
        load_fake_backend("FakeAtlantis")
