"""Models and methods are for images of so many channels: those of the data set, which is asked before it is prepared."""

import pytest

from ar_seg_jax import build
from ar_seg_jax.errors import UserError
from ar_seg_jax.methods.ac import AC
from ar_seg_jax.runs import run as runs
from configs import potsdam3
from tests.support import tiny


@pytest.fixture
def config(tmp_path):
    """That of Potsdam, whose images have four channels, with a tile that nobody has read."""
    (tmp_path / 'raw').mkdir()
    (tmp_path / 'raw' / 'top_potsdam_2_10_RGBIR.tif').touch()
    config = potsdam3.get_config().to_dict()
    config['data'] |= {'root': str(tmp_path / 'raw'), 'data_dir': str(tmp_path / 'prepared')}
    config['pipeline'] |= {'batch_size': 8, 'micro_batches': 1}
    config['evaluation'] |= {'batch_size': 8}
    return config


def test_the_method_is_asked_about_images_of_the_data_set(config, monkeypatch, tmp_path):
    def check(self, image_shape, micro_batches):
        raise UserError(f'asked about {image_shape} in {micro_batches}')

    monkeypatch.setattr(AC, 'check', check)
    with pytest.raises(UserError, match=r'^asked about \(8, 200, 200, 4\) in 1$'):
        runs.open_run(config, tmp_path / 'run', training=True)


def test_a_model_for_other_images_is_refused_before_anything_is_prepared(config, monkeypatch, tmp_path):
    monkeypatch.setitem(build.MODELS, 'autoregressive', tiny.normalising((0.5,) * 3, (0.2,) * 3))
    message = r"normalises images of 3 channels, but those of config\.data 'potsdam' have 4; choose a model or data that fits "
    with pytest.raises(UserError, match=message):
        runs.open_run(config, tmp_path / 'run', training=True)
    assert {path.name for path in tmp_path.iterdir()} == {'raw'}
