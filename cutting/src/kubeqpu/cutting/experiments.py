"""A fragment's local experiments as parametrised templates.

Only the fragment's own cuts are enumerated. A row of a block is one circuit: a template with the
parameter values of one choice of settings. What a row tells are parities of its classical bits;
each parity is an estimate of one element of the fragment's tensor, whose axes are the maps of the
fragment's ends and, last, its observables. Several rows may tell the same element.

Templates differ only in which ends are measured. On QPUs a gate cut is measured mid-circuit;
`deferred` copies the qubit to an ancilla that is measured last, which simulators run many times
faster and QPUs must not be asked to do.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt
from qiskit.circuit import QuantumCircuit

from kubeqpu.cutting.fragments import End, Fragment
from kubeqpu.cutting.grouping import group_observables, is_measured_by
from kubeqpu.cutting.maps import BASIS_CHANGES, NOTHING, Angles, Cut, EndKind, LocalMap
from kubeqpu.cutting.templates import GROUP, Slot, Template, build_template

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Block:
    """Rows that share a template and tell the same kinds of parities.

    Attributes:
        template: Index of the template.
        parameters: Shape (rows, parameters of the template).
        settings: Shape (rows, ends): the chosen setting of each end.
        parities: Which classical bits make up each parity, bit k for clbit k; in exact mode
            empty.
        observables: In exact mode the Pauli label of each value; else empty.
        elements: Shape (rows, parities or observables): flat index of the element each is
            an estimate of.
    """

    template: int
    parameters: FloatArray
    settings: IntArray
    parities: tuple[int, ...]
    observables: tuple[str, ...]
    elements: IntArray


@dataclass(frozen=True)
class Experiments:
    """All local experiments of one fragment.

    Attributes:
        templates: The parametrised circuits.
        blocks: The rows to run.
        shape: Shape of the fragment's tensor: maps of each end, then observables.
        ones: Flat indices of elements that are 1 because nothing is measured for them.
    """

    templates: tuple[QuantumCircuit, ...]
    blocks: tuple[Block, ...]
    shape: tuple[int, ...]
    ones: IntArray

    @property
    def rows(self) -> int:
        """How many circuits are run."""
        return sum(len(block.settings) for block in self.blocks)


def end_settings(end: End, cuts: Sequence[Cut]) -> tuple[LocalMap, ...]:
    """Returns what may be put into the circuit at an end."""
    return cuts[end.cut].settings[end.side]


def tensor_shape(fragment: Fragment, cuts: Sequence[Cut]) -> tuple[int, ...]:
    """Returns the shape of a fragment's tensor."""
    maps = tuple(cuts[end.cut].matrix.shape[end.side] for end in fragment.ends)
    return (*maps, len(fragment.observables))


def count_ancillas(fragment: Fragment, cuts: Sequence[Cut]) -> int:
    """Counts the ancillas that deferred measurement needs at most."""
    return sum(
        end.kind is EndKind.GATE and any(item.measured for item in end_settings(end, cuts))
        for end in fragment.ends
    )


def count_rows(fragment: Fragment, cuts: Sequence[Cut]) -> int:
    """Counts the circuits of `sampling_experiments` without building them, as an upper bound."""
    groups = len(group_observables(fragment.observables))
    settings = [len(end_settings(end, cuts)) for end in fragment.ends]
    return groups * int(np.prod(settings, dtype=np.int64)) if settings else groups


