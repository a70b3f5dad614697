"""Which runs a table needs, recomputed by hand."""

import re

import pytest

from ar_seg_jax.sweeping import plan, tables
from ar_seg_jax.sweeping.tables import Row, Table
from configs import common, potsdam3, textures

CONFIG = potsdam3.get_config().to_dict()


def _flat(tree, prefix=''):
    for key, value in tree.items():
        yield from _flat(value, f'{prefix}{key}.') if isinstance(value, dict) else [f'{prefix}{key}']


def _all_runs(seeds):
    return {name: plan.runs(tables.load(name), CONFIG, seeds) for name in tables.names()}


@pytest.mark.parametrize('name', tables.names())
def test_every_override_names_a_key_that_configs_have(name):
    known = set(_flat(common.get_config().to_dict()))
    assert {key for row in tables.load(name).rows for key in row.overrides} <= known


def test_overrides_that_the_config_has_already_are_dropped_so_that_tables_share_the_base_run():
    shared = {name: {run.slug for run in runs} for name, runs in _all_runs([0]).items()}
    # Potsdam-3 is F2 with attention and raster orderings, without dropout.
    assert shared['models'] == {
        'base',
        'model.variant=F1',
        'model.variant=F3',
        'model.attention=False+model.variant=F4',
        'model.attention=False+model.variant=F5',
    }
    assert shared['dropout'] == {'base', 'model.dropout=0.1', 'model.dropout=0.2'}
    assert shared['orderings'] == {'base', 'model.attention=False', 'method.orderings=zigzag', 'method.orderings=all'}
    assert shared['num_orderings'] == {
        'base',
        'method.orderings=A1,D3',
        'method.orderings=A1,B1,C3,D3',
        'method.orderings=all',
    }
    assert shared['comparison'] == {'base'}


def test_with_another_base_another_row_is_the_base():
    config = textures.get_config().to_dict()  # no attention
    table = tables.load('orderings')
    assert [plan.key(row, config, 0)[0] for row in table.rows] == [
        'base',
        'model.attention=True',
        'method.orderings=zigzag+model.attention=True',
        'method.orderings=all+model.attention=True',
    ]


def test_a_list_is_a_choice_by_seed():
    row = Row('2', overrides={'method.orderings': ['A1,D3', 'B4,C2']})
    table = Table('t', 't', 's', (row,))
    chosen = [(run.slug, run.seed) for run in plan.runs(table, CONFIG, range(3))]
    assert chosen == [('method.orderings=A1,D3', 0), ('method.orderings=B4,C2', 1), ('method.orderings=A1,D3', 2)]
    assert plan.choices(row, range(2)) == ['seed 0: method.orderings=A1,D3', 'seed 1: method.orderings=B4,C2']


def test_the_subsets_of_orderings_have_the_numbers_that_their_rows_say():
    from ar_seg_jax import orderings

    for row in tables.load('num_orderings').rows[:2]:
        subsets = [subset.split(',') for subset in row.overrides['method.orderings']]
        assert all(len(set(subset)) == int(row.name) and set(subset) <= set(orderings.RASTER) for subset in subsets)
    reverse = {'A1': 'D3', 'B4': 'C2', 'A2': 'D4'}  # 180 degrees apart
    assert dict(subset.split(',') for subset in tables.load('num_orderings').rows[0].overrides['method.orderings']) == reverse


def test_multiples_follow_the_config():
    config = CONFIG | {'model': CONFIG['model'] | {'num_clusters': 7}}
    slugs = [plan.key(row, config, 0)[0] for row in tables.load('overclustering').rows]
    assert slugs == ['base', 'model.auxiliary_clusters=35', 'base', 'model.num_clusters=14', 'model.num_clusters=35']


def test_slugs_are_safe_names_of_their_own():
    found = {}
    for runs in _all_runs(range(3)).values():
        for run in runs:
            assert re.fullmatch(r'[\w.,=+-]+', run.slug) and len(run.slug) < 200
            assert found.setdefault(run.slug, run.overrides) == run.overrides
    assert plan.slug({'a.b': '../x y'}) == 'a.b=.._x_y'


def test_many_to_one_is_fitted_on_images_that_are_not_scored():
    row = Row('r', matching='many-to-one')
    assert plan.protocol(Row('r'), CONFIG) == 'one-to-one:labelled_test:labelled_test'
    assert plan.protocol(row, CONFIG) == 'many-to-one:labelled_train:labelled_test'
    assert plan.protocol(row, textures.get_config().to_dict()) == 'many-to-one:train:val'
    unlabelled = CONFIG | {'evaluation': {'protocols': ()}}
    with pytest.raises(ValueError, match=r'evaluation\.protocols is empty'):
        plan.protocol(row, unlabelled)


def test_a_shared_run_holds_what_all_its_rows_want():
    (objectives,) = (run for run in plan.runs(tables.load('objectives'), CONFIG, [0]) if run.slug == 'base')
    assert objectives.untrained and objectives.probes == ('linear', 'non-linear')
    (comparison,) = plan.runs(tables.load('comparison'), CONFIG, [0])
    assert comparison.untrained and comparison.probes == () and 'k-means on SIFT' in comparison.methods


def test_the_first_seed_of_all_rows_comes_before_the_second():
    assert [run.seed for run in plan.runs(tables.load('dropout'), CONFIG, range(2))] == [0, 0, 0, 1, 1, 1]
