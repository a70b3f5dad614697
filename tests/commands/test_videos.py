"""Frames of a video, which are no squares, through the commands."""

import json

import numpy as np
import pytest
from PIL import Image

from tests.support import commands

_CONFIG = """
from configs import ast_video_fixed, common


def get_config():
    config = ast_video_fixed.get_config()
    config.model = common.compact_unet() | {'widths': (4, 6)}
    config.method.update(
        num_clusters=4, width=3, background='image', glimpse_size=8, transformer_depth=1, transformer_width=8,
        transformer_heads=2, transformer_feedforward=16, background_steps=2, frozen_steps=1,
    )
    config.initial_weights.layout = 'own'
    config.evaluators.instances.baselines = False
    config.steps = 4
    return config
"""


@pytest.fixture
def frames(tmp_path):
    """A square that moves over a wall of two colours, in two directories."""
    for index in range(10):
        frame = np.full((30, 50, 3), 90, np.uint8)
        frame[:, 25:] = 160
        frame[10:18, 4 * index : 4 * index + 8] = 240, 40, 40
        path = tmp_path / 'video' / f'part_{index // 5}' / f'{index:04d}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(frame).save(path)
    return tmp_path / 'video'


def test_frames_without_masks_train_predict_and_are_drawn_at_their_height_and_width(frames, tmp_path):
    config, directory = tmp_path / 'small.py', tmp_path / 'run'
    config.write_text(_CONFIG)
    done = commands.run(
        'main', f'--config={config}', f'--config.data.root={frames}', f'--config.data.data_dir={tmp_path / "tfds"}',
        '--config.data.size=(12,20)', '--config.pipeline.crop_size=(12,20)', '--config.method.image_size=(12,20)',
        '--config.pipeline.batch_size=4', '--config.evaluation.batch_size=2', f'--workdir={directory}',
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert 'Phases: background from step 1, foreground from step 3, joint from step 4' in done.stderr
    found = json.loads((directory / 'evaluations' / '000004.json').read_text())['instances']
    assert found['results'][0]['scores'].keys() == {'mse', 'mse_per_value'} and len(found['images']['without_labels']) == 1
    with Image.open(directory / 'pictures' / '000004.png') as picture:
        assert picture.width > picture.height > 120
    done = commands.run('predict', f'--workdir={directory}', f'--input={frames}', f'--output={tmp_path / "out"}')
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / 'out' / 'part_1' / '0007_labels.png') as labels:
        assert labels.size == (50, 30)
    images = json.loads((tmp_path / 'out' / 'instances.json').read_text())['images']
    assert len(images) == 10 and {(entry['width'], entry['height']) for entry in images} == {(50, 30)}
    of_one = (f'--image={frames / "part_0" / "0003.png"}', f'--output={tmp_path / "drawn"}')
    done = commands.run('figures', f'--workdir={directory}', *of_one)
    assert done.returncode == 0 and (tmp_path / 'drawn' / 'slots.png').stat().st_size > 5000, done.stderr
