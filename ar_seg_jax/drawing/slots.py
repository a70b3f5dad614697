"""How each slot comes from attention to a glimpse, and what it then paints, for one image."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Integer, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ar_seg_jax.data.classes import Class
from ar_seg_jax.drawing import object_pictures

_PANEL = 1.5  # inches a side
_OPACITY = 0.75  # of attention where it is largest
_GLIMPSE = 128  # pixels a side
_WHOLE = (-1, 1, 1, -1)  # left, right, bottom and top of an image, in coordinates of places
_STEPS = ('attention', 'path', 'glimpse', 'mask', 'its pixels')


def figure(
    views: Mapping[str, UInt8[np.ndarray, 'height width channels']],
    labels: Integer[np.ndarray, 'height width'],
    attention: Float[np.ndarray, 'slots _ _'],
    places: Float[np.ndarray, 'slots 4'],
    glimpses: UInt8[np.ndarray, 'slots _ _ channels_and_mask'],
    classes: Sequence[Class],
    title: str,
) -> Figure:
    """A row of `views`, of which 'image' is one, with the objects; below, a column for each slot.

    In it: where the slot attends (its share of all attention, darkest where it is largest) and the mean of that, a circle; from
    there an arrow to the centre of its glimpse, whose frame is drawn; the glimpse and its mask; the pixels that are the slot's in
    the end. labels: numbers of the slots, 0 the background. places: as `interfaces.Outputs` has them.
    """
    slots, columns = len(attention), max(len(attention), len(views) + 1)
    size = (_PANEL * columns + 0.3, (_PANEL + 0.2) * (len(_STEPS) + 1) + 0.4)
    made = Figure(figsize=size, dpi=100, layout='constrained')
    made.suptitle(title, fontsize=11, parse_math=False)
    grid = made.add_gridspec(len(_STEPS) + 1, columns)
    painted = object_pictures.outlined(views['image'], labels, {}, classes, *labels.shape)
    for column, (name, view) in enumerate((*views.items(), ('objects', painted))):
        _show(made.add_subplot(grid[0, column]), view[..., :3], name)
    for slot in range(slots):
        axes = [made.add_subplot(grid[1 + step, slot]) for step in range(len(_STEPS))]
        mean = _mean(attention[slot])
        _draw_attention(axes[0], views['image'], attention[slot], mean, classes[slot + 1])
        _draw_path(axes[1], views['image'], mean, places[slot], classes[slot + 1])
        _show(axes[2], object_pictures.glimpse(glimpses[slot], _GLIMPSE))
        _show(axes[3], glimpses[slot, ..., -1])
        own = labels == slot + 1
        _show(axes[4], np.where(own[..., None], views['image'][..., :3], 255), f'{own.mean():.1%}')
        for each, step in zip(axes, _STEPS, strict=True):
            each.set_ylabel('' if slot else step, fontsize=9)
    return made


def _mean(attention: Float[np.ndarray, 'rows columns']) -> tuple[float, float]:
    """The mean place x, y under attention that sums to 1, from -1 to 1 between the outer edges of the outer cells."""
    y, x = ((2 * np.arange(length) + 1) / length - 1 for length in attention.shape)
    return float(attention.sum(0) @ x), float(attention.sum(1) @ y)


def _draw_attention(axes: Axes, image, attention, mean: tuple[float, float], of: Class):
    grey = np.repeat(image[..., :3].mean(-1, keepdims=True).astype(np.uint8), 3, axis=-1)
    _show(axes, grey, of.name)
    share = attention / attention.max()
    red = np.broadcast_to([0.84, 0.16, 0.22], (*share.shape, 3))
    shown = np.concatenate([red, _OPACITY * share[..., None]], axis=-1)
    axes.imshow(shown, extent=_WHOLE, aspect=axes.get_aspect(), interpolation='nearest')
    axes.plot(*mean, 'o', markersize=6, markerfacecolor='none', markeredgecolor='black')


def _draw_path(axes: Axes, image, mean: tuple[float, float], place: Float[np.ndarray, '4'], of: Class):
    _show(axes, image[..., :3])
    x, y, scale_x, scale_y = place.tolist()
    colour = np.array(of.colour) / 255
    axes.add_patch(Rectangle((x - 1 / scale_x, y - 1 / scale_y), 2 / scale_x, 2 / scale_y, fill=False, edgecolor=colour, lw=1.5))
    axes.annotate('', (x, y), mean, arrowprops={'arrowstyle': '-|>', 'color': 'black', 'shrinkA': 0, 'shrinkB': 0})
    axes.plot(*mean, 'o', markersize=6, markerfacecolor='none', markeredgecolor='black')
    axes.set(xlim=_WHOLE[:2], ylim=_WHOLE[2:])


def _show(axes: Axes, picture: UInt8[np.ndarray, '...'], title: str = ''):
    aspect = picture.shape[0] / picture.shape[1]  # its pixels are squares
    axes.imshow(picture, extent=_WHOLE, aspect=aspect, cmap='gray', vmin=0, vmax=255, interpolation='nearest')
    axes.set(xticks=[], yticks=[])
    axes.set_title(title, fontsize=9, pad=3, parse_math=False)
