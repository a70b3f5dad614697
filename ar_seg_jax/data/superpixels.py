"""Superpixels of prepared images, computed once and kept beside them: <prepared data>/superpixels-<size>-<digest>.array_record.

They are those of SLIC (Achanta et al. 2012) as scikit-image has it, in CIELAB for images of three channels.
"""

import hashlib
import logging
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

import grain
import numpy as np
from array_record.python.array_record_module import ArrayRecordWriter
from jaxtyping import UInt8, UInt16

from ar_seg_jax.data import images, pipeline, prepared
from ar_seg_jax.data.array_records import ArrayRecords
from ar_seg_jax.data.builder import SegmentationBuilder
from ar_seg_jax.data.limits import DataError

_logger = logging.getLogger(__name__)

_MOST = 2**16  # of an image, as the pixels of a PNG file can tell apart
# How much places count beside colours. SLIC stretches images to [0, 1]; CIELAB goes to 100.
_COMPACTNESS, _COMPACTNESS_OF_BANDS = 10.0, 0.1


def source(builder: SegmentationBuilder, split: str, size: int) -> Sequence[pipeline.Example]:
    """The examples of a split as `pipeline.source` has them, with `regions`: superpixels of `size` pixels on average, encoded.

    They are computed if they are not there yet. Of several processes one does that, and the others wait.
    """
    examples = pipeline.source(builder, split)
    digest = hashlib.sha256(split.encode()).hexdigest()[:8]
    path = Path(builder.data_dir, f'superpixels-{size}-{digest}.array_record')
    if not path.exists():
        with prepared.lock_to_prepare(path.parent):
            if not path.exists():
                _logger.info('Computing superpixels of %d pixels for %d examples, in %s', size, len(examples), path)
                _write(path, examples, size)
    return _WithRegions(examples, path)


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


def _write(path: Path, examples: Sequence[pipeline.Example], size: int):
    """Beside the file first, so that no half file is left; in threads, since SLIC lets others run."""
    encoded = grain.MapDataset.source(examples).map(lambda record: _encoded(record, size))
    threads = os.cpu_count() or 1
    beside = path.with_name(f'.{secrets.token_hex(8)}.partial')
    try:
        writer = ArrayRecordWriter(str(beside), 'group_size:1')
        for record in encoded.to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)):
            writer.write(record)
        writer.close()
        beside.replace(path)
    except RuntimeError as error:  # ArrayRecord's, for files that it cannot write
        raise DataError(f'{path}: cannot write the superpixels ({error}); is the disk full?') from error
    finally:
        beside.unlink(missing_ok=True)


def _encoded(record: pipeline.Example, size: int) -> bytes:
    return images.encode_png(of_image(pipeline.decode(record)['image'], size))


class _WithRegions(Sequence):
    """Examples with what a file has for each of them."""

    def __init__(self, examples: Sequence[pipeline.Example], path: Path):
        self._examples, self._path, self._regions = examples, path, ArrayRecords(str(path))
        if len(self._regions) != len(examples):
            raise DataError(f'{path}: superpixels of {len(self._regions)} examples, expected {len(examples)}; remove the file')

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> pipeline.Example:
        try:
            return {**self._examples[index], 'regions': self._regions[index]}
        except RuntimeError as error:  # of ArrayRecord
            raise DataError(f'{self._path}: example {index} is damaged ({error}); remove the file') from error
