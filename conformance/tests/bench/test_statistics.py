import random

import pytest

from nll_conformance.bench.statistics import median


def test_the_interval_is_the_tabulated_one():
    """Ranks of the 95 % interval of a median: tables of the sign test."""
    for n, low in ((6, 1), (8, 1), (9, 2), (11, 2), (15, 4), (25, 8), (40, 14)):
        found = median(list(range(1, n + 1)))
        assert (found.low, found.high) == (low, n + 1 - low)


def test_thousands_of_samples_have_the_ranks_of_the_normal_distribution():
    for n in (1029, 1030, 5000, 20000):
        found = median(list(range(1, n + 1)))
        assert abs(found.low - ((n + 1) / 2 - 1.959964 * n**0.5 / 2)) < 1
        assert found.high == n + 1 - found.low


def test_too_few_samples_have_no_interval():
    assert median([3.0, 1.0, 2.0, 5.0, 4.0]) == (3.0, None, None)
    with pytest.raises(ValueError, match="no samples"):
        median([])


def test_the_interval_covers_the_median_of_a_skewed_distribution():
    draw = random.Random(0)
    covered = 0
    for _ in range(400):
        found = median([draw.expovariate(1.0) for _ in range(15)])
        covered += found.low <= 0.693147 <= found.high
    assert covered >= 0.93 * 400
