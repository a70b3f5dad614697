"""The PyTorch AST of the benchmarks computes what the package does. Both compute in float64, see test_pytorch_reference.py."""

import functools
import importlib

import flax.linen as nn
import jax
import numpy as np
import pytest

from ar_seg_jax import build
from ar_seg_jax.models import background as backgrounds
from ar_seg_jax.models.segformer import FORMS, Form
from ar_seg_jax.training import gradients as gradients_of
from benchmarks.ast_step import Workload
from tests.support import tiny
from tests.support.doubles import assert_close, drawn

torch = pytest.importorskip('torch', reason='PyTorch, which only benchmarks need, is not installed')
ast = importlib.import_module('benchmarks.pytorch_ast')
reference = importlib.import_module('benchmarks.pytorch_reference')
torch.set_num_threads(1)  # on tiny maps more of them wait for each other

pytestmark = pytest.mark.usefixtures('float64')


@pytest.mark.parametrize(('network', 'background', 'side'), [('compact', 'simple', 64), ('B0', 'image', 32)])
def test_outputs_loss_and_gradients_agree(network, background, side, monkeypatch):
    """With all weights drawn, the background's activation among them, so that slots are seen and each of them differs."""
    # As many layers of the autoencoder and stages of SegFormer as in the paper; wide ones take half a minute.
    narrow = backgrounds.Autoencoder((4, 16, 32, 16, 8, 16), (8, 32, 32, 16, 16, 4), 'float64')
    kinds = {'simple': narrow, 'image': backgrounds.LearnedImage(side)}
    monkeypatch.setattr(backgrounds, 'background', lambda kind, *_: kinds[kind])
    monkeypatch.setitem(FORMS, 'B0', Form((4, 8, 10, 16), (1, 1, 1, 2), 12))
    monkeypatch.setattr(jax.nn, 'dot_product_attention', nn.dot_product_attention)  # whose softmax is not always in float32
    config = Workload(2, side, slots=2, network=network, background=background, dtype='float64').to_config()
    if network == 'compact':
        config['model']['widths'] = (6, 8, 10, 12)
    method, image = build.method(config), tiny.random_batch(2, side)['image']
    params, extra = drawn(jax.eval_shape(method.init, jax.random.key(0), image))

    @functools.partial(jax.jit, compiler_options=tiny.QUICK)
    def run(params):
        found = method.predict(params, extra, image)
        batch = {'image': image}
        return found, gradients_of.of_batch(method, params, extra, batch, key=jax.random.key(0), time=tiny.BEGINNING)

    expected, ((loss, _), gradients) = run(params)
    assert expected['scores'].max(axis=(0, 1, 2)).min() > 0.1  # also each slot is seen somewhere

    scene = ast.Scene(**config).double()
    ast.load(scene, params, extra['batch_stats'])
    scaled = torch.tensor(np.asarray(image)).permute(0, 3, 1, 2).double() / 255
    with torch.no_grad():
        reconstruction, weights = scene.eval()(scaled)
    assert_close(reconstruction.permute(0, 2, 3, 1), expected['reconstruction'])
    assert_close(weights.permute(0, 2, 3, 1), expected['scores'])

    found = ast.loss(scene.train(), scaled, config['method']['entropy_weight'])
    found.backward()
    assert found.item() == pytest.approx(loss.item(), rel=1e-9)
    state = reference.in_layout_of(scene, reference.as_torch(ast.arranged(gradients)))
    assert {name for name, _ in scene.named_parameters()} == set(state)
    for name, gradient in state.items():
        assert_close(scene.get_parameter(name).grad, gradient)
