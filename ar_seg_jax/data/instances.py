"""Any folder of images with masks of instances, such as objects or cells.

The layout is one of these three:

    images/*                    one image per id (jpg, png, tif, bmp, webp), at any depth
    masks/<id>.png              its objects by their numbers, a palette or greyscale image: 0 is the background, 255 not annotated
    masks/<id>/*.png            or one mask for each object, whose pixels are those that are not 0

    <id>/images/*               an image, as the Data Science Bowl 2018 has it
    <id>/masks/*.png            one mask for each of its objects

    *                           images alone, at any depth, such as the frames of a video; no directory is called masks

An optional splits.csv, see `split_table`, says what is trained on. Images without masks count as not annotated.
"""

import dataclasses
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from ar_seg_jax.data import blocks, images, instance_masks, listing, prepared, split_table
from ar_seg_jax.data.builder import SegmentationBuilder, SegmentationConfig, config_name, example, existing_directory
from ar_seg_jax.data.limits import DataError
from ar_seg_jax.interfaces import Size

_ADVICE = 'ar_seg_jax/data/instances.py has the layouts'


Masks = Path | list[Path]  # of an image: one file with the numbers of all objects, or one for each


@dataclasses.dataclass(eq=False, kw_only=True, repr=False)
class InstancesConfig(SegmentationConfig):
    files: dict[str, list[tuple[str, Path]]]  # (id, image file) of each split
    masks: dict[str, Masks]  # by id
    size: tuple[int, ...]
    block_size: int


class Instances(SegmentationBuilder):
    """Images of a folder with the numbers of their objects. See `builder` for the options."""

    builder_config: InstancesConfig

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(files) for split, files in self.builder_config.files.items()}

    def _generate_examples(self, files: list[tuple[str, Path]]):
        config = self.builder_config
        for identifier, path in files:
            image, label = images.read_image(path), None
            if identifier in config.masks:
                label = _label(config.masks[identifier], image)
            if any(config.size):
                images.check_rescaled(path, image, 1.0, config.shorter_side)
                image = _sized(image, config.size)
                label = None if label is None else _sized(label, config.size, label=True)
            if not config.block_size:
                yield example(identifier, image, _numbered(path, label))
                continue
            for row, column, block, part in blocks.cut(path, image, label, config.block_size, 'drop'):
                yield example(f'{identifier}_{row}_{column}', block, _numbered(path, part))


def builder(*, data_dir: str, root: str, size: Size = 0, block_size: int = 0, val_share: float = 0.1, seed: int = 0) -> Instances:
    """Builder for the folder `root`; splits are those of its splits.csv, or train and val.

    size: images get so many pixels on their shorter side and are cut to a square around the centre, see `images.square`; or,
        of two numbers, this height and width, whatever becomes of their proportions; 0 keeps them as they are.
    block_size: images are cut into square blocks of so many pixels instead, from the top left, and what is left over is not
        used; 0 keeps them whole.
    val_share: of the images that are drawn with `seed` for the split val where no splits.csv says what is trained on.

    Raises DataError for what is missing or does not fit. Prepared files depend on the options and on the names, sizes and times
    of the files, so a changed folder is prepared anew.
    """
    directory = existing_directory(root, 'set --config.data.root to the folder with your images')
    numbers = (size,) if isinstance(size, int) else tuple(size)
    if min(*numbers, block_size) < 0 or (any(numbers) and block_size):
        raise DataError(f'data.size and data.block_size are numbers of pixels, and one is 0; found {size} and {block_size}')
    if len(numbers) > 2 or (len(numbers) == 2 and not all(numbers)):
        raise DataError(f'data.size is the side of squares, or (height, width), in pixels; found {size}')
    files, masks = _files(directory)
    splits = split_table.read(directory / 'splits.csv', files, directory) or _drawn(directory, files, val_share, seed)
    mask_files = [path for found in masks.values() for path in (found if isinstance(found, list) else [found])]
    side = numbers[0] if len(numbers) == 1 else 0
    options = {'size': side if len(numbers) == 1 else numbers, 'block_size': block_size}
    stamps = prepared.stamps([*files.values(), *mask_files])
    name = config_name(
        directory.name,
        root=directory,
        splits={split: [identifier for identifier, _ in pairs] for split, pairs in splits.items()},
        stamps=stamps,
        **options,
    )
    config = InstancesConfig(
        name=name,
        classes=(),
        instances=True,
        shorter_side=side,
        files=splits,
        masks=masks,
        size=numbers,
        block_size=block_size,
        sources=stamps,
    )
    return Instances(config=config, data_dir=data_dir)


