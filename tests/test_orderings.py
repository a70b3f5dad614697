"""The sixteen scans and their kernels against tables of the supplement, written out again here from its words."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from ar_seg_jax import orderings
from ar_seg_jax.errors import UserError
from ar_seg_jax.orderings import ORDERINGS, RASTER, ZIGZAG

# When pixel (i, j) of a map of H rows and W columns is visited.
RASTER_RANKS = {
    'A1': lambda i, j, H, W: i * W + j,
    'B1': lambda i, j, H, W: i * W + (W - 1 - j),
    'C3': lambda i, j, H, W: (H - 1 - i) * W + j,
    'D3': lambda i, j, H, W: (H - 1 - i) * W + (W - 1 - j),
    'A2': lambda i, j, H, W: j * H + i,
    'C2': lambda i, j, H, W: j * H + (H - 1 - i),
    'B4': lambda i, j, H, W: (W - 1 - j) * H + i,
    'D4': lambda i, j, H, W: (W - 1 - j) * H + (H - 1 - i),
}
# Starting corner and first step of the zigzags.
ZIGZAG_STARTS = {
    'zigzag_A1': ('top', 'left', 'right'),
    'zigzag_A2': ('top', 'left', 'down'),
    'zigzag_B1': ('top', 'right', 'left'),
    'zigzag_B4': ('top', 'right', 'down'),
    'zigzag_C3': ('bottom', 'left', 'right'),
    'zigzag_C2': ('bottom', 'left', 'up'),
    'zigzag_D3': ('bottom', 'right', 'left'),
    'zigzag_D4': ('bottom', 'right', 'up'),
}
STEPS = {'up': (-1, 0), 'down': (1, 0), 'left': (0, -1), 'right': (0, 1)}
GRIDS = [(4, 4), (6, 6), (7, 7), (5, 8), (8, 3), (1, 5), (5, 1), (1, 1)]
NAMES = tuple(ORDERINGS)
STACK = orderings.stack(NAMES)


def zigzag_walk(name, height, width):
    """The pixels of a zigzag one after the other, found by walking: along a diagonal, and at a border one step on."""
    row_start, column_start, first = ZIGZAG_STARTS[name]
    start = np.array([0 if row_start == 'top' else height - 1, 0 if column_start == 'left' else width - 1])
    ahead = np.array(STEPS[first])
    aside = np.array([1 if start[0] == 0 else -1, 0]) if ahead[0] == 0 else np.array([0, 1 if column_start == 'left' else -1])
    length, breadth = (height, width) if ahead[0] else (width, height)
    forward, sideways, outward, visited = 0, 0, True, []
    for _ in range(height * width):
        visited.append(tuple(int(coordinate) for coordinate in start + forward * ahead + sideways * aside))
        if outward and forward == length - 1:
            sideways, outward = sideways + 1, False
        elif outward and sideways == 0:
            forward, outward = forward + 1, False
        elif outward:
            forward, sideways = forward + 1, sideways - 1
        elif sideways == breadth - 1:
            forward, outward = forward + 1, True
        elif forward == 0:
            sideways, outward = sideways + 1, True
        else:
            forward, sideways = forward - 1, sideways + 1
    return visited


def visited_pixels(name, height, width):
    sequence = orderings.visiting_sequence(ORDERINGS[name], height, width)
    return [tuple(int(coordinate) for coordinate in divmod(index, width)) for index in sequence]


def table_support(name, size, dilation):
    """Taps and padding of the eight raster scans, spelled out name by name."""
    half, extent = size // 2, (size - 1) * dilation
    even = half * dilation
    taps = np.ones((size, size), bool)
    later = {'>': slice(half + 1, None), '<': slice(0, half)}
    line, side, left, right, top, bottom = {
        'A1': ('last row', '>', even, even, extent, 0),
        'B1': ('last row', '<', even, even, extent, 0),
        'C3': ('first row', '>', even, even, 0, extent),
        'D3': ('first row', '<', even, even, 0, extent),
        'A2': ('last column', '>', extent, 0, even, even),
        'C2': ('last column', '<', extent, 0, even, even),
        'B4': ('first column', '>', 0, extent, even, even),
        'D4': ('first column', '<', 0, extent, even, even),
    }[name]
    index = -1 if line.startswith('last') else 0
    taps[(index, later[side]) if line.endswith('row') else (later[side], index)] = False
    return taps, ((top, bottom), (left, right))


def offsets(taps, padding, dilation):
    """Row and column offsets from the output pixel to the pixels a kernel reads there."""
    (top, _), (left, _) = padding
    return {(int(row) * dilation - top, int(column) * dilation - left) for row, column in np.argwhere(taps)}


def unchecked(function):
    """A function without jaxtyping's check of its annotations, as a user has it."""
    return getattr(function, '__wrapped__', function)


