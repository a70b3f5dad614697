"""What compares the representations of two views."""

import jax
import jax.numpy as jnp
import numpy as np

from ar_seg_jax.models.critics import SeparableCritics
from tests.support import tiny

WIDTH = 5


def test_critics_are_those_of_the_supplement_with_running_statistics_too():
    rng = np.random.default_rng(0)
    first, second = (jnp.asarray(rng.normal(size=(2, 3, 4, WIDTH)), jnp.float32) for _ in range(2))
    variables = SeparableCritics().init(jax.random.key(0), first, second)
    variables = jax.tree.map(lambda leaf: leaf + jnp.asarray(0.1 * rng.normal(size=leaf.shape), leaf.dtype), variables)
    found, updated = SeparableCritics().apply(variables, first, second, train=True, mutable=['batch_stats'])
    for name, maps, projected in zip(('first', 'second'), (first, second), found, strict=True):
        assert projected.shape == (2, 3, 4, 2 * WIDTH)
        np.testing.assert_allclose(projected, tiny.critic(variables['params'], name, maps), rtol=1e-4, atol=1e-5)
    # With running statistics the result is the same up to an affine map of each channel, which these say.
    still = SeparableCritics().apply(variables, first, second)
    variables, updated = jax.tree.map(np.asarray, (variables, updated))
    for name, trained, running in zip(('first', 'second'), found, still, strict=True):
        old, new = (tree['batch_stats'][f'{name}_norm'] for tree in (variables, updated))
        own = {key: (new[key] - 0.9 * old[key]) / 0.1 for key in ('mean', 'var')}  # of these maps
        scale, bias = (variables['params'][f'{name}_norm'][part] for part in ('scale', 'bias'))
        raw = (np.asarray(trained) - bias) / scale * np.sqrt(own['var'] + 1e-5) + own['mean']
        np.testing.assert_allclose(running, (raw - old['mean']) / np.sqrt(old['var'] + 1e-5) * scale + bias, rtol=1e-3, atol=1e-3)
