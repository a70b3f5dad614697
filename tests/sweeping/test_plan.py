"""Which runs a table needs, recomputed by hand."""

import re

import pytest

from ar_seg_jax.sweeping import plan, tables
from ar_seg_jax.sweeping.tables import Row, Table
from configs import common, folder, potsdam3, textures

POTSDAM = potsdam3.get_config().to_dict()
CONFIG = POTSDAM | {'model': POTSDAM['model'] | {'attention': False, 'output_stride': 4}}


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
    # F2 without attention and dropout, raster orderings.
    assert shared['models'] == {'base', *(f'model.variant=F{number}' for number in (1, 3, 4, 5))}
    assert shared['dropout'] == {'base', 'model.dropout=0.1', 'model.dropout=0.2'}
    attention = {f'{orderings}model.attention=True' for orderings in ('', 'method.orderings=zigzag+', 'method.orderings=all+')}
    assert shared['orderings'] == {'base', *attention}
    assert shared['num_orderings'] == {
        'base',
        'method.orderings=A1,D3',
        'method.orderings=A1,B1,C3,D3',
        'method.orderings=all',
    }
    assert shared['comparison'] == {'base'}


def test_tables_have_the_network_of_the_paper_s_table_whatever_the_config_has():
    # Potsdam-3 has attention and an output stride of 2.
    assert plan.key(tables.load('dropout').rows[0], POTSDAM, 0)[0] == 'model.attention=False'
    assert plan.key(tables.load('models').rows[0], POTSDAM, 0)[0] == 'model.attention=False'
    assert [plan.key(row, POTSDAM, 0)[0] for row in tables.load('orderings').rows] == [
        'model.attention=False+model.output_stride=4',
        'model.output_stride=4',
        'method.orderings=zigzag+model.output_stride=4',
        'method.orderings=all+model.output_stride=4',
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
    with pytest.raises(ValueError, match=r"'r' needs a matching fitted on other images than those scored, and both are 'train'"):
        plan.protocol(row, folder.get_config().to_dict())
    unlabelled = CONFIG | {'evaluation': {'protocols': ()}}
    with pytest.raises(ValueError, match=r'evaluation\.protocols is empty'):
        plan.protocol(row, unlabelled)


def test_a_shared_run_holds_what_all_its_rows_want():
    objectives = plan.runs(tables.load('objectives'), CONFIG, [0])[0]
    assert objectives.untrained and objectives.probes == tables.MEASURES[1:]
    (comparison,) = plan.runs(tables.load('comparison'), CONFIG, [0])
    assert comparison.untrained and comparison.probes == () and 'k-means on SIFT' in comparison.methods


def test_the_first_seed_of_all_rows_comes_before_the_second():
    assert [run.seed for run in plan.runs(tables.load('dropout'), CONFIG, range(2))] == [0, 0, 0, 1, 1, 1]
