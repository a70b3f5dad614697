"""Intervals for scores over images: what would another sample of as many images have given?"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int

RESAMPLES = 1000
LEVEL = 95  # per cent


def intervals(
    statistic: Callable[[Int[np.ndarray, '*counts']], Float[np.ndarray, '*scores']],
    counts: Int[np.ndarray, 'images *counts'],
    seed: int,
) -> Float[np.ndarray, '2 *scores'] | None:
    """Lower and upper ends of the 95 % intervals of what a `statistic` makes of the sum of counts over the images.

    The percentile method of the bootstrap (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13): images
    are drawn with replacement, as many as there are, 1000 times; the ends are the 2.5 and 97.5 % quantiles of the statistic. A
    drawing for which a score is NaN, since no image of its class was drawn, is left out for this score. None for a single image,
    which says nothing about others.
    """
    if len(counts) < 2:
        return None
    rng, even = np.random.default_rng(seed), np.full(len(counts), 1 / len(counts))
    drawn = np.stack([statistic(np.tensordot(rng.multinomial(len(counts), even), counts, 1)) for _ in range(RESAMPLES)])
    never = np.isnan(drawn).all(0)
    ends = np.nanpercentile(np.where(never[None], 0, drawn), [(100 - LEVEL) / 2, (100 + LEVEL) / 2], axis=0)
    return np.where(never[None], np.nan, ends)
