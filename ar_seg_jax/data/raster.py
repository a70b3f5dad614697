"""Rasters that are read in parts: GeoTIFF files too large for memory, and virtual mosaics of any size, through GDAL.

GDAL gets nothing to read but the file itself, or the TIFF files that a virtual mosaic names (see `virtual`): no files that happen
to lie beside them (.msk, .ovr, .aux.xml, world files), which could lead anywhere.
"""

import contextlib
import dataclasses
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Num, UInt8
from PIL import Image

from ar_seg_jax.data import bands, coverage, limits, prepared, tiff, virtual
from ar_seg_jax.data.form import Form
from ar_seg_jax.data.limits import DataError
from ar_seg_jax.data.prepared import Source

MAX_BYTES = 2**46  # of a file
_MAX_SIDE = 2**18  # pixels; parts that are in memory are as wide as the raster
_BYTES_OF_A_BYTE = 10_000  # in a file, at most: a tenth of that is the most that deflate has, and parts may be empty
_MAX_BLOCK = 2**28  # bytes of what is decoded at once
_OPTIONS = {
    'GDAL_DISABLE_READDIR_ON_OPEN': 'EMPTY_DIR',
    'GDAL_PAM_ENABLED': 'NO',
    'GDAL_CACHEMAX': 128,  # MB
    'CPL_VSIL_CURL_ALLOWED_FILENAME': 'none',
}
_COLOURS = ('red', 'green', 'blue', 'gray', 'undefined', 'palette', 'alpha')


class Place(NamedTuple):
    """Where a raster lies, in rasterio's words. about: whether what lies there is the area of a pixel, or a point.

    crs: None for an unknown one. points: of control, where there is no transform.
    """

    crs: Any
    transform: Any
    points: list[Any]
    about: str


@dataclasses.dataclass(frozen=True)
class Raster:
    """An open raster, whose images are as `Form.read` has them. dataset: rasterio's."""

    path: Path
    form: Form
    dataset: Any

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.dataset.height, self.dataset.width

    @property
    def bytes_of_a_pixel(self) -> int:
        """In memory, all bands that are read."""
        return len(self._bands) * np.dtype(self.dataset.dtypes[0]).itemsize

    @property
    def place(self) -> Place:
        return _place(self.dataset)

    def read(
        self, rows: slice, columns: slice
    ) -> tuple[Num[np.ndarray, 'height width channels'], Bool[np.ndarray, 'height width'] | None]:
        """A part as it is stored, and whether its pixels show anything (see `coverage`), None if all do. DataError if damaged."""
        window = ((rows.start, rows.stop), (columns.start, columns.stop))
        with limits.refusing(self.path, f'cannot read rows {rows.start} to {rows.stop}', 'fetch the file again'):
            image = self._fitting(np.moveaxis(self.dataset.read(self._bands, window=window), 0, -1))
            known = coverage.with_values(image, self._nodata)
            if self._has_alpha and self.form.channels == 3:
                known.append(self.dataset.read(self.dataset.count, window=window) > 0)
            if self._masked:
                known.append(self.dataset.read_masks(1, window=window) > 0)
        every = np.logical_and.reduce(known) if known else np.array(True)
        return image, None if every.all() else every

    def check(self):
        """DataError unless parts can be read, and are what the form says."""
        height, width = self.size
        if max(height, width) > _MAX_SIDE:
            raise DataError(f'{self.path}: {width} x {height} pixels, the limit is {_MAX_SIDE} a side; cut the raster into parts')
        if self.dataset.subdatasets:
            raise DataError(f'{self.path}: several images in one file; write each page, or all bands, into a file of its own')
        found = np.dtype(self.dataset.dtypes[0])
        if len(set(self.dataset.dtypes)) > 1:
            raise DataError(
                f'{self.path}: expected bands of one kind, found {", ".join(self.dataset.dtypes)}; convert them first'
            )
        if found != np.uint8 and not self.form.ranges:
            raise DataError(f'{self.path}: expected 8 bits, as the training images have, found {found}')
        if any(int(self.dataset.tags(band, ns='IMAGE_STRUCTURE').get('NBITS', 8)) < 8 for band in self._bands):
            raise DataError(f'{self.path}: expected numbers of 8, 16 or 32 bits, found fewer; convert the raster first')
        if self._as_colours and not {band.name for band in self.dataset.colorinterp} <= set(_COLOURS):
            kinds = ', '.join(band.name for band in self.dataset.colorinterp)
            raise DataError(f'{self.path}: expected red, green and blue, found {kinds}; convert the raster to RGB first')
        if max(map(np.prod, self.dataset.block_shapes)) * self.bytes_of_a_pixel > _MAX_BLOCK:
            rows, columns = self.dataset.block_shapes[0]
            raise DataError(
                f'{self.path}: pieces of {columns} x {rows} pixels are too large to be read one by one; rewrite the raster in '
                'tiles, with gdal_translate -co TILED=YES for example'
            )
        self._fitting(np.zeros((1, 1, len(self._bands)), found))

    @property
    def _as_colours(self) -> bool:
        """Whether ordinary images of this form are read as RGB, whatever is stored."""
        return self.form.channels == 3 and not self.form.ranges

    @property
    def _bands(self) -> list[int]:
        """Which are read, from 1 on."""
        count = self.dataset.count
        if not self._as_colours:
            return list(self.dataset.indexes)
        return [1, 2, 3] if count >= 3 else [1]

    @property
    def _in_palette(self) -> bool:
        return self.dataset.colorinterp[0].name == 'palette'

    @property
    def _has_alpha(self) -> bool:
        return self.dataset.colorinterp[-1].name == 'alpha'

    @property
    def _masked(self) -> bool:
        """Whether there is a mask of its own, and not one that follows from nodata or alpha."""
        flags = {flag.name for flag in self.dataset.mask_flag_enums[0]}
        return 'per_dataset' in flags and 'alpha' not in flags

    @property
    def _nodata(self) -> list[float] | None:
        """Of each channel; None where some have none, and for a palette, whose numbers become colours."""
        if self._as_colours and self._in_palette:
            return None
        bands_of_channels = self._fitting(np.array(self._bands, np.uint8)[None, None])[0, 0]
        found = [self.dataset.nodatavals[band - 1] for band in bands_of_channels]
        return None if None in found else found

    def _fitting(self, stored: Num[np.ndarray, 'height width bands']) -> Num[np.ndarray, 'height width channels']:
        if self._as_colours and self._in_palette:
            table = np.array([self.dataset.colormap(1).get(index, (0, 0, 0))[:3] for index in range(256)], np.uint8)
            return table[stored[..., 0]]
        return bands.fitting(stored, self.form.channels, self._has_alpha and len(self._bands) == self.dataset.count, self.path)


