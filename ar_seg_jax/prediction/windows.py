"""A network that looks at a raster through windows, and needs the memory of one row of them."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Num, UInt8

from ar_seg_jax.data import images
from ar_seg_jax.data.classes import classes_of
from ar_seg_jax.data.limits import DataError
from ar_seg_jax.data.raster import Raster
from ar_seg_jax.interfaces import VOID
from ar_seg_jax.prediction import tiling
from ar_seg_jax.prediction.network import Network
from ar_seg_jax.prediction.tiling import Span

PICTURE = 2048  # pixels of the longer side of what shows a whole raster, at most
_MAX_BYTES = 2**31  # of a row of windows, as it is stored


class Side(NamedTuple):
    """Of a raster, in its own pixels and in those that the network sees."""

    length: int
    scaled: int

    def box(self, span: Span) -> tuple[float, float]:
        """Where what a tile sees begins and ends in the raster."""
        return span.start * self.length / self.scaled, span.end * self.length / self.scaled

    def source(self, span: Span) -> slice:
        """The pixels of the raster that a tile is made from: those of its box, and around it what antialiasing looks at."""
        start, end = self.box(span)
        around = 0 if self.scaled == self.length else max(1, self.length / self.scaled) + 1
        return slice(max(0, math.floor(start - around)), min(self.length, math.ceil(end + around)))


class Strip(NamedTuple):
    """What a row of tiles sees: the rows of the raster, as they are stored, and where they show anything, None for everywhere."""

    rows: slice
    image: Num[np.ndarray, 'height width channels']
    covered: Bool[np.ndarray, 'height width'] | None


class Windows:
    """The label map of a raster, row of windows by row of windows."""

    def __init__(self, network: Network, raster: Raster):
        """DataError if a row of windows takes too much memory."""
        self._network, self._raster = network, raster
        self._sides = tuple(map(Side, raster.size, images.rescaled_size(*raster.size, network.form.rescale)))
        self._strip: tuple[Span, Strip] | None = None
        self.step = math.ceil(max(raster.size) / PICTURE)  # every which pixel is in a picture of the whole
        self.count = len(self._spans)
        high = max(span.end - span.start for span in self._spans) * self._sides[0].length / self._sides[0].scaled
        if (size := math.ceil(high) * raster.size[1] * raster.bytes_of_a_pixel) > _MAX_BYTES:
            raise DataError(
                f'{raster.path}: a row of windows, {high:.0f} pixels high, has {size} bytes, the limit is {_MAX_BYTES}; cut the '
                'raster into narrower ones'
            )

    def rows(self, begin: int = 0) -> Iterator[tuple[UInt8[np.ndarray, 'height width'], UInt8[np.ndarray, '_ _ 3']]]:
        """The classes of the pixels of each row of windows, from row `begin` on, VOID for none or where there is no data.

        And what a picture of the whole raster shows of this row: three channels of every `step`-th pixel.
        """
        seen_rows, seen_columns = (images.places(side.scaled, side.length) for side in self._sides)
        form, mapping = self._network.form, np.array(self._network.mapping)
        for span, clusters in self._network.rows(self._tile, (self._sides[0].scaled, self._sides[1].scaled), begin):
            first, last = map(int, np.searchsorted(seen_rows, (span.first, span.last)))
            labels = classes_of(clusters, mapping)[seen_rows[first:last] - span.first][:, seen_columns]
            rows, image, covered = self._seen(span)
            kept = slice(first - rows.start, last - rows.start)
            if covered is not None:
                labels[~covered[kept]] = VOID
            yield labels, form.to_8_bits(image[kept][-first % self.step :: self.step, :: self.step])[..., :3]

    @property
    def _spans(self) -> list[Span]:
        return tiling.spans(self._sides[0].scaled, self._network.method.output_stride)

    def _tile(self, row: Span, column: Span) -> UInt8[np.ndarray, 'height width channels'] | None:
        """What the network sees of a tile; None where nothing has data."""
        rows, image, covered = self._seen(row)
        columns = self._sides[1].source(column)
        if covered is not None and not covered[:, columns].any():
            return None
        part = self._network.form.to_8_bits(image[:, columns])
        top, bottom = (min(place - rows.start, part.shape[0]) for place in self._sides[0].box(row))
        left, right = (min(place - columns.start, part.shape[1]) for place in self._sides[1].box(column))
        return images.resize(part, row.end - row.start, column.end - column.start, box=(left, top, right, bottom))

    def _seen(self, row: Span) -> Strip:
        """What a row of tiles sees; the last one that was asked for is kept."""
        if self._strip is None or self._strip[0] != row:
            self._strip = None  # before the next one comes
            rows = self._sides[0].source(row)
            self._strip = row, Strip(rows, *self._raster.read(rows, slice(0, self._raster.size[1])))
        return self._strip[1]
