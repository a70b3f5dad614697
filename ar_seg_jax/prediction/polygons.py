"""Label maps as polygons, in a GeoPackage file (OGC 12-128r19) for QGIS and other programs of maps.

The borders of polygons are those of pixels, with a corner wherever three areas meet, so neighbours share them exactly. Areas of
few pixels are given to their largest neighbour first, by GDAL's sieve; those whose neighbours are all as small stay. Pixels
without a class are in no polygon.
"""

import contextlib
import itertools
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int, Shaped, UInt8

from ar_seg_jax.data import images, raster
from ar_seg_jax.data.classes import Class
from ar_seg_jax.errors import UserError
from ar_seg_jax.interfaces import VOID

_SUFFIX = '.gpkg'
_AT_ONCE = 10_000  # polygons that are written together
_IN_PIXELS = 'pixels'  # the layer of images that lie nowhere

Outlines = Shaped[np.ndarray, 'polygons']  # shapely's
Matrix = tuple[tuple[float, float, float], tuple[float, float, float]]  # from columns and rows, and 1, to places
_PIXELS: Matrix = ((1.0, 0.0, 0.0), (0.0, -1.0, 0.0))


class Layers:
    """A GeoPackage file that is being written, with a layer for each coordinate system.

    A polygon has the name of its `image`; the number (`class`), `name` and `colour` (#rrggbb) of its class; its `pixels`, and its
    `area` in squares of the unit of its coordinates. Images that lie nowhere are in a layer of their own, whose coordinates are
    columns and minus rows, which is where QGIS shows such images.
    """

    def __init__(self, path: Path, classes: Sequence[Class], least: int):
        """least: pixels of an area that is not given to a neighbour."""
        self._path, self._classes, self._least = path, classes, least
        self._layers: dict[str | None, str] = {}  # by the WKT of the coordinate system, None for pixels

    def add(self, image: str, path: Path) -> int:
        """Writes the polygons of a label map, a GeoTIFF file or an image of class ids, and says how many there are.

        In memory there are a few bytes for each pixel of the map, and the polygons.
        """
        from rasterio import features

        labels, matrix, system = _read(path)
        known = labels != VOID
        if self._least > 1:
            features.sieve(labels, self._least, out=labels, mask=known, connectivity=4)
        shapes, count = features.shapes(labels, mask=known, connectivity=4), 0
        while some := list(itertools.islice(shapes, _AT_ONCE)):
            outlines = _with_shared_corners(_outlines([shape['coordinates'] for shape, _ in some]), labels)
            self._write(image, outlines, np.array([value for _, value in some], np.int32), matrix, system)
            count += len(some)
        return count

    def finish(self):
        """Makes a file even if nothing was in it."""
        if not self._layers:
            self._write('', np.empty(0, object), np.empty(0, np.int32), _PIXELS, None)

    def _write(self, image: str, outlines: Outlines, numbers: Int[np.ndarray, 'polygons'], matrix: Matrix, system: str | None):
        """outlines: in columns and rows."""
        import pyogrio
        import shapely

        # Number by number, so that a corner of two polygons has the same bits in both.
        placed = shapely.transform(
            outlines, lambda at: np.stack([x * at[:, 0] + y * at[:, 1] + origin for x, y, origin in matrix], axis=1)
        )
        entries = [self._classes[number] for number in numbers]
        values = {
            'image': np.full(len(outlines), image, object),
            'class': numbers,
            'name': np.array([entry.name for entry in entries], object),
            'colour': np.array(['#{:02x}{:02x}{:02x}'.format(*entry.colour) for entry in entries], object),
            'pixels': shapely.area(outlines).round().astype(np.int64),
            'area': shapely.area(placed),
        }
        begun = system in self._layers
        kind = {'driver': 'GPKG', 'layer': self._layer(system), 'geometry_type': 'Polygon', 'crs': system or None}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter('ignore')  # that pixels have no coordinate system
                pyogrio.raw.write(self._path, shapely.to_wkb(placed), list(values.values()), list(values), append=begun, **kind)
        except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError) as error:
            raise UserError(f'{self._path}: polygons cannot be written ({error}); make room there, or choose another') from error

    def _layer(self, system: str | None) -> str:
        """The name of the layer of a coordinate system, '' for one that nobody named."""
        from rasterio.crs import CRS

        if system not in self._layers:
            code = CRS.from_wkt(system).to_epsg() if system else None
            name = f'epsg_{code}' if code else _IN_PIXELS if system is None else 'system'
            taken = set(self._layers.values())
            self._layers[system] = next(
                other for number in itertools.count(1) if (other := f'{name}_{number}' if number > 1 else name) not in taken
            )
        return self._layers[system]


