"""Which runs a table needs, recomputed by hand."""

import importlib
import re
from pathlib import Path

import pytest

from ar_seg_jax import orderings
from ar_seg_jax.errors import UserError
from ar_seg_jax.sweeping import plan, runner, tables
from ar_seg_jax.sweeping.tables import Row, Table
from configs import ast_objects_small, common, folder, potsdam3, textures

FILE = Path(potsdam3.__file__)
POTSDAM = potsdam3.get_config().to_dict()
CONFIG = POTSDAM | {'model': POTSDAM['model'] | {'attention': False, 'output_stride': 4}}


def _sweep(config, file=FILE):
    """A sweep of a config, whose rows find the other configs beside it."""

    def load(other):
        return importlib.import_module(f'configs.{Path(other).stem}').get_config().to_dict()

    return plan.Sweep(Path('unused'), plan.Base(str(file), config), {}, load)


def _sweep_for(name):
    """Of a config with the data that the table is for."""
    if tables.INSTANCES in tables.load(name).measures:
        return _sweep(ast_objects_small.get_config().to_dict(), Path(ast_objects_small.__file__))
    return _sweep(CONFIG)


def _slug(row, config, seed=0):
    sweep = _sweep(config)
    return plan.key(row, sweep.of(row), seed)[0]


def _flat(tree, prefix=''):
    for key, value in tree.items():
        yield from _flat(value, f'{prefix}{key}.') if isinstance(value, dict) else [f'{prefix}{key}']


def _all_trainings(seeds):
    sweeps = {name: _sweep_for(name) for name in tables.names()}
    return {name: plan.trainings(sweep.available(tables.load(name)), sweep, seeds) for name, sweep in sweeps.items()}


@pytest.mark.parametrize('name', tables.names())
def test_every_override_names_a_key_that_configs_have(name):
    config = common.get_config().to_dict() | {'method': _sweep_for(name).base.config['method']}
    known = {'': set(_flat(config)), 'arl_{base}': set(_flat(config | {'method': common.arl()}))}
    for row in tables.load(name).rows:
        assert not row.overrides or row.overrides.keys() <= known[row.config]


def test_overrides_that_the_config_has_already_are_dropped_so_that_tables_share_the_base_run():
    shared = {name: {training.slug for training in found} for name, found in _all_trainings([0]).items()}
    # F2 without attention and dropout, raster orderings.
    assert shared['models'] == {'base', *(f'model.variant=F{number}' for number in (1, 3, 4, 5))}
    assert shared['dropout'] == {'base', 'model.dropout=0.1', 'model.dropout=0.2'}
    scans = ('', 'method.orderings=zigzag+', 'method.orderings=all+')
    attention = {f'{scan}model.attention=True{more}' for scan in scans for more in ('', '+model.zigzag=raster')[: 1 + bool(scan)]}
    assert shared['orderings'] == {'base', *attention}
    assert shared['num_orderings'] == {
        'base',
        'method.orderings=A1,D3',
        'method.orderings=A1,B1,C3,D3',
        'method.orderings=all',
    }
    others = {'arl', 'deep_cluster', 'doersch', 'iic', 'isola'}
    parts = {'method.scenario=BT', 'method.scenario=frozen', 'method.transformer_depth=0', 'method.scales=1'}
    assert shared['scenes'] == {'base', *parts, 'ast_objects_small_b0', 'ast_objects_small_unet'}
    assert shared['comparison'] == {'base', 'method.auxiliary_clusters=15', *(f'{name}_potsdam3' for name in others)}


def test_a_row_takes_the_config_beside_that_of_the_sweep_which_its_name_tells():
    found = {training.slug: training for training in plan.trainings(tables.load('objectives'), _sweep(CONFIG), [0])}
    assert found.keys() == {'base', 'arl_potsdam3+model.attention=False'}
    other = found['arl_potsdam3+model.attention=False']
    # What is dropped, and the protocols, follow from the row's own config: that of ARL has attention, as Potsdam-3's.
    assert (other.base.file, other.overrides) == (str(FILE.with_name('arl_potsdam3.py')), {'model.attention': False})
    assert other.base.config['method']['name'] == 'arl' and found['base'].base.config is CONFIG
    assert other.protocols == ('one-to-one:labelled_test:labelled_test', 'many-to-one:labelled_train:labelled_test')
    # A change of the number of clusters is that of the row's own config too.
    double = Row('r', config='arl_{base}', overrides={'method.num_clusters': {'times': 2, 'of': 'method.num_clusters'}})
    config = CONFIG | {'method': CONFIG['method'] | {'num_clusters': 7}}
    assert _slug(double, config) == 'arl_potsdam3+method.num_clusters=6'


