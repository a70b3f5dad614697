"""Every config describes something that can be built, at its real size, without computing anything."""

import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from ar_seg_jax import build
from ar_seg_jax.evaluation.segmentation import Protocol
from ar_seg_jax.training import gradients

CONFIGS = sorted(path for path in (Path(__file__).parents[1] / 'configs').glob('*.py') if path.stem != '__init__')
# Supplement, Table 5: learning rate, batch, crop, output stride, displacements, attention.
TABLE_5 = {
    'coco3': (4e-5, 60, 128, 4, 10, False),
    'coco15': (6e-6, 60, 128, 4, 10, False),
    'potsdam3': (1e-6, 30, 200, 2, 10, True),
    'potsdam6': (4e-5, 30, 200, 2, 10, True),
}


def _load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config().to_dict()


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_the_step_of_a_config_can_be_traced(path):
    config = _load(path)
    method = build.method(config)
    channels = 4 if config['data']['name'] == 'potsdam' else config['data'].get('channels', 3)
    crop, batch_size = config['pipeline']['crop_size'], config['pipeline']['batch_size']
    image = jax.ShapeDtypeStruct((batch_size, crop, crop, channels), jnp.uint8)
    batch = {'image': image, 'label': jax.ShapeDtypeStruct(image.shape[:3], jnp.uint8)}
    key = jax.eval_shape(lambda: jax.random.key(0))
    params, extra = jax.eval_shape(method.init, key, image)
    jax.eval_shape(build.optimizer(config).init, params)
    loss, (updated, _) = jax.eval_shape(
        lambda *state, key: gradients.loss(method, *state, key=key, step=0), params, extra, batch, key=key
    )
    assert loss.shape == () and loss.dtype == jnp.float32
    assert jax.tree.map(jnp.shape, updated) == jax.tree.map(jnp.shape, extra)
    scores = jax.eval_shape(method.predict, params, extra, image)['scores']
    assert scores.shape == (batch_size, crop, crop, config['model']['num_clusters'])
    for protocol in config['evaluation']['protocols']:
        Protocol.parse(protocol)


@pytest.mark.parametrize('name', TABLE_5)
def test_configs_of_the_paper_have_the_values_of_its_table(name):
    config = _load(Path(__file__).parents[1] / 'configs' / f'{name}.py')
    found = (
        config['learning_rate'],
        config['pipeline']['batch_size'],
        config['pipeline']['crop_size'],
        config['model']['output_stride'],
        config['method']['displacement'],
        config['model']['attention'],
    )
    assert found == TABLE_5[name]
    assert config['model']['blocks'] == 5 and config['model']['num_clusters'] == config['data']['num_classes']


def _textures():
    return _load(Path(__file__).parents[1] / 'configs' / 'textures.py')


@pytest.mark.parametrize(
    ('part', 'key', 'value', 'message'),
    [
        ('model', 'name', 'unet', r"no model is called 'unet'; config.model.name is one of autoregressive"),
        ('model', 'variant', 'F9', r'F9'),
        ('model', 'num_clusters', 256, r'model\.num_clusters is 2 to 255, found 256'),
        ('arl', 'width', 1, r'arl\.width is 2 to 4096, found 1'),
        ('model', 'blocks', 6, r'model.blocks is one of .*, found 6'),
        ('model', 'depth', 3, r"config.model does not fit 'autoregressive': .*depth"),
        ('method', 'orderings', 'A1,Z9', r"no ordering is called 'Z9'; the names are A1"),
        ('method', 'sampling', 'best', r'best'),
        ('method', 'transformations', 'blur', r'blur'),
        ('method', 'name', 'arc', r"no method is called 'arc'; config.method.name is one of ac, arl"),
    ],
)
def test_a_wrong_value_is_explained(part, key, value, message):
    config = _textures()
    config[part][key] = value
    with pytest.raises(ValueError, match=message):
        build.method(config)