def test_there_are_eight_raster_and_eight_zigzag_orderings():
    assert set(RASTER) == set(RASTER_RANKS) and set(ZIGZAG) == set(ZIGZAG_STARTS)
    assert {**RASTER, **ZIGZAG} == ORDERINGS
    assert len({tuple(jax.tree.leaves(ordering)) for ordering in ORDERINGS.values()}) == 16


@pytest.mark.parametrize('height, width', GRIDS)
def test_raster_ranks_are_those_of_the_table(height, width):
    i, j = np.indices((height, width))
    for name, formula in RASTER_RANKS.items():
        np.testing.assert_array_equal(orderings.rank(ORDERINGS[name], height, width), formula(i, j, height, width), err_msg=name)


@pytest.mark.parametrize('height, width', GRIDS)
def test_every_sequence_visits_every_pixel_once_and_agrees_with_its_ranks(height, width):
    for name, ordering in ORDERINGS.items():
        sequence = orderings.visiting_sequence(ordering, height, width)
        np.testing.assert_array_equal(np.sort(sequence), np.arange(height * width), err_msg=name)
        ranks = orderings.rank(ordering, height, width)
        np.testing.assert_array_equal(ranks.reshape(-1)[sequence], np.arange(height * width), err_msg=name)


@pytest.mark.parametrize('height, width', GRIDS)
def test_zigzags_are_the_walks_of_the_table(height, width):
    for name in ZIGZAG:
        assert visited_pixels(name, height, width) == zigzag_walk(name, height, width), name


@pytest.mark.parametrize('height, width', [(6, 6), (7, 7), (5, 8)])
def test_the_eight_zigzags_are_distinct_and_step_to_neighbours(height, width):
    walks = {name: visited_pixels(name, height, width) for name in ZIGZAG}
    assert len({tuple(walk) for walk in walks.values()}) == 8
    for name, walk in walks.items():
        steps = np.abs(np.diff(np.array(walk), axis=0)).max(axis=1)
        np.testing.assert_array_equal(steps, 1, err_msg=name)


@pytest.mark.parametrize('height, width', [(6, 6), (7, 7), (5, 8)])
def test_zigzags_start_in_the_corner_and_direction_of_the_table(height, width):
    for name, (row, column, first) in ZIGZAG_STARTS.items():
        start, second = visited_pixels(name, height, width)[:2]
        assert start == ({'top': 0, 'bottom': height - 1}[row], {'left': 0, 'right': width - 1}[column]), name
        assert (second[0] - start[0], second[1] - start[1]) == STEPS[first], name


def test_the_first_zigzag_starts_like_jpeg():
    start = [(0, 0), (0, 1), (1, 0), (2, 0), (1, 1), (0, 2), (0, 3), (1, 2), (2, 1), (3, 0)]
    assert visited_pixels('zigzag_A1', 8, 8)[:10] == start


@pytest.mark.parametrize('dilation', [1, 2])
@pytest.mark.parametrize('size', [3, 5, 7])
def test_raster_taps_and_padding_are_those_of_the_table(size, dilation):
    for name in RASTER:
        taps, padding = orderings.support(ORDERINGS[name], size, dilation)
        expected_taps, expected_padding = table_support(name, size, dilation)
        np.testing.assert_array_equal(taps, expected_taps, err_msg=name)
        assert padding == expected_padding, name
        assert (~taps).sum() == size // 2


