"""Weights from files of other programs and from other runs."""

import logging
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from safetensors.numpy import save_file

from ar_seg_jax.errors import UserError
from ar_seg_jax.interfaces import ModelState
from ar_seg_jax.training.checkpoint import Checkpoints
from ar_seg_jax.training.optimizer import Optimizer
from ar_seg_jax.training.state import TrainState
from ar_seg_jax.training.weights import InitialWeights
from tests.support import commands, feeds, tiny

# Of what Orbax leaves behind where reading fails.
pytestmark = [
    pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning'),
    pytest.mark.usefixtures('collected'),
]

# Of a network with statistics, a part that it shares with other programs ('network'), and state that is no statistic.
SHAPES = {
    'params/network/stem/kernel': (3, 2),
    'params/network/stem/bias': (2,),
    'params/network/head/kernel': (2, 4),
    'params/critic/kernel': (4,),
    'batch_stats/network/stem/mean': (2,),
    'centroids': (3, 4),
}
TAKEN = [name for name in SHAPES if name != 'centroids']


def _nested(flat):
    tree = {}
    for name, value in flat.items():
        *parts, last = name.split('/')
        place = tree
        for part in parts:
            place = place.setdefault(part, {})
        place[last] = value
    return tree


def _flat(model):
    collections = {'params': model.params, **model.extra}
    leaves = jax.tree_util.tree_leaves_with_path(collections)
    return {jax.tree_util.keystr(path, simple=True, separator='/'): np.asarray(leaf) for path, leaf in leaves}


def _random(names, seed=0):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=SHAPES[name]).astype(np.float32) for name in names}


def _model():
    """As drawn."""
    collections = _nested({name: jnp.asarray(array) for name, array in _random(SHAPES, seed=1).items()})
    return ModelState(jnp.int32(0), collections.pop('params'), collections)


def _save(path, arrays):
    """A file of the kind that the name of `path` says, of arrays by their names."""
    if path.suffix == '.npz':
        np.savez(path, **arrays)
    elif path.suffix == '.safetensors':
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, path)
    else:
        collections = _nested({name: jnp.asarray(array) for name, array in arrays.items()})
        zero = jnp.int32(0)
        state = TrainState(jnp.int32(7), collections.pop('params'), collections, (), jax.random.key(0), zero, zero)
        checkpoints = Checkpoints(path / 'checkpoints', writable=True)
        checkpoints.save(state)
        checkpoints.close()
    return path


def _put(path, of='', into='', without=()):
    return _flat(InitialWeights(str(path), of, into, without, 'own').put(_model()))


def _assert_replaced(found, expected):
    """The arrays are those that are expected, by name, and for the others those of the model."""
    drawn = _flat(_model())
    assert found.keys() == drawn.keys() and expected.keys() <= drawn.keys()
    for name, array in found.items():
        np.testing.assert_array_equal(array, expected.get(name, drawn[name]), err_msg=name)


@pytest.fixture
def told(caplog):
    """What was logged, without the place of the file."""
    caplog.set_level(logging.INFO, 'ar_seg_jax')
    return lambda: [record.message.partition(': ')[2] or record.message for record in caplog.records]


@pytest.mark.parametrize('source', ['file.npz', 'file.safetensors', 'run'])
def test_the_parameters_and_statistics_of_a_file_take_the_place_of_what_was_drawn(tmp_path, told, source):
    arrays = _random(SHAPES)
    _assert_replaced(_put(_save(tmp_path / source, arrays)), {name: arrays[name] for name in TAKEN})
    assert told() == ['5 arrays loaded', 'centroids']


def test_without_a_file_nothing_is_done():
    model = _model()
    assert InitialWeights('', '', '', (), 'own').put(model) is model
    InitialWeights('', '', '', (), 'own').check()
    with pytest.raises(UserError, match=r'layout is .vit., but --config\.initial_weights\.file names no file'):
        InitialWeights('', '', '', (), 'vit').check()