def sampling_experiments(
    fragment: Fragment, cuts: Sequence[Cut], deferred: bool = False
) -> Experiments:
    """Builds a fragment's experiments for samplers.

    Args:
        fragment: The fragment.
        cuts: All cuts of the plan.
        deferred: Measure gate cuts last, on ancillas.

    Returns:
        Templates with classical bits, and rows that tell parities of them.
    """
    shape = tensor_shape(fragment, cuts)
    groups = group_observables(fragment.observables)
    bases = {
        qubit: tuple(BASIS_CHANGES[group[qubit]] for group in groups)
        for qubit in range(fragment.num_qubits)
        if any(label[-1 - qubit] != "I" for label in fragment.observables)
    }
    templates: list[QuantumCircuit] = []
    blocks: list[Block] = []
    ones: set[int] = set()
    for choices in list_patterns(fragment, cuts):
        slots = [
            make_slots(end, cuts, allowed)
            for end, allowed in zip(fragment.ends, choices, strict=True)
        ]
        template = build_template(fragment, slots, bases, deferred)
        grid = make_grid(choices)
        used = False
        for number, group in enumerate(groups):
            members = [
                index for index, label in enumerate(fragment.observables)
                if is_measured_by(label, group)
            ]  # fmt: skip
            parities, elements = _read(fragment, grid, template, shape, members)
            ones.update(elements[:, [mask == 0 for mask in parities]].ravel().tolist())
            kept = [index for index, mask in enumerate(parities) if mask != 0]
            if not kept:
                continue
            used = True
            blocks.append(
                Block(
                    template=len(templates),
                    parameters=fill_parameters(template, grid, number),
                    settings=grid,
                    parities=tuple(parities[index] for index in kept),
                    observables=(),
                    elements=elements[:, kept],
                )
            )
        if used:
            templates.append(template.circuit)
    return Experiments(
        tuple(templates), tuple(blocks), shape, np.array(sorted(ones), dtype=np.int64)
    )


def list_patterns(
    fragment: Fragment, cuts: Sequence[Cut], exact: bool = False
) -> list[tuple[tuple[int, ...], ...]]:
    """Lists, per template, the settings each end may take: all measured or all not."""
    options: list[list[tuple[int, ...]]] = []
    for end in fragment.ends:
        settings = end_settings(end, cuts)
        if exact and end.kind is EndKind.SOURCE:
            options.append([(0,)])
            continue
        split = [
            tuple(index for index, item in enumerate(settings) if item.measured is measured)
            for measured in (False, True)
        ]
        options.append([indices for indices in split if indices])
    return list(product(*options))


def make_slots(end: End, cuts: Sequence[Cut], allowed: tuple[int, ...]) -> Slot:
    """Says what a template has at an end whose settings are restricted."""
    settings = end_settings(end, cuts)
    pre: list[Angles] = [NOTHING] * len(settings)
    post: list[Angles] = [NOTHING] * len(settings)
    for index in allowed:
        pre[index], post[index] = settings[index].pre, settings[index].post
    return Slot(end, tuple(allowed), settings[allowed[0]].measured, tuple(pre), tuple(post))


def make_grid(choices: Sequence[tuple[int, ...]]) -> IntArray:
    """All combinations of settings, shape (rows, ends)."""
    rows = list(product(*choices))
    return np.array(rows, dtype=np.int64).reshape(len(rows), len(choices))


def fill_parameters(template: Template, grid: IntArray, group: int) -> FloatArray:
    """Looks up a block's parameters, shape (rows, parameters of the template)."""
    values = np.empty((len(grid), len(template.columns)))
    for column, (owner, angles) in enumerate(template.columns):
        table = np.array(angles)
        values[:, column] = table[group] if owner == GROUP else table[grid[:, owner]]
    return values


def _read(
    fragment: Fragment,
    grid: IntArray,
    template: Template,
    shape: tuple[int, ...],
    members: list[int],
) -> tuple[list[int], IntArray]:
    """Lists the parities of a block and the elements they estimate, shape (rows, parities)."""
    masks = [0]
    elements = np.zeros((len(grid), 1), dtype=np.int64)
    for number, end in enumerate(fragment.ends):
        place = template.end_bits[number]
        bit = 0 if place is None else 1 << place
        setting = grid[:, number : number + 1]
        if end.kind is EndKind.SOURCE:
            # The outcome tells the Pauli that is measured; ignoring it tells the identity.
            readings = [(bit, setting + 1), (0, np.zeros_like(setting))]
        else:
            readings = [(bit, setting)]
        elements = np.hstack([elements * shape[number] + index for _, index in readings])
        masks = [mask | extra for extra, _ in readings for mask in masks]
    observed = [_observable_mask(fragment.observables[index], template) for index in members]
    elements = np.hstack([elements * shape[-1] + index for index in members])
    return [mask | extra for extra in observed for mask in masks], elements


def _observable_mask(label: str, template: Template) -> int:
    bits = (
        template.qubit_bits[qubit] for qubit, pauli in enumerate(reversed(label)) if pauli != "I"
    )
    return sum(1 << bit for bit in bits)
