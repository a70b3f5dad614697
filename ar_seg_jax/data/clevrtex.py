"""CLEVRTEX (Karazija et al. 2021) as it is published: objects of many materials on textured ground.

Below the root, or the root itself, is a directory clevrtex_<variant> with

    **/CLEVRTEX_<variant>_<six digits>.png         320 x 240 pixels
    **/CLEVRTEX_<variant>_<six digits>_flat.png    a palette image: its indices are the numbers of objects, 0 the background

Images are split by their numbers: the first tenth is test, the next one val and the rest train; outd, whose objects and
materials are others, is all test. A square of 0.8 of the height is cut from the middle and resized, the image bilinear with
antialiasing, the mask nearest. All of this is as its authors' loader and AST have it.
"""

import dataclasses
import re
from pathlib import Path

from ar_seg_jax.data import images, instance_masks
from ar_seg_jax.data.builder import SegmentationBuilder, SegmentationConfig, config_name, example, existing_directory
from ar_seg_jax.data.limits import DataError
from ar_seg_jax.data.prepared import stamps

VARIANTS = ('full', 'outd', 'camo', 'pbg', 'vbg', 'grassbg')
_HEIGHT = 240  # pixels, of the published images
_CROP = 0.8  # of the shorter side
_UNSPLIT = 'outd'


@dataclasses.dataclass(eq=False, kw_only=True, repr=False)
class ClevrtexConfig(SegmentationConfig):
    files: dict[str, list[Path]]  # images of each split
    size: int


class Clevrtex(SegmentationBuilder):
    """Images with the numbers of their objects. See `builder` for the options."""

    builder_config: ClevrtexConfig

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(files) for split, files in self.builder_config.files.items()}

    def _generate_examples(self, files: list[Path]):
        size = self.builder_config.size
        for path in files:
            image, label = images.read_image(path), images.read_ids(_mask(path))
            images.check_same_size(_mask(path), label, image)
            side = int(_CROP * min(label.shape))
            image = images.resize(images.middle(image, side), size, size)
            label = images.resize(images.middle(label, side), size, size, label=True)
            yield example(path.stem, image, instance_masks.numbered(_mask(path), label))


def builder(*, data_dir: str, root: str, variant: str = 'full', size: int = 128) -> Clevrtex:
    """Builder for one of VARIANTS, as images of `size` x `size` pixels; splits train, val and test, or test alone for outd.

    Raises DataError for what is missing or does not fit: images without a mask, and gaps in their numbers, which would move the
    borders between splits. Prepared files depend on the options and on the names, sizes and times of the files.
    """
    if variant not in VARIANTS or size < 1:
        raise DataError(
            f'data.variant is one of {", ".join(VARIANTS)} and data.size a number of pixels; found {variant!r} and {size}'
        )
    directory = existing_directory(root, f'set --config.data.root to the directory that has clevrtex_{variant}')
    if directory.name != f'clevrtex_{variant}':
        directory = existing_directory(directory / f'clevrtex_{variant}', f'unpack the archives of CLEVRTEX {variant} there')
    found = _numbered(directory, f'CLEVRTEX_{variant}_')
    tenth, fifth = len(found) // 10, len(found) // 5
    splits = {'test': found[:tenth], 'val': found[tenth:fifth], 'train': found[fifth:]}
    if variant == _UNSPLIT:
        splits = {'test': found}
    sources = stamps([*found, *map(_mask, found)])
    name = config_name(f'clevrtex-{variant}-{size}', root=directory, size=size, stamps=sources)
    config = ClevrtexConfig(
        name=name,
        classes=(),
        instances=True,
        rescale=size / int(_CROP * _HEIGHT),
        files={split: paths for split, paths in splits.items() if paths},
        size=size,
        sources=sources,
    )
    return Clevrtex(config=config, data_dir=data_dir)


def _numbered(directory: Path, prefix: str) -> list[Path]:
    """The images by their numbers, which start from 0, each with a mask."""
    pattern = re.compile(rf'{prefix}(\d{{6}})\.png')
    paths = sorted(
        (path for path in directory.rglob(f'{prefix}*.png') if pattern.fullmatch(path.name)), key=lambda path: path.name
    )
    if not paths:
        raise DataError(f'{directory}: no images {prefix}<six digits>.png; unpack the archives of CLEVRTEX there')
    for number, path in enumerate(paths):
        if path.name != f'{prefix}{number:06d}.png':
            raise DataError(
                f'{directory}: expected {prefix}{number:06d}.png, found {path.relative_to(directory)} next; complete the '
                'download, since the numbers of images decide which split they are in'
            )
        if not _mask(path).exists():
            raise DataError(f'{_mask(path)}: no such file, but its image is there; complete the download')
    return paths


def _mask(path: Path) -> Path:
    return path.with_name(f'{path.stem}_flat.png')
