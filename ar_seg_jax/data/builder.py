"""What every data set has in common: one TFDS schema, prepared once, whole or not at all."""

import contextlib
import dataclasses
import hashlib
import io
import json
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from google.protobuf import json_format
from jaxtyping import UInt8

from ar_seg_jax import files
from ar_seg_jax.data import images, prepared, shuffler
from ar_seg_jax.data.classes import Class
from ar_seg_jax.data.form import Form
from ar_seg_jax.data.limits import DataError
from ar_seg_jax.interfaces import VOID

_logger = logging.getLogger(__name__)

# In what is said of prepared data: the ranges of bands, see `Form`, and whether labels may be NODATA.
RANGES, HAS_NODATA = 'ranges', 'nodata'
NODATA = VOID - 1  # label of pixels where the image itself has nothing; VOID is for those that nobody annotated
_AGAIN = 'remove it to prepare it again'


@dataclasses.dataclass(eq=False, kw_only=True, repr=False)
class SegmentationConfig(tfds.core.BuilderConfig):
    """A variant of a data set. `name` is part of the path of the prepared files: it must tell all options apart.

    rescale: size of the prepared images relative to the raw ones; prediction brings new images to the same scale.
    shorter_side: pixels; where not 0, all images were brought to it, whatever `rescale` is.
    instances: labels are numbers of objects, 0 is the background, and there are no classes; objects of different images have
        nothing to do with one another. There are at most VOID - 1 of them in an image.
    sources: the files that examples are made of, by which a run tells what changed; empty where that is not known.
    """

    classes: tuple[Class, ...]
    instances: bool = False
    channels: int = 3
    rescale: float = 1.0
    shorter_side: int = 0
    sources: Sequence[prepared.Source] = ()

    def __repr__(self) -> str:
        return self.name  # TFDS logs its configs; lists of files would drown the rest


class SegmentationBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Base of the data sets: examples of an id, an image and a label map of the same size.

    Labels are class indices, or numbers of objects, and VOID where there is none. Subclasses write `_split_generators` and
    `_generate_examples`; the latter yields what `example` makes, images already at the scale that training needs.
    """

    VERSION = tfds.core.Version('1.0.0')
    builder_config: SegmentationConfig

    def __init__(self, **options: Any):
        """Reads what is said of prepared data, if there is any; DataError unless it is of this version and form."""
        try:
            super().__init__(**options)
        except (json_format.Error, AssertionError, ValueError) as error:  # versions that differ are an AssertionError
            place = Path(options['data_dir'], self.name, options['config'].name, str(self.VERSION))
            if not place.exists():
                raise
            reason = str(error).partition('\n')[0]
            raise DataError(f'prepared data in {place} is damaged, or of another version ({reason}); {_AGAIN}') from error
        found = self.info.file_format
        if self.info.splits and found != tfds.core.FileFormat.ARRAY_RECORD:
            raise DataError(f'{self.data_dir}: expected prepared data in the format array_record, found {found.value}; {_AGAIN}')

    def _info(self) -> tfds.core.DatasetInfo:
        config = self.builder_config
        features = {
            'id': tfds.features.Text(),
            'image': tfds.features.Image(
                shape=(None, None, config.channels if config.channels in (3, 4) else 1), encoding_format='png'
            ),
            'label': tfds.features.Image(shape=(None, None, 1), encoding_format='png'),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description=f'{type(self).__name__} {prepared.PURPOSE}: {config.name}',
            features=tfds.features.FeaturesDict(features),
            metadata=tfds.core.MetadataDict(classes=[entry._asdict() for entry in config.classes], void=VOID),
        )


def example(
    identifier: str, image: UInt8[np.ndarray, 'height width channels'], label: UInt8[np.ndarray, 'height width'] | None
) -> tuple[str, dict[str, Any]]:
    """A key and an example for `_generate_examples`; no label map means VOID everywhere. Labels may be NODATA."""
    label = np.full(image.shape[:2], VOID, np.uint8) if label is None else label
    return identifier, {'id': identifier, 'image': images.encode_png(image), 'label': images.encode_png(label)}


def form(builder: SegmentationBuilder) -> Form:
    """What the raw images of prepared data are like; DataError if it is not said in a way that could be."""
    config = builder.builder_config
    return Form(config.channels, config.rescale, config.shorter_side, builder.info.metadata.get(RANGES, ()))


def config_name(readable: str, **options: Any) -> str:
    """A directory name for a variant: the readable part, and a digest of every option that shapes the prepared files."""
    digest = hashlib.sha256(json.dumps(options, sort_keys=True, default=str).encode()).hexdigest()[:12]
    return f'{re.sub(r"[^A-Za-z0-9_.-]+", "_", readable)}-{digest}'


def prepare(builder: SegmentationBuilder, may_write: bool = True) -> SegmentationBuilder:
    """Writes the examples of `builder` as ArrayRecord files unless that is done already; returns a builder that can read.

    Files are written beside their place and renamed when whole, so an interrupted run leaves no data set behind. Of
    several processes one writes and the others wait; remains of killed ones are removed, and `ar_seg_jax.clean` removes nothing
    while this process lives. DataError if files are needed but this must not write.
    """
    directory = Path(builder.data_dir)
    if may_write:
        prepared.remove_remains(directory.parents[1])
    elif not builder.info.splits:
        raise DataError(f'{directory}: the data set is not prepared there; give --data_dir=DIR to prepare it in DIR')
    prepared.lock_to_read(directory, may_write)
    # Before the lock it may have been removed by `clean`.
    builder = builder if builder.info.splits and directory.exists() else _prepared(builder, directory)
    files.require_plain(directory)
    prepared.check(directory)
    return builder


def _prepared(builder: SegmentationBuilder, directory: Path) -> SegmentationBuilder:
    with prepared.lock_to_prepare(directory):
        if directory.exists():  # another process prepared it while this one waited, and a builder looks only once
            found = type(builder)(config=builder.builder_config, data_dir=builder.data_dir_root)
            if not found.info.splits:
                raise DataError(f'{directory}: prepared data without splits; {_AGAIN}')
            return found
        _logger.info('Preparing %s in %s', builder.name, directory)
        tfds.disable_progress_bar()
        try:
            # TFDS announces a download of unknown size
            with shuffler.used_by_tfds(), contextlib.redirect_stdout(io.StringIO()):
                builder.download_and_prepare(file_format='array_record')
        except RuntimeError as error:  # ArrayRecord's, for files that it cannot write
            raise DataError(f'{directory}: cannot write the prepared data ({error}); is the disk full?') from error
        prepared.write_sources(directory, builder.builder_config.sources)
        prepared.write_checksums(directory)
    return builder


def existing_directory(path: str | Path, purpose: str) -> Path:
    """`path` as an absolute directory; DataError if there is none."""
    if not str(path):
        raise DataError(f'no directory given; {purpose}')
    directory = files.expanded(path)
    if not directory.is_dir():
        raise DataError(f'{directory.absolute()}: no such directory; {purpose}')
    return directory.resolve()
