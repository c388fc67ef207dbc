from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudping.codec import digest
from cloudping.distribution import merge, percentiles
from tests.cloudping.conftest import TARGETS, Attempts, attempts, made


@settings(deadline=None)
@given(st.lists(attempts, max_size=60))
def test_percentiles_are_numpys_over_the_samples(rows: Attempts) -> None:
    ps = [0, 1, 10, 25, 50, 75, 90, 95, 98, 99, 99.9, 100]
    result = percentiles(made(rows), ps)
    for at in range(len(TARGETS)):
        units = np.rint([ms * 100 for k, ms, _, _ in rows if k == at and ms is not None])
        if len(units):
            assert result[at].tolist() == np.percentile(units / 100, ps).tolist()
        else:
            assert np.isnan(result[at]).all()


@settings(deadline=None)
@given(st.lists(attempts, max_size=40), st.randoms(), st.integers(1, 6))
def test_any_split_and_any_order_of_the_samples_gives_the_same(
    rows: Attempts, random: Any, pieces: int
) -> None:
    whole = made(rows)
    shuffled = random.sample(rows, len(rows))
    parts = [made(shuffled[k::pieces]) for k in range(pieces)]
    while len(parts) > 1:  # merged in a random tree, as hours into days into months
        random.shuffle(parts)
        parts = [merge(parts[:2]), *parts[2:]]
    assert digest(parts[0]) == digest(whole)


@settings(deadline=None)
@given(*[st.lists(attempts, max_size=20)] * 3)
def test_merging_is_associative_and_commutative(a: Attempts, b: Attempts, c: Attempts) -> None:
    # The three know different targets, so that these have to be brought together as well.
    x, y, z = made(a), made(b, TARGETS[::-1]), made(c, ("a-1", "us-east-1", "z-9"))
    assert digest(merge([x, y])) == digest(merge([y, x]))
    assert digest(merge([merge([x, y]), z])) == digest(merge([x, merge([y, z])]))
    assert digest(merge([x, merge([])])) == digest(x)
