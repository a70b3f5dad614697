"""From prepared examples to batches: random access, deterministic from the seed, each process reading its own share."""

import io
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import grain
import numpy as np
import tensorflow_datasets as tfds
from google.protobuf.message import DecodeError
from jaxtyping import Bool, Int

from ar_seg_jax import processes
from ar_seg_jax.data.array_records import ArrayRecords
from ar_seg_jax.data.builder import HAS_NODATA, NODATA, SegmentationBuilder
from ar_seg_jax.data.images import DataError, decode_png
from ar_seg_jax.interfaces import VOID, Size, sides

Example = dict[str, Any]


def source(builder: SegmentationBuilder, split: str) -> 'Prepared':
    """Random access to the encoded examples of a split (TFDS syntax, such as 'train' or 'train+val').

    Decoding is left to `decode`: TFDS decodes with OpenCV where that is installed and Pillow elsewhere, which need not
    agree. Raises DataError for a split that does not exist, or an empty one.
    """
    skip = tfds.decode.SkipDecoding()
    try:
        found = builder.as_data_source(split, decoders={'image': skip, 'label': skip})
    except ValueError as error:
        raise DataError(f'no split {split!r} in {builder.name}; the splits are {", ".join(builder.info.splits)}') from error
    if not len(found):
        raise DataError(f'split {split!r} of {builder.name} is empty')
    found.data_source = ArrayRecords(builder.info.splits[split].file_instructions)
    return Prepared(found, f'split {split!r} in {builder.data_dir}', bool(builder.info.metadata.get(HAS_NODATA)))


class Prepared(Sequence):
    """Examples of a data source, called `name` where they are damaged, which is a DataError.

    has_nodata: whether there may be pixels without data, which `decode` then tells apart.
    """

    def __init__(self, found: Sequence, name: str, has_nodata: bool = False):
        self._found, self._name, self._more = found, name, {HAS_NODATA: True} if has_nodata else {}

    def __len__(self) -> int:
        return len(self._found)

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(index)
        try:
            return {**self._found[index], **self._more}
        except (RuntimeError, IndexError, DecodeError) as error:  # of ArrayRecord, where a file was cut, and of what it holds
            raise DataError(f'{self._name}: example {index} is damaged ({error}); remove it all to prepare it again') from error


def decode(record: Example) -> Example:
    """id, image (height, width, channels) and label (height, width), 8 bits each; a mask, where there may be pixels without data;
    regions (height, width) and encoded (map_height, map_width, features), where the record has them.

    Prepared data may come from anywhere: DataError names an example whose parts are missing, damaged or of different sizes.
    """
    identifier = record.get('id')
    identifier = identifier.decode(errors='replace') if isinstance(identifier, bytes) else str(identifier)
    name = f'prepared example {identifier!r}'
    # TFDS gives None for what is missing.
    if missing := [part for part in ('id', 'image', 'label') if not isinstance(record.get(part), bytes)]:
        raise DataError(f'{name}: no {" and no ".join(missing)}; prepare the data again')
    image = decode_png(record['image'], f'{name}, its image', ('RGB', 'RGBA', 'L'))
    label = decode_png(record['label'], f'{name}, its label map', ('L',))
    image = _bands(image, label.shape[1], name) if image.ndim == 2 else image
    if image.shape[:2] != label.shape:
        raise DataError(
            f'{name}: the label map is {label.shape[1]} x {label.shape[0]} pixels but its image '
            f'{image.shape[1]} x {image.shape[0]}; prepare the data again'
        )
    found = {'id': identifier, 'image': image, 'label': label}
    if 'regions' in record:
        found['regions'] = decode_png(record['regions'], f'{name}, its superpixels', ('I;16',))
        if found['regions'].shape != label.shape:
            raise DataError(f'{name}: its superpixels are of another size than its image; remove their file')
    if 'encoded' in record:
        found['encoded'] = _maps(record['encoded'], name)
    if not record.get(HAS_NODATA):
        return found
    return {**found, 'label': np.where(label == NODATA, VOID, label).astype(np.uint8), 'mask': label != NODATA}


