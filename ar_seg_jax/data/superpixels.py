"""Superpixels of prepared images, computed once and kept beside them.

They are those of SLIC (Achanta et al. 2012) as scikit-image has it, in CIELAB for images of three channels.
"""

import os
from collections.abc import Iterator, Sequence

import grain
import numpy as np
from jaxtyping import UInt8, UInt16

from ar_seg_jax.data import beside, images, pipeline
from ar_seg_jax.data.limits import DataError

_MOST = 2**16  # of an image, as the pixels of a PNG file can tell apart
# How much places count beside colours. SLIC stretches images to [0, 1]; CIELAB goes to 100.
_COMPACTNESS, _COMPACTNESS_OF_BANDS = 10.0, 0.1


def part(size: int) -> beside.Part:
    """Of examples `regions`: superpixels of `size` pixels on average."""
    return beside.Part(
        'regions', f'superpixels of {size} pixels', f'superpixels-{size}', lambda examples: _computed(examples, size)
    )


def of_image(image: UInt8[np.ndarray, 'height width channels'], size: int) -> UInt16[np.ndarray, 'height width']:
    """The number of the superpixel of each pixel, from 0. DataError for more than 16 bits can count."""
    from skimage.segmentation import slic  # scipy's half takes a second, which only a training with superpixels has to wait

    height, width, channels = image.shape
    colours = channels == 3
    found = slic(
        image,
        max(1, round(height * width / size)),
        compactness=_COMPACTNESS if colours else _COMPACTNESS_OF_BANDS,
        convert2lab=colours,
        start_label=0,
        channel_axis=-1,
    )
    if found.max() >= _MOST:
        raise DataError(
            f'an image of {width} x {height} pixels has more than {_MOST} superpixels of {size} pixels; raise '
            '--config.method.regions, or cut images into blocks by --config.data.block_size'
        )
    return found.astype(np.uint16)


def _computed(examples: Sequence[pipeline.Example], size: int) -> Iterator[bytes]:
    """In threads, since SLIC lets others run."""
    threads = os.cpu_count() or 1
    encoded = grain.MapDataset.source(examples).map(lambda record: _encoded(record, size))
    return iter(encoded.to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)))


def _encoded(record: pipeline.Example, size: int) -> bytes:
    return images.encode_png(of_image(pipeline.decode(record)['image'], size))
