"""What a page says, as its elements are read."""

import itertools
import re

import numpy as np
import pytest

from ar_seg_jax.reporting import page
from tests.support import accounts, pages


@pytest.fixture(scope='module')
def one():
    return pages.read(page.of_runs([accounts.account('<script>mine')]))


@pytest.fixture(scope='module')
def two():
    others = [accounts.pictured('first'), accounts.pictured('<i>second</i>', shade=31)]
    second = accounts.account('other', images=others[1:], compared=others[:1], facts={'Method': 'IIC', 'Seed': '3'})
    return pages.read(page.of_runs([accounts.account('<script>mine'), second]))


@pytest.mark.parametrize('name', ['one', 'two'])
def test_headings_are_in_order_ids_are_there_once_and_links_and_names_lead_to_them(name, request):
    found = request.getfixturevalue(name)
    levels = [int(node.tag[1]) for node in found.all() if re.fullmatch('h[1-6]', node.tag)]
    assert levels[0] == 1 and all(after <= before + 1 for before, after in itertools.pairwise(levels))
    ids = [node.attributes['id'] for node in found.all() if 'id' in node.attributes]
    assert len(set(ids)) == len(ids)
    for link in found.all('a'):
        assert link.attributes['href'].removeprefix('#') in ids
    for node in found.all():
        assert set(node.attributes.get('aria-labelledby', '').split()) <= set(ids)


@pytest.mark.parametrize('name', ['one', 'two'])
def test_every_picture_slider_and_table_has_words(name, request):
    found = request.getfixturevalue(name)
    assert all(image.attributes['alt'] and image.attributes['src'].startswith('data:image/') for image in found.all('img'))
    for label in found.all('label'):
        assert label.text.strip()
        assert 'for' not in label.attributes and len(list(label.all('input'))) == 1
    for field in found.all('input'):
        assert field.attributes.get('aria-label') or any(field in label.children for label in found.all('label'))
    for table in found.all('table'):
        assert table.one('caption').text
        assert all(heading.attributes['scope'] in ('row', 'col') and heading.text for heading in table.all('th'))
    drawings = [drawing for drawing in found.all('svg') if drawing.attributes.get('aria-hidden') != 'true']
    for drawing in drawings:
        assert drawing.attributes['role'] == 'img' and drawing.one('title').text and drawing.one('desc').text


def test_names_are_texts_and_nothing_else(one):
    assert one.one('h1').text == one.one('title', id=None).text == 'Report of <script>mine'
    assert len(list(one.all('script'))) == 1 and not list(one.all('b')) and not list(one.all('i'))
    assert [caption.text for caption in one.one('section', id='run-images').all('figcaption')] == [
        'best, 75.0%: first', 'worst, 75.0%: <i>second</i>',
    ]  # fmt: skip


def test_clusters_scores_and_confusion_are_tables(one):
    clusters, scores, confusion = (
        pages.cells(one.one('section', id=f'run-{name}').one('table')) for name in ('clusters', 'scores', 'confusion')
    )
    assert clusters[1:] == [
        ['0', 'sky', '50.0%', '0.25', '1.10', '#0c2238', '', '', ''],
        ['1', '<b>road</b>', '0.0%', '-', '-', '-', '-', '', ''],
    ]
    assert scores == [['name', 'accuracy'], ['AC', '0.800'], ['k-means', '0.500']]
    assert confusion == [
        ['cluster', 'sky', '<b>road</b>'],
        ['cluster 0 (sky)', '0.75', '1.00'],
        ['cluster 1 (<b>road</b>)', '0.25', '0.00'],
    ]
    classes = [cell.attributes['class'] for cell in one.one('section', id='run-confusion').all('span')]
    assert classes == ['heat heat-8', 'heat heat-10', 'heat heat-2', 'heat heat-0']
    assert [square.attributes['fill'] for square in one.one('section', id='run-clusters').all('rect')] == [
        '#0a78fa', '#0c2238', '#c81e1e',
    ]  # fmt: skip


def test_an_image_lies_below_its_label_map_and_both_have_the_same_size(one):
    figure = next(one.one('section', id='run-images').all('figure'))
    image, label_map = figure.one('div', class_='stack').all('img')
    assert (image.attributes['alt'], label_map.attributes['alt']) == ('image first', 'label map of first')
    assert pages.pixels(image).shape == pages.pixels(label_map).shape == (8, 12, 3)
    np.testing.assert_array_equal(pages.pixels(label_map)[[0, -1], 0], [(10, 120, 250), (200, 30, 30)])
    assert list(figure.all('img'))[2].attributes['alt'] == 'labels of first'
    assert figure.one('input').attributes['aria-label'] == 'label map over image first'


def test_what_there_is_nothing_of_has_no_section():
    empty = accounts.account(records=(), clusters=(), images=(), scores=(), confusion=None, notes=['nothing was scored'])
    found = pages.read(page.of_runs([empty]))
    assert [node.attributes['id'] for node in found.all('section')] == ['run-facts']
    assert found.one('p', class_='note').text == 'nothing was scored'
    assert found.one('p', class_='warning').text == 'Warning: cluster 1 is thin'


def test_several_runs_stand_side_by_side(two):
    assert two.one('h1').text == 'Comparison of <script>mine, other'
    assert pages.cells(two.one('section', id='facts').one('table')) == [
        ['about', '<script>mine', 'other'],
        ['Method', 'AC', 'IIC'],
        ['Steps', '20', '-'],
        ['Seed', '-', '3'],
    ]
    assert pages.cells(two.one('section', id='scores').one('table')) == [
        ['name', 'accuracy'], ['<script>mine', '0.800'], ['other', '0.800'],
    ]  # fmt: skip
    lines = [node for node in two.one('section', id='curves').all('path') if 'line' in node.attributes.get('class', '').split()]
    assert {line.attributes['class'] for line in lines} == {'line line-0', 'line line-1'}


def test_only_images_that_are_the_same_stand_side_by_side(two):
    (figure,) = two.one('section', id='images').all('figure')
    assert figure.one('figcaption').text == 'first'
    assert [slider.attributes['aria-label'] for slider in figure.all('input')] == [
        '<script>mine over image first', 'other over image first',
    ]  # fmt: skip


def test_runs_of_one_name_are_told_apart():
    found = pages.read(page.of_runs([accounts.account('mine'), accounts.account('mine')]))
    assert found.one('h1').text == 'Comparison of mine (1), mine (2)'


def test_a_page_follows_from_what_it_shows():
    assert page.of_runs([accounts.account()]) == page.of_runs([accounts.account()])
