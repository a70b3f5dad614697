"""The orders in which an image is read, and all the geometry that follows from them.

The eight raster scans are one scan, rows from top to bottom and each from left to right, seen in the eight frames of the
square: two flips and a transpose. The eight zigzag scans are one JPEG zigzag in the same frames. Everything here is
written for the canonical scan and turned: a masked convolution runs the canonical kernel on features turned into the
frame, with its weights turned by the same symmetry, and attention over the tokens of the frame is plain causal attention.

That is tap for tap what the supplement's four masks and four paddings do for a 3x3 kernel, and stays right where its
row-based masks leak: larger kernels, dilation, strides and maps that are not square. Only zero padding is causal;
reflection would copy later rows into the padding of earlier ones.
"""

from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int, Key

from ar_seg_jax.errors import UserError

Flag = bool | Bool[np.ndarray | Array, '*stack']
Shift = Literal['raster', 'corner', 'top', 'left', 'centred']
Sampling = Literal['random', 'no_repetition', 'hard']


@struct.dataclass
class Ordering:
    """A scan of the image: a frame of the square and the kind of scan made in it.

    Turning an image into the frame flips its rows, flips its columns and transposes it, in this order. The scan of the
    turned image is the canonical raster scan or, where `zigzag`, the canonical zigzag.

    The four flags are the leaves of a pytree. Python booleans are a static choice, which takes maps of any height and
    width; arrays are a traced choice, with which one compiled program serves every ordering but maps must be square.
    """

    flip_rows: Flag
    flip_columns: Flag
    transpose: Flag
    zigzag: Flag = False


# Names are the supplement's (convolution, shift) pairs: masked corner A..D of the 3x3 kernel and padding 1..4.
_FRAMES = {
    'A1': (False, False, False),  # rows down, each rightwards
    'A2': (False, False, True),  # columns rightwards, each down
    'B4': (False, True, True),  # columns leftwards, each down
    'B1': (False, True, False),  # rows down, each leftwards
    'C3': (True, False, False),  # rows up, each rightwards
    'C2': (True, False, True),  # columns rightwards, each up
    'D3': (True, True, False),  # rows up, each leftwards
    'D4': (True, True, True),  # columns leftwards, each up
}
RASTER = {name: Ordering(*frame) for name, frame in _FRAMES.items()}
ZIGZAG = {f'zigzag_{name}': Ordering(*frame, zigzag=True) for name, frame in _FRAMES.items()}
ORDERINGS = RASTER | ZIGZAG
_SETS = {'raster': tuple(RASTER), 'zigzag': tuple(ZIGZAG), 'all': tuple(ORDERINGS), 'none': ()}


def names(text: str) -> tuple[str, ...]:
    """The names of orderings that a config means by 'raster', 'zigzag', 'all' or 'none', or lists with commas between them."""
    return _SETS[text] if text in _SETS else tuple(part.strip() for part in text.split(','))


def by_name(name: str) -> Ordering:
    """The ordering called `name`, as a static choice; UserError with the list of names where there is none."""
    if name not in ORDERINGS:
        raise UserError(f'no ordering is called {name!r}; the names are {", ".join(ORDERINGS)}')
    return ORDERINGS[name]


def stack(names: tuple[str, ...]) -> Ordering:
    """The orderings called `names` stacked on axis 0 of every flag, to choose from with `sample_pair`."""
    if not names:
        raise UserError(f'at least one ordering is needed; the names are {", ".join(ORDERINGS)}')
    return jax.tree.map(lambda *flags: np.array(flags), *map(by_name, names))


def check_sampling(sampling: str, count: int):
    """UserError unless `sampling` is known and possible with `count` orderings."""
    if sampling not in get_args(Sampling):
        raise UserError(f'sampling is one of {", ".join(get_args(Sampling))}; found {sampling!r}')
    if sampling != 'random' and count < 2:
        raise UserError(f'sampling {sampling!r} needs at least two orderings, found one')


