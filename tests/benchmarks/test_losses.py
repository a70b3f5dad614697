"""What the package is timed against computes the same."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ar_seg_jax.attention import CHUNK
from benchmarks import attention, contrastive_loss, hlo, losses
from benchmarks.workload import Workload
from configs import potsdam6
from tests.support import tiny

WORKLOAD = Workload(batch=2, side=9, clusters=4, displacement=1)


def assert_same(found, expected):
    jax.tree.map(lambda one, two: np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-6), found, expected)


@pytest.mark.parametrize('masked', [False, True])
def test_one_convolution_has_the_loss_and_the_gradients_of_the_box_filter(masked):
    areas = jax.random.normal(jax.random.key(3), (2, 3, 3, 4)).repeat(3, 1).repeat(3, 2)  # or there is no information
    maps = [jax.nn.softmax(3 * areas + jnp.log(scores)) for scores in losses.score_maps(WORKLOAD)]
    mask = losses.void_mask(WORKLOAD) if masked else None
    package, convolution = (make(WORKLOAD, maps, mask).run() for make in (losses.package, losses.convolution))
    if masked:  # the convolution is differentiated by the masked maps, so where nothing counts it has a gradient still
        convolution = convolution[0], tuple(gradient * mask[..., None] for gradient in convolution[1])
    assert_same(convolution, package)
    assert package[0] < -0.05 and all(np.abs(gradient).max() > 1e-4 for gradient in package[1])
    loss, _ = tiny.information(displacement=WORKLOAD.displacement)(*maps, mask)
    np.testing.assert_allclose(package[0], loss, rtol=1e-5)


def test_explicit_scores_have_the_results_and_the_gradients_of_the_package():
    batch, tokens = 2, CHUNK + 20
    forms = attention.contestants(batch, tokens, 'float32', with_explicit=True)
    package, explicit = (form.run() for form in forms[:2])
    assert_same(explicit, package)
    assert [form.name for form in forms[:2]] == ['JAX', 'explicit']


def test_only_explicit_scores_are_square():
    tokens = 3 * CHUNK
    found = {
        attend: hlo.squares(attention.compile_views(attend, 1, tokens, 'float32').as_text(), tokens)
        for attend in (attention.package, attention.explicit)
    }
    assert not found[attention.package]
    assert {array.shape[-2:] for array in found[attention.explicit]} == {(tokens, tokens)}


def test_the_dense_loss_has_the_value_and_the_gradients_of_the_contrastive_loss():
    forms = (contrastive_loss.contestant('', loss, 3, 5) for loss in (contrastive_loss.package_loss, contrastive_loss.dense_loss))
    package, dense = (form.run() for form in forms)
    assert_same(dense, package)
    assert all(float(jnp.abs(gradient).max()) > 1e-5 for gradient in package[1])


def test_arrays_are_found_in_the_text_of_a_program():
    text = '%a = (f32[2,300]{1,0}, bf16[]) fusion(s32[300,400,2] %b), sharding={devices=[512,512]0,1}'
    assert hlo.largest(text) == hlo.Array('s32', (300, 400, 2)) and hlo.largest(text).bytes == 960_000
    assert hlo.squares(text, 300) == [hlo.Array('s32', (300, 400, 2))]
    assert hlo.arrays('(f32[2,300], bf16[])') == [hlo.Array('f32', (2, 300)), hlo.Array('bf16', ())]


def test_sizes_are_those_of_the_config():
    expected = Workload(batch=30, side=200, channels=4, blocks=5, stride=2, attention=True, clusters=6)
    assert Workload.from_config(potsdam6.get_config().to_dict()) == expected
