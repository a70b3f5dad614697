"""Mean and deviation of the channels of images, by which a model can normalise its input."""

from collections.abc import Sequence

import numpy as np

from ar_seg_jax.data import pipeline
from ar_seg_jax.interfaces import Normalisation

_MOST = 2000  # images that are looked at, evenly spread over all of them
_LEAST_DEVIATION = 1.0  # levels of 255: a channel that is all but constant is not blown up


def measured(examples: Sequence[pipeline.Example]) -> Normalisation:
    """Mean and deviation of the pixels with data of encoded examples, by channel, of images in [0, 1].

    Sums are of whole numbers, and so the same on every machine. Of a channel without any variation the deviation is one level.
    """
    count, sums, squares = 0, 0, 0
    for place in pipeline.evenly_spread(len(examples), _MOST):
        example = pipeline.decode(examples[place])
        pixels = example['image'][pipeline.covered(example)].astype(np.int64)
        count, sums, squares = count + len(pixels), sums + pixels.sum(0), squares + (pixels**2).sum(0)
    mean = sums / max(count, 1)
    deviation = np.maximum(np.sqrt(np.maximum(squares / max(count, 1) - mean**2, 0)), _LEAST_DEVIATION)
    return Normalisation(tuple((mean / 255).tolist()), tuple((deviation / 255).tolist()))
