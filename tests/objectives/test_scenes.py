"""The losses of scenes against loops over pixels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ar_seg_jax.objectives import scenes

RNG = np.random.default_rng(0)


def _smooth_l1(distance, beta):
    return distance**2 / (2 * beta) if distance < beta else distance - beta / 2


def test_smooth_l1_is_a_parabola_that_becomes_a_line():
    values = np.array([-7.0, -3.0, -1.5, 0.0, 0.1, 2.9, 3.0, 100.0])
    found = scenes.smooth_l1(jnp.float32(values), 3.0)
    np.testing.assert_allclose(found, [_smooth_l1(abs(value), 3.0) for value in values], rtol=1e-6)
    np.testing.assert_allclose(jax.grad(lambda d: scenes.smooth_l1(d, 3.0))(2.999999), 1, rtol=1e-3)  # they meet in slope too


@pytest.mark.parametrize(('side', 'window'), [(6, 1), (75, 3)])
def test_the_loss_of_the_background_counts_pixels_less_the_worse_they_are_explained(side, window):
    shape = (2, 4, side)
    image = RNG.uniform(0, 255, (*shape, 3))
    predicted = np.concatenate([image + 20 * RNG.normal(size=image.shape), RNG.uniform(0, 255, (*shape, 1))], axis=-1)
    counted = RNG.uniform(size=shape) > 0.3
    errors = np.zeros(shape)
    noise = np.zeros(shape)
    for place in np.ndindex(shape):
        errors[place] = sum(_smooth_l1(abs(image[place][c] - predicted[place][c]), 3) for c in range(3)) / 255
        noise[place] = _smooth_l1(abs(predicted[place][3] / 255 - errors[place] / 3), 3 / 255)
    expected = np.zeros(2)
    for number, row, column in np.argwhere(counted):
        half = window // 2
        around = errors[number, max(0, row - half) : row + half + 1, max(0, column - half) : column + half + 1]
        weight = np.exp(-6 * np.mean(np.tanh(around / 0.25)))
        expected[number] += weight * (errors[number, row, column] + noise[number, row, column])
    found = scenes.background(jnp.float32(image), jnp.float32(predicted), jnp.array(counted))
    np.testing.assert_allclose(found.sums, expected, rtol=1e-4)
    np.testing.assert_array_equal(found.counts, counted.sum((1, 2)))
    np.testing.assert_allclose(found.mean(), expected.sum() / counted.sum(), rtol=1e-4)


def test_the_loss_of_the_background_falls_towards_the_image_even_from_far_away():
    """A weight that were differentiated would drive predictions away, since nothing counts there."""
    image, counted = jnp.full((1, 1, 1, 3), 200.0), jnp.ones((1, 1, 1), bool)

    def loss(predicted):
        return scenes.background(image, predicted, counted).mean()

    gradient = jax.grad(loss)(jnp.array([[[[100.0, 100.0, 100.0, 128.0]]]]))[0, 0, 0]
    assert (gradient[:3] < 0).all()
    # The error to expect is 3 x 98.5 / 255, a third of which is 0.386; 128 / 255 is above it.
    assert gradient[3] > 0
    assert loss(jnp.array([[[[200.0, 200.0, 200.0, 0.0]]]])) == 0


def test_reconstruction_and_entropy_are_those_of_each_pixel():
    image, found = RNG.uniform(size=(2, 3, 4, 3)), RNG.uniform(size=(2, 3, 4, 3))
    weights = RNG.dirichlet(np.ones(5), (2, 3, 4))
    weights[0, 0, 0] = np.eye(5)[2]
    counted = RNG.uniform(size=(2, 3, 4)) > 0.3
    counted[0, 0, 0] = True
    one = scenes.reconstruction(jnp.float32(image), jnp.float32(found), jnp.array(counted))
    other = scenes.entropy(jnp.float32(np.moveaxis(weights, -1, 1)), jnp.array(counted))
    squares, entropies = np.zeros(2), np.zeros(2)
    for place in map(tuple, np.argwhere(counted)):
        squares[place[0]] += sum(abs(found[place] - image[place])) ** 2
        entropies[place[0]] += sum(-w * np.log(w) for w in weights[place] if w) ** 2
    np.testing.assert_allclose(one.sums, squares, rtol=1e-4)
    np.testing.assert_allclose(other.sums, entropies, rtol=1e-4)
    np.testing.assert_allclose(one.mean(), squares.sum() / counted.sum(), rtol=1e-4)


def test_no_pixel_that_counts_is_no_loss():
    image, none = jnp.zeros((1, 2, 2, 3)), jnp.zeros((1, 2, 2), bool)
    assert scenes.reconstruction(image, image + 1, none).mean() == 0