def test_names_of_other_programs_have_points_and_no_collection(tmp_path):
    arrays = _random(SHAPES)
    expected = {name: array for name, array in arrays.items() if name.startswith('params/')}
    renamed = {name.removeprefix('params/').replace('/', '.'): array for name, array in expected.items()}
    for name in ('file.npz', 'file.safetensors'):
        _assert_replaced(_put(_save(tmp_path / name, renamed)), expected)


def test_what_is_loaded_left_out_and_missing_is_told(tmp_path, told):
    arrays = {**_random(['params/network/stem/kernel', 'centroids']), 'params/network/tail': np.zeros(3, np.float32)}
    expected = {'params/network/stem/kernel': arrays['params/network/stem/kernel']}
    _assert_replaced(_put(_save(tmp_path / 'file.npz', arrays)), expected)
    missing = 'batch_stats/network/stem/mean, params/critic/kernel, params/network/head/kernel, params/network/stem/bias'
    assert told() == ['1 arrays loaded', 'centroids, params/network/tail', missing]


def test_of_takes_a_part_and_into_says_where_it_goes(tmp_path, told):
    """A stem of a network in another one, with its statistics; 'stem2' is no part of 'stem'."""
    arrays = {
        'params/stem/kernel': np.float32([[1, 2], [3, 4], [5, 6]]),
        'batch_stats/stem/mean': np.float32([7, 8]),
        'params/stem2/bias': np.float32([9, 9]),
        'params/head/kernel': np.zeros((5, 5), np.float32),  # would not fit
    }
    expected = {
        'params/network/stem/kernel': arrays['params/stem/kernel'],
        'batch_stats/network/stem/mean': arrays['batch_stats/stem/mean'],
    }
    _assert_replaced(_put(_save(tmp_path / 'file.npz', arrays), of='stem', into='network/stem'), expected)
    assert told() == ['2 arrays loaded', 'params/network/stem/bias']  # what is elsewhere is not missing


def test_a_single_array_can_be_taken_and_a_part_can_go_to_the_top(tmp_path):
    arrays = {'backbone.network.stem.bias': np.float32([1, 2]), 'backbone.critic.kernel': np.float32([1, 2, 3, 4])}
    path = _save(tmp_path / 'file.safetensors', arrays)
    both = {'params/network/stem/bias': [1, 2], 'params/critic/kernel': [1, 2, 3, 4]}
    _assert_replaced(_put(path, of='backbone'), both)
    of = 'backbone/network/stem/bias'
    _assert_replaced(_put(path, of=of, into='network/stem/bias'), {'params/network/stem/bias': [1, 2]})


def test_arrays_take_the_type_and_the_devices_of_the_model(tmp_path):
    arrays = {'params/network/stem/kernel': jnp.array([[1, 2], [3, 4], [5, 6]], jnp.bfloat16)}
    everywhere = jax.sharding.NamedSharding(feeds.mesh_of(8), jax.sharding.PartitionSpec())
    model = jax.device_put(_model(), everywhere)
    for name in ('file.safetensors', 'run'):
        weights = InitialWeights(str(_save(tmp_path / name, arrays)), '', '', (), 'own')
        found = weights.put(model).params['network']['stem']['kernel']
        assert found.dtype == np.float32 and found.sharding == everywhere
        np.testing.assert_array_equal(found, [[1, 2], [3, 4], [5, 6]])


def test_a_wrong_shape_is_named(tmp_path):
    path = _save(tmp_path / 'file.npz', {'network.stem.kernel': np.zeros((2, 3), np.float32)})
    message = (
        r'file\.npz: params/network/stem/kernel has the shape \(2, 3\), the model wants \(3, 2\); '
        r'--config\.initial_weights\.without leaves groups of parameters out$'
    )
    with pytest.raises(UserError, match=message):
        _put(path)