def test_a_config_that_is_not_beside_that_of_the_sweep_is_named(tmp_path):
    table = Table('t', 't', 's', (Row('mine', config='other_{base}'),))
    with pytest.raises(UserError, match=rf"^the row 'mine' needs the config {tmp_path}/other_base\.py, which does not exist$"):
        plan.trainings(table, _sweep(CONFIG, tmp_path / 'base.py'), [0])


def test_tables_have_the_network_of_the_paper_s_table_whatever_the_config_has():
    # Potsdam-3 has attention and an output stride of 2.
    assert _slug(tables.load('dropout').rows[0], POTSDAM) == 'model.attention=False'
    assert _slug(tables.load('models').rows[0], POTSDAM) == 'model.attention=False'
    assert [_slug(row, POTSDAM) for row in tables.load('orderings').rows] == [
        'model.attention=False+model.output_stride=4',
        'model.output_stride=4',
        'method.orderings=zigzag+model.output_stride=4',
        'method.orderings=zigzag+model.output_stride=4+model.zigzag=raster',
        'method.orderings=all+model.output_stride=4',
        'method.orderings=all+model.output_stride=4+model.zigzag=raster',
    ]


def test_a_list_is_a_choice_by_seed():
    row = Row('2', overrides={'method.orderings': ['A1,D3', 'B4,C2']})
    table = Table('t', 't', 's', (row,))
    chosen = [(training.slug, training.seed) for training in plan.trainings(table, _sweep(CONFIG), range(3))]
    assert chosen == [('method.orderings=A1,D3', 0), ('method.orderings=B4,C2', 1), ('method.orderings=A1,D3', 2)]
    assert plan.choices(row, range(2)) == ['seed 0: method.orderings=A1,D3', 'seed 1: method.orderings=B4,C2']


def test_the_subsets_of_orderings_have_the_numbers_that_their_rows_say():
    for row in tables.load('num_orderings').rows[:2]:
        subsets = [subset.split(',') for subset in row.overrides['method.orderings']]
        assert all(len(set(subset)) == int(row.name) and set(subset) <= set(orderings.RASTER) for subset in subsets)
    reverse = {'A1': 'D3', 'B4': 'C2', 'A2': 'D4'}  # 180 degrees apart
    assert dict(subset.split(',') for subset in tables.load('num_orderings').rows[0].overrides['method.orderings']) == reverse


def test_optional_rows_are_trained_where_they_have_a_config(caplog):
    table = Table('t', 't', 's', tuple(Row(name, config=f'{name}_{{base}}', optional=True) for name in ('iic', 'picie')))
    with caplog.at_level('INFO'):
        available = _sweep(CONFIG).available(table)
    (message,) = caplog.messages
    assert re.fullmatch(r'picie is not run: there is no .*picie_potsdam3\.py', message)
    assert [row.kind for row in available.rows] == ['trained', 'no config'] and available.rows[0] == table.rows[0]
    assert [one.slug for one in plan.trainings(available, _sweep(CONFIG), [0])] == ['iic_potsdam3']
    with pytest.raises(UserError, match=r"the row 'picie' needs the config .*picie_potsdam3\.py, which does not exist"):
        plan.trainings(table, _sweep(CONFIG), [0])


def test_rows_need_what_the_user_gives_and_others_do_without_it(caplog):
    table = tables.load('uneven')
    wanted = [row.name for row in table.rows if row.needs]
    assert wanted == ['shares', 'shares, margin of 16']
    with caplog.at_level('INFO'):
        without = _sweep(CONFIG).available(table)
    assert caplog.messages == [f'{name} is not run: give --config.method.shares' for name in wanted]
    assert [row.name for row in without.rows if row.kind == 'no config'] == wanted
    slugs = [one.slug for one in plan.trainings(without, _sweep(CONFIG), [0])]
    assert slugs[0] == 'base' and not any('shares' in slug for slug in slugs)
    given = _sweep(CONFIG | {'method': CONFIG['method'] | {'shares': (0.7, 0.2, 0.1)}})
    trainings = plan.trainings(given.available(table), given, [0])
    assert len(trainings) == len(table.rows)
    for row, one in zip(table.rows, trainings, strict=True):
        assert one.overrides.get('method.shares') == (None if row.needs else ())
    command = runner.training_command(given, trainings[0])
    assert '--config.method.shares=()' in command


