"""From a config to the method and the optimiser; what is wrong in it is told with what is right."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ar_seg_jax import build
from ar_seg_jax.errors import UserError
from ar_seg_jax.interfaces import Normalisation
from configs import common, textures
from tests.support import tiny

ORDERINGS = 'A1, A2, B4, B1, C3, C2, D3, D4, zigzag_A1, .*, zigzag_D4'


def _config(**parts):
    """That of textures, with some options changed, by part."""
    config = textures.get_config().to_dict()
    for part, options in parts.items():
        config[part] = {**config[part], **options}
    return config


@pytest.mark.parametrize(
    ('part', 'option', 'value', 'message'),
    [
        ('model', 'name', 'mlp', r"config\.model\.name: there is no 'mlp', the names are .*autoregressive.*"),
        ('model', 'variant', 'F9', r"config\.model\.variant is one of F1, F2, F3, F4, F5; found 'F9'"),
        ('model', 'zigzag', 'edge', r"config\.model\.zigzag is one of corner, alternate, raster; found 'edge'"),
        ('model', 'blocks', 6, r'model\.blocks is one of 1, 2, 3, 4, 5; found 6'),
        ('model', 'blocks', '2', r"config\.model\.blocks: expected a whole number, found '2'"),
        ('model', 'dtype', 'float16', r"config\.model\.dtype is one of float32, bfloat16, float64; found 'float16'"),
        ('model', 'dtype', 'float23', r"config\.model\.dtype is one of float32, bfloat16, float64; found 'float23'"),
        ('model', 'dtype', 'float64', r"config\.model\.dtype 'float64' needs the environment variable JAX_ENABLE_X64=1; .*"),
        ('model', 'normalise', 'half', r"config\.model\.normalise is one of none, data; found 'half'"),
        ('model', 'borders', 'edge', r"config\.model\.borders is one of zeros, replicate, partial; found 'edge'"),
        ('model', 'geometry', 'left', r"config\.model\.geometry is one of centred, paper; found 'left'"),
        ('model', 'attention_merge', 'sum', r"config\.model\.attention_merge is one of concatenate, add; found 'sum'"),
        ('model', 'depth', 3, r"config\.model of 'autoregressive': there is no 'depth', the names are attention, .*"),
        ('model', 'head', {}, r"config\.model of 'autoregressive': there is no 'head', the names are attention, .*"),
        ('method', 'name', 'arc', r"config\.method\.name: there is no 'arc', the names are .*; did you mean '.*'\?"),
        ('method', 'num_clusters', 0, r'method\.num_clusters is 2 to 255, found 0'),
        ('method', 'num_clusters', 1, r'method\.num_clusters is 2 to 255, found 1'),
        ('method', 'num_clusters', 256, r'method\.num_clusters is 2 to 255, found 256'),
        ('method', 'auxiliary_clusters', 256, r'method\.auxiliary_clusters is 2 to 255, or 0 for no second head; found 256'),
        ('method', 'auxiliary_clusters', 1, r'method\.auxiliary_clusters is 2 to 255, or 0 for no second head; found 1'),
        ('method', 'auxiliary_clusters', -1, r'method\.auxiliary_clusters is 2 to 255, or 0 for no second head; found -1'),
        ('method', 'orderings', 'A1,Z9', rf"no ordering is called 'Z9'; the names are {ORDERINGS}"),
        (
            'method',
            'sampling',
            'best',
            r"config\.method\.sampling is one of random, no_repetition, hard, hard_loss; found 'best'",
        ),
        (
            'method',
            'transformations',
            'blur',
            r"config\.method\.transformations is one of none, jitter, flip, turn, all; found 'blur'",
        ),
        ('method', 'sobel', 1, r'config\.method\.sobel: expected True or False, found 1'),
        ('method', 'width', 64, r"config\.method of 'ac': there is no 'width', the names are auxiliary_clusters, .*"),
    ],
)
def test_a_wrong_option_is_told_with_what_is_right(part, option, value, message):
    with pytest.raises(UserError, match=rf'^{message}$'):
        build.method(_config(**{part: {option: value}}))


@pytest.mark.parametrize(
    ('option', 'value', 'message'),
    [
        ('width', 1, r'method\.width is 2 to 4096, found 1'),
        ('width', 4097, r'method\.width is 2 to 4096, found 4097'),
        ('num_clusters', 0, r'method\.num_clusters is 2 to 255, found 0'),
        ('num_clusters', 256, r'method\.num_clusters is 2 to 255, found 256'),
        ('collapsed', True, r"config\.method of 'arl': there is no 'collapsed', the names are candidates, .*"),
    ],
)
def test_a_wrong_option_of_arl_is_told_with_what_is_right(option, value, message):
    with pytest.raises(UserError, match=rf'^{message}$'):
        build.method(_config() | {'method': {**common.arl(), option: value}})


@pytest.mark.parametrize('method', [common.ac(), common.arl()])
@pytest.mark.parametrize(('model', 'name'), [(common.resnet_fpn(), 'ResNetFPN'), (common.vit(), 'ViT')])
def test_a_model_that_cannot_follow_orderings_is_refused_by_the_methods_that_need_them(method, model, name):
    message = (
        rf"^config\.model: {name} cannot follow orderings, as AC and ARL do; .* set method\.orderings to 'none' and .* apart$"
    )
    with pytest.raises(UserError, match=message):
        build.method(_config() | {'method': method, 'model': model})
    assert build.method(_config() | {'method': method | {'orderings': 'none', 'transformations': 'all'}, 'model': model}).model


def test_a_lacking_option_is_named():
    config = _config()
    del config['method']['sobel'], config['method']['candidates']
    with pytest.raises(UserError, match=r"^config\.method of 'ac' lacks candidates, sobel$"):
        build.method(config)


@pytest.mark.parametrize('read', [build.method, lambda config: build.check_channels(config, 3)])
def test_a_normalisation_has_as_many_means_as_deviations(monkeypatch, read):
    monkeypatch.setitem(build.MODELS, 'autoregressive', tiny.normalising((0.5, 0.4, 0.3), (0.2, 0.2)))
    message = r"^the normalisation of config\.model 'autoregressive' has 3 means and 2 deviations; it needs one of each for "
    with pytest.raises(UserError, match=message):
        read(_config())


def test_a_model_that_wants_it_gets_what_was_measured():
    measured = Normalisation((0.5, 0.4, 0.3), (0.2, 0.1, 0.3))
    wanting, other = _config(model={'normalise': 'data'}), _config()
    assert build.wants_measured(wanting) and not build.wants_measured(other)
    assert build.method(wanting, measured).model.normalisation == measured
    assert build.method(other, measured).model.normalisation == Normalisation()
    with pytest.raises(UserError, match=r"^config\.model of 'autoregressive': there is no 'measured', the names are "):
        build.method(_config(model={'measured': measured}))
    with pytest.raises(UserError, match=r"^config\.model\.normalise is one of none, imagenet, half; found 'data'$"):
        build.method(wanting | {'method': common.picie(), 'model': common.resnet_fpn() | {'normalise': 'data'}}, measured)


@pytest.mark.parametrize(('wanted', 'found'), [(3, 3), (4, 4), (0, 3), (0, 4)])
def test_a_model_takes_images_of_the_channels_that_it_normalises(monkeypatch, wanted, found):
    monkeypatch.setitem(build.MODELS, 'autoregressive', tiny.normalising((0.5,) * wanted, (0.2,) * wanted))
    build.check_channels(_config(), found)
    if wanted:
        message = rf'normalises images of {wanted} channels, but those of config\.data .textures. have {7 - wanted}; choose '
        with pytest.raises(UserError, match=rf"^config\.model 'autoregressive' {message}"):
            build.check_channels(_config(), 7 - wanted)


@pytest.mark.parametrize(
    ('options', 'heads'),
    [
        (common.ac() | {'num_clusters': 7, 'auxiliary_clusters': 9}, {'decoder': 7, 'auxiliary_decoder': 9}),
        (common.ac() | {'num_clusters': 7, 'auxiliary_clusters': 0}, {'decoder': 7}),
        (common.arl() | {'width': 9}, {'decoder': 9}),
    ],
)
def test_the_model_has_the_heads_that_the_method_wants(options, heads):
    assert build.method(_config() | {'method': options}).model.heads == heads


def test_the_optimiser_is_that_of_the_config():
    config = _config(optimizer={'learning_rate': 0.5, 'b1': 0.7, 'b2': 0.6, 'eps': 1e-3})
    params, gradients = {'stem': jnp.float32([1, 2])}, {'stem': jnp.float32([0.3, -4])}
    found, expected = build.transformation(config, tiny.ac(), steps=10).tx, optax.adam(0.5, b1=0.7, b2=0.6, eps=1e-3)
    updates = []
    for tx in (found, expected):
        state = tx.init(params)
        for _ in range(3):
            update, state = tx.update(gradients, state, params)
        updates.append(update['stem'])
    np.testing.assert_allclose(*updates, rtol=1e-6)
    frozen = build.transformation(config | {'frozen': ('stem',)}, tiny.ac(), steps=10).tx
    update, _ = frozen.update(gradients, frozen.init(params), params)
    assert not jnp.any(update['stem'])
    with pytest.raises(UserError, match=r"^config\.optimizer\.name: there is no 'adamax', the names are adam, adamw, sgd; did "):
        build.transformation(_config(optimizer={'name': 'adamax'}), tiny.ac(), steps=10)
    with pytest.raises(UserError, match=r"^config\.optimizer of 'adam': there is no 'beta', the names are b1, b2, eps, "):
        build.transformation(_config(optimizer={'beta': 0.9}), tiny.ac(), steps=10)


@pytest.mark.parametrize('part', ['model', 'method'])
def test_what_is_built_can_be_closed_over_by_a_compiled_program(part):
    """Equal configs give equal hashable things, so that nothing is compiled twice; another option gives another thing."""
    one, other = (build.method(_config()) for _ in range(2))
    changed = build.method(_config(**{part: {'model': {'blocks': 1}, 'method': {'sobel': True}}[part]}))
    assert one == other and hash(one) == hash(other)
    assert one != changed
    assert jax.jit(lambda method: method.num_clusters, static_argnums=0)(one) == 3


def test_a_vit_of_an_older_version_was_not_magnified():
    method = common.mixture() | {'components': 2}
    model = {name: value for name, value in common.vit().items() if name != 'magnify'}
    assert build.method({'method': method, 'model': model}) == build.method({'method': method, 'model': common.vit()})
