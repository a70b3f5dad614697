"""What predict takes is parted into its parts, and none of it is lost or counted twice."""

import numpy as np
from PIL import Image

from benchmarks import prediction, prediction_parts, timing


def test_calls_within_calls_are_counted_once():
    now = [0.0]

    def work(seconds):
        now[0] += seconds

    clock = timing.Clock(lambda: now[0])
    inner = clock.watched('inner', work)

    def call():
        work(1.0)
        inner(20.0)
        clock.watched('middle', lambda: (work(300.0), inner(4000.0)))()

    clock.watched('outer', call)()
    assert clock.seconds == {'inner': [20.0, 4000.0], 'middle': [300.0], 'outer': [1.0]}


def test_a_call_of_predict_is_taken_apart(trained, tmp_path):
    (tmp_path / 'in').mkdir()
    rng = np.random.default_rng(0)
    for name in 'abc':
        Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)).save(tmp_path / 'in' / f'{name}.png')
    found = prediction.parts(trained.directory, tmp_path / 'in', tmp_path / 'out')
    assert found['images'] == 3 and len(list((tmp_path / 'out').glob('*_labels.png'))) == 3
    assert found['parts'].keys() == prediction_parts.PARTS.keys()
    assert found['imports'] > 0 and all(part['first'] > 0 and part['each'] >= 0 for part in found['parts'].values())
    network, once = (found['parts'][name] for name in ('the network', 'loading the network'))
    assert network['first'] > network['each'] > 0  # which is compiled first
    assert once['each'] == 0
