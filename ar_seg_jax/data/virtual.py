"""Virtual mosaics: GDAL's VRT files, which say of which files, and where, a large raster consists.

Such a file is not trusted: to GDAL, the name of a source may be a page of the web, a database, a program's protocol or another
virtual file, and a band may be computed by what the file says. So it is read here, and what it says is written anew for GDAL,
with nothing but sources that are TIFF files on this machine. The form is that of gdal.org/drivers/raster/vrt.html.
"""

import os
import re
import xml.etree.ElementTree as etree
from pathlib import Path
from typing import NamedTuple

from ar_seg_jax.data import limits, tiff
from ar_seg_jax.data.limits import DataError

SUFFIX = '.vrt'

_MAX_BYTES = 2**26  # of the file; a source takes half a kilobyte
_MAX_SOURCE = 2**46  # bytes
_ADVICE = 'make it anew with gdalbuildvrt, of GeoTIFF files'

_SOURCE = ('SourceFilename', 'SourceBand', 'SourceProperties', 'SrcRect', 'DstRect')
_LOOKED_UP = ('NODATA', 'UseMaskBand', 'ScaleOffset', 'ScaleRatio', 'LUT', 'ColorTableComponent')
# What may be in what, and with which attributes.
_PARTS = {
    'VRTDataset': ('SRS', 'GeoTransform', 'VRTRasterBand', 'MaskBand'),
    'MaskBand': ('VRTRasterBand',),
    'VRTRasterBand': ('NoDataValue', 'HideNoDataValue', 'ColorInterp', 'ColorTable', 'SimpleSource', 'ComplexSource'),
    'ColorTable': ('Entry',),
    'SimpleSource': _SOURCE,
    'ComplexSource': (*_SOURCE, *_LOOKED_UP),
}
_ATTRIBUTES = {
    'VRTDataset': ('rasterXSize', 'rasterYSize'),
    'SRS': ('dataAxisToSRSAxisMapping', 'coordinateEpoch'),
    'VRTRasterBand': ('dataType', 'band', 'blockXSize', 'blockYSize', 'subClass'),
    'Entry': ('c1', 'c2', 'c3', 'c4'),
    'SimpleSource': ('resampling',),
    'ComplexSource': ('resampling',),
    'SourceFilename': ('relativeToVRT', 'shared', 'shareable'),
    'SourceProperties': ('RasterXSize', 'RasterYSize', 'DataType', 'BlockXSize', 'BlockYSize'),
    'SrcRect': ('xOff', 'yOff', 'xSize', 'ySize'),
    'DstRect': ('xOff', 'yOff', 'xSize', 'ySize'),
}
# What says nothing about pixels at full size, and is left out.
_IDLE = {'Metadata', 'OverviewList', 'Overview', 'Description', 'UnitType', 'CategoryNames', 'Histograms', 'Offset', 'Scale'}
_SYSTEM = re.compile(r'\s*(EPSG:\d+\s*$|[A-Z]\w*\s*\[)')  # a code, or WKT; GDAL would also take the name of a file, or an address


class Mosaic(NamedTuple):
    """What GDAL is given in place of a file, and the files that its pixels come from."""

    document: str
    sources: tuple[Path, ...]


def read(path: Path) -> Mosaic:
    """A virtual mosaic. DataError for what is none, and for one whose sources are anything but TIFF files on this machine."""
    limits.check_file(path, _MAX_BYTES)
    with limits.refusing(path, 'not a virtual mosaic', _ADVICE):
        text = path.read_bytes().decode()
        if '<!DOCTYPE' in text or '<!ENTITY' in text:  # which can expand without end
            raise DataError(f'{path}: a virtual mosaic defines no names of its own; {_ADVICE}')
        root = etree.fromstring(text)
    if root.tag != 'VRTDataset':
        raise DataError(f'{path}: expected a virtual mosaic (VRTDataset), found {root.tag!r}; {_ADVICE}')
    sources: dict[Path, None] = {}
    document = etree.tostring(_copy(path, root, sources), encoding='unicode')
    return Mosaic(document, tuple(sources))


def _copy(path: Path, element: etree.Element, sources: dict[Path, None]) -> etree.Element:
    """An element with what is known in it; the files that it names are added to `sources`."""
    if other := [name for name in element.attrib if name not in _ATTRIBUTES.get(element.tag, ())]:
        raise DataError(
            f'{path}: found {element.tag} with {other[0]}={element.get(other[0])!r}, which is not supported; {_ADVICE}'
        )
    if element.get('subClass', 'VRTSourcedRasterBand') != 'VRTSourcedRasterBand':
        raise DataError(f'{path}: found a band of the kind {element.get("subClass")}, expected one of other files; {_ADVICE}')
    copied = etree.Element(element.tag, element.attrib)
    copied.text = element.text
    if element.tag == 'SourceFilename':
        source = _local(path, element)
        sources[source] = None
        copied.text, copied.attrib = str(source), {'relativeToVRT': '0', 'shared': '0'}
    elif element.tag == 'SRS' and not _SYSTEM.match(element.text or ''):
        raise DataError(f'{path}: expected the code or the WKT of a coordinate system, found {element.text!r}; {_ADVICE}')
    for part in element:
        if part.tag in _IDLE:
            continue
        if part.tag not in _PARTS.get(element.tag, ()):
            raise DataError(f'{path}: found {part.tag} in {element.tag}, which is not supported; {_ADVICE}')
        copied.append(_copy(path, part, sources))
    return copied


def _local(path: Path, element: etree.Element) -> Path:
    """The file that a SourceFilename names; DataError unless it is a TIFF file on this machine."""
    name = element.text or ''
    beside = path.parent if element.get('relativeToVRT') == '1' else Path()
    source = Path(os.path.realpath(beside / name))
    if name.startswith('/vsi') or '://' in name or '<' in str(source) or not source.is_file():
        raise DataError(f'{path}: its source {name!r} is no file on this machine; fetch it first, and {_ADVICE}')
    if not tiff.is_tiff(source, _MAX_SOURCE):
        raise DataError(f'{path}: its source {name!r} is no TIFF file; {_ADVICE}')
    return source
