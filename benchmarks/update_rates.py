"""How much of a learning rate the first step of Adam moves weights, by its epsilon, at several initialisations.

    python -m benchmarks.update_rates --config coco3 --batch 2 --seeds 10

The first update of a weight is its gradient g over |g| + epsilon, times the learning rate: nearly all of the rate where g is
large beside epsilon, and nothing of it where g is small. Images are smooth noise. Prints a line for each seed: the median size of
the gradients that are not zero (zero are those of masked taps and of units that are off), and the share of their weights that
move by less than half of the rate, for the epsilon of most libraries and for that of the config.
"""

import argparse
import importlib

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from ar_seg_jax import build
from ar_seg_jax.epochs import Time
from ar_seg_jax.training import gradients

USUAL = 1e-8


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--config', default='coco3')
    parser.add_argument('--batch', type=int, default=2, help='images of the step; fewer than the config has give much the same')
    parser.add_argument('--side', type=int, default=0, help='pixels of an image; 0 for the crop of the config')
    parser.add_argument('--seeds', type=int, default=10)
    arguments = parser.parse_args()
    config = importlib.import_module(f'configs.{arguments.config}').get_config().to_dict()
    method, own = build.method(config), config['optimizer']['eps']
    side = arguments.side or config['pipeline']['crop_size']
    channels = 4 if config['data']['name'] == 'potsdam' else 3
    batch = {'image': noise((arguments.batch, side, side, channels))}
    now = Time(jnp.int32(0), jnp.int32(0))

    @jax.jit
    def gradient(key):
        params, extra = method.init(key, batch['image'])
        return jax.grad(lambda params: gradients.loss(method, params, extra, batch, key=key, time=now)[0])(params)

    print(f'| seed | median gradient | below half at {USUAL:g} | below half at {own:g} |\n| --- | --- | --- | --- |')
    for seed in range(arguments.seeds):
        sizes = np.concatenate([np.abs(leaf).ravel() for leaf in jax.tree.leaves(jax.device_get(gradient(jax.random.key(seed))))])
        sizes = sizes[sizes > 0]
        shares = ' | '.join(f'{np.mean(sizes < epsilon):.2%}' for epsilon in (USUAL, own))
        print(f'| {seed} | {np.median(sizes):.1e} | {shares} |', flush=True)


def noise(shape: tuple[int, int, int, int]) -> jax.Array:
    """Smooth images, 8 bits."""
    values = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=shape), (0, 3, 3, 0))
    return jnp.asarray(np.clip(127 + 400 * values, 0, 255), jnp.uint8)


if __name__ == '__main__':
    main()
