"""Methods, models and batches that are small enough for a test, with the options that configs have by default."""

import jax
import jax.numpy as jnp
import numpy as np
from flax.core import FrozenDict
from scipy import ndimage

from ar_seg_jax import build
from ar_seg_jax.epochs import Time
from ar_seg_jax.interfaces import VOID, Method, Normalisation
from ar_seg_jax.models.autoregressive import Autoregressive
from ar_seg_jax.objectives.info_nce import ContrastiveLoss
from ar_seg_jax.objectives.mutual_information import InformationLoss
from ar_seg_jax.training import gradients
from configs import common

BEGINNING = Time(jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))
QUICK = {'xla_backend_optimization_level': 0}  # for programs that run a few times on tiny maps


def random_batch(size=8, side=16, channels=3):
    """Smooth images, and labels of three classes."""
    rng = np.random.default_rng(0)
    image = ndimage.gaussian_filter(rng.normal(size=(size, side, side, channels)), (0, 2, 2, 0))
    image = np.uint8(np.clip(127 + 400 * image, 0, 255))
    label = rng.integers(0, 3, (size, side, side), np.uint8)
    return {'image': jnp.asarray(image), 'label': jnp.asarray(label)}


def with_void(batch, below=4):
    """The batch with the first `below` rows of every image void, which do not count."""
    label = batch['label'].at[:, :below].set(VOID)
    return {**batch, 'label': label, 'mask': label != VOID}


def autoregressive(clusters=3, auxiliary=0, kind=Autoregressive, **options) -> Autoregressive:
    """A model of one block with a decoder of so many outputs, and perhaps an auxiliary one; `kind` is its class."""
    heads = {'decoder': clusters} | ({'auxiliary_decoder': auxiliary} if auxiliary else {})
    chosen = {**common.autoregressive(), 'blocks': 1, **options}
    del chosen['name']
    return kind(heads=FrozenDict(heads), **chosen)


def normalising(mean, deviation, kind=Autoregressive) -> type:
    """A class of models, made for another input."""
    return type('Normalising', (kind,), {'normalisation': Normalisation(mean, deviation)})


def method(options, model=None) -> Method:
    """A method from the options of config.method, with a model of one block."""
    return build.method({'method': options, 'model': {**common.autoregressive(), 'blocks': 1, **(model or {})}})


def ac(model=None, **options) -> Method:
    """AC with a half-window of 2; `model`: changes of the model."""
    return method({**common.ac(), 'displacement': 2, **options}, model)


def arl(model=None, **options) -> Method:
    """ARL of width 5 with three orderings; `model`: changes of the model."""
    chosen = {'width': 5, 'orderings': 'A1,D3,B4', 'sampling': 'no_repetition'}
    return method({**common.arl(), **chosen, **options}, model)


def patch_pairs(name, model=None, **options) -> Method:
    """The method of patches of this name, with patches of 3 x 3 and 8 channels to compare them; `model`: changes of the model."""
    chosen = {'patch': 3, 'comparator_width': 8}
    return method({**getattr(common, name)(), **chosen, **options}, model)


def variables_of(model, image, seed=0):
    """Those that a Flax module has for images like this one, as after some training; how it draws them is not compiled.

    Activations keep their size: the squares of the weights that an output is a sum of sum to 1.
    """
    rng = np.random.default_rng(seed)

    def drawn(path, leaf):
        name = path[-1].key
        if name in ('scale', 'var'):
            return jnp.asarray(rng.uniform(0.5, 1.5, leaf.shape), leaf.dtype)
        size = np.prod(leaf.shape[:-1]) if name == 'kernel' else 4
        return jnp.asarray(rng.normal(size=leaf.shape) / np.sqrt(size), leaf.dtype)

    shapes = jax.eval_shape(model.init, jax.random.key(0), image)
    return jax.tree_util.tree_map_with_path(drawn, shapes)


def information(**options) -> InformationLoss:
    """The objective of AC as configs have it."""
    known = {name: common.ac()[name] for name in ('displacement', 'collapsed', 'symmetric', 'entropy_weight')}
    return InformationLoss(**{**known, **options})


def contrast(**options) -> ContrastiveLoss:
    """The objective of ARL as configs have it."""
    known = {name: common.arl()[name] for name in ('displacement', 'temperature')}
    return ContrastiveLoss(**{**known, **options})


def interpolated(maps, height, width, stride=4):
    """Maps of cells at the pixels of an image: bilinear between the centres of cells, by the definition.

    Cell i is centred at pixel `stride` * i, where the first convolution and the pooling of all stems look.
    """

    def weights(pixels, cells):
        places = np.clip(np.arange(pixels) / stride, 0, cells - 1)
        return np.maximum(1 - abs(places[:, None] - np.arange(cells)), 0)

    rows, columns = weights(height, maps.shape[1]), weights(width, maps.shape[2])
    return jnp.einsum('hi,wj,bijk->bhwk', rows, columns, maps, precision='highest')


def scores(logits, height, width, stride=4):
    """Scores of pixels from logits of cells: the softmax, by the definition, of what is interpolated."""
    exponentials = jnp.exp(interpolated(logits, height, width, stride))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def critic(params, name, x):
    """Table 3 of the supplement in training: convolution, ReLU, convolution, ReLU, shortcut, batch norm."""

    def conv(x, part):
        return x @ params[f'{name}_{part}']['kernel'] + params[f'{name}_{part}']['bias'][None, None, None]

    x = jnp.maximum(conv(jnp.maximum(conv(x, 'conv_0'), 0), 'conv_1'), 0) + conv(x, 'shortcut')
    mean, variance = (statistic(x, (0, 1, 2), keepdims=True) for statistic in (jnp.mean, jnp.var))
    scale, bias = (params[f'{name}_norm'][part][None, None, None] for part in ('scale', 'bias'))
    return (x - mean) / jnp.sqrt(variance + 1e-5) * scale + bias


def stepper(method):
    """Loss, new extra, metrics and gradients of one step, compiled."""
    return jax.jit(
        lambda params, extra, batch, key: gradients.of_batch(method, params, extra, batch, key=key, time=BEGINNING),
        compiler_options=QUICK,
    )


def assert_trees_close(found, expected, rtol):
    """Leaf by leaf, entries near zero relative to the largest of the leaf: sums in another order cancel differently.

    The bias of the convolution before the batch norm has no gradient but rounding, so that the largest entry of the whole
    tree counts too, much less.
    """
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    largest = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(expected))
    for array, reference in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        atol = max(1e-4 * float(jnp.abs(reference).max()), 1e-6 * largest)
        np.testing.assert_allclose(array, reference, rtol=rtol, atol=atol)
