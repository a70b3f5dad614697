"""Eight simulated devices, quick compilation, strict broadcasting, and the supplement's geometry as it is printed."""

import os
import signal
from pathlib import Path

from tests.support import compilation

# Read when the backend starts, so before anything computes. With XLA_FLAGS=--xla_backend_optimization_level=3 in the environment
# optimised programs are tested.
os.environ['XLA_FLAGS'] = compilation.flags(devices=8, more=os.environ.get('XLA_FLAGS', ''))

import jax
import jaxtyping
import numpy as np
import pytest
from absl import flags, logging
from jax.experimental.compilation_cache import compilation_cache

from ar_seg_jax import files
from tests.support import auditing

# A silent broadcast from (classes,) to (batch, height, width, classes) is how a loss goes wrong unnoticed.
jax.config.update('jax_numpy_rank_promotion', 'raise')
logging.set_verbosity(logging.ERROR)
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # it is ignored below nohup, and the program respects that
flags.FLAGS(['pytest'])  # grain reads absl flags, which nobody has parsed here

_SHARED = Path(__file__).parents[1].parent / 'shared' / 'data'


@pytest.fixture(scope='session')
def shared_data() -> Path:
    """Directory of real images with labels; they are not part of the repository."""
    if not _SHARED.is_dir():
        pytest.skip(f'real image samples are not here: no directory {_SHARED}')
    return _SHARED


@pytest.fixture(scope='session')
def shared_base(tmp_path_factory) -> Path:
    """A directory that all workers have."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if os.environ.get('PYTEST_XDIST_WORKER') else base


@pytest.fixture(scope='session', autouse=True)
def _programs_of_our_own(shared_base):
    """The user's cache is left alone; runs find the programs of `trained`."""
    os.environ['XDG_CACHE_HOME'] = str(shared_base / 'trained' / 'home' / '.cache')


@pytest.fixture
def as_users_have_it(monkeypatch):
    """Without jaxtyping, which would check annotations before the program checks what it is given."""
    monkeypatch.setattr(jaxtyping.config, 'jaxtyping_disable', True)


@pytest.fixture(scope='session')
def trained(shared_base) -> auditing.Trained:
    """A run of six steps on texture collages, one for all workers. Whoever changes its directory works on a copy."""
    with files.lock(shared_base / 'trained.lock'):
        return auditing.trained(shared_base / 'trained')


@pytest.fixture(scope='module')
def compiled_once(tmp_path_factory):
    """Programs that several trainings of a module need are compiled by the first of them, as on a user's machine."""
    names = ('jax_compilation_cache_dir', 'jax_persistent_cache_min_compile_time_secs')
    before = {name: getattr(jax.config, name) for name in names}
    for name, value in zip(names, (str(tmp_path_factory.mktemp('programs')), 0.0), strict=True):
        jax.config.update(name, value)
    compilation_cache.reset_cache()  # it is opened once
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


@pytest.fixture(scope='session')
def supplement():
    """`supplement(name)`: taps and padding ((top, bottom), (left, right)) of a 3x3 kernel, from section 6 of the supplement.

    Written from `apply_mask` and `self.padding` of its MaskedConv2d, and on purpose not from anything in the package.
    """

    def support(name, size=3):
        corner, shift = name
        half = size // 2
        taps = np.ones((size, size), bool)
        row = {'A': -1, 'B': -1, 'C': 0, 'D': 0}[corner]
        taps[row, half + 1 :] = corner in 'BD'
        taps[row, :half] = corner in 'AC'
        left, right, top, bottom = {
            '1': (half, half, size - 1, 0),
            '2': (size - 1, 0, half, half),
            '3': (half, half, 0, size - 1),
            '4': (0, size - 1, half, half),
        }[shift]
        return taps, ((top, bottom), (left, right))

    return support