def _maps(stored: bytes, name: str) -> np.ndarray:
    try:
        found = np.load(io.BytesIO(stored), allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise DataError(f'{name}, its features of the encoder: {error}; remove their file') from error
    if found.ndim != 3 or found.dtype != np.float16:
        raise DataError(f'{name}: its features of the encoder are {found.ndim} axes of {found.dtype}; remove their file')
    return found


def _bands(side_by_side: np.ndarray, width: int, name: str) -> np.ndarray:
    """Bands of this width, as `images.encode_png` stores more than four, one behind the other."""
    count, rest = divmod(side_by_side.shape[1], width)
    if rest or count <= 4:
        raise DataError(
            f'{name}, its image: expected RGB, RGBA, or more than four bands of {width} pixels side by side, found '
            f'{side_by_side.shape[1]} pixels; prepare the data again'
        )
    return np.stack(np.split(side_by_side, count, axis=1), axis=-1)


class RandomCrop(grain.transforms.RandomMap):
    """A crop of a size at a random place, without the id, which does not travel to the device.

    cell: crops begin at multiples of so many pixels, which one cell of `encoded` stands for.
    """

    def __init__(self, size: Size, boxes: bool = False, cell: int = 1):
        self._sides, self._boxes, self._cell = sides(size), boxes, cell

    def random_map(self, element: Example, rng: np.random.Generator) -> Example:
        whole, cell = _checked_size(element, self._sides), self._cell
        corner = [cell * int(rng.integers((length - side) // cell + 1)) for length, side in zip(whole, self._sides, strict=True)]
        found = _cut(element, *corner, *self._sides)
        if 'encoded' in element:
            found['encoded'] = _cells(element, *corner, *self._sides, cell)
        if not self._boxes:
            return found
        (height, width), (row, column) = whole, corner
        return {**found, 'box': np.float32([row / height, column / width, self._sides[0] / height, self._sides[1] / width])}


def training_iterator(
    examples: Sequence[Example],
    *,
    crop_size: Size,
    batch_size: int,
    seed: int,
    mask_void: bool = False,
    boxes: bool = False,
    cell: int = 1,
    micro_batches: int = 1,
    start: int = 0,
    read_threads: int = 4,
    workers: int = 0,
    process_index: int = 0,
    process_count: int = 1,
) -> Iterator[Example]:
    """This process's part of endless batches of random crops, from batch number `start` on.

    The examples are shuffled anew for each pass, and batches go on over its end, see `epochs.Epochs`.

    `batch_size` is that of all processes together, and a global batch is the same on any number of them: elements depend
    on `seed` and on their place in the order only, not on threads, workers or processes. So a step's number is all that is
    needed to go on. With more than one of `micro_batches` these are the first axis. `mask_void` leaves what is labelled VOID out
    of the batches' mask too, as pixels without data always are; IIC does so on COCO-Stuff, where pixels outside the classes of
    interest are no part of the task. It uses the labels' outlines, so it is off where nothing says so. `boxes` adds where in its
    image each crop is. `cell`: see `RandomCrop`. Raises DataError if there are fewer examples than one batch.
    """
    if len(examples) < batch_size:
        raise DataError(
            f'{len(examples)} training examples are fewer than a batch of {batch_size}; lower --config.pipeline.batch_size'
        )
    data = (
        grain.MapDataset.source(examples).seed(seed).shuffle().repeat().map(decode).random_map(RandomCrop(crop_size, boxes, cell))
    )
    data = data.map(_numbered_anew)
    data = data.map(_with_mask) if mask_void else data
    # Batch number n is made of the parts n * parts to (n + 1) * parts - 1, and every process takes its own ones.
    data = data.batch(batch_size // (micro_batches * process_count), drop_remainder=True)
    data = data[start * micro_batches * process_count + process_index :: process_count]
    data = data.batch(micro_batches) if micro_batches > 1 else data
    data = data.to_iter_dataset(grain.ReadOptions(num_threads=read_threads, prefetch_buffer_size=2 * max(1, read_threads)))
    if workers:
        data = data.mp_prefetch(grain.MultiprocessingOptions(num_workers=workers), processes.end_worker_with_parent)
    return iter(data)


def evaluation_batches(
    examples: Sequence[Example], *, crop_size: Size, batch_size: int, process_index: int = 0, process_count: int = 1
) -> Iterator[Example]:
    """All examples once, in order: centre crops of `crop_size` pixels, or whole images of one size if it is 0.

    Every process yields the same number of full batches; what is missing is filled with images labelled VOID, which no
    score counts. Batches have a mask if pixels may be without data. Raises DataError for images of different sizes where they are
    not cropped.
    """
    own = grain.MapDataset.source(examples)[process_index::process_count].map(decode).map(lambda x: _centre(x, crop_size))
    rounds = -(-len(examples) // (process_count * batch_size))
    iterator = iter(own.to_iter_dataset())
    first = None  # of all processes alike: what one batch has all have
    for _ in range(rounds):
        batch = list(itertools.islice(iterator, batch_size))
        first = first or (batch[0] if batch else _centre(decode(examples[0]), crop_size))
        size = first['image'].shape
        for element in batch:
            if element['image'].shape != size:
                raise DataError(
                    f'example {element["id"]!r} is {element["image"].shape[1]} x {element["image"].shape[0]} pixels, others '
                    f'{size[1]} x {size[0]}; set --config.evaluation.crop_size, or data.block_size to cut images into blocks'
                )
        missing = batch_size - len(batch)
        images = [element['image'] for element in batch] + [np.zeros(size, np.uint8)] * missing
        labels = [element['label'] for element in batch] + [np.full(size[:2], VOID, np.uint8)] * missing
        found = {'image': np.stack(images), 'label': np.stack(labels)}
        if 'mask' in first:
            found['mask'] = np.stack([element['mask'] for element in batch] + [np.zeros(size[:2], bool)] * missing)
        yield found


def evaluation_places(count: int, *, batch_size: int, process_count: int = 1) -> Iterator[Int[np.ndarray, 'batch']]:
    """Of `count` examples, the number of the one at each place of the global batches of `evaluation_batches`; -1 if it is filled.

    `batch_size` is that of one process, as there.
    """
    for first in range(0, -(-count // process_count), batch_size):
        own = first + np.arange(batch_size)
        places = (own[None] * process_count + np.arange(process_count)[:, None]).reshape(-1)
        yield np.where(places < count, places, -1)


def evenly_spread(count: int, most: int) -> list[int]:
    """The places of up to `most` of so many examples, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, most).round().astype(int)).tolist()


def covered(example: Example) -> Bool[np.ndarray, 'height width']:
    """Which pixels of a decoded example have data."""
    return example['mask'] if 'mask' in example else np.ones(example['label'].shape, bool)


def _numbered_anew(element: Example) -> Example:
    """With the regions of a crop numbered from 0, so that there are no more numbers than pixels."""
    if 'regions' not in element:
        return element
    found = np.unique(element['regions'], return_inverse=True)[1]
    return {**element, 'regions': found.reshape(element['regions'].shape).astype(np.int32)}


def _with_mask(element: Example) -> Example:
    return {**element, 'mask': (element['label'] != VOID) & element.get('mask', True)}


def _centre(element: Example, size: Size) -> Example:
    if not size:
        return element
    height, width = sides(size)
    whole = _checked_size(element, (height, width))
    return {'id': element['id'], **_cut(element, (whole[0] - height) // 2, (whole[1] - width) // 2, height, width)}


def _cut(element: Example, row: int, column: int, height: int, width: int) -> Example:
    place = np.s_[row : row + height, column : column + width]
    return {part: element[part][place] for part in ('image', 'label', 'mask', 'regions') if part in element}


def _cells(element: Example, row: int, column: int, height: int, width: int, cell: int) -> np.ndarray:
    """Of `encoded`, the part of a crop that begins with a cell."""
    maps, expected = element['encoded'], tuple(-(-side // cell) for side in element['label'].shape)
    if maps.shape[:2] != expected:
        raise DataError(
            f'example {element["id"]!r} has {maps.shape[:2]} cells of features, expected {expected}; remove their file'
        )
    return maps[row // cell : -(-(row + height) // cell), column // cell : -(-(column + width) // cell)]


def _checked_size(element: Example, crop: tuple[int, int]) -> tuple[int, int]:
    """Height and width of an example; DataError if a crop of this height and width does not fit into it."""
    height, width = element['label'].shape
    if height < crop[0] or width < crop[1]:
        raise DataError(
            f'example {element["id"]!r} is {width} x {height} pixels, smaller than the crop of {crop[1]} x {crop[0]}; lower '
            '--config.pipeline.crop_size (and evaluation.crop_size)'
        )
    return height, width