def needs_parts(path: Path) -> bool:
    """Whether a file is a virtual mosaic, or a TIFF file too large to be read whole.

    Not one that is damaged, or says that it is larger than it can be: who reads that as an image tells of it.
    """
    if path.suffix.lower() == virtual.SUFFIX:
        return True
    try:
        if not tiff.is_tiff(path, MAX_BYTES):
            return False
        found = tiff.header(path)
    except DataError:
        return False
    size = path.stat().st_size
    if max(found.height, found.width) > _MAX_SIDE or found.bytes > _BYTES_OF_A_BYTE * size:
        return False
    large = found.height * found.width > Image.MAX_IMAGE_PIXELS or max(found.height, found.width) > limits.MAX_SIDE
    return large or found.bytes > tiff.MAX_BYTES or size > limits.MAX_BYTES


@contextlib.contextmanager
def opened(path: Path, form: Form) -> Iterator[Raster]:
    """A raster whose parts can be read in this `with`; DataError for what cannot be used, or where rasterio is missing."""
    name, driver = _for_gdal(path)
    with _open(path, name, driver=driver) as dataset:
        raster = Raster(path, form, dataset)
        raster.check()
        yield raster


def stamps(path: Path) -> list[Source]:
    """What changes when a raster changes: names, sizes and times of its files."""
    sources = virtual.read(path).sources if path.suffix.lower() == virtual.SUFFIX else ()
    return prepared.stamps([Path(path).absolute(), *sources])


@contextlib.contextmanager
def created(path: Path, **options: Any) -> Iterator[Any]:
    """A new GeoTIFF file, as rasterio's dataset; DataError where it cannot be written."""
    try:
        told = ('GDAL cannot create it', 'make room, or write elsewhere')
        with _open(path, str(path.absolute()), told, mode='w', driver='GTiff', **options) as dataset:
            yield dataset
    except OSError as error:
        raise DataError(f'{path}: cannot be written ({error}); make room on the disk, and start again') from error


def read_map(path: Path) -> tuple[UInt8[np.ndarray, 'height width'], Place]:
    """A label map of our own that is a GeoTIFF file, and where it lies."""
    with _open(path, str(path.absolute()), driver='GTiff') as dataset:
        return dataset.read(1), _place(dataset)


def _for_gdal(path: Path) -> tuple[str, str]:
    """The name by which GDAL opens a raster, and the only driver that may."""
    if path.suffix.lower() == virtual.SUFFIX:
        return virtual.read(path).document, 'VRT'
    if (turned := tiff.header(path).orientation) != 1:
        raise DataError(f'{path}: orientation {turned}, expected 1 of a large raster; turn it first')
    return str(path.resolve()), 'GTiff'


def _place(dataset: Any) -> Place:
    points, system = dataset.gcps
    about = dataset.tags().get('AREA_OR_POINT', 'Area')
    return Place(system if points else dataset.crs, dataset.transform, points, about)


@contextlib.contextmanager
def _open(
    path: Path, name: str, told: tuple[str, str] = ('GDAL cannot open it', 'fetch it again'), **options: Any
) -> Iterator[Any]:
    """told: the problem and what to do, where it fails."""
    try:
        import rasterio
    except ImportError as error:
        raise DataError(f"{path}: large rasters and virtual mosaics need rasterio: pip install 'ar_seg_jax[geo]'") from error
    with contextlib.ExitStack() as stack:
        stack.enter_context(rasterio.Env(**_OPTIONS))
        with limits.refusing(path, *told), warnings.catch_warnings():
            warnings.simplefilter('ignore', rasterio.errors.NotGeoreferencedWarning)
            dataset = stack.enter_context(rasterio.open(name, **options))
        yield dataset