def test_three_by_three_kernels_are_those_of_the_supplement(supplement):
    for name in RASTER:
        taps, padding = orderings.support(ORDERINGS[name], 3)
        expected_taps, expected_padding = supplement(name)
        np.testing.assert_array_equal(taps, expected_taps, err_msg=name)
        assert padding == expected_padding, name


@pytest.mark.parametrize('dilation', [1, 2])
@pytest.mark.parametrize('size, counts', [(1, (1, 1, 1)), (3, (9, 7, 7)), (5, (25, 20, 20)), (7, (49, 40, 40))])
def test_zigzag_kernels_keep_the_taps_of_the_table_and_read_only_earlier_diagonals(size, counts, dilation):
    for name in ZIGZAG:
        row, column, _ = ZIGZAG_STARTS[name]
        inwards = (1 if row == 'top' else -1, 1 if column == 'left' else -1)
        for shift, count in zip(('corner', 'top', 'left'), counts, strict=True):
            taps, padding = orderings.support(ORDERINGS[name], size, dilation, shift)
            assert taps.sum() == count, (name, shift)
            read = offsets(taps, padding, dilation)
            assert (0, 0) in read
            for down, right in read - {(0, 0)}:
                assert down * inwards[0] + right * inwards[1] < 0, (name, shift)
            if shift == 'corner':
                assert all(down * inwards[0] <= 0 and right * inwards[1] <= 0 for down, right in read)
            assert all(sum(axis) == (size - 1) * dilation for axis in padding), 'the map changes its size'


@pytest.mark.parametrize('shift', ['corner', 'top', 'left', 'raster'])
def test_taps_of_an_ordering_that_is_chosen_at_run_time_are_those_of_its_name(shift):
    found = jax.jit(jax.vmap(lambda index: orderings.used_taps(orderings.choose(STACK, index), 5, shift)))(jnp.arange(len(NAMES)))
    for name, taps in zip(NAMES, found, strict=True):
        np.testing.assert_array_equal(taps, orderings.support(ORDERINGS[name], 5, 1, shift)[0], err_msg=name)


def test_kernels_of_the_canonical_zigzag_shift_down_or_right_as_they_say():
    assert orderings.support(ORDERINGS['zigzag_A1'], 5, 2, 'corner')[1] == ((8, 0), (8, 0))
    assert orderings.support(ORDERINGS['zigzag_A1'], 5, 2, 'top')[1] == ((8, 0), (4, 4))
    assert orderings.support(ORDERINGS['zigzag_A1'], 5, 2, 'left')[1] == ((4, 4), (8, 0))
    assert orderings.support(ORDERINGS['zigzag_D3'], 5, 2, 'top')[1] == ((0, 8), (4, 4))
    assert orderings.support(ORDERINGS['zigzag_C2'], 5, 2, 'corner')[1] == ((0, 8), (8, 0))


def test_a_zigzag_under_raster_shift_has_the_raster_kernel_of_its_frame():
    for name in RASTER:
        taps, padding = orderings.support(ORDERINGS[f'zigzag_{name}'], 5, 1, 'raster')
        expected_taps, expected_padding = table_support(name, 5, 1)
        np.testing.assert_array_equal(taps, expected_taps, err_msg=name)
        assert padding == expected_padding, name


def test_the_centred_kernel_has_all_taps_and_even_padding():
    taps, padding = orderings.canonical_support('centred', 5, 3)
    assert taps.all() and padding == ((6, 6), (6, 6))


def test_turning_into_the_frame_makes_the_scan_canonical():
    for name in NAMES:
        ranks = orderings.rank(ORDERINGS[name], 5, 8)
        turned = np.asarray(orderings.into_frame(ranks, ORDERINGS[name], rows=0))
        canonical = orderings.rank(ORDERINGS['zigzag_A1' if name in ZIGZAG else 'A1'], *turned.shape)
        np.testing.assert_array_equal(turned, canonical, err_msg=name)