def test_groups_are_left_out_with_their_statistics_whatever_their_shapes(tmp_path, told):
    arrays = _random(SHAPES) | {'params/network/head/kernel': np.zeros((2, 7), np.float32)}
    path = _save(tmp_path / 'file.npz', arrays)
    expected = {name: arrays[name] for name in ('params/network/stem/kernel', 'params/network/stem/bias', 'params/critic/kernel')}
    statistics = {'batch_stats/network/stem/mean': arrays['batch_stats/network/stem/mean']}
    _assert_replaced(_put(path, without=('network/head',)), expected | statistics)
    assert told() == ['4 arrays loaded', 'params/network/head/kernel', 'centroids']
    _assert_replaced(_put(path, without=['network']), {'params/critic/kernel': arrays['params/critic/kernel']})
    parts = _save(tmp_path / 'parts.npz', {'params/stem/bias': np.float32([1, 2]), 'params/head/kernel': np.zeros((2, 7))})
    _assert_replaced(_put(parts, into='network', without=('network/head',)), {'params/network/stem/bias': [1, 2]})
    with pytest.raises(UserError, match=r'\.without: no parameters are called headd; on top there are critic, network$'):
        _put(path, without=('critic', 'headd'))
    with pytest.raises(UserError, match=r'none of its 6 arrays fits the model \(.*; the model has nothing\)'):
        _put(path, without=('network', 'critic'))


@pytest.mark.parametrize(
    ('of', 'into', 'message'),
    [
        ('', '', r'params/a, params/b; the model has batch_stats/network/stem/mean, .*, params/network/stem/kernel'),
        ('', 'network/head', r'params/network/head/a, params/network/head/b; the model has params/network/head/kernel'),
        ('a', 'critic', r'params/critic; the model has params/critic/kernel'),
    ],
)
def test_a_file_of_which_nothing_fits_is_refused_with_what_there_is(tmp_path, of, into, message):
    path = _save(tmp_path / 'file.npz', {'a': np.zeros(3), 'b': np.zeros(3)})
    count = 1 if of else 2
    advice = r'see --config\.initial_weights\.of, \.into and \.layout$'
    message = rf'file\.npz: none of its {count} arrays fits the model \({message}\); {advice}'
    with pytest.raises(UserError, match=message):
        _put(path, of, into)


def test_a_part_that_a_file_has_not_is_named_with_what_it_has(tmp_path):
    path = _save(tmp_path / 'file.npz', {'stem2.a': np.zeros(3), 'network.stem': np.zeros(3)})
    message = r"file\.npz: nothing is below 'stem', only network/stem, stem2/a; see --config\.initial_weights\.of$"
    with pytest.raises(UserError, match=message):
        _put(path, of='stem')