def sample_pair(key: Key[Array, ''], orderings: Ordering, sampling: Sampling = 'random') -> tuple[Ordering, Ordering]:
    """Draws the orderings of the two views from a stack.

    'random' draws each independently, so that both can be the same (the supplement's `change_order`); 'no_repetition'
    draws two different ones, uniformly. 'hard' draws the first uniformly and as the second one whose past overlaps least
    with it, at random among equals. The paper has a row 'Hard' but no definition; this one is ours, after the supplement's
    remark that less overlap makes the task more difficult. Of all eight raster scans the hard partner is the exact reverse.
    """
    count = len(orderings.zigzag)
    check_sampling(sampling, count)
    if sampling == 'random':
        chosen = jax.random.randint(key, (2,), 0, count)
    elif sampling == 'no_repetition':
        chosen = jax.random.choice(key, count, (2,), replace=False)
    else:
        first_key, second_key = jax.random.split(key)
        first = jax.random.randint(first_key, (), 0, count)
        allowed = jnp.asarray(hard_partners(orderings))[first]
        chosen = first, jax.random.categorical(second_key, jnp.where(allowed, 0.0, -jnp.inf))
    first, second = (choose(orderings, index) for index in chosen)
    return first, second


def hard_partners(orderings: Ordering) -> Bool[np.ndarray, 'stack stack']:
    """Which orderings of a stack overlap least with each of them, itself left out."""
    overlap = np.round(overlaps(orderings), 9)
    np.fill_diagonal(overlap, np.inf)
    return overlap == overlap.min(axis=1, keepdims=True)


def overlaps(orderings: Ordering, side: int = 16) -> Float[np.ndarray, 'stack stack']:
    """Shared part of two pasts, intersection over union, averaged over the pixels of a map: 1 on the diagonal.

    A past is all that is visited before a pixel, itself left out; pixels where neither has one do not count.
    """
    each = [jax.tree.map(lambda flag, index=index: bool(flag[index]), orderings) for index in range(len(orderings.zigzag))]
    with jax.ensure_compile_time_eval():  # the geometry is static, also where a step is traced
        ranks = [rank(one, side, side).reshape(-1) for one in each]
    pasts = np.stack([visited[None, :] < visited[:, None] for visited in ranks])
    both = np.einsum('iqk,jqk->ijq', pasts.astype(np.float32), pasts.astype(np.float32))
    sizes = pasts.sum(-1)
    either = sizes[:, None] + sizes[None, :] - both
    return np.sum(both / np.maximum(either, 1), axis=-1) / np.sum(either > 0, axis=-1)


def choose(orderings: Ordering, index: Int[Array, '']) -> Ordering:
    """One ordering of a stack. A flag that is the same in the whole stack stays static: raster alone computes no zigzag."""
    return jax.tree.map(lambda flags: bool(flags[0]) if (flags == flags[0]).all() else jnp.asarray(flags)[index], orderings)


def is_static(flag: Flag) -> bool:
    return isinstance(flag, bool | np.bool_)


def select(flag: Flag, if_true, if_false):
    """`if_true()` or `if_false()`; only a traced flag computes both."""
    if is_static(flag):
        return if_true() if flag else if_false()
    return jnp.where(flag, if_true(), if_false())


def into_frame(x, ordering: Ordering, rows: int = 1):
    """Turns axes `rows` and `rows + 1` of `x` (features, kernels, coordinates) into the frame of `ordering`."""
    x = select(ordering.flip_rows, lambda: jnp.flip(x, rows), lambda: x)
    x = select(ordering.flip_columns, lambda: jnp.flip(x, rows + 1), lambda: x)
    _check_turnable(x, ordering, rows)
    return select(ordering.transpose, lambda: jnp.swapaxes(x, rows, rows + 1), lambda: x)


def out_of_frame(x, ordering: Ordering, rows: int = 1):
    """The inverse of `into_frame`."""
    _check_turnable(x, ordering, rows)
    x = select(ordering.transpose, lambda: jnp.swapaxes(x, rows, rows + 1), lambda: x)
    x = select(ordering.flip_columns, lambda: jnp.flip(x, rows + 1), lambda: x)
    return select(ordering.flip_rows, lambda: jnp.flip(x, rows), lambda: x)


def _check_turnable(x, ordering: Ordering, rows: int):
    if not is_static(ordering.transpose) and x.shape[rows] != x.shape[rows + 1]:
        raise UserError(
            f'an ordering chosen at run time needs square maps, found {x.shape[rows]} x {x.shape[rows + 1]}; '
            'use a square crop, a static ordering (orderings.by_name) or ordering=None'
        )


