import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeqpu.qpu_gateway.seeds import row_seed, row_seeds

SEEDS = st.integers(min_value=0, max_value=2**64 - 1)
INDEXES = st.integers(min_value=0, max_value=2**32 - 1)


@given(job_seed=SEEDS, entry=INDEXES, first=INDEXES, rows=st.integers(0, 40))
def test_seeds_at_once_equal_seeds_one_by_one(
    job_seed: int, entry: int, first: int, rows: int
) -> None:
    together = row_seeds(job_seed, entry, first, rows)
    assert together.dtype == np.uint64
    assert together.tolist() == [row_seed(job_seed, entry, first + r) for r in range(rows)]


def test_seeds_stay_what_they_were() -> None:
    # A stored job that is finished by a later version must draw the same samples.
    assert row_seed(0, 0, 0) == 2558736989570252433
    assert row_seed(1, 2, 3) == 9613205829653846581
    assert row_seed(2**64 - 1, 5, 1000) == 4383592169439765162


def test_no_seed_occurs_twice_among_many_rows_and_jobs() -> None:
    seeds = np.concatenate([row_seeds(job, e, 0, 1000) for job in range(20) for e in range(20)])
    assert len(np.unique(seeds)) == 400_000


@pytest.mark.parametrize("index", range(64))
def test_every_bit_of_the_seed_is_as_often_set_as_not(index: int) -> None:
    seeds = row_seeds(7, 0, 0, 20_000)
    share = float(np.mean((seeds >> np.uint64(index)) & np.uint64(1)))
    assert share == pytest.approx(0.5, abs=0.02)
