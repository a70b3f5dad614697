"""ShapeStacks (Groth et al. 2018) with the instance masks that GENESIS (Engelcke et al. 2020) and AST score with.

Below the root, as the archives unpack:

    splits/<list>/{train,eval,test}.txt                                     names of scenarios, one a line
    recordings/<scenario>/rgb-<...>-cam_<c>-mono-0.png                      224 x 224 pixels
    iseg/<scenario>/iseg-w=0-f=0-l=0-c=original-cam_<c>-mono-0.map          the masks, of a download of its own

A .map file is an image whose first channel, divided by 32 and rounded down, is the number of the object, 0 for the background.
"""

import dataclasses
import re
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from ar_seg_jax.data import images, instance_masks, limits
from ar_seg_jax.data.builder import SegmentationBuilder, SegmentationConfig, config_name, example, existing_directory
from ar_seg_jax.data.limits import DataError
from ar_seg_jax.data.prepared import stamps

_LISTS = {'train': 'train', 'val': 'eval', 'test': 'test'}  # file of each split
_CROP = 196  # pixels of the square from the middle
_LEVELS = 32  # grey levels from one object to the next
_CAMERA = re.compile(r'rgb-.*-cam_(\w+)-mono-0\.png')


@dataclasses.dataclass(eq=False, kw_only=True, repr=False)
class ShapestacksConfig(SegmentationConfig):
    files: dict[str, list[tuple[Path, Path | None]]]  # images of each split, with their masks
    size: int


class Shapestacks(SegmentationBuilder):
    """Stacks of blocks, cylinders and balls, with the numbers of these. See `builder` for the options."""

    builder_config: ShapestacksConfig

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(files) for split, files in self.builder_config.files.items()}

    def _generate_examples(self, files: list[tuple[Path, Path | None]]):
        size = self.builder_config.size
        for path, mask in files:
            image, label = images.read_image(path), None
            if mask is not None:
                label = _read_map(mask)
                images.check_same_size(mask, label, image)
                label = images.nearest(images.middle(label, _CROP), size, size)
                label = instance_masks.numbered(mask, label)
            if min(image.shape[:2]) < _CROP:
                raise DataError(f'{path}: expected 224 x 224 pixels, found {image.shape[1]} x {image.shape[0]}; fetch it again')
            yield example(f'{path.parent.name}/{path.stem}', images.resize(images.middle(image, _CROP), size, size), label)


def builder(*, data_dir: str, root: str, size: int = 64, lists: str = 'default', masks: bool = True) -> Shapestacks:
    """Builder for images of `size` x `size` pixels; splits train, val (eval.txt) and test, as GENESIS and AST have them.

    A square of 196 pixels is cut from the middle; the image is resized bilinear with antialiasing (Pillow), the mask nearest as
    PyTorch's `interpolate`.

    lists: the directory of the lists below splits: default, blocks_all or css_all. masks: False does without the masks.

    Raises DataError for what is missing or does not fit. Prepared files depend on the options, the lists and the names, sizes and
    times of the files.
    """
    directory = existing_directory(root, 'set --config.data.root to the directory of ShapeStacks with recordings and splits')
    if size < 1:
        raise DataError(f'data.size is a number of pixels, found {size}')
    place = existing_directory(
        directory / 'splits' / lists, 'unpack the splits of ShapeStacks, or set --config.data.lists to one'
    )
    files = {split: _files(directory, place / f'{name}.txt', masks) for split, name in _LISTS.items()}
    sources = stamps(path for pairs in files.values() for pair in pairs for path in pair if path is not None)
    config = ShapestacksConfig(
        name=config_name(f'shapestacks-{lists}-{size}', root=directory, size=size, lists=lists, masks=masks, stamps=sources),
        sources=sources,
        classes=(),
        instances=True,
        rescale=size / _CROP,
        files=files,
        size=size,
    )
    return Shapestacks(config=config, data_dir=data_dir)


def _files(root: Path, table: Path, masks: bool) -> list[tuple[Path, Path | None]]:
    """Images of the scenarios of a list, with their masks."""
    limits.check_file(table)
    scenarios = table.read_text(encoding='utf-8').split()
    pairs = []
    for scenario in scenarios:
        place = existing_directory(root / 'recordings' / scenario, f'{table} lists it; complete the download')
        for path in sorted(place.glob('rgb-*-mono-0.png')):
            pairs.append((path, _mask(root, scenario, path) if masks else None))
    if not pairs:
        raise DataError(f'{table}: its {len(scenarios)} scenarios have no images recordings/<scenario>/rgb-*-mono-0.png')
    return pairs


def _mask(root: Path, scenario: str, path: Path) -> Path:
    found = _CAMERA.fullmatch(path.name)
    if not found:
        raise DataError(f'{path}: expected a name as rgb-<...>-cam_<c>-mono-0.png; remove the file')
    mask = root / 'iseg' / scenario / f'iseg-w=0-f=0-l=0-c=original-cam_{found[1]}-mono-0.map'
    if not mask.exists():
        raise DataError(f'{mask}: no such file; unpack the instance masks of ShapeStacks, or set --config.data.masks=False')
    return mask


def _read_map(path: Path) -> UInt8[np.ndarray, 'height width']:
    """The numbers of objects, by the formula of its authors' loader."""
    with images.open_image(path) as image:
        return np.array(image.convert('RGB'))[..., 0] // _LEVELS