@pytest.mark.parametrize('name', ['file.npz', 'file.safetensors'])
def test_a_damaged_file_is_named(tmp_path, name):
    path = _save(tmp_path / name, _random(SHAPES))
    whole = path.read_bytes()
    for content in (b'', b'no arrays', whole[: len(whole) // 2], whole[:-3]):
        path.write_bytes(content)
        with pytest.raises(UserError, match=rf'{name}: cannot be read \(\w+: .*\); fetch it again$'):
            _put(path)


def test_objects_in_a_file_are_not_unpickled(tmp_path):
    np.savez(tmp_path / 'file.npz', a=np.array([{'run': 'this'}], object))
    with pytest.raises(UserError, match=r'file\.npz: cannot be read \(ValueError: Object arrays cannot be loaded'):
        _put(tmp_path / 'file.npz')


def test_what_is_no_source_of_weights_is_named(tmp_path):
    (tmp_path / 'file.pt').write_bytes(b'')
    with pytest.raises(UserError, match=r'file\.pt: weights come from a \.npz or \.safetensors file, or from the directory of a'):
        _put(tmp_path / 'file.pt')
    with pytest.raises(UserError, match=r'weights come from a \.npz or \.safetensors file, or from the directory of a run$'):
        _put(tmp_path)
    with pytest.raises(UserError, match=r'missing\.npz: no such file or directory; see --config\.initial_weights\.file$'):
        _put(tmp_path / 'missing.npz')
    (tmp_path / 'checkpoints').mkdir()
    with pytest.raises(UserError, match=r'checkpoints: no checkpoint; weights come from a run that has one$'):
        _put(tmp_path)


def test_the_newest_checkpoint_of_a_run_is_read_if_it_is_what_was_saved(tmp_path):
    first, second = _random(SHAPES), _random(SHAPES, seed=2)
    run = _save(tmp_path / 'run', first)
    newer = _save(tmp_path / 'other', second) / 'checkpoints' / '7'
    shutil.copytree(newer, run / 'checkpoints' / '8')
    _assert_replaced(_put(run), {name: second[name] for name in TAKEN})
    shutil.rmtree(run / 'checkpoints' / '8' / 'model')
    shutil.copytree(run / 'checkpoints' / '7' / 'model', run / 'checkpoints' / '8' / 'model')
    with pytest.raises(UserError, match=r'checkpoints/8 is damaged: the content of model/\S+ is not what was saved$'):
        _put(run)
    shutil.rmtree(run / 'checkpoints' / '8' / 'model' / 'd')
    with pytest.raises(UserError, match=r'run: cannot be read \(.*\); fetch it again$'):
        _put(run)


def test_a_run_of_other_devices_is_read(tmp_path):
    program = """
import jax, sys
from pathlib import Path
from ar_seg_jax.training import weights
assert jax.device_count() == 1
print(sorted(weights.read(Path(sys.argv[1]))))
"""
    collections = _nested({name: jnp.asarray(array) for name, array in _random(SHAPES).items()})
    zero = jnp.int32(0)
    state = TrainState(jnp.int32(7), collections.pop('params'), collections, (), jax.random.key(0), zero, zero)
    everywhere = jax.sharding.NamedSharding(feeds.mesh_of(8), jax.sharding.PartitionSpec())
    checkpoints = Checkpoints(tmp_path / 'checkpoints', writable=True)
    checkpoints.save(jax.device_put(state, everywhere))
    checkpoints.close()
    line = [sys.executable, '-c', program, str(tmp_path)]
    done = subprocess.run(line, cwd=commands.ROOT, env=commands.environment(), capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(sorted(SHAPES))


@pytest.mark.usefixtures('compiled_once')
def test_a_training_begins_with_the_stem_of_a_run_of_another_method(tmp_path):
    def batch(index):
        return {'image': np.zeros((8, 16, 16, 3), np.uint8)}

    def task(method, weights):
        return feeds.task(method, Optimizer(optax.adam(1e-3)), feeds.Numbered(batch, feeds.mesh_of(8)), weights=weights)

    none = InitialWeights('', '', '', (), 'own')
    source = task(tiny.ac(), none).initial_state()
    source = source.replace(extra=jax.tree.map(lambda leaf: leaf + 0.5, source.extra))  # statistics of its own
    checkpoints = Checkpoints(tmp_path / 'checkpoints', writable=True)
    checkpoints.save(source)
    checkpoints.close()
    drawn = task(tiny.arl(), none).initial_state()
    found = task(tiny.arl(), InitialWeights(str(tmp_path), 'stem', 'network/stem', (), 'own')).initial_state()
    before, after, given = (_flat(state.model) for state in (drawn, found, source))
    renamed = {name.replace('/stem/', '/network/stem/'): array for name, array in given.items() if '/stem/' in name}
    assert {name.partition('/')[0] for name in renamed} == {'params', 'batch_stats'}
    for name, array in after.items():
        np.testing.assert_array_equal(array, renamed.pop(name, before[name]), err_msg=name)
    assert not renamed
    assert all(leaf.is_fully_replicated and len(leaf.devices()) == 8 for leaf in jax.tree.leaves((found.params, found.extra)))


def test_a_training_begins_with_all_but_the_decoder_of_one_with_other_clusters(tmp_path):
    def filled(value, **options):
        image = jnp.zeros((8, 16, 16, 3), jnp.uint8)
        shapes = jax.eval_shape(lambda: tiny.ac(**options).init(jax.random.key(0), image))
        return ModelState(jnp.int32(0), *jax.tree.map(lambda leaf: jnp.full(leaf.shape, value, leaf.dtype), shapes))

    path = _save(tmp_path / 'file.npz', _flat(filled(3.0)))
    found = _flat(InitialWeights(str(path), '', '', ('decoder',), 'own').put(filled(7.0, num_clusters=5)))
    assert found['params/decoder/kernel'].shape == (128, 5)
    for name, array in found.items():
        np.testing.assert_array_equal(array, 7 if '/decoder/' in name else 3, err_msg=name)
