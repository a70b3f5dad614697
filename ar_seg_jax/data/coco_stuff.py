"""COCO-Stuff in the versions of IIC (Ji et al. 2019), 15 coarse stuff classes or 3 of them, and PiCIE (Cho et al. 2021), all 27.

Below the root: train2017/*.jpg, val2017/*.jpg and stuffthingmaps/{train2017,val2017}/*.png, whose pixels are the 182 fine
ids, counted from 0, and 255 where nothing is labelled.
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from ar_seg_jax.data import images
from ar_seg_jax.data.builder import SegmentationBuilder, SegmentationConfig, config_name, example, existing_directory
from ar_seg_jax.data.classes import STUFF, THINGS, Class, colours
from ar_seg_jax.data.limits import DataError
from ar_seg_jax.interfaces import VOID

FINE_IDS = 182
# Name and fine ids of the coarse classes, in IIC's order: 12 of things, then 15 of stuff. Every fine id is in one.
COARSE = (
    ('electronic', range(71, 77)),
    ('appliance', range(77, 83)),
    ('food', range(51, 61)),
    ('furniture', range(61, 71)),
    ('indoor', range(83, 91)),
    ('kitchen', range(43, 51)),
    ('accessory', range(25, 33)),
    ('animal', range(15, 25)),
    ('outdoor', range(9, 15)),
    ('person', (0,)),
    ('sports', range(33, 43)),
    ('vehicle', range(1, 9)),
    ('ceiling', (101, 102)),
    ('floor', (100, 113, 114, 115, 116, 117)),
    ('food-stuff', (120, 121, 152, 169)),
    ('furniture-stuff', (97, 106, 107, 109, 111, 122, 129, 132, 155, 160, 164)),
    ('raw material', (99, 131, 138, 142)),
    ('textile', (91, 92, 103, 104, 108, 130, 136, 140, 151, 166, 167)),
    ('wall', range(170, 177)),
    ('window', (179, 180)),
    ('building', (94, 95, 127, 150, 157, 165)),
    ('ground', (110, 124, 125, 135, 139, 143, 144, 146, 148, 153, 158)),
    ('plant', (93, 96, 118, 123, 128, 133, 141, 162, 168)),
    ('sky', (105, 156)),
    ('solid', (126, 134, 149, 159, 161, 181)),
    ('structural', (98, 112, 137, 145, 163)),
    ('water', (119, 147, 154, 177, 178)),
)
_THINGS, _STUFF = range(12), range(12, 27)
# Coarse classes of each version, in the order of its labels.
_VERSIONS = {27: (*_THINGS, *_STUFF), 15: tuple(_STUFF), 3: (23, 22, 21)}
_SMALLEST_SIDE = 360  # pixels
# Of pixels in the classes of interest, by version. 3: inferred, since no source has it. Of 22 images with labels whose place in
# IIC's list is known, those in it have from 50.6 % on, those that are not up to 48.1 % (tests/data/test_coco_stuff.py).
_SMALLEST_SHARE = {27: 0.75, 15: 0.75, 3: 0.5}
_SKY = 0  # label in the version of 3 classes


@dataclasses.dataclass(eq=False, kw_only=True, repr=False)
class CocoStuffConfig(SegmentationConfig):
    root: Path
    lists: dict[str, str]
    crop_size: int
    geometry: str
    unlabelled: str


class CocoStuff(SegmentationBuilder):
    """Images of the curated lists, smaller. See `builder` for the options."""

    builder_config: CocoStuffConfig

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split) for split in ('train', 'val')}

    def _generate_examples(self, split: str):
        config = self.builder_config
        mapping = label_mapping(len(config.classes))
        if config.unlabelled == 'sky':
            mapping[VOID] = _SKY
        kept = 0
        for identifier, image_path, label_path in self._files(split):
            ids = images.read_ids(label_path)
            if not config.lists[split] and not _of_interest(ids, len(config.classes)):
                continue
            image = images.read_image(image_path)
            images.check_same_size(label_path, ids, image)
            yield example(identifier, *self._sized(image_path, image, images.map_ids(label_path, ids, mapping)))
            kept += 1
        if not kept:
            rule = 'no image passes the rule (sides, share of classes)'
            reason = f'{config.lists[split]} lists no ids' if config.lists[split] else rule
            raise DataError(f'{config.root}: split {split!r} is empty: {reason}')

    def _sized(self, path: Path, image: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Image and label map at the size of the geometry."""
        config = self.builder_config
        if config.geometry == 'picie':
            images.check_rescaled(path, image, 1.0, config.crop_size)
            return images.square(image, config.crop_size), images.square(label, config.crop_size, label=True)
        resize = images.resample if config.geometry == 'iic' else images.rescale
        image, label = resize(image, config.rescale), resize(label, config.rescale, label=True)
        return _padded(image, label, config.crop_size, centred=config.geometry == 'iic')

    def _files(self, split: str) -> Iterator[tuple[str, Path, Path]]:
        """Id, image and label map of the images of a split, those of its list if there is one."""
        config = self.builder_config
        folder, maps = config.root / f'{split}2017', config.root / 'stuffthingmaps' / f'{split}2017'
        for directory in (folder, maps):
            existing_directory(directory, 'unpack the COCO 2017 images and stuffthingmaps below --config.data.root')
        present = {path.stem: path for path in sorted(folder.glob('*.jpg'))}
        names = list(present)
        if config.lists[split]:
            names = list(dict.fromkeys(Path(config.lists[split]).read_text(encoding='utf-8').split()))
            missing = [name for name in names if name not in present]
            if missing:
                raise DataError(
                    f'{config.lists[split]}: {len(missing)} of {len(names)} listed images are not in {folder}, the first is '
                    f'{missing[0]}; complete the download or use a shorter list'
                )
        return ((name, present[name], maps / f'{name}.png') for name in names)