@pytest.mark.parametrize('shape, rows', [((2, 5, 8, 3), 1), ((7, 4), 0), ((3, 3, 2, 4), 0)])
def test_turning_out_of_the_frame_undoes_turning_into_it(shape, rows):
    x = np.arange(np.prod(shape)).reshape(shape)
    for name, ordering in ORDERINGS.items():
        turned = orderings.into_frame(x, ordering, rows)
        np.testing.assert_array_equal(orderings.out_of_frame(turned, ordering, rows), x, err_msg=name)
        # the other way round too: six of the eight frames are their own inverse, and hide a swap of the two functions
        np.testing.assert_array_equal(orderings.into_frame(orderings.out_of_frame(x, ordering, rows), ordering, rows), x)


def test_traced_orderings_turn_like_static_ones():
    x = jnp.arange(2 * 5 * 5 * 3).reshape(2, 5, 5, 3)
    turn = jax.jit(lambda index: both_ways(x, jax.tree.map(lambda flags: jnp.asarray(flags)[index], STACK)))
    for index, name in enumerate(NAMES):
        expected = both_ways(x, ORDERINGS[name])
        for turned, static in zip(turn(index), expected, strict=True):
            np.testing.assert_array_equal(turned, static, err_msg=name)
    assert turn._cache_size() == 1


def both_ways(x, ordering):
    return orderings.into_frame(x, ordering), orderings.out_of_frame(x, ordering)


def drawn_pairs(names, sampling, count):
    """Positions in `names` of the orderings of `count` draws."""
    stack = orderings.stack(names)
    keys = jax.random.split(jax.random.key(3), count)
    pairs = jax.vmap(lambda key: orderings.sample_pair(key, stack, sampling))(keys)
    position = {tuple(jax.tree.leaves(ORDERINGS[name])): index for index, name in enumerate(names)}
    flags = [np.stack(jax.tree.leaves(ordering), axis=-1) for ordering in pairs]
    return np.array([[position[tuple(row.tolist())] for row in ordering] for ordering in flags]).T


@pytest.mark.parametrize('names', [tuple(RASTER), ('A1', 'D3', 'zigzag_B4')])
def test_random_sampling_draws_every_pair_equally_often_repeats_included(names):
    pairs = drawn_pairs(names, 'random', 6400)
    counts = np.bincount(pairs[:, 0] * len(names) + pairs[:, 1], minlength=len(names) ** 2)
    assert counts.min() > 0
    assert stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize('names', [tuple(RASTER), ('A1', 'D3', 'zigzag_B4'), ('C2', 'zigzag_C2')])
def test_sampling_without_repetition_draws_every_pair_of_different_orderings_equally_often(names):
    pairs = drawn_pairs(names, 'no_repetition', 5600)
    assert (pairs[:, 0] != pairs[:, 1]).all()
    counts = np.bincount(pairs[:, 0] * len(names) + pairs[:, 1], minlength=len(names) ** 2).reshape(len(names), -1)
    assert stats.chisquare(counts[~np.eye(len(names), dtype=bool)]).pvalue > 1e-3


def test_a_flag_that_all_orderings_share_stays_static():
    first, second = jax.jit(
        lambda key: [
            orderings.is_static(ordering.zigzag) for ordering in orderings.sample_pair(key, orderings.stack(('A1', 'B4')))
        ]
    )(jax.random.key(0))
    assert first and second
    ordering, _ = orderings.sample_pair(jax.random.key(0), orderings.stack(('zigzag_A1', 'zigzag_D3')))
    assert ordering.zigzag is True and ordering.transpose is False
    assert not orderings.is_static(ordering.flip_rows)


def test_a_config_names_sets_of_orderings_or_lists_them():
    assert orderings.names('raster') == tuple(RASTER) and orderings.names('zigzag') == tuple(ZIGZAG)
    assert orderings.names('all') == NAMES and orderings.names('none') == ()
    assert orderings.names('A1, zigzag_D3') == ('A1', 'zigzag_D3') and orderings.names('C2') == ('C2',)


