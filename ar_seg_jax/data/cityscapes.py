"""Cityscapes with 27 classes, as PiCIE (Cho et al. 2021) and those after it have it: street scenes from a car.

Below the root, as the packages of the download unpack:

    leftImg8bit/<split>/<city>/<name>_leftImg8bit.png     2048 x 1024 pixels; leftImg8bit_trainvaltest, _trainextra
    gtFine/<split>/<city>/<name>_gtFine_labelIds.png      ids 0 to 33; gtFine_trainvaltest
    gtCoarse/train_extra/<city>/<name>_gtCoarse_labelIds.png                gtCoarse
"""

import dataclasses
from pathlib import Path

from ar_seg_jax.data import images
from ar_seg_jax.data.builder import SegmentationBuilder, SegmentationConfig, config_name, example, existing_directory
from ar_seg_jax.data.classes import STUFF, THINGS, Class
from ar_seg_jax.data.limits import DataError
from ar_seg_jax.interfaces import VOID

# By id, from _FIRST on, with the colours of the data set. Things are the classes of which it has instances.
_FIRST = 7  # those before are borders of the image, the car itself, and whatever is none of the classes
CLASSES = (
    Class('road', (128, 64, 128), STUFF),
    Class('sidewalk', (244, 35, 232), STUFF),
    Class('parking', (250, 170, 160), STUFF),
    Class('rail track', (230, 150, 140), STUFF),
    Class('building', (70, 70, 70), STUFF),
    Class('wall', (102, 102, 156), STUFF),
    Class('fence', (190, 153, 153), STUFF),
    Class('guard rail', (180, 165, 180), STUFF),
    Class('bridge', (150, 100, 100), STUFF),
    Class('tunnel', (150, 120, 90), STUFF),
    Class('pole', (153, 153, 153), STUFF),
    Class('polegroup', (153, 153, 153), STUFF),
    Class('traffic light', (250, 170, 30), STUFF),
    Class('traffic sign', (220, 220, 0), STUFF),
    Class('vegetation', (107, 142, 35), STUFF),
    Class('terrain', (152, 251, 152), STUFF),
    Class('sky', (70, 130, 180), STUFF),
    Class('person', (220, 20, 60), THINGS),
    Class('rider', (255, 0, 0), THINGS),
    Class('car', (0, 0, 142), THINGS),
    Class('truck', (0, 0, 70), THINGS),
    Class('bus', (0, 60, 100), THINGS),
    Class('caravan', (0, 0, 90), THINGS),
    Class('trailer', (0, 0, 110), THINGS),
    Class('train', (0, 80, 100), THINGS),
    Class('motorcycle', (0, 0, 230), THINGS),
    Class('bicycle', (119, 11, 32), THINGS),
)
_LABELS = dict.fromkeys(range(_FIRST), VOID) | {_FIRST + index: index for index in range(len(CLASSES))}
_ANNOTATIONS = {'train': 'gtFine', 'val': 'gtFine', 'test': 'gtFine', 'train_extra': 'gtCoarse'}  # kind of each split's labels
_OPTIONAL = ('test', 'train_extra')  # whose labels are withheld, or a download of their own


@dataclasses.dataclass(eq=False, kw_only=True, repr=False)
class CityscapesConfig(SegmentationConfig):
    files: dict[str, dict[Path, Path | None]]  # images of each split, with their label maps


class Cityscapes(SegmentationBuilder):
    """Squares from the middle of the images. See `builder` for the options."""

    builder_config: CityscapesConfig

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split) for split in self.builder_config.files}

    def _generate_examples(self, split: str):
        config = self.builder_config
        side = config.shorter_side
        for path, label_path in config.files[split].items():
            image, label = images.read_image(path), None
            if label_path is not None:
                ids = images.read_ids(label_path)
                images.check_same_size(label_path, ids, image)
                label = images.map_ids(label_path, ids, _LABELS)
            if side:
                images.check_rescaled(path, image, 1.0, side)
                image = images.square(image, side)
                label = None if label is None else images.square(label, side, label=True)
            yield example(_name(path), image, label)


def builder(*, data_dir: str, root: str, side: int = 320) -> Cityscapes:
    """Builder for Cityscapes; splits train, val, test and train_extra, as far as leftImg8bit has them.

    PiCIE's code trains on test+train_extra, without labels, and scores train+val; others, such as STEGO, train on train and score
    val.

    side: images get so many pixels on their shorter side and are cut to a square around the centre, see `images.square`; 0
        keeps them as they are. PiCIE trains on 640 pixels, which its views shrink to 320, and scores at 320; here all splits
        have the same size.

    Images of test and train_extra without labels count as not annotated; train and val have labels. Raises DataError for what
    is missing or does not fit. Prepared files depend on the options and on the names of the files, so a completed download is
    prepared anew.
    """
    directory = existing_directory(root, 'set --config.data.root to the directory of Cityscapes, see docs/data_sets.md')
    if side < 0:
        raise DataError(f'data.side is a number of pixels, or 0 to keep images as they are; found {side}')
    found = _splits(directory)
    names = {split: [(path.name, label is not None) for path, label in pairs.items()] for split, pairs in found.items()}
    name = config_name('cityscapes27', root=directory, side=side, names=names)
    config = CityscapesConfig(name=name, classes=CLASSES, shorter_side=side, files=found)
    return Cityscapes(config=config, data_dir=data_dir)


def _splits(root: Path) -> dict[str, dict[Path, Path | None]]:
    """Images of the splits that are there, each with its label map or None."""
    splits = [split for split in _ANNOTATIONS if (root / 'leftImg8bit' / split).is_dir()]
    if not splits:
        raise DataError(
            f'{root}: no directory leftImg8bit/train, val, test or train_extra; unpack leftImg8bit_trainvaltest and '
            'gtFine_trainvaltest of the Cityscapes download there'
        )
    return {split: _files(root, split) for split in splits}


def _files(root: Path, split: str) -> dict[Path, Path | None]:
    """Those of a split, by the names of the images."""
    folder, kind = root / 'leftImg8bit' / split, _ANNOTATIONS[split]
    maps = root / kind / split
    paths = sorted(folder.glob('*/*_leftImg8bit.png'))
    if not paths:
        raise DataError(f'{folder}: no images <city>/<name>_leftImg8bit.png; unpack the download again, or remove the directory')
    if not maps.is_dir() and split in _OPTIONAL:
        return dict.fromkeys(paths)
    existing_directory(maps, f'unpack the package with {kind}/{split} of the Cityscapes download below --config.data.root')
    label_paths = [maps / path.parent.name / f'{_name(path)}_{kind}_labelIds.png' for path in paths]
    there = set(maps.glob(f'*/*_{kind}_labelIds.png'))
    if missing := [path for path in label_paths if path not in there]:
        raise DataError(
            f'{maps}: {len(missing)} of {len(paths)} label maps are missing, the first is {missing[0].relative_to(maps)}; '
            'complete the download'
        )
    return dict(zip(paths, label_paths, strict=True))


def _name(path: Path) -> str:
    """'aachen_000000_000019' of an image."""
    return path.name.removesuffix('_leftImg8bit.png')
