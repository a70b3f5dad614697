"""Intervals against those of scipy and of the normal distribution."""

import numpy as np
import pytest
from scipy import stats

from ar_seg_jax.evaluation import bootstrap

RNG = np.random.default_rng(0)


def _accuracy(counts):
    right, all_of_them = counts
    return np.array([right / all_of_them])


def test_intervals_are_those_of_scipy_up_to_the_noise_of_drawing():
    pixels = RNG.integers(500, 1500, 40)
    counts = np.stack([RNG.binomial(pixels, RNG.beta(4, 2, 40)), pixels], axis=1)
    found = bootstrap.intervals(_accuracy, counts, seed=3)
    expected = stats.bootstrap(
        (np.arange(40),),
        lambda drawn: counts[drawn, 0].sum() / counts[drawn, 1].sum(),
        vectorized=False,
        method='percentile',
        n_resamples=20_000,
        rng=np.random.default_rng(1),
    )
    error = expected.standard_error  # of a quantile of 1000 drawings about a tenth of it
    np.testing.assert_allclose(found[:, 0], expected.confidence_interval, atol=0.25 * error)
    np.testing.assert_array_equal(found, bootstrap.intervals(_accuracy, counts, seed=3))
    assert (found != bootstrap.intervals(_accuracy, counts, seed=4)).all()


def test_the_interval_of_a_mean_of_many_is_that_of_the_normal_distribution():
    counts = RNG.integers(0, 100, (400, 1))
    low, high = bootstrap.intervals(lambda total: total / 400, counts, seed=0)[:, 0]
    half = stats.norm.ppf(0.975) * counts.std() / np.sqrt(400)
    assert (low, high) == pytest.approx((counts.mean() - half, counts.mean() + half), abs=0.25 * half)


def test_drawings_without_a_score_are_left_out_and_a_score_that_never_is_has_no_interval():
    def shares(counts):
        with np.errstate(invalid='ignore'):
            return np.array([counts[0] / counts[1], counts[2] / 0.0 if counts[2] else np.nan])

    counts = np.array([[1, 2, 0]] + [[0, 0, 0]] * 5)  # two fifths of the drawings have the first image
    found = bootstrap.intervals(shares, counts, seed=0)
    np.testing.assert_array_equal(found, [[0.5, np.nan], [0.5, np.nan]])


def test_a_single_image_has_no_interval():
    assert bootstrap.intervals(_accuracy, np.array([[3, 4]]), seed=0) is None
