"""Seeds of rows: every row of a job draws from a generator of its own.

The seed is a hash of (job seed, entry, row), never of the circuit's content and never of how rows
were batched. So equal circuits in two places give independent samples, and a job that was
interrupted, split or restarted gives the same values.

The hash chains the 64-bit finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014, with
Stafford's variant 13 of its constants). For a fixed job and entry it is a bijection of the row, so
rows of one entry never share a seed.
"""

import numpy as np
from numpy.typing import NDArray

_MASK = (1 << 64) - 1
# 2^64 divided by the golden ratio, made odd: steps of it visit all 64-bit values.
_STEP = 0x9E3779B97F4A7C15
_FIRST_FACTOR = 0xBF58476D1CE4E5B9
_SECOND_FACTOR = 0x94D049BB133111EB


def row_seed(job_seed: int, entry: int, row: int) -> int:
    """Computes the seed of one row.

    Args:
        job_seed: The job's seed, 0 to 2^64 - 1.
        entry: Index of the entry within the job, not negative.
        row: Index of the row within the entry, not negative.

    Returns:
        A number in [0, 2^64).
    """
    return _mix(_entry_key(job_seed, entry) + (row + 1) * _STEP)


def row_seeds(job_seed: int, entry: int, first_row: int, rows: int) -> NDArray[np.uint64]:
    """Computes the seeds of rows [first_row, first_row + rows) at once.

    Args:
        job_seed: The job's seed, 0 to 2^64 - 1.
        entry: Index of the entry within the job, not negative.
        first_row: Index of the first row, not negative.
        rows: How many rows.

    Returns:
        Seeds equal to those of `row_seed`, of shape (rows,).
    """
    start = np.uint64((_entry_key(job_seed, entry) + (first_row + 1) * _STEP) & _MASK)
    # uint64 arrays wrap around silently, which is the arithmetic meant here.
    state = start + np.arange(rows, dtype=np.uint64) * np.uint64(_STEP)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(_FIRST_FACTOR)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(_SECOND_FACTOR)
    mixed: NDArray[np.uint64] = state ^ (state >> np.uint64(31))
    return mixed


def _entry_key(job_seed: int, entry: int) -> int:
    return _mix(_mix(job_seed + _STEP) + (entry + 1) * _STEP)


def _mix(value: int) -> int:
    value &= _MASK
    value = ((value ^ (value >> 30)) * _FIRST_FACTOR) & _MASK
    value = ((value ^ (value >> 27)) * _SECOND_FACTOR) & _MASK
    return value ^ (value >> 31)