def _files(directory: Path) -> tuple[dict[str, Path], dict[str, Masks]]:
    """Images and masks by id, in any of the layouts; DataError for masks without an image."""
    if not (directory / 'images').is_dir():
        alone = not any(path.name in ('images', 'masks') for path in directory.rglob('*') if path.is_dir())
        return (listing.by_identifier(directory), {}) if alone else _of_directories(directory)
    files, masks = listing.by_identifier(directory / 'images'), {}
    for identifier in files:
        one, several = directory / 'masks' / f'{identifier}.png', directory / 'masks' / identifier
        if one.exists():
            masks[identifier] = one
        elif several.is_dir():
            masks[identifier] = sorted(several.glob('*.png'))
    known = {directory / 'masks' / f'{identifier}{ending}' for identifier in files for ending in ('', '.png')}
    for path in sorted((directory / 'masks').glob('*')):
        if not path.name.startswith('.') and path not in known and not any(path in other.parents for other in known):
            raise DataError(f'{path}: no image has this name; an image is images/<id>.*, its masks masks/<id>.png; {_ADVICE}')
    return files, masks


def _of_directories(directory: Path) -> tuple[dict[str, Path], dict[str, Masks]]:
    """Those of a folder in which each image has a directory."""
    files, masks = {}, {}
    for place in sorted(path.parent for path in directory.glob('*/images')):
        found = listing.find_images(place / 'images')
        if len(found) > 1:
            raise DataError(f'{place / "images"}: expected one image, found {len(found)}; {_ADVICE}')
        files[place.name] = found[0]
        if (place / 'masks').is_dir():
            masks[place.name] = sorted((place / 'masks').glob('*.png'))
    if not files:
        raise DataError(f'{directory}: expected a directory images/, or <id>/images/ for every image, found none; {_ADVICE}')
    return files, masks


def _sized(
    image: UInt8[np.ndarray, 'height width *channels'], size: tuple[int, ...], label: bool = False
) -> UInt8[np.ndarray, '_ _ *channels']:
    """A square of a side, or all of the image at a height and width."""
    return images.square(image, *size, label=label) if len(size) == 1 else images.resize(image, *size, label=label)


def _drawn(directory: Path, files: dict[str, Path], share: float, seed: int) -> dict[str, list[tuple[str, Path]]]:
    """Splits by chance."""
    count = round(share * len(files))
    if not 0 <= count < len(files):
        raise DataError(
            f'{directory}: data.val_share={share} of {len(files)} images leaves none to train on; it is a share from 0 to 1. '
            'Lower it, or write a splits.csv'
        )
    val = set(np.random.default_rng(seed).permutation(list(files))[:count])
    splits = {'train': [], 'val': []}
    for identifier, path in files.items():
        splits['val' if identifier in val else 'train'].append((identifier, path))
    return {split: chosen for split, chosen in splits.items() if chosen}


def _label(masks: Masks, image: UInt8[np.ndarray, 'height width 3']) -> UInt8[np.ndarray, 'height width']:
    if isinstance(masks, list):
        return instance_masks.merged(masks, image)
    label = images.read_ids(masks)
    images.check_same_size(masks, label, image)
    return label


def _numbered(path: Path, label: UInt8[np.ndarray, 'height width'] | None) -> UInt8[np.ndarray, 'height width'] | None:
    return None if label is None else instance_masks.numbered(path, label)
