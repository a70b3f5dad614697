"""The paper's numbers, copied a second time from the slides, and what is wrong with a file of tables."""

import json

import pytest

from ar_seg_jax.sweeping import tables

# table, row, (POS, POS3) as the slides print them
SLIDES = """
models|random|28.5|38.2
models|F1|39.3|56.3
models|F3|47.9|64.5
models|F4|35.1|63.4
models|F5|40.7|51.9
orderings|raster, no attention|45.2|61.0
orderings|raster and zigzag|49.3|65.4
dropout|p = 0.1|47.9|64.7
num_orderings|8|46.4|66.4
sampling|no repetition|48.6|64.8
transformations|geometric: flip|46.7|68.0
transformations|photometric|47.9|65.5
comparison|IIC|45.4|65.1
comparison|AC|49.3|66.5
comparison|k-means on SIFT|28.5|38.2
"""


def _row(table, beginning):
    return next(row for row in tables.load(table).rows if row.name.startswith(beginning))


@pytest.mark.parametrize('line', SLIDES.split('\n')[1:-1])
def test_numbers_are_those_of_the_slides(line):
    table, name, pos, pos3 = line.split('|')
    row = _row(table, name)
    assert row.reference('clustering', 'potsdam6') == (float(pos), None)
    assert row.reference('clustering', 'potsdam3') == (float(pos3), None)


def test_spreads_probes_and_missing_numbers():
    assert _row('num_orderings', '2').reference('clustering', 'potsdam3') == (59.5, 5.12)
    assert _row('num_orderings', '16').reference('clustering', 'potsdam3') is None
    assert _row('objectives', 'AC').reference('non-linear:logits', 'potsdam6') == (68.0, None)
    assert _row('objectives', 'ARL').reference('linear:logits', 'potsdam3') == (38.5, None)
    assert _row('objectives', 'ARL').reference('linear:logits', 'coco3') is None
    assert _row('comparison', 'Isola').reference('clustering', 'coco15') == (24.3, None)
    assert _row('comparison', 'Isola').reference('clustering', None) is None


def test_the_paper_s_column_follows_from_data_and_classes():
    for name, classes, expected in (('coco_stuff', 15, 'coco15'), ('potsdam', 6, 'potsdam6'), ('coco_stuff', 27, None)):
        assert tables.column({'data': {'name': name, 'num_classes': classes}}) == expected
    assert tables.column({'data': {'name': 'textures'}}) is None


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ({}, "no table is called 'mine'"),
        ({'mine': {'title': 't', 'source': 's', 'rows': [{'name': 'r', 'kind': 'trainde'}]}}, 'kind is one of trained'),
        ({'mine': {'title': 't', 'source': 's', 'rows': [{'nam': 'r'}]}}, "table 'mine': .*nam"),
        ({'mine': {'title': 't', 'source': 's'}}, "table 'mine': 'rows'"),
        ({'mine': {'title': 't', 'source': 's', 'rows': [], 'measures': ['lienar']}}, 'measures are some of .*, found lienar'),
        ({'mine': {'title': 't', 'source': 's', 'rows': [{'name': 'r', 'overrides': {'seed': 1}}]}}, 'seed and evaluation'),
        ([], 'an object of tables'),
    ],
)
def test_a_wrong_file_of_tables_is_explained(tmp_path, content, message):
    path = tmp_path / 'tables.json'
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        tables.load('mine', path)