def canonical_support(
    shift: Shift, size: int, dilation: int = 1
) -> tuple[Bool[np.ndarray, 'size size'], tuple[tuple[int, int], tuple[int, int]]]:
    """Taps and zero padding ((top, bottom), (left, right)) of a `size` x `size` kernel in the canonical frame.

    'raster': shifted down, so that the last kernel row reads the current image row; its taps right of the centre are
    masked. 'corner': shifted down and right, so that the last tap reads the current pixel: the past of every tap lies in
    the quadrant above and to the left, which any scan from that corner visits first, and no tap is masked. 'top' and
    'left': one-sided shifts for zigzag; the taps on the current diagonal (the zigzag reads it one way or the other) and
    later ones are masked. 'centred': all taps and even padding, the convolution of inference.

    The current pixel is always read. Masks count taps; only padding counts dilated pixels.
    """
    if size < 1 or size % 2 == 0:
        raise UserError(f'a masked kernel needs an odd size, so that it has a centre; found {size}')
    if shift not in get_args(Shift):
        raise UserError(f'a shift is one of {", ".join(get_args(Shift))}; found {shift!r}')
    half, extent = size // 2, (size - 1) * dilation
    even = (half * dilation, half * dilation)
    padding = {
        'raster': ((extent, 0), even),
        'corner': ((extent, 0), (extent, 0)),
        'top': ((extent, 0), even),
        'left': (even, (extent, 0)),
        'centred': (even, even),
    }[shift]
    down = np.arange(size)[:, None] - padding[0][0] // dilation
    right = np.arange(size)[None, :] - padding[1][0] // dilation
    current = (down == 0) & (right == 0)
    taps = {
        'raster': (down < 0) | (right <= 0),
        'corner': (down <= 0) & (right <= 0),
        'top': current | (down + right < 0),
        'left': current | (down + right < 0),
        'centred': np.ones((size, size), bool),
    }[shift]
    return taps, padding


def support(
    ordering: Ordering, size: int, dilation: int = 1, zigzag_shift: Shift = 'corner'
) -> tuple[Bool[np.ndarray, 'size size'], tuple[tuple[int, int], tuple[int, int]]]:
    """Taps and zero padding ((top, bottom), (left, right)) of a static ordering, seen in the image itself."""
    _, (rows, columns) = canonical_support(zigzag_shift if ordering.zigzag else 'raster', size, dilation)
    if ordering.transpose:
        rows, columns = columns, rows
    rows = rows[::-1] if ordering.flip_rows else rows
    columns = columns[::-1] if ordering.flip_columns else columns
    return np.asarray(used_taps(ordering, size, zigzag_shift)), (rows, columns)


def used_taps(ordering: Ordering, size: int, zigzag_shift: Shift = 'corner') -> Bool[np.ndarray | Array, 'size size']:
    """Taps of a `size` x `size` kernel that a scan does not mask, seen in the image itself; any ordering."""
    raster, zigzag = (canonical_support(shift, size)[0] for shift in ('raster', zigzag_shift))
    return out_of_frame(select(ordering.zigzag, lambda: zigzag, lambda: raster), ordering, rows=0)


def zigzag_sequence(height: int, width: int) -> Int[np.ndarray, 'tokens']:
    """Flat indices of a map in JPEG zigzag order: anti-diagonals from the top left, the first step to the right."""
    row, column = np.divmod(np.arange(height * width), width)
    diagonal = row + column
    along = np.where(diagonal % 2 == 1, row, column)
    return np.lexsort((along, diagonal))


def visiting_sequence(ordering: Ordering, height: int, width: int) -> Int[np.ndarray, 'tokens']:
    """Flat indices of a `height` x `width` map in the order in which a static ordering visits them."""
    frame = np.asarray(into_frame(np.arange(height * width).reshape(height, width), ordering, rows=0))
    sequence = frame.reshape(-1)
    return sequence[zigzag_sequence(*frame.shape)] if ordering.zigzag else sequence


def rank(ordering: Ordering, height: int, width: int) -> Int[np.ndarray, 'height width']:
    """When each pixel of a `height` x `width` map is visited by a static ordering, from 0."""
    return np.argsort(visiting_sequence(ordering, height, width)).reshape(height, width)
