"""Every config describes something that can be built, at its real size, without computing anything."""

import importlib.util
import inspect
import json
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from flax import traverse_util

from ar_seg_jax import build
from ar_seg_jax.epochs import Time
from ar_seg_jax.evaluation.protocols import Protocol
from ar_seg_jax.runs import assembly, checks
from ar_seg_jax.training import gradients, optimizer
from tests.support import feeds

DIRECTORY = Path(__file__).parents[1] / 'configs'
CONFIGS = sorted(path.stem for path in DIRECTORY.glob('*.py') if path.stem != '__init__')
# Supplement, Table 5: learning rate, batch, crop, output stride, displacements, attention.
TABLE_5 = {
    'coco3': (4e-5, 60, 128, 4, 10, False),
    'coco15': (6e-6, 60, 128, 4, 10, False),
    'potsdam3': (1e-6, 30, 200, 2, 10, True),
    'potsdam6': (4e-5, 30, 200, 2, 10, True),
}


def _load(name):
    spec = importlib.util.spec_from_file_location(name, DIRECTORY / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config().to_dict()


@pytest.fixture(scope='module')
def raw(tmp_path_factory):
    """A directory in which each of the data sets finds files with the names of its images, and some the names of classes."""
    root = tmp_path_factory.mktemp('raw')
    table = {'classes': [{'id': number, 'name': name, 'color_rgb': [number] * 3} for number, name in enumerate('abc')]}
    (root / 'classes.json').write_text(json.dumps(table))
    stack = 'rgb-w=0-f=0-l=0-c=unique-cam_1-mono-0.png'
    names = (
        'images/a.png',
        'labels/a.png',
        'top_potsdam_2_10_RGBIR.tif',
        'leftImg8bit/test/city/a_leftImg8bit.png',
        'clevr_with_masks_train.tfrecords',
        'objects_room_train.tfrecords',
        'clevrtex_full/CLEVRTEX_full_000000.png',
        'clevrtex_full/CLEVRTEX_full_000000_flat.png',
        f'recordings/scenario/{stack}',
        'iseg/scenario/iseg-w=0-f=0-l=0-c=original-cam_1-mono-0.map',
        *(f'splits/default/{name}.txt' for name in ('train', 'eval', 'test')),
    )
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text('scenario' if name.startswith('splits') else '')
    return root


@pytest.mark.parametrize('name', CONFIGS)
def test_the_step_of_a_config_can_be_traced(name, raw):
    config = _load(name)
    if config['model']['name'] == 'segformer' and name != 'ast_clevr':
        config['model']['variant'] = 'B0'  # whose blocks are those of larger ones, which take long to trace
    if 'root' in config['data']:
        config['data']['root'] = str(raw)
    method, data = build.method(config), assembly.dataset(config, feeds.mesh_of(1))
    checks.check({**config, 'steps': 1, 'epochs': 0.0}, method, data, begins=False)  # configs/common.py has no length
    assert data.image_shape[-1] == (4 if 'potsdam' in name else 3)
    image = jax.ShapeDtypeStruct(data.image_shape, jnp.uint8)
    batch = {'image': image, 'label': jax.ShapeDtypeStruct(image.shape[:3], jnp.uint8)}
    key, now = jax.eval_shape(lambda: (jax.random.key(0), Time(jnp.int32(0), jnp.int32(0))))
    params, extra = jax.eval_shape(method.init, key, image)
    jax.eval_shape(build.transformation(config, method, steps=100).tx.init, params)
    loss, (updated, _) = jax.eval_shape(
        lambda *state, key, time: gradients.loss(method, *state, key=key, time=time), params, extra, batch, key=key, time=now
    )
    assert loss.shape == () and loss.dtype == jnp.float32
    assert jax.tree.map(jnp.shape, updated) == jax.tree.map(jnp.shape, extra)
    outputs = jax.eval_shape(method.predict, params, extra, image)
    if method.num_clusters:
        assert outputs['scores'].shape == (*data.image_shape[:3], config['method']['num_clusters'])
    assert set(config['evaluators']) <= set(assembly.EVALUATORS)
    for protocol in config['evaluators'].get('segmentation', {'protocols': ()})['protocols']:
        Protocol.parse(protocol, config['evaluation']['split'])


@pytest.mark.parametrize('known', [build.METHODS, build.MODELS, assembly.EVALUATORS, optimizer.OPTIMIZERS])
def test_options_have_their_defaults_in_configs_alone(known):
    for make in known.values():
        parameters = inspect.signature(make).parameters.items()
        no_options = ('name', 'parent', 'measured')  # of Flax, and of the training images
        assert not [name for name, parameter in parameters if parameter.default is not parameter.empty and name not in no_options]


@pytest.mark.parametrize('name', TABLE_5)
def test_configs_of_the_paper_have_the_values_of_its_table(name):
    config = _load(name)
    found = (
        config['optimizer']['learning_rate'],
        config['pipeline']['batch_size'],
        config['pipeline']['crop_size'],
        config['model']['output_stride'],
        config['method']['displacement'],
        config['model']['attention'],
    )
    assert found == TABLE_5[name]
    assert config['optimizer']['name'] == 'adam' and (config['optimizer']['b1'], config['optimizer']['b2']) == (0.9, 0.999)
    assert config['model']['blocks'] == 5 and config['method']['num_clusters'] == config['data']['num_classes']


@pytest.mark.parametrize('name', [name for name in CONFIGS if re.match('arl_(?!vit)|(doersch|isola)_(textures|folder)', name)])
def test_another_method_has_the_data_network_and_budget_of_the_config_it_is_named_after(name):
    """Methods of patches have the epsilon of their published runs."""
    method, _, of = name.partition('_')
    config, other = _load(name), _load(of)
    if method != 'arl':
        other['optimizer']['eps'] = 1e-8
    own, others = config.pop('method'), other.pop('method')
    assert config == other
    assert (own['name'], others['name']) == (method, 'ac') and own['num_clusters'] == others['num_clusters']


@pytest.mark.parametrize('name', ['ac_vit_folder', 'arl_vit_folder'])
def test_objectives_on_a_frozen_encoder_train_what_is_behind_it(name):
    config = _load(name)
    small = config | {'model': config['model'] | {'depth': 1}}
    params, _ = jax.eval_shape(build.method(small).init, jax.random.key(0), jnp.zeros((2, 224, 224, 3), jnp.uint8))
    paths = {'/'.join(path) for path in traverse_util.flatten_dict(params)}
    (frozen,), into = config['frozen'], config['initial_weights']['into']
    trained = {path for path in paths if not path.startswith(f'{frozen}/')}
    assert frozen == into and trained and all('decoder' in path or path.startswith('critics/') for path in trained)