def check(path: Path):
    """UserError unless polygons can be made, and written to this file."""
    try:
        import pyogrio  # noqa: F401
        import rasterio  # noqa: F401
        import shapely  # noqa: F401
    except ImportError as error:
        raise UserError(f"--polygons needs rasterio, shapely and pyogrio: pip install 'ar_seg_jax[geo]' ({error})") from error
    if path.suffix.lower() != _SUFFIX or path.is_dir():
        raise UserError(f'--polygons is a GeoPackage file, whose name ends in {_SUFFIX}; found {path}')


@contextlib.contextmanager
def opened(path: Path, classes: Sequence[Class], least: int) -> Iterator[Layers]:
    """Layers that are the file `path` when this `with` ends well; a file that is there is replaced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f'.{path.stem}.partial{_SUFFIX}')
    beside.unlink(missing_ok=True)
    try:
        layers = Layers(beside, classes, least)
        yield layers
        layers.finish()
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _outlines(shapes: Sequence[Sequence[Sequence[tuple[float, float]]]]) -> Outlines:
    """Polygons from their rings, as GeoJSON has them."""
    import shapely

    rings = [ring for shape in shapes for ring in shape]
    ends = (np.cumsum([0, *map(len, rings)]), np.cumsum([0, *map(len, shapes)]))
    return shapely.from_ragged_array(shapely.GeometryType.POLYGON, np.array(list(itertools.chain.from_iterable(rings))), ends)


def _with_shared_corners(outlines: Outlines, labels: UInt8[np.ndarray, 'height width']) -> Outlines:
    """With a corner on a straight border too where two others begin behind it: polygons then are a valid coverage."""
    import shapely

    kind, points, (rings, polygons) = shapely.to_ragged_array(shapely.segmentize(outlines, 1.0))
    points = points.round().astype(int)  # at all corners of pixels that a border passes
    ends = np.zeros(len(points), bool)
    ends[rings[:-1]] = ends[rings[1:] - 1] = True
    turns = (np.roll(points, -1, axis=0) - points != points - np.roll(points, 1, axis=0)).any(axis=1)
    around = np.sort([_labels_at(labels, points[:, 1] - up, points[:, 0] - left) for up in (0, 1) for left in (0, 1)], axis=0)
    shared = (np.diff(around, axis=0) != 0).sum(axis=0) > 1
    kept = ends | turns | shared
    rings = np.concatenate([[0], np.cumsum(kept)])[rings]
    return shapely.from_ragged_array(kind, points[kept].astype(float), (rings, polygons))


def _labels_at(
    labels: UInt8[np.ndarray, 'height width'], rows: Int[np.ndarray, 'points'], columns: Int[np.ndarray, 'points']
) -> UInt8[np.ndarray, 'points']:
    """VOID outside of the map."""
    height, width = labels.shape
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    return np.where(inside, labels[rows.clip(0, height - 1), columns.clip(0, width - 1)], VOID).astype(np.uint8)


def _read(path: Path) -> tuple[UInt8[np.ndarray, 'height width'], Matrix, str | None]:
    """A label map, where its pixels are, and the WKT of its coordinate system, '' for an unknown one, None for pixels."""
    if path.suffix != '.tif':
        return images.read_ids(path), _PIXELS, None
    labels, place = raster.read_map(path)
    if place.points or not (place.crs or place.transform != place.transform.identity()):
        return labels, _PIXELS, None
    a, b, c, d, e, f = place.transform[:6]
    return labels, ((a, b, c), (d, e, f)), place.crs.to_wkt() if place.crs else ''
