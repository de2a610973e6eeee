"""Rows are drawn and found in pieces as they would be from all of them at once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raclib import sampling
from raclib.sampling import draw_part, draw_rows, rows_at


@pytest.fixture(scope="module", autouse=True)
def small_pieces():
    """Pieces of 50 rows, so that few rows are many pieces."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampling, "PIECE_ROWS", 50)
        yield


@settings(deadline=None)
@given(num_rows=st.integers(0, 300), size=st.integers(0, 320), seed=st.integers(0, 99))
def test_rows_that_are_drawn_differ(num_rows, size, seed):
    found = draw_rows(np.random.default_rng(seed), num_rows, size)
    assert len(found) == min(size, num_rows) == len(np.unique(found))
    assert ((found >= 0) & (found < num_rows)).all()
    again = draw_rows(np.random.default_rng(seed), num_rows, size)
    np.testing.assert_array_equal(found, again)


def test_few_rows_are_the_first_of_a_permutation():
    expected = np.random.default_rng(3).permutation(50)[:7]
    np.testing.assert_array_equal(draw_rows(np.random.default_rng(3), 50, 7), expected)


def test_each_row_is_as_likely_at_each_place():
    rng = np.random.default_rng(0)
    drawn = np.stack([draw_rows(rng, 60, 6) for _ in range(6000)])
    for place in range(6):
        counts = np.bincount(drawn[:, place], minlength=60)
        assert abs(counts - 100).max() < 5.5 * 10  # deviations of a count


@settings(deadline=None)
@given(
    chosen=st.lists(st.booleans(), max_size=300).map(lambda found: np.array(found, bool)),
    data=st.data(),
)
def test_places_are_those_among_the_chosen(chosen, data):
    rows = np.flatnonzero(chosen)
    places = st.lists(st.integers(0, max(0, len(rows) - 1)), max_size=20 * bool(len(rows)))
    places = np.array(data.draw(places), np.int64)
    np.testing.assert_array_equal(rows_at(chosen, places), rows[places])
    first, most = data.draw(st.integers(0, len(rows))), data.draw(st.integers(0, 300))
    found = draw_part(chosen, most, np.random.default_rng(0), first)
    assert len(found) == min(most, len(rows) - first)
    assert np.isin(found, rows[first:]).all() and (np.diff(found) > 0).all()


def test_memory_does_not_grow_with_the_rows(bytes_per_row):
    def draw(num_rows):
        return lambda: draw_rows(np.random.default_rng(0), num_rows, 1000)

    assert abs(bytes_per_row(draw)) < 0.1
