"""What does not fit a method that finds objects, or one that uses places, is told before data is prepared."""

import PIL.Image
import pytest

from ar_seg_jax import build
from ar_seg_jax.errors import UserError
from ar_seg_jax.runs import assembly, checks
from configs import ast_objects_small, common, mixture_street, smooseg_folder
from tests.support import feeds


def _check(tmp_path, kind=ast_objects_small, **changes):
    config = {**kind.get_config().to_dict(), **changes}
    config['data'] = {**config['data'], 'data_dir': str(tmp_path)}
    config['evaluation'] = {**config['evaluation'], 'batch_size': 2}
    checks.check(config, build.method(config), assembly.dataset(config, feeds.mesh_of(1)), begins=False)
    assert not list(tmp_path.iterdir())


def test_the_config_of_objects_fits_and_evaluators_of_classes_do_not(tmp_path):
    _check(tmp_path)
    evaluators = common.get_config().to_dict()['evaluators']
    with pytest.raises(UserError, match=r'^config\.evaluators\.segmentation scores classes, but labels of config\.data are'):
        _check(tmp_path, evaluators=evaluators)


def test_images_that_are_scored_have_the_size_that_the_method_takes(tmp_path):
    evaluation = ast_objects_small.get_config().to_dict()['evaluation']
    for size in (64, (64, 64)):
        _check(tmp_path, evaluation=evaluation | {'crop_size': size})
    with pytest.raises(UserError, match=r'^AST is made for images of 64 x 64 pixels, and --config\.evaluation\.crop_size is 48'):
        _check(tmp_path, evaluation=evaluation | {'crop_size': 48})


@pytest.fixture
def photographs(tmp_path_factory):
    """The data of the config of mixtures, with a folder of one image."""
    root = tmp_path_factory.mktemp('photographs')
    PIL.Image.new('RGB', (120, 100)).save(root / 'image.png')
    return {**mixture_street.get_config().to_dict()['data'], 'root': str(root)}


@pytest.mark.parametrize(('part', 'key'), [('data', 'block_size'), ('evaluation', 'crop_size')])
def test_images_are_whole_where_places_matter(tmp_path, photographs, part, key):
    config = {**mixture_street.get_config().to_dict(), 'data': photographs}
    changed = {'data': photographs, part: {**config[part], key: 96}}
    message = (
        rf'^Gaussian mixture looks at where in an image a pixel is, and --config\.{part}\.{key}=96 cuts images; set it to 0, or '
        r'--config\.method\.layout=0$'
    )
    with pytest.raises(UserError, match=message):
        _check(tmp_path, mixture_street, **changed)
    _check(tmp_path, mixture_street, data=photographs)
    _check(tmp_path, mixture_street, method=config['method'] | {'layout': 0}, **changed)


def test_an_encoder_whose_features_are_kept_has_to_be_frozen(tmp_path, photographs):
    changed = {
        'data': {**photographs, 'block_size': 224},
        'frozen': (),
        'initial_weights': common.get_config().to_dict()['initial_weights'],
    }
    with pytest.raises(
        UserError, match=r'^SmooSeg keeps what .* --config\.frozen has to name network; found \(\)\. Or set .*=False$'
    ):
        _check(tmp_path, smooseg_folder, **changed)
    _check(tmp_path, smooseg_folder, **{**changed, 'frozen': ('network',)})
