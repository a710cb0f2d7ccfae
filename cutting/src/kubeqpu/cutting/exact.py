"""A fragment's experiments for exact estimators, by the principle of deferred measurement.

For simulators only: QPUs would have to run the ancillas' gates, and their values are never exact.
"""

from collections.abc import Sequence

import numpy as np
from qiskit.circuit import QuantumCircuit

from kubeqpu.cutting.experiments import (
    Block,
    Experiments,
    IntArray,
    fill_parameters,
    list_patterns,
    make_grid,
    make_slots,
    tensor_shape,
)
from kubeqpu.cutting.fragments import Fragment
from kubeqpu.cutting.maps import Cut, EndKind
from kubeqpu.cutting.templates import Template, build_template


def exact_experiments(fragment: Fragment, cuts: Sequence[Cut]) -> Experiments:
    """Builds a fragment's experiments for exact estimators.

    Gate cuts are measured by ancillas. What a wire cut measures is part of the observables, so that
    it needs no rows of its own.

    Args:
        fragment: The fragment.
        cuts: All cuts of the plan.

    Returns:
        Templates without classical bits, and rows that tell expectation values.
    """
    shape = tensor_shape(fragment, cuts)
    templates: list[QuantumCircuit] = []
    blocks: list[Block] = []
    ones: set[int] = set()
    for choices in list_patterns(fragment, cuts, exact=True):
        slots = [
            make_slots(end, cuts, allowed)
            for end, allowed in zip(fragment.ends, choices, strict=True)
        ]
        template = build_template(fragment, slots, {}, deferred=True, measured=False)
        grid = make_grid(choices)
        labels, elements = _observe(fragment, grid, template, shape)
        identity = [set(label) == {"I"} for label in labels]
        ones.update(elements[:, identity].ravel().tolist())
        kept = [index for index, trivial in enumerate(identity) if not trivial]
        if kept:
            blocks.append(
                Block(
                    template=len(templates),
                    parameters=fill_parameters(template, grid, 0),
                    settings=grid,
                    parities=(),
                    observables=tuple(labels[index] for index in kept),
                    elements=elements[:, kept],
                )
            )
            templates.append(template.circuit)
    return Experiments(
        tuple(templates), tuple(blocks), shape, np.array(sorted(ones), dtype=np.int64)
    )


def _observe(
    fragment: Fragment, grid: IntArray, template: Template, shape: tuple[int, ...]
) -> tuple[list[str], IntArray]:
    """Lists the observables of an exact block and their elements, shape (rows, observables)."""
    width = template.circuit.num_qubits
    paulis: list[dict[int, str]] = [{}]
    elements = np.zeros((len(grid), 1), dtype=np.int64)
    for number, end in enumerate(fragment.ends):
        ancilla = template.ancillas[number]
        options: list[tuple[dict[int, str], IntArray]]
        if end.kind is EndKind.SOURCE:
            options = [
                ({end.qubit: pauli} if pauli != "I" else {}, np.full((len(grid), 1), index))
                for index, pauli in enumerate("IXYZ")
            ]
        else:
            options = [({} if ancilla is None else {ancilla: "Z"}, grid[:, number : number + 1])]
        elements = np.hstack([elements * shape[number] + index for _, index in options])
        paulis = [known | extra for extra, _ in options for known in paulis]
    labels = []
    for observable in fragment.observables:
        local = {qubit: pauli for qubit, pauli in enumerate(reversed(observable)) if pauli != "I"}
        for known in paulis:
            both = known | local
            labels.append("".join(both.get(qubit, "I") for qubit in reversed(range(width))))
    count = len(fragment.observables)
    return labels, np.hstack([elements * shape[-1] + index for index in range(count)])
