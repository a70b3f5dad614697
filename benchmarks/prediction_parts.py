"""Processor time of the parts of one call of `predict`, whose images go through one at a time.

    python -m benchmarks.prediction_parts --workdir RUN --input DIR --output DIR

Prints JSON: seconds from the start of Python to the last import, and for each part those of its first call, in which things are
compiled, read and imported late, and of all others for each image after the first. What a part takes in the threads of the
devices is its own, since nothing else is under way; the time of a part that another one calls counts for that part alone.
`python -m benchmarks.prediction` makes a table of it.
"""

import json
import sys
import time
from typing import Any

from absl import flags

from benchmarks import timing

# The functions whose time is that of a part.
PARTS = {
    'listing the files': ['ar_seg_jax.predict._inputs'],
    'loading the network': ['ar_seg_jax.prediction.network.load'],
    'decoding': ['ar_seg_jax.data.images.read_image'],
    'where there is no data, and where on the earth': [
        'ar_seg_jax.data.raster.needs_parts',
        'ar_seg_jax.data.coverage.covered',
        'ar_seg_jax.data.georeference.read',
    ],
    'to the scale of training and back': ['ar_seg_jax.data.images.resize'],
    'the network': ['ar_seg_jax.prediction.network.Network.in_tiles'],
    'painting': [f'ar_seg_jax.drawing.label_maps.{name}' for name in ('paint', 'palette_image', 'overlay')],
    'encoding': ['ar_seg_jax.drawing.label_maps.png'],
    'shares of the classes': ['ar_seg_jax.data.classes.in_words'],
    'checking and writing the files': ['ar_seg_jax.predict._targets', 'ar_seg_jax.files.write'],
    'everything else of an image': ['ar_seg_jax.predict._made'],
    'everything else': ['ar_seg_jax.predict.main'],
}


def measure(arguments: list[str]) -> dict[str, Any]:
    """Calls predict with these arguments. Raises RuntimeError if it fails."""
    from ar_seg_jax import predict

    clock = timing.Clock()
    clock.watch(PARTS)
    imported = time.process_time()
    flags.FLAGS(['predict', *arguments])
    predict._AHEAD = 1  # what is done for one image is then never beside what is done for another
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
