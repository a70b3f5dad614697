"""The figures of the documentation: which orderings and layers are drawn side by side.

Receptive fields are those of the centre of `size` x `size` pixels after `layers` masked convolutions; both are checked in
`receptive_fields`, which raises UserError.
"""

from collections.abc import Iterable, Sequence

import flax.linen as nn
import numpy as np
from jaxtyping import Bool
from matplotlib.figure import Figure

from ar_seg_jax import orderings
from ar_seg_jax.drawing import ordering_maps
from ar_seg_jax.drawing import receptive_fields as fields
from ar_seg_jax.drawing.ordering_maps import Panel, Strip
from ar_seg_jax.orderings import ORDERINGS, RASTER, ZIGZAG

_SCAN_SIZE = 6  # pixels a side: enough to see the turns of a zigzag
_ATTENTION_AFTER = 2  # convolutions, as many as blocks in the models
_GROWING = {'A1': 'row by row', 'A2': 'column by column'}
_WITH_AND_WITHOUT = ('A1', 'B4', 'zigzag_A1', 'zigzag_D4')


def growth(size: int, layers: int) -> Figure:
    """Figure 2 of the supplement: the orderings A1 and A2 (Conv_A with Shift_1 and Shift_2) after each convolution."""
    found = fields.of_centre(fields.convolutions(layers), tuple(_GROWING), size)
    rows = [
        Strip(f'{name}: {words}', [_panel(_convolutions(depth), read, name) for depth, read in enumerate(of_name, 1)])
        for (name, words), of_name in zip(_GROWING.items(), found, strict=True)
    ]
    return ordering_maps.receptive_fields(rows, 'What a pixel reads through consecutive masked convolutions')


def receptive_fields(size: int, layers: int) -> Figure:
    """Figure 3 of the supplement: all raster orderings after the last convolution; and the zigzags, for both of their shifts."""
    corner, alternate = fields.convolutions(layers), fields.convolutions(layers, 'alternate')
    rows = [
        Strip('raster', _each(RASTER, corner, size)),
        Strip("zigzag, shift 'corner'", _each(ZIGZAG, corner, size)),
        Strip("zigzag, 'alternate'", _each(ZIGZAG, alternate, size)),
    ]
    return ordering_maps.receptive_fields(rows, f'What a pixel reads through {_convolutions(layers)}, under each ordering')


def attention(size: int, layers: int) -> Figure:
    """What masked attention alone reads under every ordering, and how it fills the blind spots of convolutions."""
    without = fields.convolutions(layers)
    both = (*without[:_ATTENTION_AFTER], *fields.attention(), *without[_ATTENTION_AFTER:])
    pairs = zip(_each(_WITH_AND_WITHOUT, without, size), _each(_WITH_AND_WITHOUT, both, size), strict=True)
    mixed = [
        panel._replace(title=f'{panel.title}\n{words}')
        for pair in pairs
        for panel, words in zip(pair, (_convolutions(layers), 'and attention'), strict=True)
    ]
    rows = [
        Strip('attention alone', _each(RASTER, fields.attention(), size)),
        Strip('attention alone', _each(ZIGZAG, fields.attention(), size)),
        Strip('without and with', mixed),
    ]
    return ordering_maps.receptive_fields(rows, 'What a pixel reads through masked attention')


def scans() -> Figure:
    """The sixteen orderings of a small map."""

    def ranks(names):
        return [(name, orderings.rank(ORDERINGS[name], _SCAN_SIZE, _SCAN_SIZE)) for name in names]

    return ordering_maps.scans([('raster', ranks(RASTER)), ('zigzag', ranks(ZIGZAG))], 'The sixteen orderings')


def _each(names: Iterable[str], layers: Sequence[nn.Module], size: int) -> list[Panel]:
    """A panel for each ordering, of what is read after the last layer."""
    names = tuple(names)
    found = fields.of_centre(layers, names, size)[:, -1]
    return [_panel(name, read, name) for name, read in zip(names, found, strict=True)]


def _panel(title: str, read: Bool[np.ndarray, 'size size'], name: str) -> Panel:
    return Panel(title, read, fields.past(name, len(read)))


def _convolutions(count: int) -> str:
    return f'{count} convolution{"s" if count > 1 else ""}'
