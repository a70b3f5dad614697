"""The PyTorch reference of the benchmarks computes what the package computes.

Both sides compute in float64, also what the package otherwise always computes in float32, so that agreement to 1e-9 of the
largest entry of each array can be asked for. (And 1e-15: biases before a normalisation or a softmax have no gradient.)
"""

import functools
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ar_seg_jax import orderings
from ar_seg_jax.epochs import Epochs
from ar_seg_jax.training.optimizer import Optimizer
from ar_seg_jax.training.state import TrainState
from ar_seg_jax.training.step import make_train_step
from tests.support import doubles, tiny
from tests.support.doubles import assert_close

torch = pytest.importorskip('torch', reason='PyTorch, which only benchmarks need, is not installed')
reference = importlib.import_module('benchmarks.pytorch_reference')
torch.set_num_threads(1)  # on tiny maps more of them wait for each other

NAMES = tuple(orderings.RASTER)
CHANNELS, CLUSTERS, DISPLACEMENT = 4, 5, 2
MODELS = [(1, 2, False), (1, 4, False), (2, 2, True), (2, 4, True)]  # blocks, output stride, attention
FORMS = [('dummy', 'explicit', False), ('product', 'fused', True)]  # masking, attention, whether views share the stem


pytestmark = pytest.mark.usefixtures('float64')


def images(side, count=2):
    return jnp.asarray(np.random.default_rng(1).uniform(size=(count, side, side, CHANNELS)))


def drawn(model, side):
    return doubles.drawn(jax.eval_shape(model.init, jax.random.key(0), images(side)))


def torch_model(variables, blocks, stride, attention='none', masking='dummy'):
    model = reference.Autoregressive(CHANNELS, CLUSTERS, blocks, stride, attention, masking).double()
    reference.load(model, variables['params'], variables['batch_stats'])
    return model


def run_package(model, variables, image):
    """A function of two orderings: scores of both views, loss, new batch statistics and gradients."""
    stack = orderings.stack(NAMES)

    @functools.partial(jax.jit, compiler_options=tiny.QUICK)
    def run(first, second):
        views = orderings.choose(stack, first), orderings.choose(stack, second)

        def loss(params):
            options = {'train': True, 'mutable': ['batch_stats'], 'method': 'scan'}
            outputs, updated = model.apply({**variables, 'params': params}, image, views, **options)
            logits = (model.to_pixels(output['decoder'], *image.shape[1:3]) for output in outputs)
            scores = [jax.nn.softmax(each) for each in logits]
            return tiny.information(displacement=DISPLACEMENT)(*scores)[0], (scores, updated['batch_stats'])

        return jax.value_and_grad(loss, has_aux=True)(variables['params'])

    return lambda *pair: run(*map(NAMES.index, pair))


@pytest.mark.parametrize(('blocks', 'stride', 'attention'), MODELS)
def test_outputs_loss_gradients_and_statistics_agree_in_all_orderings(blocks, stride, attention):
    side = 4 * stride
    package = tiny.autoregressive(
        CLUSTERS, geometry='paper', blocks=blocks, output_stride=stride, attention=attention, dtype='float64'
    )
    variables, image = drawn(package, side), images(side)
    run = run_package(package, variables, image)
    for pair in zip(NAMES, NAMES[3:] + NAMES[:3], strict=True):
        (loss, (scores, statistics)), gradients = run(*pair)
        for masking, form, share_stem in FORMS:
            model = torch_model(variables, blocks, stride, form if attention else 'none', masking)
            views = model(torch.tensor(np.asarray(image)).permute(0, 3, 1, 2), pair, share_stem)
            found = reference.information_loss(*views, DISPLACEMENT)
            found.backward()
            model.switch_gradients()
            for view, expected in zip(views, scores, strict=True):
                assert_close(view.detach().permute(0, 2, 3, 1), expected)
            assert found.item() == pytest.approx(loss.item(), rel=1e-9)
            for name, expected in reference.as_torch(gradients).items():
                assert_close(model.get_parameter(name).grad, expected)
            assert_statistics(model, variables, statistics, image.shape, stride, 1 if share_stem else 2)


def assert_statistics(model, variables, statistics, shape, stride, passes):
    """PyTorch's running variance is that of a sample, n / (n - 1) times Flax's, and each pass of the stem moves it.

    Ours makes one pass for both views, which counts as two.
    """
    count = shape[0] * (shape[1] // (stride // 2)) ** 2
    for name, correction in (('mean', 1), ('var', count / (count - 1))):
        before, after = (np.asarray(tree['stem']['norm'][name]) for tree in (variables['batch_stats'], statistics))
        batch = (after - 0.9**2 * before) / (1 - 0.9**2) * correction
        expected = 0.9**passes * before + (1 - 0.9**passes) * batch
        assert_close(model.stem.norm.get_buffer(f'running_{name}'), expected)


@pytest.mark.parametrize('displacement', [0, 1, 3])
@pytest.mark.parametrize('collapsed', [True, False])
def test_the_loss_and_its_gradients_agree(displacement, collapsed):
    logits = np.random.default_rng(2).normal(size=(2, 2, 7, 9, CLUSTERS)) * 3
    p, noise = (jax.nn.softmax(x) for x in jnp.asarray(logits))
    q = 0.7 * p + 0.3 * noise
    package = tiny.information(displacement=displacement, collapsed=collapsed)
    differentiated = jax.value_and_grad(lambda *pair: package(*pair)[0], argnums=(0, 1))
    loss, gradients = jax.jit(differentiated, compiler_options=tiny.QUICK)(p, q)
    for joint in ('convolution', 'box') if collapsed else ('convolution',):
        pair = [torch.tensor(np.asarray(x)).permute(0, 3, 1, 2).requires_grad_() for x in (p, q)]
        found = reference.information_loss(*pair, displacement, collapsed, joint)
        found.backward()
        assert found.item() == pytest.approx(loss.item(), rel=1e-9)
        for scores, expected in zip(pair, gradients, strict=True):
            assert_close(scores.grad.permute(0, 2, 3, 1), expected)


@pytest.mark.parametrize('name', NAMES)
def test_ranks_are_those_of_the_package_on_maps_that_are_not_square(name):
    expected = orderings.rank(orderings.by_name(name), 4, 7)
    np.testing.assert_array_equal(reference.visiting_ranks(name, 4, 7).reshape(4, 7), expected)


def test_training_steps_have_the_same_losses():
    image = jnp.asarray(images(side=12) * 255, jnp.uint8)
    model = {'output_stride': 2, 'geometry': 'paper', 'dtype': 'float64'}
    method = tiny.ac(model, num_clusters=CLUSTERS, displacement=DISPLACEMENT, orderings='D4')
    tx, variables, zero = optax.adam(1e-3), drawn(method.model, side=12), jnp.zeros((), int)
    params, extra = variables['params'], {'batch_stats': variables['batch_stats']}
    state = TrainState(zero, params, extra, tx.init(params), jax.random.key(0), zero, zero)
    step = jax.jit(make_train_step(method, Optimizer(tx), epochs=Epochs(2, 2)), compiler_options=tiny.QUICK)

    other = torch_model(variables, 1, 2)
    adam = torch.optim.Adam(other.parameters(), 1e-3)
    scaled = torch.tensor(np.asarray(image)).permute(0, 3, 1, 2).double() / 255
    for _ in range(4):
        state, metrics, _ = step(state, {'image': image})
        loss = reference.train_step(other, adam, scaled, ('D4', 'D4'), DISPLACEMENT)
        assert loss.item() == pytest.approx(metrics['loss'].item(), rel=1e-7)
