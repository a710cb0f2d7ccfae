"""Ways to divide qubits among fragments by cutting gates.

The cost of an assignment is Σ log κ² over the gates between different parts.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array
from scipy.sparse.csgraph import reverse_cuthill_mckee

FloatArray = npt.NDArray[np.float64]
Labels = tuple[int, ...]

_SMALLEST_GAIN = 1e-12


def propose_partitions(weights: FloatArray, limits: Sequence[int] | int) -> Iterator[Labels]:
    """Proposes assignments of qubits to parts that keep the limits.

    Args:
        weights: Symmetric, shape (qubits, qubits): cost of cutting all gates of a pair.
        limits: Width of every part, or one width per part.

    Yields:
        Part of each qubit; possibly none.
    """
    for order in _line_orders(weights):
        labels = _divide_line(weights, order, limits)
        if labels is not None:
            yield _refine(weights, labels, limits)
    labels = _bisect(weights, limits)
    if labels is not None:
        yield _refine(weights, labels, limits)


def _line_orders(weights: FloatArray) -> Iterator[list[int]]:
    count = len(weights)
    yield list(range(count))
    if count < 3:
        return
    graph = csr_array((weights > 0).astype(np.int8))
    yield [int(qubit) for qubit in reverse_cuthill_mckee(graph, symmetric_mode=True)]
    yield [int(qubit) for qubit in np.argsort(_fiedler(weights), kind="stable")]


def _fiedler(weights: FloatArray) -> FloatArray:
    """Second eigenvector of the graph's Laplacian, with a fixed sign, rounded against jitter."""
    laplacian = np.diag(weights.sum(axis=0)) - weights
    vector = np.linalg.eigh(laplacian)[1][:, 1].round(9)
    first = np.flatnonzero(vector)
    return np.asarray(vector * np.sign(vector[first[0]]) if len(first) else vector)


def _divide_line(
    weights: FloatArray, order: list[int], limits: Sequence[int] | int
) -> Labels | None:
    """Divides a line into consecutive parts at the least cost, by dynamic programming.

    A part [i, j) costs the weights between it and everything before it, so costs add up.
    """
    count = len(order)
    line = weights[np.ix_(order, order)]
    prefix = np.zeros((count + 1, count + 1))
    prefix[1:, 1:] = line.cumsum(axis=0).cumsum(axis=1)
    widths = sorted(set(limits)) if not isinstance(limits, int) else [limits]
    # State: qubits covered and how many parts of each width are used up.
    supply = tuple(limits.count(width) for width in widths) if not isinstance(limits, int) else ()
    best: dict[tuple[int, tuple[int, ...]], tuple[float, list[int]]] = {(0, supply): (0.0, [0])}
    for covered in range(count):
        here = [(key, value) for key, value in best.items() if key[0] == covered]
        for (_, left), (cost, bounds) in here:
            for index, width in enumerate(widths):
                if left and not left[index]:
                    continue
                rest = tuple(n - (i == index) for i, n in enumerate(left))
                for end in range(covered + 1, min(covered + width, count) + 1):
                    extra = prefix[covered, end] - prefix[covered, covered]
                    new = (cost + float(extra), [*bounds, end])
                    key = (end, rest)
                    if key not in best or (new[0], len(new[1])) < (best[key][0], len(best[key][1])):
                        best[key] = new
    finals = [value for key, value in best.items() if key[0] == count]
    if not finals:
        return None
    bounds = min(finals, key=lambda item: (round(item[0], 9), len(item[1])))[1]
    labels = [0] * count
    for part, (start, end) in enumerate(pairwise(bounds)):
        for qubit in order[start:end]:
            labels[qubit] = part
    return tuple(labels)


def _bisect(weights: FloatArray, limits: Sequence[int] | int) -> Labels | None:
    """Halves along the Fiedler vector until each part fits."""
    widest = limits if isinstance(limits, int) else max(limits)
    finished: list[list[int]] = []
    waiting = [list(range(len(weights)))]
    while waiting:
        part = waiting.pop()
        if len(part) <= widest:
            finished.append(part)
            continue
        vector = _fiedler(weights[np.ix_(part, part)])
        ranked = [part[index] for index in np.argsort(vector, kind="stable")]
        middle = -(-len(ranked) // 2)
        waiting += [ranked[:middle], ranked[middle:]]
    labels = [0] * len(weights)
    for number, part in enumerate(sorted(finished)):
        for qubit in part:
            labels[qubit] = number
    return tuple(labels) if _capacities(labels, limits) is not None else None


def _capacities(labels: Sequence[int], limits: Sequence[int] | int) -> list[int] | None:
    """Width each part may grow to, or None if the parts do not fit the limits."""
    sizes = np.bincount(labels)
    if isinstance(limits, int):
        return [limits] * len(sizes) if sizes.max() <= limits else None
    if len(sizes) > len(limits):
        return None
    capacities = [0] * len(sizes)
    for part, limit in zip(
        np.argsort(-sizes, kind="stable"), sorted(limits, reverse=True), strict=False
    ):
        if sizes[part] > limit:
            return None
        capacities[part] = limit
    return capacities


def _refine(weights: FloatArray, labels: Labels, limits: Sequence[int] | int) -> Labels:
    """Moves single qubits and swaps pairs while that lowers the cost."""
    current = list(labels)
    capacities = _capacities(current, limits)
    if capacities is None:
        return labels
    parts, count = len(capacities), len(current)
    sizes = np.bincount(current, minlength=parts)
    for _ in range(4 * count):
        links = np.array(
            [weights[:, np.array(current) == part].sum(axis=1) for part in range(parts)]
        )
        own = links[current, np.arange(count)]
        best, action = _SMALLEST_GAIN, (-1, -1)
        for qubit in range(count):
            for part in range(parts):
                gain = links[part, qubit] - own[qubit]
                if part != current[qubit] and sizes[part] < capacities[part] and gain > best:
                    best, action = gain, (qubit, -1 - part)
            for other in range(qubit):
                mine, its = current[qubit], current[other]
                if mine == its:
                    continue
                gain = links[its, qubit] - own[qubit] + links[mine, other] - own[other]
                if gain - 2 * weights[qubit, other] > best:
                    best, action = gain - 2 * weights[qubit, other], (qubit, other)
        qubit, other = action
        if qubit < 0:
            break
        if other >= 0:
            current[qubit], current[other] = current[other], current[qubit]
        else:
            sizes[current[qubit]] -= 1
            current[qubit] = -1 - other
            sizes[current[qubit]] += 1
    return tuple(current)
