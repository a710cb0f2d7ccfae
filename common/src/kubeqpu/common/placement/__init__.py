"""Which QPU should take a piece of work, and why.

Pure functions over plain data. `fits` answers whether a QPU may, `score` how well it would, and
`place` picks one and keeps the explanation.
"""

from kubeqpu.common.placement.choice import NoFittingQPUError, Placement, place
from kubeqpu.common.placement.constraints import Refusal, RefusalReason, fits
from kubeqpu.common.placement.policy import (
    DEFAULT_SHAPE,
    CircuitShape,
    LabelExpression,
    LabelOperator,
    PlacementClass,
    Requirements,
    SimulatorPolicy,
    Weights,
)
from kubeqpu.common.placement.score import Score, score
from kubeqpu.common.placement.wishes import (
    parse_circuit_shape,
    parse_min_qubits,
    raise_min_qubits,
)

__all__ = [
    "DEFAULT_SHAPE",
    "CircuitShape",
    "LabelExpression",
    "LabelOperator",
    "NoFittingQPUError",
    "Placement",
    "PlacementClass",
    "Refusal",
    "RefusalReason",
    "Requirements",
    "Score",
    "SimulatorPolicy",
    "Weights",
    "fits",
    "parse_circuit_shape",
    "parse_min_qubits",
    "place",
    "raise_min_qubits",
    "score",
]
