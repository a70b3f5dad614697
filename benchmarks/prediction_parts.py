"""Processor time of the parts of one call of `predict`, whose images go through one at a time.

    python -m benchmarks.prediction_parts --workdir RUN --input DIR --output DIR

Prints JSON: seconds from the start of Python to the last import, and for each part those of its first call, in which things are
compiled, read and imported late, and of all others for each image after the first. What a part takes in the threads of the
devices is its own, since nothing else is under way; the time of a part that another one calls counts for that part alone.
`python -m benchmarks.prediction` makes a table of it.
"""

import functools
import json
import sys
import time
from collections.abc import Callable
from typing import Any

from absl import flags

from ar_seg_jax import files, predict
from ar_seg_jax.data import classes, coverage, georeference, images, raster
from ar_seg_jax.drawing import label_maps
from ar_seg_jax.prediction import network

# The functions whose time is that of a part.
PARTS = {
    'listing the files': [(predict, '_inputs')],
    'loading the network': [(network, 'load')],
    'decoding': [(images, 'read_image')],
    'where there is no data, and where on the earth': [(raster, 'needs_parts'), (coverage, 'covered'), (georeference, 'read')],
    'to the scale of training and back': [(images, 'resize')],
    'the network': [(network.Network, 'in_tiles')],
    'painting': [(label_maps, name) for name in ('paint', 'palette_image', 'overlay')],
    'encoding': [(label_maps, 'png')],
    'shares of the classes': [(classes, 'in_words')],
    'checking and writing the files': [(predict, '_targets'), (files, 'write')],
    'everything else of an image': [(predict, '_made')],
    'everything else': [(predict, 'main')],
}


class Clock:
    """What calls take, without the calls that they make of other functions that are watched."""

    def __init__(self, now: Callable[[], float] = time.process_time):
        """now: seconds that have passed."""
        self._now = now
        self._inner = [0.0]  # seconds of the calls that each of those under way has made
        self.seconds: dict[str, list[float]] = {}

    def watched(self, part: str, function: Callable) -> Callable:
        """The same function, whose calls, one at a time, are timed as those of `part`."""
        spent = self.seconds.setdefault(part, [])

        @functools.wraps(function)
        def timed(*arguments, **options):
            begin = self._now()
            self._inner.append(0.0)
            try:
                return function(*arguments, **options)
            finally:
                whole = self._now() - begin
                spent.append(whole - self._inner.pop())
                self._inner[-1] += whole

        return timed


def measure(arguments: list[str]) -> dict[str, Any]:
    """Calls predict with these arguments. Raises RuntimeError if it fails."""
    imported = time.process_time()
    flags.FLAGS(['predict', *arguments])
    predict._AHEAD = 1  # what is done for one image is then never beside what is done for another
    clock = Clock()
    for part, functions in PARTS.items():
        for owner, name in functions:
            setattr(owner, name, clock.watched(part, getattr(owner, name)))
    if predict.main():
        raise RuntimeError(f'predict failed: {arguments}')
    count = len(clock.seconds['the network'])
    return {
        'images': count,
        'imports': imported,
        'parts': {
            part: {'first': seconds[0], 'each': sum(seconds[1:]) / max(1, count - 1)} for part, seconds in clock.seconds.items()
        },
    }


if __name__ == '__main__':
    print(json.dumps(measure(sys.argv[1:])))
