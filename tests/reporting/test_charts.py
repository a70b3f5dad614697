"""Charts: their lines as numbers again."""

import math
import re

import numpy as np

from ar_seg_jax.drawing.series import Line
from ar_seg_jax.reporting import elements
from ar_seg_jax.reporting.charts import SHARE, chart
from tests.support import pages


def drawn(lines, unit='nats'):
    return pages.read(elements.page('', elements.element('body', chart('a title', unit, lines, 'x')))).one('figure')


def points(figure):
    """Of each path, in units of the drawing."""
    paths = [path.attributes['d'] for path in figure.one('svg', role='img').all('path', class_='line')]
    return [[tuple(map(float, pair)) for pair in re.findall(r'([\d.]+) ([\d.]+)', path)] for path in paths]


def test_a_line_goes_through_its_points_on_straight_scales():
    steps, values = np.array([0, 5, 10, 40]), np.array([-1.0, 0.0, 3.0, 1.0])
    (found,) = points(drawn([Line('a', list(zip(steps.tolist(), values.tolist(), strict=True)))]))
    x, y = np.array(found).T
    np.testing.assert_allclose((x - x[0]) / (x[-1] - x[0]), steps / 40, atol=1e-3)
    np.testing.assert_allclose((y - y[0]) / (y[2] - y[0]), (values + 1) / 4, atol=1e-3)
    assert y[2] < y[0]  # what is larger is higher


def test_what_is_not_finite_interrupts_a_line_and_a_point_alone_is_drawn():
    values = [(0, 1.0), (1, 2.0), (2, math.nan), (3, 1.5), (4, math.inf), (5, 1.0), (6, 2.0)]
    figure = drawn([Line('a', values)])
    assert [len(part) for part in points(figure)] == [2, 1, 2]
    assert figure.one('desc').text == 'a: from 1 at step 0 to 2 at step 6'


def test_the_numbers_are_in_a_table_beside_which_line_is_which():
    bound = Line('its bound', [(1, 1.0), (3, 2.0)], None, '--')
    figure = drawn([Line('a', [(1, 0.5), (3, 0.25)]), bound, Line('no numbers', [(1, math.nan)])])
    assert [entry.text for entry in figure.all('li')] == ['a', 'its bound']
    assert pages.cells(figure.one('table')) == [['step', 'a', 'its bound'], ['1', '0.5000', '1.0000'], ['3', '0.2500', '2.0000']]
    dashes = [path.attributes.get('stroke-dasharray') for path in figure.one('svg', role='img').all('path', class_='line')]
    assert dashes == [None, '7 4']


def test_a_long_line_is_drawn_from_some_of_its_points_and_the_table_has_the_first_and_the_last():
    figure = drawn([Line('a', [(step, math.sin(step)) for step in range(5000)])])
    (found,) = points(figure)
    rows = pages.cells(figure.one('table'))[1:]
    assert len(found) == 400 and len(rows) == 12 and (rows[0][0], rows[-1][0]) == ('0', '4999')


def test_shares_are_drawn_between_0_and_1_and_equal_values_somewhere():
    (found,) = points(drawn([Line('a', [(0, 0.5), (2, 0.25)])], SHARE))
    (alike,) = points(drawn([Line('a', [(0, 7.0), (2, 7.0)])]))
    height = [y for _, y in found]
    ticks = [float(text.text) for text in drawn([Line('a', [(0, 0.5), (2, 0.25)])], SHARE).all('text') if '.' in text.text]
    assert ticks == [0.2, 0.4, 0.6, 0.8]
    assert height[1] > height[0] and alike[0][1] == alike[1][1]