def builder(
    *,
    data_dir: str,
    root: str,
    num_classes: int = 15,
    train_list: str = '',
    val_list: str = '',
    rescale: float = 0.33,
    crop_size: int = 128,
    geometry: str = 'antialiased',
    unlabelled: str = 'void',
) -> CocoStuff:
    """Builder for COCO-Stuff with 27, 15 or 3 classes (sky, plant, ground); splits train and val.

    train_list, val_list: files with the ids of the images to use, one a line: IIC's curated lists, of which PiCIE and those
        after it take the one for 15 classes (Coco164kFull_Stuff_Coarse_7) for 27 too. Where they are not given they are rebuilt
        by IIC's rule for this list: both sides at least 360 pixels, and 75 % of the pixels in the 15 stuff classes. The rule of
        the list for 3 classes is not recorded; 50 % of the pixels in the three classes is inferred from images whose place in
        it is known.
    rescale: factor on the size, of labels to the nearest.
    crop_size: smaller images are padded with black, unlabelled pixels to this size.
    geometry: 'antialiased' (bilinear with antialiasing; padding at the right and at the bottom), 'iic' (bilinear without, see
        `images.resample`; padding on all sides), which is what IIC's published runs saw, or 'picie': squares of `crop_size`
        pixels from the middle of images whose shorter side has as many, see `images.square`. `rescale` has no say then. PiCIE
        trains on 640 pixels, which its views shrink to 320, and scores at 320; here both splits have the same size.
    unlabelled: 'void', or 'sky' for IIC's code, whose table of 3 classes has sky where nothing is labelled, and so lets these
        pixels count in loss and score. Only for 3 classes.

    Pixels outside the classes are VOID. Raises DataError for what is missing or does not fit. Prepared files depend on the
    options and on the lists, or on the names of the images where there is no list, so a completed download is prepared anew.
    """
    if num_classes not in _VERSIONS:
        raise DataError(f'COCO-Stuff comes with 3, 15 or 27 classes, found data.num_classes={num_classes}')
    if geometry not in ('antialiased', 'iic', 'picie'):
        raise DataError(f"data.geometry is 'antialiased', 'iic' or 'picie', found {geometry!r}")
    if geometry == 'picie' and crop_size < 1:
        raise DataError(f"data.geometry 'picie' needs data.crop_size, the side of its squares in pixels; found {crop_size}")
    if unlabelled != 'void' and (unlabelled, num_classes) != ('sky', 3):
        raise DataError(f"data.unlabelled is 'void' or, for 3 classes, 'sky'; found {unlabelled!r} for {num_classes} classes")
    directory = existing_directory(root, 'set --config.data.root to the directory of COCO, see docs/data_sets.md')
    lists = {'train': train_list, 'val': val_list}
    for path in filter(None, lists.values()):
        if not Path(path).is_file():
            raise DataError(f'{path}: no such list of image ids')
    options = {'root': directory, 'lists': lists, 'rescale': rescale, 'crop_size': crop_size, 'geometry': geometry}
    options |= {'unlabelled': unlabelled}
    contents = [
        Path(path).read_text(encoding='utf-8')
        if path
        else sorted(image.name for image in (directory / f'{split}2017').glob('*.jpg'))
        for split, path in lists.items()
    ]
    name = config_name(f'coco_stuff{num_classes}', num_classes=num_classes, contents=contents, **options)
    side = crop_size if geometry == 'picie' else 0
    config = CocoStuffConfig(name=name, classes=_classes(num_classes), shorter_side=side, **options)
    return CocoStuff(config=config, data_dir=data_dir)


def label_mapping(num_classes: int) -> dict[int, int]:
    """Label of each of the 182 fine ids in a version; VOID for those outside it."""
    mapping = dict.fromkeys(range(FINE_IDS), VOID)
    for label, coarse in enumerate(_VERSIONS[num_classes]):
        mapping |= dict.fromkeys(COARSE[coarse][1], label)
    return mapping


def _classes(num_classes: int) -> tuple[Class, ...]:
    """Those of a version. The groups are of the version that has both."""
    coarse = _VERSIONS[num_classes]
    groups = [THINGS if index in _THINGS else STUFF for index in coarse] if num_classes == 27 else [''] * num_classes
    return tuple(map(Class, [COARSE[index][0] for index in coarse], colours(num_classes), groups))


def _of_interest(ids: UInt8[np.ndarray, 'height width'], num_classes: int) -> bool:
    """IIC's rule for its curated lists."""
    coarse = _VERSIONS[3] if num_classes == 3 else _STUFF
    wanted = [fine for index in coarse for fine in COARSE[index][1]]
    share = np.isin(ids, wanted).mean()
    return min(ids.shape) >= _SMALLEST_SIDE and bool(share >= _SMALLEST_SHARE[num_classes])


def _padded(image: np.ndarray, label: np.ndarray, size: int, centred: bool) -> tuple[np.ndarray, np.ndarray]:
    """Both at least of `size` pixels a side. Padding is unlabelled, also where the unlabelled pixels of the image are sky."""
    missing = [max(0, size - length) for length in label.shape]
    missing = [(length // 2, length - length // 2) if centred else (0, length) for length in missing]
    return np.pad(image, [*missing, (0, 0)]), np.pad(label, missing, constant_values=VOID)
