"""Rasters and a network that sees no more of them than what is around a pixel."""

import functools
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from ar_seg_jax.data import images
from ar_seg_jax.data.classes import Class
from ar_seg_jax.data.form import Form
from ar_seg_jax.interfaces import ModelState
from ar_seg_jax.prediction.network import Network
from tests.support import tiny

CLASSES = (Class('dark', (10, 20, 30)), Class('middle', (200, 0, 7)), Class('bright', (0, 255, 0)))


class Levels(Network):
    """In place of what it has learned: how bright the 9 x 9 pixels around each one are on average, in four levels.

    The third level has no class. asked: how many tiles it has seen. It fails with KeyboardInterrupt after `most` tiles.
    """

    @functools.cached_property
    def counter(self):
        return SimpleNamespace(asked=0, most=10**9)

    @functools.cached_property
    def _functions(self):
        def scores(tile):
            self.counter.asked += 1
            if self.counter.asked > self.counter.most:
                raise KeyboardInterrupt
            grey = ndimage.uniform_filter(tile.astype(np.float64).mean(-1), 9, mode='nearest')
            return -abs(grey[..., None] - [64, 112, 144, 192]).astype(np.float32)

        return {'scores': scores, 'clusters': lambda tile: scores(tile).argmax(-1).astype(np.uint8)}


class Blended(Levels):
    """The same, as if it looked further than the margin of a tile."""

    _blended = True


def levels(form=None, kind=Levels):
    state = ModelState(jnp.int32(3), {'weights': jnp.arange(4.0)}, {})
    return kind(tiny.ac(), state, [0, 1, -1, 2], CLASSES, form or Form())


def at_once(network, image):
    """The label map of an image, seen as a whole."""
    found = network._functions['clusters'](network._scaled(image))
    return np.array([0, 1, 255, 2], np.uint8)[images.resize(found, *image.shape[:2], label=True)]


def smooth(height, width, channels=3, seed=0):
    """An image of spots of some ten pixels, with values from 1 to 255."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(height, width, channels)), (4, 4, 0))
    return np.clip(128 + 600 * noise, 1, 255).astype(np.uint8)


def virtual(path, source, height, width, bands=3, more='', name=None):
    """Writes a virtual mosaic of one file. more: what is said of each band besides."""
    size = f'xOff="0" yOff="0" xSize="{width}" ySize="{height}"'
    part = f'<SourceFilename relativeToVRT="1">{name or source.name}</SourceFilename><SrcRect {size}/><DstRect {size}/>'
    colours = dict(enumerate(('Red', 'Green', 'Blue') if bands >= 3 else ('Gray',), 1)) | {4: 'Undefined', 5: 'Undefined'}
    of_bands = ''.join(
        f'<VRTRasterBand dataType="Byte" band="{band}"><ColorInterp>{colours[band]}</ColorInterp>{more}'
        f'<SimpleSource>{part}<SourceBand>{band}</SourceBand></SimpleSource></VRTRasterBand>'
        for band in range(1, bands + 1)
    )
    place = '<SRS>EPSG:32633</SRS><GeoTransform>400000, 0.5, 0, 5700000, 0, -0.5</GeoTransform>'
    path.write_text(f'<VRTDataset rasterXSize="{width}" rasterYSize="{height}">{place}{of_bands}</VRTDataset>')
    return path