def test_an_unknown_name_is_refused_with_the_list_of_names():
    with pytest.raises(UserError, match=r"no ordering is called 'E5'; the names are A1, .*, zigzag_D4$"):
        orderings.by_name('E5')
    with pytest.raises(UserError, match="no ordering is called 'zigzag'; the names are A1, "):
        orderings.stack(('A1', 'zigzag'))


def test_an_empty_choice_of_orderings_is_refused():
    with pytest.raises(UserError, match='at least one ordering is needed; the names are A1, '):
        orderings.stack(())


def test_unknown_sampling_and_one_ordering_without_repetition_are_refused():
    with pytest.raises(UserError, match=r"one of random, no_repetition, hard; found 'best'"):
        unchecked(orderings.sample_pair)(jax.random.key(0), STACK, 'best')
    with pytest.raises(UserError, match="'no_repetition' needs at least two orderings, found one"):
        orderings.sample_pair(jax.random.key(0), orderings.stack(('A1',)), 'no_repetition')


@pytest.mark.parametrize('size', [-1, 0, 2, 4])
def test_a_kernel_without_a_centre_is_refused(size):
    for shift in ('raster', 'corner', 'top', 'left', 'centred'):
        with pytest.raises(UserError, match=f'odd size.*found {size}'):
            orderings.canonical_support(shift, size)


def test_an_unknown_shift_is_refused_with_the_list_of_shifts():
    with pytest.raises(UserError, match="raster, corner, top, left, centred; found 'diagonal'"):
        unchecked(orderings.canonical_support)('diagonal', 3)


def test_a_traced_transpose_refuses_maps_that_are_not_square():
    x = jnp.zeros((1, 4, 6, 2))
    for turn in (orderings.into_frame, orderings.out_of_frame):
        with pytest.raises(UserError, match='square maps, found 4 x 6'):
            jax.jit(lambda flag, turn=turn: turn(x, orderings.Ordering(False, False, flag)))(True)
        # flips alone are no obstacle
        jax.jit(lambda flag, turn=turn: turn(x, orderings.Ordering(flag, flag, True)))(True)


def _past(ordering, place, side):
    rank = orderings.rank(ordering, side, side)
    return {index for index, visited in enumerate(rank.reshape(-1)) if visited < rank.reshape(-1)[place]}


def test_overlaps_are_those_of_sets_of_pixels():
    names = ('A1', 'B1', 'C2', 'D3', 'zigzag_A1')
    found = orderings.overlaps(orderings.stack(names), side=5)
    for (row, one), (column, other) in itertools.product(enumerate(names), repeat=2):
        pasts = [(_past(orderings.by_name(one), place, 5), _past(orderings.by_name(other), place, 5)) for place in range(25)]
        expected = np.mean([len(first & second) / len(first | second) for first, second in pasts if first | second])
        np.testing.assert_allclose(found[row, column], expected, rtol=1e-6)


def _flags(ordering):
    return tuple(map(bool, (ordering.flip_rows, ordering.flip_columns, ordering.transpose)))


def test_hard_pairs_of_raster_scans_are_exact_reverses():
    reverse = {'A1': 'D3', 'A2': 'D4', 'B1': 'C3', 'B4': 'C2'}
    reverse |= {other: one for one, other in reverse.items()}
    names = tuple(orderings.RASTER)
    stack = orderings.stack(names)
    assert [names[place] for place in orderings.hard_partners(stack).argmax(1)] == [reverse[name] for name in names]
    by_flags = {_flags(known): name for name, known in orderings.RASTER.items()}
    draw = jax.jit(lambda key: orderings.sample_pair(key, stack, 'hard'))
    drawn = set()
    for seed in range(60):
        one, other = (by_flags[_flags(each)] for each in draw(jax.random.key(seed)))
        assert other == reverse[one]
        drawn.add(one)
    assert drawn == set(names)


def test_hard_pairs_of_few_orderings_are_the_least_alike_of_them():
    # Twins share .80 of their pasts and quarter turns about .3; no reverse is among these.
    partners = orderings.hard_partners(orderings.stack(('A1', 'B1', 'A2')))
    np.testing.assert_array_equal(partners, [[False, False, True], [False, False, True], [False, True, False]])