def test_rows_of_other_images_are_refused():
    row = Row('theirs', config='arl_{base}')
    sweep = _sweep(CONFIG | {'evaluation': CONFIG['evaluation'] | {'split': 'unlabelled_train'}})
    wanted = r"^the scores of row 'theirs' would be of other images: evaluation\.split is 'unlabelled_train' in potsdam3\.py, "
    with pytest.raises(UserError, match=wanted):
        sweep.of(row)
    assert _sweep(CONFIG | {'pipeline': {**CONFIG['pipeline'], 'batch_size': 4}}).of(row).config['method']['name'] == 'arl'


def test_multiples_follow_the_config():
    config = CONFIG | {'method': CONFIG['method'] | {'num_clusters': 7}}
    slugs = [_slug(row, config) for row in tables.load('overclustering').rows]
    assert slugs == ['base', 'method.auxiliary_clusters=35', 'base', 'method.num_clusters=14', 'method.num_clusters=35']


def test_slugs_are_safe_names_of_their_own():
    found = {}
    for name, trainings in _all_trainings(range(3)).items():
        for one in trainings:
            assert re.fullmatch(r'[\w.,=+-]+', one.slug) and len(one.slug) < 200
            content = (one.base.file, one.overrides)
            assert found.setdefault((_sweep_for(name).base.file, one.slug), content) == content
    assert _slug(Row('r', overrides={'a.b': '../x y'}), CONFIG) == 'a.b=.._x_y'


def test_many_to_one_is_fitted_on_images_that_are_not_scored():
    row = Row('r', matching='many-to-one')
    assert plan.protocol(Row('r'), CONFIG) == 'one-to-one:labelled_test:labelled_test'
    assert plan.protocol(row, CONFIG) == 'many-to-one:labelled_train:labelled_test'
    assert plan.protocol(row, textures.get_config().to_dict()) == 'many-to-one:train:val'
    with pytest.raises(
        UserError,
        match=r"^'r' needs a matching fitted on other images than those scored, and both are 'train'; .*evaluation\.split$",
    ):
        plan.protocol(row, folder.get_config().to_dict())
    unlabelled = CONFIG | {'evaluators': {'segmentation': {'protocols': ()}}}
    with pytest.raises(UserError, match=r'^config\.evaluators\.segmentation\.protocols is empty, and a table needs scores'):
        plan.protocol(row, unlabelled)


def test_a_shared_run_holds_what_all_its_rows_want():
    objectives = plan.trainings(tables.load('objectives'), _sweep(CONFIG), [0])[0]
    assert objectives.untrained
    assert objectives.probes == ('linear:logits', 'non-linear:logits', 'linear:features', 'non-linear:features')
    comparison = {one.slug: one for one in _all_trainings([0])['comparison']}['base']
    assert comparison.untrained and comparison.probes == ()
    assert comparison.methods == ('k-means on pixels', 'k-means on SIFT')


@pytest.mark.parametrize('measure', ['lienar', 'lienar/logits'])
def test_a_measure_of_no_evaluator_is_named_before_anything_runs(measure):
    table = Table('mine', 't', 's', (Row('r'),), measures=('segmentation', measure))
    with pytest.raises(UserError, match=rf"^table 'mine', measure '{measure}': there is no 'lienar', .* probes, segmentation"):
        plan.trainings(table, _sweep(CONFIG), [0])


def test_only_measures_of_probes_are_names_of_probes():
    config = CONFIG | {'evaluators': CONFIG['evaluators'] | {'borders': {}}}
    table = Table('mine', 't', 's', (Row('r'),), measures=('borders/3 pixels', 'probes/linear:logits', 'segmentation'))
    (found,) = plan.trainings(table, _sweep(config), [0])
    assert found.probes == ('linear:logits',)


def test_the_first_seed_of_all_rows_comes_before_the_second():
    assert [one.seed for one in plan.trainings(tables.load('dropout'), _sweep(CONFIG), range(2))] == [0, 0, 0, 1, 1, 1]
