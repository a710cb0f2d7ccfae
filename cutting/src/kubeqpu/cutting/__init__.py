"""Circuit cutting over the gateway.

`plan` decides where to cut, `run` executes the fragments' local experiments and puts the values
together with error bars.
"""

from kubeqpu.cutting.errors import (
    BudgetError,
    CuttingError,
    ExecutionError,
    InvalidInputError,
    NoPlanError,
)
from kubeqpu.cutting.executors import Executor
from kubeqpu.cutting.inputs import read_circuit
from kubeqpu.cutting.observables import Observable
from kubeqpu.cutting.planning import plan
from kubeqpu.cutting.plans import Plan
from kubeqpu.cutting.running import Result, run

__all__ = [
    "BudgetError",
    "CuttingError",
    "ExecutionError",
    "Executor",
    "InvalidInputError",
    "NoPlanError",
    "Observable",
    "Plan",
    "Result",
    "plan",
    "read_circuit",
    "run",
]
