"""What the layers' gradients say against the papers' numbers, against sets of pixels, and against ranks."""

import numpy as np
import pytest

from ar_seg_jax import orderings
from ar_seg_jax.drawing import receptive_fields
from ar_seg_jax.errors import UserError
from ar_seg_jax.orderings import ORDERINGS, RASTER, ZIGZAG

NAMES = tuple(ORDERINGS)


@pytest.mark.parametrize('zigzag, counts', [('corner', (81, 81)), ('alternate', (97, 113))])
def test_convolutions_read_as_many_pixels_as_in_the_paper(zigzag, counts):
    read = receptive_fields.of_centre(receptive_fields.convolutions(8, zigzag), NAMES, 17).sum((2, 3))
    for name, of_name in zip(NAMES, read, strict=True):
        assert (of_name[4], of_name[7]) == ((84, 117) if name in RASTER else counts), name


def test_convolutions_read_what_the_supplements_taps_reach(supplement):
    size, depth = 11, 4
    found = receptive_fields.of_centre(receptive_fields.convolutions(depth), tuple(RASTER), size)
    for name, of_name in zip(RASTER, found, strict=True):
        taps, ((top, _), (left, _)) = supplement(name)
        offsets = np.argwhere(taps) - (top, left)
        reached = {(size // 2, size // 2)}
        for read in of_name:
            reached = {(row + down, column + right) for row, column in reached for down, right in offsets}
            reached = {pixel for pixel in reached if min(pixel) >= 0 and max(pixel) < size}
            assert set(map(tuple, np.argwhere(read).tolist())) == reached, name


@pytest.mark.parametrize('zigzag', ['corner', 'alternate'])
def test_receptive_fields_hold_the_centre_and_grow_within_the_past(zigzag):
    found = receptive_fields.of_centre(receptive_fields.convolutions(6, zigzag), NAMES, 8)
    assert found.shape == (16, 6, 8, 8)
    assert found[:, :, 4, 4].all()
    assert (found[:, 1:] >= found[:, :-1]).all()
    for name, of_name in zip(NAMES, found, strict=True):
        assert not of_name[:, ~receptive_fields.past(name, 8)].any(), name


def test_attention_reads_exactly_what_was_visited():
    found = receptive_fields.of_centre(receptive_fields.attention(), NAMES, 9)
    for name, of_name in zip(NAMES, found, strict=True):
        ranks = orderings.rank(ORDERINGS[name], 9, 9)
        np.testing.assert_array_equal(of_name[0], ranks <= ranks[4, 4], err_msg=name)


@pytest.mark.parametrize('zigzag, names', [('corner', NAMES), ('alternate', tuple(ZIGZAG))])
def test_attention_leaves_no_blind_spot_to_convolutions(zigzag, names):
    convolutions = receptive_fields.convolutions(receptive_fields.MOST_LAYERS, zigzag)
    found = receptive_fields.of_centre((*convolutions[:2], *receptive_fields.attention(), *convolutions[2:]), names, 12)
    for name, of_name in zip(names, found, strict=True):
        past = receptive_fields.past(name, 12)
        assert (of_name[1] < past).any(), name
        for read in of_name[2:]:
            np.testing.assert_array_equal(read, past, err_msg=name)


@pytest.mark.parametrize('count', [-1, 0, 17])
def test_numbers_of_layers_that_cannot_be_drawn_are_refused(count):
    with pytest.raises(UserError, match=f'^receptive fields are drawn for 1 to 16 layers, found {count}$'):
        receptive_fields.convolutions(count)


def test_what_is_no_map_or_no_ordering_is_refused():
    with pytest.raises(UserError, match=r'^a map has at least one pixel a side, found 0$'):
        receptive_fields.of_centre(receptive_fields.attention(), NAMES, 0)
    with pytest.raises(UserError, match=r"^no ordering is called 'A3'; the names are A1, A2, "):
        receptive_fields.of_centre(receptive_fields.attention(), ('A1', 'A3'), 4)
