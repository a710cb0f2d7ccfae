"""Runs qiskit-addon-cutting's search for cuts in a child process, since it has no time limit.

As a program it reads QPY from standard input, takes the width of a fragment as its argument, and
writes the places to cut as JSON.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from qiskit.circuit import QuantumCircuit

from kubeqpu.cutting.fragments import CutPlaces, dump_circuits, load_circuits
from kubeqpu.cutting.inputs import CUT_GATE, CUT_WIRE

_SEED = 0


def find_places(circuit: QuantumCircuit, max_qubits: int, seconds: float) -> CutPlaces | None:
    """Searches for gate and wire cuts.

    Args:
        circuit: One- and two-qubit gates without markers.
        max_qubits: Width of a fragment.
        seconds: Time after which the search is given up.

    Returns:
        Where to cut, or None if nothing was found in time.
    """
    command = [sys.executable, "-m", "kubeqpu.cutting.finder", str(max_qubits)]
    try:
        child = subprocess.run(  # noqa: S603 - runs this module
            command,
            input=dump_circuits([circuit]),
            capture_output=True,
            timeout=seconds,
            check=True,
        )
    except (subprocess.TimeoutExpired, subprocess.CalledProcessError):
        # The search raises on inputs it cannot divide; either way there is no proposal.
        return None
    return _places(json.loads(child.stdout))


def take_markers(marked: QuantumCircuit) -> tuple[QuantumCircuit, CutPlaces]:
    """Takes the user's wire markers out of a circuit.

    Returns:
        The circuit without them, and where they and marked gates stand in it.
    """
    circuit = marked.copy_empty_like()
    for instruction in marked.data:
        if instruction.operation.name != CUT_WIRE:
            circuit.append(instruction)
    return circuit, _places(read_places(marked))


def _places(found: Mapping[str, Any]) -> CutPlaces:
    return CutPlaces(
        frozenset(found["gates"]), frozenset((index, qubit) for index, qubit in found["wires"])
    )


def main() -> None:
    """Answers one search."""
    from qiskit_addon_cutting.automated_cut_finding import (  # noqa: PLC0415 - child only
        DeviceConstraints,
        OptimizationParameters,
        find_cuts,
    )

    circuit = load_circuits(sys.stdin.buffer.read())[0]
    marked, _ = find_cuts(
        circuit, OptimizationParameters(seed=_SEED), DeviceConstraints(int(sys.argv[1]))
    )
    json.dump(read_places(marked), sys.stdout)


def read_places(marked: QuantumCircuit) -> dict[str, list[int] | list[list[int]]]:
    """Reads where a circuit is marked as cut, in the numbering it has without wire markers.

    A marker counts for the next operation on its qubit; behind the last one it means nothing.
    """
    gates: list[int] = []
    wires: list[list[int]] = []
    waiting: set[int] = set()
    number = 0
    for instruction in marked.data:
        qubits = [marked.find_bit(qubit).index for qubit in instruction.qubits]
        if instruction.operation.name == CUT_WIRE:
            waiting.update(qubits)
            continue
        if instruction.operation.name == CUT_GATE:
            gates.append(number)
        wires += [[number, qubit] for qubit in qubits if qubit in waiting]
        waiting.difference_update(qubits)
        number += 1
    return {"gates": gates, "wires": wires}


if __name__ == "__main__":
    main()
