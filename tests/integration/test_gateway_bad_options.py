"""Options that the QPU does not support or that contradict each other are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kubeqpu.proto.v1 import gateway_pb2
from tests.integration.bad_jobs import (
    INVALID,
    BadJob,
    bell,
    check_refused,
    estimator,
    sampler,
    with_options,
)

if TYPE_CHECKING:
    from tests.integration.gateway_support import Stub

TWIRLING = gateway_pb2.Twirling(gates=True)
DECOUPLING = gateway_pb2.DynamicalDecoupling(sequence="XY4")
SESSION = gateway_pb2.EXECUTION_MODE_SESSION
BATCH = gateway_pb2.EXECUTION_MODE_BATCH

CASES: dict[str, BadJob] = {
    "exact on noisy": (
        with_options(estimator(exact=True, qpu="fake"), transpile_level=1),
        INVALID,
        "noisy",
    ),
    "level 4": (with_options(sampler(bell()), transpile_level=4), INVALID, "level is 4"),
    "twirling": (with_options(sampler(bell()), twirling=TWIRLING), INVALID, "support twirling"),
    "decoupling": (
        with_options(sampler(bell()), dynamical_decoupling=DECOUPLING),
        INVALID,
        "support dynamical decoupling",
    ),
    "resilience": (
        with_options(sampler(bell()), resilience_level=2),
        INVALID,
        "support resilience level 2",
    ),
    "readout mitigation": (
        with_options(sampler(bell()), readout_mitigation=True),
        INVALID,
        "support readout mitigation",
    ),
    "session": (with_options(sampler(bell()), execution_mode=SESSION), INVALID, "mode session"),
    "batch": (with_options(sampler(bell()), execution_mode=BATCH), INVALID, "mode batch"),
    "id without mode": (with_options(sampler(bell()), execution_id="x"), INVALID, "execution id"),
    "unknown mode": (with_options(sampler(bell()), execution_mode=9), INVALID, "mode 9"),
    "layout of wrong length": (
        with_options(sampler(bell(), qpu="fake"), initial_layout=gateway_pb2.Layout(qubits=[0])),
        INVALID,
        "names 1 qubits",
    ),
    "layout twice": (
        with_options(sampler(bell(), qpu="fake"), initial_layout=gateway_pb2.Layout(qubits=[0, 0])),
        INVALID,
        "twice",
    ),
    "layout out of range": (
        with_options(sampler(bell(), qpu="fake"), initial_layout=gateway_pb2.Layout(qubits=[0, 9])),
        INVALID,
        "names qubit 9",
    ),
}


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("case", CASES)
async def test_bad_options_are_refused_with_a_sentence(strict_stub: Stub, case: str) -> None:
    await check_refused(strict_stub, CASES[case])
