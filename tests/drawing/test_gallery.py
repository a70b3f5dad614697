"""The pictures of the geometry, as a command and as what their panels hold."""

import numpy as np
import pytest
from PIL import Image

from ar_seg_jax.drawing import gallery
from ar_seg_jax.orderings import ORDERINGS, RASTER, ZIGZAG
from tests.support import commands

LATER, UNREAD, READ = 0, 1, 2
# When each pixel of a 6x6 map is visited: by rows, and in JPEG's zigzag. All orderings are these two, turned.
BY_ROWS = np.arange(36).reshape(6, 6)
JPEG = np.array(
    [
        [0, 1, 5, 6, 14, 15],
        [2, 4, 7, 13, 16, 25],
        [3, 8, 12, 17, 24, 26],
        [9, 11, 18, 23, 27, 32],
        [10, 19, 22, 28, 31, 33],
        [20, 21, 29, 30, 34, 35],
    ]
)


def panels(figure):
    """Title and cells of each panel."""
    return [(axes.get_title(), np.asarray(axes.collections[0].get_array())) for axes in figure.axes]


def test_the_command_writes_four_pictures(tmp_path):
    done = commands.run('figures', f'--output={tmp_path / "new" / "figures"}', '--size=6', '--layers=3')
    assert done.returncode == 0, done.stderr
    written = sorted((tmp_path / 'new' / 'figures').iterdir())
    assert [path.name for path in written] == ['attention.png', 'growth.png', 'orderings.png', 'receptive_fields.png']
    assert sorted(done.stdout.split()) == [str(path) for path in written]
    for path in written:
        with Image.open(path) as image:
            image.load()
            assert image.format == 'PNG' and 400 < image.width < 2000 and 300 < image.height < 1000
            assert len(image.getcolors(1 << 20)) > 10


@pytest.mark.parametrize(
    'flag, message',
    [('--size=2', '2 is not an integer in the range [3, 64]'), ('--layers=17', '17 is not an integer in the range [1, 16]')],
)
def test_wrong_flags_are_told_in_a_line(tmp_path, flag, message):
    done = commands.run('figures', f'--output={tmp_path}', flag)
    assert done.returncode == 2
    assert f'{flag}: {message}' in done.stderr and 'Traceback' not in done.stderr
    assert not list(tmp_path.iterdir())


def test_growth_is_drawn_layer_by_layer(supplement):
    """What the taps of the supplement reach, from pixel to pixel; what rows and columns have not come to yet is later."""
    found = panels(gallery.growth(9, 3))
    assert [title for title, _ in found] == ['1 convolution', '2 convolutions', '3 convolutions'] * 2
    rows, columns = np.indices((9, 9))
    for name, drawn, rank in (('A1', found[:3], 9 * rows + columns), ('A2', found[3:], 9 * columns + rows)):
        taps, ((top, _), (left, _)) = supplement(name)
        reached = {(4, 4)}
        for _, cells in drawn:
            reached = {(row + down - top, column + right - left) for row, column in reached for down, right in np.argwhere(taps)}
            assert set(zip(*np.nonzero(cells == READ), strict=True)) == {pixel for pixel in reached if min(pixel) >= 0}, name
            np.testing.assert_array_equal(cells == LATER, rank > rank[4, 4], err_msg=name)


def test_receptive_fields_are_drawn_under_every_ordering_and_shift():
    found = panels(gallery.receptive_fields(17, 8))
    assert [title for title, _ in found] == [*RASTER, *ZIGZAG, *ZIGZAG]
    assert [np.sum(cells == READ) for _, cells in found] == [117] * 8 + [81] * 8 + [113] * 8
    assert all(np.sum(cells != LATER) == 145 for _, cells in found)


def test_the_picture_of_attention_has_blind_spots_only_where_there_is_none():
    found = panels(gallery.attention(12, 3))
    assert [title for title, _ in found[:16]] == [*RASTER, *ZIGZAG]
    assert not any((cells == UNREAD).any() for _, cells in found[:16])
    mixed = found[16:]
    assert [title.split('\n')[1] for title, _ in mixed] == ['3 convolutions', 'and attention'] * 4
    assert [bool((cells == UNREAD).any()) for _, cells in mixed] == [True, False] * 4


def test_the_picture_of_the_orderings_follows_their_ranks():
    figure = gallery.scans()
    assert [title for title, _ in panels(figure)] == list(ORDERINGS)
    for axes, (name, cells) in zip(figure.axes, panels(figure), strict=True):
        corner, shift = name[-2:]
        expected = JPEG if name.startswith('zigzag') else BY_ROWS
        expected = expected.T if shift in '24' else expected
        expected = expected[:, ::-1] if corner in 'BD' else expected
        expected = expected[::-1] if corner in 'CD' else expected
        np.testing.assert_array_equal(cells, expected, err_msg=name)
        columns, rows = axes.get_lines()[0].get_xydata().astype(int).T
        np.testing.assert_array_equal(cells[rows, columns], np.arange(36))
