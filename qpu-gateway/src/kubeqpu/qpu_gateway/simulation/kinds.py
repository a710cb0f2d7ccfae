"""Which operations are known: everything else must decompose to these, or is refused by name."""

from functools import cache

from qiskit.circuit import (
    Barrier,
    CircuitInstruction,
    ControlFlowOp,
    Delay,
    Measure,
    Operation,
    Reset,
)
from qiskit.circuit.library import PauliGate, UnitaryGate, get_standard_gate_name_mapping

# Gates that Aer's methods apply as they are; the others of the standard library are decomposed.
AER_GATES = frozenset(
    {
        "ccx",
        "ccz",
        "cp",
        "crx",
        "cry",
        "crz",
        "cswap",
        "csx",
        "cu",
        "cx",
        "cy",
        "cz",
        "ecr",
        "h",
        "id",
        "p",
        "pauli",
        "r",
        "rx",
        "rxx",
        "ry",
        "ryy",
        "rz",
        "rzx",
        "rzz",
        "s",
        "sdg",
        "swap",
        "sx",
        "sxdg",
        "t",
        "tdg",
        "u",
        "u1",
        "u2",
        "u3",
        "unitary",
        "x",
        "y",
        "z",
        "global_phase",
    }
)
# Of these, Aer 0.18 takes parameters that are bound at run time for 0, without a word.
AER_MISBINDS = frozenset({"cp", "crx", "cry", "crz", "cu"})
DIRECTIVES = frozenset({"measure", "reset", "barrier", "delay"})
AER_OPERATIONS = AER_GATES | DIRECTIVES


@cache
def _known_classes() -> dict[str, type]:
    classes: dict[str, type] = {
        "measure": Measure,
        "reset": Reset,
        "barrier": Barrier,
        "delay": Delay,
        "unitary": UnitaryGate,
        "pauli": PauliGate,
    }
    for name, gate in get_standard_gate_name_mapping().items():
        classes.setdefault(name, gate.base_class)
    return classes


def is_known(instruction: CircuitInstruction) -> bool:
    """Tells whether an instruction's operation is of a known kind.

    The class counts, not the name alone: a circuit's own gate may carry a known gate's name and
    another definition.
    """
    if instruction.is_standard_gate():
        return True
    operation = instruction.operation
    expected = _known_classes().get(operation.name)
    return expected is not None and getattr(operation, "base_class", type(operation)) is expected


def is_control_flow(operation: Operation) -> bool:
    """Tells whether an operation holds blocks that run on a condition or repeatedly."""
    return isinstance(operation, ControlFlowOp)
