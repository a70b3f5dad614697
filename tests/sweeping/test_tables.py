"""The paper's numbers, copied a second time from the slides, and what is wrong with a file of tables."""

import json

import pytest

from ar_seg_jax.errors import UserError
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
    assert row.reference('segmentation', 'potsdam6') == (float(pos), None)
    assert row.reference('segmentation', 'potsdam3') == (float(pos3), None)


def test_spreads_probes_and_missing_numbers():
    assert _row('num_orderings', '2').reference('segmentation', 'potsdam3') == (59.5, 5.12)
    assert _row('num_orderings', '16').reference('segmentation', 'potsdam3') is None
    assert _row('objectives', 'AC').reference('probes/non-linear:logits', 'potsdam6') == (68.0, None)
    assert _row('objectives', 'ARL').reference('probes/linear:logits', 'potsdam3') == (38.5, None)
    assert _row('objectives', 'ARL').reference('probes/linear:logits', 'coco3') is None
    assert _row('comparison', 'Isola').reference('segmentation', 'coco15') == (24.3, None)
    assert _row('comparison', 'Isola').reference('segmentation', None) is None


def test_the_paper_s_column_follows_from_data_and_classes():
    for name, classes, expected in (('coco_stuff', 15, 'coco15'), ('potsdam', 6, 'potsdam6'), ('coco_stuff', 27, None)):
        assert tables.column({'data': {'name': name, 'num_classes': classes}}) == expected
    assert tables.column({'data': {'name': 'textures'}}) is None


def _table(**changes):
    return {'mine': {'title': 't', 'source': 's', 'rows': [], **changes}}


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ({}, r"^--table: no table is called 'mine'; the tables of tables\.json are "),
        (
            _table(rows=[{'name': 'r', 'kind': 'trainde'}]),
            r"^.*, table 'mine': row 'r': kind is one of trained, .*, found 'trainde'",
        ),
        (_table(rows=[{'nam': 'r'}]), r"^.*, table 'mine': .* argument:? 'name?'"),
        ({'mine': {'title': 't', 'source': 's'}}, r"^.*, table 'mine': 'rows'; .*tables\.py says what a table holds$"),
        (_table(rows=[{'name': 'r', 'overrides': {'seed': 1}}]), "row 'r': seed, evaluation and evaluators are set by the sweep"),
        (_table(rows=[{'name': 'r', 'overrides': {'evaluation.split': 'val'}}]), "row 'r': seed, evaluation and evaluators are"),
        (
            _table(rows=[{'name': 'r', 'overrides': {'evaluators.probes.steps': 1}}]),
            "row 'r': seed, evaluation and evaluators are",
        ),
        (_table(rows=[{'name': 'r', 'kind': 'baseline'}]), "row 'r': a baseline, and nothing else, has a method"),
        (
            _table(rows=[{'name': 'r', 'kind': 'no config', 'config': 'arl_{base}'}]),
            "row 'r': only a network has overrides, or a config",
        ),
        (_table(rows=[{'name': 'r', 'matching': 'one-to-one'}]), "row 'r': matching is 'many-to-one' or '', found 'one-to-one'"),
        (_table(scores=['accuracy', 'cluster_entropy']), "table 'mine': scores are shares, .*; cluster_entropy is none"),
        (_table(colour='red'), r"^.*, table 'mine': .*'colour'"),
        ([], r'^.*tables\.json: expected a JSON object, found list; see ar_seg_jax/sweeping/tables\.py$'),
    ],
)
def test_a_wrong_file_of_tables_is_explained(tmp_path, content, message):
    path = tmp_path / 'tables.json'
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=message):
        tables.load('mine', path)
